/* SPDX-License-Identifier: MIT */
/* Promise 4, seen from inside a callback: what it may do, where it runs, and who is told when there is none. */
#define _POSIX_C_SOURCE 200809L
#include "ledger.h"

#include <pthread.h>

/* ---- what it may do ---- */

struct doings {
    crew_result *earlier, *own;
    long value, sum;
    counter calls;
};

static void wait_for_new_work(const crew_outcome *outcome, void *user)
{
    struct doings *doings = user;
    crew_pool *pool = crew_current_pool();
    const int numbers[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    long doubled[10];
    crew_result *result;

    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){30}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &doings->value, CREW_FOREVER), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_map(pool, &twice, numbers, 10, doubled, NULL), CREW_OK);
    for (int i = 0; i < 10; i++)
        doings->sum += doubled[i];
    counter_add(&doings->calls, 1);
}

CONTRACT(a_callback_may_wait_for_work_that_it_submits)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = CREW_NO_SPARES));
    struct doings doings = {.value = 0};

    CHECK_STATUS(
        crew_apply_async(pool, &twice, &(int){1}, NULL, CREW_CALL(.on_done = wait_for_new_work, .user = &doings)),
        CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&doings.calls), 1);
    CHECK_EQ(doings.value, 60);
    CHECK_EQ(doings.sum, 20);
}

static void wait_for_earlier(const crew_outcome *outcome, void *user)
{
    struct doings *doings = user;

    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK_STATUS(crew_result_get(doings->earlier, &doings->value, CREW_FOREVER), CREW_OK);
    counter_add(&doings->calls, 1);
}

CONTRACT(a_callback_may_wait_for_another_result)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = CREW_NO_SPARES));
    struct doings doings = {.value = 0};

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){30}, &doings.earlier, NULL), CREW_OK);
    for (int i = 0; i < 20; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, CREW_CALL(.on_done = wait_for_earlier, .user = &doings)),
                     CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(doings.value, 60);
    CHECK_EQ(counter_get(&doings.calls), 20);
    crew_result_destroy(doings.earlier);
}

static void destroy_own(const crew_outcome *outcome, void *user)
{
    struct doings *doings = user;

    crew_result_destroy(doings->own);
    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK_EQ(*(const long *)outcome->value, 2);
    counter_add(&doings->calls, 1);
}

CONTRACT(a_callback_may_let_go_of_its_own_handle_and_keeps_the_outcome)
{
    static const unsigned flags[2] = {0, CREW_READY_AFTER_DONE};
    crew_pool *pool = contract_pool(NULL);
    struct doings doings[2] = {{.value = 0}, {.value = 0}};

    for (int i = 0; i < 2; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &doings[i].own,
                                      CREW_CALL(.on_done = destroy_own, .user = &doings[i], .flags = flags[i])),
                     CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&doings[0].calls), 1);
    CHECK_EQ(counter_get(&doings[1].calls), 1);
}

/* With a map's handle, and one of which the callback is queued behind this one. */
struct maps {
    const crew_call *call;
    crew_result *own, *behind;
    int numbers[4];
    long doubled[4], doubled_behind[4];
    counter told;
};

static void destroy_behind(const crew_outcome *outcome, void *user)
{
    struct maps *maps = user;

    crew_result_destroy(maps->own);
    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK(outcome->value == maps->doubled);
    CHECK_EQ(maps->doubled[3], 8);
    CHECK_STATUS(
        crew_map_async(crew_current_pool(), &twice, maps->numbers, 4, maps->doubled_behind, &maps->behind, maps->call),
        CREW_OK);
    (void)crew_result_wait(maps->behind, CREW_FOREVER); /* ready, or refused when all items have run */
    crew_result_destroy(maps->behind);
    counter_add(&maps->told, 1);
}

static void count_behind(const crew_outcome *outcome, void *user)
{
    struct maps *maps = user;

    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK_EQ(counter_add(&maps->told, 1), 2);
}

static void check_destroyed_maps(unsigned flags)
{
    crew_pool *pool = contract_pool(NULL);
    struct maps maps = {.numbers = {1, 2, 3, 4}};

    maps.call = CREW_CALL(.on_done = count_behind, .user = &maps, .flags = flags);
    CHECK_STATUS(crew_map_async(pool, &twice, maps.numbers, 4, maps.doubled, &maps.own,
                                CREW_CALL(.on_done = destroy_behind, .user = &maps, .flags = flags)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&maps.told), 2);
}

CONTRACT(a_callback_may_destroy_the_map_it_is_called_for_and_one_whose_callback_is_still_to_come)
{
    check_destroyed_maps(0);
    check_destroyed_maps(CREW_READY_AFTER_DONE);
}

struct chain {
    counter left, calls;
};

