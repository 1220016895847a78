/* SPDX-License-Identifier: MIT */
/* Where Python's Pool hangs, loses or lies in callbacks, errors, cancels and maps: what crewpool does there instead. */
#define _GNU_SOURCE
#include <pthread.h>

#include "python_rows_stage.h"

/* ---- callbacks ---- */

static void fail_in_callback(const crew_outcome *outcome, void *user)
{
    CHECK_STATUS(outcome->status, CREW_OK);
    counter_add(user, 1);
    (void)crew_fail(9, "the callback is unhappy");
}

/* gh-83371 (17795, 131813, 131883; row 3): a raising callback kills the result handler, get() and join() hang */
CONTRACT(a_callback_that_says_it_fails_changes_neither_its_result_nor_the_pool)
{
    counter calls = {0};
    crew_result *results[3];
    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.on_done = fail_in_callback, .user = &calls);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, &results[i], call), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&calls), 3);
    for (int i = 0; i < 3; i++) {
        long value = -1;
        CHECK_STATUS(crew_result_get(results[i], &value, CREW_NOW), CREW_OK);
        CHECK_EQ(value, 2 * i);
        crew_result_destroy(results[i]);
    }
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void leave_in_callback(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    counter_add(user, 1);
    pthread_exit(NULL);
}

/* gh-83371 (row 3), row 49: a BaseException in a callback kills the result handler, or a ThreadPoolExecutor's worker */
CONTRACT_THREADS(a_callback_that_ends_its_thread_costs_no_worker_and_no_later_callback)
{
    counter left = {0}, called = {0};
    struct stage stage = stage_new();
    crew_result *held[WORKERS_MOST];
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    const crew_call *leaving = CREW_CALL(.on_done = leave_in_callback, .user = &left);
    const crew_call *counting = CREW_CALL(.on_done = count_call, .user = &called);
    for (int i = 0; i < 2 * WORKERS_MOST; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, i % 2 ? leaving : counting), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&left), WORKERS_MOST);
    CHECK_EQ(counter_get(&called), WORKERS_MOST);
    stage_hold(&stage, pool, config->workers, held);
    stage_release(&stage, config->workers, held);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

static void hold_callback(const crew_outcome *outcome, void *user)
{
    struct stage *stage = user;
    (void)outcome;
    gate_add(stage->started);
    gate_wait(stage->go);
}

/* §1.4: a slow callback delays every other result of the pool */
CONTRACT_THREADS(a_slow_callback_delays_no_other_result)
{
    long value = 0;
    struct stage stage = stage_new();
    crew_pool *pool = pool_of_two_or_more();
    const crew_call *slow = CREW_CALL(.on_done = hold_callback, .user = &stage);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, NULL, slow), CREW_OK);
    gate_wait(stage.started);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){21}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
    gate_open(stage.go);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

struct follow_up {
    crew_pool *pool;
    long value;
};

static void ask_again(const crew_outcome *outcome, void *user)
{
    struct follow_up *follow_up = user;
    int next = (int)*(const long *)outcome->value;
    CHECK_STATUS(crew_apply(follow_up->pool, &twice, &next, &follow_up->value, NULL), CREW_OK);
}

/* §1.4: a callback that waits for the pool deadlocks it */
CONTRACT(a_callback_may_wait_for_another_job_of_its_pool)
{
    struct follow_up follow_up = {0};
    crew_pool *pool = follow_up.pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.on_done = ask_again, .user = &follow_up);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){10}, NULL, call), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(follow_up.value, 40);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct observed {
    crew_result *self;
    crew_status seen;
};

static void look_at_own_result(const crew_outcome *outcome, void *user)
{
    struct observed *observed = user;
    (void)outcome;
    observed->seen = crew_result_status(observed->self);
}

