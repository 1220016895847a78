/* SPDX-License-Identifier: MIT */
/* Promise 2: close, terminate, join, wait and destroy, from outside and from inside. */
#include "ledger.h"

static int pool_state(crew_pool *pool)
{
    crew_pool_info info = {.struct_size = sizeof info};

    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    return info.state;
}

/* ---- close ---- */

static void check_all_refused(crew_pool *pool, crew_status expected)
{
    const int numbers[2] = {1, 2};
    const crew_column column = {numbers, sizeof(int), sizeof(int), 0};
    const crew_source source = {.items = numbers, .count = 2};
    crew_result *const untouched = (crew_result *)&column, *result = untouched;
    crew_iterator *const no_stream = (crew_iterator *)&column, *stream = no_stream;
    long values[2] = {-1, -1};

    CHECK_STATUS(crew_apply(pool, &twice, numbers, values, NULL), expected);
    CHECK_STATUS(crew_apply_async(pool, &twice, numbers, &result, NULL), expected);
    CHECK_STATUS(crew_map(pool, &twice, numbers, 2, values, NULL), expected);
    CHECK_STATUS(crew_map_async(pool, &twice, numbers, 2, values, &result, NULL), expected);
    CHECK_STATUS(crew_starmap(pool, &twice, &column, 1, 2, values, NULL), expected);
    CHECK_STATUS(crew_starmap_async(pool, &twice, &column, 1, 2, values, &result, NULL), expected);
    CHECK_STATUS(crew_imap(pool, &twice, &source, &stream, NULL), expected);
    CHECK_STATUS(crew_imap_unordered(pool, &twice, &source, &stream, NULL), expected);
    CHECK(result == untouched);
    CHECK(stream == no_stream);
    CHECK(values[0] == -1 && values[1] == -1);
}

CONTRACT(close_refuses_all_eight_ways_to_submit_and_leaves_outputs_untouched)
{
    crew_pool *pool = contract_pool(NULL);

    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    check_all_refused(pool, CREW_CLOSED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(terminate_refuses_all_eight_ways_to_submit)
{
    crew_pool *pool = contract_pool(NULL);

    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    check_all_refused(pool, CREW_CLOSED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_refusal_is_explained_in_the_error_of_the_call)
{
    crew_pool *pool = contract_pool(NULL);
    crew_error error = {0};

    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, CREW_CALL(.error = &error)), CREW_CLOSED);
    CHECK_STATUS(error.status, CREW_CLOSED);
    CHECK_EQ(error.code, 0);
    CHECK_EQ(error.worker, -1);
    CHECK(error.message[0] != '\0');
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(close_lets_what_is_queued_run)
{
    struct ledger ledger = {0};
    struct blocker blocker;
    crew_pool *pool = contract_pool(NULL);

    blocker_hold(&blocker, pool, config->workers);
    for (long i = 0; i < 30; i++)
        CHECK_STATUS(ledger_submit(&ledger, pool, i, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_OK]), 30);
    ledger_check(&ledger, 30, 0);
}

static crew_fn closing_fn;
static const crew_job closing = {closing_fn, sizeof(int), 0, "closing", NULL, NULL};

/* Closes its pool, and submits its successor while its argument says that there is one; each counts in `context`. */
static int closing_fn(const void *arg, void *result, void *context)
{
    int left = *(const int *)arg - 1;

    (void)result;
    counter_add(context, 1);
    CHECK_STATUS(crew_pool_close(crew_current_pool()), CREW_OK);
    if (left > 0)
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &closing, &left, NULL, CREW_CALL(.context = context)),
                     CREW_OK);
    return 0;
}

CONTRACT(close_lets_a_queued_job_submit_more)
{
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};

    CHECK_STATUS(crew_apply_async(pool, &closing, &(int){6}, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&runs), 6);
}

