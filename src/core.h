/* SPDX-License-Identifier: MIT */
/* The library's nouns, shared by the meaning layer and the backends: task, frame, pool. */
#ifndef CREWI_CORE_H
#define CREWI_CORE_H

#include <crewpool/crewpool.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/cells.h"
#include "base/fifo.h"
#include "base/queue.h"
#include "platform/lock.h"
#include "platform/platform.h"

typedef struct crewi_task crewi_task;
typedef struct crewi_frame crewi_frame;

/* memcpy, without a call for what most arguments and results are. */
static inline void crewi_copy(void *to, const void *from, size_t size)
{
    if (size == 8)
        memcpy(to, from, 8);
    else if (size == 4)
        memcpy(to, from, 4);
    else if (size > 0)
        memcpy(to, from, size);
}

/* ---- Task: whatever can lie in a backend's queue: an applied job, a map, a chunk of an iterator's items, an iterator that
 * ---- wants to pull, the callback lane. Queue entries are hints: the claim below decides who runs what. ---- */

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
    /* The pool ends early: end what has not started, as `status`. Likewise. */
    bool (*end)(crewi_task *task, crew_status status);
    /* This entry has nothing left to do. */
    bool (*is_dead)(const crewi_task *task);
    /* User code run for this task, in `frame`, ended its thread: settle it. */
    void (*lost)(crewi_task *task, crewi_frame *frame);
    /* The last reference is gone. */
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

/* ---- Frame: one piece of user code on the stack of one thread, and what it may ask about itself. ---- */

enum crewi_frame_kind {
    CREWI_FRAME_WORKER,   /* the bottom of a worker's stack: no user code, but the thread belongs to the pool */
    CREWI_FRAME_HELPER,   /* an outside thread begins to run work of the pool */
    CREWI_FRAME_JOB,      /* a job; `task` is the applied job, the map, or the iterator; `index` the item */
    CREWI_FRAME_CALLBACK, /* on_done or on_unhandled; `task` is the lane, `part` the result */
    CREWI_FRAME_PULL,     /* a source's pull; `task` is the iterator */
    CREWI_FRAME_INIT      /* worker_init, worker_exit */
};

/* crewi_frame.notes: */
enum {
    CREWI_NOTE_MESSAGE = 1, /* crew_fail left one; cleared before the next item */
    CREWI_NOTE_FORKED = 2   /* this is a fork's child, and the frame its parent's; for good */
};

struct crewi_frame {
    crewi_frame *outer; /* on this thread */
    crew_pool *pool;
    crewi_task *task;
    void *part;             /* of the task: what its kind's `lost` needs to settle */
    crewi_atomic_u32 *stop; /* the word whose STOP bit is meant for this frame */
    enum crewi_frame_kind kind;
    size_t index;
    size_t range_first, range_end; /* a map's frame runs items range_first … range_end - 1, and is at `index` */
    struct crewi_local *local;     /* of the worker, or NULL */
    int worker;                    /* slot, or -1 */
    void *worker_state;
    bool has_permit;  /* this frame is why its thread counts as executing in its pool */
    bool is_on_stack; /* entered and not left */
    uint32_t notes;   /* what happened in it; written by its own thread only */
    char message[CREW_ERROR_MESSAGE_SIZE];
};

crewi_frame *crewi_frame_top(void);
static inline void crewi_frame_enter(crewi_frame *frame, enum crewi_frame_kind kind, crew_pool *pool, crewi_task *task);
void crewi_frame_leave(crewi_frame *frame);
void crewi_frame_return(crewi_frame *frame);
static inline void crewi_frame_forget_message(crewi_frame *frame)
{
    frame->notes &= ~(uint32_t)CREWI_NOTE_MESSAGE;
}
/* In a fork's child: everything on this thread is the parent's. */
void crewi_frames_forked(void);
/* The innermost frame of this thread that belongs to `pool` and runs user code (or is the worker's bottom). */
crewi_frame *crewi_frame_inside(const crew_pool *pool);
/* Everything on this thread stops executing, because it waits or is in a source; and goes on. */
void crewi_frames_suspend(void);
void crewi_frames_resume(void);

/* Runs body(task, frame) with a frame of its own, so that it is settled should its thread be lost: in the nest (below), if it is
 * straight on top of a job of the same pool, or of a visitor to it; else beneath a guard of its own. */
