/* SPDX-License-Identifier: MIT */
/* Desks: what a worker has of its own, an outsider borrows while it executes. There are a few; who finds the one that its
 * thread's hash picks taken does without. */
#include "backend.h"

void crewi_desks_init(crew_pool *pool)
{
    for (unsigned i = 0; i < CREWI_DESKS; i++)
        crewi_local_init(&pool->desks[i].local, pool->cells, i, NULL);
}

static crewi_desk *desk_here(crew_pool *pool)
{
    return &pool->desks[crewi_thread_hash() % CREWI_DESKS];
}

static uint32_t desk_bit(const crewi_desk *desk, const crew_pool *pool)
{
    return CREWI_DESK_FIRST << (desk - pool->desks);
}

void crewi_desks_close(crew_pool *pool, bool is_forked)
{
    uint32_t present = crewi_atomic_u32_load(&pool->present);
    for (unsigned i = 0; i < CREWI_DESKS; i++) {
        crewi_desk *desk = &pool->desks[i];
        crewi_local_close(&desk->local, is_forked, !(present & desk_bit(desk, pool)));
    }
}

static bool desk_try(const crewi_desk *desk, crew_pool *pool)
{
    uint32_t bit = desk_bit(desk, pool);
    return !(crewi_atomic_u32_fetch_or(&pool->present, bit) & bit);
}

static void desk_give(const crewi_desk *desk, crew_pool *pool)
{
    (void)crewi_atomic_u32_fetch_and(&pool->present, ~desk_bit(desk, pool));
}

static void desk_flush(crewi_desk *desk, crew_pool *pool)
{
    if (!desk_try(desk, pool))
        return; /* whoever has it looks when it leaves */
    crewi_gate_flush(pool, &desk->local);
    desk_give(desk, pool);
}

/* Whoever needs the gate's exact count says so, then tries the desks; we give the desk back, then look: one of us sees the other. */
static void desk_left(crewi_desk *desk, crew_pool *pool)
{
    if (crewi_gate_is_exact(pool))
        desk_flush(desk, pool);
}

crewi_desk *crewi_desk_enter(crew_pool *pool)
{
    crewi_desk *desk = desk_here(pool);
    return pool->backend->enter(pool, desk_bit(desk, pool)) ? desk : NULL;
}

void crewi_desk_leave(crewi_desk *desk, crew_pool *pool)
{
    pool->backend->leave(pool, desk_bit(desk, pool));
    desk_left(desk, pool);
}

void crewi_desk_run(crew_pool *pool, void (*body)(crew_pool *pool))
{
    crewi_desk *desk = desk_here(pool);
    crewi_frame frame;
    if (crewi_local_here(pool) || !desk_try(desk, pool)) {
        body(pool);
        return;
    }
    crewi_frame_enter(&frame, CREWI_FRAME_HELPER, pool, NULL);
    frame.has_permit = false;
    frame.local = &desk->local;
    body(pool);
    crewi_frame_leave(&frame);
    desk_give(desk, pool);
    desk_left(desk, pool);
}

void crewi_desks_flush(crew_pool *pool)
{
    for (unsigned i = 0; i < CREWI_DESKS; i++)
        desk_flush(&pool->desks[i], pool);
}
