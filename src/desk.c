/* SPDX-License-Identifier: MIT */
/* Desks: what a worker has of its own, an outsider borrows while it executes. There are a few; who finds the one that its
 * thread's hash picks taken does without. */
#include "core.h"

void crewi_desks_init(crew_pool *pool)
{
    for (unsigned i = 0; i < CREWI_DESKS; i++) {
        crewi_atomic_u32_init(&pool->desks[i].is_taken, 0);
        crewi_local_init(&pool->desks[i].local, pool->cells, i, NULL);
    }
}

void crewi_desks_close(crew_pool *pool, bool is_forked)
{
    for (unsigned i = 0; i < CREWI_DESKS; i++) {
        crewi_desk *desk = &pool->desks[i];
        crewi_local_close(&desk->local, is_forked, crewi_atomic_u32_load(&desk->is_taken) == 0);
    }
}

static bool desk_try(crewi_desk *desk)
{
    uint32_t no = 0;
    return crewi_atomic_u32_cas(&desk->is_taken, &no, 1);
}

crewi_desk *crewi_desk_enter(crew_pool *pool)
{
    crewi_desk *desk = &pool->desks[crewi_thread_hash() % CREWI_DESKS];
    return desk_try(desk) ? desk : NULL;
}

void crewi_desk_run(crew_pool *pool, void (*body)(crew_pool *pool))
{
    crewi_desk *desk = crewi_local_here(pool) ? NULL : crewi_desk_enter(pool);
    crewi_frame frame;
    if (desk) {
        crewi_frame_enter(&frame, CREWI_FRAME_HELPER, pool, NULL);
        frame.has_permit = false;
        frame.local = &desk->local;
    }
    body(pool);
    if (desk) {
        crewi_frame_leave(&frame);
        crewi_desk_leave(desk, pool);
    }
}

static void desk_flush(crewi_desk *desk, crew_pool *pool)
{
    if (!desk_try(desk))
        return; /* whoever has it looks when it leaves */
    crewi_gate_flush(pool, &desk->local);
    crewi_atomic_u32_store(&desk->is_taken, 0);
}

/* Whoever needs the gate's exact count says so, then tries the desks; we give the desk back, then look: one of us sees the other. */
void crewi_desk_leave(crewi_desk *desk, crew_pool *pool)
{
    crewi_atomic_u32_store(&desk->is_taken, 0);
    if (crewi_gate_is_exact(pool))
        desk_flush(desk, pool);
}

void crewi_desks_flush(crew_pool *pool)
{
    for (unsigned i = 0; i < CREWI_DESKS; i++)
        desk_flush(&pool->desks[i], pool);
}
