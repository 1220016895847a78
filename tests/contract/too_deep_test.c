/* SPDX-License-Identifier: MIT */
/* Promise 3, waits that need more stack than there is: CREW_TOO_DEEP, and no overflow. */
#include "ledger.h"

/* Small, but for what a sanitizer keeps on each stack itself. */
static size_t small_stack(void)
{
    return test_under_sanitizer() ? 2 << 20 : 512 << 10;
}

struct dive {
    counter runs;
    bool by_map;
};

static crew_fn dive_fn;
static const crew_job dive_job = {dive_fn, sizeof(size_t), sizeof(size_t), "dive", NULL, NULL};

/* Recurses until it is refused; the value is the greatest depth. */
static int dive_fn(const void *arg, void *result, void *context)
{
    struct dive *dive = context;
    size_t depth = *(const size_t *)arg, deeper = depth + 1, deepest = 0;
    crew_error error = {0};
    crew_call *call = CREW_CALL(.context = dive, .error = &error);
    crew_status status;

    counter_add(&dive->runs, 1);
    status = dive->by_map ? crew_map(crew_current_pool(), &dive_job, &deeper, 1, &deepest, call)
                          : crew_apply(crew_current_pool(), &dive_job, &deeper, &deepest, call);
    if (status != CREW_OK) {
        CHECK_STATUS(status, CREW_TOO_DEEP);
        CHECK_STATUS(error.status, CREW_TOO_DEEP);
        CHECK(error.message[0] != '\0');
        deepest = depth;
    }
    *(size_t *)result = deepest;
    return 0;
}

/* How deep a recursion gets before it is refused; every level ran once, and nothing of the refused one. */
static size_t depth_reached(bool by_map, unsigned workers, unsigned spares_max)
{
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = workers, .spares_max = spares_max, .stack_size = small_stack()));
    struct dive dive = {.by_map = by_map};
    size_t deepest = 0;
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &dive_job, &(size_t){1}, &result, CREW_CALL(.context = &dive)), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &deepest, far_away()), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&dive.runs), deepest);
    return deepest;
}

/* All stacks are filled before a recursion is refused; with many of them that takes long and shows nothing new. */
static unsigned few_workers(void)
{
    return config->workers < 2 ? 1 : 2;
}

CONTRACT_THREADS(a_recursion_that_fills_the_stacks_is_refused_before_it_overflows)
{
    CHECK(depth_reached(false, few_workers(), CREW_NO_SPARES) > 4);
}

CONTRACT_THREADS(a_recursion_of_maps_that_fills_the_stacks_is_refused_likewise)
{
    CHECK(depth_reached(true, few_workers(), CREW_NO_SPARES) > 4);
}

CONTRACT_THREADS(a_spare_takes_over_where_a_stack_ends)
{
    CHECK(depth_reached(false, 1, 2) > depth_reached(false, 1, CREW_NO_SPARES));
}

static crew_fn sink_fn;
static const crew_job sink = {sink_fn, sizeof(int), sizeof(int), "sink", NULL, NULL};

/* The same with apply_async and get: what the refused get was for is still there to be cancelled. */
static int sink_fn(const void *arg, void *result, void *context)
{
    int deeper = *(const int *)arg + 1, deepest = -1;
    crew_result *below;
    crew_status status;

    CHECK_STATUS(crew_apply_async(crew_current_pool(), &sink, &deeper, &below, CREW_CALL(.context = context)), CREW_OK);
    status = crew_result_get(below, &deepest, CREW_FOREVER);
    if (status != CREW_OK) {
        CHECK_STATUS(status, CREW_TOO_DEEP);
        CHECK_EQ(deepest, -1);
        CHECK_STATUS(crew_result_status(below), CREW_BUSY);
        CHECK_STATUS(crew_result_cancel(below), CREW_OK);
        deepest = *(const int *)arg;
    }
    crew_result_destroy(below);
    *(int *)result = deepest;
    return 0;
}

CONTRACT_THREADS(a_get_that_is_too_deep_leaves_its_result_alone)
{
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .stack_size = small_stack()));
    crew_result *result;
    int deepest = 0;

    CHECK_STATUS(crew_apply_async(pool, &sink, &(int){1}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &deepest, far_away()), CREW_OK);
    CHECK(deepest > 4);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- where one stack ends, whoever waits for it has another ---- */

