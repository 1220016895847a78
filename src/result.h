/* SPDX-License-Identifier: MIT */
/* The record behind a crew_result: what apply and map have in common. */
#ifndef CREWI_RESULT_H
#define CREWI_RESULT_H

#include "core.h"
#include "failure.h"

/* Whom to tell of the end; only where somebody may want to know. */
struct crewi_telling {
    crewi_link link; /* in the callback lane */
    crew_result *result;
    crew_done_fn *on_done; /* NULL: on_unhandled, if it fails */
    void *user;
    crewi_shard *shard;
};

/* One cache line: a million of them wait in memory. */
struct crew_result {
    crewi_task task;
    const crew_job *job;
    void *context;
    crewi_failure failure;         /* why not CREW_OK; written by whoever ends it, before STORED */
    struct crewi_telling *telling; /* or NULL */
};

static inline crew_result *crewi_result_of(crewi_task *task)
{
    return CREWI_CONTAINER_OF(task, crew_result, task);
}

/* False: no memory. */
bool crewi_result_init_telling(crew_result *result, crew_pool *pool, const crew_call *call);

static inline bool crewi_result_init(crew_result *result, crew_pool *pool, const crew_job *job, const crew_call *call)
{
    result->job = job;
    result->context = call->context;
    result->telling = NULL;
    crewi_failure_init(&result->failure);
    bool may_tell = call->on_done || pool->options.on_unhandled;
    return !may_tell || crewi_result_init_telling(result, pool, call);
}

/* Gives back what hangs on it. */
static inline void crewi_result_clear(crew_result *result)
{
    crewi_failure_drop(&result->failure);
    if (result->telling)
        crewi_cell_free(result->telling->shard, result->telling, sizeof *result->telling);
}

/* The bits of a new result's state. */
static inline uint32_t crewi_result_state(const crew_call *call, bool with_handle, bool has_place)
{
    uint32_t state = with_handle ? CREWI_HANDLE : 0;
    state |= has_place ? (uint32_t)CREWI_PLACE : 0;
    state |= call->flags & CREW_READY_AFTER_DONE ? (uint32_t)CREWI_AFTER_DONE : 0;
    return state;
}

/* Makes the outcome known: ready, callback, gate. The value must be in place. `party`: CREWI_ENTRY if the caller has the queue's
 * entry and gives it up, else 0, and something else keeps the record until this has returned. */
void crewi_result_store(crew_result *result, crew_status status, uint32_t party);

/* The same where nobody else has anything of it, or ever had: its state is no word that is shared. */
void crewi_result_store_alone(crew_result *result, crew_status status);

/* The same for CREW_OK where there is no telling; `local` is the caller's. */
void crewi_result_succeed(crew_result *result, struct crewi_local *local, uint32_t party);

/* Keeps a copy of *error; without memory for it, its code and worker. Call before store; again to replace it. */
void crewi_result_keep_error(crew_result *result, const crew_error *error);
/* The same with what the job that ran in `frame` has said. */
void crewi_result_keep_failure(crew_result *result, crew_status status, int code, const crewi_frame *frame);
void crewi_result_drop_error(crew_result *result);
/* Where `status` is CREW_BROKEN: the pool's reason. */
void crewi_result_keep_pool_error(crew_result *result, crew_status status);

/* The end of what is a handle, but not counted as one of the user's. */
void crewi_result_let_go(crew_result *result);
/* For a blocking call: whether it can wait for its callback, if it has to. `is_moved`: its value must not be moved before. */
static inline crew_status crewi_result_check_callback(crew_pool *pool, const crew_call *call, bool is_moved)
{
    bool waits = call->on_done && (is_moved || (call->flags & CREW_READY_AFTER_DONE));
    crew_status status = waits ? crewi_wait_for_callback_check(pool) : CREW_OK;
    return status == CREW_OK ? status : crewi_refuse(call->error, status, "no thread is left to call its callback");
}
/* Of a map that nobody else waits for: waits until no item runs, whether its callback has been called or not. Cannot be refused. */
void crewi_result_wait_for_items(crew_result *result);
/* The thread that waits for this map is lost: nothing more of it starts, what runs elsewhere is waited for, and its record let go of. A
 * callback does not see its arrays, since it failed or was cancelled. */
void crewi_result_abandon(crew_result *result);

/* The error as the user shall see it. */
void crewi_result_error(const crew_result *result, crew_error *ret_error);
const void *crewi_result_value(const crew_result *result);

/* callbacks.c: the lane takes the result over and finishes it. Queued, it has its place; announced, it is sure to be told. */
void crewi_lane_queue(crew_result *result);
void crewi_lane_announce(crew_pool *pool);
/* What the lane does last. Without a callback, store has done it. */
void crewi_result_finish(crew_result *result);

/* apply.c */
extern const struct crewi_task_kind crewi_kind_apply;
void *crewi_apply_value(const crew_result *result);
/* Nobody has anything of it but the handle, or the caller. */
void crewi_apply_free_handle(crew_result *result);
void crewi_apply_free_by(crew_result *result, struct crewi_local *local);
void crewi_apply_end_claimed(crew_result *result, crew_status status, uint32_t party); /* it will not run */

/* map.c */
extern const struct crewi_task_kind crewi_kind_map;
const void *crewi_map_values(const crew_result *result);
size_t crewi_map_lowest(const crew_result *result); /* index that failed */
crew_status crewi_map_cancel(crew_result *result);
bool crewi_map_never_ran(const crew_result *result);
/* The wait for it was refused: takes back what has not started. True: nothing had, and it is as if it had never been accepted. */
bool crewi_map_withdraw(crew_result *result);

/* What the calls of map and starmap hand to map.c. */
struct crewi_map_input {
    const void *args;           /* NULL: the index, or columns */
    const crew_column *columns; /* NULL: args */
    size_t columns_count;
    size_t n;
    void *values;
};

/* Accepts and submits a map. `ret_result` NULL: without a handle; `is_inner`: what it gets is not the user's. */
crew_status crewi_map_start(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                            const crew_call *call, bool is_inner, crew_result **ret_result);

/* A map that an outsider waits for, who takes part in it from the start. False: not now, nothing was done: helping is off, or nobody may
 * execute beside those who do. Else *ret_status is how it ended or why it was refused, unless *ret_result is what is still to be
 * waited for: it is no handle of the user's. */
bool crewi_map_run_here(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                        const crew_call *call, crew_result **ret_result, crew_status *ret_status);

#endif
