/* SPDX-License-Identifier: MIT */
/* One job: crew_apply and crew_apply_async. The record holds argument and result behind the crew_result. */
#include "backend.h"
#include "here.h"
#include "result.h"

/* The argument follows the record, aligned for any type. */
enum {
    VALUE_ALIGN = _Alignof(max_align_t),
    ARGUMENT_OFFSET = (sizeof(crew_result) + VALUE_ALIGN - 1) / VALUE_ALIGN * VALUE_ALIGN
};

/* ---- the record ---- */

/* A type's alignment divides its size: so far the result must be moved, and no farther. */
static size_t result_offset(const crew_job *job)
{
    size_t below_align = ~job->result_size & (job->result_size - 1) & (VALUE_ALIGN - 1); /* the zeros at its end */
    return ARGUMENT_OFFSET + ((job->arg_size + below_align) & ~below_align);
}

static size_t record_size(const crew_job *job)
{
    return result_offset(job) + job->result_size;
}

static void *record_argument(crew_result *result)
{
    return result->job->arg_size > 0 ? (char *)result + ARGUMENT_OFFSET : NULL;
}

void *crewi_apply_value(const crew_result *result)
{
    return result->job->result_size > 0 ? (char *)(uintptr_t)result + result_offset(result->job) : NULL;
}

static CREWI_USUAL crew_result *record_new(crew_pool *pool, struct crewi_local *local, const crew_job *job,
                                           const void *arg, const crew_call *call, uint32_t state)
{
    crewi_shard *shard;
    crew_result *result = crewi_cell_new_by(pool, local, record_size(job), &shard);
    if (!result)
        return NULL;
    crewi_task_init(&result->task, &crewi_kind_apply, shard, state, 1);
    if (!crewi_result_init(result, pool, job, call)) {
        crewi_cell_free_by(shard, local, result, record_size(job));
        return NULL;
    }
    crewi_copy((char *)result + ARGUMENT_OFFSET, arg, job->arg_size);
    return result;
}

void crewi_apply_free_handle(crew_result *result)
{
    crewi_result_clear(result);
    crewi_cell_free_handle(result->task.shard, result, record_size(result->job));
}

void crewi_apply_free_by(crew_result *result, struct crewi_local *local)
{
    crewi_result_clear(result);
    crewi_cell_free_by(result->task.shard, local, result, record_size(result->job));
}

static void apply_free(crewi_task *task)
{
    crew_result *result = crewi_result_of(task);
    crewi_result_clear(result);
    crewi_cell_free(task->shard, result, record_size(result->job));
}

/* ---- running ---- */

static void apply_drop_argument(crew_result *result)
{
    if (result->job->drop_arg)
        result->job->drop_arg(record_argument(result), result->context);
}

void crewi_apply_end_claimed(crew_result *result, crew_status status, uint32_t party)
{
    crewi_task_leave_place(&result->task);
    apply_drop_argument(result);
    crewi_result_keep_pool_error(result, status);
    crewi_result_store(result, status, party);
}

static void apply_settle(crew_result *result, crew_status status, int code, const crewi_frame *frame, uint32_t party)
{
    apply_drop_argument(result);
    if (status != CREW_OK)
        crewi_result_keep_failure(result, status, code, frame);
    crewi_count_by(frame->pool, frame->local, CREWI_ENDED);
    if (status == CREW_OK && !result->telling)
        crewi_result_succeed(result, frame->local, party);
    else
        crewi_result_store(result, status, party);
}

/* Claimed by this thread: runs it, unless the pool has ended meanwhile. `entry`: the task, if its entry is lost with this frame. */
static void apply_run_claimed(crewi_task *task, crewi_frame *frame, uint32_t party, void *entry)
{
    crew_result *result = crewi_result_of(task);
    const crew_job *job = result->job;
    crew_pool *pool = crewi_task_pool(task);
    crew_status verdict = crewi_gate_verdict(pool);
    if (verdict != CREW_OK) {
        crewi_apply_end_claimed(result, verdict, party);
        return;
    }
    crewi_task_leave_place(task);
    crewi_frame_enter(frame, CREWI_FRAME_JOB, pool, task);
    frame->stop = &task->state;
    frame->part = entry;
    crewi_count_by(pool, frame->local, CREWI_STARTED);
    int code = job->fn(record_argument(result), crewi_apply_value(result), result->context);
    crewi_frame_leave(frame);
    if (!crewi_task_is_forked(task)) /* in a fork's child the result belongs to the parent */
        apply_settle(result, code ? CREW_FAILED : CREW_OK, code, frame, party);
}

