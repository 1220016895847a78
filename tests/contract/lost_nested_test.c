/* SPDX-License-Identifier: MIT */
/* Promise 8 for jobs on top of jobs: when their thread is lost, each of them is, the innermost first. */
#define _POSIX_C_SOURCE 200809L
#include "counted_source.h"

#include <pthread.h>

_Noreturn static void goes_on(const char *what)
{
    test_fail(__FILE__, __LINE__, "a %s goes on although its thread was lost", what);
}

enum { TOWER_MAX = 48 }; /* more than a thread keeps the frames of off its stack */

/* Jobs that wait for each other on one thread; the last ends it. */
struct tower {
    int height;
    int applied; /* the job that is run by crew_apply, or 0: the others are submitted and waited for */
    crew_result *results[TOWER_MAX];
    int dropped[TOWER_MAX], drops; /* jobs, as they were settled: all on the thread that is lost */
};

static crew_fn tower_fn;
static void tower_drop(void *arg, void *context);
static const crew_job tower_job = {tower_fn, sizeof(int), 0, "tower", tower_drop, NULL};

static void tower_drop(void *arg, void *context)
{
    struct tower *tower = context;

    tower->dropped[tower->drops++] = *(int *)arg;
}

static crew_status tower_submit(struct tower *tower, crew_pool *pool, int level)
{
    return crew_apply_async(pool, &tower_job, &level, &tower->results[level], CREW_CALL(.context = tower));
}

static int tower_fn(const void *arg, void *result, void *context)
{
    struct tower *tower = context;
    int next = *(const int *)arg + 1;

    (void)result;
    if (next == tower->height)
        pthread_exit(NULL);
    if (next == tower->applied) {
        (void)crew_apply(crew_current_pool(), &tower_job, &next, NULL, CREW_CALL(.context = tower));
    } else {
        CHECK_STATUS(tower_submit(tower, crew_current_pool(), next), CREW_OK);
        (void)crew_result_get(tower->results[next], NULL, CREW_FOREVER);
    }
    goes_on("job");
}

/* Those that were run by crew_apply have no handle. */
static void tower_check(struct tower *tower)
{
    for (int level = tower->height - 1; level >= 0; level--) {
        if (!tower->results[level])
            continue;
        CHECK_STATUS(crew_result_wait(tower->results[level], far_away()), CREW_OK);
        CHECK_STATUS(crew_result_status(tower->results[level]), CREW_WORKER_LOST);
        crew_result_destroy(tower->results[level]);
    }
    CHECK_EQ(tower->drops, tower->height);
    for (int i = 0; i < tower->height; i++)
        CHECK_EQ(tower->dropped[i], tower->height - 1 - i);
}

static crew_pool *lone_worker(void)
{
    return contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
}

/* How many jobs there are from *arg on. */
CREW_JOB(count_up, int, int)
{
    crew_result *inner;
    int next = *arg + 1;

    *result = 0;
    if (next < TOWER_MAX) {
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_up, &next, &inner, CREW_CALL(.context = context)),
                     CREW_OK);
        CHECK_STATUS(crew_result_get(inner, result, CREW_FOREVER), CREW_OK);
        crew_result_destroy(inner);
    }
    ++*result;
    return 0;
}

static void check_works(crew_pool *pool)
{
    int count = 0;

    CHECK_STATUS(crew_apply(pool, &count_up, &(int){0}, &count, NULL), CREW_OK);
    CHECK_EQ(count, TOWER_MAX);
}

