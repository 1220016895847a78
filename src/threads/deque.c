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

static crewi_atomic_ptr *deque_place(crewi_deque *deque, size_t index)
{
    return &deque->ring[index % CREWI_DEQUE_SIZE];
}

bool crewi_deque_push(crewi_deque *deque, crewi_task *task)
{
    size_t bottom = crewi_atomic_size_load_relaxed(&deque->bottom); /* relaxed: only we write it */
    if (bottom - crewi_atomic_size_load(&deque->top) >= CREWI_DEQUE_SIZE)
        return false;
    crewi_atomic_ptr_store_relaxed(deque_place(deque, bottom), task); /* relaxed: published by bottom, below */
    crewi_atomic_size_store(&deque->bottom, bottom + 1);              /* pairs with the load of bottom in steal */
    return true;
}

void crewi_deque_fill(crewi_deque *deque, void *const *tasks, size_t count)
{
    size_t bottom = crewi_atomic_size_load_relaxed(&deque->bottom); /* relaxed: only we write it */
    CREWI_ASSERT(bottom - crewi_atomic_size_load(&deque->top) + count <= CREWI_DEQUE_SIZE);
    for (size_t i = 0; i < count; i++)
        crewi_atomic_ptr_store_relaxed(deque_place(deque, bottom + i), tasks[i]); /* relaxed: as in push */
    crewi_atomic_size_store(&deque->bottom, bottom + count); /* pairs with the load of bottom in steal */
}

crewi_task *crewi_deque_pop(crewi_deque *deque)
{
    size_t bottom = crewi_atomic_size_load_relaxed(&deque->bottom); /* relaxed: only we write it */
    size_t top = crewi_atomic_size_load(&deque->top);
    if (bottom == top)
        return NULL;
    bottom--;
    crewi_atomic_size_store(&deque->bottom, bottom); /* thieves leave this entry alone, unless they have begun */
    top = crewi_atomic_size_load(&deque->top);
    crewi_task *task = NULL;
    if (bottom >= top) /* relaxed: what we read here we wrote ourselves */
        task = crewi_atomic_ptr_load_relaxed(deque_place(deque, bottom));
    if (bottom > top)
        return task;
    if (bottom == top && !crewi_atomic_size_cas(&deque->top, &top, top + 1))
        task = NULL; /* a thief has the last one */
    crewi_atomic_size_store(&deque->bottom, bottom + 1);
    return task;
}

bool crewi_deque_pop_if(crewi_deque *deque, const crewi_task *task)
{
    /* relaxed: what we read here we wrote ourselves; a thief may have the entry, then pop says so */
    size_t newest = crewi_atomic_size_load_relaxed(&deque->bottom) - 1;
    return crewi_atomic_ptr_load_relaxed(deque_place(deque, newest)) == task && crewi_deque_pop(deque) == task;
}

crewi_task *crewi_deque_steal(crewi_deque *deque)
{
    size_t top = crewi_atomic_size_load(&deque->top);
    size_t bottom = crewi_atomic_size_load(&deque->bottom); /* pairs with push and pop */
    if (top >= bottom)
        return NULL;
    /* relaxed: if the owner has reused the place, top has moved, and the CAS fails */
    crewi_task *task = crewi_atomic_ptr_load_relaxed(deque_place(deque, top));
    return crewi_atomic_size_cas(&deque->top, &top, top + 1) ? task : NULL;
}

bool crewi_deque_is_empty(const crewi_deque *deque)
{
    size_t top = crewi_atomic_size_load(&deque->top);
    return top >= crewi_atomic_size_load(&deque->bottom);
}
