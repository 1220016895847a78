/* SPDX-License-Identifier: MIT */
/* The threads backend's own structures. README.md has the protocols whose steps the code names [S1], [P2], … */
#ifndef CREWI_THREADS_H
#define CREWI_THREADS_H

#include "../backend.h"
#include "deque.h"

/* crewi_slot.wake: what a sleeping worker is woken for. Written under the engine's lock, read by the sleeper. */
enum {
    CREWI_ASLEEP = 0,
    CREWI_GRANTED = 1,  /* it has a permit again, and counts as a searcher */
    CREWI_DISMISSED = 2 /* the pool has ended */
};

/* One worker or spare: a place that a thread fills. Its index is what jobs see. */
typedef struct crewi_slot {
    crew_pool *pool;
    struct crewi_engine *engine;
    unsigned index;
    struct crewi_local local; /* the thread's own; its counts are read by queries */
    /* the thread's own */
    crewi_frame base;    /* CREWI_FRAME_WORKER, at the bottom */
    crewi_frame frame;   /* of the task it runs at the bottom; here, since `lost` must find it */
    crewi_task *current; /* the entry it runs */
    bool is_initialised; /* worker_init has succeeded: worker_exit is due */
    bool is_exiting;     /* worker_exit has been called, or is being */
    bool is_searching;   /* counted in engine->searchers */
    bool is_in_run;      /* worker_run(…, 1) was called last */
    bool has_run;        /* a task, since it woke up */
    bool is_in_reserve;  /* its thread has found no work and has not been woken yet */
    unsigned
        dozes_left; /* how often it will look by itself before it sleeps until woken; counted in dozers while > 0 */
    int64_t idle_since_ns, spin_ns; /* when it ran out of work; how long to look around before it sleeps */
    uint32_t ticks;                 /* tasks looked for */
    unsigned fetch_next;            /* which hatch is next */
    uint64_t random;
    /* written by whoever has reserved the index, before the thread starts; then the thread's own, and in the end join's */
    bool is_arriving; /* its thread has not parked yet */
    bool has_thread;  /* `thread` is to be joined */
    crewi_thread thread, predecessor;
    bool has_predecessor; /* which the new thread joins */
    /* guarded by engine->lock */
    struct crewi_slot *idle_next;
    bool is_idle;
    crewi_atomic_u32 wake;
    /* anyone's */
    crewi_atomic_ptr held; /* what it will run once its late initializer has; whoever takes it out has it */
    crewi_deque deque;     /* what its jobs have submitted */
    crewi_deque
        inbox; /* what it took from the injector at once; taken out at the top by all, so the oldest comes first */
} crewi_slot;

/* A job that wants to go on after a wait, while all permits are taken. On its own stack; guarded by engine->lock. */
typedef struct crewi_resumer {
    struct crewi_resumer *next;
    crewi_atomic_u32 is_granted;
} crewi_resumer;

/* pool->present:
 *   bits 0-22  permits out: threads that may execute; may exceed `workers` for a while, see crewi_threads_resume
 *   bits 23-30 desks, see core.h
 *   bit  31    WANTED: jobs wait to go on (`resumers`); set and cleared under the lock. New work gets none meanwhile */
#define CREWI_PERMIT_WANTED (UINT32_C(1) << 31)

