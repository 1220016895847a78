/* SPDX-License-Identifier: MIT */
/* What the library needs from an operating system, and all that it uses of one. Each system implements this header once;
 * tests may implement it on simulated threads. None of these functions is a cancellation point. */
#ifndef CREWI_PLATFORM_H
#define CREWI_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/atomic.h"

enum { CREWI_CACHE_LINE = 64 };

/* ---- time ---- */

#define CREWI_NEVER INT64_MAX

/* Nanoseconds of the monotonic clock. */
int64_t crewi_clock_now_ns(void);

/* ---- sleeping and waking ---- */

/* Sleeps while *word is `expected`, until woken or until the instant `deadline_ns`. May return early for no reason: callers
 * loop over their own condition. False: the deadline has passed. */
bool crewi_futex_wait(crewi_atomic_u32 *word, uint32_t expected, int64_t deadline_ns);

/* Wakes one sleeper or all. The word need not exist any more: a wake is only a hint to whoever sleeps at that address. */
void crewi_futex_wake_one(crewi_atomic_u32 *word);
void crewi_futex_wake_all(crewi_atomic_u32 *word);

/* ---- threads ---- */

enum { CREWI_THREAD_NAME_SIZE = 16 }; /* longer names are cut */

typedef struct crewi_thread {
    uintptr_t id; /* written by the thread itself */
    /* what it reads at its start, so that it needs no memory of its own for that */
    void (*run)(void *);
    void *arg;
    char name[CREWI_THREAD_NAME_SIZE];
} crewi_thread;

/* Starts a thread with all asynchronous signals blocked, nothing else inherited. `name` is cut to what the system takes.
 * stack_size 0: the system's default. *ret_thread stays where it is until `run` is called, and is complete by then: by whatever
 * `run` tells others, they can join it. False: none to be had, and the id is as it was. */
bool crewi_thread_start(crewi_thread *ret_thread, void (*run)(void *), void *arg, const char *name, size_t stack_size);
void crewi_thread_join(crewi_thread thread);

/* Ends this thread, of a fork's child, and nothing else: no handler of exit is run, no buffer flushed. */
_Noreturn void crewi_thread_vanish(void);

/* Runs `body(arg)`; if that ends its thread (pthread_exit, cancellation), runs `lost(arg)` on the way out.
 * `lost` must not find its state on the stack of `body`: that is gone. */
void crewi_thread_guard(void (*body)(void *), void (*lost)(void *), void *arg);

/* Whether this thread has stack left to run a job on top of what it runs: a quarter of all, and 32 KiB at least. */
bool crewi_stack_is_enough(void);

/* ---- the calling thread ---- */

/* One pointer per thread, NULL at first. */
void *crewi_self_get(void);
void crewi_self_set(void *self);

/* One number per thread, 0 at first: how long its waits look around before they sleep. */
int64_t *crewi_self_patience_ns(void);

/* A moment's rest for the core, between two looks at a word that another thread will change. */
void crewi_cpu_relax(void);

/* Begins to bring what lies there nearer; the address need not be valid any more. */
static inline void crewi_prefetch(const void *address)
{
    __builtin_prefetch(address, 1);
}

/* How many CPUs this thread may run on, now; cheap. */
unsigned crewi_cpus_at_hand(void);

/* An address that no two living threads share, and a small number of it that tends to differ between threads. */
void *crewi_thread_mark(void);
unsigned crewi_thread_hash(void);

/* ---- a barrier in all threads ---- */

/* To be called before a process's first pool starts threads: makes ready for what follows, where that costs next to nothing. */
void crewi_barrier_prepare(void);

/* Whether the next one can be used; the same answer for good, once it was yes. */
bool crewi_barrier_is_there(void);

/* Every thread of this process passes a full memory barrier between the beginning and the end of this call, as does the caller. Takes
 * some 10 us, and a moment of every other thread that runs. */
void crewi_barrier_everywhere(void);

/* ---- processes ---- */

/* Grows by one in every child of fork; the same number in all threads of one process. Asked after every item of a map: so it
 * is read in place. */
extern crewi_atomic_u32 crewi_fork_count;

static inline uint32_t crewi_fork_generation(void)
{
    /* relaxed: changes only in fork's child, before its only thread returns from fork */
    return crewi_atomic_u32_load_relaxed(&crewi_fork_count);
}

/* Makes the above work, and has `in_child` called in the child before fork returns there; the first call counts.
 * False: no memory. */
bool crewi_fork_watch(void (*in_child)(void));

/* ---- memory ---- */

/* `align` is a power of two. NULL: none. */
void *crewi_memory_alloc(size_t size, size_t align);
void crewi_memory_free(void *block);

#endif
