/* SPDX-License-Identifier: MIT */
/* Promise 9: idle means idle (no CPU without work, nobody spins, no polling); awake means awake (work that was
 * submitted starts, whatever its submitter does next). */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"

#include <poll.h>
#include <time.h>

enum { WORKERS = 16, CPU_LIMIT_NS = 500 * 1000 };

static int64_t cpu_time_ns(void)
{
    struct timespec used;
    CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

/* What the whole process uses while this thread sleeps: time itself is what is tested here, so it is poll that
 * passes it. */
static int64_t cpu_used_in_ms(int duration_ms)
{
    if (test_under_sanitizer())
        test_skip("a sanitizer uses CPU of its own");
    (void)poll(NULL, 0, 10); /* nobody may spin for longer than this */
    int64_t before = cpu_time_ns();
    (void)poll(NULL, 0, duration_ms);
    return cpu_time_ns() - before;
}

/* ---- jobs that can only end when `size` of them run at once ---- */
struct meeting {
    struct gate *present;
    unsigned size;
};

CREW_ACTION(meet, struct meeting)
{
    (void)context;
    gate_add(arg->present);
    gate_wait_for(arg->present, arg->size);
    return 0;
}

static void let_all_workers_meet(crew_pool *pool, unsigned workers)
{
    struct meeting meeting = {gate_new(), workers};
    for (unsigned i = 0; i < workers; i++)
        CHECK_STATUS(crew_apply_async(pool, &meet, &meeting, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    gate_free(meeting.present);
}

CREW_ACTION(count_one, counter *)
{
    (void)context;
    counter_add(*arg, 1);
    return 0;
}

/* Waits without ever calling the library. */
static void spin_until(const counter *count, long value)
{
    while (counter_get(count) < value)
        continue;
}

/* ---- idle ---- */

static int count_init(void *user, int worker, void **ret_state)
{
    (void)worker, (void)ret_state;
    counter_add(user, 1);
    return 0;
}

TEST(an_idle_pool_of_16_started_workers_uses_half_a_millisecond_of_cpu_in_5_seconds)
{
    crew_pool *pool;
    counter started = {0};
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = WORKERS, .worker_init = count_init, .user = &started)),
                 CREW_OK);
    CHECK_EQ(counter_get(&started), WORKERS);
    let_all_workers_meet(pool, WORKERS);
    int64_t used_ns = cpu_used_in_ms(5000);
    CHECK_EQ(used_ns > CPU_LIMIT_NS ? used_ns : 0, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

TEST(a_pool_that_never_had_work_uses_no_cpu)
{
    crew_pool *pool;
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = WORKERS)), CREW_OK);
    int64_t used_ns = cpu_used_in_ms(1000);
    CHECK_EQ(used_ns > CPU_LIMIT_NS ? used_ns : 0, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

TEST(ten_milliseconds_after_a_burst_nobody_spins)
{
    crew_pool *pool;
    counter ran = {0};
    counter *ran_pointer = &ran;
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = WORKERS)), CREW_OK);
    for (int burst = 1; burst <= 5; burst++) {
        for (int i = 0; i < 1000; i++)
            CHECK_STATUS(crew_apply_async(pool, &count_one, &ran_pointer, NULL, NULL), CREW_OK);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK_EQ(counter_get(&ran), 1000 * burst);
        int64_t used_ns = cpu_used_in_ms(200);
        CHECK_EQ(used_ns > CPU_LIMIT_NS ? used_ns : 0, 0);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* As a timer's callbacks, or a client's requests, come. Only one core could be kept busy by looking around in between. */
TEST(a_tiny_job_every_millisecond_keeps_no_core_busy)
{
    enum { JOBS = 300 };
    crew_pool *pool;
    counter ran = {0};
    counter *ran_pointer = &ran;
    if (test_under_sanitizer())
        test_skip("a sanitizer uses CPU of its own");
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = WORKERS)), CREW_OK);
    int64_t began_ns = test_now_ns(), before_ns = cpu_time_ns();
    for (int i = 0; i < JOBS; i++) {
        CHECK_STATUS(crew_apply_async(pool, &count_one, &ran_pointer, NULL, NULL), CREW_OK);
        (void)poll(NULL, 0, 1);
    }
    CHECK((cpu_time_ns() - before_ns) * 2 < test_now_ns() - began_ns);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ran), JOBS);
}