/* §1.4: ready() is false during the callback, so a callback cannot wait for what it was told of */
CONTRACT(a_result_is_ready_before_its_callback_unless_the_call_asks_for_pythons_order)
{
    struct observed plain = {0}, python = {0};
    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.on_done = look_at_own_result, .user = &plain);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &plain.self, call), CREW_OK);
    call = CREW_CALL(.on_done = look_at_own_result, .user = &python, .flags = CREW_READY_AFTER_DONE);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &python.self, call), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(plain.seen, CREW_OK);
    CHECK_STATUS(python.seen, CREW_BUSY);
    CHECK_STATUS(crew_result_status(python.self), CREW_OK);
    crew_result_destroy(plain.self);
    crew_result_destroy(python.self);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* §1.3: map_async of nothing never calls its callback */
CONTRACT(a_map_of_nothing_calls_its_callback_once)
{
    counter calls = {0};
    crew_result *result;
    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.on_done = count_call, .user = &calls);
    CHECK_STATUS(crew_map_async(pool, &twice, &(int){0}, 0, &(long){0}, &result, call), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&calls), 1);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- errors ---- */

CREW_JOB(fail_at_5_and_11, int, long)
{
    counter_add(context, 1);
    *result = 2L * *arg;
    return *arg == 5 || *arg == 11 ? crew_fail(*arg, "row %d is short", *arg) : 0;
}

/* gh-108518 (row 16): one error ends Executor.map; §1.4: an error stops its chunk, the first to arrive is raised */
CONTRACT(a_failing_item_stops_no_other_item_of_its_map_and_the_lowest_index_is_told)
{
    enum { ITEMS = 20 };
    int items[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        items[i] = i;
    crew_pool *pool = contract_pool(NULL);
    for (size_t chunk = 0; chunk <= ITEMS; chunk += 5) {
        long values[ITEMS];
        counter ran = {0};
        crew_error error = {0};
        const crew_call *call = CREW_CALL(.context = &ran, .chunk = chunk, .error = &error);
        CHECK_STATUS(crew_map(pool, &fail_at_5_and_11, items, ITEMS, values, call), CREW_FAILED);
        CHECK_EQ(counter_get(&ran), ITEMS);
        CHECK_EQ(error.index, 5);
        CHECK_EQ(error.code, 5);
        CHECK_STRING(error.message, "row 5 is short");
        for (int i = 0; i < ITEMS; i++)
            CHECK(i == 5 || i == 11 || values[i] == 2L * i);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* Of two workers item 5 holds one: when the other is at item 12, the failure of item 11 has been told. */
CREW_ACTION(fail_at_11_before_5, size_t)
{
    if (*arg == 5)
        gate_wait(context);
    if (*arg == 12)
        gate_open((struct gate *)context);
    return *arg == 5 || *arg == 11 ? crew_fail(1, "item %zu", *arg) : 0;
}

/* §1.4: the error of a map is the first to arrive, another one in every run */
CONTRACT_THREADS(the_failure_of_a_map_is_that_of_its_lowest_index_though_another_came_first)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 2));
    for (int i = 0; i < 20; i++) {
        crew_error error = {0};
        struct gate *gate = gate_new();
        const crew_call *call = CREW_CALL(.context = gate, .chunk = 1, .error = &error);
        CHECK_STATUS(crew_map(pool, &fail_at_11_before_5, NULL, 20, NULL, call), CREW_FAILED);
        CHECK_EQ(error.index, 5);
        CHECK_STRING(error.message, "item 5");
        gate_free(gate);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_ACTION(count_and_fail, size_t)
{
    counter_add(context, 1);
    return crew_fail(1, "item %zu", *arg);
}

/* gh-108518 (row 16): whether an error ends the rest is no choice of the caller's */
CONTRACT(a_map_told_to_stop_on_an_error_starts_no_further_item)
{
    counter ran = {0};
    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.context = &ran, .flags = CREW_STOP_ON_ERROR);
    CHECK_STATUS(crew_map(pool, &count_and_fail, NULL, 1000, NULL, call), CREW_FAILED);
    CHECK(counter_get(&ran) >= 1);
    CHECK(counter_get(&ran) <= (long)config->workers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void note_failure(const crew_outcome *outcome, void *user)
{
    CHECK_STATUS(outcome->status, CREW_FAILED);
    CHECK_STRING(outcome->error->message, "item 7");
    counter_add(user, 1);
}

/* gh-120508 (row 22), §1.5: errors that nobody collects are dropped silently */
CONTRACT(a_failure_that_no_handle_and_no_callback_would_see_is_told_to_the_pool)
{
    counter ran = {0}, unhandled = {0}, handled = {0};
    crew_result *result;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.on_unhandled = note_failure, .user = &unhandled));
    const crew_call *call = CREW_CALL(.context = &ran);
    CHECK_STATUS(crew_apply_async(pool, &count_and_fail, &(size_t){7}, NULL, call), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &count_and_fail, &(size_t){8}, &result, call), CREW_OK);
    call = CREW_CALL(.context = &ran, .on_done = count_call, .user = &handled);
    CHECK_STATUS(crew_apply_async(pool, &count_and_fail, &(size_t){9}, NULL, call), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&ran), 3);
    CHECK_EQ(counter_get(&unhandled), 1);
    CHECK_EQ(counter_get(&handled), 1);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- cancel ---- */

