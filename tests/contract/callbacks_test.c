/* SPDX-License-Identifier: MIT */
/* Promise 4: callbacks come once, one at a time, in order, under no lock and on nobody's back. */
#include "ledger.h"

/* ---- one at a time, in order ---- */

/* LINGER_NS is how long a callback lets another one step in: too short can only make a case miss a bug. */
enum { CALLS = 200, LINGER_NS = 1000 * 1000 };

struct sequence {
    counter inside;
    int count; /* plain memory: each callback happens before the next */
    int order[CALLS];
    struct gate *entered, *go;
};

struct place {
    struct sequence *sequence;
    int number;
};

static void record(const crew_outcome *outcome, void *user)
{
    const struct place *place = user;
    struct sequence *sequence = place->sequence;

    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK_EQ(counter_add(&sequence->inside, 1), 1);
    sequence->order[sequence->count++] = place->number;
    if (place->number == 0 && sequence->go != NULL) {
        gate_open(sequence->entered);
        gate_wait(sequence->go);
    } else if (sequence->go != NULL) {
        (void)gate_wait_until(sequence->go, 2, LINGER_NS); /* never opened twice */
    }
    counter_add(&sequence->inside, -1);
}

CONTRACT(callbacks_run_one_at_a_time_and_each_sees_what_the_last_wrote)
{
    struct sequence sequence = {.count = 0};
    struct place places[CALLS];
    bool seen[CALLS] = {false};
    crew_pool *pool = contract_pool(NULL);

    for (int i = 0; i < CALLS; i++) {
        places[i] = (struct place){&sequence, i};
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, CREW_CALL(.on_done = record, .user = &places[i])),
                     CREW_OK);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(sequence.count, CALLS);
    for (int i = 0; i < CALLS; i++)
        seen[sequence.order[i]] = true;
    for (int i = 0; i < CALLS; i++)
        CHECK(seen[i]);
}

/* Each job is submitted when the result before it is stored, so that the order of the callbacks is known; the first
 * callback is held meanwhile, which costs one worker. */
static void check_order(crew_pool *pool, struct sequence *sequence)
{
    struct place places[20];

    for (int i = 0; i < 20; i++) {
        crew_result *result;

        places[i] = (struct place){sequence, i};
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, &result, CREW_CALL(.on_done = record, .user = &places[i])),
                     CREW_OK);
        CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
        crew_result_destroy(result);
        if (i == 0 && sequence->go != NULL)
            gate_wait(sequence->entered);
    }
    CHECK(sequence->go == NULL || sequence->count == 1);
    if (sequence->go != NULL)
        gate_open(sequence->go);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(sequence->count, 20);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(sequence->order[i], i);
}

CONTRACT(callbacks_run_in_the_order_in_which_the_results_were_stored)
{
    crew_pool *pool = contract_pool(NULL);
    struct sequence sequence = {.count = 0};

    check_order(pool, &sequence);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(callbacks_that_queue_behind_a_slow_one_keep_their_order)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 1));
    struct sequence sequence = {.entered = gate_new(), .go = gate_new()};

    check_order(pool, &sequence);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(sequence.entered);
    gate_free(sequence.go);
}

CONTRACT_THREADS(with_one_worker_callbacks_come_in_the_order_of_submission)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    struct sequence sequence = {.count = 0};
    struct place places[CALLS];

    for (int i = 0; i < CALLS; i++) {
        places[i] = (struct place){&sequence, i};
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, CREW_CALL(.on_done = record, .user = &places[i])),
                     CREW_OK);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (int i = 0; i < CALLS; i++)
        CHECK_EQ(sequence.order[i], i);
}

struct held {
    struct gate *entered, *go;
    counter calls;
};

static void held_done(const crew_outcome *outcome, void *user)
{
    struct held *held = user;

    (void)outcome;
    if (counter_add(&held->calls, 1) == 1) {
        gate_open(held->entered);
        gate_wait(held->go);
    }
}

static void held_start(struct held *held, crew_pool *pool, crew_result **ret_result, unsigned flags)
{
    *held = (struct held){.entered = gate_new(), .go = gate_new()};
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){21}, ret_result,
                                  CREW_CALL(.on_done = held_done, .user = held, .flags = flags)),
                 CREW_OK);
    gate_wait(held->entered);
}

