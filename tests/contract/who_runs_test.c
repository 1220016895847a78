/* SPDX-License-Identifier: MIT */
/* Promise 13: who runs a job, and what it is told about that: a worker, or the thread that waits for exactly that
 * job for ever where helping is on; at most `workers` at once; index and state. */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"

#include <pthread.h>

struct whereabouts {
    pthread_t thread;
    int worker;
    void *state;
    crew_pool *pool;
};

static struct whereabouts here(void)
{
    return (struct whereabouts){pthread_self(), crew_worker_index(), crew_worker_state(), crew_current_pool()};
}

CREW_JOB(where, int, struct whereabouts)
{
    (void)arg, (void)context;
    *result = here();
    return 0;
}

static bool is_this_thread(const struct whereabouts *seen)
{
    return pthread_equal(seen->thread, pthread_self());
}

/* ---- helping ---- */

CREW_ACTION(open_gate, struct gate *)
{
    (void)context;
    gate_open(*arg);
    return 0;
}

static void wait_for_ever(void *result)
{
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
}

/* Checks that a job which no worker can take is run, or is not run, by the thread that waits for it: all workers are
 * in pulls that are stuck, which count as blocked and not as executing. */
static void check_waiter(const crew_pool_options *options, unsigned workers, bool helps)
{
    crew_pool *pool;
    struct stuck_source stuck[2];
    struct gate *ran = gate_new();
    crew_result *result;
    CHECK_STATUS(crew_pool_create(&pool, options), CREW_OK);
    for (unsigned i = 0; i < workers; i++)
        stuck_source_start(&stuck[i], pool);
    CHECK_STATUS(crew_apply_async(pool, &open_gate, &ran, &result, NULL), CREW_OK);
    struct test_thread *waiter = test_thread_start(wait_for_ever, result);
    if (helps)
        gate_wait(ran);
    else
        CHECK(!gate_wait_until(ran, 1, NOT_YET_NS));
    for (unsigned i = 0; i < workers; i++)
        stuck_source_let_go(&stuck[i]);
    test_thread_join(waiter);
    for (unsigned i = 0; i < workers; i++)
        stuck_source_free(&stuck[i]);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(ran);
}

static int states[64];

static int init_state(void *user, int worker, void **ret_state)
{
    (void)user;
    *ret_state = &states[worker];
    return 0;
}

#define STUCK_POOL(...) CREW_OPTIONS(.spares_max = CREW_NO_SPARES, __VA_ARGS__)

TEST(helping_is_on_by_default)
{
    check_waiter(STUCK_POOL(.workers = 2), 2, true);
}

TEST(helping_is_off_by_default_with_one_worker)
{
    check_waiter(STUCK_POOL(.workers = 1), 1, false);
}

TEST(helping_is_off_by_default_with_an_initializer)
{
    check_waiter(STUCK_POOL(.workers = 2, .worker_init = init_state), 2, false);
}

TEST(helping_can_be_turned_on_with_one_worker_and_an_initializer)
{
    check_waiter(STUCK_POOL(.workers = 1, .flags = CREW_CALLER_HELPS), 1, true);
    check_waiter(STUCK_POOL(.workers = 2, .flags = CREW_CALLER_HELPS, .worker_init = init_state), 2, true);
}

TEST(helping_can_be_turned_off)
{
    check_waiter(STUCK_POOL(.workers = 2, .flags = CREW_WORKERS_ONLY), 2, false);
}

