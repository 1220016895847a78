/* SPDX-License-Identifier: MIT */
/* A fork while a thread that is the favourite of a lock of the pool (src/platform/favourite.h) is inside, where no word of the lock says so: the
 * child touches nothing that it was at, and in the parent the lock works on. What keeps it inside is the pool's allocator, which it has to
 * ask there. */
#define _GNU_SOURCE
#include "forked_calls.h"

#include "blocker.h"
#include "core.h"

enum { UNTIL_FAVOURITE = 3000, MORE = 3000 }; /* submissions: of the favourite's streak, and until it asks for memory */

struct stage {
    struct test_memory memory;
    crew_pool *pool;
    crew_result *result;
    struct blocker blocker;
    counter is_armed;
    void *submitter; /* its mark; written before is_armed */
    bool (*is_inside)(const crew_pool *pool);
    struct gate *inside, *go; /* it is there, and asks for memory; and may go on */
    counter ran;
};

static bool somebody_is_inside_a_hatch(const crew_pool *pool)
{
    for (unsigned i = 0; i < CREWI_HATCHES; i++)
        if (crewi_favourite_is_inside(&pool->hatches[i].tasks.favourite))
            return true;
    return false;
}

/* Of the locks that have a favourite the outlets are the others, which nobody outside sees: memory that is not for a hatch. */
static bool nobody_is_inside_a_hatch(const crew_pool *pool)
{
    return !somebody_is_inside_a_hatch(pool);
}

/* What destroy asks, to leave alone what is not at rest. */
static bool some_hatch_is_held(const crew_pool *pool)
{
    bool is_held = false;
    for (unsigned i = 0; i < CREWI_HATCHES; i++)
        is_held |= crewi_fifo_is_held(&pool->hatches[i].tasks);
    return is_held;
}

static void *alloc_on_stage(void *user, size_t size, size_t align)
{
    struct stage *stage = user;
    if (counter_get(&stage->is_armed) && crewi_thread_mark() == stage->submitter && stage->is_inside(stage->pool)) {
        counter_add(&stage->is_armed, -1);
        gate_open(stage->inside);
        gate_wait(stage->go);
    }
    return test_memory_alloc(&stage->memory, size, align);
}

static void free_on_stage(void *user, void *block, size_t size)
{
    struct stage *stage = user;
    test_memory_free(&stage->memory, block, size);
}

CREW_ACTION(count_run, struct stage *)
{
    (void)context;
    counter_add(&(*arg)->ran, 1);
    return 0;
}

static void submit_many(struct stage *stage, int count)
{
    for (int i = 0; i < count; i++)
        CHECK_STATUS(crew_apply_async(stage->pool, &count_run, &stage, NULL, NULL), CREW_OK);
}

/* It alone submits: had another been the favourite, it could not become it before that one came back [F3]. All of these stay in the queue, so
 * that memory has to be asked for again and again. */
static void become_the_favourite_and_ask_for_memory(void *arg)
{
    struct stage *stage = arg;
    blocker_hold(&stage->blocker, stage->pool, config->workers);
    CHECK_STATUS(crew_apply_async(stage->pool, &plus_one, &(long){1}, &stage->result, NULL), CREW_OK);
    submit_many(stage, UNTIL_FAVOURITE);
    stage->submitter = crewi_thread_mark();
    counter_add(&stage->is_armed, 1);
    submit_many(stage, MORE);
}

static void check_refused_and_destroy(void *arg)
{
    struct stage *stage = arg;
    long before = counter_get(&stage->memory.live_blocks);
    CHECK_EQ(some_hatch_is_held(stage->pool), stage->is_inside == somebody_is_inside_a_hatch);
    check_submitting_is_refused(stage->pool);
    check_pool_calls_are_refused(stage->pool);
    check_result_calls_are_refused(stage->result);
    CHECK_STATUS(crew_pool_destroy(stage->pool), CREW_FORKED);
    crew_result_destroy(stage->result);
    CHECK(counter_get(&stage->memory.live_blocks) < before);
}

static void check_refused_and_destroy_handle_first(void *arg)
{
    struct stage *stage = arg;
    crew_result_destroy(stage->result);
    CHECK_STATUS(crew_pool_destroy(stage->pool), CREW_FORKED);
}

/* In the parent everybody comes in afterwards: the one that was inside, again, this thread, and whoever waits for the pool. */
static void go_on_in_the_parent(struct stage *stage, struct test_thread *submitter)
{
    gate_open(stage->go);
    submit_many(stage, MORE);
    test_thread_join(submitter);
    blocker_let_go(&stage->blocker);
    CHECK_STATUS(crew_pool_wait(stage->pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&stage->ran), UNTIL_FAVOURITE + 2 * MORE);
    CHECK_STATUS(crew_result_wait(stage->result, CREW_FOREVER), CREW_OK);
    crew_result_destroy(stage->result);
    CHECK_STATUS(crew_pool_destroy(stage->pool), CREW_OK);
    CHECK_EQ(counter_get(&stage->memory.live_blocks), 0);
}

static void fork_while_a_favourite_is_inside(bool (*is_inside)(const crew_pool *pool), size_t queue_max)
{
    struct stage stage = {.is_inside = is_inside, .inside = gate_new(), .go = gate_new()};
    stage.pool = contract_pool(
        CREW_OPTIONS(.queue_max = queue_max, .alloc = alloc_on_stage, .free = free_on_stage, .user = &stage));
    if (!crewi_barrier_is_there())
        test_skip("there are no favourites here");
    struct test_thread *submitter = test_thread_start(become_the_favourite_and_ask_for_memory, &stage);
    gate_wait(stage.inside);
    check_in_child(check_refused_and_destroy, &stage);
    check_in_child(check_refused_and_destroy_handle_first, &stage);
    go_on_in_the_parent(&stage, submitter);
    blocker_free(&stage.blocker);
    gate_free(stage.inside);
    gate_free(stage.go);
}

CONTRACT_THREADS(a_fork_while_a_favourite_is_inside_a_hatch_hangs_neither_process)
{
    fork_while_a_favourite_is_inside(somebody_is_inside_a_hatch, 0);
}

/* With a limit of the queue records come from an outlet. */
CONTRACT_THREADS(a_fork_while_a_favourite_is_inside_an_outlet_hangs_neither_process)
{
    fork_while_a_favourite_is_inside(nobody_is_inside_a_hatch, UNTIL_FAVOURITE + 3 * MORE);
}
