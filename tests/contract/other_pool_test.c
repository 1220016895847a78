/* SPDX-License-Identifier: MIT */
/* Jobs of one pool that wait for what another pool has to do. */
#include "blocker.h"

CREW_JOB(same_long, long, long)
{
    (void)context;
    *result = *arg;
    return 0;
}

/* ---- work that comes up for a job that is parked already ---- */

/* The getter (of the first pool) waits for an item; the bridge (of the second) for the getter; the source, after its first item, for the
 * bridge. So no thread of the first pool is left to run that item but the getter's. */
struct triangle {
    crew_iterator *stream;
    crew_result *getter, *bridge;
    struct gate *pulls, *first_pull, *bridge_go, *never;
};

CREW_JOB(get_first_item, struct triangle *, long)
{
    (void)context;
    CHECK_STATUS(crew_iterator_next((*arg)->stream, result, NULL, CREW_FOREVER, NULL), CREW_OK);
    return 0;
}

CREW_ACTION(wait_for_getter, struct triangle *)
{
    (void)context;
    gate_wait((*arg)->bridge_go);
    CHECK_STATUS(crew_result_wait((*arg)->getter, CREW_FOREVER), CREW_OK);
    return 0;
}

static int pull_between_waits(void *user, void *ret_item)
{
    struct triangle *triangle = user;
    bool is_first = gate_count(triangle->pulls) == 0;
    gate_add(triangle->pulls);
    if (is_first) {
        gate_wait(triangle->first_pull);
        *(long *)ret_item = 42;
        return 1;
    }
    CHECK_STATUS(crew_result_wait(triangle->bridge, CREW_FOREVER), CREW_OK);
    return 0;
}

static void wait_until_blocked(crew_pool *pool, unsigned threads)
{
    crew_pool_info info = {.struct_size = sizeof info};
    do
        CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    while (info.blocked < threads);
}

CONTRACT_THREADS(a_parked_job_is_woken_for_what_only_it_can_run_since_it_parked)
{
    struct triangle triangle = {.pulls = gate_new(), .first_pull = gate_new(), .bridge_go = gate_new()};
    struct triangle *argument = &triangle;
    const crew_source source = {.pull = pull_between_waits, .user = &triangle};
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 2, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
    crew_pool *other = contract_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    long value = 0;
    triangle.never = gate_new();
    CHECK_STATUS(crew_apply_async(other, &wait_for_getter, &argument, &triangle.bridge, NULL), CREW_OK);
    CHECK_STATUS(crew_imap(pool, &same_long, &source, &triangle.stream, NULL), CREW_OK);
    gate_wait_for(triangle.pulls, 1);
    CHECK_STATUS(crew_apply_async(pool, &get_first_item, &argument, &triangle.getter, NULL), CREW_OK);
    wait_until_blocked(pool, 2);
    gate_open(triangle.first_pull);
    gate_wait_for(triangle.pulls, 2);
    (void)gate_wait_until(triangle.never, 1, NOT_YET_NS); /* so that the source waits first, as a rule */
    gate_open(triangle.bridge_go);
    CHECK_STATUS(crew_result_get(triangle.getter, &value, far_away()), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_result_wait(triangle.bridge, far_away()), CREW_OK);
    crew_iterator_destroy(triangle.stream);
    crew_result_destroy(triangle.getter);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(triangle.bridge); /* its last user was the source, which that pool has called */
    CHECK_STATUS(crew_pool_destroy(other), CREW_OK);
    gate_free(triangle.pulls);
    gate_free(triangle.first_pull);
    gate_free(triangle.bridge_go);
    gate_free(triangle.never);
}

/* ---- a callback of a pool without threads ---- */

struct elsewhere {
    crew_pool *serial;
    crew_result *result;
    struct gate *is_called, *never;
    counter calls;
};

static void call_slowly(const crew_outcome *outcome, void *user)
{
    struct elsewhere *elsewhere = user;
    CHECK_STATUS(outcome->status, CREW_OK);
    gate_open(elsewhere->is_called);
    (void)gate_wait_until(elsewhere->never, 1, NOT_YET_NS); /* longer than a wait for a callback stays calm */
    counter_add(&elsewhere->calls, 1);
}

static void submit_elsewhere(void *arg)
{
    struct elsewhere *elsewhere = arg;
    const crew_call *call = CREW_CALL(.on_done = call_slowly, .user = elsewhere, .flags = CREW_READY_AFTER_DONE);
    CHECK_STATUS(crew_apply_async(elsewhere->serial, &same_long, &(long){42}, &elsewhere->result, call), CREW_OK);
}

CREW_JOB(get_from_elsewhere, struct elsewhere *, long)
{
    (void)context;
    CHECK_STATUS(crew_result_get((*arg)->result, result, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&(*arg)->calls), 1);
    return 0;
}

CONTRACT(a_job_waits_for_a_slow_callback_that_another_thread_makes_for_a_serial_pool)
{
    struct elsewhere elsewhere = {.is_called = gate_new(), .never = gate_new()}, *argument = &elsewhere;
    crew_pool *pool = contract_pool(NULL);
    long value = 0;
    CHECK_STATUS(crew_pool_create(&elsewhere.serial, CREW_OPTIONS(.kind = CREW_SERIAL)), CREW_OK);
    struct test_thread *thread = test_thread_start(submit_elsewhere, &elsewhere);
    gate_wait(elsewhere.is_called);
    CHECK_STATUS(crew_apply(pool, &get_from_elsewhere, &argument, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
    test_thread_join(thread);
    crew_result_destroy(elsewhere.result);
    CHECK_STATUS(crew_pool_destroy(elsewhere.serial), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(elsewhere.is_called);
    gate_free(elsewhere.never);
}
