/* SPDX-License-Identifier: MIT */
/* crew_map, crew_starmap and their async forms: checks, and the blocking wait. */
#include "result.h"

static bool overflows(size_t n, size_t size)
{
    return size > 0 && n > PTRDIFF_MAX / size;
}

static crew_status map_check(const crew_job *job, const struct crewi_map_input *input, const crew_call *call)
{
    size_t n = input->n;
    if (overflows(n, job->arg_size) || overflows(n, job->result_size))
        return crewi_refuse(call->error, CREW_INVALID, "%zu items of this job's sizes are beyond what memory can hold",
                            n);
    if (n > 0 && !input->values && job->result_size > 0)
        return crewi_refuse(call->error, CREW_INVALID, "ret_values is NULL, the job has a result");
    bool by_index = !input->args && !input->columns && job->arg_size > 0;
    if (n > 0 && by_index && job->arg_size != sizeof(size_t))
        return crewi_refuse(call->error, CREW_INVALID,
                            "args is NULL, so the argument is the index, a size_t, but the job wants %zu bytes",
                            job->arg_size);
    return CREW_OK;
}

static crew_status map_begin(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                             const crew_call *call, crew_result **ret_result)
{
    crew_status status = map_check(job, input, call);
    return status == CREW_OK ? crewi_map_start(pool, job, input, call, false, ret_result) : status;
}

/* The arrays are borrowed: returns only when no job can touch them any more. Where the wait is refused before anything has started
 * it is as if the map had never been accepted. */
static crew_status map_wait_out(crew_result *result, const crew_call *call)
{
    crew_status status = crewi_wait(&result->task, CREWI_NEVER, 0);
    if (status == CREW_TOO_DEEP && crewi_map_withdraw(result)) {
        crewi_task_unref(&result->task);
        return crewi_refuse(call->error, status, "the wait for it could not be served");
    }
    if (status != CREW_OK)
        crewi_result_wait_for_items(result);
    status = crew_result_status(result);
    if (status != CREW_OK && call->error)
        crewi_result_error(result, call->error);
    crewi_result_let_go(result);
    return status;
}

/* A blocking call, as far as it needs a guard: an item that it runs may end its thread. */
struct map_call {
    crew_pool *pool;
    const crew_job *job;
    const struct crewi_map_input *input;
    const crew_call *call;
    crew_result *result; /* NULL: not started yet, or through */
    crew_status status;
    struct crewi_local *local; /* of the frame beneath */
    unsigned depth;            /* of its nest */
};

static void map_call_body(void *opaque)
{
    struct map_call *call = opaque;
    if (!call->result)
        call->status = crewi_map_start(call->pool, call->job, call->input, call->call, true, &call->result);
    if (call->status == CREW_OK)
        call->status = map_wait_out(call->result, call->call);
    call->result = NULL;
}

static void map_call_lost(void *opaque)
{
    struct map_call *call = opaque;
    crewi_nest_lost(call->local, call->depth);
    if (call->result && !crewi_task_is_forked(&call->result->task))
        crewi_result_abandon(call->result);
}

static crew_status map_blocking(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                                const crew_call *call)
{
    struct map_call guarded = {.pool = pool, .job = job, .input = input, .call = call};
    if (!crewi_wait_is_possible(pool))
        return crewi_refuse(call->error, CREW_TOO_DEEP, "no stack is left to run items on, and no thread to stand in");
    crew_status status = map_check(job, input, call);
    if (status == CREW_OK)
        status = crewi_result_check_callback(pool, call, false);
    if (status != CREW_OK)
        return status;
    if (crewi_map_run_here(pool, job, input, call, &guarded.result, &status) && !guarded.result)
        return status;
    const crewi_frame *top = crewi_frame_top();
    guarded.local = top ? top->local : NULL;
    guarded.depth = crewi_nest_depth(guarded.local);
    crewi_thread_guard(map_call_body, map_call_lost, &guarded);
    return guarded.status;
}

crew_status crew_map(crew_pool *pool, const crew_job *job, const void *args, size_t n, void *ret_values,
                     const crew_call *call)
{
    struct crewi_map_input input = {.args = args, .n = n, .values = ret_values};
    crew_status status = crewi_call_check(pool, job, &call);
    return status == CREW_OK ? map_blocking(pool, job, &input, call) : status;
}

crew_status crew_map_async(crew_pool *pool, const crew_job *job, const void *args, size_t n, void *ret_values,
                           crew_result **ret_result, const crew_call *call)
{
    struct crewi_map_input input = {.args = args, .n = n, .values = ret_values};
    crew_status status = crewi_call_check(pool, job, &call);
    return status == CREW_OK ? map_begin(pool, job, &input, call, ret_result) : status;
}

/* ---- starmap ---- */

static const char *column_fault(const crew_job *job, const crew_column *column, size_t n)
{
    if (column->size == 0)
        return "has no size";
    if (!column->data && n > 0)
        return "has no data";
    if (column->size > job->arg_size || column->offset > job->arg_size - column->size)
        return "reaches beyond the job's argument";
    if (overflows(n, column->stride))
        return "is longer than memory";
    return NULL;
}

static crew_status starmap_check(const crew_job *job, const struct crewi_map_input *input, const crew_call *call)
{
    if (!input->columns || input->columns_count == 0)
        return crewi_refuse(call->error, CREW_INVALID, "there are no columns");
    if (job->arg_size > CREW_ROW_SIZE_MAX)
        return crewi_refuse(call->error, CREW_INVALID, "a row of %zu bytes is beyond CREW_ROW_SIZE_MAX", job->arg_size);
    if (input->columns_count > CREW_ROW_SIZE_MAX)
        return crewi_refuse(call->error, CREW_INVALID, "more columns than a row can have bytes");
    for (size_t i = 0; i < input->columns_count; i++) {
        const char *fault = column_fault(job, &input->columns[i], input->n);
        if (fault)
            return crewi_refuse(call->error, CREW_INVALID, "column %zu %s", i, fault);
    }
    return CREW_OK;
}

crew_status crew_starmap(crew_pool *pool, const crew_job *job, const crew_column *columns, size_t columns_count,
                         size_t n, void *ret_values, const crew_call *call)
{
    struct crewi_map_input input = {.columns = columns, .columns_count = columns_count, .n = n, .values = ret_values};
    crew_status status = crewi_call_check(pool, job, &call);
    if (status == CREW_OK)
        status = starmap_check(job, &input, call);
    return status == CREW_OK ? map_blocking(pool, job, &input, call) : status;
}

crew_status crew_starmap_async(crew_pool *pool, const crew_job *job, const crew_column *columns, size_t columns_count,
                               size_t n, void *ret_values, crew_result **ret_result, const crew_call *call)
{
    struct crewi_map_input input = {.columns = columns, .columns_count = columns_count, .n = n, .values = ret_values};
    crew_status status = crewi_call_check(pool, job, &call);
    if (status == CREW_OK)
        status = starmap_check(job, &input, call);
    return status == CREW_OK ? map_begin(pool, job, &input, call, ret_result) : status;
}
