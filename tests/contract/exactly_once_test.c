/* SPDX-License-Identifier: MIT */
/* Promise 1: every accepted job ends exactly once, is called back once, has its argument dropped once; none hangs. */
#include "ledger.h"

#include <pthread.h>

CONTRACT(a_job_that_succeeds_ends_once_with_its_value)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    crew_result *results[50];

    for (long i = 0; i < 50; i++)
        CHECK_STATUS(ledger_submit(&ledger, pool, i, &results[i]), CREW_OK);
    for (long i = 0; i < 50; i++) {
        struct parcel value;

        CHECK_STATUS(crew_result_get(results[i], &value, CREW_FOREVER), CREW_OK);
        CHECK_EQ(parcel_open(value), 2 * i);
        crew_result_destroy(results[i]);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_OK]), 50);
    ledger_check(&ledger, 50, 50);
}

CONTRACT(a_job_that_fails_ends_once_with_its_error)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    crew_result *result;
    struct parcel value = {NULL};
    crew_error error;

    CHECK_STATUS(ledger_submit(&ledger, pool, -7, &result), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_FAILED);
    CHECK(value.number == NULL);
    CHECK_STATUS(crew_result_error(result, &error), CREW_OK);
    CHECK_STATUS(error.status, CREW_FAILED);
    CHECK_EQ(error.code, -7);
    CHECK_STRING(error.message, "-7 is negative");
    CHECK_STRING(error.job, "double_parcel");
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_FAILED]), 1);
    ledger_check(&ledger, 1, 0);
}

CONTRACT_THREADS(a_cancelled_job_never_runs_and_ends_once)
{
    struct ledger ledger = {0};
    struct blocker blocker;
    crew_pool *pool = contract_pool(NULL);
    crew_result *results[20];

    blocker_hold(&blocker, pool, config->workers);
    for (long i = 0; i < 20; i++)
        CHECK_STATUS(ledger_submit(&ledger, pool, i, &results[i]), CREW_OK);
    for (long i = 0; i < 20; i++) {
        CHECK_STATUS(crew_result_cancel(results[i]), CREW_OK);
        CHECK_STATUS(crew_result_cancel(results[i]), CREW_OK);
        CHECK_EQ(counter_get(&ledger.args_dropped), i + 1);
    }
    end_pool(pool, &blocker);
    for (long i = 0; i < 20; i++) {
        CHECK_STATUS(crew_result_status(results[i]), CREW_CANCELLED);
        crew_result_destroy(results[i]);
    }
    CHECK_EQ(counter_get(&ledger.runs), 0);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_CANCELLED]), 20);
    ledger_check(&ledger, 20, 0);
}

CONTRACT_THREADS(a_terminated_job_is_dropped_by_terminate_itself_and_ends_once)
{
    struct ledger ledger = {0};
    struct blocker blocker;
    crew_pool *pool = contract_pool(NULL);
    crew_result *results[20];

    blocker_hold(&blocker, pool, config->workers);
    for (long i = 0; i < 20; i++)
        CHECK_STATUS(ledger_submit(&ledger, pool, i, &results[i]), CREW_OK);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.args_dropped), 20);
    end_pool(pool, &blocker);
    for (long i = 0; i < 20; i++) {
        CHECK_STATUS(crew_result_status(results[i]), CREW_TERMINATED);
        crew_result_destroy(results[i]);
    }
    CHECK_EQ(counter_get(&ledger.runs), 0);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_TERMINATED]), 20);
    ledger_check(&ledger, 20, 0);
}

struct litter {
    struct ledger ledger;
    crew_result *results[20];
    struct gate *submitted, *go;
};

static int submit_litter_fn(const void *arg, void *result, void *context)
{
    struct litter *litter = context;

    (void)arg;
    (void)result;
    for (long i = 0; i < 20; i++)
        CHECK_STATUS(ledger_submit(&litter->ledger, crew_current_pool(), i, &litter->results[i]), CREW_OK);
    gate_open(litter->submitted);
    gate_wait(litter->go);
    return 0;
}

