/* SPDX-License-Identifier: MIT */
/* A frame: one piece of user code on the stack of one thread, and what it may ask about itself. */
#ifndef CREWI_FRAME_H
#define CREWI_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/platform.h"
#include "pool.h"
#include "task.h"

enum crewi_frame_kind {
    CREWI_FRAME_WORKER,   /* the bottom of a worker's stack: no user code, but the thread belongs to the pool */
    CREWI_FRAME_HELPER,   /* an outside thread begins to run work of the pool */
    CREWI_FRAME_JOB,      /* a job; `task` is the applied job, the map, or the iterator; `index` the item */
    CREWI_FRAME_CALLBACK, /* on_done or on_unhandled; `task` is the lane, `part` the result */
    CREWI_FRAME_PULL,     /* a source's pull; `task` is the iterator */
    CREWI_FRAME_BLOCK,    /* inside crew_block; `task` is that of the frame beneath */
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

/* The calling worker's own, or NULL: not one of this pool. */
static inline struct crewi_local *crewi_local_here(const crew_pool *pool)
{
    const crewi_frame *frame = crewi_frame_of_pool(crewi_frame_top(), pool);
    return frame ? frame->local : NULL;
}

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

/* Runs body(task, frame) with a frame of its own, beneath a guard of its own, so that it is settled should its thread be lost. */
void crewi_run_with_guard(void (*body)(crewi_task *task, crewi_frame *frame), crewi_task *task);

/* The same in the nest, if it is straight on top of a job of the same pool, or of a visitor to it. */
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

/* The same as an outside helper, which executes with the permit of backend->enter, or (FULL_RUNS) without. True: `body` has set the
 * `part` of the helper's frame, the top one. */
bool crewi_run_as_helper(void (*body)(crewi_task *task, crewi_frame *frame), crewi_task *task, bool has_permit);
/* Runs body(arg) on an outside thread as one that executes, with a permit and a desk; if that thread is lost, lost(arg) when it has given
 * these back. False: not now. The caller keeps the pool. */
bool crewi_visit(crew_pool *pool, void (*body)(void *arg), void (*lost)(void *arg), void *arg);
/* On the way out of a lost thread: settles `frame` if user code was in it. */
void crewi_frame_lost(crewi_frame *frame);

#endif
