/* SPDX-License-Identifier: MIT */
/* Promise 5, long maps of small chunks: how their items are shared out, and that none is private to whoever took it. */
#define _GNU_SOURCE
#include "ledger.h"

#include <limits.h>
#include <pthread.h>

enum { MANY = 20000 };

/* ---- each index once ---- */

struct marks {
    counter *of; /* one for each index */
    counter outside;
    size_t n;
};

CREW_ACTION(mark, size_t)
{
    struct marks *marks = context;

    counter_add(*arg < marks->n ? &marks->of[*arg] : &marks->outside, 1);
    return 0;
}

static void check_each_once(crew_pool *pool, size_t n, size_t chunk)
{
    struct marks marks = {.of = calloc(n, sizeof(counter)), .n = n};

    CHECK(marks.of != NULL);
    CHECK_STATUS(crew_map(pool, &mark, NULL, n, NULL, CREW_CALL(.context = &marks, .chunk = chunk)), CREW_OK);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(counter_get(&marks.of[i]), 1);
    CHECK_EQ(counter_get(&marks.outside), 0);
    free(marks.of);
}

CONTRACT(each_item_of_a_long_map_runs_once_whatever_the_chunk)
{
    crew_pool *pool = contract_pool(NULL);

    for (size_t chunk = 0; chunk < 8; chunk++)
        check_each_once(pool, MANY + chunk, chunk);
    for (size_t n = 60; n < 70; n++)
        check_each_once(pool, n, 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void map_many(void *pool)
{
    for (size_t round = 0; round < 5; round++)
        check_each_once(pool, MANY / 4, 1 + round);
}

CONTRACT(each_item_of_long_maps_side_by_side_runs_once)
{
    crew_pool *pool = contract_pool(NULL);
    struct test_thread *threads[3];

    for (int i = 0; i < 3; i++)
        threads[i] = test_thread_start(map_many, pool);
    for (int i = 0; i < 3; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- items that stay ---- */

/* Of the runs of a map's items, in the order in which they begin, some stay until the gate opens. */
struct stay {
    struct gate *stayed, *go;
    counter runs;
    long from, stayers; /* the runs of these numbers stay */
    long others;        /* the last of these, beside the stayers, opens the gate; 0: the test does */
};

static int stay_fn(const void *arg, void *result, void *context)
{
    struct stay *stay = context;
    long number = counter_add(&stay->runs, 1);

    (void)arg;
    (void)result;
    if (number >= stay->from && number < stay->from + stay->stayers) {
        gate_add(stay->stayed);
        gate_wait(stay->go);
    } else if (stay->others > 0 && number == stay->others + stay->stayers) {
        gate_open(stay->go);
    }
    return 0;
}

static const crew_job stay_item = {stay_fn, 0, 0, "stay_item", NULL, NULL};

static void stay_init(struct stay *stay, long from, long stayers, long others)
{
    *stay = (struct stay){gate_new(), gate_new(), {0}, from, stayers, others};
}

static void stay_free(struct stay *stay)
{
    gate_free(stay->stayed);
    gate_free(stay->go);
}

static void check_nothing_is_private(long from)
{
    crew_pool *pool = contract_pool(NULL);
    struct stay stay;

    stay_init(&stay, from, (long)config->workers - 1, MANY - ((long)config->workers - 1));
    CHECK_STATUS(crew_map(pool, &stay_item, NULL, MANY, NULL, CREW_CALL(.context = &stay, .chunk = 1)), CREW_OK);
    CHECK_EQ(counter_get(&stay.runs), MANY);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stay_free(&stay);
}

/* Whoever is free runs the items of all whom an item holds up. */
CONTRACT_THREADS(all_other_items_run_while_every_thread_but_one_is_held_up_in_an_item)
{
    check_nothing_is_private(1);
    check_nothing_is_private(MANY / 2);
    check_nothing_is_private(MANY - 100);
}

/* All workers are in an item of the map, with thousands of items before them. */
static crew_result *stay_all(struct stay *stay, crew_pool *pool)
{
    crew_result *map;

    stay_init(stay, 1000, MANY, 0);
    CHECK_STATUS(crew_map_async(pool, &stay_item, NULL, MANY, NULL, &map, CREW_CALL(.context = stay, .chunk = 1)),
                 CREW_OK);
    gate_wait_for(stay->stayed, config->workers);
    return map;
}

static void check_no_more_run(struct stay *stay, crew_result *map, crew_status expected)
{
    long runs = counter_get(&stay->runs);

    CHECK_EQ(runs, 999 + config->workers);
    gate_open(stay->go);
    CHECK_STATUS(crew_result_get(map, NULL, CREW_FOREVER), expected);
    CHECK_EQ(counter_get(&stay->runs), runs);
    crew_result_destroy(map);
}

CONTRACT_THREADS(a_cancel_takes_what_participants_have_before_them)
{
    crew_pool *pool = contract_pool(NULL);
    struct stay stay;
    crew_result *map = stay_all(&stay, pool);

    CHECK_STATUS(crew_result_cancel(map), CREW_BUSY);
    check_no_more_run(&stay, map, CREW_CANCELLED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stay_free(&stay);
}

CONTRACT_THREADS(terminate_takes_what_participants_have_before_them)
{
    crew_pool *pool = contract_pool(NULL);
    struct stay stay;
    crew_result *map = stay_all(&stay, pool);

    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    check_no_more_run(&stay, map, CREW_TERMINATED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stay_free(&stay);
}

struct ending {
    crew_pool *pool;
    counter runs;
};

CREW_ACTION(end_pool_at_10, size_t)
{
    struct ending *ending = context;

    counter_add(&ending->runs, 1);
    if (*arg == 10)
        CHECK_STATUS(crew_pool_terminate(ending->pool), CREW_OK);
    return 0;
}

CONTRACT(items_that_were_taken_together_do_not_start_after_terminate)
{
    struct ending ending = {.pool = contract_pool(NULL)};

    CHECK_STATUS(crew_map(ending.pool, &end_pool_at_10, NULL, 100, NULL, CREW_CALL(.context = &ending, .chunk = 100)),
                 CREW_TERMINATED);
    CHECK_EQ(counter_get(&ending.runs), 11);
    CHECK_STATUS(crew_pool_destroy(ending.pool), CREW_OK);
}

/* Cancels come at any moment: what ran, ran once, and the map ends. */
CONTRACT(a_cancel_while_items_are_handed_out_leaves_each_run_once_or_not_at_all)
{
    crew_pool *pool = contract_pool(NULL);

    for (size_t round = 0; round < 20; round++) {
        struct marks marks = {.of = calloc(MANY, sizeof(counter)), .n = MANY};
        crew_result *map;
        long runs = 0;

        CHECK(marks.of != NULL);
        CHECK_STATUS(
            crew_map_async(pool, &mark, NULL, MANY, NULL, &map, CREW_CALL(.context = &marks, .chunk = 1 + round % 3)),
            CREW_OK);
        while (round % 4 && crew_result_status(map) == CREW_BUSY && counter_get(&marks.of[round * 900]) == 0)
            continue;
        crew_status cancelled = crew_result_cancel(map);
        crew_status status = crew_result_get(map, NULL, CREW_FOREVER);
        for (size_t i = 0; i < MANY; i++) {
            CHECK(counter_get(&marks.of[i]) <= 1);
            runs += counter_get(&marks.of[i]);
        }
        CHECK_STATUS(status, runs == MANY ? CREW_OK : CREW_CANCELLED);
        CHECK(cancelled != CREW_OK || runs == 0);
        crew_result_destroy(map);
        free(marks.of);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(a_map_of_as_many_items_as_can_be_counted_runs_until_it_is_cancelled)
{
    crew_pool *pool = contract_pool(NULL);
    struct stay stay;
    crew_result *map;

    stay_init(&stay, 1000, LONG_MAX / 2, 0);
    CHECK_STATUS(crew_map_async(pool, &stay_item, NULL, SIZE_MAX, NULL, &map, CREW_CALL(.context = &stay, .chunk = 1)),
                 CREW_OK);
    gate_wait_for(stay.stayed, config->workers);
    CHECK_STATUS(crew_result_cancel(map), CREW_BUSY);
    check_no_more_run(&stay, map, CREW_CANCELLED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stay_free(&stay);
}

/* ---- failures, and threads that end ---- */

CREW_ACTION(fail_every_1000th, size_t)
{
    counter_add(context, 1);
    return *arg % 1000 == 777 ? crew_fail((int)*arg, "item %zu", *arg) : 0;
}

CONTRACT(the_failure_of_a_long_map_is_that_of_its_lowest_index)
{
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};
    crew_error error = {0};

    CHECK_STATUS(
        crew_map(pool, &fail_every_1000th, NULL, MANY, NULL, CREW_CALL(.context = &runs, .error = &error, .chunk = 1)),
        CREW_FAILED);
    CHECK_EQ(counter_get(&runs), MANY);
    CHECK_EQ(error.index, 777);
    CHECK_EQ(error.code, 777);
    CHECK_STRING(error.message, "item 777");
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_ACTION(end_thread_at_5000, size_t)
{
    counter_add(context, 1);
    if (*arg % 5000 == 4999)
        pthread_exit(NULL);
    return 0;
}

CONTRACT_THREADS(items_of_a_long_map_that_end_their_threads_leave_all_others_to_run)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));

    for (size_t chunk = 1; chunk <= 100; chunk += 33) {
        counter runs = {0};
        crew_error error = {0};

        CHECK_STATUS(crew_map(pool, &end_thread_at_5000, NULL, MANY, NULL,
                              CREW_CALL(.context = &runs, .error = &error, .chunk = chunk)),
                     CREW_WORKER_LOST);
        CHECK_EQ(counter_get(&runs), MANY);
        CHECK_EQ(error.index, 4999);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct submission {
    crew_pool *pool;
    struct ledger *ledger;
};

CREW_ACTION(end_thread_at_3, size_t)
{
    struct ledger *ledger = context;

    counter_add(&ledger->runs, 1);
    if (*arg == 3)
        pthread_exit(NULL);
    return 0;
}

static void submit_and_vanish(void *arg)
{
    struct submission *submission = arg;

    (void)crew_map_async(submission->pool, &end_thread_at_3, NULL, 20, NULL, NULL, LEDGER_CALL(submission->ledger));
    CHECK(false);
}

static void *submitting_thread(void *arg)
{
    submit_and_vanish(arg);
    return NULL;
}

CONTRACT_THREADS(a_map_that_ran_at_its_submission_goes_on_when_an_item_ends_the_submitters_thread)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.queue_max = 1, .flags = CREW_FULL_RUNS | CREW_CALLER_HELPS));
    struct ledger ledger = {0};
    struct submission submission = {pool, &ledger};
    struct blocker blocker;
    pthread_t thread;

    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_apply_async(pool, &fail_with, &(int){0}, NULL, NULL), CREW_OK);
    CHECK_EQ(pthread_create(&thread, NULL, submitting_thread, &submission), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(counter_get(&ledger.runs), 4);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&ledger.runs), 20);
    CHECK_EQ(counter_get(&ledger.callbacks), 1);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_WORKER_LOST]), 1);
}