CONTRACT_THREADS(what_a_running_job_has_submitted_is_ended_by_terminate_itself)
{
    static const crew_job submit_litter = {submit_litter_fn, 0, 0, "submit_litter", NULL, NULL};
    struct litter litter = {.submitted = gate_new(), .go = gate_new()};
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;

    blocker_hold(&blocker, pool, config->workers - 1);
    CHECK_STATUS(crew_apply_async(pool, &submit_litter, NULL, NULL, CREW_CALL(.context = &litter)), CREW_OK);
    gate_wait(litter.submitted);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_EQ(counter_get(&litter.ledger.args_dropped), 20);
    for (long i = 0; i < 20; i++) {
        CHECK_STATUS(crew_result_status(litter.results[i]), CREW_TERMINATED);
        crew_result_destroy(litter.results[i]);
    }
    gate_open(litter.go);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&litter.ledger.runs), 0);
    ledger_check(&litter.ledger, 20, 0);
    gate_free(litter.submitted);
    gate_free(litter.go);
}

/* Of a queued job: its end is known, and explained, before anything else happens. */
static void check_ended_unrun(crew_result *result, crew_status expected)
{
    long value = -1;
    crew_error error;

    CHECK_STATUS(crew_result_status(result), expected);
    CHECK_STATUS(crew_result_get(result, &value, CREW_NOW), expected);
    CHECK_EQ(value, -1);
    CHECK_STATUS(crew_result_error(result, &error), CREW_OK);
    CHECK_STATUS(error.status, expected);
    CHECK_EQ(error.code, 0);
    CHECK_EQ(error.worker, -1);
    CHECK_STRING(error.job, "twice");
    crew_result_destroy(result);
}

CONTRACT_THREADS(a_job_that_is_cancelled_or_terminated_is_ready_at_once)
{
    struct blocker blocker;
    crew_pool *pool = contract_pool(NULL);
    crew_result *cancelled, *terminated;

    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &cancelled, NULL), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){2}, &terminated, NULL), CREW_OK);
    CHECK_STATUS(crew_result_cancel(cancelled), CREW_OK);
    check_ended_unrun(cancelled, CREW_CANCELLED);
    CHECK_STATUS(crew_result_status(terminated), CREW_BUSY);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_result_cancel(terminated), CREW_END);
    check_ended_unrun(terminated, CREW_TERMINATED);
    end_pool(pool, &blocker);
}

CONTRACT(a_terminated_pool_of_jobs_without_handles_drops_and_calls_back_once)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);

    for (long i = 0; i < 300; i++)
        CHECK_STATUS(ledger_submit(&ledger, pool, i, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_OK]) + counter_get(&ledger.by_status[CREW_TERMINATED]), 300);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_OK]), counter_get(&ledger.runs));
    ledger_check(&ledger, 300, 0);
}

static int exit_thread_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    counter_add(&((struct ledger *)context)->runs, 1);
    pthread_exit(NULL);
}

/* On a serial pool the submitter's thread ends, so it must not be the case's own. */
struct submission {
    crew_pool *pool;
    struct ledger *ledger;
    crew_result *result;
};

static void submit_exit_thread(void *arg)
{
    static const crew_job exit_thread = {exit_thread_fn, sizeof(struct parcel), 0,
                                         "exit_thread",  parcel_drop_arg,       NULL};
    struct submission *submission = arg;
    struct parcel parcel = parcel_of(1);

    CHECK_STATUS(
        crew_apply_async(submission->pool, &exit_thread, &parcel, &submission->result, LEDGER_CALL(submission->ledger)),
        CREW_OK);
}

CONTRACT(a_job_that_ends_its_thread_ends_once)
{
    struct ledger ledger = {0};
    struct submission submission = {contract_pool(NULL), &ledger, NULL};

    test_thread_join(test_thread_start(submit_exit_thread, &submission));
    CHECK_STATUS(crew_result_wait(submission.result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(submission.result), CREW_WORKER_LOST);
    crew_result_destroy(submission.result);
    CHECK_STATUS(crew_pool_destroy(submission.pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_WORKER_LOST]), 1);
    ledger_check(&ledger, 1, 0);
}

