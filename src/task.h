/* SPDX-License-Identifier: MIT */
/* A task: whatever can lie in a backend's queue: an applied job, a map, a chunk of an iterator's items, an iterator that wants to pull, the
 * callback lane. Queue entries are hints: the claim below decides who runs what. */
#ifndef CREWI_TASK_H
#define CREWI_TASK_H

#include <crewpool/crewpool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/cells.h"
#include "base/queue.h"
#include "platform/platform.h"

typedef struct crewi_task crewi_task;
typedef struct crewi_frame crewi_frame; /* frame.h */

/* crewi_task.state, one word:
 *   bits 0-2   phase, one way. PENDING → RUNNING by one CAS, the *claim*, whoever runs, cancels, terminates or helps; then by whoever
 *              claimed: → DONE at once where nobody is to be told; else → STORED, and the lane (which may be faster) → DONE. A map skips
 *              RUNNING: many run it; an iterator stays PENDING: its word is only slept on
 *   bits 3-5   the outcome (0 … 5 of crew_status): set once, with DONE, or before the lane is given the result
 *   bit  6     WAITERS: somebody may sleep on this word; set by waiters, cleared by whoever makes it ready or wakes an iterator's
 *   bit  7     STOP: told to stop; set by cancel and destroy, for good
 *   bit  8     TAKEN: the value was moved out by a get; whoever sets it first has it
 *   bit  9     HANDLE: the user holds a handle; set at creation, cleared by crew_result_destroy
 *   bit  10    AFTER_DONE: ready means DONE, not STORED; set at creation, or with the outcome; cleared by a map's last waiter
 *   bit  11    CANCELLED, bit 12 ENDED_BY_POOL: a map lost items to a cancel or to the pool's end; set before the items are taken
 *   bit  13    PLACE: it occupies one of queue_max places; set at creation, cleared by whoever gives the place back
 *   bit  14    ENTRY: an applied job lies in a queue, or runs out of one; cleared by whoever takes it out for good
 *   bit  15    DETACHED: an applied job that never had a handle: whoever takes its entry out has it, and nobody else can
 *              claim it or wait for it; set at creation
 *   bits 16-31 poke count: changed only to make sleepers look again */
enum {
    CREWI_PENDING = 0,
    CREWI_RUNNING = 1,
    CREWI_STORED = 2,
    CREWI_DONE = 3,
    CREWI_PHASE = 7,
    CREWI_STATUS_SHIFT = 3,
    CREWI_WAITERS = 1 << 6,
    CREWI_STOP = 1 << 7,
    CREWI_TAKEN = 1 << 8,
    CREWI_HANDLE = 1 << 9,
    CREWI_AFTER_DONE = 1 << 10,
    CREWI_CANCELLED = 1 << 11,
    CREWI_ENDED_BY_POOL = 1 << 12,
    CREWI_PLACE = 1 << 13,
    CREWI_ENTRY = 1 << 14,
    CREWI_DETACHED = 1 << 15,
    CREWI_POKE = 1 << 16
};

/* How a target of waits stands. Not ready and nothing of the rest: it cannot be. */
struct crewi_view {
    bool is_ready;
    bool needs_callback; /* it is stored, and will be ready when the callback lane has dealt with it */
    bool any_will_do;    /* one of the running parts is enough to make it ready; else all are needed */
    bool has_unstarted;  /* parts that have not started, so that it needs a thread */
    bool needs_another;  /* and what has not started is nothing that the waiter itself would run */
    size_t running;      /* parts that run, suspended ones included */
};

/* What differs between kinds of task. */
struct crewi_task_kind {
    /* A backend popped this entry: run it if it is still to be run. True: the entry went with it; false: the backend still has
     * to drop it. */
    bool (*run)(crewi_task *task, crewi_frame *frame);
    /* The pool ends early: end what has not started, as `status`. Likewise. (This and the next are NULL in a kind that is only urgent.) */
    bool (*end)(crewi_task *task, crew_status status);
    /* This entry has nothing left to do. */
    bool (*is_dead)(const crewi_task *task);
    /* User code run for this task, in `frame`, ended its thread: settle it. */
    void (*lost)(crewi_task *task, crewi_frame *frame);
    /* The last reference is gone. (NULL in a kind that keeps one.) */
    void (*free)(crewi_task *task);

