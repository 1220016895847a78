/* SPDX-License-Identifier: MIT */
/* Promise 10, the limit of the queue: with queue_max an outsider waits, is told CREW_FULL, or runs the job itself;
 * what belongs to the pool (jobs, callbacks) is never held up. */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"

#include <pthread.h>

enum { LIMIT = 3 };

static counter ran, dropped, called;

static void count_drop(void *arg, void *context)
{
    (void)arg, (void)context;
    counter_add(&dropped, 1);
}

CREW_ACTION_DROPS(count_run, int, count_drop)
{
    (void)arg, (void)context;
    counter_add(&ran, 1);
    return 0;
}

static void count_call(const crew_outcome *outcome, void *user)
{
    (void)outcome, (void)user;
    counter_add(&called, 1);
}

static crew_status submit(crew_pool *pool, crew_result **ret_result, crew_error *error, unsigned flags)
{
    return crew_apply_async(pool, &count_run, &(int){0}, ret_result,
                            CREW_CALL(.on_done = count_call, .error = error, .flags = flags));
}

/* A pool whose workers are all held and whose queue holds LIMIT jobs. */
struct full_pool {
    crew_pool *pool;
    struct blocker blocker;
    crew_result *pending[LIMIT];
};

static void fill(struct full_pool *full, unsigned flags)
{
    full->pool = contract_pool(CREW_OPTIONS(.queue_max = LIMIT, .flags = flags));
    blocker_hold(&full->blocker, full->pool, config->workers);
    for (int i = 0; i < LIMIT; i++)
        CHECK_STATUS(submit(full->pool, &full->pending[i], NULL, 0), CREW_OK);
}

/* Lets everything run, and checks that `accepted` jobs, and nothing else, ended once each. */
static void drain(struct full_pool *full, long accepted)
{
    blocker_let_go(&full->blocker);
    CHECK_STATUS(crew_pool_destroy(full->pool), CREW_OK);
    for (int i = 0; i < LIMIT; i++)
        crew_result_destroy(full->pending[i]);
    blocker_free(&full->blocker);
    CHECK_EQ(counter_get(&dropped), accepted);
    CHECK_EQ(counter_get(&called), accepted);
}

/* ---- fail ---- */

CONTRACT_THREADS(a_full_queue_fails_where_the_pool_says_so)
{
    struct full_pool full;
    crew_result *untouched = NULL;
    crew_error error = {.status = CREW_OK, .message = ""};
    fill(&full, CREW_FULL_FAILS);
    CHECK_STATUS(submit(full.pool, &untouched, &error, 0), CREW_FULL);
    CHECK(untouched == NULL);
    CHECK_STATUS(error.status, CREW_FULL);
    CHECK(error.message[0] != '\0');
    drain(&full, LIMIT);
    CHECK_EQ(counter_get(&ran), LIMIT);
}

CONTRACT_THREADS(every_kind_of_call_is_told_that_the_queue_is_full)
{
    struct full_pool full;
    int items[2] = {0, 0};
    const crew_column column = {items, sizeof items[0], sizeof items[0], 0};
    fill(&full, CREW_FULL_FAILS);
    CHECK_STATUS(crew_map_async(full.pool, &count_run, items, 2, NULL, NULL, NULL), CREW_FULL);
    CHECK_STATUS(crew_starmap_async(full.pool, &count_run, &column, 1, 2, NULL, NULL, NULL), CREW_FULL);
    drain(&full, LIMIT);
    CHECK_EQ(counter_get(&ran), LIMIT);
}

CONTRACT_THREADS(there_is_room_again_when_a_job_has_started)
{
    struct full_pool full;
    fill(&full, CREW_FULL_FAILS);
    CHECK_STATUS(submit(full.pool, NULL, NULL, 0), CREW_FULL);
    blocker_let_go(&full.blocker);
    for (int i = 0; i < LIMIT; i++)
        CHECK_STATUS(crew_result_wait(full.pending[i], far_away()), CREW_OK);
    CHECK_STATUS(submit(full.pool, NULL, NULL, 0), CREW_OK);
    drain(&full, LIMIT + 1);
    CHECK_EQ(counter_get(&ran), LIMIT + 1);
}

