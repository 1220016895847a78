/* SPDX-License-Identifier: MIT */
/* Who is let into a pool, how much is inside, and who waits for it to become empty. */
#include "backend.h"

/* Work that runs inside the pool may still submit after close, because it is itself accepted and not ended. */
static bool gate_is_insider(const crew_pool *pool)
{
    const crewi_frame *frame = crewi_frame_inside(pool);
    return frame && frame->kind != CREWI_FRAME_WORKER && frame->kind != CREWI_FRAME_INIT;
}

crew_status crewi_gate_enter(crew_pool *pool)
{
    uint64_t gate = crewi_atomic_u64_load(&pool->gate);
    do {
        if (gate & CREWI_GATE_TERMINATED)
            return CREW_CLOSED;
        if (gate & CREWI_GATE_BROKEN)
            return CREW_BROKEN;
        if ((gate & CREWI_GATE_CLOSED) && !gate_is_insider(pool))
            return CREW_CLOSED;
    } while (!crewi_atomic_u64_cas(&pool->gate, &gate, gate + 1));
    return CREW_OK;
}

void crewi_gate_enter_inside(crew_pool *pool)
{
    (void)crewi_atomic_u64_fetch_add(&pool->gate, 1);
}

void crewi_gate_leave(crew_pool *pool)
{
    uint64_t before = crewi_atomic_u64_fetch_sub(&pool->gate, 1);
    CREWI_ASSERT((before & CREWI_GATE_COUNT) > 0);
    if ((before & CREWI_GATE_COUNT) != 1)
        return;
    (void)crewi_atomic_u32_fetch_add(&pool->drained, 1);
    if (crewi_atomic_u32_load(&pool->drain_waiters) > 0)
        crewi_futex_wake_all(&pool->drained);
    if (before & CREWI_GATE_SHUT)
        pool->backend->wake_all(pool);
}

void crewi_gate_shut(crew_pool *pool, uint64_t bit)
{
    uint64_t before = crewi_atomic_u64_fetch_or(&pool->gate, bit);
    (void)crewi_atomic_u32_fetch_add(&pool->room, 1);
    crewi_futex_wake_all(&pool->room); /* blocked submitters come back, to be refused */
    if ((before & CREWI_GATE_COUNT) == 0)
        pool->backend->wake_all(pool);
}

bool crewi_gate_is_ended(crew_pool *pool)
{
    uint64_t gate = crewi_atomic_u64_load(&pool->gate);
    return (gate & CREWI_GATE_SHUT) && (gate & CREWI_GATE_COUNT) == 0;
}

crew_status crewi_gate_verdict(crew_pool *pool)
{
    uint64_t gate = crewi_atomic_u64_load(&pool->gate);
    if (gate & CREWI_GATE_TERMINATED)
        return CREW_TERMINATED;
    return gate & CREWI_GATE_BROKEN ? CREW_BROKEN : CREW_OK;
}

static bool gate_is_drained(crew_pool *pool)
{
    return (crewi_atomic_u64_load(&pool->gate) & CREWI_GATE_COUNT) == 0;
}

/* The waiter counts itself, reads the epoch, then looks; the leaver empties, moves the epoch, then looks for waiters: one of
 * them sees the other. */
crew_status crewi_gate_wait_drained(crew_pool *pool, int64_t deadline_ns)
{
    bool in_time = true;
    (void)crewi_atomic_u32_fetch_add(&pool->drain_waiters, 1);
    for (;;) {
        uint32_t epoch = crewi_atomic_u32_load(&pool->drained);
        if (gate_is_drained(pool) || !in_time)
            break;
        in_time = crewi_park(&pool->drained, epoch, deadline_ns);
    }
    (void)crewi_atomic_u32_fetch_sub(&pool->drain_waiters, 1);
    return in_time || gate_is_drained(pool) ? CREW_OK : CREW_TIMEOUT;
}

/* ---- queue_max ---- */

static bool place_try(crew_pool *pool)
{
    size_t queued = crewi_atomic_size_load(&pool->queued);
    while (queued < pool->options.queue_max)
        if (crewi_atomic_size_cas(&pool->queued, &queued, queued + 1))
            return true;
    return false;
}

static void place_wait(crew_pool *pool)
{
    (void)crewi_atomic_u32_fetch_add(&pool->room_waiters, 1);
    uint32_t epoch = crewi_atomic_u32_load(&pool->room);
    bool is_shut = (crewi_atomic_u64_load(&pool->gate) & CREWI_GATE_SHUT) != 0;
    if (!is_shut && crewi_atomic_size_load(&pool->queued) >= pool->options.queue_max)
        (void)crewi_park(&pool->room, epoch, CREWI_NEVER);
    (void)crewi_atomic_u32_fetch_sub(&pool->room_waiters, 1);
}

crew_status crewi_place_take(crew_pool *pool, const crew_call *call, bool *ret_run_here)
{
    *ret_run_here = false;
    if (pool->options.queue_max == 0)
        return CREW_OK;
    if (gate_is_insider(pool)) {
        (void)crewi_atomic_size_fetch_add(&pool->queued, 1);
        return CREW_OK;
    }
    while (!place_try(pool)) {
        if (crewi_atomic_u64_load(&pool->gate) & CREWI_GATE_SHUT)
            return crewi_atomic_u64_load(&pool->gate) & CREWI_GATE_BROKEN ? CREW_BROKEN : CREW_CLOSED;
        if ((call->flags & CREW_NO_WAIT) || (pool->options.flags & CREW_FULL_FAILS))
            return CREW_FULL;
        if (pool->options.flags & CREW_FULL_RUNS)
            return *ret_run_here = true, CREW_OK;
        place_wait(pool);
    }
    return CREW_OK;
}

void crewi_place_give(crew_pool *pool)
{
    if (pool->options.queue_max == 0)
        return;
    (void)crewi_atomic_size_fetch_sub(&pool->queued, 1);
    if (crewi_atomic_u32_load(&pool->room_waiters) > 0) {
        (void)crewi_atomic_u32_fetch_add(&pool->room, 1);
        crewi_futex_wake_all(&pool->room);
    }
}

void crewi_task_leave_place(crewi_task *task)
{
    if (!(crewi_atomic_u32_load(&task->state) & CREWI_PLACE))
        return;
    if (crewi_atomic_u32_fetch_and(&task->state, ~(uint32_t)CREWI_PLACE) & CREWI_PLACE)
        crewi_place_give(crewi_task_pool(task));
}
