/* SPDX-License-Identifier: MIT */
/* A lock's favourite: a thread that has had the lock many times in a row goes in without an atomic read-modify-write from then on,
 * until somebody else wants in, who then pays for both by a barrier in all threads. Goes beside any lock:
 *
 *     favoured = crewi_favourite_enter(f);              … the work …       if (favoured)
 *     if (!favoured) {                                                         crewi_favourite_leave(f);
 *         take the lock;                                                   else {
 *         crewi_favourite_oust(f);                                             crewi_favourite_count(f);
 *     }                                                                        give the lock back;
 *                                                                          }
 *
 * [F1] The favourite says that it is inside, then looks whether it is still the favourite. [F2] Whoever holds the lock takes that from
 * it, then looks whether it is inside. Between the two steps of F1 the compiler alone is kept from changing their order: F2
 * has crewi_barrier_everywhere between its own two, which makes up for both. So one of them sees the other. [F3] One that was ousted may not
 * have noticed: it would say that it is inside, and then that it is not, in the next one's name. So nobody else becomes the favourite until the
 * former has had the lock. */
#ifndef CREWI_FAVOURITE_H
#define CREWI_FAVOURITE_H

#include "../base/atomic.h"
#include "platform.h"

typedef struct crewi_favourite {
    crewi_atomic_ptr thread; /* its mark; NULL: nobody's. Written by holders of the lock */
    crewi_atomic_u32 inside; /* 1: it is inside, or looks whether it may; written by it alone, and by `former` */
    uint32_t streak;         /* guarded by the lock, as the next two: how often in a row it was had by */
    void *last;              /* this thread */
    void *former; /* who was ousted and has not had the lock since, or NULL: may still be between the steps of F1 */
} crewi_favourite;

void crewi_favourite_init(crewi_favourite *favourite);

/* Last touch by a favourite that leaves, or finds that it is none any more: from then on the lock's memory may go. */
static inline void crewi_favourite_leave(crewi_favourite *favourite)
{
    crewi_atomic_u32_store_release(&favourite->inside, 0); /* pairs with the load in oust */
}

static inline bool crewi_favourite_enter(crewi_favourite *favourite)
{
    const void *self = crewi_thread_mark();
    /* relaxed, all three: a thread becomes the favourite by itself alone; the rest is F1's */
    if (crewi_atomic_ptr_load_relaxed(&favourite->thread) != self)
        return false;
    crewi_atomic_u32_store_relaxed(&favourite->inside, 1);
    crewi_atomic_compiler_barrier(); /* [F1], pairs with oust */
    if (crewi_atomic_ptr_load_relaxed(&favourite->thread) == self)
        return true;
    crewi_favourite_leave(favourite);
    return false;
}

/* By the lock's holder: from now on there is none, and none is inside. */
void crewi_favourite_oust(crewi_favourite *favourite);

/* By the lock's holder, before it gives the lock back: who comes often becomes the favourite. */
void crewi_favourite_count(crewi_favourite *favourite);

/* One is inside, now. Asked in a fork's child. */
static inline bool crewi_favourite_is_inside(const crewi_favourite *favourite)
{
    return crewi_atomic_u32_load(&favourite->inside) != 0;
}

#endif
