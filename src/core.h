/* SPDX-License-Identifier: MIT */
/* What the parts of the meaning layer, and the backends, call of each other; over the nouns: task, pool, frame. */
#ifndef CREWI_CORE_H
#define CREWI_CORE_H

#include <crewpool/crewpool.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/cells.h"
#include "frame.h"
#include "pool.h"
#include "task.h"

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