struct depths {
    crew_result *deep;
    struct gate *waits, *go;
};

/* Its own stack is too full to run what it waits for; the only other worker is held. -1 where it is refused. */
static int wait_deep_down_fn(const void *arg, void *result, void *context)
{
    volatile char ballast[small_stack() / 16 * 13];
    crew_status status;
    crew_result *below;

    (void)arg;
    ballast[0] = 0;
    *(long *)result = -1;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &twice, &(int){21}, &below, NULL), CREW_OK);
    gate_open(((struct depths *)context)->waits);
    status = crew_result_get(below, result, CREW_FOREVER);
    CHECK(status == CREW_OK || status == CREW_TOO_DEEP);
    crew_result_destroy(below);
    return ballast[0];
}

static int wait_for_the_deep_one_fn(const void *arg, void *result, void *context)
{
    struct depths *depths = context;

    (void)arg;
    gate_wait(depths->go);
    CHECK_STATUS(crew_result_get(depths->deep, result, CREW_FOREVER), CREW_OK);
    return 0;
}

static void wait_until_blocked(crew_pool *pool)
{
    crew_pool_info info = {.struct_size = sizeof info};

    do
        CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    while (info.blocked == 0);
}

static long rescued_value(void)
{
    static const crew_job wait_deep_down = {wait_deep_down_fn, 0, sizeof(long), "wait_deep_down", NULL, NULL};
    static const crew_job rescue = {wait_for_the_deep_one_fn, 0, sizeof(long), "rescue", NULL, NULL};
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 2, .spares_max = CREW_NO_SPARES, .stack_size = small_stack()));
    struct depths depths = {.waits = gate_new(), .go = gate_new()};
    crew_call *call = CREW_CALL(.context = &depths);
    crew_result *rescued;
    long value = 0;

    CHECK_STATUS(crew_apply_async(pool, &rescue, NULL, &rescued, call), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &wait_deep_down, NULL, &depths.deep, call), CREW_OK);
    gate_wait(depths.waits);
    wait_until_blocked(pool);
    gate_open(depths.go);
    CHECK_STATUS(crew_result_get(rescued, &value, far_away()), CREW_OK);
    crew_result_destroy(rescued);
    crew_result_destroy(depths.deep);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(depths.waits);
    gate_free(depths.go);
    return value;
}

/* Blocked, the deep one may still be about to sleep; a rescuer that is too early for that waits itself. Hence several
 * tries. */
CONTRACT_THREADS(a_job_runs_what_the_job_it_waits_for_has_no_stack_left_to_run)
{
    if (test_under_sanitizer())
        test_skip("a sanitizer takes a part of each stack, of a size that it does not tell");
    long value = -1;

    for (int tries = 0; tries < 20 && value < 0; tries++)
        value = rescued_value();
    CHECK_EQ(value, 42);
}

/* ---- jobs that all have no stack left to run what they wait for, and no other thread ---- */

struct crowd {
    struct gate *present;
    counter refused, ran;
};

static int wait_at_the_end_of_the_stack(const void *arg, void *result, void *context)
{
    enum { USED = 800 * 1024 };
    volatile char used[USED];
    struct crowd *crowd = context;
    crew_result *awaited;

    (void)arg;
    (void)result;
    for (size_t i = 0; i < USED; i += 1024)
        used[i] = 1;
    gate_add(crowd->present);
    gate_wait_for(crowd->present, config->workers);
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_one, NULL, &awaited, CREW_CALL(.context = &crowd->ran)),
                 CREW_OK);
    crew_status status = crew_result_wait(awaited, CREW_FOREVER);
    CHECK(status == CREW_OK || status == CREW_TOO_DEEP);
    counter_add(&crowd->refused, status != CREW_OK);
    crew_result_destroy(awaited);
    return used[0] - 1;
}

