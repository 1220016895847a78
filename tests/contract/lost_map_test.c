/* SPDX-License-Identifier: MIT */
/* Promise 8 for a blocking map whose own caller is lost in one of its items: nothing of it is left behind. */
#define _POSIX_C_SOURCE 200809L
#include "ledger.h"

#include <pthread.h>

enum { ITEMS = 10 };

struct lost_call {
    crew_pool *pool;
    size_t n, chunk;
    unsigned flags;
    pthread_t caller;
    counter runs, told, ended;
    crew_status outcome; /* as told */
    struct gate *both;
};

static void note_end(const crew_outcome *outcome, void *user)
{
    struct lost_call *call = user;

    call->outcome = outcome->status;
    counter_add(&call->told, 1);
}

CREW_JOB(ends_caller, long, long)
{
    struct lost_call *call = context;

    counter_add(&call->runs, 1);
    if (pthread_equal(pthread_self(), call->caller))
        pthread_exit(NULL);
    *result = *arg;
    return 0;
}

/* With arrays on the stack that is lost. The items may all have run elsewhere: then it comes back. */
static void map_and_be_lost(struct lost_call *call)
{
    long numbers[ITEMS] = {0}, values[ITEMS];

    call->caller = pthread_self();
    (void)crew_map(
        call->pool, &ends_caller, numbers, call->n, values,
        CREW_CALL(.context = call, .chunk = call->chunk, .flags = call->flags, .on_done = note_end, .user = call));
}

static void thread_maps(void *arg)
{
    map_and_be_lost(arg);
}

CREW_ACTION(job_maps, struct lost_call *)
{
    (void)context;
    map_and_be_lost(*arg);
    return 0;
}

static void call_from_outside(struct lost_call *call)
{
    test_thread_join(test_thread_start(thread_maps, call));
}

/* Through a thread of its own: the serial backend runs the job on the caller's. */
static void submit_job(void *arg)
{
    struct lost_call *call = arg;

    CHECK_STATUS(crew_apply_async(call->pool, &job_maps, &call, NULL, NULL), CREW_OK);
}

static void call_from_job(struct lost_call *call)
{
    test_thread_join(test_thread_start(submit_job, call));
}

static void check_call(const crew_pool_options *options, void (*make)(struct lost_call *call), struct lost_call call)
{
    struct test_memory memory = {.fail_at = 0};
    crew_pool_options counted = *options;

    counted.alloc = test_memory_alloc;
    counted.free = test_memory_free;
    counted.user = &memory;
    call.pool = contract_pool(&counted);
    make(&call);
    CHECK_STATUS(crew_pool_wait(call.pool, far_away()), CREW_OK);
    CHECK_EQ(counter_get(&call.told), 1);
    CHECK(call.outcome == CREW_WORKER_LOST || counter_get(&call.runs) == (long)call.n);
    CHECK_STATUS(crew_pool_destroy(call.pool), CREW_OK);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
}

static void check_calls(const crew_pool_options *options, void (*make)(struct lost_call *call))
{
    for (size_t n = 1; n <= ITEMS; n += 3)
        for (size_t chunk = 0; chunk <= ITEMS; chunk += 5)
            check_call(options, make, (struct lost_call){.n = n, .chunk = chunk});
}

CONTRACT(a_map_whose_caller_is_lost_in_one_of_its_items_leaves_nothing_behind)
{
    check_calls(CREW_OPTIONS(.kind = config->kind), call_from_outside);
    check_calls(CREW_OPTIONS(.queue_max = 3), call_from_outside);
}

CONTRACT(a_map_whose_calling_job_is_lost_in_one_of_its_items_leaves_nothing_behind)
{
    check_calls(CREW_OPTIONS(.kind = config->kind), call_from_job);
}

CONTRACT_THREADS(a_map_whose_calling_job_was_the_only_worker_leaves_nothing_behind_when_that_is_lost)
{
    const crew_pool_options *lone =
        CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY);

    check_calls(lone, call_from_job);
}

CONTRACT_THREADS(a_map_that_would_be_ready_after_its_callback_leaves_nothing_behind_when_its_calling_job_is_lost)
{
    const crew_pool_options *options = CREW_OPTIONS(.workers = 2, .spares_max = CREW_NO_SPARES);

    check_call(options, call_from_job, (struct lost_call){.n = ITEMS, .chunk = 5, .flags = CREW_READY_AFTER_DONE});
    check_call(options, call_from_job, (struct lost_call){.n = 1, .flags = CREW_READY_AFTER_DONE});
}

/* ---- what runs elsewhere is waited for ---- */

/* Whoever is not the caller goes on until it is told to stop, and a little longer. */
CREW_JOB(ends_caller_beside_another, long, long)
{
    struct lost_call *call = context;

    gate_add(call->both);
    gate_wait_for(call->both, 2);
    if (pthread_equal(pthread_self(), call->caller))
        pthread_exit(NULL);
    while (!crew_should_stop())
        continue;
    for (*result = 0; *result < 1000000; ++*result)
        __asm__ volatile("");
    counter_add(&call->ended, *arg == 1);
    return 0;
}

static void thread_maps_beside_another(void *arg)
{
    struct lost_call *call = arg;
    long numbers[2] = {1, 1}, values[2];

    call->caller = pthread_self();
    (void)crew_map(call->pool, &ends_caller_beside_another, numbers, 2, values, CREW_CALL(.context = call, .chunk = 1));
    test_fail(__FILE__, __LINE__, "the map comes back although its caller was lost");
}

CONTRACT_THREADS(a_map_whose_caller_is_lost_waits_for_its_items_on_other_threads)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 2, .flags = CREW_CALLER_HELPS));

    for (int round = 0; round < 10; round++) {
        struct lost_call call = {.pool = pool, .both = gate_new()};

        test_thread_join(test_thread_start(thread_maps_beside_another, &call));
        CHECK_EQ(counter_get(&call.ended), 1);
        gate_free(call.both);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