CONTRACT_THREADS(there_is_room_again_when_a_pending_job_was_cancelled)
{
    struct full_pool full;
    fill(&full, CREW_FULL_FAILS);
    CHECK_STATUS(submit(full.pool, NULL, NULL, 0), CREW_FULL);
    for (int i = 0; i < LIMIT; i++)
        CHECK_STATUS(crew_result_cancel(full.pending[i]), CREW_OK);
    for (int i = 0; i < LIMIT; i++)
        CHECK_STATUS(submit(full.pool, NULL, NULL, 0), CREW_OK);
    CHECK_STATUS(submit(full.pool, NULL, NULL, 0), CREW_FULL);
    drain(&full, 2 * LIMIT);
    CHECK_EQ(counter_get(&ran), LIMIT);
}

CONTRACT_THREADS(a_map_counts_once_whatever_its_length)
{
    static int items[1000];
    struct blocker blocker;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.queue_max = 2, .flags = CREW_FULL_FAILS));
    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_map_async(pool, &count_run, items, 1000, NULL, NULL, NULL), CREW_OK);
    CHECK_STATUS(submit(pool, NULL, NULL, 0), CREW_OK);
    CHECK_STATUS(submit(pool, NULL, NULL, 0), CREW_FULL);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ran), 1001);
    blocker_free(&blocker);
}

CONTRACT_THREADS(a_call_that_must_not_wait_is_told_that_the_queue_is_full)
{
    struct full_pool full;
    crew_result *untouched = NULL;
    crew_error error = {.status = CREW_OK};
    fill(&full, 0);
    CHECK_STATUS(submit(full.pool, &untouched, &error, CREW_NO_WAIT), CREW_FULL);
    CHECK_STATUS(error.status, CREW_FULL);
    CHECK(untouched == NULL);
    CHECK_STATUS(crew_map_async(full.pool, &count_run, (int[2]){0}, 2, NULL, NULL, CREW_CALL(.flags = CREW_NO_WAIT)),
                 CREW_FULL);
    drain(&full, LIMIT);
    CHECK_EQ(counter_get(&ran), LIMIT);
}

/* ---- run ---- */

struct whereabouts {
    pthread_t thread;
    int worker;
    crew_pool *pool;
};

CREW_JOB(where, int, struct whereabouts)
{
    (void)arg, (void)context;
    *result = (struct whereabouts){pthread_self(), crew_worker_index(), crew_current_pool()};
    return 0;
}

CONTRACT_THREADS(a_full_queue_makes_the_submitter_run_the_job_where_the_pool_says_so)
{
    struct full_pool full;
    struct whereabouts seen;
    crew_result *result;
    fill(&full, CREW_FULL_RUNS | CREW_CALLER_HELPS);
    CHECK_STATUS(crew_apply_async(full.pool, &where, &(int){0}, &result, CREW_CALL(.on_done = count_call)), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &seen, CREW_NOW), CREW_OK);
    CHECK(pthread_equal(seen.thread, pthread_self()));
    CHECK_EQ(seen.worker, -1);
    CHECK(seen.pool == full.pool);
    crew_result_destroy(result);
    blocker_let_go(&full.blocker);
    CHECK_STATUS(crew_pool_wait(full.pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&called), LIMIT + 1);
    counter_add(&called, -1);
    drain(&full, LIMIT);
}

CONTRACT_THREADS(a_call_that_must_not_wait_does_not_run_the_job_either)
{
    struct full_pool full;
    fill(&full, CREW_FULL_RUNS | CREW_CALLER_HELPS);
    CHECK_STATUS(submit(full.pool, NULL, NULL, CREW_NO_WAIT), CREW_FULL);
    CHECK_EQ(counter_get(&ran), 0);
    drain(&full, LIMIT);
    CHECK_EQ(counter_get(&ran), LIMIT);
}

/* ---- wait ---- */

struct submitter {
    struct full_pool *full;
    struct gate *returned;
    crew_result *result;
    crew_status status;
};

