/* SPDX-License-Identifier: MIT */
/* Promise 3, the waits that can never end: CREW_DEADLOCK for every cycle, CREW_TOO_DEEP where no stack is left. */
#include "ledger.h"

/* ---- cycles of jobs ---- */

/* Jobs 0 … count - 1, each of which waits for the next, and the last for the first. */
struct knot {
    int count;
    crew_result *results[3];
    struct gate *published;
    counter deadlocks, finished;
};

static void await_in_knot(struct knot *knot, int number)
{
    crew_status status = crew_result_wait(knot->results[number % knot->count], CREW_FOREVER);

    CHECK(status == CREW_OK || status == CREW_DEADLOCK);
    counter_add(&knot->deadlocks, status == CREW_DEADLOCK);
}

static crew_fn spawn_next_fn;
static const crew_job spawn_next = {spawn_next_fn, sizeof(int), 0, "spawn_next", NULL, NULL};

/* Submits the next job itself. A handle is there before its job starts, so that the last job sees the first's. */
static int spawn_next_fn(const void *arg, void *result, void *context)
{
    struct knot *knot = context;
    int next = *(const int *)arg + 1;

    (void)result;
    if (next < knot->count)
        CHECK_STATUS(
            crew_apply_async(crew_current_pool(), &spawn_next, &next, &knot->results[next], CREW_CALL(.context = knot)),
            CREW_OK);
    await_in_knot(knot, next);
    counter_add(&knot->finished, 1);
    return 0;
}

static void check_spawned_knot(int count, unsigned spares_max)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = spares_max));
    struct knot knot = {.count = count};

    CHECK_STATUS(crew_apply_async(pool, &spawn_next, &(int){0}, &knot.results[0], CREW_CALL(.context = &knot)),
                 CREW_OK);
    CHECK_STATUS(crew_result_wait(knot.results[0], CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&knot.deadlocks) >= 1);
    CHECK_EQ(counter_get(&knot.finished), count);
    for (int i = 0; i < count; i++)
        crew_result_destroy(knot.results[i]);
}

CONTRACT(a_job_that_waits_for_itself_is_told_of_the_deadlock)
{
    check_spawned_knot(1, 0);
}

CONTRACT(two_jobs_that_wait_for_each_other_are_told_of_the_deadlock)
{
    check_spawned_knot(2, 0);
}

CONTRACT(three_jobs_that_wait_in_a_cycle_are_told_of_the_deadlock)
{
    check_spawned_knot(3, 0);
}

CONTRACT(without_spares_a_cycle_is_told_of_likewise)
{
    check_spawned_knot(2, CREW_NO_SPARES);
    check_spawned_knot(3, CREW_NO_SPARES);
}

static int await_next_fn(const void *arg, void *result, void *context)
{
    struct knot *knot = context;

    (void)result;
    gate_wait(knot->published);
    await_in_knot(knot, *(const int *)arg + 1);
    counter_add(&knot->finished, 1);
    return 0;
}

