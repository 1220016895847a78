/* SPDX-License-Identifier: MIT */
/* Promise 10, memory: what a pending job costs; nothing grows with time, with what was cancelled, with streams
 * broken off, with threads that came and went; everything is given back. (The limit of the queue is in
 * queue_limit_test.c.) */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"

#include <dirent.h>
#include <pthread.h>
#include <unistd.h>

enum { SLACK_BYTES = 256 * 1024 }; /* a few slabs for each of the places where threads get their memory */

static struct test_memory memory; /* of the case's one pool */

CREW_JOB(plus_one, uint64_t, uint64_t)
{
    (void)context;
    *result = *arg + 1;
    return 0;
}

/* A sanitizer makes every round dear, and growth shows early. */
static long rounds(long full)
{
    return test_under_sanitizer() ? full / 20 : full;
}

static crew_pool *pool_with_memory(unsigned workers, unsigned flags)
{
    crew_pool *pool;
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = workers, .spares_max = CREW_NO_SPARES, .flags = flags,
                                                      TEST_MEMORY(&memory))),
                 CREW_OK);
    return pool;
}

/* Calls `step` again and again, and checks that live memory after a tenth of the rounds is nearly its maximum. */
static void check_no_growth(crew_pool *pool, void (*step)(crew_pool *), long full)
{
    long all = rounds(full), first = all / 10, most = 0;
    for (long round = 0; round < first; round++)
        step(pool);
    long level = counter_get(&memory.live_bytes);
    for (long round = first; round < all; round++) {
        step(pool);
        long live = counter_get(&memory.live_bytes);
        most = live > most ? live : most;
    }
    CHECK_EQ(most > level + SLACK_BYTES ? most : level, level);
}

static void destroy_and_check_empty(crew_pool *pool)
{
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
    CHECK_EQ(counter_get(&memory.live_bytes), 0);
}

/* ---- the cost of what is pending ---- */

static void submit_numbers(crew_pool *pool, crew_result **results, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        CHECK_STATUS(crew_apply_async(pool, &plus_one, &i, &results[i], NULL), CREW_OK);
}

static void get_numbers(crew_result **results, uint64_t count)
{
    for (uint64_t i = 0, value; i < count; i++) {
        CHECK_STATUS(crew_result_get(results[i], &value, far_away()), CREW_OK);
        CHECK_EQ(value, i + 1);
        crew_result_destroy(results[i]);
    }
}

TEST(a_pending_job_with_handle_and_16_bytes_costs_at_most_128_bytes)
{
    enum { COUNT = 100000 };
    crew_result **results = calloc(COUNT, sizeof *results);
    crew_pool *pool = pool_with_memory(1, CREW_WORKERS_ONLY);
    struct blocker blocker;
    blocker_hold(&blocker, pool, 1);
    long before = counter_get(&memory.live_bytes);
    submit_numbers(pool, results, COUNT);
    long each = (counter_get(&memory.live_bytes) - before + COUNT - 1) / COUNT;
    CHECK_EQ(each > 128 ? each : 128, 128);
    blocker_let_go(&blocker);
    get_numbers(results, COUNT);
    destroy_and_check_empty(pool);
    blocker_free(&blocker);
    free(results);
}

TEST(a_pending_map_costs_the_same_whatever_its_length)
{
    enum { COUNT = 1000000 };
    uint64_t *numbers = calloc(COUNT, sizeof *numbers);
    crew_result *map;
    crew_pool *pool = pool_with_memory(1, CREW_WORKERS_ONLY);
    struct blocker blocker;
    blocker_hold(&blocker, pool, 1);
    long before = counter_get(&memory.live_bytes);
    CHECK_STATUS(crew_map_async(pool, &plus_one, numbers, COUNT, numbers, &map, NULL), CREW_OK);
    long cost = counter_get(&memory.live_bytes) - before;
    CHECK_EQ(cost > SLACK_BYTES ? cost : 0, 0);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_get(map, NULL, far_away()), CREW_OK);
    CHECK_EQ(numbers[COUNT - 1], 1);
    crew_result_destroy(map);
    destroy_and_check_empty(pool);
    blocker_free(&blocker);
    free(numbers);
}

