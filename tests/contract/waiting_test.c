/* SPDX-License-Identifier: MIT */
/* Promise 3: what a wait inside a job runs, and who works meanwhile. */
#include "ledger.h"

static crew_pool *pool_without_spares(void)
{
    return contract_pool(CREW_OPTIONS(.spares_max = CREW_NO_SPARES));
}

/* ---- jobs that wait for jobs, on no more threads than there are ---- */

static crew_fn fibonacci_fn;
static const crew_job fibonacci = {fibonacci_fn, sizeof(int), sizeof(long), "fibonacci", NULL, NULL};

static int fibonacci_fn(const void *arg, void *result, void *context)
{
    int n = *(const int *)arg, less = n - 1;
    long first, second;
    crew_result *other;

    *(long *)result = n;
    if (n < 2)
        return 0;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &fibonacci, &less, &other, CREW_CALL(.context = context)),
                 CREW_OK);
    less = n - 2;
    CHECK_STATUS(crew_apply(crew_current_pool(), &fibonacci, &less, &first, CREW_CALL(.context = context)), CREW_OK);
    CHECK_STATUS(crew_result_get(other, &second, CREW_FOREVER), CREW_OK);
    crew_result_destroy(other);
    *(long *)result = first + second;
    return 0;
}

CONTRACT(jobs_may_wait_for_the_jobs_they_submit)
{
    crew_pool *pool = pool_without_spares();
    long value = 0;

    CHECK_STATUS(crew_apply(pool, &fibonacci, &(int){13}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 233);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static crew_fn tree_fn;
static const crew_job tree = {tree_fn, sizeof(size_t), sizeof(long), "tree", NULL, NULL};

/* The number of leaves: a map of maps, `context` points to the depth of this level in an array of levels. */
static int tree_fn(const void *arg, void *result, void *context)
{
    const int *left = context;
    long leaves[3] = {0};

    (void)arg;
    *(long *)result = 1;
    if (*left == 0)
        return 0;
    CHECK_STATUS(crew_map(crew_current_pool(), &tree, NULL, 3, leaves, CREW_CALL(.context = (void *)(left + 1))),
                 CREW_OK);
    *(long *)result = leaves[0] + leaves[1] + leaves[2];
    return 0;
}

CONTRACT(maps_may_be_nested)
{
    int levels[] = {5, 4, 3, 2, 1, 0};
    crew_pool *pool = pool_without_spares();
    long leaves = 0;

    CHECK_STATUS(crew_apply(pool, &tree, &(size_t){0}, &leaves, CREW_CALL(.context = levels)), CREW_OK);
    CHECK_EQ(leaves, 243);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static int sum_stream_fn(const void *arg, void *result, void *context)
{
    int numbers[20];
    crew_iterator *stream;
    long value;

    (void)arg;
    (void)context;
    for (int i = 0; i < 20; i++)
        numbers[i] = i;
    CHECK_STATUS(crew_imap(crew_current_pool(), &twice, &(crew_source){.items = numbers, .count = 20}, &stream,
                           CREW_CALL(.window = 3)),
                 CREW_OK);
    *(long *)result = 0;
    while (crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL) == CREW_OK)
        *(long *)result += value;
    crew_iterator_destroy(stream);
    return 0;
}

static const crew_job sum_stream = {sum_stream_fn, 0, sizeof(long), "sum_stream", NULL, NULL};

CONTRACT(jobs_may_iterate_over_streams)
{
    crew_pool *pool = pool_without_spares();
    long sums[8] = {0};

    CHECK_STATUS(crew_map(pool, &sum_stream, NULL, 8, sums, NULL), CREW_OK);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(sums[i], 380);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* Waits for the result that `context` points to, which somebody else submitted. */
static int await_other_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    CHECK_STATUS(crew_result_get(*(crew_result **)context, result, CREW_FOREVER), CREW_OK);
    return 0;
}

static const crew_job await_other = {await_other_fn, 0, sizeof(long), "await_other", NULL, NULL};

CONTRACT(many_jobs_may_wait_for_the_same_result)
{
    crew_pool *pool = pool_without_spares();
    crew_result *shared;
    long values[40] = {0};

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){21}, &shared, NULL), CREW_OK);
    CHECK_STATUS(crew_map(pool, &await_other, NULL, 40, values, CREW_CALL(.context = &shared, .chunk = 1)), CREW_OK);
    for (int i = 0; i < 40; i++)
        CHECK_EQ(values[i], 42);
    crew_result_destroy(shared);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(many_threads_may_wait_for_the_same_result)
{
    crew_pool *pool = contract_pool(NULL), *waiters = contract_pool(CREW_OPTIONS(.workers = 8));
    crew_result *shared, *all;
    struct blocker blocker;
    long values[8] = {0};

    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){21}, &shared, NULL), CREW_OK);
    CHECK_STATUS(
        crew_map_async(waiters, &await_other, NULL, 8, values, &all, CREW_CALL(.context = &shared, .chunk = 1)),
        CREW_OK);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_get(all, NULL, far_away()), CREW_OK);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(values[i], 42);
    crew_result_destroy(all);
    crew_result_destroy(shared);
    CHECK_STATUS(crew_pool_destroy(waiters), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

static unsigned blocked_threads(crew_pool *pool)
{
    crew_pool_info info = {.struct_size = sizeof info};

    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    return info.blocked;
}

CONTRACT_THREADS(a_job_that_waits_counts_as_blocked_until_it_goes_on)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 1));
    struct blocker blocker, *argument = &blocker;
    crew_result *held, *waiting;

    blocker_hold(&blocker, pool, 0);
    CHECK_STATUS(crew_apply_async(pool, &hold_worker, &argument, &held, NULL), CREW_OK);
    gate_wait(blocker.started);
    CHECK_EQ(blocked_threads(pool), 0);
    CHECK_STATUS(crew_apply_async(pool, &await_other, NULL, &waiting, CREW_CALL(.context = &held)), CREW_OK);
    unsigned blocked;
    while ((blocked = blocked_threads(pool)) == 0)
        continue;
    CHECK_EQ(blocked, 1);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_wait(waiting, far_away()), CREW_OK);
    CHECK_EQ(blocked_threads(pool), 0);
    crew_result_destroy(waiting);
    crew_result_destroy(held);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

