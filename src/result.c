/* SPDX-License-Identifier: MIT */
/* Results: how an outcome becomes known, and the handle's side of it. */
#include "result.h"

#include "backend.h"

bool crewi_result_init_telling(crew_result *result, crew_pool *pool, const crew_call *call)
{
    crewi_shard *shard;
    struct crewi_telling *telling = crewi_cell_new(pool, sizeof *telling, &shard);
    if (!telling)
        return false;
    *telling = (struct crewi_telling){.result = result, .on_done = call->on_done, .user = call->user, .shard = shard};
    result->telling = telling;
    return true;
}

void crewi_result_keep_error(crew_result *result, const crew_error *error)
{
    crewi_failure_keep(&result->failure, crewi_cells_of(result->task.shard), error);
}

void crewi_result_keep_failure(crew_result *result, crew_status status, int code, const crewi_frame *frame)
{
    crew_error error;
    crewi_error_from_frame(&error, status, code, frame, result->job);
    crewi_result_keep_error(result, &error);
}

void crewi_result_keep_pool_error(crew_result *result, crew_status status)
{
    crew_error error;
    if (status != CREW_BROKEN)
        return;
    (void)crewi_pool_refuse(crewi_task_pool(&result->task), status, &error);
    crewi_text_copy(error.job, sizeof error.job, result->job->name);
    crewi_result_keep_error(result, &error);
}

void crewi_result_drop_error(crew_result *result)
{
    crewi_failure_drop(&result->failure);
}

void crewi_result_error(const crew_result *result, crew_error *ret_error)
{
    crew_status status = crewi_outcome(crewi_atomic_u32_load(&result->task.state));
    size_t index = result->task.kind == &crewi_kind_map ? crewi_map_lowest(result) : 0;
    crewi_failure_get(&result->failure, status, index, result->job, ret_error);
}

/* ---- the ending side ---- */

/* Moves the phase on, sets `bits`, clears `party`, and wakes who slept for it. Everything before happens before ready is seen: the
 * CAS releases, readers of the state acquire. Unless a party is left after DONE that is the caller's, the record may be gone
 * afterwards. Returns the new state. */
static uint32_t result_publish(crew_result *result, uint32_t phase, uint32_t bits, uint32_t party)
{
    crewi_atomic_u32 *word = &result->task.state;
    uint32_t state = crewi_atomic_u32_load(word), next;
    do {
        if (crewi_phase(state) >= phase)
            return state; /* the lane was faster */
        next = ((state & ~(uint32_t)CREWI_PHASE) | phase | bits) & ~party;
        if (crewi_is_ready(next))
            next &= ~(uint32_t)CREWI_WAITERS;
    } while (!crewi_atomic_u32_cas(word, &state, next));
    if (crewi_is_ready(next) && (state & CREWI_WAITERS))
        crewi_futex_wake_all(word);
    else if (state & CREWI_WAITERS)
        crewi_task_poke(&result->task); /* what the sleepers wait for is now the lane: they may be in its way */
    return next;
}

/* A failure that nobody would see. */
static bool result_is_unhandled(uint32_t state, crew_status status)
{
    bool is_a_failure = status == CREW_FAILED || status == CREW_WORKER_LOST || status == CREW_BROKEN;
    return is_a_failure && !(state & CREWI_HANDLE);
}

/* A callback reads the value in place: no get may move it away before. */
static uint32_t result_outcome_bits(const crew_result *result, crew_status status)
{
    bool is_moved = result->task.kind == &crewi_kind_apply && result->job->drop_result;
    uint32_t after_done =
        status == CREW_OK && result->telling && result->telling->on_done && is_moved ? (uint32_t)CREWI_AFTER_DONE : 0;
    return (uint32_t)status << CREWI_STATUS_SHIFT | after_done;
}

/* Of the end (DONE) and of the handle's end, whichever is later: one of the two sees the other's bit. */
static inline void result_drop_value(crew_result *result, uint32_t state)
{
    if (!result->job->drop_result)
        return;
    bool is_held = result->task.kind == &crewi_kind_apply && crewi_outcome(state) == CREW_OK && !(state & CREWI_TAKEN);
    if (is_held)
        result->job->drop_result(crewi_apply_value(result), result->context);
}

/* The value goes before the gate: nothing may be dropped after the pool said that all is over. */
static void result_finish(crew_result *result, uint32_t bits, uint32_t party, struct crewi_local *local)
{
    crew_pool *pool = crewi_task_pool(&result->task);
    uint32_t state = crewi_atomic_u32_load(&result->task.state);
    if ((state & CREWI_DETACHED) && party) { /* nobody else can know of it any more: no step of the state is needed */
        result_drop_value(result, state | bits);
        crewi_apply_free_by(result, local);
        crewi_gate_leave_by(pool, local);
        return;
    }
    uint32_t usual = CREWI_RUNNING | CREWI_HANDLE | party;
    if (bits == 0 && state == usual && crewi_atomic_u32_cas(&result->task.state, &state, CREWI_HANDLE | CREWI_DONE)) {
        crewi_gate_leave_by(pool, local);
        return;
    }
    crewi_task_ref(&result->task); /* whoever has another party may give it up from here on */
    state = result_publish(result, CREWI_DONE, bits, party);
    if (!(state & CREWI_HANDLE)) {
        result_drop_value(result, state);
        if (!crewi_task_has_party(state))
            crewi_task_unref(&result->task);
    }
    crewi_task_unref(&result->task);
    crewi_gate_leave_by(pool, local);
}