CONTRACT_THREADS(jobs_that_all_wait_at_the_end_of_their_stacks_are_refused_and_never_wake_each_other_for_ever)
{
    if (test_under_sanitizer())
        test_skip("a sanitizer takes a part of each stack, of a size that it does not tell");
    static const crew_job job = {wait_at_the_end_of_the_stack, 0, 0, "wait_at_the_end_of_the_stack", NULL, NULL};
    struct crowd crowd = {.present = gate_new()};
    crew_pool *pool = contract_pool(
        CREW_OPTIONS(.stack_size = 1024 * 1024, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));

    for (unsigned i = 0; i < config->workers; i++)
        CHECK_STATUS(crew_apply_async(pool, &job, NULL, NULL, CREW_CALL(.context = &crowd)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&crowd.refused) >= 1);
    CHECK_EQ(counter_get(&crowd.ran), config->workers);
    gate_free(crowd.present);
}

/* ---- the last stack of one pool, and no thread in the other ---- */

struct two_pools {
    crew_pool *other; /* whose only worker waits for the deep job */
    crew_result *deep;
    struct gate *go;
    counter ran;
    crew_status by_map, by_stream;
};

CREW_ACTION(count_item, size_t)
{
    (void)arg;
    counter_add(context, 1);
    return 0;
}

static void map_in_the_other(struct two_pools *pools)
{
    crew_error error = {.status = CREW_OK};
    pools->by_map =
        crew_map(pools->other, &count_item, NULL, 4, NULL, CREW_CALL(.context = &pools->ran, .error = &error));
    CHECK_STATUS(error.status, CREW_TOO_DEEP);
    CHECK(error.message[0] != '\0');
}

static void stream_in_the_other(struct two_pools *pools)
{
    const size_t items[2] = {0, 1};
    const crew_source source = {.items = items, .count = 2};
    crew_error error = {.status = CREW_OK};
    crew_iterator *stream;
    CHECK_STATUS(crew_imap(pools->other, &count_item, &source, &stream, CREW_CALL(.context = &pools->ran)), CREW_OK);
    pools->by_stream = crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, &error);
    CHECK_STATUS(error.status, CREW_TOO_DEEP);
    CHECK(error.message[0] != '\0');
    crew_iterator_destroy(stream);
}

/* The one that it calls is not its own pool's, so that neither its stack nor its worker can be known to be needed. */
static int call_other_deep_down(const void *arg, void *result, void *context)
{
    volatile char ballast[small_stack() / 16 * 13];
    struct two_pools *pools = context;
    (void)arg, (void)result;
    ballast[0] = 0;
    gate_wait(pools->go);
    map_in_the_other(pools);
    stream_in_the_other(pools);
    return ballast[0];
}

static int wait_for_deep(const void *arg, void *result, void *context)
{
    (void)arg, (void)result;
    CHECK_STATUS(crew_result_wait(((struct two_pools *)context)->deep, CREW_FOREVER), CREW_OK);
    return 0;
}

CONTRACT_THREADS(a_call_to_a_pool_whose_only_worker_waits_for_the_caller_is_refused_as_if_it_had_never_been_made)
{
    if (test_under_sanitizer())
        test_skip("a sanitizer takes a part of each stack, of a size that it does not tell");
    static const crew_job deep = {call_other_deep_down, 0, 0, "call_other_deep_down", NULL, NULL};
    static const crew_job waits = {wait_for_deep, 0, 0, "wait_for_deep", NULL, NULL};
    const crew_pool_options *options = CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES,
                                                    .stack_size = small_stack(), .flags = CREW_WORKERS_ONLY);
    crew_pool *pool = contract_pool(options);
    struct two_pools pools = {.other = contract_pool(options), .go = gate_new()};

    CHECK_STATUS(crew_apply_async(pool, &deep, NULL, &pools.deep, CREW_CALL(.context = &pools)), CREW_OK);
    CHECK_STATUS(crew_apply_async(pools.other, &waits, NULL, NULL, CREW_CALL(.context = &pools)), CREW_OK);
    wait_until_blocked(pools.other);
    gate_open(pools.go);
    CHECK_STATUS(crew_result_wait(pools.deep, far_away()), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pools.other), CREW_OK);
    crew_result_destroy(pools.deep);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_STATUS(pools.by_map, CREW_TOO_DEEP);
    CHECK_STATUS(pools.by_stream, CREW_TOO_DEEP);
    CHECK_EQ(counter_get(&pools.ran), 0);
    gate_free(pools.go);
}
