/* SPDX-License-Identifier: MIT */
/* Where Python's Pool hangs or loses work as it starts, ends or loses a worker: what crewpool does there instead. */
#define _GNU_SOURCE
#include <pthread.h>

#include "python_rows_stage.h"

enum { QUEUED = 20 };

static void queue_jobs(crew_pool *pool, crew_result *ret_queued[QUEUED])
{
    for (int i = 0; i < QUEUED; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, &ret_queued[i], NULL), CREW_OK);
}

/* ---- terminate ---- */

/* gh-126743, gh-79659 (row 1): no result is ever completed after terminate(), get() hangs */
CONTRACT_THREADS(terminate_ends_queued_results_at_once_and_running_jobs_keep_theirs)
{
    struct stage stage = stage_new();
    crew_result *held[WORKERS_MOST], *queued[QUEUED];
    crew_pool *pool = contract_pool(NULL);
    stage_hold(&stage, pool, config->workers, held);
    queue_jobs(pool, queued);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    for (int i = 0; i < QUEUED; i++) {
        long value;
        crew_error error = {0};
        CHECK_STATUS(crew_result_get(queued[i], &value, CREW_NOW), CREW_TERMINATED);
        CHECK_STATUS(crew_result_error(queued[i], &error), CREW_OK);
        CHECK_STATUS(error.status, CREW_TERMINATED);
        crew_result_destroy(queued[i]);
    }
    stage_release(&stage, config->workers, held);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

/* gh-126743 (row 1): a thread inside get() sleeps for ever */
CONTRACT_THREADS(a_thread_that_waits_for_a_queued_job_is_woken_by_terminate)
{
    struct stage stage = stage_new();
    crew_result *held[WORKERS_MOST];
    struct waiter waiter = {.about_to_wait = gate_new()};
    crew_pool *pool = contract_pool(NULL);
    stage_hold(&stage, pool, config->workers, held);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){4}, &waiter.result, NULL), CREW_OK);
    struct test_thread *thread = test_thread_start(waiter_run, &waiter);
    gate_wait(waiter.about_to_wait);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    test_thread_join(thread);
    CHECK_STATUS(waiter.status, CREW_TERMINATED);
    stage_release(&stage, config->workers, held);
    crew_result_destroy(waiter.result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(waiter.about_to_wait);
    stage_free(&stage);
}

CREW_ACTION(terminate_own_pool, size_t)
{
    (void)arg;
    counter_add(context, 1);
    return crew_pool_terminate(crew_current_pool()) == CREW_OK ? 0 : crew_fail(1, "terminate was refused");
}

/* gh-126743 (row 1): a map whose pool is terminated in the middle hangs */
CONTRACT(a_map_whose_items_terminate_the_pool_returns_and_says_so)
{
    enum { ITEMS = 1000 };
    counter ran = {0};
    crew_error error = {0};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_map(pool, &terminate_own_pool, NULL, ITEMS, NULL, CREW_CALL(.context = &ran, .error = &error)),
                 CREW_TERMINATED);
    CHECK_STATUS(error.status, CREW_TERMINATED);
    CHECK(counter_get(&ran) >= 1);
    CHECK(counter_get(&ran) <= (long)config->workers);
    CHECK_STATUS(crew_map(pool, &terminate_own_pool, NULL, ITEMS, NULL, CREW_CALL(.context = &ran)), CREW_CLOSED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void hold_callback(const crew_outcome *outcome, void *user)
{
    struct stage *stage = user;
    (void)outcome;
    gate_add(stage->started);
    gate_wait(stage->go);
}

/* gh-78178, gh-96995 (row 29): terminate() hangs */
CONTRACT_THREADS(terminate_waits_neither_for_a_running_job_nor_for_a_callback)
{
    struct stage in_job = stage_new(), in_callback = stage_new();
    crew_result *held[1];
    crew_pool *pool = pool_of_two_or_more();
    stage_hold(&in_job, pool, 1, held);
    const crew_call *call = CREW_CALL(.on_done = hold_callback, .user = &in_callback);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, NULL, call), CREW_OK);
    gate_wait(in_callback.started);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_NOW), CREW_TIMEOUT);
    gate_open(in_callback.go);
    stage_release(&in_job, 1, held);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&in_job);
    stage_free(&in_callback);
}