TEST(a_helper_has_index_minus_one_and_no_state)
{
    crew_pool *pool;
    struct stuck_source stuck;
    struct whereabouts seen;
    CHECK_STATUS(
        crew_pool_create(&pool, STUCK_POOL(.workers = 1, .flags = CREW_CALLER_HELPS, .worker_init = init_state)),
        CREW_OK);
    stuck_source_start(&stuck, pool);
    CHECK_STATUS(crew_apply(pool, &where, &(int){0}, &seen, NULL), CREW_OK);
    CHECK(is_this_thread(&seen));
    CHECK_EQ(seen.worker, -1);
    CHECK(seen.state == NULL);
    CHECK(seen.pool == pool);
    stuck_source_let_go(&stuck);
    stuck_source_free(&stuck);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

TEST(a_waiter_runs_no_job_but_the_one_it_waits_for)
{
    crew_pool *pool;
    struct stuck_source stuck;
    struct gate *strangers_ran = gate_new();
    struct whereabouts seen;
    CHECK_STATUS(crew_pool_create(&pool, STUCK_POOL(.workers = 1, .flags = CREW_CALLER_HELPS)), CREW_OK);
    stuck_source_start(&stuck, pool);
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(crew_apply_async(pool, &open_gate, &strangers_ran, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_apply(pool, &where, &(int){0}, &seen, NULL), CREW_OK);
    CHECK(is_this_thread(&seen));
    CHECK_EQ(gate_count(strangers_ran), 0);
    stuck_source_let_go(&stuck);
    stuck_source_free(&stuck);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(gate_count(strangers_ran), 100);
    gate_free(strangers_ran);
}

CONTRACT_THREADS(a_wait_with_a_finite_deadline_runs_no_user_code)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = CREW_NO_SPARES));
    struct stuck_source stuck[16];
    struct gate *ran = gate_new();
    crew_result *result;
    for (unsigned i = 0; i < config->workers; i++)
        stuck_source_start(&stuck[i], pool);
    CHECK_STATUS(crew_apply_async(pool, &open_gate, &ran, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, CREW_NOW), CREW_TIMEOUT);
    CHECK_STATUS(crew_result_get(result, NULL, crew_after_ns(NOT_YET_NS)), CREW_TIMEOUT);
    CHECK_EQ(gate_count(ran), 0);
    for (unsigned i = 0; i < config->workers; i++)
        stuck_source_let_go(&stuck[i]);
    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    for (unsigned i = 0; i < config->workers; i++)
        stuck_source_free(&stuck[i]);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(ran);
}

CONTRACT_THREADS(without_helping_jobs_run_on_workers_only)
{
    enum { COUNT = 200 };
    static struct whereabouts seen[COUNT];
    static int items[COUNT];
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    CHECK_STATUS(crew_map(pool, &where, items, COUNT, seen, NULL), CREW_OK);
    for (int i = 0; i < COUNT; i++)
        CHECK(!is_this_thread(&seen[i]) && seen[i].worker >= 0);
    for (int i = 0; i < COUNT; i++) {
        CHECK_STATUS(crew_apply(pool, &where, &items[i], &seen[i], NULL), CREW_OK);
        CHECK(!is_this_thread(&seen[i]) && seen[i].worker >= 0);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

TEST(a_serial_pool_runs_a_job_at_submit_on_the_submitting_thread)
{
    crew_pool *pool;
    crew_result *result;
    struct whereabouts seen;
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.kind = CREW_SERIAL)), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &where, &(int){0}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &seen, CREW_NOW), CREW_OK);
    CHECK(is_this_thread(&seen));
    CHECK(seen.pool == pool);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- how many at once ---- */

static counter executing, most_executing;

CREW_ACTION(execute, int)
{
    (void)context;
    counter_max(&most_executing, counter_add(&executing, 1));
    for (volatile int i = 0; i < *arg; i++)
        continue;
    counter_add(&executing, -1);
    return 0;
}

static void apply_many(void *pool)
{
    int items[20];
    for (int i = 0; i < 20; i++)
        items[i] = 1000;
    for (int i = 0; i < 50; i++) {
        CHECK_STATUS(crew_apply_async(pool, &execute, items, NULL, NULL), CREW_OK);
        CHECK_STATUS(crew_apply(pool, &execute, items, NULL, NULL), CREW_OK);
        CHECK_STATUS(crew_map(pool, &execute, items, 20, NULL, CREW_CALL(.chunk = 1)), CREW_OK);
    }
}

CONTRACT_THREADS(at_most_as_many_jobs_as_workers_execute_at_once_helpers_included)
{
    struct test_thread *threads[6];
    crew_pool *pool = contract_pool(NULL);
    for (int i = 0; i < 6; i++)
        threads[i] = test_thread_start(apply_many, pool);
    for (int i = 0; i < 6; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&executing), 0);
    CHECK(counter_get(&most_executing) >= 1);
    CHECK(counter_get(&most_executing) <= (long)config->workers);
}