/* A callback that closes the pool, and submits the next job until the counter `user` has fallen to 0. */
static void close_and_go_on(const crew_outcome *outcome, void *user)
{
    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK_STATUS(crew_pool_close(crew_current_pool()), CREW_OK);
    if (counter_add(user, -1) > 0)
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &twice, &(int){1}, NULL,
                                      CREW_CALL(.on_done = close_and_go_on, .user = user)),
                     CREW_OK);
}

CONTRACT(close_lets_a_callback_submit_more)
{
    crew_pool *pool = contract_pool(NULL);
    counter left = {6};

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, NULL, CREW_CALL(.on_done = close_and_go_on, .user = &left)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&left), 0);
}

CONTRACT(close_and_terminate_may_be_called_twice_and_in_any_order)
{
    crew_pool *pool = contract_pool(NULL);

    CHECK_EQ(pool_state(pool), CREW_POOL_OPEN);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_EQ(pool_state(pool), CREW_POOL_CLOSED);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_EQ(pool_state(pool), CREW_POOL_TERMINATED);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(pool_state(pool), CREW_POOL_JOINED);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- terminate ---- */

struct long_job {
    struct gate *started, *go;
    crew_status submitted;
};

/* Reports whether it should stop before and after the gate, and what a submission then gives. */
static int long_job_fn(const void *arg, void *result, void *context)
{
    struct long_job *job = context;
    int before = crew_should_stop();

    (void)arg;
    gate_open(job->started);
    gate_wait(job->go);
    job->submitted = crew_apply_async(crew_current_pool(), &twice, &(int){1}, NULL, NULL);
    *(int *)result = before * 2 + crew_should_stop();
    return 0;
}

static const crew_job long_job_job = {long_job_fn, 0, sizeof(int), "long_job", NULL, NULL};

static crew_result *long_job_start(struct long_job *job, crew_pool *pool)
{
    crew_result *result;

    *job = (struct long_job){gate_new(), gate_new(), CREW_OK};
    CHECK_STATUS(crew_apply_async(pool, &long_job_job, NULL, &result, CREW_CALL(.context = job)), CREW_OK);
    gate_wait(job->started);
    return result;
}

/* Lets it finish; the value it kept. */
static int long_job_finish(struct long_job *job, crew_result *result)
{
    int value = -1;

    gate_open(job->go);
    CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
    crew_result_destroy(result);
    gate_free(job->started);
    gate_free(job->go);
    return value;
}

CONTRACT_THREADS(a_running_job_sees_terminate_and_keeps_its_result)
{
    crew_pool *pool = contract_pool(NULL);
    struct long_job job;
    crew_result *result = long_job_start(&job, pool);

    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_BUSY);
    CHECK_EQ(long_job_finish(&job, result), 1);
    CHECK_STATUS(job.submitted, CREW_CLOSED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(a_running_job_is_not_told_to_stop_by_close_and_may_submit)
{
    crew_pool *pool = contract_pool(NULL);
    struct long_job job;
    crew_result *result = long_job_start(&job, pool);

    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_EQ(long_job_finish(&job, result), 0);
    CHECK_STATUS(job.submitted, CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(a_cancelled_running_job_is_told_to_stop_alone_and_keeps_its_result)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 2));
    struct long_job cancelled, other;
    crew_result *cancelled_result = long_job_start(&cancelled, pool), *other_result = long_job_start(&other, pool);

    CHECK_STATUS(crew_result_cancel(cancelled_result), CREW_BUSY);
    CHECK_STATUS(crew_result_cancel(cancelled_result), CREW_BUSY);
    CHECK_EQ(long_job_finish(&other, other_result), 0);
    gate_open(cancelled.go);
    CHECK_STATUS(crew_result_wait(cancelled_result, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_result_cancel(cancelled_result), CREW_END);
    CHECK_EQ(long_job_finish(&cancelled, cancelled_result), 1);
    CHECK_STATUS(cancelled.submitted, CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_JOB(asks_to_stop, char, int)
{
    (void)arg;
    (void)context;
    *result = crew_should_stop();
    return 0;
}

CONTRACT_THREADS(request_stop_is_seen_by_running_and_later_jobs_and_ends_nothing)
{
    crew_pool *pool = contract_pool(NULL);
    struct long_job job;
    crew_result *result = long_job_start(&job, pool);
    int later = 0;

    crew_pool_request_stop(NULL);
    crew_pool_request_stop(pool);
    CHECK_EQ(long_job_finish(&job, result), 1);
    CHECK_STATUS(job.submitted, CREW_OK);
    CHECK_STATUS(crew_apply(pool, &asks_to_stop, "", &later, NULL), CREW_OK);
    CHECK_EQ(later, 1);
    CHECK_EQ(pool_state(pool), CREW_POOL_OPEN);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(crew_should_stop(), 0);
}

static void held_callback(const crew_outcome *outcome, void *user)
{
    struct long_job *job = user;

    (void)outcome;
    gate_open(job->started);
    gate_wait(job->go);
}

CONTRACT_THREADS(terminate_waits_for_no_job_callback_or_source)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 3));
    struct long_job callback = {gate_new(), gate_new(), CREW_OK};
    struct blocker blocker;
    struct stuck_source stuck;

    CHECK_STATUS(
        crew_apply_async(pool, &twice, &(int){1}, NULL, CREW_CALL(.on_done = held_callback, .user = &callback)),
        CREW_OK);
    gate_wait(callback.started);
    stuck_source_start(&stuck, pool);
    blocker_hold(&blocker, pool, 1);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_NOW), CREW_TIMEOUT);
    gate_open(callback.go);
    stuck_source_let_go(&stuck);
    stuck_source_free(&stuck);
    end_pool(pool, &blocker);
    gate_free(callback.started);
    gate_free(callback.go);
}

