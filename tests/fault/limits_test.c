/* SPDX-License-Identifier: MIT */
/* The whole interface under limits that the system itself keeps: few threads, little memory, no descriptors. */
#define _GNU_SOURCE
#include "fault.h"

#include "contract/limited.h"

#include <unistd.h>

/* ---- a scenario that needs no memory of its own ---- */

enum { ITEMS = 64, RESULTS = 16 };

CREW_JOB(square, size_t, long)
{
    (void)context;
    *result = (long)(*arg * *arg);
    return 0;
}

CREW_JOB(sum_of_squares, size_t, long)
{
    long values[ITEMS];
    crew_status status = crew_map(crew_current_pool(), &square, NULL, *arg, values, NULL);
    *result = 0;
    if (!fault_granted(status, CREW_OK))
        return crew_fail(1, "%s", crew_status_name(status));
    for (size_t i = 0; i < *arg; i++)
        *result += values[i];
    return 0;
}

static void count_call(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    counter_add(user, 1);
}

static void use_results(crew_pool *pool)
{
    crew_result *results[RESULTS];
    counter calls = {0};
    long accepted = 0, value;
    for (size_t i = 0; i < RESULTS; i++) {
        results[i] = NULL;
        const crew_call *call = CREW_CALL(.on_done = count_call, .user = &calls);
        accepted += fault_granted(crew_apply_async(pool, &square, &i, &results[i], call), CREW_OK);
    }
    for (size_t i = 0; i < RESULTS; i++) {
        if (results[i] != NULL && fault_granted(crew_result_get(results[i], &value, CREW_FOREVER), CREW_OK))
            CHECK_EQ(value, i * i);
        crew_result_destroy(results[i]);
    }
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&calls), accepted);
}

static void use_stream(crew_pool *pool)
{
    static const size_t numbers[ITEMS] = {[ITEMS - 1] = 9};
    const crew_source source = {.items = numbers, .count = ITEMS};
    crew_iterator *stream = NULL;
    crew_status status = crew_imap_unordered(pool, &square, &source, &stream, CREW_CALL(.window = 8));
    long value, sum = 0;
    if (!fault_granted(status, CREW_OK))
        return;
    for (int patience = 1000; status != CREW_END && patience > 0; patience--) {
        status = crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL);
        if (status != CREW_END && fault_granted(status, CREW_OK))
            sum += value;
    }
    CHECK(status != CREW_END || sum == 81);
    crew_iterator_destroy(stream);
}

static void use_everything_of(crew_pool *pool)
{
    long values[ITEMS], sum = 0;
    if (pool == NULL)
        return;
    if (fault_granted(crew_map(pool, &square, NULL, ITEMS, values, CREW_CALL(.chunk = 1)), CREW_OK))
        CHECK_EQ(values[ITEMS - 1], (ITEMS - 1) * (ITEMS - 1));
    crew_status status = crew_apply(pool, &sum_of_squares, &(size_t){4}, &sum, NULL);
    if (status != CREW_FAILED && fault_granted(status, CREW_OK))
        CHECK_EQ(sum, 14);
    use_results(pool);
    use_stream(pool);
    (void)crew_apply_async(pool, &square, &(size_t){4}, NULL, NULL);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void use_everything(void)
{
    use_everything_of(fault_pool(CREW_OPTIONS(.workers = 4, .stack_size = 64 * 1024)));
    use_everything_of(fault_pool(CREW_OPTIONS(.workers = 2, .flags = CREW_WORKERS_ONLY)));
    use_everything_of(fault_pool(NULL));
}

/* ---- the limits ---- */

static void run_with_few_threads(void *threads)
{
    limit_threads(100); /* from now on they are counted */
    fault_run_limited(use_everything, RLIMIT_NPROC, *(const rlim_t *)threads);
}

TEST_DEFINE(everything_keeps_its_promises_with_any_number_of_threads, TEST_PLAIN, 60)
{
    for (rlim_t threads = 1; threads <= 6; threads++)
        check_with_limited_threads(run_with_few_threads, &threads);
}

static rlim_t address_space_used(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file != NULL);
    CHECK_EQ(fscanf(file, "%lu", &pages), 1);
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void run_with_little_memory(void *more)
{
    fault_run_limited(use_everything, RLIMIT_AS, address_space_used() + *(const rlim_t *)more);
}

TEST_DEFINE(everything_keeps_its_promises_with_any_amount_of_memory, TEST_PLAIN, 60)
{
    const rlim_t step = 32 * 1024, most = (rlim_t)64 << 20;
    if (test_under_sanitizer())
        test_skip("a sanitizer reserves more than there is");
    for (rlim_t more = 0; more <= most; more += more < 64 * step ? step : (rlim_t)4 << 20)
        check_in_child(run_with_little_memory, &more);
}

static void run_without_descriptors(void *none)
{
    unsigned count = 0;
    (void)none;
    fault_run_limited(use_everything, RLIMIT_NOFILE, 0);
    CHECK_STATUS(crew_cpu_count(&count, NULL), CREW_OK);
}

TEST(everything_keeps_its_promises_without_descriptors)
{
    check_in_child(run_without_descriptors, NULL);
}