TEST(workers_without_work_stay_idle_beside_busy_ones)
{
    crew_pool *pool;
    struct blocker blocker;
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = WORKERS)), CREW_OK);
    let_all_workers_meet(pool, WORKERS);
    blocker_hold(&blocker, pool, 3);
    int64_t used_ns = cpu_used_in_ms(1000);
    CHECK_EQ(used_ns > CPU_LIMIT_NS ? used_ns : 0, 0);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

struct waited_for {
    crew_pool *pool;
    crew_result *result;
    crew_iterator *stream;
};

static void wait_for_result(void *arg)
{
    CHECK_STATUS(crew_result_wait(((struct waited_for *)arg)->result, CREW_FOREVER), CREW_OK);
}

static void wait_for_result_with_deadline(void *arg)
{
    CHECK_STATUS(crew_result_get(((struct waited_for *)arg)->result, NULL, far_away()), CREW_OK);
}

static void wait_for_item(void *arg)
{
    CHECK_STATUS(crew_iterator_next(((struct waited_for *)arg)->stream, NULL, NULL, far_away(), NULL), CREW_END);
}

static void wait_for_pool(void *arg)
{
    CHECK_STATUS(crew_pool_wait(((struct waited_for *)arg)->pool, CREW_FOREVER), CREW_OK);
}

/* Starts one thread for each way to wait, and gives the CPU time that all of them use together. */
static int64_t cpu_used_by_waiters(struct waited_for *waited_for, struct blocker *blocker, struct stuck_source *stuck)
{
    void (*const waits[])(void *) = {wait_for_result, wait_for_result_with_deadline, wait_for_item, wait_for_pool};
    enum { WAITS = sizeof waits / sizeof waits[0] };
    struct test_thread *threads[WAITS];
    for (size_t i = 0; i < WAITS; i++)
        threads[i] = test_thread_start(waits[i], waited_for);
    int64_t used_ns = cpu_used_in_ms(1000);
    blocker_let_go(blocker);
    stuck_source_let_go(stuck);
    for (size_t i = 0; i < WAITS; i++)
        test_thread_join(threads[i]);
    return used_ns;
}

TEST(those_who_wait_use_no_cpu)
{
    struct blocker blocker = {gate_new(), gate_new()}, *held = &blocker;
    struct stuck_source stuck;
    struct waited_for waited_for = {NULL, NULL, NULL};
    CHECK_STATUS(crew_pool_create(&waited_for.pool, CREW_OPTIONS(.workers = 4)), CREW_OK);
    CHECK_STATUS(crew_apply_async(waited_for.pool, &hold_worker, &held, &waited_for.result, NULL), CREW_OK);
    gate_wait(blocker.started);
    stuck_source_start(&stuck, waited_for.pool);
    waited_for.stream = stuck.stream;
    int64_t used_ns = cpu_used_by_waiters(&waited_for, &blocker, &stuck);
    CHECK_EQ(used_ns > 2 * CPU_LIMIT_NS ? used_ns : 0, 0); /* the start of the threads may reach into it */
    stuck_source_free(&stuck);
    crew_result_destroy(waited_for.result);
    CHECK_STATUS(crew_pool_destroy(waited_for.pool), CREW_OK);
    blocker_free(&blocker);
}

/* ---- who may help, and has nothing to help with ---- */

static void hold_callback(const crew_outcome *outcome, void *user)
{
    struct blocker *blocker = user;
    (void)outcome;
    gate_add(blocker->started);
    gate_wait(blocker->go);
}

