/* SPDX-License-Identifier: MIT */
/* Faults under jobs: apply, apply_async, results, cancel, callbacks, waits inside jobs, limits of the queue. */
#include "fault.h"

#include "contract/ledger.h"

/* ---- one job at a time ---- */

/* Runs a parcel by crew_apply; what it made is counted as taken. */
static bool apply_parcel(crew_pool *pool, struct ledger *ledger, long number, long *taken)
{
    crew_error error = {.status = CREW_OK, .message = ""};
    struct parcel argument = parcel_of(number), value = {NULL};
    crew_call call = *LEDGER_CALL(ledger);
    call.error = &error;
    crew_status expected = number < 0 ? CREW_FAILED : CREW_OK;
    if (!fault_granted_error(crew_apply(pool, &double_parcel, &argument, &value, &call), expected, &error)) {
        CHECK(value.number == NULL);
        (void)parcel_open(argument);
        return false;
    }
    if (number < 0) {
        CHECK_EQ(error.code, number);
        CHECK(fault_is_armed() || strcmp(error.message, "-7 is negative") == 0);
        return true;
    }
    CHECK_EQ(parcel_open(value), 2 * number);
    ++*taken;
    return true;
}

SCENARIO(an_apply)
{
    struct ledger ledger = {0};
    long accepted = 0, taken = 0;
    crew_pool *pool = fault_pool(NULL);
    if (pool == NULL)
        return;
    for (long number = -7; number <= 7; number += 7)
        accepted += apply_parcel(pool, &ledger, number, &taken);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    ledger_check(&ledger, accepted, taken);
}

SCENARIO(an_apply_in_a_serial_pool)
{
    struct ledger ledger = {0};
    long accepted = 0, taken = 0;
    crew_pool *pool = fault_pool(CREW_OPTIONS(.kind = CREW_SERIAL));
    if (pool == NULL)
        return;
    for (long number = -7; number <= 7; number += 7)
        accepted += apply_parcel(pool, &ledger, number, &taken);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    ledger_check(&ledger, accepted, taken);
}

/* ---- results ---- */

static crew_result *submit_parcel(crew_pool *pool, struct ledger *ledger, long number, long *accepted)
{
    crew_result *result = NULL;
    bool granted = fault_granted(ledger_submit(ledger, pool, number, &result), CREW_OK);
    CHECK(granted == (result != NULL));
    *accepted += granted;
    return result;
}