/* The helper would be one too many: it has to wait although it is allowed to help. */
CONTRACT_THREADS(a_helper_counts_as_one_of_the_workers)
{
    struct blocker blocker;
    struct gate *ran = gate_new();
    crew_result *result;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_CALLER_HELPS));
    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_apply_async(pool, &open_gate, &ran, &result, NULL), CREW_OK);
    struct test_thread *waiter = test_thread_start(wait_for_ever, result);
    CHECK(!gate_wait_until(ran, 1, NOT_YET_NS));
    blocker_let_go(&blocker);
    test_thread_join(waiter);
    CHECK_EQ(gate_count(ran), 1);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
    gate_free(ran);
}

/* ---- index and state ---- */

static counter index_in_use[8192];

CREW_JOB(occupy_index, int, int)
{
    (void)context;
    *result = crew_worker_index();
    if (*result < 0)
        return 0;
    CHECK_EQ(counter_add(&index_in_use[*result], 1), 1);
    for (volatile int i = 0; i < *arg; i++)
        continue;
    counter_add(&index_in_use[*result], -1);
    return 0;
}

CONTRACT_THREADS(no_two_running_jobs_share_an_index_and_all_are_below_slots)
{
    enum { COUNT = 2000 };
    static int items[COUNT], indices[COUNT];
    crew_pool_info info = {.struct_size = sizeof info};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK(info.slots >= info.workers && info.slots < 8192);
    for (int i = 0; i < COUNT; i++)
        items[i] = 500;
    CHECK_STATUS(crew_map(pool, &occupy_index, items, COUNT, indices, CREW_CALL(.chunk = 1)), CREW_OK);
    for (int i = 0; i < COUNT; i++) {
        CHECK(indices[i] >= (config->helping ? -1 : 0));
        CHECK(indices[i] < (int)info.slots);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static bool same_place(const struct whereabouts *a, const struct whereabouts *b)
{
    return a->worker == b->worker && a->state == b->state && a->pool == b->pool && pthread_equal(a->thread, b->thread);
}

CREW_JOB(stay_the_same_over_waits, int, int)
{
    struct whereabouts before = here(), child;
    int items[8] = {0};
    struct whereabouts children[8];
    (void)context;
    if (*arg > 0) {
        int deeper = *arg - 1;
        CHECK_STATUS(crew_apply(before.pool, &stay_the_same_over_waits, &deeper, result, NULL), CREW_OK);
        CHECK_STATUS(crew_apply(before.pool, &where, &deeper, &child, NULL), CREW_OK);
        CHECK_STATUS(crew_map(before.pool, &where, items, 8, children, NULL), CREW_OK);
        CHECK(child.worker < 0 || child.state == &states[child.worker]);
    }
    struct whereabouts after = here();
    CHECK(same_place(&before, &after));
    CHECK(before.worker < 0 ? before.state == NULL : before.state == &states[before.worker]);
    *result = *arg;
    return 0;
}

CONTRACT_THREADS(index_and_state_are_the_job_s_own_before_and_after_its_waits)
{
    int items[16], values[16];
    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_init = init_state, .spares_max = 16));
    for (int i = 0; i < 16; i++)
        items[i] = i % 4;
    CHECK_STATUS(crew_map(pool, &stay_the_same_over_waits, items, 16, values, CREW_CALL(.chunk = 1)), CREW_OK);
    for (int i = 0; i < 16; i++)
        CHECK_EQ(values[i], items[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_JOB(return_state, int, void *)
{
    (void)arg, (void)context;
    *result = crew_worker_state();
    return 0;
}

static int init_the_same(void *user, int worker, void **ret_state)
{
    (void)worker;
    *ret_state = user;
    return 0;
}

CONTRACT(every_worker_s_jobs_see_what_its_initializer_returned)
{
    int mark, items[50] = {0};
    void *seen[50];
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.worker_init = init_the_same, .user = &mark, .flags = CREW_WORKERS_ONLY));
    CHECK_STATUS(crew_map(pool, &return_state, items, 50, seen, NULL), CREW_OK);
    for (int i = 0; i < 50; i++)
        CHECK(seen[i] == &mark);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void check_here_is_nothing(void)
{
    CHECK_EQ(crew_worker_index(), -1);
    CHECK(crew_worker_state() == NULL);
    CHECK(crew_current_pool() == NULL);
    CHECK_EQ(crew_should_stop(), 0);
}

CONTRACT(outside_of_a_job_there_is_no_pool_index_or_state)
{
    struct whereabouts seen;
    check_here_is_nothing();
    crew_pool *pool = contract_pool(NULL);
    check_here_is_nothing();
    CHECK_STATUS(crew_apply(pool, &where, &(int){0}, &seen, NULL), CREW_OK);
    CHECK(seen.pool == pool);
    check_here_is_nothing();
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    check_here_is_nothing();
}

/* ---- two pools ---- */

CREW_JOB(look_into_another_pool, crew_pool *, int)
{
    struct whereabouts before = here(), inside;
    (void)context;
    CHECK(before.pool != *arg);
    CHECK_STATUS(crew_apply(*arg, &where, &(int){0}, &inside, NULL), CREW_OK);
    CHECK(inside.pool == *arg);
    if (is_this_thread(&inside) && config->threads)
        CHECK_EQ(inside.worker, -1); /* a worker of one pool is an outsider to the other */
    struct whereabouts after = here();
    CHECK(same_place(&before, &after));
    *result = 1;
    return 0;
}

CONTRACT(a_job_sees_its_own_pool_and_the_jobs_it_asks_of_another_see_that_one)
{
    crew_pool *outer = contract_pool(NULL), *inner = contract_pool(NULL), *items[10];
    int values[10] = {0};
    for (int i = 0; i < 10; i++)
        items[i] = inner;
    CHECK_STATUS(crew_map(outer, &look_into_another_pool, items, 10, values, NULL), CREW_OK);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(values[i], 1);
    CHECK_STATUS(crew_pool_destroy(outer), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(inner), CREW_OK);
}

static int pull_in_pool(void *user, void *ret_item)
{
    (void)ret_item;
    CHECK(crew_current_pool() == user);
    return 0;
}

static void see_pool(const crew_outcome *outcome, void *user)
{
    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK(crew_current_pool() == user);
    counter_add(&executing, 1);
}

CONTRACT(callbacks_and_sources_see_their_pool_too)
{
    crew_pool *pool = contract_pool(NULL);
    crew_iterator *stream;
    const crew_source source = {.pull = pull_in_pool, .user = pool};
    CHECK_STATUS(crew_apply_async(pool, &never_pulled, &(int){0}, NULL, CREW_CALL(.on_done = see_pool, .user = pool)),
                 CREW_OK);
    CHECK_STATUS(crew_imap(pool, &never_pulled, &source, &stream, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&executing), 1);
}

/* ---- worker_run ---- */

static _Thread_local int run_state;
static counter runs_begun, runs_ended;

static void note_run(void *user, int worker, int running)
{
    (void)user;
    CHECK(worker >= 0);
    CHECK_EQ(run_state, !running);
    run_state = running;
    counter_add(running ? &runs_begun : &runs_ended, 1);
}

CREW_ACTION(check_run_state, int)
{
    (void)context;
    int on_worker = crew_worker_index() >= 0;
    CHECK_EQ(run_state, on_worker);
    if (*arg > 0) {
        int deeper = *arg - 1;
        CHECK_STATUS(crew_apply(crew_current_pool(), &check_run_state, &deeper, NULL, NULL), CREW_OK);
    }
    CHECK_EQ(run_state, on_worker);
    return 0;
}

CONTRACT_THREADS(a_worker_tells_when_it_begins_to_run_jobs_and_when_it_stops)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_run = note_run));
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(crew_apply_async(pool, &check_run_state, &(int){i % 3}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_apply(pool, &check_run_state, &(int){3}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&runs_begun) >= 1);
    CHECK_EQ(counter_get(&runs_begun), counter_get(&runs_ended));
}

/* ---- serially the caller is the worker ---- */

CREW_JOB(index_and_state, int, int)
{
    *result = crew_worker_index() == 0 && crew_worker_state() != NULL;
    return 0;
}

static int give_state(void *user, int worker, void **ret_state)
{
    (void)worker;
    *ret_state = user;
    return 0;
}

TEST(a_serial_pool_that_helps_still_runs_an_applied_job_as_its_worker_and_after_its_initializer)
{
    int is_worker = 0, state = 0;
    crew_pool *pool;

    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.kind = CREW_SERIAL, .worker_init = give_state, .user = &state,
                                                      .flags = CREW_CALLER_HELPS | CREW_LAZY_INIT)),
                 CREW_OK);
    CHECK_STATUS(crew_apply(pool, &index_and_state, &(int){0}, &is_worker, NULL), CREW_OK);
    CHECK_EQ(is_worker, 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