static bool apply_run(crewi_task *task, crewi_frame *frame)
{
    if (!crewi_task_claim(task))
        return false;
    apply_run_claimed(task, frame, CREWI_ENTRY, NULL); /* should its thread be lost, the backend has the entry */
    return true;
}

static void apply_lost(crewi_task *task, crewi_frame *frame)
{
    apply_settle(crewi_result_of(task), CREW_WORKER_LOST, 0, frame, frame->part ? CREWI_ENTRY : 0);
}

static bool apply_end(crewi_task *task, crew_status status)
{
    if (!crewi_task_claim(task))
        return false;
    crewi_apply_end_claimed(crewi_result_of(task), status, CREWI_ENTRY);
    return true;
}

static bool apply_is_dead(const crewi_task *task)
{
    return crewi_phase(crewi_atomic_u32_load(&task->state)) != CREWI_PENDING;
}

/* ---- as the target of a wait ---- */

static bool apply_is_ready(crewi_task *task)
{
    return crewi_is_ready(crewi_atomic_u32_load(&task->state));
}

static void apply_help_body(crewi_task *task, crewi_frame *frame)
{
    apply_run_claimed(task, frame, 0, NULL);
}

/* The same with the entry in hand. */
static void apply_take_body(crewi_task *task, crewi_frame *frame)
{
    apply_run_claimed(task, frame, CREWI_ENTRY, task);
}

static bool apply_help(crewi_task *task, bool any)
{
    (void)any;
    crew_pool *pool = crewi_task_pool(task);
    bool has_entry;
    if (!pool->backend->claim(crewi_local_here(pool), task, &has_entry)) {
        if (has_entry)
            crewi_task_drop_entry(task);
        return false;
    }
    crewi_run_guarded(has_entry ? apply_take_body : apply_help_body, task);
    if (!has_entry && !crewi_pool_is_forked(pool))
        pool->backend->retract(pool); /* its queue entry is dead now */
    return true;
}

static bool apply_requires(crewi_task *task, const crewi_frame *frame)
{
    uint32_t state = crewi_atomic_u32_load(&task->state);
    if (crewi_phase(state) == CREWI_STORED) /* and not ready: what is missing is its callback */
        return frame->kind == CREWI_FRAME_CALLBACK && frame->pool == crewi_task_pool(task);
    return frame->kind == CREWI_FRAME_JOB && frame->task == task;
}

/* A stored result that is not ready needs a thread for its callback, unless the lane is taken. */
static struct crewi_view apply_look(crewi_task *task)
{
    uint32_t state = crewi_atomic_u32_load(&task->state), phase = crewi_phase(state);
    return (struct crewi_view){
        .is_ready = crewi_is_ready(state),
        .needs_callback = phase == CREWI_STORED,
        .has_unstarted = phase == CREWI_PENDING || phase == CREWI_STORED,
        .running = phase == CREWI_RUNNING,
    };
}

const struct crewi_task_kind crewi_kind_apply = {
    .run = apply_run,
    .end = apply_end,
    .is_dead = apply_is_dead,
    .lost = apply_lost,
    .free = apply_free,
    .is_ready = apply_is_ready,
    .help = apply_help,
    .requires = apply_requires,
    .look = apply_look,
};

/* ---- the calls ---- */

static crew_status apply_check(const crew_pool *pool, const crew_job *job, const void *arg, const crew_call **call)
{
    crew_status status = crewi_call_check(pool, job, call);
    if (status == CREW_OK && !arg && job->arg_size > 0)
        return crewi_refuse((*call)->error, CREW_INVALID, "arg is NULL, the job wants %zu bytes", job->arg_size);
    return status;
}

static CREWI_USUAL crew_status apply_make(crew_pool *pool, struct crewi_local *local, const crew_job *job,
                                          const void *arg, const crew_call *call, uint32_t state,
                                          crew_result **ret_result)
{
    crew_result *result = record_new(pool, local, job, arg, call, state);
    crew_status status = result ? crewi_gate_enter_by(pool, local) : CREW_NO_MEMORY;
    if (status == CREW_OK) {
        *ret_result = result;
        if (state & CREWI_HANDLE)
            crewi_handle_count_by(result->task.shard, local);
    } else if (result) {
        apply_free(&result->task);
    }
    return status;
}