/* gh-92001 (row 17): wait() hangs on a future that was cancelled and that no worker has picked up */
CONTRACT_THREADS(a_cancelled_job_is_ready_at_once_though_every_worker_is_busy)
{
    struct stage stage = stage_new();
    crew_result *held[WORKERS_MOST], *queued;
    crew_pool *pool = contract_pool(NULL);
    stage_hold(&stage, pool, config->workers, held);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){4}, &queued, NULL), CREW_OK);
    CHECK_STATUS(crew_result_status(queued), CREW_BUSY);
    CHECK_STATUS(crew_result_cancel(queued), CREW_OK);
    CHECK_STATUS(crew_result_wait(queued, CREW_NOW), CREW_OK);
    CHECK_STATUS(crew_result_status(queued), CREW_CANCELLED);
    crew_result_destroy(queued);
    stage_release(&stage, config->workers, held);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

/* gh-87893, gh-109934, gh-136655 (row 18): cancel_futures tells nobody who waits */
CONTRACT_THREADS(cancelling_a_queued_job_wakes_the_thread_that_waits_for_it)
{
    struct stage stage = stage_new();
    struct waiter waiter = {.about_to_wait = gate_new()};
    crew_result *held[WORKERS_MOST];
    crew_pool *pool = contract_pool(NULL);
    stage_hold(&stage, pool, config->workers, held);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){4}, &waiter.result, NULL), CREW_OK);
    struct test_thread *thread = test_thread_start(waiter_run, &waiter);
    gate_wait(waiter.about_to_wait);
    CHECK_STATUS(crew_result_cancel(waiter.result), CREW_OK);
    test_thread_join(thread);
    CHECK_STATUS(waiter.status, CREW_CANCELLED);
    crew_result_destroy(waiter.result);
    stage_release(&stage, config->workers, held);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(waiter.about_to_wait);
    stage_free(&stage);
}

/* ---- maps ---- */

CREW_JOB(count_own_visit, int, long)
{
    counter *visits = context;
    *result = counter_add(&visits[*arg], 1);
    return 0;
}

