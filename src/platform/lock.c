/* SPDX-License-Identifier: MIT */
/* The classic three-state futex mutex (Drepper, "Futexes are tricky", mutex 2). */
#include "lock.h"

#include "platform.h"

enum { LOCK_FREE = 0, LOCK_HELD = 1, LOCK_SLEEPERS = 2 };

void crewi_lock_init(crewi_lock *lock)
{
    crewi_atomic_u32_init(&lock->word, LOCK_FREE);
}

bool crewi_lock_try(crewi_lock *lock)
{
    uint32_t found = LOCK_FREE;
    return crewi_atomic_u32_cas(&lock->word, &found, LOCK_HELD);
}

void crewi_lock_acquire(crewi_lock *lock)
{
    enum { LOOKS = 100 }; /* before it sleeps: what is done under a lock takes less time than going to sleep */
    for (unsigned look = 0; look < LOOKS; look++) {
        /* relaxed: only a hint; the try acquires */
        if (crewi_atomic_u32_load_relaxed(&lock->word) == LOCK_FREE && crewi_lock_try(lock))
            return;
        crewi_cpu_relax();
    }
    /* Whoever had to wait takes the lock as LOCK_SLEEPERS: it cannot know whether others sleep beside it. */
    while (crewi_atomic_u32_exchange(&lock->word, LOCK_SLEEPERS) != LOCK_FREE)
        (void)crewi_futex_wait(&lock->word, LOCK_SLEEPERS, CREWI_NEVER);
}

void crewi_lock_release(crewi_lock *lock)
{
    if (crewi_atomic_u32_exchange(&lock->word, LOCK_FREE) == LOCK_SLEEPERS)
        crewi_futex_wake_one(&lock->word);
}

bool crewi_lock_is_held(const crewi_lock *lock)
{
    return crewi_atomic_u32_load(&lock->word) != LOCK_FREE;
}