/* The jobs come from outside and, with enough workers, close the cycle at the same moment. */
static void check_submitted_knot(int count)
{
    static const crew_job await_next = {await_next_fn, sizeof(int), 0, "await_next", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);

    for (int round = 0; round < 50; round++) {
        struct knot knot = {.count = count, .published = gate_new()};

        for (int i = 0; i < count; i++)
            CHECK_STATUS(crew_apply_async(pool, &await_next, &i, &knot.results[i], CREW_CALL(.context = &knot)),
                         CREW_OK);
        gate_open(knot.published);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK(counter_get(&knot.deadlocks) >= 1);
        CHECK_EQ(counter_get(&knot.finished), count);
        for (int i = 0; i < count; i++)
            crew_result_destroy(knot.results[i]);
        gate_free(knot.published);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(two_jobs_from_outside_that_wait_for_each_other_always_end)
{
    check_submitted_knot(2);
}

CONTRACT_THREADS(three_jobs_from_outside_that_wait_in_a_cycle_always_end)
{
    check_submitted_knot(3);
}

/* ---- cycles through maps ---- */

/* Item 1 waits for the result that `context` points to; the item's value is the status of that. */
CREW_JOB(item_awaits, size_t, crew_status)
{
    *result = *arg == 1 ? crew_result_wait(*(crew_result **)context, CREW_FOREVER) : CREW_OK;
    return 0;
}

CONTRACT(an_item_that_waits_for_its_own_map_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);
    crew_status seen[3] = {CREW_FULL, CREW_FULL, CREW_FULL};
    crew_result *map = NULL;

    CHECK_STATUS(crew_map_async(pool, &item_awaits, NULL, 3, seen, &map, CREW_CALL(.context = &map)), CREW_OK);
    CHECK_STATUS(crew_result_get(map, NULL, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(seen[0], CREW_OK);
    CHECK_STATUS(seen[1], CREW_DEADLOCK);
    CHECK_STATUS(seen[2], CREW_OK);
    crew_result_destroy(map);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static int maps_over_waiters_fn(const void *arg, void *result, void *context)
{
    crew_status seen[3];

    (void)arg;
    CHECK_STATUS(crew_map(crew_current_pool(), &item_awaits, NULL, 3, seen, CREW_CALL(.context = context, .chunk = 1)),
                 CREW_OK);
    *(crew_status *)result = seen[1];
    return 0;
}

/* The map cannot be refused, as its arrays are borrowed: it has to be the item. */
CONTRACT(an_item_that_waits_for_the_job_whose_map_it_is_of_is_told_of_the_deadlock)
{
    static const crew_job maps_over_waiters = {maps_over_waiters_fn, 0, sizeof(crew_status), "maps", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    crew_status seen = CREW_OK;
    crew_result *job = NULL;

    CHECK_STATUS(crew_apply_async(pool, &maps_over_waiters, NULL, &job, CREW_CALL(.context = &job)), CREW_OK);
    CHECK_STATUS(crew_result_get(job, &seen, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(seen, CREW_DEADLOCK);
    crew_result_destroy(job);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- cycles through callbacks ---- */

struct late {
    crew_result *result, *later;
    crew_status own, behind;
    counter calls;
};

static void count_call(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    counter_add(user, 1);
}

/* Waits for its own result, and for one whose callback is queued behind this one. */
static void wait_behind(const crew_outcome *outcome, void *user)
{
    struct late *late = user;
    long value = -1;

    (void)outcome;
    late->own = crew_result_get(late->result, &value, CREW_FOREVER);
    CHECK_STATUS(
        crew_apply_async(crew_current_pool(), &twice, &(int){2}, &late->later,
                         CREW_CALL(.on_done = count_call, .user = &late->calls, .flags = CREW_READY_AFTER_DONE)),
        CREW_OK);
    late->behind = crew_result_get(late->later, &value, CREW_FOREVER);
    CHECK_EQ(value, -1);
}

CONTRACT(a_callback_that_waits_for_what_is_ready_only_after_it_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);
    struct late late = {0};

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &late.result,
                                  CREW_CALL(.on_done = wait_behind, .user = &late, .flags = CREW_READY_AFTER_DONE)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(late.own, CREW_DEADLOCK);
    CHECK_STATUS(late.behind, CREW_DEADLOCK);
    CHECK_EQ(counter_get(&late.calls), 1);
    CHECK_STATUS(crew_result_get(late.later, &(long){0}, CREW_NOW), CREW_OK);
    crew_result_destroy(late.result);
    crew_result_destroy(late.later);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- cycles through streams ---- */

struct loop {
    crew_iterator *stream;
    struct gate *published;
    counter deadlocks, others;
    int left;
};

/* Where the stream's handle is known yet (a serial pool may pull before), asks its own stream for an item. */
static void next_of_own(struct loop *loop)
{
    int value = -1;
    crew_status status;

    if (config->threads)
        gate_wait(loop->published);
    if (loop->stream == NULL)
        return;
    status = crew_iterator_next(loop->stream, &value, NULL, CREW_FOREVER, NULL);
    counter_add(status == CREW_DEADLOCK ? &loop->deadlocks : &loop->others, 1);
}

static int loop_pull(void *user, void *ret_item)
{
    struct loop *loop = user;

    if (loop->left == 0)
        return 0;
    if (loop->left == 1)
        next_of_own(loop);
    *(int *)ret_item = loop->left--;
    return 1;
}

CREW_JOB(same, int, int)
{
    (void)context;
    *result = *arg;
    return 0;
}

CONTRACT(next_inside_its_own_source_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);
    struct loop loop = {.published = gate_new(), .left = 4};
    int value, sum = 0;

    CHECK_STATUS(
        crew_imap(pool, &same, &(crew_source){.pull = loop_pull, .user = &loop}, &loop.stream, CREW_CALL(.window = 1)),
        CREW_OK);
    gate_open(loop.published);
    while (crew_iterator_next(loop.stream, &value, NULL, CREW_FOREVER, NULL) == CREW_OK)
        sum += value;
    CHECK_EQ(sum, 10);
    crew_iterator_destroy(loop.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&loop.deadlocks), 1);
    CHECK_EQ(counter_get(&loop.others), 0);
    gate_free(loop.published);
}

CREW_JOB(asks_own_stream, int, int)
{
    next_of_own(context);
    *result = *arg;
    return 0;
}

CONTRACT_THREADS(an_item_that_asks_its_stream_for_itself_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);
    struct loop loop = {.published = gate_new()};
    const int item = 5;
    int value = 0;

    CHECK_STATUS(crew_imap(pool, &asks_own_stream, &(crew_source){.items = &item, .count = 1}, &loop.stream,
                           CREW_CALL(.context = &loop)),
                 CREW_OK);
    gate_open(loop.published);
    CHECK_STATUS(crew_iterator_next(loop.stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_EQ(value, 5);
    CHECK_EQ(counter_get(&loop.deadlocks), 1);
    CHECK_EQ(counter_get(&loop.others), 0);
    crew_iterator_destroy(loop.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(loop.published);
}

/* ---- no stack is left ---- */

enum { SMALL_STACK = 512 * 1024 };

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
        contract_pool(CREW_OPTIONS(.workers = workers, .spares_max = spares_max, .stack_size = SMALL_STACK));
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

CONTRACT_THREADS(a_recursion_that_fills_the_stacks_is_refused_before_it_overflows)
{
    CHECK(depth_reached(false, 0, CREW_NO_SPARES) > 4);
}

CONTRACT_THREADS(a_recursion_of_maps_that_fills_the_stacks_is_refused_likewise)
{
    CHECK(depth_reached(true, 0, CREW_NO_SPARES) > 4);
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
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .stack_size = SMALL_STACK));
    crew_result *result;
    int deepest = 0;

    CHECK_STATUS(crew_apply_async(pool, &sink, &(int){1}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &deepest, far_away()), CREW_OK);
    CHECK(deepest > 4);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