void crewi_result_finish(crew_result *result)
{
    result_finish(result, 0, 0, crewi_local_here(crewi_task_pool(&result->task)));
}

void crewi_result_succeed(crew_result *result, struct crewi_local *local, uint32_t party)
{
    crewi_count_by(crewi_task_pool(&result->task), local, CREWI_SUCCEEDED);
    result_finish(result, CREW_OK, party, local);
}

/* The lane may be through with the result before this has returned. */
static void result_tell(crew_result *result, uint32_t bits)
{
    crew_pool *pool = crewi_task_pool(&result->task);
    (void)crewi_atomic_u32_fetch_or(&result->task.state, bits); /* the lane reads it as soon as it has the result */
    crewi_lane_queue(result); /* before it is seen, so that results enter in the order in which they are seen */
    (void)result_publish(result, CREWI_STORED, 0, 0);
    crewi_lane_announce(pool);
}

void crewi_result_store(crew_result *result, crew_status status, uint32_t party)
{
    crew_pool *pool = crewi_task_pool(&result->task);
    struct crewi_local *local = crewi_local_here(pool);
    crewi_count_by(pool, local, status == CREW_OK ? CREWI_SUCCEEDED : CREWI_FAILED);
    uint32_t state = crewi_atomic_u32_load(&result->task.state), bits = result_outcome_bits(result, status);
    if (!result->telling || (!result->telling->on_done && !result_is_unhandled(state, status))) {
        result_finish(result, bits, party, local);
        return;
    }
    result_tell(result, bits);
    if (party)
        (void)crewi_task_give_up(&result->task, party);
}

void crewi_result_store_alone(crew_result *result, crew_status status)
{
    if (result->telling) {
        crewi_result_store(result, status, 0);
        return;
    }
    crew_pool *pool = crewi_task_pool(&result->task);
    struct crewi_local *local = crewi_local_here(pool);
    crewi_count_by(pool, local, status == CREW_OK ? CREWI_SUCCEEDED : CREWI_FAILED);
    /* relaxed, both: it is the caller's alone */
    uint32_t state = crewi_atomic_u32_load_relaxed(&result->task.state) & ~(uint32_t)CREWI_PHASE;
    crewi_atomic_u32_store_relaxed(&result->task.state, state | CREWI_DONE | result_outcome_bits(result, status));
    crewi_gate_leave_by(pool, local);
}

/* ---- looking ---- */

const void *crewi_result_value(const crew_result *result)
{
    if (result->job->result_size == 0)
        return NULL;
    return result->task.kind == &crewi_kind_map ? crewi_map_values(result) : crewi_apply_value(result);
}

static inline crew_status result_status(const crew_result *result)
{
    if (crewi_task_is_forked(&result->task))
        return CREW_FORKED;
    /* acquire: pairs with result_publish */
    uint32_t state = crewi_atomic_u32_load_acquire(&result->task.state);
    return crewi_is_ready(state) ? crewi_outcome(state) : CREW_BUSY;
}

crew_status crew_result_status(const crew_result *result)
{
    return result ? result_status(result) : CREW_INVALID;
}

crew_status crew_result_error(const crew_result *result, crew_error *ret_error)
{
    if (!result || !ret_error)
        return CREW_INVALID;
    crew_status status = crew_result_status(result);
    if (!CREW_IS_OUTCOME(status))
        return status;
    if (status == CREW_OK)
        return CREW_INVALID;
    crewi_result_error(result, ret_error);
    return CREW_OK;
}

/* ---- waiting ---- */

crew_status crew_result_wait(crew_result *result, crew_deadline deadline)
{
    if (!result)
        return CREW_INVALID;
    if (crewi_task_is_forked(&result->task))
        return CREW_FORKED;
    return crewi_wait(&result->task, deadline.ns, 0);
}

/* Moves or copies the value out. */
static crew_status result_take(crew_result *result, void *ret_value)
{
    const crew_job *job = result->job;
    if (result->task.kind == &crewi_kind_map)
        return CREW_OK;
    if (job->drop_result && (crewi_atomic_u32_fetch_or(&result->task.state, CREWI_TAKEN) & CREWI_TAKEN))
        return CREW_INVALID;
    crewi_copy(ret_value, crewi_apply_value(result), job->result_size);
    return CREW_OK;
}

