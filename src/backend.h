/* SPDX-License-Identifier: MIT */
/* What a kind of worker must provide, and all that the meaning layer knows of it. */
#ifndef CREWI_BACKEND_H
#define CREWI_BACKEND_H

#include "core.h"

enum { CREWI_BACKEND_VERSION = 1 };

/* What a backend adds to crew_pool_info, and what the wait graph needs to know. */
struct crewi_backend_info {
    unsigned slots;    /* workers and spares */
    unsigned threads;  /* alive now */
    unsigned blocked;  /* alive and suspended */
    unsigned capacity; /* alive, or could still be started */
    uint64_t spare_failures;
    struct crewi_totals totals; /* what its workers have counted */
};

struct crewi_backend {
    unsigned version;
    const char *name;

    /* Makes pool->engine and starts what must be started. On failure everything is undone and *ret_error says why. */
    crew_status (*open)(crew_pool *pool, crew_error *ret_error);

    /* Something was pushed into a hatch. NULL: this backend takes nothing from there. */
    void (*hatch_pushed)(crew_pool *pool);

    /* Takes over one reference to `task`; will call kind->run or kind->end, then drop it. Cannot fail. */
    void (*submit)(crew_pool *pool, crewi_task *task, enum crewi_where where);

    /* Claims a task for the caller, whose `local` may be NULL; and takes its entry out of its queue, if that is easy: then it is
     * the caller's, claimed or not. */
    bool (*claim)(const struct crewi_local *local, crewi_task *task, bool *ret_has_entry);

    /* The same as submit with CREWI_NEXT, where the caller's `local` is known. NULL where hatch_pushed is. */
    void (*spawn)(crew_pool *pool, const struct crewi_local *local, crewi_task *task);

    /* An entry that was submitted as CREWI_OFFERED, once: the caller's again, as if it had never been submitted. False: it has gone on.
     * NULL where hatch_pushed is: nothing is submitted like that. */
    bool (*take_back)(crew_pool *pool, crewi_task *task);

    /* Some entry that was submitted has become dead. */
    void (*retract)(crew_pool *pool);

    /* An outside thread wants to execute a job; and has executed it. `desk`: the bit in pool->present of the desk that it wants with
     * that, and gives back, in the same step; or 0. False: it may not now, or that desk is taken. */
    bool (*enter)(crew_pool *pool, uint32_t desk);
    void (*leave)(crew_pool *pool, uint32_t desk);

    /* The thread of `frame` (which has_permit) stops executing for a while, and goes on. */
    void (*suspend)(crew_pool *pool, crewi_frame *frame);
    void (*resume)(crew_pool *pool, crewi_frame *frame);

    /* What is urgent has waited long: it may be run though all permits are out. Their holders may be blocked by whoever waits
     * for it. */
    void (*urge)(crew_pool *pool);

    /* Calls kind->end for every queued entry, as crewi_gate_verdict says. */
    void (*sweep)(crew_pool *pool);

    /* The gate is shut and has drained, or will never be entered again: idle workers shall see that. */
    void (*wake_all)(crew_pool *pool);

    /* Waits until every thread has done its last user code. False: the deadline passed. */
    bool (*wait_threads)(crew_pool *pool, int64_t deadline_ns);
    /* Takes the threads in, after that; one caller at a time. */
    void (*join)(crew_pool *pool);

    /* Frees the engine; in a fork's child, too, where no thread exists and no lock can be trusted. */
    void (*free)(crew_pool *pool);

    void (*query)(crew_pool *pool, struct crewi_backend_info *ret_info);
};

extern const struct crewi_backend crewi_backend_serial;
extern const struct crewi_backend crewi_backend_threads;

#endif