/* row 45: chunksize 0 or less returns [None, …] without a call, 1.5 hangs; a lying __len__ hangs or invents entries */
CONTRACT(every_item_of_a_map_runs_once_whatever_its_size_and_chunk)
{
    enum { MOST = 100 };
    static const size_t sizes[] = {1, 2, 3, 64, MOST}, chunks[] = {0, 1, 3, 64, MOST, MOST + 1, 1000000};
    int items[MOST];
    for (int i = 0; i < MOST; i++)
        items[i] = i;
    crew_pool *pool = contract_pool(NULL);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            long values[MOST] = {0};
            counter visits[MOST] = {{0}};
            const crew_call *call = CREW_CALL(.context = visits, .chunk = chunks[c]);
            CHECK_STATUS(crew_map(pool, &count_own_visit, items, sizes[s], values, call), CREW_OK);
            for (size_t i = 0; i < MOST; i++)
                CHECK(values[i] == (i < sizes[s]) && counter_get(&visits[i]) == (i < sizes[s]));
        }
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* row 45: a size that cannot be hangs the call */
CONTRACT(a_map_larger_than_memory_is_refused_and_nothing_runs)
{
    counter visits[1] = {{0}};
    long values[1];
    crew_error error = {0};
    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.context = visits, .error = &error);
    CHECK_STATUS(crew_map(pool, &count_own_visit, &(int){0}, SIZE_MAX / 2, values, call), CREW_INVALID);
    CHECK_STATUS(error.status, CREW_INVALID);
    CHECK_EQ(counter_get(&visits[0]), 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* bpo-8296 (row 24): a map cannot be interrupted, map_async().get(huge) is the way around */
CONTRACT_THREADS(waiting_for_a_map_can_be_given_up_and_taken_up_again)
{
    struct stage stage = stage_new();
    int items[3] = {0, 1, 2}, values[3];
    crew_result *result;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_map_async(pool, &hold, items, 3, values, &result, CREW_CALL(.context = &stage)), CREW_OK);
    gate_wait(stage.started);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_NOW), CREW_TIMEOUT);
    CHECK_STATUS(crew_result_get(result, NULL, crew_after_ms(1)), CREW_TIMEOUT);
    gate_open(stage.go);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK);
    CHECK_EQ(values[0] * 100 + values[1] * 10 + values[2], 12);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

struct uneven {
    struct gate *others; /* counts the quick items that ran */
    unsigned enough;     /* what the slow item waits for */
};

CREW_ACTION(first_waits_for_others, size_t)
{
    struct uneven *uneven = context;
    if (*arg == 0)
        gate_wait_for(uneven->others, uneven->enough);
    else
        gate_add(uneven->others);
    return 0;
}

/* gh-83543 (row 25): chunks are fixed, so a slow item holds up what shares its chunk and its worker's turn */
CONTRACT_THREADS(a_slow_item_of_a_map_holds_up_no_more_than_its_own_chunk)
{
    enum { ITEMS = 1000 };
    crew_pool *pool = pool_of_two_or_more();
    for (size_t chunk = 0; chunk < 11; chunk += 5) {
        struct uneven uneven = {gate_new(), (unsigned)(ITEMS - (chunk == 0 ? ITEMS / 10 : chunk))};
        const crew_call *call = CREW_CALL(.context = &uneven, .chunk = chunk);
        CHECK_STATUS(crew_map(pool, &first_waits_for_others, NULL, ITEMS, NULL, call), CREW_OK);
        CHECK_EQ(gate_count(uneven.others), ITEMS - 1);
        gate_free(uneven.others);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- what travels with a call, and what is let go of ---- */

struct owned {
    int number;
};

static void drop_owned(void *arg, void *context)
{
    counter *balances = context;
    counter_add(&balances[((struct owned *)arg)->number], 1);
}

CREW_JOB_DROPS(own, struct owned, struct owned, drop_owned, drop_owned)
{
    (void)context;
    result->number = arg->number + 1;
    return 0;
}

/* gh-78195 (row 36): contextvars are lost in workers; §1.5, memory: arguments and results are let go of after a task */
CONTRACT(every_call_has_its_own_context_and_drops_what_it_took_once)
{
    enum { CALLS = 50 };
    counter balances[CALLS][2] = {{{0}}};
    crew_result *results[CALLS];
    crew_pool *pool = contract_pool(NULL);
    for (int i = 0; i < CALLS; i++) {
        const crew_call *call = CREW_CALL(.context = balances[i]);
        CHECK_STATUS(crew_apply_async(pool, &own, &(struct owned){0}, i % 2 ? &results[i] : NULL, call), CREW_OK);
    }
    for (int i = 1; i < CALLS; i += 2) {
        struct owned value = {0};
        CHECK_STATUS(crew_result_get(results[i], &value, CREW_FOREVER), CREW_OK);
        CHECK_EQ(value.number, 1);
        CHECK_STATUS(crew_result_get(results[i], &value, CREW_FOREVER), CREW_INVALID);
        crew_result_destroy(results[i]);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (int i = 0; i < CALLS; i++) {
        CHECK_EQ(counter_get(&balances[i][0]), 1);
        CHECK_EQ(counter_get(&balances[i][1]), i % 2 ? 0 : 1);
    }
}
