/* SPDX-License-Identifier: MIT */
/* Frames: which user code runs on this thread, and what it may ask about itself. */
#include <stdarg.h>
#include <stdio.h>

#include "backend.h"

crewi_frame *crewi_frame_top(void)
{
    return crewi_self_get();
}

void crewi_frame_leave(crewi_frame *frame)
{
    frame->is_on_stack = false;
    crewi_self_set(frame->outer);
}

void crewi_frame_return(crewi_frame *frame)
{
    frame->is_on_stack = true;
    crewi_self_set(frame);
}

crewi_frame *crewi_frame_inside(const crew_pool *pool)
{
    crewi_frame *frame = crewi_frame_top();
    while (frame && (frame->pool != pool || frame->kind == CREWI_FRAME_HELPER))
        frame = frame->outer;
    return frame;
}

/* Beneath a source, or what is known to wait, everything is suspended already. */
static bool frame_is_suspended(const crewi_frame *frame)
{
    return frame->kind == CREWI_FRAME_PULL || frame->kind == CREWI_FRAME_BLOCK;
}

void crewi_frames_suspend(void)
{
    for (crewi_frame *frame = crewi_frame_top(); frame && !frame_is_suspended(frame); frame = frame->outer)
        if (frame->has_permit)
            frame->pool->backend->suspend(frame->pool, frame);
}

void crewi_frames_resume(void)
{
    for (crewi_frame *frame = crewi_frame_top(); frame && !frame_is_suspended(frame); frame = frame->outer)
        if (frame->has_permit)
            frame->pool->backend->resume(frame->pool, frame);
}

void crewi_frames_forked(void)
{
    for (crewi_frame *frame = crewi_frame_top(); frame; frame = frame->outer)
        frame->notes |= CREWI_NOTE_FORKED;
}

/* ---- the nest ---- */

bool crewi_nest_make(struct crewi_local *local)
{
    const struct crewi_memory *memory = crewi_cells_memory(crewi_cells_of(local->cells.shard));
    local->nest = crewi_memory_get(memory, sizeof *local->nest, CREWI_CACHE_LINE);
    return local->nest != NULL;
}

void crewi_nest_lost(struct crewi_local *local, unsigned depth)
{
    for (; local && local->nest_depth > depth; local->nest_depth--)
        crewi_frame_lost(&local->nest->frames[local->nest_depth - 1]);
}

/* ---- running beneath a guard ---- */

struct guarded {
    crewi_frame frame;
    struct crewi_local *local;
    unsigned depth; /* of its nest */
    void (*body)(crewi_task *task, crewi_frame *frame);
    crewi_task *task;
};

static void guarded_body(void *opaque)
{
    struct guarded *guarded = opaque;
    guarded->body(guarded->task, &guarded->frame);
}

static void guarded_lost(void *opaque)
{
    struct guarded *guarded = opaque;
    crewi_nest_lost(guarded->local, guarded->depth);
    crewi_frame_lost(&guarded->frame);
}

void crewi_run_with_guard(void (*body)(crewi_task *task, crewi_frame *frame), crewi_task *task)
{
    struct guarded guarded; /* not cleared: the frame has room for a long message */
    guarded.local = crewi_local_here(crewi_task_pool(task));
    guarded.depth = crewi_nest_depth(guarded.local);
    guarded.body = body;
    guarded.task = task;
    guarded.frame.is_on_stack = guarded.frame.has_permit = false;
    crewi_thread_guard(guarded_body, guarded_lost, &guarded);
}

void crewi_frame_lost(crewi_frame *frame)
{
    if (!frame->is_on_stack)
        return;
    crewi_frame_leave(frame);
    if (!crewi_pool_is_forked(frame->pool))
        frame->task->kind->lost(frame->task, frame);
}

struct helper {
    crewi_frame frame; /* CREWI_FRAME_HELPER */
    void (*body)(crewi_task *task, crewi_frame *frame);
    crewi_task *task;
};

