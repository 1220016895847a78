/* SPDX-License-Identifier: MIT */
/* The Chase-Lev deque. top and bottom only grow; an index modulo the size is a place in the ring. All operations on them are
 * sequentially consistent: pop writes bottom and then reads top, steal reads top and then bottom, and one of the two must see the
 * other. */
#include "deque.h"

void crewi_deque_init(crewi_deque *deque)
{
    crewi_atomic_size_init(&deque->top, 0);
    crewi_atomic_size_init(&deque->bottom, 0);
    for (size_t i = 0; i < CREWI_DEQUE_SIZE; i++)
        crewi_atomic_ptr_init(&deque->ring[i], NULL);
}

/* After bottom was lowered to `newest`, and a full fence: whether that entry is ours, and not a thief's. */
static bool deque_has_won(crewi_deque *deque, size_t newest)
{
    size_t top = crewi_atomic_size_load(&deque->top);
    if (newest > top)
        return true;
    bool is_ours = newest == top && crewi_atomic_size_cas(&deque->top, &top, top + 1);
    /* relaxed: it is empty, by the old value, too; and a thief that finds an old top with this fails to move it */
    crewi_atomic_size_store_relaxed(&deque->bottom, newest + 1);
    return is_ours;
}

void crewi_deque_fill(crewi_deque *deque, void *const *tasks, size_t count)
{
    size_t bottom = crewi_atomic_size_load_relaxed(&deque->bottom); /* relaxed: only we write it */
    CREWI_ASSERT(bottom - crewi_atomic_size_load(&deque->top) + count <= CREWI_DEQUE_SIZE);
    for (size_t i = 0; i < count; i++)
        crewi_atomic_ptr_store_relaxed(crewi_deque_place(deque, bottom + i), tasks[i]); /* relaxed: as in push */
    crewi_atomic_size_store(&deque->bottom, bottom + count); /* pairs with the load of bottom in steal */
}

crewi_task *crewi_deque_pop(crewi_deque *deque)
{
    size_t bottom = crewi_atomic_size_load_relaxed(&deque->bottom); /* relaxed: only we write it */
    if (bottom == crewi_atomic_size_load(&deque->top))
        return NULL;
    size_t newest = bottom - 1;
    crewi_atomic_size_store(&deque->bottom, newest); /* thieves leave this entry alone, unless they have begun */
    /* relaxed: what we read here we wrote ourselves */
    return deque_has_won(deque, newest) ? crewi_atomic_ptr_load_relaxed(crewi_deque_place(deque, newest)) : NULL;
}

bool crewi_deque_claim(crewi_deque *deque, crewi_task *task, bool *ret_has_entry)
{
    /* relaxed: only we write these two; a place still tells of its entry when a thief has it */
    size_t newest = crewi_atomic_size_load_relaxed(&deque->bottom) - 1;
    *ret_has_entry = false;
    if (crewi_atomic_ptr_load_relaxed(crewi_deque_place(deque, newest)) != task)
        return crewi_task_claim(task);
    /* The claim is the fence that pop's store is. Release: pairs with the load of bottom in steal: a thief that finds this bottom takes entries
     * which an earlier one, that it need not have seen, has published */
    crewi_atomic_size_store_release(&deque->bottom, newest);
    bool is_claimed = crewi_task_claim_fenced(task);
    *ret_has_entry = deque_has_won(deque, newest);
    return is_claimed;
}

crewi_task *crewi_deque_steal(crewi_deque *deque)
{
    size_t top = crewi_atomic_size_load(&deque->top);
    size_t bottom = crewi_atomic_size_load(&deque->bottom); /* pairs with push and pop */
    if (top >= bottom)
        return NULL;
    /* relaxed: if the owner has reused the place, top has moved, and the CAS fails */
    crewi_task *task = crewi_atomic_ptr_load_relaxed(crewi_deque_place(deque, top));
    return crewi_atomic_size_cas(&deque->top, &top, top + 1) ? task : NULL;
}

bool crewi_deque_is_empty(const crewi_deque *deque)
{
    size_t top = crewi_atomic_size_load(&deque->top);
    return top >= crewi_atomic_size_load(&deque->bottom);
}
