/* SPDX-License-Identifier: MIT */
/* Promise 5, maps that end early: cancelled, terminated, destroyed. No item touches the arrays afterwards. */
#include "ledger.h"

/* A map whose items say that they started, and stay until the gate opens or until they are told to stop. */
struct stay {
    crew_result *map;
    struct gate *started, *go, *never;
    counter inside, runs;
    bool until_told;
};

static void stay_init(struct stay *stay, bool until_told)
{
    *stay = (struct stay){.started = gate_new(), .go = gate_new(), .never = gate_new(), .until_told = until_told};
}

static void stay_free(struct stay *stay)
{
    gate_free(stay->started);
    gate_free(stay->go);
    gate_free(stay->never);
}

CREW_JOB(stay_item, size_t, size_t)
{
    struct stay *stay = context;

    counter_add(&stay->inside, 1);
    counter_add(&stay->runs, 1);
    gate_add(stay->started);
    if (stay->until_told)
        while (!crew_should_stop())
            (void)gate_wait_until(stay->never, 1, 1000000);
    else
        gate_wait(stay->go);
    *result = *arg + 1;
    counter_add(&stay->inside, -1);
    return 0;
}

enum { ITEMS = 200 };

/* The map's array is freed the moment the map has returned. */
struct blocking_map {
    struct stay *stay;
    crew_pool *pool;
    crew_status status;
    crew_error error;
    long inside_at_return;
};

static void map_and_free(void *arg)
{
    struct blocking_map *map = arg;
    size_t *values = malloc(ITEMS * sizeof *values);

    CHECK(values != NULL);
    map->status = crew_map(map->pool, &stay_item, NULL, ITEMS, values,
                           CREW_CALL(.context = map->stay, .error = &map->error, .chunk = 1));
    map->inside_at_return = counter_get(&map->stay->inside);
    free(values);
}

CONTRACT_THREADS(a_terminated_map_does_not_return_while_an_item_runs)
{
    crew_pool *pool = contract_pool(NULL);
    struct stay stay;
    struct blocking_map map = {.stay = &stay, .pool = pool};
    struct test_thread *thread;

    stay_init(&stay, true);
    thread = test_thread_start(map_and_free, &map);
    gate_wait(stay.started);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    test_thread_join(thread);
    CHECK_STATUS(map.status, CREW_TERMINATED);
    CHECK_STATUS(map.error.status, CREW_TERMINATED);
    CHECK_EQ(map.inside_at_return, 0);
    CHECK(counter_get(&stay.runs) >= 1 && counter_get(&stay.runs) <= config->workers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stay_free(&stay);
}

static crew_result *stay_start(struct stay *stay, crew_pool *pool, size_t *values)
{
    CHECK_STATUS(
        crew_map_async(pool, &stay_item, NULL, ITEMS, values, &stay->map, CREW_CALL(.context = stay, .chunk = 1)),
        CREW_OK);
    gate_wait(stay->started);
    return stay->map;
}

CONTRACT_THREADS(destroying_the_handle_of_an_unfinished_map_cancels_and_waits)
{
    crew_pool *pool = contract_pool(NULL);
    size_t *values = malloc(ITEMS * sizeof *values);
    struct stay stay;

    CHECK(values != NULL);
    stay_init(&stay, true);
    crew_result_destroy(stay_start(&stay, pool, values));
    free(values);
    CHECK_EQ(counter_get(&stay.inside), 0);
    CHECK(counter_get(&stay.runs) <= config->workers);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stay_free(&stay);
}

CONTRACT_THREADS(destroying_the_handle_of_a_queued_map_runs_none_of_it)
{
    crew_pool *pool = contract_pool(NULL);
    struct ledger ledger = {0};
    struct blocker blocker;
    int numbers[ITEMS] = {0};
    long doubled[ITEMS];
    crew_result *map;

    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_map_async(pool, &twice, numbers, ITEMS, doubled, &map, LEDGER_CALL(&ledger)), CREW_OK);
    crew_result_destroy(map);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&ledger.callbacks), 1);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_CANCELLED]), 1);
}

