/* SPDX-License-Identifier: MIT */
/* A blocking call that its caller serves itself: the job runs on this thread, on a record on this stack that nobody else ever sees.
 * No queue, no claim, no memory, and nobody is woken. */
#include "here.h"
#include "backend.h"

enum { HERE_BYTES = 256 }; /* larger arguments and results go the usual way */

struct here {
    crewi_frame frame;
    unsigned depth;   /* of its local's nest */
    crewi_desk *desk; /* NULL: inside the pool already */
    const crew_job *job;
    const crew_call *call;
    crew_status status;
    _Alignas(max_align_t) unsigned char argument[HERE_BYTES];
    _Alignas(max_align_t) unsigned char value[HERE_BYTES];
};

static bool here_fits(const crew_pool *pool, const crew_job *job, const crew_call *call)
{
    return pool->options.kind == CREW_THREADS && pool->options.queue_max == 0 && !call->on_done && call->flags == 0 &&
           job->arg_size <= HERE_BYTES && job->result_size <= HERE_BYTES && crewi_stack_is_enough();
}

static bool here_is_allowed(const crew_pool *pool, const crewi_frame *inside)
{
    if (!inside)
        return pool->helping;
    return inside->kind == CREWI_FRAME_JOB || inside->kind == CREWI_FRAME_CALLBACK;
}

/* An outsider counts as a worker, and borrows what a worker has. */
static bool here_enter(struct here *here, crew_pool *pool, const crewi_frame *inside)
{
    here->desk = inside ? NULL : crewi_desk_enter(pool);
    here->frame.has_permit = here->desk != NULL;
    here->frame.local = inside ? inside->local : here->desk ? &here->desk->local : NULL;
    return inside || here->desk;
}

static void here_leave(struct here *here, crew_pool *pool)
{
    if (here->desk)
        crewi_desk_leave(here->desk, pool);
}

/* Leaving the gate is not the last touch of the pool, but whoever calls a pool's function keeps the pool. */
static void here_settle(struct here *here, crew_status status, int code)
{
    const crew_job *job = here->job;
    crew_pool *pool = here->frame.pool;
    if (job->drop_arg)
        job->drop_arg(job->arg_size > 0 ? here->argument : NULL, here->call->context);
    if (status != CREW_OK && here->call->error)
        crewi_error_from_frame(here->call->error, status, code, &here->frame, job);
    crewi_count_by(pool, here->frame.local, CREWI_ENDED);
    crewi_count_by(pool, here->frame.local, status == CREW_OK ? CREWI_SUCCEEDED : CREWI_FAILED);
    crewi_gate_leave_by(pool, here->frame.local);
    here_leave(here, pool);
    here->status = status;
}

static void here_body(void *opaque)
{
    struct here *here = opaque;
    const crew_job *job = here->job;
    int code = job->fn(job->arg_size > 0 ? here->argument : NULL, job->result_size > 0 ? here->value : NULL,
                       here->call->context);
    crewi_frame_leave(&here->frame);
    if (crewi_pool_is_forked(here->frame.pool))
        here->status = CREW_FORKED;
    else
        here_settle(here, code ? CREW_FAILED : CREW_OK, code);
}

static void here_lost(void *opaque)
{
    struct here *here = opaque;
    crewi_nest_lost(here->frame.local, here->depth);
    if (!here->frame.is_on_stack)
        return;
    crewi_frame_leave(&here->frame);
    if (!crewi_pool_is_forked(here->frame.pool))
        here_settle(here, CREW_WORKER_LOST, 0);
}

static void here_run(struct here *here, crew_pool *pool, const void *arg, void *ret_value)
{
    struct crewi_local *local = here->frame.local;
    here->depth = crewi_nest_depth(local);
    crewi_copy(here->argument, arg, here->job->arg_size);
    crewi_count_by(pool, local, CREWI_STARTED);
    crewi_frame_enter(&here->frame, CREWI_FRAME_JOB, pool, NULL);
    here->frame.local = local;
    crewi_thread_guard(here_body, here_lost, here);
    if (here->status == CREW_OK)
        crewi_copy(ret_value, here->value, here->job->result_size);
}

bool crewi_apply_here(crew_pool *pool, const crew_job *job, const void *arg, void *ret_value, const crew_call *call,
                      crew_status *ret_status)
{
    struct here here;
    const crewi_frame *inside = crewi_frame_inside(pool);
    if (!here_fits(pool, job, call) || !here_is_allowed(pool, inside) || !here_enter(&here, pool, inside))
        return false;
    here.job = job;
    here.call = call;
    here.status = crewi_gate_enter_by(pool, here.frame.local);
    if (here.status == CREW_OK) {
        here_run(&here, pool, arg, ret_value);
    } else {
        here_leave(&here, pool);
        (void)crewi_pool_refuse(pool, here.status, call->error);
    }
    *ret_status = here.status;
    return true;
}