static void submit_from_a_thread(void *arg)
{
    struct submitter *submitter = arg;
    submitter->status = submit(submitter->full->pool, &submitter->result, NULL, 0);
    gate_add(submitter->returned);
}

/* Starts two threads that have to wait for room, and looks for a while whether they do. */
static void start_submitters(struct full_pool *full, struct submitter submitters[2], struct test_thread *threads[2])
{
    struct gate *returned = gate_new();
    for (int i = 0; i < 2; i++) {
        submitters[i] = (struct submitter){full, returned, NULL, CREW_BUSY};
        threads[i] = test_thread_start(submit_from_a_thread, &submitters[i]);
    }
    CHECK(!gate_wait_until(returned, 1, NOT_YET_NS));
}

static void join_submitters(struct submitter submitters[2], struct test_thread *threads[2])
{
    for (int i = 0; i < 2; i++)
        test_thread_join(threads[i]);
    gate_free(submitters[0].returned);
}

CONTRACT_THREADS(a_full_queue_makes_an_outsider_wait_until_there_is_room)
{
    struct full_pool full;
    struct submitter submitters[2];
    struct test_thread *threads[2];
    fill(&full, 0);
    start_submitters(&full, submitters, threads);
    blocker_let_go(&full.blocker);
    join_submitters(submitters, threads);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(submitters[i].status, CREW_OK);
        CHECK_STATUS(crew_result_wait(submitters[i].result, CREW_FOREVER), CREW_OK);
        crew_result_destroy(submitters[i].result);
    }
    drain(&full, LIMIT + 2);
    CHECK_EQ(counter_get(&ran), LIMIT + 2);
}

CONTRACT_THREADS(a_cancel_makes_room_for_those_who_wait)
{
    struct full_pool full;
    struct submitter submitters[2];
    struct test_thread *threads[2];
    fill(&full, 0);
    start_submitters(&full, submitters, threads);
    CHECK_STATUS(crew_result_cancel(full.pending[0]), CREW_OK);
    gate_wait_for(submitters[0].returned, 1);
    CHECK(!gate_wait_until(submitters[0].returned, 2, NOT_YET_NS));
    CHECK_STATUS(crew_result_cancel(full.pending[2]), CREW_OK);
    join_submitters(submitters, threads);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(submitters[i].status, CREW_OK);
        crew_result_destroy(submitters[i].result);
    }
    drain(&full, LIMIT + 2);
    CHECK_EQ(counter_get(&ran), LIMIT);
}

CONTRACT_THREADS(close_refuses_those_who_wait_for_room)
{
    struct full_pool full;
    struct submitter submitters[2];
    struct test_thread *threads[2];
    fill(&full, 0);
    start_submitters(&full, submitters, threads);
    CHECK_STATUS(crew_pool_close(full.pool), CREW_OK);
    join_submitters(submitters, threads);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(submitters[i].status, CREW_CLOSED);
        CHECK(submitters[i].result == NULL);
    }
    drain(&full, LIMIT);
    CHECK_EQ(counter_get(&ran), LIMIT);
}

/* The moment is a race, so each is either refused or accepted and ended; what matters is that none stays waiting. */
CONTRACT_THREADS(terminate_ends_or_refuses_those_who_wait_for_room)
{
    struct full_pool full;
    struct submitter submitters[2];
    struct test_thread *threads[2];
    long accepted = LIMIT;
    fill(&full, 0);
    start_submitters(&full, submitters, threads);
    CHECK_STATUS(crew_pool_terminate(full.pool), CREW_OK);
    join_submitters(submitters, threads);
    for (int i = 0; i < 2; i++) {
        if (submitters[i].status == CREW_OK) {
            CHECK_STATUS(crew_result_wait(submitters[i].result, CREW_FOREVER), CREW_OK);
            CHECK_STATUS(crew_result_status(submitters[i].result), CREW_TERMINATED);
            crew_result_destroy(submitters[i].result);
            accepted++;
        } else {
            CHECK_STATUS(submitters[i].status, CREW_CLOSED);
        }
    }
    drain(&full, accepted);
    CHECK_EQ(counter_get(&ran), 0);
}

