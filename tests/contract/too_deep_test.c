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