/* ---- waits that can never end ---- */

struct awaiting {
    crew_result *map;
    struct gate *has_map;
    counter refused;
};

CREW_ACTION(one_awaits_its_map, size_t)
{
    struct awaiting *awaiting = context;

    if (*arg == 100) {
        gate_wait(awaiting->has_map);
        CHECK_STATUS(crew_result_wait(awaiting->map, CREW_FOREVER), CREW_DEADLOCK);
        counter_add(&awaiting->refused, 1);
    }
    return 0;
}

CONTRACT_THREADS(an_item_of_a_long_map_that_waits_for_that_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);

    for (int round = 0; round < 20; round++) {
        struct awaiting awaiting = {.has_map = gate_new()};

        CHECK_STATUS(crew_map_async(pool, &one_awaits_its_map, NULL, 2000, NULL, &awaiting.map,
                                    CREW_CALL(.context = &awaiting, .chunk = 1)),
                     CREW_OK);
        gate_open(awaiting.has_map);
        CHECK_STATUS(crew_result_get(awaiting.map, NULL, CREW_FOREVER), CREW_OK);
        CHECK_EQ(counter_get(&awaiting.refused), 1);
        crew_result_destroy(awaiting.map);
        gate_free(awaiting.has_map);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- a caller that takes part ---- */

CREW_ACTION(map_in_map, size_t)
{
    counter *runs = context;

    counter_add(runs, 1);
    return *arg == 1 ? (int)crew_map(crew_current_pool(), &count_one, NULL, 2, NULL, CREW_CALL(.context = runs)) : 0;
}

CONTRACT(short_maps_one_after_the_other_run_all_their_items)
{
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};

    for (int round = 0; round < 2000; round++)
        CHECK_STATUS(crew_map(pool, &count_one, NULL, 2, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_EQ(counter_get(&runs), 4000);
    for (int round = 0; round < 200; round++)
        CHECK_STATUS(crew_map(pool, &map_in_map, NULL, 3, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_EQ(counter_get(&runs), 4000 + 200 * 5);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void run_short_maps(void *pool)
{
    counter runs = {0};

    for (int round = 0; round < 500; round++)
        CHECK_STATUS(crew_map(pool, &count_one, NULL, 1 + (size_t)round % 4, NULL, CREW_CALL(.context = &runs)),
                     CREW_OK);
    CHECK_EQ(counter_get(&runs), 500 / 4 * 10);
}

CONTRACT(short_maps_of_several_threads_run_all_their_items)
{
    crew_pool *pool = contract_pool(NULL);
    struct test_thread *threads[3];

    for (int i = 0; i < 3; i++)
        threads[i] = test_thread_start(run_short_maps, pool);
    for (int i = 0; i < 3; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct meeting {
    struct gate *here;
};

CREW_ACTION(meet, size_t)
{
    struct meeting *meeting = context;

    (void)arg;
    gate_add(meeting->here);
    gate_wait_for(meeting->here, 2);
    return 0;
}

/* Each on a thread of its own, or they would never meet. */
CONTRACT_THREADS(two_items_meet_also_after_many_maps_that_their_caller_ran_alone)
{
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};

    for (int round = 0; round < 1000; round++)
        CHECK_STATUS(crew_map(pool, &count_one, NULL, 2, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    if (config->workers > 1) {
        struct meeting meeting = {gate_new()};

        CHECK_STATUS(crew_map(pool, &meet, NULL, 2, NULL, CREW_CALL(.context = &meeting)), CREW_OK);
        gate_free(meeting.here);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