typedef struct crewi_engine {
    crew_pool *pool;
    unsigned workers;   /* permits: how many threads may execute at once */
    unsigned slots_max; /* workers and spares */
    /* Half of the CPUs: threads that execute or look around, before nobody else may look around; 0: nobody ever. And as many may be
     * arriving when one more is started for work that waits. */
    unsigned spinners_max;
    crewi_queue injector, urgent;
    crewi_atomic_ptr offered;        /* a task that its submitter may take back, or NULL */
    crewi_deque guests[CREWI_DESKS]; /* what the jobs of outside helpers submit; owned by who has the desk */
    crewi_atomic_u32 guests_used;    /* bit i: guests[i] was used some time */
    crewi_atomic_size dead;          /* entries that died in some queue since the last compaction */
    _Alignas(CREWI_CACHE_LINE) crewi_atomic_u32 idle_count; /* written under lock; read by submit without it */
    crewi_atomic_u32 searchers;                             /* awake workers that have not found work yet */
    crewi_atomic_u32 dozers;     /* 0 or 1: a worker on the list of sleepers that looks by itself now and then */
    crewi_atomic_u32 is_stirred; /* somebody has left work to the dozer */
    crewi_atomic_u32 is_helped;  /* an outsider has executed */
    crewi_atomic_u32 is_short;   /* a thread could not be started; written under lock */
    crewi_atomic_u32 arrivals;   /* epoch: +1 when create, or join, has nobody left to wait for */
    crewi_lock lock;             /* guards all below, and the slots' fields that say so */
    crewi_slot *idle;            /* the last to fall asleep first */
    crewi_resumer *resumers, **resumers_end;
    unsigned alive;    /* threads started and not ended */
    unsigned arriving; /* of these, not yet at their first park */
    unsigned suspended;
    unsigned initialised;   /* threads that got through worker_init (or have none to) */
    bool is_open;           /* create waits for no initializer: there is none to wait for, or all have come to an end */
    bool is_urged;          /* the next worker that looks for work before it sleeps may run it beyond the permits */
    bool cannot_start;      /* the last start of a thread failed */
    int64_t start_again_ns; /* is_short: when to try again */
    bool cannot_init;       /* the last initialisation of one failed */
    bool has_init_failure;
    crew_error init_failure; /* the first */
    uint64_t spare_failures;
    bool *is_taken;              /* slots_max: a thread is in this slot, or about to be */
    crewi_atomic_u32 slots_used; /* slots[0 … slots_used - 1] may be there */
    crewi_atomic_ptr slots[];    /* crewi_slot, or NULL; set once */
} crewi_engine;

static inline crewi_engine *crewi_engine_of(const crew_pool *pool)
{
    return pool->engine;
}

/* worker.c */
void crewi_worker_main(void *slot);
bool crewi_engine_has_work(const crewi_engine *engine);
/* Tells worker_run, where there is one, that a run of jobs begins or ends here. */
void crewi_worker_in_run(crewi_slot *slot, bool running);

/* permit.c */
bool crewi_permit_try(crewi_engine *engine);
bool crewi_permit_try_with_desk(crewi_engine *engine, uint32_t desk); /* both, or none */
void crewi_permit_take(crewi_engine *engine);                         /* beyond the limit, if need be */
void crewi_permit_put(crewi_engine *engine);                          /* the caller looks for work itself */
void crewi_permit_leave(crewi_engine *engine, uint32_t desk);         /* looks for work if none was left [rule R] */
void crewi_permit_release(crewi_engine *engine);                      /* looks in any case */
unsigned crewi_permits_out(const crewi_engine *engine);
bool crewi_permit_is_wanted(const crewi_engine *engine); /* by somebody else than new work, or there are too many */
void crewi_threads_suspend(crew_pool *pool, crewi_frame *frame);
void crewi_threads_resume(crew_pool *pool, crewi_frame *frame);

/* park.c: sleeping and waking */
void crewi_wake_one(crewi_engine *engine);
void crewi_work_arrived(crewi_engine *engine); /* [S2] */
bool crewi_dozer_stir(crewi_engine *engine);   /* true: somebody dozes, and will look in a moment */
bool crewi_park_worker(crewi_slot *slot);      /* false: the pool has ended */
bool crewi_park_arrived(crewi_slot *slot);     /* the same for the first time */
void crewi_found_work(crewi_slot *slot);
void crewi_threads_urge(crew_pool *pool);
void crewi_threads_wake_all(crew_pool *pool);

/* threads.c */
/* Sees to it that whoever releases a permit, or submits, finds a thread to wake: only workers can start one. */
void crewi_engine_ensure_reserve(crewi_engine *engine);
/* The same by a worker that begins to run something; where more work waits, it starts two. */
void crewi_engine_grow(crewi_engine *engine);
/* The same by a worker that goes on to the next task, where a thread could not be started before. */
void crewi_engine_start_again(crewi_engine *engine);
/* The same for work that must not wait for a permit. */
void crewi_engine_ensure_sleeper(crewi_engine *engine);
/* Create and join look again. */
void crewi_engine_tell(crewi_engine *engine);

#endif