static void helper_end(struct helper *helper)
{
    crew_pool *pool = helper->frame.pool;
    crewi_self_set(helper->frame.outer);
    if (crewi_pool_is_forked(pool))
        return;
    if (helper->frame.has_permit)
        pool->backend->leave(pool, 0);
    crewi_cells_leave_pool(pool->cells);
}

static void helper_body(void *opaque)
{
    struct helper *helper = opaque;
    crewi_run_guarded(helper->body, helper->task);
    helper_end(helper);
}

static void helper_lost(void *opaque)
{
    helper_end(opaque);
}

bool crewi_run_as_helper(void (*body)(crewi_task *task, crewi_frame *frame), crewi_task *task, bool has_permit)
{
    struct helper helper = {.body = body, .task = task};
    crewi_frame_enter(&helper.frame, CREWI_FRAME_HELPER, crewi_task_pool(task), task);
    helper.frame.has_permit = has_permit;
    crewi_thread_guard(helper_body, helper_lost, &helper);
    return helper.frame.part != NULL;
}

struct visit {
    crewi_frame frame; /* CREWI_FRAME_HELPER */
    crewi_desk *desk;
    void (*body)(void *arg);
    void (*lost)(void *arg);
    void *arg;
};

static void visit_end(void *opaque)
{
    struct visit *visit = opaque;
    crew_pool *pool = visit->frame.pool;
    crewi_self_set(visit->frame.outer);
    if (crewi_pool_is_forked(pool))
        return;
    crewi_desk_leave(visit->desk, pool);
}

static void visit_lost(void *opaque)
{
    struct visit *visit = opaque;
    crewi_nest_lost(&visit->desk->local, 0);
    visit_end(visit);
    if (!crewi_pool_is_forked(visit->frame.pool))
        visit->lost(visit->arg);
}

static void visit_body(void *opaque)
{
    struct visit *visit = opaque;
    visit->body(visit->arg);
    visit_end(visit);
}

bool crewi_visit(crew_pool *pool, void (*body)(void *arg), void (*lost)(void *arg), void *arg)
{
    struct visit visit; /* not cleared: the frame has room for a long message */
    visit.desk = crewi_desk_enter(pool);
    if (!visit.desk)
        return false;
    visit.body = body;
    visit.lost = lost;
    visit.arg = arg;
    crewi_frame_enter(&visit.frame, CREWI_FRAME_HELPER, pool, NULL);
    visit.frame.local = &visit.desk->local;
    visit.frame.has_permit = true;
    crewi_thread_guard(visit_body, visit_lost, &visit);
    return true;
}

/* ---- what user code may ask ---- */

int crew_fail(int code, const char *format, ...)
{
    crewi_frame *frame = crewi_frame_top();
    while (frame && frame->kind == CREWI_FRAME_BLOCK)
        frame = frame->outer;
    if (frame && format) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(frame->message, sizeof frame->message, format, arguments);
        va_end(arguments);
        frame->notes |= CREWI_NOTE_MESSAGE;
    }
    return code ? code : -1;
}

int crew_should_stop(void)
{
    const crewi_frame *frame = crewi_frame_top();
    if (!frame)
        return 0;
    /* acquire: pairs with request_stop, cancel, terminate: what was written before the order to stop is seen */
    uint32_t own = crewi_atomic_u32_load_acquire(frame->stop);
    uint32_t pool = crewi_atomic_u32_load_acquire(&frame->pool->stop);
    return ((own | pool) & CREWI_STOP) != 0;
}

crew_pool *crew_current_pool(void)
{
    const crewi_frame *frame = crewi_frame_top();
    return frame ? frame->pool : NULL;
}

int crew_worker_index(void)
{
    const crewi_frame *frame = crewi_frame_top();
    return frame ? frame->worker : -1;
}

void *crew_worker_state(void)
{
    const crewi_frame *frame = crewi_frame_top();
    return frame ? frame->worker_state : NULL;
}
