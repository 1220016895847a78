/* SPDX-License-Identifier: MIT */
/* A worker's own queue: it pushes and pops at the bottom, everyone steals from the top (Chase and Lev, "Dynamic circular
 * work-stealing deque", without growing: what does not fit goes elsewhere). */
#ifndef CREWI_DEQUE_H
#define CREWI_DEQUE_H

#include "../core.h"

enum { CREWI_DEQUE_SIZE = 256 }; /* a power of two */

typedef struct crewi_deque {
    crewi_atomic_size top; /* the oldest entry; moved by CAS: by thieves, and by the owner for the last entry */
    char line[56];
    crewi_atomic_size bottom; /* one past the newest; written by the owner only */
    crewi_atomic_ptr ring[CREWI_DEQUE_SIZE];
} crewi_deque;

void crewi_deque_init(crewi_deque *deque);

static inline crewi_atomic_ptr *crewi_deque_place(crewi_deque *deque, size_t index)
{
    return &deque->ring[index % CREWI_DEQUE_SIZE];
}

/* Owner only. False: full. */
static inline bool crewi_deque_push(crewi_deque *deque, crewi_task *task)
{
    size_t bottom = crewi_atomic_size_load_relaxed(&deque->bottom); /* relaxed: only we write it */
    if (bottom - crewi_atomic_size_load(&deque->top) >= CREWI_DEQUE_SIZE)
        return false;
    crewi_atomic_ptr_store_relaxed(crewi_deque_place(deque, bottom), task); /* relaxed: published by bottom, below */
    crewi_atomic_size_store(&deque->bottom, bottom + 1);                    /* pairs with the load of bottom in steal */
    return true;
}

/* Owner only, where there is room: several, in this order, in one step. */
void crewi_deque_fill(crewi_deque *deque, void *const *tasks, size_t count);
/* Owner only: the newest, or NULL. */
crewi_task *crewi_deque_pop(crewi_deque *deque);
/* Owner only: claims a task, and takes its entry out if that is the newest. Either may fail without the other: a thief may have the
 * entry, which is dead then, and whoever else has claimed the task has no entry. */
bool crewi_deque_claim(crewi_deque *deque, crewi_task *task, bool *ret_has_entry);
/* Anyone: the oldest, or NULL: empty, or another was faster. */
crewi_task *crewi_deque_steal(crewi_deque *deque);
bool crewi_deque_is_empty(const crewi_deque *deque);

#endif
