/* SPDX-License-Identifier: MIT */
/* Hatches: memory, a unit of the gate and a place in a queue, all under one short lock that only few threads share. */
#include "core.h"

void crewi_hatches_init(crew_pool *pool)
{
    for (unsigned i = 0; i < CREWI_HATCHES; i++) {
        crewi_fifo_init(&pool->hatches[i].tasks, crewi_cells_memory(pool->cells));
        crewi_local_init(&pool->hatches[i].local, pool->cells, i, NULL);
    }
}

void crewi_hatches_close(crew_pool *pool, bool is_forked)
{
    for (unsigned i = 0; i < CREWI_HATCHES; i++) {
        crewi_hatch *hatch = &pool->hatches[i];
        bool is_at_rest = !is_forked || !crewi_fifo_is_held(&hatch->tasks);
        crewi_local_close(&hatch->local, is_forked, is_at_rest);
        if (is_at_rest)
            crewi_fifo_destroy(&hatch->tasks);
    }
}

crewi_hatch *crewi_hatch_lock(crew_pool *pool)
{
    crewi_hatch *hatch = &pool->hatches[crewi_thread_hash() % CREWI_HATCHES];
    crewi_fifo_lock(&hatch->tasks);
    return hatch;
}

/* Whoever needs the gate's exact count says so, then takes each lock; who locks later sees that. */
static CREWI_USUAL void hatch_settle(crew_pool *pool, crewi_hatch *hatch)
{
    if (crewi_gate_is_exact(pool))
        crewi_gate_flush(pool, &hatch->local);
}

void crewi_hatch_unlock(crew_pool *pool, crewi_hatch *hatch)
{
    hatch_settle(pool, hatch);
    crewi_fifo_unlock(&hatch->tasks);
}

bool crewi_hatch_push_and_unlock(crew_pool *pool, crewi_hatch *hatch, crewi_task *task)
{
    hatch_settle(pool, hatch);
    return crewi_fifo_push_and_unlock(&hatch->tasks, task);
}

void crewi_hatches_flush(crew_pool *pool)
{
    for (unsigned i = 0; i < CREWI_HATCHES; i++) {
        crewi_fifo_lock(&pool->hatches[i].tasks);
        crewi_gate_flush(pool, &pool->hatches[i].local);
        crewi_fifo_unlock(&pool->hatches[i].tasks);
    }
}
