/* SPDX-License-Identifier: MIT */
/* A mutex in four bytes that sleeps on a futex. Not recursive; no user code ever runs under one. */
#ifndef CREWI_LOCK_H
#define CREWI_LOCK_H

#include "../base/atomic.h"

typedef struct crewi_lock {
    crewi_atomic_u32 word;
} crewi_lock;

/* crewi_lock.word; SLEEPERS: held, and somebody may sleep */
enum { CREWI_LOCK_FREE = 0, CREWI_LOCK_HELD = 1, CREWI_LOCK_SLEEPERS = 2 };

void crewi_lock_init(crewi_lock *lock);
void crewi_lock_acquire_slowly(crewi_lock *lock);
void crewi_lock_wake_one(crewi_lock *lock);

static inline bool crewi_lock_try(crewi_lock *lock)
{
    uint32_t found = CREWI_LOCK_FREE;
    return crewi_atomic_u32_cas(&lock->word, &found, CREWI_LOCK_HELD);
}

static inline void crewi_lock_acquire(crewi_lock *lock)
{
    if (!crewi_lock_try(lock))
        crewi_lock_acquire_slowly(lock);
}

static inline void crewi_lock_release(crewi_lock *lock)
{
    if (crewi_atomic_u32_exchange(&lock->word, CREWI_LOCK_FREE) == CREWI_LOCK_SLEEPERS)
        crewi_lock_wake_one(lock);
}

/* By anybody, now. */
bool crewi_lock_is_held(const crewi_lock *lock);

#endif