CREW_JOB(always_fail, int, long)
{
    (void)result;
    (void)context;
    return crew_fail(*arg, "no luck with %d", *arg);
}

static void terminate_on_error(const crew_outcome *outcome, void *user)
{
    if (outcome->status == CREW_FAILED)
        CHECK_STATUS(crew_pool_terminate(user), CREW_OK);
}

/* gh-87129 (row 4): terminate() from an error_callback deadlocks */
CONTRACT(a_callback_told_of_an_error_may_terminate_its_pool)
{
    crew_result *result;
    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.on_done = terminate_on_error, .user = pool);
    CHECK_STATUS(crew_apply_async(pool, &always_fail, &(int){3}, &result, call), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_FAILED);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){3}, NULL, NULL), CREW_CLOSED);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- the end of a pool ---- */

/* gh-74140 (row 2): __exit__ terminates, results are lost;
 * gh-79559, gh-83541 (row 28): a result whose pool is gone hangs */
CONTRACT(the_end_of_a_scope_drains_the_pool_and_its_results_outlive_it)
{
    crew_result *queued[QUEUED];
    {
        CREW_AUTO_POOL(pool);
        pool = contract_pool(NULL);
        queue_jobs(pool, queued);
    }
    for (int i = 0; i < QUEUED; i++) {
        long value = -1;
        CHECK_STATUS(crew_result_get(queued[i], &value, CREW_NOW), CREW_OK);
        CHECK_EQ(value, 2 * i);
        crew_result_destroy(queued[i]);
    }
}

/* gh-72165 (row 19): join() and shutdown() take no timeout */
CONTRACT_THREADS(join_gives_up_at_its_deadline_and_may_be_called_again)
{
    struct stage stage = stage_new();
    crew_result *held[1];
    crew_pool *pool = contract_pool(NULL);
    stage_hold(&stage, pool, 1, held);
    CHECK_STATUS(crew_pool_join(pool, CREW_NOW), CREW_INVALID);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, crew_after_ms(1)), CREW_TIMEOUT);
    stage_release(&stage, 1, held);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_NOW), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

/* gh-79660, bpo-35493 (row 30): join took 100 ms and more, because handlers polled */
CONTRACT(join_returns_when_the_work_is_done_and_not_at_the_next_tick)
{
    enum { ROUNDS = 20, TICK_NS = 50000000 };
    int64_t quickest = INT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        crew_pool *pool = contract_pool(NULL);
        CHECK_STATUS(crew_apply(pool, &twice, &i, &(long){0}, NULL), CREW_OK);
        int64_t begin = test_now_ns();
        CHECK_STATUS(crew_pool_close(pool), CREW_OK);
        CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
        int64_t took = test_now_ns() - begin;
        quickest = took < quickest ? took : quickest;
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    }
    CHECK(quickest < TICK_NS);
}

/* ---- workers that cannot start, and workers that die ---- */

static int no_licence(void *user, int worker, void **ret_state)
{
    (void)ret_state;
    counter_add(user, 1);
    return crew_fail(5, "no licence for worker %d", worker);
}

/* gh-87472 (row 6): workers are started again for ever, or the pool is dead and get() hangs */
CONTRACT(a_pool_whose_initializer_always_fails_says_so_instead_of_starting_workers_for_ever)
{
    counter calls = {0};
    crew_error error = {0};
    crew_pool *pool = NULL;
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.kind = config->kind, .workers = config->workers, .error = &error,
                                                      .worker_init = no_licence, .user = &calls)),
                 CREW_FAILED);
    CHECK(pool == NULL);
    CHECK(counter_get(&calls) >= 1);
    CHECK(counter_get(&calls) <= (long)config->workers);
    CHECK_STATUS(error.status, CREW_FAILED);
    CHECK_EQ(error.code, 5);
    CHECK(strstr(error.message, "no licence for worker ") == error.message);
}