static void submit_next(const crew_outcome *outcome, void *user)
{
    struct chain *chain = user;

    CHECK_STATUS(outcome->status, CREW_OK);
    counter_add(&chain->calls, 1);
    if (counter_add(&chain->left, -1) >= 0)
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &twice, &(int){1}, NULL,
                                      CREW_CALL(.on_done = submit_next, .user = chain)),
                     CREW_OK);
}

CONTRACT(a_long_chain_of_callbacks_that_submit_needs_no_deep_stack)
{
    crew_pool *pool = contract_pool(NULL);
    struct chain chain = {.left = {20000}};

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, NULL, CREW_CALL(.on_done = submit_next, .user = &chain)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&chain.calls), 20001);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void call_everything(const crew_outcome *outcome, void *user)
{
    struct doings *doings = user;
    crew_pool *pool = crew_current_pool();
    crew_pool_info info = {.struct_size = sizeof info};

    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_STATUS(crew_result_cancel(doings->own), CREW_END);
    CHECK_STATUS(crew_result_get(doings->own, &doings->value, CREW_NOW), CREW_OK);
    crew_pool_request_stop(pool);
    CHECK_EQ(crew_should_stop(), 1);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    counter_add(&doings->calls, 1);
}

CONTRACT(a_callback_runs_under_no_lock)
{
    crew_pool *pool = contract_pool(NULL);
    struct doings doings = {.value = 0};

    CHECK_STATUS(
        crew_apply_async(pool, &twice, &(int){7}, &doings.own, CREW_CALL(.on_done = call_everything, .user = &doings)),
        CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&doings.calls), 1);
    CHECK_EQ(doings.value, 14);
    crew_result_destroy(doings.own);
}

/* ---- where it runs ---- */

static _Thread_local int suspended; /* jobs on this thread that wait */

struct whereabouts {
    pthread_t caller;
    counter calls, on_top, on_caller;
};

static void note_thread(const crew_outcome *outcome, void *user)
{
    struct whereabouts *whereabouts = user;

    (void)outcome;
    counter_add(&whereabouts->calls, 1);
    counter_add(&whereabouts->on_top, suspended > 0);
    counter_add(&whereabouts->on_caller, pthread_equal(pthread_self(), whereabouts->caller) != 0);
}

static crew_fn parent_fn;
static const crew_job parent = {parent_fn, sizeof(int), 0, "parent", NULL, NULL};

/* Waits for two children, whose callbacks have every opportunity to run meanwhile. */
static int parent_fn(const void *arg, void *result, void *context)
{
    int left = *(const int *)arg - 1;
    crew_call *call = CREW_CALL(.context = context, .on_done = note_thread, .user = context);
    crew_result *child;

    (void)result;
    if (left < 0)
        return 0;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &parent, &left, &child, call), CREW_OK);
    suspended++;
    CHECK_STATUS(crew_apply(crew_current_pool(), &parent, &left, NULL, call), CREW_OK);
    CHECK_STATUS(crew_result_wait(child, CREW_FOREVER), CREW_OK);
    suspended--;
    crew_result_destroy(child);
    return 0;
}

CONTRACT(a_callback_never_runs_on_top_of_a_job_that_waits)
{
    crew_pool *pool = contract_pool(NULL);
    struct whereabouts whereabouts = {.caller = pthread_self()};

    CHECK_STATUS(crew_apply(pool, &parent, &(int){7}, NULL,
                            CREW_CALL(.context = &whereabouts, .on_done = note_thread, .user = &whereabouts)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&whereabouts.calls), 255);
    CHECK_EQ(counter_get(&whereabouts.on_top), 0);
    CHECK(!config->threads || counter_get(&whereabouts.on_caller) == 0);
}

CONTRACT_THREADS(the_callbacks_of_cancel_and_terminate_do_not_run_on_their_callers)
{
    crew_pool *pool = contract_pool(NULL);
    struct whereabouts whereabouts = {.caller = pthread_self()};
    struct blocker blocker;
    crew_result *results[10];

    blocker_hold(&blocker, pool, config->workers);
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(
            crew_apply_async(pool, &twice, &i, &results[i], CREW_CALL(.on_done = note_thread, .user = &whereabouts)),
            CREW_OK);
    for (int i = 0; i < 5; i++)
        CHECK_STATUS(crew_result_cancel(results[i]), CREW_OK);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    end_pool(pool, &blocker);
    for (int i = 0; i < 10; i++) {
        CHECK_STATUS(crew_result_status(results[i]), i < 5 ? CREW_CANCELLED : CREW_TERMINATED);
        crew_result_destroy(results[i]);
    }
    CHECK_EQ(counter_get(&whereabouts.calls), 10);
    CHECK_EQ(counter_get(&whereabouts.on_caller), 0);
}

/* ---- on_unhandled: a failure that nobody would see ---- */