static inline void crewi_run_guarded(void (*body)(crewi_task *task, crewi_frame *frame), crewi_task *task);
void crewi_run_with_guard(void (*body)(crewi_task *task, crewi_frame *frame), crewi_task *task);
/* The same as an outside helper, which executes with the permit of backend->enter, or (FULL_RUNS) without. True: `body` has set the
 * `part` of the helper's frame, the top one. */
bool crewi_run_as_helper(void (*body)(crewi_task *task, crewi_frame *frame), crewi_task *task, bool has_permit);
/* Runs body(arg) on an outside thread as one that executes, with a permit and a desk; if that thread is lost, lost(arg) when it has given
 * these back. False: not now. The caller keeps the pool. */
bool crewi_visit(crew_pool *pool, void (*body)(void *arg), void (*lost)(void *arg), void *arg);
/* On the way out of a lost thread: settles `frame` if user code was in it. */
void crewi_frame_lost(crewi_frame *frame);

/* Where jobs on top of jobs have their frames: not on the stack, which is gone when its thread is lost, so that they need no guard of
 * their own. Whoever runs jobs beneath a guard notes how many frames are in use, and settles what is above them before its own. That
 * is enough, since a frame is put here only straight on top of a job that has the same crewi_local, or of the visitor whose desk that is: between
 * the two is no other frame, and the guard beneath knows that local. */
enum { CREWI_NEST_SIZE = 32 };

struct crewi_nest {
    crewi_frame frames[CREWI_NEST_SIZE];
};

/* Settles the frames above the first `depth`, innermost first. `local` may be NULL. */
void crewi_nest_lost(struct crewi_local *local, unsigned depth);

/* ---- Pool ---- */

/* crew_pool.gate, one word: the submit path's whole view of the life cycle.
 *   bits 0-55  accepted and not ended (a job with a callback: until that has returned; an iterator's activation, too), plus all
 *              `credits`: units that somebody has taken in bulk, and that stand for nothing yet or any more
 *   bit  56    CLOSED, bit 57 TERMINATED, bit 58 BROKEN: set by close, terminate, break; never cleared */
#define CREWI_GATE_COUNT ((UINT64_C(1) << 56) - 1)
#define CREWI_GATE_CLOSED (UINT64_C(1) << 56)
#define CREWI_GATE_TERMINATED (UINT64_C(1) << 57)
#define CREWI_GATE_BROKEN (UINT64_C(1) << 58)
#define CREWI_GATE_SHUT (CREWI_GATE_CLOSED | CREWI_GATE_TERMINATED | CREWI_GATE_BROKEN)

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

static inline unsigned crewi_nest_depth(const struct crewi_local *local)
{
    return local ? local->nest_depth : 0;
}

bool crewi_nest_make(struct crewi_local *local); /* false: no memory */

/* Of the caller, who is about to run something of `pool`; NULL: no place there. */
static inline struct crewi_local *crewi_nest_enter(const crew_pool *pool)
{
    const crewi_frame *top = crewi_frame_top();
    bool is_beneath = top && top->pool == pool &&
                      (top->kind == CREWI_FRAME_JOB || (top->kind == CREWI_FRAME_HELPER && top->has_permit));
    struct crewi_local *local = is_beneath ? top->local : NULL;
    bool has_place = local && local->nest_depth < CREWI_NEST_SIZE && (local->nest || crewi_nest_make(local));
    return has_place ? local : NULL;
}

static inline void crewi_run_guarded(void (*body)(crewi_task *task, crewi_frame *frame), crewi_task *task)
{
    struct crewi_local *local = crewi_nest_enter(crewi_task_pool(task));
    if (!local) {
        crewi_run_with_guard(body, task);
        return;
    }
    crewi_frame *frame = &local->nest->frames[local->nest_depth++];
    frame->is_on_stack = frame->has_permit = false;
    body(task, frame);
    local->nest_depth--;
}

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
    _Alignas(CREWI_CACHE_LINE) crewi_atomic_u32 is_taken; /* by the thread that may use `local` */
    struct crewi_local local;
} crewi_desk;