crew_status crew_result_get(crew_result *result, void *ret_value, crew_deadline deadline)
{
    if (!result)
        return CREW_INVALID;
    if (!ret_value && result->job->result_size > 0 && result->task.kind != &crewi_kind_map)
        return CREW_INVALID;
    crew_status status = result_status(result);
    if (status == CREW_BUSY && deadline.ns == CREWI_NEVER && crewi_help_own(&result->task))
        status = result_status(result);
    if (status == CREW_BUSY) {
        status = crewi_wait(&result->task, deadline.ns, 0);
        if (status != CREW_OK)
            return status;
        status = crew_result_status(result);
    }
    return status == CREW_OK ? result_take(result, ret_value) : status;
}

/* ---- cancelling and letting go ---- */

static crew_status result_cancel_ended(const crew_result *result)
{
    crew_status outcome = crewi_outcome(crewi_atomic_u32_load(&result->task.state));
    bool never_ran = result->task.kind != &crewi_kind_map || crewi_map_never_ran(result);
    return outcome == CREW_CANCELLED && never_ran ? CREW_OK : CREW_END;
}

static crew_status apply_cancel(crew_result *result)
{
    (void)crewi_atomic_u32_fetch_or(&result->task.state, CREWI_STOP);
    if (!crewi_task_claim(&result->task)) {
        uint32_t state = crewi_atomic_u32_load(&result->task.state);
        return crewi_phase(state) == CREWI_RUNNING ? CREW_BUSY : result_cancel_ended(result);
    }
    crew_pool *pool = crewi_task_pool(&result->task);
    crewi_apply_end_claimed(result, CREW_CANCELLED, 0);
    pool->backend->retract(pool);
    return CREW_OK;
}

crew_status crew_result_cancel(crew_result *result)
{
    if (!result)
        return CREW_INVALID;
    if (crewi_task_is_forked(&result->task))
        return CREW_FORKED;
    crewi_cells *cells = crewi_cells_of(result->task.shard);
    if (crewi_phase(crewi_atomic_u32_load(&result->task.state)) >= CREWI_STORED || !crewi_cells_enter_pool(cells))
        return result_cancel_ended(result);
    crew_status status = result->task.kind == &crewi_kind_map ? crewi_map_cancel(result) : apply_cancel(result);
    crewi_cells_leave_pool(cells);
    return status;
}

/* From inside one of its own items a map cannot be waited for. */
static bool result_runs_here(const crew_result *result)
{
    const crewi_frame *frame = crewi_frame_top();
    while (frame && frame->task != &result->task)
        frame = frame->outer;
    return frame != NULL;
}

/* Of an ended job nobody else has anything any more, as a rule: then no atomic step is needed. */
static bool result_is_mine(const crew_result *result, uint32_t state)
{
    uint32_t alone = CREWI_HANDLE | CREWI_ENTRY | CREWI_PHASE;
    return result->task.kind == &crewi_kind_apply && (state & alone) == (CREWI_HANDLE | CREWI_DONE) &&
           crewi_atomic_u32_load(&result->task.refs) == 1;
}

void crewi_result_let_go(crew_result *result)
{
    crewi_task *task = &result->task;
    crewi_task_ref(task);
    uint32_t state = crewi_task_give_up(task, CREWI_HANDLE);
    if (crewi_phase(state) == CREWI_DONE)
        result_drop_value(result, state);
    crewi_task_unref(task);
}

void crewi_result_wait_for_items(crew_result *result)
{
    (void)crewi_atomic_u32_fetch_and(&result->task.state, ~(uint32_t)CREWI_AFTER_DONE);
    (void)crewi_wait(&result->task, CREWI_NEVER, CREWI_WAIT_MUST);
}

void crewi_result_abandon(crew_result *result)
{
    (void)crew_result_cancel(result);
    crewi_result_wait_for_items(result);
    crewi_result_let_go(result);
}

/* The callback of what is ready after that may be what runs here, or need this thread: then it is not waited for. */
static void result_stop_items(crew_result *result)
{
    (void)crew_result_cancel(result);
    if (!result_runs_here(result) && crewi_wait(&result->task, CREWI_NEVER, 0) != CREW_OK)
        crewi_result_wait_for_items(result);
}

void crew_result_destroy(crew_result *result)
{
    if (!result)
        return;
    crewi_task *task = &result->task;
    if (crewi_task_is_forked(task)) {
        crewi_cells_forget_handle(task->shard);
        return;
    }
    uint32_t state = crewi_atomic_u32_load(&task->state);
    if (result_is_mine(result, state)) {
        result_drop_value(result, state);
        crewi_apply_free_handle(result);
        return;
    }
    if (task->kind == &crewi_kind_map && crew_result_status(result) == CREW_BUSY)
        result_stop_items(result);
    crewi_handle_discount(task->shard);
    crewi_result_let_go(result);
}