static uint32_t apply_state(const crew_call *call, bool with_handle, bool has_place)
{
    uint32_t kind = with_handle ? CREWI_ENTRY : CREWI_ENTRY | CREWI_DETACHED;
    return crewi_result_state(call, with_handle, has_place) | kind;
}

/* Lets one job in; on success the caller has to submit it. */
static CREWI_RARE crew_status apply_accept(crew_pool *pool, const crew_job *job, const void *arg, const crew_call *call,
                                           bool with_handle, crew_result **ret_result, bool *ret_run_here)
{
    bool is_limited = pool->options.queue_max > 0;
    *ret_run_here = false;
    crew_status status = is_limited ? crewi_place_take(pool, call, ret_run_here) : CREW_OK;
    if (status != CREW_OK)
        return crewi_pool_refuse(pool, status, call->error);
    bool has_place = is_limited && !*ret_run_here;
    status =
        apply_make(pool, crewi_local_here(pool), job, arg, call, apply_state(call, with_handle, has_place), ret_result);
    if (status == CREW_OK)
        return CREW_OK;
    if (has_place)
        crewi_place_give(pool);
    return crewi_pool_refuse(pool, status, call->error);
}

/* The same for an outsider, and what it submits is handed over at once. */
static crew_status apply_hand_in(crew_pool *pool, const crew_job *job, const void *arg, const crew_call *call,
                                 crew_result **ret_result)
{
    crew_result *result;
    crewi_hatch *hatch = crewi_hatch_lock(pool);
    crew_status status =
        apply_make(pool, &hatch->local, job, arg, call, apply_state(call, ret_result != NULL, false), &result);
    if (status != CREW_OK) {
        crewi_hatch_unlock(pool, hatch);
        return crewi_pool_refuse(pool, status, call->error);
    }
    if (ret_result)
        *ret_result = result; /* before the job can start */
    if (crewi_hatch_push_and_unlock(pool, hatch, &result->task)) {
        pool->backend->hatch_pushed(pool);
        crewi_submitted(pool);
    } else {
        crewi_submit(pool, &result->task, CREWI_BEHIND);
    }
    return CREW_OK;
}

/* The same for a job of this pool. */
static crew_status apply_spawn(crew_pool *pool, struct crewi_local *local, const crew_job *job, const void *arg,
                               const crew_call *call, crew_result **ret_result)
{
    crew_result *result;
    crew_status status = apply_make(pool, local, job, arg, call, apply_state(call, ret_result != NULL, false), &result);
    if (status != CREW_OK)
        return crewi_pool_refuse(pool, status, call->error);
    if (ret_result)
        *ret_result = result;
    pool->backend->spawn(pool, local, &result->task);
    crewi_submitted(pool);
    return CREW_OK;
}

static void apply_run_here(crewi_task *task, crewi_frame *frame)
{
    if (crewi_task_claim(task))
        apply_take_body(task, frame);
    else
        crewi_task_drop_entry(task);
}

static void apply_submit(crew_pool *pool, crew_result *result, bool run_here)
{
    if (!run_here) {
        crewi_submit(pool, &result->task, CREWI_NEXT);
    } else {
        (void)crewi_cells_enter_pool(pool->cells); /* the caller keeps the pool */
        (void)crewi_run_as_helper(apply_run_here, &result->task, false);
    }
}

crew_status crew_apply_async(crew_pool *pool, const crew_job *job, const void *arg, crew_result **ret_result,
                             const crew_call *call)
{
    crew_result *result;
    bool run_here;
    crew_status status = apply_check(pool, job, arg, &call);
    if (status != CREW_OK)
        return status;
    bool is_usual = pool->options.queue_max == 0 && pool->backend->hatch_pushed;
    struct crewi_local *local = crewi_local_here(pool);
    if (is_usual)
        return local ? apply_spawn(pool, local, job, arg, call, ret_result)
                     : apply_hand_in(pool, job, arg, call, ret_result);
    status = apply_accept(pool, job, arg, call, ret_result != NULL, &result, &run_here);
    if (status != CREW_OK)
        return status;
    if (ret_result)
        *ret_result = result; /* before the job can start */
    apply_submit(pool, result, run_here);
    return CREW_OK;
}