static int terminates_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)context;
    CHECK_STATUS(crew_pool_terminate(crew_current_pool()), CREW_OK);
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &twice, &(int){1}, NULL, NULL), CREW_CLOSED);
    *(int *)result = crew_should_stop();
    return 0;
}

CONTRACT(a_job_may_terminate_its_pool_and_keeps_its_result)
{
    static const crew_job job = {terminates_fn, 0, sizeof(int), "terminates", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    int told = 0;

    CHECK_STATUS(crew_apply(pool, &job, NULL, &told, NULL), CREW_OK);
    CHECK_EQ(told, 1);
    CHECK_EQ(pool_state(pool), CREW_POOL_TERMINATED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void terminate_and_count(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    CHECK_STATUS(crew_pool_terminate(crew_current_pool()), CREW_OK);
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &twice, &(int){1}, NULL, NULL), CREW_CLOSED);
    counter_add(user, 1);
}

CONTRACT(a_callback_may_terminate_and_cannot_submit_afterwards)
{
    crew_pool *pool = contract_pool(NULL);
    counter calls = {0};
    long accepted = 0;

    for (int i = 0; i < 20; i++)
        accepted += crew_apply_async(pool, &twice, &i, NULL,
                                     CREW_CALL(.on_done = terminate_and_count, .user = &calls)) == CREW_OK;
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(accepted >= 1);
    CHECK_EQ(counter_get(&calls), accepted);
}

/* ---- join, wait, destroy ---- */

CONTRACT(join_before_close_is_refused)
{
    crew_pool *pool = contract_pool(NULL);

    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_INVALID);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(join_may_be_called_twice)
{
    crew_pool *pool = contract_pool(NULL);

    CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_NOW), CREW_OK);
    CHECK_EQ(pool_state(pool), CREW_POOL_JOINED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void join_pool(void *pool)
{
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
}

CONTRACT(two_threads_may_join_at_once)
{
    crew_pool *pool = contract_pool(NULL);
    struct test_thread *threads[2];

    for (int i = 0; i < 50; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    for (int i = 0; i < 2; i++)
        threads[i] = test_thread_start(join_pool, pool);
    for (int i = 0; i < 2; i++)
        test_thread_join(threads[i]);
    CHECK_EQ(pool_state(pool), CREW_POOL_JOINED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(join_and_wait_give_up_at_their_deadline)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;

    blocker_hold(&blocker, pool, 1);
    CHECK_STATUS(crew_pool_wait(pool, CREW_NOW), CREW_TIMEOUT);
    CHECK_STATUS(crew_pool_wait(pool, crew_after_ms(10)), CREW_TIMEOUT);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_NOW), CREW_TIMEOUT);
    CHECK_STATUS(crew_pool_join(pool, crew_after_ms(10)), CREW_TIMEOUT);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

CONTRACT(join_returns_when_the_last_thread_is_gone)
{
    unsigned before = test_threads_alive();
    crew_pool *pool = contract_pool(NULL);

    for (int i = 0; i < 100; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(test_threads_alive(), before);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(wait_waits_for_jobs_and_callbacks_and_leaves_the_pool_open)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);

    for (long round = 1; round <= 20; round++) {
        for (long i = 0; i < 10; i++)
            CHECK_STATUS(ledger_submit(&ledger, pool, i, NULL), CREW_OK);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        ledger_check(&ledger, 10 * round, 0);
        CHECK_EQ(pool_state(pool), CREW_POOL_OPEN);
    }
    CHECK_STATUS(crew_pool_wait(pool, CREW_NOW), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(destroy_runs_everything_that_was_accepted)
{
    struct ledger ledger = {0};

    {
        CREW_AUTO_POOL(pool);
        pool = contract_pool(NULL);
        for (long i = 0; i < 200; i++)
            CHECK_STATUS(ledger_submit(&ledger, pool, i, NULL), CREW_OK);
    }
    CHECK_EQ(counter_get(&ledger.by_status[CREW_OK]), 200);
    ledger_check(&ledger, 200, 0);
    CHECK_STATUS(crew_pool_destroy(NULL), CREW_OK);
}

CONTRACT(a_result_outlives_its_pool)
{
    crew_pool *pool = contract_pool(NULL);
    crew_result *good, *bad;
    crew_error error;
    long value = 0;

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){4}, &good, NULL), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &fail_with, &(int){9}, &bad, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_STATUS(crew_result_wait(good, CREW_NOW), CREW_OK);
    CHECK_STATUS(crew_result_get(good, &value, CREW_FOREVER), CREW_OK);
    CHECK_EQ(value, 8);
    CHECK_STATUS(crew_result_cancel(good), CREW_END);
    CHECK_STATUS(crew_result_error(bad, &error), CREW_OK);
    CHECK_EQ(error.code, 9);
    crew_result_destroy(good);
    crew_result_destroy(bad);
}

CONTRACT(query_counts_what_was_done_and_what_failed)
{
    crew_pool *pool = contract_pool(NULL);
    crew_pool_info info = {.struct_size = sizeof info};

    for (int i = 0; i < 30; i++)
        CHECK_STATUS(crew_apply_async(pool, &fail_with, &(int){i % 3 == 0}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_EQ(info.done, 20);
    CHECK_EQ(info.failed, 10);
    CHECK_EQ(info.queued, 0);
    CHECK_EQ(info.running, 0);
    CHECK(!config->threads || info.workers == config->workers);
    CHECK(info.slots >= info.workers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(query_counts_what_is_queued_and_running)
{
    crew_pool *pool = contract_pool(NULL);
    crew_pool_info info = {.struct_size = sizeof info};
    struct blocker blocker;

    blocker_hold(&blocker, pool, config->workers);
    for (int i = 0; i < 7; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_EQ(info.queued, 7);
    CHECK_EQ(info.running, config->workers);
    CHECK_EQ(info.done, 0);
    CHECK(info.threads >= config->workers);
    end_pool(pool, &blocker);
}