void crewi_desks_init(crew_pool *pool);
void crewi_desks_close(crew_pool *pool, bool is_forked);
void crewi_desks_flush(crew_pool *pool);       /* gives the units of the gate back that lie in desks */
crewi_desk *crewi_desk_enter(crew_pool *pool); /* NULL: taken */
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

    /* queue_max */
    crewi_atomic_size queued; /* jobs and maps not claimed; kept only with a queue_max */
    crewi_atomic_u32 room;    /* epoch: +1 when `queued` falls with someone waiting, and when the gate shuts */
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

static inline const crewi_frame *crewi_frame_of_pool(const crewi_frame *frame, const crew_pool *pool)
{
    while (frame && frame->pool != pool)
        frame = frame->outer;
    return frame;
}

/* What belongs to the calling thread as long as it is in the pool is handed on from frame to frame. */
static inline void crewi_frame_enter(crewi_frame *frame, enum crewi_frame_kind kind, crew_pool *pool, crewi_task *task)
{
    frame->outer = crewi_frame_top();
    frame->pool = pool;
    frame->task = task;
    frame->part = NULL;
    frame->stop = &pool->stop;
    frame->kind = kind;
    frame->index = 0;
    const crewi_frame *below = crewi_frame_of_pool(frame->outer, pool);
    frame->local = below ? below->local : NULL;
    frame->worker = below ? below->worker : -1;
    frame->worker_state = below ? below->worker_state : NULL;
    frame->notes = 0;
    frame->is_on_stack = true;
    crewi_self_set(frame);
}

/* The calling worker's own, or NULL: not one of this pool. */
static inline struct crewi_local *crewi_local_here(const crew_pool *pool)
{
    const crewi_frame *frame = crewi_frame_of_pool(crewi_frame_top(), pool);
    return frame ? frame->local : NULL;
}

/* Relaxed throughout: only ever summed up. */
static inline void crewi_count_by(crew_pool *pool, struct crewi_local *local, enum crewi_counter what)
{
    if (local)
        crewi_atomic_u64_store_relaxed(&local->counts.of[what],
                                       crewi_atomic_u64_load_relaxed(&local->counts.of[what]) + 1);
    else
        (void)crewi_atomic_u64_fetch_add_relaxed(&crewi_stripe(pool)->of[what], 1);
}

static inline void crewi_count(crew_pool *pool, enum crewi_counter what)
{
    crewi_count_by(pool, crewi_local_here(pool), what);
}

/* The calling thread's own cache, if it serves the memory of this shard; else NULL. (The pool may be gone.) */
static inline crewi_cache *crewi_cache_here(const crewi_shard *shard)
{
    const crewi_frame *top = crewi_frame_top();
    bool serves = top && top->local && crewi_cells_of(top->local->cells.shard) == crewi_cells_of(shard);
    return serves ? &top->local->cells : NULL;
}

static inline crewi_cache *crewi_cache_of(struct crewi_local *local)
{
    return local ? &local->cells : NULL;
}

/* With what the caller has of its own, or NULL. */
static inline void *crewi_cell_new_by(crew_pool *pool, struct crewi_local *local, size_t size, crewi_shard **ret_shard)
{
    return crewi_cells_alloc(pool->cells, crewi_cache_of(local), local ? 0 : crewi_thread_hash(), size, ret_shard);
}

static inline void crewi_cell_free_by(crewi_shard *shard, struct crewi_local *local, void *cell, size_t size)
{
    crewi_cells_free(shard, crewi_cache_of(local), cell, size, false);
}

static inline void crewi_handle_count_by(crewi_shard *shard, struct crewi_local *local)
{
    crewi_cells_count_handle(shard, crewi_cache_of(local));
}

/* A cell from the calling thread; and giving one back. */
static inline void *crewi_cell_new(crew_pool *pool, size_t size, crewi_shard **ret_shard)
{
    crewi_cache *cache = crewi_cache_here(crewi_cells_shard(pool->cells));
    return crewi_cells_alloc(pool->cells, cache, crewi_thread_hash(), size, ret_shard);
}

static inline void crewi_cell_free(crewi_shard *shard, void *cell, size_t size)
{
    crewi_cells_free(shard, crewi_cache_here(shard), cell, size, false);
}

/* The same for one that was the user's handle till now. */
static inline void crewi_cell_free_handle(crewi_shard *shard, void *cell, size_t size)
{
    crewi_cells_free(shard, crewi_cache_here(shard), cell, size, true);
}

