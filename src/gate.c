/* SPDX-License-Identifier: MIT */
/* Who is let into a pool, how much is inside, and who waits for it to become empty. */
#include "backend.h"

/* Work that runs inside the pool may still submit after close, because it is itself accepted and not ended. */
static bool gate_is_insider(const crew_pool *pool)
{
    const crewi_frame *frame = crewi_frame_inside(pool);
    return frame && frame->kind != CREWI_FRAME_WORKER && frame->kind != CREWI_FRAME_INIT;
}

/* ---- units in bulk ---- */

void crewi_counts_init(struct crewi_counts *counts)
{
    for (size_t i = 0; i < CREWI_COUNTERS; i++)
        crewi_atomic_u64_init(&counts->of[i], 0);
    crewi_atomic_size_init(&counts->credits, 0);
}

static void gate_give_back(crew_pool *pool, uint64_t units)
{
    uint64_t before = crewi_atomic_u64_fetch_sub(&pool->gate, units);
    CREWI_ASSERT((before & CREWI_GATE_COUNT) >= units);
    if ((before & CREWI_GATE_COUNT) != units)
        return;
    (void)crewi_atomic_u32_fetch_add(&pool->drained, 1);
    if (crewi_atomic_u32_load(&pool->drain_waiters) > 0)
        crewi_futex_wake_all(&pool->drained);
    if (before & CREWI_GATE_SHUT)
        pool->backend->wake_all(pool);
}

static void stripe_flush(crew_pool *pool, struct crewi_counts *stripe)
{
    size_t credits = crewi_atomic_size_exchange(&stripe->credits, 0);
    if (credits > 0)
        gate_give_back(pool, credits);
}

static void gate_make_exact(crew_pool *pool)
{
    for (size_t i = 0; i < CREWI_STRIPES; i++)
        stripe_flush(pool, &pool->stripes[i].counts);
    crewi_desks_flush(pool);
    crewi_hatches_flush(pool);
}

/* Who wants the count exact says so, then flushes; we add, then look: one of us sees the other. */
static void stripe_take(crew_pool *pool, struct crewi_counts *stripe)
{
    size_t credits = crewi_atomic_size_load(&stripe->credits);
    while (credits > 0)
        if (crewi_atomic_size_cas(&stripe->credits, &credits, credits - 1))
            return;
    if (crewi_gate_is_exact(pool)) {
        (void)crewi_atomic_u64_fetch_add(&pool->gate, 1);
        return;
    }
    (void)crewi_atomic_u64_fetch_add(&pool->gate, CREWI_CREDITS);
    (void)crewi_atomic_size_fetch_add(&stripe->credits, CREWI_CREDITS - 1);
    if (crewi_gate_is_exact(pool))
        stripe_flush(pool, stripe);
}

void crewi_local_init(struct crewi_local *local, crewi_cells *cells, unsigned hint, void *slot)
{
    crewi_cache_open(&local->cells, cells, hint);
    crewi_counts_init(&local->counts);
    local->slot = slot;
    local->queue = NULL;
    local->nest = NULL;
    local->nest_depth = 0;
}

void crewi_local_close(struct crewi_local *local, bool is_forked, bool is_at_rest)
{
    const struct crewi_memory *memory = crewi_cells_memory(crewi_cells_of(local->cells.shard));
    if (local->nest)
        crewi_memory_put(memory, local->nest, sizeof *local->nest);
    if (is_forked)
        crewi_cache_abandon(&local->cells, is_at_rest);
    else
        crewi_cache_close(&local->cells);
}

/* A worker's credits keep the pool from ending only while it is at work: it flushes when it runs out of that. */
static void local_take(crew_pool *pool, struct crewi_local *local)
{
    size_t credits = crewi_atomic_size_load_relaxed(&local->counts.credits); /* relaxed: ours */
    if (credits == 0) {
        (void)crewi_atomic_u64_fetch_add(&pool->gate, CREWI_CREDITS);
        credits = CREWI_CREDITS;
    }
    crewi_atomic_size_store_relaxed(&local->counts.credits, credits - 1);
}

static void local_put(crew_pool *pool, struct crewi_local *local)
{
    size_t credits = crewi_atomic_size_load_relaxed(&local->counts.credits) + 1; /* relaxed: ours */
    bool is_much = credits > 2 * CREWI_CREDITS;
    crewi_atomic_size_store_relaxed(&local->counts.credits, is_much ? CREWI_CREDITS : credits);
    if (is_much)
        gate_give_back(pool, credits - CREWI_CREDITS);
}

void crewi_gate_flush(crew_pool *pool, struct crewi_local *local)
{
    size_t credits = crewi_atomic_size_load_relaxed(&local->counts.credits); /* relaxed: ours */
    crewi_atomic_size_store_relaxed(&local->counts.credits, 0);
    if (credits > 0)
        gate_give_back(pool, credits);
}

/* ---- in and out ---- */

static crew_status gate_admits(const crew_pool *pool, uint64_t gate)
{
    if (!(gate & CREWI_GATE_SHUT))
        return CREW_OK;
    if (gate & CREWI_GATE_TERMINATED)
        return CREW_CLOSED;
    if (gate & CREWI_GATE_BROKEN)
        return CREW_BROKEN;
    return (gate & CREWI_GATE_CLOSED) && !gate_is_insider(pool) ? CREW_CLOSED : CREW_OK;
}

/* Looks again once it is counted: from then on the pool does not end. */
crew_status crewi_gate_enter_slowly(crew_pool *pool, struct crewi_local *local)
{
    crew_status status = gate_admits(pool, crewi_atomic_u64_load(&pool->gate));
    if (status != CREW_OK)
        return status;
    if (local)
        local_take(pool, local);
    else
        stripe_take(pool, crewi_stripe(pool));
    status = gate_admits(pool, crewi_atomic_u64_load(&pool->gate));
    if (status != CREW_OK)
        gate_give_back(pool, 1);
    return status;
}

crew_status crewi_gate_enter(crew_pool *pool)
{
    return crewi_gate_enter_by(pool, crewi_local_here(pool));
}

void crewi_gate_enter_inside(crew_pool *pool)
{
    crewi_gate_enter_inside_by(pool, crewi_local_here(pool));
}

void crewi_gate_enter_inside_by(crew_pool *pool, struct crewi_local *local)
{
    if (local)
        local_take(pool, local);
    else
        (void)crewi_atomic_u64_fetch_add(&pool->gate, 1);
}

void crewi_gate_leave_slowly(crew_pool *pool, struct crewi_local *local)
{
    if (local)
        local_put(pool, local);
    else
        gate_give_back(pool, 1);
}

void crewi_gate_leave(crew_pool *pool)
{
    crewi_gate_leave_by(pool, crewi_local_here(pool));
}

void crewi_gate_shut(crew_pool *pool, uint64_t bit)
{
    uint64_t before = crewi_atomic_u64_fetch_or(&pool->gate, bit);
    gate_make_exact(pool);
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
    gate_make_exact(pool);
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
    (void)crewi_atomic_size_fetch_sub(&pool->queued, 1);
    if (crewi_atomic_u32_load(&pool->room_waiters) > 0) {
        (void)crewi_atomic_u32_fetch_add(&pool->room, 1);
        crewi_futex_wake_all(&pool->room);
    }
}

void crewi_task_leave_own_place(crewi_task *task)
{
    if (crewi_atomic_u32_fetch_and(&task->state, ~(uint32_t)CREWI_PLACE) & CREWI_PLACE)
        crewi_place_give(crewi_task_pool(task));
}