/* A result that must be there at its end, whatever fails; a job that was accepted is lost only with the last worker. */
static long take_parcel(crew_result *result, long number)
{
    struct parcel value = {NULL};
    if (result == NULL)
        return 0;
    bool granted = fault_granted(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
    CHECK(granted == (value.number != NULL));
    crew_result_destroy(result);
    if (granted)
        CHECK_EQ(parcel_open(value), 2 * number);
    return granted;
}

enum { MANY = 12 };

static void use_results(const crew_pool_options *options)
{
    struct ledger ledger = {0};
    crew_result *results[MANY];
    long accepted = 0, taken = 0;
    crew_pool *pool = fault_pool(options);
    if (pool == NULL)
        return;
    for (long i = 0; i < MANY; i++)
        results[i] = submit_parcel(pool, &ledger, i, &accepted);
    for (long i = 0; i < 3; i++)
        accepted += fault_granted(ledger_submit(&ledger, pool, i, NULL), CREW_OK);
    crew_result_destroy(results[MANY - 1]);
    for (long i = 0; i < MANY - 2; i++)
        taken += take_parcel(results[i], i);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    taken += take_parcel(results[MANY - 2], MANY - 2); /* beyond the end of its pool */
    ledger_check(&ledger, accepted, taken);
}

SCENARIO(an_apply_async)
{
    use_results(NULL);
}

SCENARIO(an_apply_async_without_helping)
{
    use_results(CREW_OPTIONS(.workers = 2, .flags = CREW_WORKERS_ONLY));
}

SCENARIO(an_apply_async_on_one_worker)
{
    use_results(CREW_OPTIONS(.workers = 1));
}

struct submitter {
    crew_pool *pool;
    struct ledger ledger;
    long accepted;
};

static void submit_parcels(void *arg)
{
    struct submitter *submitter = arg;
    for (long i = 0; i < MANY; i++)
        crew_result_destroy(submit_parcel(submitter->pool, &submitter->ledger, i, &submitter->accepted));
}

SCENARIO(an_apply_async_beside_another)
{
    struct submitter mine = {.pool = fault_pool(NULL)}, other = mine;
    if (mine.pool == NULL)
        return;
    struct test_thread *thread = test_thread_start(submit_parcels, &other);
    submit_parcels(&mine);
    test_thread_join(thread);
    CHECK_STATUS(crew_pool_wait(mine.pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&mine.ledger.callbacks), mine.accepted);
    CHECK_STATUS(crew_pool_destroy(mine.pool), CREW_OK);
    ledger_check(&mine.ledger, mine.accepted, 0);
    ledger_check(&other.ledger, other.accepted, 0);
}

/* ---- cancelled, terminated ---- */

SCENARIO(a_cancel)
{
    struct ledger ledger = {0};
    crew_result *results[MANY];
    long accepted = 0;
    crew_pool *pool = fault_pool(CREW_OPTIONS(.workers = 1));
    if (pool == NULL)
        return;
    for (long i = 0; i < MANY; i++)
        results[i] = submit_parcel(pool, &ledger, i, &accepted);
    for (long i = MANY - 1; i >= 0; i--) {
        crew_status status = results[i] != NULL ? crew_result_cancel(results[i]) : CREW_OK;
        CHECK(status == CREW_OK || status == CREW_BUSY || status == CREW_END);
        if (results[i] != NULL && status == CREW_OK)
            CHECK_STATUS(crew_result_status(results[i]), CREW_CANCELLED);
        if (i % 2)
            crew_result_destroy(results[i]);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (long i = 0; i < MANY; i += 2)
        crew_result_destroy(results[i]);
    ledger_check(&ledger, accepted, 0);
}

SCENARIO(a_terminate)
{
    struct ledger ledger = {0};
    crew_result *result;
    long accepted = 0;
    crew_pool *pool = fault_pool(NULL);
    if (pool == NULL)
        return;
    for (long i = 0; i < MANY; i++)
        accepted += fault_granted(ledger_submit(&ledger, pool, i, NULL), CREW_OK);
    result = submit_parcel(pool, &ledger, 1, &accepted);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    crew_status status = result != NULL ? crew_result_wait(result, CREW_FOREVER) : CREW_OK;
    CHECK_STATUS(status, CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    ledger_check(&ledger, accepted, 0);
}

/* ---- callbacks ---- */

struct chain {
    crew_pool *pool;
    counter calls_due, calls, refused;
};

static void submit_next(const crew_outcome *outcome, void *user)
{
    struct chain *chain = user;
    CHECK(outcome->status == CREW_OK || outcome->status == CREW_BROKEN);
    long calls = counter_add(&chain->calls, 1);
    if (calls >= MANY || outcome->status != CREW_OK)
        return;
    const crew_call *call = CREW_CALL(.on_done = submit_next, .user = chain);
    long value = 0;
    counter_add(&chain->calls_due,
                fault_granted(crew_apply_async(chain->pool, &twice, &(int){1}, NULL, call), CREW_OK));
    if (fault_granted(crew_apply(chain->pool, &twice, &(int){4}, &value, NULL), CREW_OK))
        CHECK_EQ(value, 8);
}

SCENARIO(a_callback_that_submits_and_waits)
{
    struct chain chain = {.pool = fault_pool(NULL)};
    crew_result *result = NULL;
    if (chain.pool == NULL)
        return;
    const crew_call *call = CREW_CALL(.on_done = submit_next, .user = &chain, .flags = CREW_READY_AFTER_DONE);
    bool granted = fault_granted(crew_apply_async(chain.pool, &twice, &(int){1}, &result, call), CREW_OK);
    counter_add(&chain.calls_due, granted);
    if (granted) {
        CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
        CHECK(counter_get(&chain.calls) >= 1);
    }
    CHECK_STATUS(crew_pool_wait(chain.pool, CREW_FOREVER), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(chain.pool), CREW_OK);
    CHECK_EQ(counter_get(&chain.calls), counter_get(&chain.calls_due));
    CHECK(fault_is_armed() || counter_get(&chain.calls) == MANY);
}

static void count_unhandled(const crew_outcome *outcome, void *user)
{
    CHECK(outcome->status == CREW_FAILED || outcome->status == CREW_BROKEN);
    CHECK_STATUS(outcome->error->status, outcome->status);
    counter_add(user, 1);
}

SCENARIO(a_failure_that_nobody_handles)
{
    counter unhandled = {0};
    long due = 0;
    crew_pool *pool = fault_pool(CREW_OPTIONS(.workers = 2, .on_unhandled = count_unhandled, .user = &unhandled));
    if (pool == NULL)
        return;
    for (int code = 1; code <= MANY; code++)
        due += fault_granted(crew_apply_async(pool, &fail_with, &code, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&unhandled), due);
}

/* ---- waits inside jobs ---- */

/* Fibonacci by maps and by results in turn; fails where anything is refused. */
CREW_JOB(fibonacci, long, long)
{
    long parts[2] = {*arg - 1, *arg - 2}, sums[2] = {0, 0};
    crew_result *first = NULL;
    crew_pool *pool = crew_current_pool();
    *result = *arg;
    if (*arg < 2)
        return 0;
    crew_status status;
    if (*arg % 2 == 0) {
        status = crew_map(pool, &fibonacci, parts, 2, sums, NULL);
    } else if ((status = crew_apply_async(pool, &fibonacci, &parts[0], &first, NULL)) == CREW_OK) {
        crew_status second = crew_apply(pool, &fibonacci, &parts[1], &sums[1], NULL);
        status = crew_result_get(first, &sums[0], CREW_FOREVER);
        crew_result_destroy(first);
        status = status == CREW_OK ? second : status;
    }
    if (status != CREW_FAILED && fault_granted(status, CREW_OK)) {
        *result = sums[0] + sums[1];
        return 0;
    }
    CHECK(fault_is_armed());
    return crew_fail(1, "below %ld", *arg);
}

static void nest(const crew_pool_options *options)
{
    long sum = 0;
    crew_pool *pool = fault_pool(options);
    if (pool == NULL)
        return;
    crew_status status = crew_apply(pool, &fibonacci, &(long){7}, &sum, NULL);
    CHECK(status == CREW_OK || fault_is_armed());
    CHECK_EQ(sum, status == CREW_OK ? 13 : 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

SCENARIO(a_nested_wait)
{
    nest(CREW_OPTIONS(.workers = 2));
}

SCENARIO(a_nested_wait_without_spares)
{
    nest(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES));
}

SCENARIO(a_nested_wait_on_small_stacks)
{
    nest(CREW_OPTIONS(.workers = 2, .stack_size = 128 * 1024, .name = "small"));
}

/* Waits, with a finite deadline, for a job that only a stand-in can run. */
CREW_JOB(wait_for_stand_in, crew_result **, int)
{
    enum { MOMENT_MS = 20 };
    *result = (int)crew_result_wait(**arg, crew_after_ms(MOMENT_MS));
    return 0;
}

SCENARIO(a_job_that_a_stand_in_runs)
{
    crew_pool *pool = fault_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    crew_result *waiting = NULL, *awaited = NULL, **place = &awaited;
    if (pool == NULL)
        return;
    int waited = CREW_OK;
    long value = 0;
    bool granted = fault_granted(crew_apply_async(pool, &twice, &(int){3}, &awaited, NULL), CREW_OK);
    if (granted && fault_granted(crew_apply_async(pool, &wait_for_stand_in, &place, &waiting, NULL), CREW_OK)) {
        if (fault_granted(crew_result_get(waiting, &waited, CREW_FOREVER), CREW_OK))
            CHECK(waited == CREW_OK || waited == CREW_TIMEOUT);
        if (fault_granted(crew_result_get(awaited, &value, CREW_FOREVER), CREW_OK))
            CHECK_EQ(value, 6);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(awaited);
    crew_result_destroy(waiting);
}

/* Submits a job that waits for this one, and waits for it. */
CREW_JOB(wait_for_parent, crew_result *, int)
{
    *result = (int)crew_result_wait(*arg, CREW_FOREVER);
    return 0;
}

struct cycle {
    struct gate *has_handle;
    crew_result *own;
    counter refused;
};

CREW_ACTION(wait_for_child, struct cycle *)
{
    crew_result *child = NULL;
    int waited = CREW_OK;
    gate_wait((*arg)->has_handle);
    if (!fault_granted(crew_apply_async(crew_current_pool(), &wait_for_parent, &(*arg)->own, &child, NULL), CREW_OK))
        return 0;
    crew_status status = crew_result_get(child, &waited, CREW_FOREVER);
    CHECK(status == CREW_DEADLOCK || waited == CREW_DEADLOCK || fault_is_armed());
    crew_result_destroy(child);
    return 0;
}

SCENARIO(a_deadlock)
{
    struct cycle cycle = {.has_handle = gate_new()}, *place = &cycle;
    crew_pool *pool = fault_pool(NULL);
    if (pool != NULL && fault_granted(crew_apply_async(pool, &wait_for_child, &place, &cycle.own, NULL), CREW_OK)) {
        gate_open(cycle.has_handle);
        CHECK_STATUS(crew_result_wait(cycle.own, CREW_FOREVER), CREW_OK);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(cycle.own);
    gate_free(cycle.has_handle);
}

/* ---- deadlines ---- */

SCENARIO(a_wait_with_a_deadline)
{
    enum { MOMENT_MS = 2 };
    struct blocker blocker = {gate_new(), gate_new()}, *place = &blocker;
    crew_result *result = NULL;
    crew_pool *pool = fault_pool(NULL);
    if (pool != NULL && fault_granted(crew_apply_async(pool, &hold_worker, &place, &result, NULL), CREW_OK)) {
        CHECK_STATUS(crew_result_wait(result, CREW_NOW), CREW_TIMEOUT);
        CHECK_STATUS(crew_result_wait(result, crew_after_ms(MOMENT_MS)), CREW_TIMEOUT);
        CHECK_STATUS(crew_pool_wait(pool, crew_after_ms(MOMENT_MS)), CREW_TIMEOUT);
        CHECK_STATUS(crew_pool_close(pool), CREW_OK);
        CHECK_STATUS(crew_pool_join(pool, crew_after_ms(MOMENT_MS)), CREW_TIMEOUT);
        blocker_let_go(&blocker);
        (void)fault_granted(crew_result_get(result, NULL, far_away()), CREW_OK);
        (void)fault_granted(crew_pool_join(pool, far_away()), CREW_OK);
    }
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(result);
    blocker_free(&blocker);
}

/* ---- the limit of the queue ---- */

static void fill_queue(unsigned flags)
{
    struct ledger ledger = {0};
    long accepted = 0, full = 0;
    crew_pool *pool = fault_pool(CREW_OPTIONS(.workers = 2, .queue_max = 2, .flags = flags));
    if (pool == NULL)
        return;
    for (long i = 0; i < 2 * MANY; i++) {
        crew_status status = ledger_submit(&ledger, pool, i, NULL);
        CHECK(status != CREW_FULL || (flags & CREW_FULL_FAILS));
        full += status == CREW_FULL;
        accepted += status != CREW_FULL && fault_granted(status, CREW_OK);
    }
    CHECK(accepted > 0 || fault_is_armed());
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(accepted + full == 2 * MANY || fault_is_armed());
    ledger_check(&ledger, accepted, 0);
}

SCENARIO(a_full_queue_that_makes_wait)
{
    fill_queue(0);
}

SCENARIO(a_full_queue_that_refuses)
{
    fill_queue(CREW_FULL_FAILS);
}

SCENARIO(a_full_queue_that_runs)
{
    fill_queue(CREW_FULL_RUNS);
}