/* The first job is settled last. */
static void check_tower(int height, int applied)
{
    crew_pool *pool = lone_worker();

    for (int round = 0; round < 3; round++) {
        struct tower tower = {.height = height, .applied = applied};

        CHECK_STATUS(tower_submit(&tower, pool, 0), CREW_OK);
        CHECK_STATUS(crew_result_wait(tower.results[0], far_away()), CREW_OK);
        tower_check(&tower);
        check_works(pool);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(a_thread_that_is_lost_three_jobs_deep_settles_the_innermost_first)
{
    check_tower(3, 0);
}

CONTRACT_THREADS(however_deep_a_thread_is_lost_the_innermost_job_is_settled_first)
{
    check_tower(TOWER_MAX, 0);
}

CONTRACT_THREADS(a_thread_that_is_lost_in_a_call_on_top_of_other_jobs_settles_the_innermost_first)
{
    check_tower(4, 1);
    check_tower(4, 2);
    check_tower(4, 3);
    check_tower(TOWER_MAX, TOWER_MAX - 2);
}

/* ---- beneath something else than a worker's job ---- */

struct caller {
    crew_pool *pool;
    struct tower *tower;
};

static void call_tower(void *arg)
{
    const struct caller *caller = arg;

    (void)crew_apply(caller->pool, &tower_job, &(int){0}, NULL, CREW_CALL(.context = caller->tower));
}

CONTRACT_THREADS(a_caller_that_is_lost_in_jobs_on_top_of_its_own_settles_the_innermost_first)
{
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_CALLER_HELPS));

    for (int round = 0; round < 10; round++) {
        struct tower tower = {.height = 4};

        test_thread_join(test_thread_start(call_tower, &(struct caller){pool, &tower}));
        CHECK_STATUS(crew_pool_wait(pool, far_away()), CREW_OK);
        tower_check(&tower);
        check_works(pool);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void climb_tower(const crew_outcome *outcome, void *user)
{
    struct tower *tower = user;

    (void)outcome;
    CHECK_STATUS(tower_submit(tower, crew_current_pool(), 0), CREW_OK);
    (void)crew_result_get(tower->results[0], NULL, CREW_FOREVER);
    goes_on("callback");
}

CONTRACT_THREADS(a_thread_that_is_lost_in_jobs_on_top_of_a_callback_settles_them_and_the_callback)
{
    crew_pool *pool = lone_worker();
    struct tower tower = {.height = 3};

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, NULL, CREW_CALL(.on_done = climb_tower, .user = &tower)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, far_away()), CREW_OK);
    tower_check(&tower);
    check_works(pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- maps and streams that a job waits for ---- */

CREW_JOB(third_is_lost, long, long)
{
    (void)context;
    if (*arg == 3)
        pthread_exit(NULL);
    *result = *arg + 1;
    return 0;
}

struct inner_map {
    long numbers[10], values[10];
    size_t chunk;
    crew_result *result;
};

CREW_ACTION(wait_for_map, struct inner_map *)
{
    struct inner_map *map = *arg;

    (void)context;
    CHECK_STATUS(crew_map_async(crew_current_pool(), &third_is_lost, map->numbers, 10, map->values, &map->result,
                                CREW_CALL(.chunk = map->chunk)),
                 CREW_OK);
    (void)crew_result_get(map->result, NULL, CREW_FOREVER);
    goes_on("job");
}

static void check_inner_map(crew_pool *pool, size_t chunk)
{
    struct inner_map map = {.chunk = chunk}, *address = &map;
    crew_result *waiter;
    crew_error error;

    for (long i = 0; i < 10; i++)
        map.numbers[i] = i;
    CHECK_STATUS(crew_apply_async(pool, &wait_for_map, &address, &waiter, NULL), CREW_OK);
    CHECK_STATUS(crew_result_wait(waiter, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(waiter), CREW_WORKER_LOST);
    CHECK_STATUS(crew_result_wait(map.result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_error(map.result, &error), CREW_OK);
    CHECK_STATUS(error.status, CREW_WORKER_LOST);
    CHECK_EQ(error.index, 3);
    for (long i = 0; i < 10; i++)
        CHECK_EQ(map.values[i], i == 3 ? 0 : i + 1);
    crew_result_destroy(map.result);
    crew_result_destroy(waiter);
}

CONTRACT_THREADS(a_map_whose_waiting_job_is_lost_in_one_of_its_items_runs_the_others)
{
    crew_pool *pool = lone_worker();

    for (size_t chunk = 0; chunk <= 10; chunk += 5)
        check_inner_map(pool, chunk);
    check_works(pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* A stream whose consumer is lost with the thread on which it runs an item, or pulls. */
struct inner_stream {
    struct counted_source counted;
    crew_source source;
    crew_iterator *items;
};

/* On the only worker: so it does all that is to be done for the stream. */
CREW_ACTION(consume, struct inner_stream *)
{
    struct inner_stream *stream = *arg;
    long value;

    (void)context;
    CHECK_STATUS(
        crew_imap(crew_current_pool(), &third_is_lost, &stream->source, &stream->items, CREW_CALL(.window = 1)),
        CREW_OK);
    while (crew_iterator_next(stream->items, &value, NULL, CREW_FOREVER, NULL) == CREW_OK)
        continue;
    goes_on("job");
}

static void stream_start(struct inner_stream *stream, crew_pool *pool, int (*pull)(void *user, void *ret_item))
{
    crew_result *consumer;

    counted_source_init(&stream->counted, 6);
    stream->source = (crew_source){.pull = pull, .user = &stream->counted, .release = counted_release};
    CHECK_STATUS(crew_apply_async(pool, &consume, &stream, &consumer, NULL), CREW_OK);
    CHECK_STATUS(crew_result_wait(consumer, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(consumer), CREW_WORKER_LOST);
    crew_result_destroy(consumer);
}

static void stream_end(struct inner_stream *stream)
{
    crew_iterator_destroy(stream->items);
    counted_source_free(&stream->counted);
}

CONTRACT_THREADS(a_stream_whose_waiting_job_is_lost_in_an_item_goes_on_with_the_next)
{
    crew_pool *pool = lone_worker();
    struct inner_stream stream;
    size_t index;
    long value = 0;

    stream_start(&stream, pool, counted_pull);
    CHECK_STATUS(crew_iterator_next(stream.items, &value, &index, far_away(), NULL), CREW_WORKER_LOST);
    CHECK_EQ(index, 3);
    for (size_t i = 4; i < 6; i++) {
        CHECK_STATUS(crew_iterator_next(stream.items, &value, &index, far_away(), NULL), CREW_OK);
        CHECK_EQ(index, i);
        CHECK_EQ(value, i + 1);
    }
    CHECK_STATUS(crew_iterator_next(stream.items, &value, &index, far_away(), NULL), CREW_END);
    stream_end(&stream);
    check_works(pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static int pull_until_2(void *user, void *ret_item)
{
    struct counted_source *source = user;

    if (source->next == 2)
        pthread_exit(NULL);
    return counted_pull(user, ret_item);
}

CONTRACT_THREADS(a_source_that_ends_the_thread_of_the_job_that_waits_for_it_has_failed)
{
    crew_pool *pool = lone_worker();
    struct inner_stream stream;
    long value;

    stream_start(&stream, pool, pull_until_2);
    CHECK_STATUS(crew_iterator_next(stream.items, &value, NULL, far_away(), NULL), CREW_SOURCE_FAILED);
    stream_end(&stream);
    check_works(pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