/* ---- a finite deadline never runs user code ---- */

CONTRACT_THREADS(a_finite_wait_from_outside_runs_nothing)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;
    counter runs = {0};
    crew_result *result;

    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_apply_async(pool, &count_one, NULL, &result, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, CREW_NOW), CREW_TIMEOUT);
    CHECK_STATUS(crew_result_wait(result, crew_after_ms(-5)), CREW_TIMEOUT);
    CHECK_STATUS(crew_result_get(result, NULL, crew_after_ms(20)), CREW_TIMEOUT);
    CHECK_STATUS(crew_result_status(result), CREW_BUSY);
    CHECK_EQ(counter_get(&runs), 0);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&runs), 1);
    crew_result_destroy(result);
}

struct patience {
    crew_deadline deadline;
    counter runs;
};

/* Submits a child and gives it until the deadline; returns the status of that wait as its value. */
static int patient_fn(const void *arg, void *result, void *context)
{
    struct patience *patience = context;
    crew_result *child;

    (void)arg;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_one, NULL, &child, CREW_CALL(.context = &patience->runs)),
                 CREW_OK);
    *(crew_status *)result = crew_result_wait(child, patience->deadline);
    crew_result_destroy(child);
    return 0;
}

static const crew_job patient = {patient_fn, 0, sizeof(crew_status), "patient", NULL, NULL};

CONTRACT_THREADS(a_finite_wait_inside_a_job_runs_nothing_on_its_thread)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES));
    struct patience patience = {.deadline = crew_after_ms(50)};
    crew_status status = CREW_OK;
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &patient, NULL, &result, CREW_CALL(.context = &patience)), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &status, far_away()), CREW_OK);
    CHECK_STATUS(status, CREW_TIMEOUT);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&patience.runs), 1);
}

/* ---- somebody works while a job waits ---- */

CONTRACT(while_a_job_waits_a_spare_runs_the_others)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    struct patience patience = {.deadline = far_away()};
    crew_status status = CREW_TIMEOUT;
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &patient, NULL, &result, CREW_CALL(.context = &patience)), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &status, far_away()), CREW_OK);
    CHECK_STATUS(status, CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&patience.runs), 1);
}

CONTRACT_THREADS(a_queued_job_gets_a_thread_when_all_workers_hold_or_wait)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 2));
    struct blocker blocker;
    crew_result *held, *waiting, *opener;
    struct blocker *argument = &blocker;

    blocker_hold(&blocker, pool, 0);
    CHECK_STATUS(crew_apply_async(pool, &hold_worker, &argument, &held, NULL), CREW_OK);
    gate_wait(blocker.started);
    CHECK_STATUS(crew_apply_async(pool, &await_other, NULL, &waiting, CREW_CALL(.context = &held)), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &count_one, NULL, &opener, CREW_CALL(.context = &(counter){0})), CREW_OK);
    CHECK_STATUS(crew_result_wait(opener, far_away()), CREW_OK);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_wait(waiting, far_away()), CREW_OK);
    crew_result_destroy(held);
    crew_result_destroy(waiting);
    crew_result_destroy(opener);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

/* ---- a callback's wait, a source's wait ---- */

static int waiting_pull(void *user, void *ret_item)
{
    counter *left = user;
    long value;

    if (counter_add(left, -1) < 0)
        return 0;
    CHECK_STATUS(crew_apply(crew_current_pool(), &twice, &(int){21}, &value, NULL), CREW_OK);
    *(int *)ret_item = (int)value;
    return 1;
}

CONTRACT(a_source_may_wait_for_jobs_of_its_pool)
{
    crew_pool *pool = pool_without_spares();
    counter left = {5};
    crew_iterator *stream;
    long value, sum = 0;

    CHECK_STATUS(crew_imap(pool, &twice, &(crew_source){.pull = waiting_pull, .user = &left}, &stream, NULL), CREW_OK);
    while (crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL) == CREW_OK)
        sum += value;
    CHECK_EQ(sum, 5 * 84);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_wait_for_what_has_ended_never_blocks)
{
    crew_pool *pool = contract_pool(NULL);
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, CREW_NOW), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, crew_after_ns(INT64_MIN)), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &(long){0}, CREW_NOW), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