struct unhandled {
    counter calls;
    crew_error last;
};

static void note_unhandled(const crew_outcome *outcome, void *user)
{
    struct unhandled *unhandled = user;

    CHECK(crew_current_pool() != NULL);
    CHECK(outcome->error != NULL);
    unhandled->last = *outcome->error;
    counter_add(&unhandled->calls, 1);
}

static void ignore(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    (void)user;
}

CONTRACT(a_failure_without_handle_and_callback_reaches_on_unhandled)
{
    struct unhandled unhandled = {.calls = {0}};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.on_unhandled = note_unhandled, .user = &unhandled));

    CHECK_STATUS(crew_apply_async(pool, &fail_with, &(int){12}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&unhandled.calls), 1);
    CHECK_STATUS(unhandled.last.status, CREW_FAILED);
    CHECK_EQ(unhandled.last.code, 12);
    CHECK_STRING(unhandled.last.job, "fail_with");
    CHECK_STRING(unhandled.last.message, "asked to fail with 12");
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_map_that_fails_without_handle_and_callback_reaches_on_unhandled_once)
{
    struct unhandled unhandled = {.calls = {0}};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.on_unhandled = note_unhandled, .user = &unhandled));
    const int codes[6] = {0, 5, 0, 6, 7, 0};

    CHECK_STATUS(crew_map_async(pool, &fail_with, codes, 6, NULL, NULL, CREW_CALL(.chunk = 1)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&unhandled.calls), 1);
    CHECK_EQ(unhandled.last.index, 1);
    CHECK_EQ(unhandled.last.code, 5);
}

CONTRACT(what_a_handle_or_a_callback_sees_is_not_unhandled)
{
    struct unhandled unhandled = {.calls = {0}};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.on_unhandled = note_unhandled, .user = &unhandled));
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &fail_with, &(int){1}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &fail_with, &(int){1}, NULL, CREW_CALL(.on_done = ignore)), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &fail_with, &(int){0}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_apply(pool, &fail_with, &(int){1}, NULL, NULL), CREW_FAILED);
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&unhandled.calls), 0);
}

/* ---- a job that holds a lock, and waits for a callback ---- */

struct vault {
    pthread_mutex_t lock;
    struct gate *at_the_door;
    counter calls, entered;
};

static int enter_vault_fn(const void *arg, void *result, void *context)
{
    struct vault *vault = context;

    (void)arg;
    (void)result;
    gate_add(vault->at_the_door);
    CHECK_EQ(pthread_mutex_lock(&vault->lock), 0);
    counter_add(&vault->entered, 1);
    CHECK_EQ(pthread_mutex_unlock(&vault->lock), 0);
    return 0;
}

static const crew_job enter_vault = {enter_vault_fn, 0, 0, "enter_vault", NULL, NULL};

static void call_vault(const crew_outcome *outcome, void *user)
{
    CHECK_STATUS(outcome->status, CREW_OK);
    counter_add(&((struct vault *)user)->calls, 1);
}

/* Holds the lock until the only worker's stand-in wants it, so that no thread may execute any more; then waits. */
static int guard_vault_fn(const void *arg, void *result, void *context)
{
    struct vault *vault = context;
    crew_pool *pool = crew_current_pool();
    crew_result *visitor, *told;
    long value;

    (void)arg;
    (void)result;
    CHECK_EQ(pthread_mutex_lock(&vault->lock), 0);
    CHECK_STATUS(crew_apply_async(pool, &enter_vault, NULL, &visitor, CREW_CALL(.context = vault)), CREW_OK);
    while (gate_count(vault->at_the_door) == 0)
        CHECK_STATUS(crew_result_wait(visitor, crew_after_ms(1)), CREW_TIMEOUT);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){4}, &told,
                                  CREW_CALL(.on_done = call_vault, .user = vault, .flags = CREW_READY_AFTER_DONE)),
                 CREW_OK);
    CHECK_STATUS(crew_result_get(told, &value, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&vault->calls), 1);
    CHECK_EQ(pthread_mutex_unlock(&vault->lock), 0);
    crew_result_destroy(told);
    crew_result_destroy(visitor);
    return 0;
}

static const crew_job guard_vault = {guard_vault_fn, 0, 0, "guard_vault", NULL, NULL};

CONTRACT_THREADS(a_callback_gets_a_thread_though_all_workers_want_a_lock_of_the_job_that_waits_for_it)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    struct vault vault = {.at_the_door = gate_new()};

    CHECK_EQ(pthread_mutex_init(&vault.lock, NULL), 0);
    CHECK_STATUS(crew_apply_async(pool, &guard_vault, NULL, NULL, CREW_CALL(.context = &vault)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&vault.entered), 1);
    gate_free(vault.at_the_door);
    CHECK_EQ(pthread_mutex_destroy(&vault.lock), 0);
}