static void held_free(struct held *held)
{
    gate_free(held->entered);
    gate_free(held->go);
}

CONTRACT_THREADS(a_slow_callback_holds_at_most_one_worker)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 1));
    struct held held;
    struct blocker blocker;

    held_start(&held, pool, NULL, 0);
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, CREW_CALL(.on_done = held_done, .user = &held)), CREW_OK);
    blocker_hold(&blocker, pool, config->workers);
    CHECK_EQ(counter_get(&held.calls), 1);
    gate_open(held.go);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&held.calls), 11);
    held_free(&held);
}

/* ---- ready and the callback ---- */

CONTRACT_THREADS(a_result_is_ready_while_its_callback_still_runs)
{
    crew_pool *pool = contract_pool(NULL);
    struct held held;
    crew_result *result;
    long value = 0;

    held_start(&held, pool, &result, 0);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &value, CREW_NOW), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_pool_wait(pool, CREW_NOW), CREW_TIMEOUT);
    gate_open(held.go);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(result);
    held_free(&held);
}

CONTRACT_THREADS(with_ready_after_done_a_result_is_ready_when_its_callback_has_returned)
{
    crew_pool *pool = contract_pool(NULL);
    struct held held;
    crew_result *result;
    crew_error error;
    long value = 0;

    held_start(&held, pool, &result, CREW_READY_AFTER_DONE);
    CHECK_STATUS(crew_result_status(result), CREW_BUSY);
    CHECK_STATUS(crew_result_error(result, &error), CREW_BUSY);
    CHECK_STATUS(crew_result_get(result, &value, crew_after_ms(10)), CREW_TIMEOUT);
    gate_open(held.go);
    CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_EQ(counter_get(&held.calls), 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(result);
    held_free(&held);
}

struct look {
    crew_result *result;
    crew_status seen;
};

static void look_at_own(const crew_outcome *outcome, void *user)
{
    struct look *look = user;

    (void)outcome;
    look->seen = crew_result_status(look->result);
}

static crew_status seen_by_callback(const crew_job *job, const void *arg, void *ret_value, struct ledger *ledger,
                                    unsigned flags)
{
    crew_pool *pool = contract_pool(NULL);
    struct look look = {NULL, CREW_FULL};

    CHECK_STATUS(crew_apply_async(pool, job, arg, &look.result,
                                  CREW_CALL(.context = ledger, .on_done = look_at_own, .user = &look, .flags = flags)),
                 CREW_OK);
    CHECK_STATUS(crew_result_get(look.result, ret_value, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(look.result);
    return look.seen;
}

CONTRACT(a_callback_sees_its_own_result_ready_unless_ready_comes_after)
{
    long value = 0;

    CHECK_STATUS(seen_by_callback(&twice, &(int){3}, &value, NULL, 0), CREW_OK);
    CHECK_EQ(value, 6);
    CHECK_STATUS(seen_by_callback(&twice, &(int){3}, &value, NULL, CREW_READY_AFTER_DONE), CREW_BUSY);
    CHECK_EQ(value, 6);
}

CONTRACT(an_owned_value_is_not_given_away_before_its_callback_has_returned)
{
    struct ledger ledger = {0};
    struct parcel parcel = parcel_of(4), value;

    CHECK_STATUS(seen_by_callback(&double_parcel, &parcel, &value, &ledger, 0), CREW_BUSY);
    CHECK_EQ(parcel_open(value), 8);
    CHECK_EQ(counter_get(&ledger.args_dropped), 1);
    CHECK_EQ(counter_get(&ledger.results_dropped), 0);
}

/* ---- what a callback is told ---- */

struct report {
    crew_outcome outcome;
    crew_error error;
    long value;
    counter calls;
};

static void keep_report(const crew_outcome *outcome, void *user)
{
    struct report *report = user;

    report->outcome = *outcome;
    if (outcome->error != NULL)
        report->error = *outcome->error;
    if (outcome->value != NULL)
        report->value = *(const long *)outcome->value;
    counter_add(&report->calls, 1);
}

CONTRACT(a_callback_is_told_the_value_of_a_success)
{
    crew_pool *pool = contract_pool(NULL);
    struct report report = {.value = 0};
    long value = 0;

    CHECK_STATUS(crew_apply(pool, &twice, &(int){8}, &value, CREW_CALL(.on_done = keep_report, .user = &report)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&report.calls), 1);
    CHECK_STATUS(report.outcome.status, CREW_OK);
    CHECK(report.outcome.error == NULL);
    CHECK_EQ(report.outcome.index, 0);
    CHECK_EQ(report.value, 16);
}

CONTRACT(a_callback_is_told_the_error_of_a_failure)
{
    crew_pool *pool = contract_pool(NULL);
    struct report report = {.value = 0};

    CHECK_STATUS(crew_apply(pool, &fail_with, &(int){6}, NULL, CREW_CALL(.on_done = keep_report, .user = &report)),
                 CREW_FAILED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&report.calls), 1);
    CHECK_STATUS(report.outcome.status, CREW_FAILED);
    CHECK(report.outcome.value == NULL);
    CHECK_STATUS(report.error.status, CREW_FAILED);
    CHECK_EQ(report.error.code, 6);
    CHECK_STRING(report.error.message, "asked to fail with 6");
    CHECK_STRING(report.error.job, "fail_with");
}

CONTRACT(the_callback_of_a_job_without_a_result_is_told_no_value)
{
    crew_pool *pool = contract_pool(NULL);
    struct report report = {.value = -1};

    CHECK_STATUS(crew_apply(pool, &fail_with, &(int){0}, NULL, CREW_CALL(.on_done = keep_report, .user = &report)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&report.calls), 1);
    CHECK_STATUS(report.outcome.status, CREW_OK);
    CHECK(report.outcome.value == NULL);
}

CONTRACT(the_callback_of_a_map_is_called_once_and_told_its_array)
{
    crew_pool *pool = contract_pool(NULL);
    struct report report = {.value = 0};
    const int numbers[4] = {5, 6, 7, 8};
    long doubled[4];

    CHECK_STATUS(crew_map_async(pool, &twice, numbers, 4, doubled, NULL,
                                CREW_CALL(.on_done = keep_report, .user = &report, .chunk = 1)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&report.calls), 1);
    CHECK_STATUS(report.outcome.status, CREW_OK);
    CHECK(report.outcome.value == doubled);
    CHECK_EQ(report.value, 10);
}

CONTRACT(the_callback_of_a_failed_map_is_told_the_lowest_item_that_failed)
{
    crew_pool *pool = contract_pool(NULL);
    struct report report = {.value = 0};
    const int codes[5] = {0, 0, 3, 0, 4};

    CHECK_STATUS(crew_map_async(pool, &fail_with, codes, 5, NULL, NULL,
                                CREW_CALL(.on_done = keep_report, .user = &report, .chunk = 1)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&report.calls), 1);
    CHECK_STATUS(report.outcome.status, CREW_FAILED);
    CHECK(report.outcome.value == NULL);
    CHECK_EQ(report.outcome.index, 2);
    CHECK_EQ(report.error.index, 2);
    CHECK_EQ(report.error.code, 3);
}

CONTRACT(the_callback_of_an_empty_map_is_called_once)
{
    crew_pool *pool = contract_pool(NULL);
    struct report report = {.value = 0};

    CHECK_STATUS(crew_map(pool, &twice, NULL, 0, NULL, CREW_CALL(.on_done = keep_report, .user = &report)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&report.calls), 1);
    CHECK_STATUS(report.outcome.status, CREW_OK);
}

CONTRACT_THREADS(the_callback_of_a_cancelled_job_is_told_so)
{
    crew_pool *pool = contract_pool(NULL);
    struct report report = {.value = 0};
    struct blocker blocker;
    crew_result *result;

    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &result, CREW_CALL(.on_done = keep_report, .user = &report)),
                 CREW_OK);
    CHECK_STATUS(crew_result_cancel(result), CREW_OK);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&report.calls), 1);
    CHECK_STATUS(report.outcome.status, CREW_CANCELLED);
    CHECK_STATUS(report.error.status, CREW_CANCELLED);
    CHECK_EQ(report.error.code, 0);
    CHECK_EQ(report.error.worker, -1);
    CHECK(report.outcome.value == NULL);
    crew_result_destroy(result);
}