/* The wait was refused: takes the job back as if it had never been accepted. False: it has started. */
static bool apply_withdraw(crew_pool *pool, crew_result *result)
{
    if (!crewi_task_claim(&result->task))
        return false;
    crewi_task_leave_place(&result->task);
    (void)crewi_atomic_u32_fetch_add(&result->task.state,
                                     CREWI_DONE - CREWI_RUNNING + (CREW_CANCELLED << CREWI_STATUS_SHIFT));
    pool->backend->retract(pool);
    crewi_gate_leave(pool);
    return true;
}

static crew_status apply_outcome(crew_result *result, void *ret_value, crew_error *error)
{
    crew_status status = crew_result_get(result, ret_value, CREW_NOW);
    if (status != CREW_OK && error)
        crewi_result_error(result, error);
    return status;
}

/* It has run, but nobody can call the callback after which it would be ready. False: that must see the value before. */
static bool apply_forgo_callback(crew_result *result)
{
    if (result->job->drop_result && crewi_outcome(crewi_atomic_u32_load(&result->task.state)) == CREW_OK)
        return false;
    (void)crewi_atomic_u32_fetch_and(&result->task.state, ~(uint32_t)CREWI_AFTER_DONE);
    return true;
}

/* It has started, and so cannot be refused any more. */
static crew_status apply_wait_out(crew_result *result)
{
    crew_status status = crewi_wait(&result->task, CREWI_NEVER, CREWI_WAIT_MUST);
    bool is_refused = status == CREW_DEADLOCK || status == CREW_TOO_DEEP;
    return is_refused && apply_forgo_callback(result) ? CREW_OK : status;
}

struct apply_wait {
    crew_pool *pool;
    crew_result *result;
    bool run_here;
    bool has_entry; /* which no queue has yet */
    crew_status status;
};

static void apply_wait_body(void *opaque)
{
    struct apply_wait *wait = opaque;
    crewi_task *task = &wait->result->task;
    wait->has_entry = wait->pool->options.kind == CREW_THREADS && !wait->run_here;
    bool has_run = wait->has_entry && crewi_help(task); /* wakes nobody */
    wait->has_entry = false;
    if (has_run)
        crewi_task_drop_entry(task);
    else
        apply_submit(wait->pool, wait->result, wait->run_here);
    wait->status = crewi_wait(task, CREWI_NEVER, 0);
    if (wait->status != CREW_OK && !apply_withdraw(wait->pool, wait->result))
        wait->status = apply_wait_out(wait->result);
}

/* What was run here has ended this thread. */
static void apply_wait_lost(void *opaque)
{
    struct apply_wait *wait = opaque;
    if (crewi_task_is_forked(&wait->result->task))
        return;
    if (wait->has_entry)
        crewi_task_drop_entry(&wait->result->task);
    crew_result_destroy(wait->result);
}

crew_status crew_apply(crew_pool *pool, const crew_job *job, const void *arg, void *ret_value, const crew_call *call)
{
    crew_result *result;
    bool run_here;
    crew_status status = apply_check(pool, job, arg, &call);
    if (status != CREW_OK)
        return status;
    if (!ret_value && job->result_size > 0)
        return crewi_refuse(call->error, CREW_INVALID, "ret_value is NULL, the job has a result");
    if (!crewi_wait_is_possible(pool))
        return crewi_refuse(call->error, CREW_TOO_DEEP, "no stack is left to run it on, and no thread to stand in");
    if (crewi_apply_here(pool, job, arg, ret_value, call, &status))
        return status;
    status = crewi_result_check_callback(pool, call, job->drop_result != NULL);
    if (status != CREW_OK)
        return status;
    status = apply_accept(pool, job, arg, call, true, &result, &run_here);
    if (status != CREW_OK)
        return status;
    struct apply_wait wait = {.pool = pool, .result = result, .run_here = run_here};
    crewi_thread_guard(apply_wait_body, apply_wait_lost, &wait);
    status = wait.status;
    if (status == CREW_OK)
        status = apply_outcome(result, ret_value, call->error);
    else
        (void)crewi_refuse(call->error, status, "the wait for it could not be served");
    crew_result_destroy(result);
    return status;
}