TEST(whoever_may_help_uses_no_cpu_while_the_callback_that_he_waits_for_runs)
{
    struct blocker blocker = {gate_new(), gate_new()};
    struct waited_for waited_for = {NULL, NULL, NULL};
    counter ran = {0}, *ran_pointer = &ran;
    const crew_call *call = CREW_CALL(.on_done = hold_callback, .user = &blocker, .flags = CREW_READY_AFTER_DONE);
    CHECK_STATUS(crew_pool_create(&waited_for.pool, CREW_OPTIONS(.workers = 2, .flags = CREW_CALLER_HELPS)), CREW_OK);
    CHECK_STATUS(crew_apply_async(waited_for.pool, &count_one, &ran_pointer, &waited_for.result, call), CREW_OK);
    gate_wait(blocker.started);
    struct test_thread *waiter = test_thread_start(wait_for_result, &waited_for);
    int64_t used_ns = cpu_used_in_ms(200);
    blocker_let_go(&blocker);
    test_thread_join(waiter);
    CHECK_EQ(used_ns > CPU_LIMIT_NS ? used_ns : 0, 0);
    crew_result_destroy(waited_for.result);
    CHECK_STATUS(crew_pool_destroy(waited_for.pool), CREW_OK);
    blocker_free(&blocker);
}

static void submit_one_more(void *arg)
{
    CHECK_STATUS(crew_apply_async(((struct waited_for *)arg)->pool, &never_pulled, &(int){0}, NULL, NULL), CREW_OK);
}

TEST(a_submitter_who_waits_for_room_in_the_queue_uses_no_cpu)
{
    struct blocker blocker;
    struct waited_for full = {NULL, NULL, NULL};
    CHECK_STATUS(crew_pool_create(&full.pool, CREW_OPTIONS(.workers = 2, .queue_max = 1)), CREW_OK);
    blocker_hold(&blocker, full.pool, 2);
    submit_one_more(&full);
    struct test_thread *submitter = test_thread_start(submit_one_more, &full);
    int64_t used_ns = cpu_used_in_ms(500);
    CHECK_EQ(used_ns > 2 * CPU_LIMIT_NS ? used_ns : 0, 0);
    blocker_let_go(&blocker);
    test_thread_join(submitter);
    CHECK_STATUS(crew_pool_destroy(full.pool), CREW_OK);
    blocker_free(&blocker);
}

/* ---- awake ---- */

CONTRACT_THREADS(submitted_work_starts_on_a_parked_worker_while_the_submitter_spins)
{
    crew_pool *pool = contract_pool(NULL);
    counter ran = {0}, *ran_pointer = &ran;
    for (int round = 1; round <= 300; round++) {
        if (round % 100 == 0)
            (void)poll(NULL, 0, 11); /* now they are parked for certain; in the other rounds they are about to */
        CHECK_STATUS(crew_apply_async(pool, &count_one, &ran_pointer, NULL, NULL), CREW_OK);
        spin_until(&ran, round);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct spinning {
    counter ran;
};

CREW_ACTION(submit_and_spin, struct spinning *)
{
    counter *ran = &(*arg)->ran;
    (void)context;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_one, &ran, NULL, NULL), CREW_OK);
    spin_until(ran, 1);
    return 0;
}