/* A task is the user's handle from now on; and is no longer. */
static inline void crewi_handle_count(crewi_shard *shard)
{
    crewi_cells_count_handle(shard, crewi_cache_here(shard));
}

static inline void crewi_handle_discount(crewi_shard *shard)
{
    crewi_cells_discount_handle(shard, crewi_cache_here(shard));
}

static inline bool crewi_pool_is_forked(const crew_pool *pool)
{
    return crewi_cells_generation(crewi_cells_shard(pool->cells)) != crewi_fork_generation();
}

static inline bool crewi_task_is_forked(const crewi_task *task)
{
    return crewi_cells_generation(task->shard) != crewi_fork_generation();
}

/* gate.c: the count of what is accepted and not ended, and who is let in. */
crew_status crewi_gate_enter(crew_pool *pool);
crew_status crewi_gate_enter_slowly(crew_pool *pool, struct crewi_local *local);
void crewi_gate_leave_slowly(crew_pool *pool, struct crewi_local *local);

enum { CREWI_CREDITS = 64 }; /* units of the gate that are taken in bulk; nobody keeps twice as many */

/* `local`: the caller's, or NULL. A credit counts, so the gate cannot be passed by the pool's end between the two looks. */
static inline crew_status crewi_gate_enter_by(crew_pool *pool, struct crewi_local *local)
{
    size_t credits = local ? crewi_atomic_size_load_relaxed(&local->counts.credits) : 0; /* relaxed: ours */
    if (credits == 0 || (crewi_atomic_u64_load(&pool->gate) & CREWI_GATE_SHUT))
        return crewi_gate_enter_slowly(pool, local);
    crewi_atomic_size_store_relaxed(&local->counts.credits, credits - 1);
    return CREW_OK;
}

static inline void crewi_gate_leave_by(crew_pool *pool, struct crewi_local *local)
{
    size_t credits = local ? crewi_atomic_size_load_relaxed(&local->counts.credits) : SIZE_MAX; /* relaxed: ours */
    if (credits < 2 * CREWI_CREDITS)
        crewi_atomic_size_store_relaxed(&local->counts.credits, credits + 1);
    else
        crewi_gate_leave_slowly(pool, local);
}
/* Somebody needs the count as it is: nobody but workers at work shall hold credits. */
static inline bool crewi_gate_is_exact(const crew_pool *pool)
{
    return crewi_atomic_u32_load(&pool->drain_waiters) > 0 || (crewi_atomic_u64_load(&pool->gate) & CREWI_GATE_SHUT);
}
/* A worker has nothing to do: what it took in bulk goes back. */
void crewi_gate_flush(crew_pool *pool, struct crewi_local *local);
void crewi_gate_enter_inside_by(crew_pool *pool, struct crewi_local *local);
void crewi_gate_enter_inside(crew_pool *pool); /* for what an entered task spawns as part of itself */
void crewi_gate_leave(crew_pool *pool);
void crewi_gate_shut(crew_pool *pool, uint64_t bit);
crew_status crewi_gate_wait_drained(crew_pool *pool, int64_t deadline_ns);
bool crewi_gate_is_ended(crew_pool *pool); /* nothing left, and nothing can come */
/* What a task that has not started is to end as: CREW_OK to run it, or TERMINATED, BROKEN. */
static inline crew_status crewi_gate_verdict(const crew_pool *pool)
{
    uint64_t gate = crewi_atomic_u64_load(&pool->gate);
    if (!(gate & (CREWI_GATE_TERMINATED | CREWI_GATE_BROKEN)))
        return CREW_OK;
    return gate & CREWI_GATE_TERMINATED ? CREW_TERMINATED : CREW_BROKEN;
}
/* queue_max: a place in the queue; and giving it back when claimed. */
crew_status crewi_place_take(crew_pool *pool, const crew_call *call, bool *ret_run_here);
void crewi_place_give(crew_pool *pool);
void crewi_task_leave_own_place(crewi_task *task); /* the same for a task's, unless somebody was faster */

static inline void crewi_task_leave_place(crewi_task *task)
{
    if (crewi_atomic_u32_load(&task->state) & CREWI_PLACE)
        crewi_task_leave_own_place(task);
}

