/* SPDX-License-Identifier: MIT */
/* The callback lane: results whose user wants to be told queue up here and are told one at a time, at the bottom of a stack.
 *
 * `count` says how many results are in the lane. Whoever makes it 1 submits the lane's task; whoever runs that works off some
 * results and submits it again while any are left: so at most one thread is ever in the lane. */
#include "backend.h"
#include "result.h"

enum { LANE_ROUND = 64 }; /* callbacks in a row, before jobs get their turn */

static struct crewi_lane *lane_of(crewi_task *task)
{
    return CREWI_CONTAINER_OF(task, struct crewi_lane, task);
}

/* The lane is part of the pool: its task keeps one reference of its own, and is never freed. */
static void lane_submit(crew_pool *pool)
{
    crewi_task_ref(&pool->lane.task);
    pool->backend->submit(pool, &pool->lane.task, CREWI_URGENT);
}

void crewi_lane_queue(crew_result *result)
{
    crewi_queue_push(&crewi_task_pool(&result->task)->lane.results, &result->telling->link);
}

/* Until this has counted it, some result in the queue is not counted, and keeps the pool. */
void crewi_lane_announce(crew_pool *pool)
{
    if (crewi_atomic_size_fetch_add(&pool->lane.count, 1) == 0)
        lane_submit(pool);
}

static void lane_tell(crew_result *result, crewi_frame *frame)
{
    crew_pool *pool = crewi_task_pool(&result->task);
    uint32_t state = crewi_atomic_u32_load(&result->task.state);
    crew_error error;
    crew_outcome outcome = {.status = crewi_outcome(state)};
    if (outcome.status == CREW_OK) {
        outcome.value = crewi_result_value(result);
    } else {
        crewi_result_error(result, &error);
        outcome.error = &error;
        outcome.index = error.index;
    }
    crewi_frame_enter(frame, CREWI_FRAME_CALLBACK, pool, &pool->lane.task);
    frame->part = result;
    if (result->telling->on_done)
        result->telling->on_done(&outcome, result->telling->user);
    else
        pool->options.on_unhandled(&outcome, pool->options.user);
}

/* The lane's own last touch of the pool comes before the result's gate is left, since that may be what keeps the pool. */
static void lane_done(crew_pool *pool, crew_result *result, bool go_on)
{
    bool is_last = crewi_atomic_size_fetch_sub(&pool->lane.count, 1) == 1;
    if (!is_last && !go_on)
        lane_submit(pool);
    crewi_result_finish(result);
}

static bool lane_run(crewi_task *task, crewi_frame *frame)
{
    struct crewi_lane *lane = lane_of(task);
    crew_pool *pool = crewi_task_pool(task);
    for (unsigned told = 1; told <= LANE_ROUND; told++) {
        crewi_link *link = crewi_queue_pop(&lane->results);
        crew_result *result = CREWI_CONTAINER_OF(link, struct crewi_telling, link)->result;
        bool go_on = told < LANE_ROUND && crewi_atomic_size_load(&lane->count) > 1;
        lane_tell(result, frame);
        crewi_frame_leave(frame);
        if (crewi_pool_is_forked(pool))
            break;
        lane_done(pool, result, go_on);
        if (!go_on)
            break;
    }
    return false;
}

static void lane_lost(crewi_task *task, crewi_frame *frame)
{
    lane_done(crewi_task_pool(task), frame->part, false);
}

/* What is urgent is neither swept nor compacted: callbacks are called whatever happens to the pool. */
static const struct crewi_task_kind kind_lane = {.run = lane_run, .lost = lane_lost};

void crewi_lane_init(crew_pool *pool)
{
    crewi_task_init(&pool->lane.task, &kind_lane, crewi_cells_shard(pool->cells), CREWI_PENDING, 1);
    crewi_queue_init(&pool->lane.results);
    crewi_atomic_size_init(&pool->lane.count, 0);
}
