/* SPDX-License-Identifier: MIT */
/* The classic three-state futex mutex (Drepper, "Futexes are tricky", mutex 2). */
#include "lock.h"

#include "platform.h"

void crewi_lock_init(crewi_lock *lock)
{
    crewi_atomic_u32_init(&lock->word, CREWI_LOCK_FREE);
}

void crewi_lock_acquire_slowly(crewi_lock *lock)
{
    enum { LOOKS = 100 }; /* before it sleeps: what is done under a lock takes less time than going to sleep */
    for (unsigned look = 0; look < LOOKS; look++) {
        /* relaxed: only a hint; the try acquires */
        if (crewi_atomic_u32_load_relaxed(&lock->word) == CREWI_LOCK_FREE && crewi_lock_try(lock))
            return;
        crewi_cpu_relax();
    }
    /* Whoever had to wait takes the lock as CREWI_LOCK_SLEEPERS: it cannot know whether others sleep beside it. */
    while (crewi_atomic_u32_exchange(&lock->word, CREWI_LOCK_SLEEPERS) != CREWI_LOCK_FREE)
        (void)crewi_futex_wait(&lock->word, CREWI_LOCK_SLEEPERS, CREWI_NEVER);
}

void crewi_lock_wake_one(crewi_lock *lock)
{
    crewi_futex_wake_one(&lock->word);
}

bool crewi_lock_is_held(const crewi_lock *lock)
{
    return crewi_atomic_u32_load(&lock->word) != CREWI_LOCK_FREE;
}