/* pool.c */
void crewi_pool_break(crew_pool *pool, const crew_error *why);
/* Explains a refusal by the gate, by queue_max, or for want of memory. Returns `status`. */
crew_status crewi_pool_refuse(crew_pool *pool, crew_status status, crew_error *ret_error);
/* Hands an accepted task (one reference) to the backend, and sees to it that a pool that ends meanwhile does not forget it. */
void crewi_submit(crew_pool *pool, crewi_task *task, enum crewi_where where);
/* Ends everything that is queued, as crewi_gate_verdict says. */
void crewi_sweep(crew_pool *pool);

/* The second half alone, after the backend has it: terminate sets its bit, then sweeps; we push, then look at the bit: one of us ends
 * what is in the queue. */
static inline void crewi_submitted(crew_pool *pool)
{
    if (crewi_gate_verdict(pool) != CREW_OK)
        crewi_sweep(pool);
}

/* options.c: checks the caller's structs, and copies them out of whatever version they are. */
crew_status crewi_options_read(const crew_pool_options *given, crew_pool_options *ret_options);
/* Everything that the six calls and imap check alike.
 * *call is the caller's, or NULL; on CREW_OK it is one that can be read. */
crew_status crewi_call_check_slowly(const crew_pool *pool, const crew_job *job, const crew_call **call);
extern const crew_call crewi_call_defaults;

enum { CREWI_CALL_FLAGS = CREW_STOP_ON_ERROR | CREW_NO_WAIT | CREW_READY_AFTER_DONE };

static inline bool crewi_call_is_fine(const crew_pool *pool, const crew_job *job, const crew_call *call)
{
    return pool && !crewi_pool_is_forked(pool) && job && job->fn && !(call->flags & ~(unsigned)CREWI_CALL_FLAGS) &&
           (job->arg_size | job->result_size) <= SIZE_MAX / 8;
}

static inline crew_status crewi_call_check(const crew_pool *pool, const crew_job *job, const crew_call **call)
{
    const crew_call *given = *call ? *call : &crewi_call_defaults;
    if (given->struct_size != sizeof *given || !crewi_call_is_fine(pool, job, given))
        return crewi_call_check_slowly(pool, job, call);
    *call = given;
    return CREW_OK;
}

/* error.c */
void crewi_error_from_frame(crew_error *error, crew_status status, int code, const crewi_frame *frame,
                            const crew_job *job);
void crewi_text_copy(char *destination, size_t size, const char *text);
/* Fills *error (may be NULL) and returns `status`. */
crew_status crewi_refuse(crew_error *error, crew_status status, const char *format, ...) CREW_PRINTF(3, 4);

/* iterators.c: the pool takes no more work, and tells its iterators. `cut`: what is being pulled is not waited for. */
void crewi_iterators_close(crew_pool *pool, bool cut);

/* callbacks.c */
void crewi_lane_init(crew_pool *pool);

/* wait.c, graph.c */
void crewi_graph_reset(void);      /* in a fork's child */
void crewi_graph_look_again(void); /* some pool has lost a thread that those who wait may have counted on */
/* Cannot be refused while parts are still to end: arrays are borrowed; the others in a cycle are. */
enum crewi_wait_flags { CREWI_WAIT_MUST = 1 };
crew_status crewi_wait(crewi_task *target, int64_t deadline_ns, unsigned flags);
/* Runs something that `target` needs, where the caller may. False: nothing was run. */
bool crewi_help(crewi_task *target);
/* Only where the caller is a job of the target's pool: the quick half. */
static inline bool crewi_help_own(crewi_task *target)
{
    const crewi_frame *top = crewi_frame_top();
    bool is_own = top && top->kind == CREWI_FRAME_JOB && top->local &&
                  crewi_cells_of(top->local->cells.shard) == crewi_cells_of(target->shard);
    return is_own && crewi_stack_is_enough() && target->kind->help(target, true);
}
/* Whether a wait for new work of this pool, started here, could be served at all. */
bool crewi_wait_is_possible(crew_pool *pool);
/* The same for the callback of new work, at the bottom of some stack: not CREW_OK only where that is sure to be impossible. */
crew_status crewi_wait_for_callback_check(crew_pool *pool);
/* Sleeps on a word with everything on this thread suspended. */
bool crewi_park(crewi_atomic_u32 *word, uint32_t expected, int64_t deadline_ns);

#endif
