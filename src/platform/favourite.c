/* SPDX-License-Identifier: MIT */
/* The side of a lock's favourite that is rare, and may cost something. */
#include "favourite.h"

/* What being ousted costs, some 10 us, is what this many locked steps cost. */
#ifdef CREWI_FAVOURITE_STREAK
enum { STREAK = CREWI_FAVOURITE_STREAK };
#elif defined(CREWI_DEBUG)
enum { STREAK = 16 }; /* so that tests meet it often */
#else
enum { STREAK = 1000 };
#endif

void crewi_favourite_init(crewi_favourite *favourite)
{
    crewi_atomic_ptr_init(&favourite->thread, NULL);
    crewi_atomic_u32_init(&favourite->inside, 0);
    favourite->streak = 0;
    favourite->last = favourite->former = NULL;
}

/* Leaving is a store that wakes nobody: so whoever has to wait for it, which is rare, looks now and then. */
static void favourite_await(crewi_favourite *favourite)
{
    enum { LOOK_NS = 20000 };
    while (crewi_atomic_u32_load_acquire(&favourite->inside)) /* pairs with leave */
        (void)crewi_futex_wait(&favourite->inside, 1, crewi_clock_now_ns() + LOOK_NS);
}

void crewi_favourite_oust(crewi_favourite *favourite)
{
    void *former = crewi_atomic_ptr_load_relaxed(&favourite->thread); /* relaxed, as the store: by holders only */
    if (!former)
        return;
    favourite->former = former;
    crewi_atomic_ptr_store_relaxed(&favourite->thread, NULL);
    crewi_barrier_everywhere(); /* [F2], pairs with enter */
    favourite_await(favourite);
}

void crewi_favourite_count(crewi_favourite *favourite)
{
    void *self = crewi_thread_mark();
    if (favourite->former == self)
        favourite->former = NULL;
    if (favourite->last != self) {
        favourite->last = self;
        favourite->streak = 0;
    } else if (++favourite->streak >= STREAK && !favourite->former && crewi_barrier_is_there()) { /* [F3] */
        favourite->streak = 0;
        crewi_atomic_ptr_store_relaxed(&favourite->thread, self); /* relaxed: for ourselves, or under the lock */
    }
}