/* gh-87472 (row 6): the same where workers start late, as ThreadPoolExecutor's do */
CONTRACT(a_lazy_initializer_that_fails_breaks_the_pool_and_every_call_tells_why)
{
    counter calls = {0};
    crew_pool *pool = contract_pool(
        CREW_OPTIONS(.worker_init = no_licence, .user = &calls, .flags = CREW_LAZY_INIT | CREW_WORKERS_ONLY));
    for (int i = 0; i < 3; i++) {
        crew_error error = {0};
        CHECK_STATUS(crew_apply(pool, &twice, &i, &(long){0}, CREW_CALL(.error = &error)), CREW_BROKEN);
        CHECK(strstr(error.message, "no licence for worker ") != NULL);
    }
    CHECK(counter_get(&calls) >= 1);
    CHECK(counter_get(&calls) <= (long)config->workers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_JOB(leave_thread, int, long)
{
    (void)arg;
    (void)result;
    (void)context;
    pthread_exit(NULL);
}

/* PR 101081 (row 5), §1.5: SystemExit in a task loses the task and its worker;
 * gh-76067, gh-79448 (row 10): hangs after respawns */
CONTRACT_THREADS(jobs_that_end_their_thread_fail_alone_and_their_workers_are_replaced)
{
    struct stage stage = stage_new();
    crew_result *held[WORKERS_MOST];
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    for (unsigned i = 0; i < 3 * config->workers; i++) {
        long value;
        crew_error error = {0};
        CHECK_STATUS(crew_apply(pool, &leave_thread, &(int){0}, &value, CREW_CALL(.error = &error)), CREW_WORKER_LOST);
        CHECK_STATUS(error.status, CREW_WORKER_LOST);
        CHECK_STRING(error.job, "leave_thread");
        CHECK_STATUS(crew_apply(pool, &twice, &(int){21}, &value, NULL), CREW_OK);
        CHECK_EQ(value, 42);
    }
    stage_hold(&stage, pool, config->workers, held);
    stage_release(&stage, config->workers, held);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

/* ---- waits inside jobs ---- */

CREW_JOB(tree, size_t, long)
{
    enum { WIDTH = 6 };
    size_t *depth = context;
    long below[WIDTH];
    (void)arg;
    *result = 1;
    if (*depth == 0)
        return 0;
    size_t rest = *depth - 1;
    if (crew_map(crew_current_pool(), &tree, NULL, WIDTH, below, CREW_CALL(.context = &rest)) != CREW_OK)
        return crew_fail(1, "a map at depth %zu failed", *depth);
    for (int i = 0; i < WIDTH; i++)
        *result += below[i];
    return 0;
}

/* §1.5, gh-141617 (row 42): a map inside a worker deadlocks once all workers wait */
CONTRACT(maps_inside_maps_of_a_full_pool_complete_without_spare_threads)
{
    size_t depth = 3;
    long nodes = 0;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = CREW_NO_SPARES));
    CHECK_STATUS(crew_apply(pool, &tree, &(size_t){0}, &nodes, CREW_CALL(.context = &depth)), CREW_OK);
    CHECK_EQ(nodes, 1 + 6 + 36 + 216);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_JOB(ask_another, int, long)
{
    crew_result *other;
    (void)context;
    if (crew_apply_async(crew_current_pool(), &twice, arg, &other, NULL) != CREW_OK)
        return crew_fail(1, "submitting was refused");
    crew_status status = crew_result_get(other, result, CREW_FOREVER);
    crew_result_destroy(other);
    return status == CREW_OK ? 0 : crew_fail(2, "%s", crew_status_name(status));
}

/* gh-141617 (row 42): submit and wait inside a task deadlocks at saturation */
CONTRACT(a_job_that_waits_for_its_own_job_gets_the_value_on_a_single_worker)
{
    long value = 0;
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
    CHECK_STATUS(crew_apply(pool, &ask_another, &(int){21}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct narcissus {
    crew_result *self;
};

CREW_JOB(wait_for_itself, int, crew_status)
{
    struct narcissus *narcissus = context;
    (void)arg;
    *result = crew_result_wait(narcissus->self, CREW_FOREVER);
    return 0;
}

/* gh-141617 (row 42): what can never end is not detected */
CONTRACT(a_job_that_waits_for_itself_is_refused_instead_of_hanging)
{
    struct narcissus narcissus;
    crew_status seen = CREW_OK;
    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.context = &narcissus);
    CHECK_STATUS(crew_apply_async(pool, &wait_for_itself, &(int){0}, &narcissus.self, call), CREW_OK);
    CHECK_STATUS(crew_result_get(narcissus.self, &seen, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(seen, CREW_DEADLOCK);
    crew_result_destroy(narcissus.self);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
