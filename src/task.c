/* SPDX-License-Identifier: MIT */
/* Tasks: one claim, counted references. */
#include "core.h"

void crewi_task_init(crewi_task *task, const struct crewi_task_kind *kind, crewi_shard *shard, uint32_t state,
                     uint32_t refs)
{
    task->link.next = NULL;
    task->kind = kind;
    task->shard = shard;
    crewi_atomic_u32_init(&task->state, state);
    crewi_atomic_u32_init(&task->refs, refs);
}

bool crewi_task_claim(crewi_task *task)
{
    uint32_t state = crewi_atomic_u32_load(&task->state);
    if (state & CREWI_DETACHED) {
        /* relaxed: nobody but us has it, and its body does not look at the phase */
        crewi_atomic_u32_store_relaxed(&task->state, state + CREWI_RUNNING);
        return true;
    }
    while (crewi_phase(state) == CREWI_PENDING)
        if (crewi_atomic_u32_cas(&task->state, &state, state + CREWI_RUNNING))
            return true;
    return false;
}

void crewi_task_ref(crewi_task *task)
{
    /* relaxed: whoever takes a new reference holds one */
    (void)crewi_atomic_u32_fetch_add_relaxed(&task->refs, 1);
}

void crewi_task_unref(crewi_task *task)
{
    /* The only reference is given up without an atomic step: nobody but its holder could make another. */
    if (crewi_atomic_u32_load(&task->refs) == 1 || crewi_atomic_u32_fetch_sub(&task->refs, 1) == 1)
        task->kind->free(task);
}

uint32_t crewi_task_give_up(crewi_task *task, uint32_t party)
{
    uint32_t state = crewi_atomic_u32_fetch_and(&task->state, ~party);
    if (!crewi_task_has_party(state & ~party))
        crewi_task_unref(task);
    return state;
}

void crewi_task_drop_entry(crewi_task *task)
{
    if (crewi_atomic_u32_load(&task->state) & CREWI_ENTRY)
        (void)crewi_task_give_up(task, CREWI_ENTRY);
    else
        crewi_task_unref(task);
}

void crewi_task_poke(crewi_task *task)
{
    (void)crewi_atomic_u32_fetch_add(&task->state, CREWI_POKE);
    crewi_futex_wake_all(&task->state);
}
