/* SPDX-License-Identifier: MIT */
/* A mutex in four bytes that sleeps on a futex. Not recursive; no user code ever runs under one. */
#ifndef CREWI_LOCK_H
#define CREWI_LOCK_H

#include "../base/atomic.h"

typedef struct crewi_lock {
    crewi_atomic_u32 word; /* 0 free · 1 held · 2 held, and somebody may sleep */
} crewi_lock;

void crewi_lock_init(crewi_lock *lock);
void crewi_lock_acquire(crewi_lock *lock);
bool crewi_lock_try(crewi_lock *lock);
void crewi_lock_release(crewi_lock *lock);

/* By anybody, now. */
bool crewi_lock_is_held(const crewi_lock *lock);

#endif