CONTRACT_THREADS(what_a_job_submits_starts_on_a_parked_worker_while_the_job_spins)
{
    crew_pool *pool = contract_pool(config->workers == 1 ? CREW_OPTIONS(.workers = 2) : NULL);
    for (int round = 0; round < 100; round++) {
        struct spinning spinning = {{0}}, *pointer = &spinning;
        if (round % 50 == 0)
            (void)poll(NULL, 0, 11);
        CHECK_STATUS(crew_apply_async(pool, &submit_and_spin, &pointer, NULL, NULL), CREW_OK);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK_EQ(counter_get(&spinning.ran), 1);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(as_many_jobs_as_workers_that_wait_for_each_other_all_start)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < 20; round++)
        let_all_workers_meet(pool, config->workers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct meeting_in_pool {
    struct meeting meeting;
    crew_pool *pool;
};

static void submit_meeting(void *arg)
{
    struct meeting_in_pool *all = arg;
    CHECK_STATUS(crew_apply_async(all->pool, &meet, &all->meeting, NULL, NULL), CREW_OK);
}

CONTRACT_THREADS(jobs_of_as_many_submitters_that_wait_for_each_other_all_start)
{
    struct meeting_in_pool all = {{gate_new(), config->workers}, contract_pool(NULL)};
    struct test_thread *submitters[WORKERS];
    for (unsigned i = 0; i < config->workers; i++)
        submitters[i] = test_thread_start(submit_meeting, &all);
    gate_wait_for(all.meeting.present, config->workers);
    for (unsigned i = 0; i < config->workers; i++)
        test_thread_join(submitters[i]);
    CHECK_STATUS(crew_pool_destroy(all.pool), CREW_OK);
    gate_free(all.meeting.present);
}

CONTRACT_THREADS(all_workers_take_part_in_a_map_whose_items_wait_for_each_other)
{
    crew_pool *pool = contract_pool(NULL);
    struct meeting items[WORKERS];
    crew_result *map;
    struct gate *present = gate_new();
    for (unsigned i = 0; i < config->workers; i++)
        items[i] = (struct meeting){present, config->workers};
    CHECK_STATUS(crew_map_async(pool, &meet, items, config->workers, NULL, &map, CREW_CALL(.chunk = 1)), CREW_OK);
    gate_wait_for(present, config->workers);
    CHECK_STATUS(crew_result_get(map, NULL, CREW_FOREVER), CREW_OK);
    crew_result_destroy(map);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(present);
}

CONTRACT_THREADS(all_workers_take_part_in_a_stream_whose_items_wait_for_each_other)
{
    crew_pool *pool = contract_pool(NULL);
    struct meeting items[WORKERS];
    crew_iterator *stream;
    struct gate *present = gate_new();
    for (unsigned i = 0; i < config->workers; i++)
        items[i] = (struct meeting){present, config->workers};
    const crew_source source = {.items = items, .count = config->workers};
    CHECK_STATUS(crew_imap(pool, &meet, &source, &stream, CREW_CALL(.window = config->workers)), CREW_OK);
    gate_wait_for(present, config->workers);
    for (unsigned i = 0; i < config->workers; i++)
        CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(present);
}

static void count_outcome(const crew_outcome *outcome, void *user)
{
    CHECK_STATUS(outcome->status, CREW_OK);
    counter_add(user, 1);
}

CONTRACT(a_callback_is_called_while_the_submitter_spins)
{
    crew_pool *pool = contract_pool(NULL);
    counter called = {0};
    for (int round = 1; round <= 100; round++) {
        CHECK_STATUS(crew_apply_async(pool, &never_pulled, &(int){0}, NULL,
                                      CREW_CALL(.on_done = count_outcome, .user = &called)),
                     CREW_OK);
        spin_until(&called, round);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&called), 100);
}

/* A waiter that gave up must not be the one who is woken in place of one that still waits. */
static void wait_impatiently(void *result)
{
    for (int i = 0; i < 20; i++)
        CHECK_STATUS(crew_result_wait(result, crew_after_ns(100 * 1000)), CREW_TIMEOUT);
}

static void wait_patiently(void *result)
{
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
}

CONTRACT_THREADS(waiters_that_timed_out_take_no_wake_from_the_others)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < 5; round++) {
        struct blocker blocker = {gate_new(), gate_new()}, *held = &blocker;
        struct test_thread *impatient[2], *patient[2];
        crew_result *result;
        CHECK_STATUS(crew_apply_async(pool, &hold_worker, &held, &result, NULL), CREW_OK);
        gate_wait(blocker.started);
        for (int i = 0; i < 2; i++) {
            impatient[i] = test_thread_start(wait_impatiently, result);
            patient[i] = test_thread_start(wait_patiently, result);
        }
        for (int i = 0; i < 2; i++)
            test_thread_join(impatient[i]);
        blocker_let_go(&blocker);
        for (int i = 0; i < 2; i++)
            test_thread_join(patient[i]);
        crew_result_destroy(result);
        blocker_free(&blocker);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