TEST(waves_of_pending_jobs_need_no_more_memory_than_the_first)
{
    enum { COUNT = 10000, WAVES = 20 };
    crew_result **results = calloc(COUNT, sizeof *results);
    crew_pool *pool = pool_with_memory(2, CREW_WORKERS_ONLY);
    long first = 0;
    for (int wave = 0; wave < WAVES; wave++) {
        struct blocker blocker;
        blocker_hold(&blocker, pool, 2);
        submit_numbers(pool, results, COUNT);
        long live = counter_get(&memory.live_bytes);
        first = first ? first : live;
        CHECK_EQ(live > first + SLACK_BYTES ? live : first, first);
        blocker_let_go(&blocker);
        get_numbers(results, COUNT);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        blocker_free(&blocker);
    }
    destroy_and_check_empty(pool);
    free(results);
}

static int pull_endlessly(void *user, void *ret_item)
{
    uint64_t *next = user;
    *(uint64_t *)ret_item = (*next)++;
    return 1;
}

static crew_iterator *endless_stream;

static void take_one_item(crew_pool *pool)
{
    uint64_t value;
    (void)pool;
    CHECK_STATUS(crew_iterator_next(endless_stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
}

CONTRACT(an_endless_stream_needs_no_more_memory_than_its_window)
{
    uint64_t next = 0;
    crew_pool *pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    const crew_source source = {.pull = pull_endlessly, .user = &next};
    CHECK_STATUS(crew_imap(pool, &plus_one, &source, &endless_stream, NULL), CREW_OK);
    check_no_growth(pool, take_one_item, 20000);
    crew_iterator_destroy(endless_stream);
    destroy_and_check_empty(pool);
}

/* ---- what will never run must not pile up behind a worker that is stuck ---- */

static void submit_and_cancel(crew_pool *pool)
{
    crew_result *result;
    CHECK_STATUS(crew_apply_async(pool, &plus_one, &(uint64_t){1}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_cancel(result), CREW_OK);
    crew_result_destroy(result);
}

TEST_DEFINE(a_million_cancelled_jobs_do_not_pile_up_behind_a_stuck_worker, TEST_PLAIN, 60)
{
    crew_pool *pool = pool_with_memory(1, CREW_WORKERS_ONLY);
    struct blocker blocker;
    blocker_hold(&blocker, pool, 1);
    check_no_growth(pool, submit_and_cancel, 1000000);
    blocker_let_go(&blocker);
    destroy_and_check_empty(pool);
    blocker_free(&blocker);
}

TEST_DEFINE(cancelled_jobs_among_live_ones_do_not_pile_up, TEST_PLAIN, 60)
{
    enum { LIVE = 1000 };
    static crew_result *live[LIVE];
    crew_pool *pool = pool_with_memory(1, CREW_WORKERS_ONLY);
    struct blocker blocker;
    blocker_hold(&blocker, pool, 1);
    submit_numbers(pool, live, LIVE);
    check_no_growth(pool, submit_and_cancel, 300000);
    blocker_let_go(&blocker);
    get_numbers(live, LIVE);
    destroy_and_check_empty(pool);
    blocker_free(&blocker);
}

static void apply_on_this_thread(crew_pool *pool)
{
    uint64_t value = 0;
    CHECK_STATUS(crew_apply(pool, &plus_one, &(uint64_t){41}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
}

TEST_DEFINE(a_million_jobs_run_by_their_waiter_do_not_pile_up_behind_a_stuck_worker, TEST_PLAIN, 60)
{
    crew_pool *pool = pool_with_memory(1, CREW_CALLER_HELPS);
    struct stuck_source stuck; /* a pull does not count as executing, so the caller may execute instead */
    stuck_source_start(&stuck, pool);
    check_no_growth(pool, apply_on_this_thread, 1000000);
    stuck_source_let_go(&stuck);
    stuck_source_free(&stuck);
    destroy_and_check_empty(pool);
}

static void submit_and_destroy_map(crew_pool *pool)
{
    static uint64_t numbers[64];
    crew_result *map;
    CHECK_STATUS(crew_map_async(pool, &plus_one, numbers, 64, numbers, &map, NULL), CREW_OK);
    crew_result_destroy(map);
}

TEST(maps_destroyed_before_they_start_do_not_pile_up_behind_a_stuck_worker)
{
    crew_pool *pool = pool_with_memory(1, CREW_WORKERS_ONLY);
    struct blocker blocker;
    blocker_hold(&blocker, pool, 1);
    check_no_growth(pool, submit_and_destroy_map, 100000);
    blocker_let_go(&blocker);
    destroy_and_check_empty(pool);
    blocker_free(&blocker);
}

static void start_and_destroy_stream(crew_pool *pool)
{
    static uint64_t numbers[64];
    crew_iterator *stream;
    CHECK_STATUS(crew_imap(pool, &plus_one, &(crew_source){.items = numbers, .count = 64}, &stream, NULL), CREW_OK);
    crew_iterator_destroy(stream);
}

TEST(streams_broken_off_do_not_pile_up_behind_a_stuck_worker)
{
    crew_pool *pool = pool_with_memory(1, CREW_WORKERS_ONLY);
    struct blocker blocker;
    blocker_hold(&blocker, pool, 1);
    check_no_growth(pool, start_and_destroy_stream, 50000);
    blocker_let_go(&blocker);
    destroy_and_check_empty(pool);
    blocker_free(&blocker);
}

/* ---- threads that came and went ---- */

static void apply_from_a_thread(void *pool)
{
    apply_on_this_thread(pool);
}

static void apply_from_a_new_thread(crew_pool *pool)
{
    test_thread_join(test_thread_start(apply_from_a_thread, pool));
}

TEST(submitting_threads_that_came_and_went_leave_nothing)
{
    crew_pool *pool = pool_with_memory(2, CREW_CALLER_HELPS);
    check_no_growth(pool, apply_from_a_new_thread, 5000);
    destroy_and_check_empty(pool);
}

CREW_ACTION(end_the_thread, int)
{
    (void)arg, (void)context;
    CHECK(crew_worker_index() >= 0); /* on a helping caller it would end the test */
    pthread_exit(NULL);
}

static void lose_a_worker(crew_pool *pool)
{
    crew_result *lost;
    CHECK_STATUS(crew_apply_async(pool, &end_the_thread, &(int){0}, &lost, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(lost, NULL, far_away()), CREW_WORKER_LOST);
    crew_result_destroy(lost);
}

CREW_JOB(which_worker, int, int)
{
    (void)arg, (void)context;
    *result = crew_worker_index();
    return 0;
}

static int worker_index_of_a_job(crew_pool *pool)
{
    int index = -1;
    crew_result *result;
    CHECK_STATUS(crew_apply_async(pool, &which_worker, &(int){0}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &index, far_away()), CREW_OK);
    crew_result_destroy(result);
    return index;
}

CONTRACT_THREADS(slots_are_used_again_after_many_lost_workers)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    for (int i = 0; i < 200; i++) {
        crew_pool_info info = {.struct_size = sizeof info};
        lose_a_worker(pool);
        int index = worker_index_of_a_job(pool);
        CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
        CHECK_EQ(info.workers, config->workers);
        CHECK(index >= 0 && (unsigned)index < info.slots);
        CHECK(info.threads <= info.slots);
    }
    destroy_and_check_empty(pool);
}

TEST(lost_workers_leave_nothing_behind)
{
    crew_pool *pool = pool_with_memory(2, CREW_WORKERS_ONLY);
    check_no_growth(pool, lose_a_worker, 2000);
    destroy_and_check_empty(pool);
    CHECK_EQ(test_threads_alive(), 1);
}

/* ---- everything is given back ---- */

static void use_every_call(crew_pool *pool, crew_result *kept[2], crew_iterator **kept_stream)
{
    static uint64_t numbers[100], values[100];
    uint64_t value;
    const crew_column column = {numbers, sizeof numbers[0], sizeof numbers[0], 0};
    const crew_source source = {.items = numbers, .count = 100};
    CHECK_STATUS(crew_apply(pool, &plus_one, numbers, &value, NULL), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &plus_one, numbers, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &plus_one, numbers, &kept[0], NULL), CREW_OK);
    CHECK_STATUS(crew_map(pool, &plus_one, numbers, 100, values, NULL), CREW_OK);
    CHECK_STATUS(crew_starmap(pool, &plus_one, &column, 1, 100, values, NULL), CREW_OK);
    CHECK_STATUS(crew_starmap_async(pool, &plus_one, &column, 1, 100, values, &kept[1], NULL), CREW_OK);
    CHECK_STATUS(crew_imap(pool, &plus_one, &source, kept_stream, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(*kept_stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
}

CONTRACT(all_memory_of_a_pool_is_given_back)
{
    crew_result *kept[2];
    crew_iterator *stream;
    crew_pool *pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    use_every_call(pool, kept, &stream);
    crew_iterator_destroy(stream);
    crew_result_destroy(kept[0]);
    crew_result_destroy(kept[1]);
    destroy_and_check_empty(pool);
}

CONTRACT(what_outlives_its_pool_gives_its_memory_back_when_destroyed)
{
    crew_result *kept[2];
    crew_iterator *stream;
    uint64_t value = 0;
    crew_pool *pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    use_every_call(pool, kept, &stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_STATUS(crew_result_get(kept[0], &value, CREW_NOW), CREW_OK);
    CHECK_EQ(value, 1);
    crew_result_destroy(kept[0]);
    crew_result_destroy(kept[1]);
    crew_iterator_destroy(stream);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *descriptors = opendir("/proc/self/fd");
    CHECK(descriptors != NULL);
    while (readdir(descriptors) != NULL)
        count++;
    CHECK_EQ(closedir(descriptors), 0);
    return count;
}

static long resident_bytes(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL);
    CHECK_EQ(fscanf(statm, "%*d %ld", &pages), 1);
    CHECK_EQ(fclose(statm), 0);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Even cycles count their memory, odd ones use the library's own allocator. */
static void create_use_and_destroy(long cycle)
{
    crew_pool *pool = NULL;
    crew_result *result;
    uint64_t numbers[4] = {1, 2, 3, 4}, value;
    CHECK_STATUS(cycle % 2 ? crew_pool_create(&pool, CREW_OPTIONS(.workers = 2))
                           : crew_pool_create(&pool, CREW_OPTIONS(.workers = 2, TEST_MEMORY(&memory))),
                 CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &plus_one, numbers, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_map(pool, &plus_one, numbers, 4, numbers, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
    CHECK_EQ(value + numbers[3], 2 + 5);
    crew_result_destroy(result);
    destroy_and_check_empty(pool);
}

struct album {
    char bytes[64 * 1024];
};

CREW_JOB(first_byte, struct album, char)
{
    (void)context;
    *result = arg->bytes[0];
    return 0;
}

/* On a worker: an entry that a helper leaves in the queue keeps its job's memory for a while. */
CONTRACT(a_job_with_a_large_argument_gives_its_memory_back_with_its_handle)
{
    static struct album album = {.bytes = "x"};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY, TEST_MEMORY(&memory)));
    for (int i = 0; i < 50; i++) {
        crew_result *result;
        char first = 0;
        CHECK_STATUS(crew_apply_async(pool, &first_byte, &album, &result, NULL), CREW_OK);
        CHECK_STATUS(crew_result_get(result, &first, CREW_FOREVER), CREW_OK);
        CHECK_EQ(first, 'x');
        crew_result_destroy(result);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK(counter_get(&memory.live_bytes) < 16 * (long)sizeof album);
    }
    destroy_and_check_empty(pool);
}

TEST_DEFINE(ten_thousand_pools_leave_no_memory_thread_or_descriptor_behind, TEST_PLAIN, 60)
{
    long cycles = rounds(10000);
    for (long cycle = 0; cycle < cycles / 10; cycle++)
        create_use_and_destroy(cycle);
    unsigned threads = test_threads_alive(), descriptors = open_descriptors();
    long resident = resident_bytes();
    CHECK_EQ(threads, 1);
    for (long cycle = cycles / 10; cycle < cycles; cycle++)
        create_use_and_destroy(cycle);
    CHECK_EQ(test_threads_alive(), 1);
    CHECK_EQ(open_descriptors(), descriptors);
    long growth = resident_bytes() - resident;
    if (!test_under_sanitizer())
        CHECK_EQ(growth > 2 * 1024 * 1024 ? growth : 0, 0); /* 200 bytes a pool would show */
}