static int init_refuses(void *user, int worker, void **ret_state)
{
    (void)user;
    (void)worker;
    (void)ret_state;
    return crew_fail(5, "no licence");
}

CONTRACT(a_job_of_a_pool_that_breaks_ends_once)
{
    struct ledger ledger = {0};
    long accepted = 0;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_init = init_refuses, .flags = CREW_LAZY_INIT));

    for (long i = 0; i < 50; i++) {
        crew_status status = ledger_submit(&ledger, pool, i, NULL);

        CHECK(status == CREW_OK || status == CREW_BROKEN);
        accepted += status == CREW_OK;
    }
    CHECK(accepted >= 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_BROKEN]), accepted);
    CHECK_EQ(counter_get(&ledger.runs), 0);
    ledger_check(&ledger, accepted, 0);
}

CONTRACT(what_is_refused_is_neither_dropped_nor_called_back)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    crew_result *untouched = (crew_result *)&ledger, *result = untouched;

    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(ledger_submit(&ledger, pool, 1, &result), CREW_CLOSED);
    CHECK(result == untouched);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    ledger_check(&ledger, 0, 0);
    CHECK_EQ(counter_get(&ledger.runs), 0);
}

CONTRACT(a_value_that_nobody_takes_is_dropped_once)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    crew_result *early, *late;

    CHECK_STATUS(ledger_submit(&ledger, pool, 1, &early), CREW_OK);
    crew_result_destroy(early);
    CHECK_STATUS(ledger_submit(&ledger, pool, 2, NULL), CREW_OK);
    CHECK_STATUS(ledger_submit(&ledger, pool, 3, &late), CREW_OK);
    CHECK_STATUS(crew_result_wait(late, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.results_dropped), 2);
    crew_result_destroy(late);
    ledger_check(&ledger, 3, 0);
}

CONTRACT(an_owned_value_is_moved_by_the_first_get_only)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    crew_result *result;
    struct parcel value, again = {NULL};

    CHECK_STATUS(ledger_submit(&ledger, pool, 21, &result), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &again, CREW_FOREVER), CREW_INVALID);
    CHECK(again.number == NULL);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    CHECK_EQ(parcel_open(value), 42);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    ledger_check(&ledger, 1, 1);
}

CONTRACT(a_plain_value_can_be_read_again_and_again)
{
    crew_pool *pool = contract_pool(NULL);
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){21}, &result, NULL), CREW_OK);
    for (int i = 0; i < 3; i++) {
        long value = 0;

        CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
        CHECK_EQ(value, 42);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(result);
}

CONTRACT(apply_drops_its_argument_once_and_hands_its_value_over)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    struct parcel argument = parcel_of(4), bad = parcel_of(-4), value;

    CHECK_STATUS(crew_apply(pool, &double_parcel, &argument, &value, LEDGER_CALL(&ledger)), CREW_OK);
    CHECK_EQ(parcel_open(value), 8);
    CHECK_STATUS(crew_apply(pool, &double_parcel, &bad, &value, LEDGER_CALL(&ledger)), CREW_FAILED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_OK]), 1);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_FAILED]), 1);
    ledger_check(&ledger, 2, 1);
}

/* ---- drops are under no lock ---- */

struct dropper {
    crew_pool *pool;
    counter drops, refused;
};

static void drop_that_calls_the_pool(void *arg, void *context)
{
    struct dropper *dropper = context;
    crew_pool_info info = {.struct_size = sizeof info};
    crew_status status;

    (void)arg;
    CHECK_STATUS(crew_pool_query(dropper->pool, &info), CREW_OK);
    status = crew_apply_async(dropper->pool, &count_one, NULL, NULL, CREW_CALL(.context = &dropper->drops));
    CHECK_STATUS(status, CREW_CLOSED);
    counter_add(&dropper->refused, 1);
    CHECK_STATUS(crew_pool_terminate(dropper->pool), CREW_OK);
}