    /* As the target of a wait (NULL in a kind that nobody waits for): */
    bool (*is_ready)(crewi_task *task);
    /* Runs something that the target's readiness needs; false: there is nothing. `any`: also what may bring it nearer, though
     * something else could as well. */
    bool (*help)(crewi_task *task, bool any);
    /* Whether what runs in `frame` is one of the running parts. */
    bool (*requires)(crewi_task *task, const crewi_frame *frame);
    /* How it stands, at one instant. */
    struct crewi_view (*look)(crewi_task *task);
};

struct crewi_task {
    crewi_link link; /* owned by the queue while the entry is in one */
    const struct crewi_task_kind *kind;
    crewi_shard *shard;
    crewi_atomic_u32 state;
    crewi_atomic_u32
        refs; /* one for HANDLE, ENTRY and a phase before DONE together; queue entries but for ENTRY; participants */
};

/* Valid until the task has ended; whoever holds only a handle comes in by crewi_cells_enter_pool. */
static inline crew_pool *crewi_task_pool(const crewi_task *task)
{
    return crewi_cells_owner(task->shard);
}

static inline crewi_task *crewi_task_of_link(crewi_link *link)
{
    return CREWI_CONTAINER_OF(link, crewi_task, link);
}

static inline uint32_t crewi_phase(uint32_t state)
{
    return state & CREWI_PHASE;
}

static inline crew_status crewi_outcome(uint32_t state)
{
    return (crew_status)(state >> CREWI_STATUS_SHIFT & 7);
}

static inline bool crewi_is_ready(uint32_t state)
{
    return crewi_phase(state) >= (state & CREWI_AFTER_DONE ? CREWI_DONE : CREWI_STORED);
}

void crewi_task_init(crewi_task *task, const struct crewi_task_kind *kind, crewi_shard *shard, uint32_t state,
                     uint32_t refs);
bool crewi_task_claim(crewi_task *task);
/* The same for a task with a handle; and, whether it succeeds or not, a full fence: see crewi_atomic_u32_cas_fenced. */
static inline bool crewi_task_claim_fenced(crewi_task *task)
{
    uint32_t state = crewi_atomic_u32_load(&task->state);
    for (;;) {
        bool is_pending = crewi_phase(state) == CREWI_PENDING;
        if (crewi_atomic_u32_cas_fenced(&task->state, &state, is_pending ? state + CREWI_RUNNING : state))
            return is_pending;
    }
}

void crewi_task_ref(crewi_task *task);
void crewi_task_unref(crewi_task *task);
/* A queue entry is given up. */
void crewi_task_drop_entry(crewi_task *task);
/* Clears HANDLE or ENTRY; the last of the parties gives up the reference that they share. Returns the state before. */
uint32_t crewi_task_give_up(crewi_task *task, uint32_t party);
/* After one of the parties has gone: whether `state` has another. */
static inline bool crewi_task_has_party(uint32_t state)
{
    return (state & (CREWI_HANDLE | CREWI_ENTRY)) || crewi_phase(state) != CREWI_DONE;
}
void crewi_task_poke(crewi_task *task);

/* Where a task enters the queues. */
enum crewi_where {
    CREWI_NEXT,   /* where new work goes: from a worker, before what it submitted earlier; else in order */
    CREWI_BEHIND, /* behind what is queued: it had its turn, and goes on later */
    CREWI_LAZILY, /* the same, where it is enough that somebody who dozes will see it */
    CREWI_URGENT, /* before everything else, at the bottom of a stack */
    CREWI_OFFERED /* as new, and where it may be taken back soon: by whoever submitted it, with backend->take_back */
};

static inline bool crewi_task_is_forked(const crewi_task *task)
{
    return crewi_cells_generation(task->shard) != crewi_fork_generation();
}

#endif
