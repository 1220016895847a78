/* SPDX-License-Identifier: MIT */
/* The pool, and what its threads have of their own, or borrow. */
#ifndef CREWI_POOL_H
#define CREWI_POOL_H

#include "base/cells.h"
#include "base/fifo.h"
#include "base/queue.h"
#include "platform/lock.h"
#include "platform/platform.h"
#include "task.h"

/* crew_pool.gate, one word: the submit path's whole view of the life cycle.
 *   bits 0-55  accepted and not ended (a job with a callback: until that has returned; an iterator's activation, too), plus all
 *              `credits`: units that somebody has taken in bulk, and that stand for nothing yet or any more
 *   bit  56    CLOSED, bit 57 TERMINATED, bit 58 BROKEN: set by close, terminate, break; never cleared */
#define CREWI_GATE_COUNT ((UINT64_C(1) << 56) - 1)
#define CREWI_GATE_CLOSED (UINT64_C(1) << 56)
#define CREWI_GATE_TERMINATED (UINT64_C(1) << 57)
#define CREWI_GATE_BROKEN (UINT64_C(1) << 58)
#define CREWI_GATE_SHUT (CREWI_GATE_CLOSED | CREWI_GATE_TERMINATED | CREWI_GATE_BROKEN)

/* crew_pool.present, one word, so that an outsider who executes takes a permit and a desk in one step:
 *   bits 0-22  permits out: threads that may execute (the threads backend's, see threads/permit.c)
 *   bits 23-30 one for each desk: somebody has it
 *   bit  31    WANTED, the threads backend's, too */
#define CREWI_DESK_FIRST (UINT32_C(1) << 23)
#define CREWI_DESK_BITS (((UINT32_C(1) << CREWI_DESKS) - 1) << 23)

/* What is counted for crew_pool_query. What runs is STARTED and then ENDED; what ends without having run is neither. */
enum crewi_counter { CREWI_STARTED, CREWI_ENDED, CREWI_SUCCEEDED, CREWI_FAILED, CREWI_COUNTERS };

struct crewi_counts {
    crewi_atomic_u64 of[CREWI_COUNTERS];
    crewi_atomic_size credits; /* of the gate */
};

/* Outsiders count on the stripe that their thread's hash picks. */
enum { CREWI_STRIPES = 8 };

struct crewi_stripe {
    _Alignas(CREWI_CACHE_LINE) struct crewi_counts counts;
};

/* What a worker keeps for itself, so that its usual path changes nothing that others do. Written by the worker alone; the
 * counts are read by queries. */
struct crewi_local {
    crewi_cache cells;
    struct crewi_counts counts;
    void *slot;              /* the backend's; NULL: a desk's, or a hatch's */
    void *queue;             /* the backend's, or NULL: for what the jobs of this thread submit */
    struct crewi_nest *nest; /* NULL: not needed yet, or no memory */
    unsigned nest_depth;     /* frames in use */
};

void crewi_local_init(struct crewi_local *local, crewi_cells *cells, unsigned hint, void *slot);
/* Gives back what it has, but for units of the gate. `is_at_rest`: nobody was at it when the process forked. */
void crewi_local_close(struct crewi_local *local, bool is_forked, bool is_at_rest);

/* hatch.c: where outsiders hand work in, one of a few, picked by the thread's hash: so the work of one thread keeps its order. The fifo's
 * lock guards `local`, too. */
enum { CREWI_HATCHES = 8 };

typedef struct crewi_hatch {
    crewi_fifo tasks;
    struct crewi_local local;
} crewi_hatch;

void crewi_hatches_init(crew_pool *pool);
void crewi_hatches_close(crew_pool *pool, bool is_forked);
void crewi_hatches_flush(crew_pool *pool); /* gives the units of the gate back that lie in hatches */
crewi_hatch *crewi_hatch_lock(crew_pool *pool);
void crewi_hatch_unlock(crew_pool *pool, crewi_hatch *hatch);
bool crewi_hatch_push_and_unlock(crew_pool *pool, crewi_hatch *hatch, crewi_task *task); /* false: no memory */

/* desk.c: the same for an outsider, while it executes. */
enum { CREWI_DESKS = 8 };

typedef struct crewi_desk {
    _Alignas(CREWI_CACHE_LINE) struct crewi_local local; /* of the thread that has taken it */
} crewi_desk;

void crewi_desks_init(crew_pool *pool);
void crewi_desks_close(crew_pool *pool, bool is_forked);
void crewi_desks_flush(crew_pool *pool); /* gives the units of the gate back that lie in desks */
/* Together with what backend->enter gives. NULL: it is taken, or nobody may execute now. */
crewi_desk *crewi_desk_enter(crew_pool *pool);
void crewi_desk_leave(crewi_desk *desk, crew_pool *pool);
void crewi_desk_run(crew_pool *pool, void (*body)(crew_pool *pool)); /* with a desk, if there is one to be had */

void crewi_counts_init(struct crewi_counts *counts);

/* The sum of several. */
struct crewi_totals {
    uint64_t of[CREWI_COUNTERS];
    uint64_t credits;
};

void crewi_totals_add(struct crewi_totals *totals, const struct crewi_counts *counts);

struct crew_pool {
    /* read-only after create */
    const struct crewi_backend *backend;
    void *engine; /* the backend's own */
    crewi_cells *cells;
    crew_pool_options options; /* a copy: workers, spares_max, name and flags resolved */
    bool helping;              /* outsiders may run what they wait for */

    /* the life cycle */
    _Alignas(CREWI_CACHE_LINE) crewi_atomic_u64 gate;
    crewi_atomic_u32 stop;          /* STOP: crew_pool_request_stop, or terminated */
    crewi_atomic_u32 drained;       /* epoch: +1 whenever the gate's count falls to 0 */
    crewi_atomic_u32 drain_waiters; /* who sleeps on it */
    crewi_lock join_lock;           /* one joiner at a time takes the threads in */
    crewi_atomic_u32 is_joined;
    crewi_lock break_lock;
    crew_error broken; /* why; written once under break_lock before BROKEN is set */

    _Alignas(CREWI_CACHE_LINE) crewi_atomic_u32 present; /* how many execute, and which desks are taken */

    /* queue_max */
    _Alignas(CREWI_CACHE_LINE) crewi_atomic_size queued; /* jobs and maps not claimed; kept only with a queue_max */
    crewi_atomic_u32 room; /* epoch: +1 when `queued` falls with someone waiting, and when the gate shuts */
    crewi_atomic_u32 room_waiters;

    /* the callback lane */
    struct crewi_lane {
        crewi_task task; /* its entry: in a backend's queue, or running, while count > 0 */
        crewi_queue results;
        crewi_atomic_size count;
    } lane;

    crewi_lock iterators_lock; /* guards the lists of iterators that close, and those that terminate must reach */
    struct crew_iterator *iterators_open, *iterators_closed;

    struct crewi_stripe stripes[CREWI_STRIPES];
    crewi_desk desks[CREWI_DESKS];
    crewi_hatch hatches[CREWI_HATCHES];
};

static inline struct crewi_counts *crewi_stripe(crew_pool *pool)
{
    return &pool->stripes[crewi_thread_hash() % CREWI_STRIPES].counts;
}

static inline bool crewi_pool_is_forked(const crew_pool *pool)
{
    return crewi_cells_generation(crewi_cells_shard(pool->cells)) != crewi_fork_generation();
}

#endif