/* ---- those of the pool are exempt ---- */

static _Thread_local bool submitting;

CREW_ACTION_DROPS(count_run_apart, int, count_drop)
{
    (void)arg, (void)context;
    CHECK(!submitting); /* else it runs inside the submission */
    counter_add(&ran, 1);
    return 0;
}

CREW_ACTION(submit_many, struct gate *)
{
    (void)context;
    gate_wait(*arg);
    submitting = true;
    for (int i = 0; i < 10 * LIMIT; i++)
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_run_apart, &i, NULL, NULL), CREW_OK);
    CHECK_STATUS(
        crew_apply_async(crew_current_pool(), &count_run_apart, &(int){0}, NULL, CREW_CALL(.flags = CREW_NO_WAIT)),
        CREW_OK);
    submitting = false;
    return 0;
}

/* One worker is held by the job that submits, the others by blockers, and the queue is full. */
static void submit_from_a_job(unsigned flags)
{
    struct gate *go = gate_new();
    struct blocker blocker;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.queue_max = LIMIT, .flags = flags));
    blocker_hold(&blocker, pool, config->workers - 1);
    CHECK_STATUS(crew_apply_async(pool, &submit_many, &go, NULL, NULL), CREW_OK);
    for (crew_pool_info info = {.struct_size = sizeof info}; info.running < config->workers;)
        CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    for (int i = 0; i < LIMIT; i++)
        CHECK_STATUS(submit(pool, NULL, NULL, 0), CREW_OK);
    gate_open(go);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ran), 11 * LIMIT + 1);
    CHECK_EQ(counter_get(&dropped), 11 * LIMIT + 1);
    blocker_free(&blocker);
    gate_free(go);
}

CONTRACT_THREADS(a_job_s_own_submissions_are_never_blocked)
{
    submit_from_a_job(0);
}

CONTRACT_THREADS(a_job_s_own_submissions_are_never_refused)
{
    submit_from_a_job(CREW_FULL_FAILS);
}

CONTRACT_THREADS(a_job_s_own_submissions_never_run_inline)
{
    submit_from_a_job(CREW_FULL_RUNS | CREW_CALLER_HELPS);
}

static void submit_from_callback(const crew_outcome *outcome, void *pool)
{
    CHECK_STATUS(outcome->status, CREW_OK);
    for (int i = 0; i < 10 * LIMIT; i++)
        CHECK_STATUS(crew_apply_async(pool, &count_run, &i, NULL, NULL), CREW_OK);
}

CONTRACT(a_callback_s_submissions_are_never_held_up)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.queue_max = 1));
    for (int i = 0; i < 5; i++)
        CHECK_STATUS(
            crew_apply_async(pool, &count_run, &i, NULL, CREW_CALL(.on_done = submit_from_callback, .user = pool)),
            CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ran), 5 + 5 * 10 * LIMIT);
}

/* ---- the limit itself ---- */

static counter accepted;

/* Reads what was accepted before what has run, and a worker may be about to run what it has taken: so the difference
 * is never more than the pending ones and one for each worker. */
static void submit_a_thousand(void *pool)
{
    for (int i = 0; i < 1000; i++) {
        CHECK_STATUS(submit(pool, NULL, NULL, 0), CREW_OK);
        long before = counter_add(&accepted, 1);
        long not_run = before - counter_get(&ran);
        CHECK(not_run <= 1 + (long)config->workers);
    }
}

CONTRACT(a_limit_of_one_holds_nobody_up_for_ever)
{
    struct test_thread *threads[4];
    crew_pool *pool = contract_pool(CREW_OPTIONS(.queue_max = 1));
    for (int i = 0; i < 4; i++)
        threads[i] = test_thread_start(submit_a_thousand, pool);
    for (int i = 0; i < 4; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ran), 4000);
    CHECK_EQ(counter_get(&dropped), 4000);
    CHECK_EQ(counter_get(&called), 4000);
}