CONTRACT_THREADS(a_drop_run_by_terminate_may_call_the_pool)
{
    static const crew_job job = {count_fn, sizeof(int), 0, "dropped", drop_that_calls_the_pool, NULL};
    struct dropper dropper = {.pool = contract_pool(NULL)};
    struct blocker blocker;

    blocker_hold(&blocker, dropper.pool, config->workers);
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(crew_apply_async(dropper.pool, &job, &i, NULL, CREW_CALL(.context = &dropper)), CREW_OK);
    CHECK_STATUS(crew_pool_terminate(dropper.pool), CREW_OK);
    CHECK_EQ(counter_get(&dropper.refused), 10);
    end_pool(dropper.pool, &blocker);
    CHECK_EQ(counter_get(&dropper.refused), 10);
    CHECK_EQ(counter_get(&dropper.drops), 0);
}

/* ---- no call hangs ---- */

struct waiter {
    crew_pool *pool;
    crew_result *result;
    crew_iterator *iterator;
    crew_status get, next, map, wait;
};

static void wait_for_result(void *arg)
{
    struct waiter *waiter = arg;
    long value;

    waiter->get = crew_result_get(waiter->result, &value, CREW_FOREVER);
}

static void wait_for_items(void *arg)
{
    struct waiter *waiter = arg;
    long value;

    do
        waiter->next = crew_iterator_next(waiter->iterator, &value, NULL, CREW_FOREVER, NULL);
    while (CREW_IS_OUTCOME(waiter->next));
}

static void wait_for_map(void *arg)
{
    struct waiter *waiter = arg;
    int numbers[3] = {1, 2, 3};
    long doubled[3];

    waiter->map = crew_map(waiter->pool, &twice, numbers, 3, doubled, NULL);
}

static void wait_for_pool(void *arg)
{
    struct waiter *waiter = arg;

    waiter->wait = crew_pool_wait(waiter->pool, CREW_FOREVER);
}

CONTRACT_THREADS(whoever_waits_when_the_pool_is_terminated_returns)
{
    static void (*const waits[])(void *) = {wait_for_result, wait_for_items, wait_for_map, wait_for_pool};
    struct waiter waiter = {.pool = contract_pool(NULL)};
    struct test_thread *threads[4];
    struct blocker blocker;
    const int numbers[3] = {1, 2, 3};

    blocker_hold(&blocker, waiter.pool, config->workers);
    CHECK_STATUS(crew_apply_async(waiter.pool, &twice, &(int){1}, &waiter.result, NULL), CREW_OK);
    CHECK_STATUS(crew_imap(waiter.pool, &twice, &(crew_source){.items = numbers, .count = 3}, &waiter.iterator, NULL),
                 CREW_OK);
    for (int i = 0; i < 4; i++)
        threads[i] = test_thread_start(waits[i], &waiter);
    CHECK_STATUS(crew_pool_terminate(waiter.pool), CREW_OK);
    for (int i = 0; i < 3; i++)
        test_thread_join(threads[i]);
    blocker_let_go(&blocker);
    test_thread_join(threads[3]);
    CHECK_STATUS(waiter.wait, CREW_OK);
    CHECK(waiter.get == CREW_TERMINATED || (config->helping && waiter.get == CREW_OK));
    CHECK(waiter.next == CREW_CLOSED || waiter.next == CREW_END);
    CHECK(waiter.map == CREW_TERMINATED || waiter.map == CREW_CLOSED || (config->helping && waiter.map == CREW_OK));
    crew_iterator_destroy(waiter.iterator);
    CHECK_STATUS(crew_pool_destroy(waiter.pool), CREW_OK);
    crew_result_destroy(waiter.result);
    blocker_free(&blocker);
}

/* ---- more than a thread's own queue holds ---- */

enum { OVERFLOW = 3000 };

CREW_ACTION(submit_very_many, int)
{
    (void)arg;
    for (int i = 0; i < OVERFLOW; i++)
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_one, NULL, NULL, CREW_CALL(.context = context)),
                     CREW_OK);
    return 0;
}

/* Nobody takes any of them meanwhile. */
CONTRACT(a_job_may_submit_more_than_its_thread_s_queue_holds)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    counter runs = {0};
    CHECK_STATUS(crew_apply_async(pool, &submit_very_many, &(int){0}, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&runs), OVERFLOW);
}