CONTRACT_THREADS(a_running_map_that_is_cancelled_starts_no_further_item)
{
    crew_pool *pool = contract_pool(NULL);
    size_t values[ITEMS];
    struct stay stay;
    crew_result *map;
    crew_error error;

    stay_init(&stay, false);
    map = stay_start(&stay, pool, values);
    gate_wait_for(stay.started, config->workers);
    CHECK_STATUS(crew_result_cancel(map), CREW_BUSY);
    CHECK_STATUS(crew_result_cancel(map), CREW_BUSY);
    CHECK_STATUS(crew_result_status(map), CREW_BUSY);
    gate_open(stay.go);
    CHECK_STATUS(crew_result_get(map, NULL, CREW_FOREVER), CREW_CANCELLED);
    CHECK_STATUS(crew_result_error(map, &error), CREW_OK);
    CHECK_STATUS(error.status, CREW_CANCELLED);
    CHECK_EQ(counter_get(&stay.runs), config->workers);
    crew_result_destroy(map);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stay_free(&stay);
}

CONTRACT_THREADS(a_queued_map_that_is_cancelled_never_runs)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;
    int numbers[3] = {1, 2, 3};
    long doubled[3] = {-1, -1, -1};
    crew_result *map;

    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_map_async(pool, &twice, numbers, 3, doubled, &map, NULL), CREW_OK);
    CHECK_STATUS(crew_result_cancel(map), CREW_OK);
    CHECK_STATUS(crew_result_status(map), CREW_CANCELLED);
    CHECK_STATUS(crew_result_cancel(map), CREW_OK);
    end_pool(pool, &blocker);
    CHECK(doubled[0] == -1 && doubled[1] == -1 && doubled[2] == -1);
    crew_result_destroy(map);
}

CONTRACT_THREADS(a_queued_map_that_is_terminated_ends_at_once)
{
    crew_pool *pool = contract_pool(NULL);
    struct ledger ledger = {0};
    struct blocker blocker;
    int numbers[3] = {1, 2, 3};
    long doubled[3];
    crew_result *map;

    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(crew_map_async(pool, &twice, numbers, 3, doubled, &map, LEDGER_CALL(&ledger)), CREW_OK);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_result_status(map), CREW_TERMINATED);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_TERMINATED]), 1);
    CHECK_EQ(counter_get(&ledger.callbacks), 1);
    crew_result_destroy(map);
}

/* The first item to run ends its map, and then fails or not; the others only count. */
struct self_ending {
    crew_result *map;
    counter runs;
    bool destroys, fails;
};

CREW_ACTION(self_ending_item, size_t)
{
    struct self_ending *ending = context;

    (void)arg;
    if (counter_add(&ending->runs, 1) != 1)
        return 0;
    if (ending->destroys)
        crew_result_destroy(ending->map);
    else
        CHECK_STATUS(crew_result_cancel(ending->map), CREW_BUSY);
    CHECK_EQ(crew_should_stop(), 1);
    return ending->fails ? crew_fail(3, "after the cancel") : 0;
}

CONTRACT(an_item_may_let_go_of_its_own_map_without_waiting_for_itself)
{
    crew_pool *pool = contract_pool(NULL);
    struct self_ending ending = {.destroys = true};

    CHECK_STATUS(crew_map_async(pool, &self_ending_item, NULL, 500, NULL, &ending.map,
                                CREW_CALL(.context = &ending, .chunk = 1)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&ending.runs) >= 1);
}

/* On one thread, so that no other item runs beside the one that cancels. */
static void check_self_cancel(bool fails)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    struct self_ending ending = {.fails = fails};
    crew_error error;

    CHECK_STATUS(
        crew_map_async(pool, &self_ending_item, NULL, 50, NULL, &ending.map, CREW_CALL(.context = &ending, .chunk = 1)),
        CREW_OK);
    CHECK_STATUS(crew_result_get(ending.map, NULL, CREW_FOREVER), CREW_CANCELLED);
    CHECK_STATUS(crew_result_error(ending.map, &error), CREW_OK);
    CHECK_STATUS(error.status, CREW_CANCELLED);
    CHECK_EQ(error.code, 0);
    CHECK_EQ(counter_get(&ending.runs), 1);
    crew_result_destroy(ending.map);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(an_item_may_cancel_its_own_map)
{
    check_self_cancel(false);
}

CONTRACT(items_that_were_left_unrun_outweigh_one_that_failed)
{
    check_self_cancel(true);
}

CONTRACT(closing_the_pool_lets_an_accepted_map_run_in_full)
{
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};

    CHECK_STATUS(crew_map_async(pool, &count_one, NULL, 5000, NULL, NULL, CREW_CALL(.context = &runs, .chunk = 1)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&runs), 5000);
}
