/* SPDX-License-Identifier: MIT */
/* Maps: one record for any number of items. Whoever works on a map joins it, claims items and runs them (map_claim.c, map_run.c), and
 * leaves; the last to leave when no item is left to claim ends it.
 *
 * A map has one queue entry. The worker that pops it claims and, if items are left, puts the entry back for the next worker before it
 * begins: so workers join one by one as they come free, and none that stays away is waited for. */
#include <string.h>

#include "map.h"

static size_t map_size(size_t columns_count, unsigned ranges_count)
{
    return sizeof(crewi_map) + columns_count * sizeof(crew_column) + crewi_map_ranges_size(ranges_count);
}

const void *crewi_map_values(const crew_result *result)
{
    return crewi_map_of(&result->task)->values;
}

size_t crewi_map_lowest(const crew_result *result)
{
    return crewi_map_of(&result->task)->lowest;
}

static void map_free(crewi_task *task)
{
    crewi_map *map = crewi_map_of(task);
    crewi_result_clear(&map->result);
    crewi_cell_free(task->shard, map, map_size(map->columns_count, map->ranges_count));
}

/* ---- ending ---- */

static crew_status map_outcome(crewi_map *map)
{
    uint32_t state = crewi_atomic_u32_load(&map->result.task.state);
    if (crewi_atomic_size_load(&map->skipped) > 0) {
        crewi_result_drop_error(&map->result); /* being left unrun outweighs what failed */
        crew_status status =
            state & CREWI_ENDED_BY_POOL ? crewi_gate_verdict(crewi_task_pool(&map->result.task)) : CREW_CANCELLED;
        crewi_result_keep_pool_error(&map->result, status);
        return status;
    }
    return map->has_failure ? map->lowest_status : CREW_OK;
}

static void map_finish(crewi_map *map)
{
    if (map->has_started)
        crewi_count(crewi_task_pool(&map->result.task), CREWI_ENDED);
    crewi_result_store(&map->result, map_outcome(map), 0);
}

void crewi_map_join(crewi_map *map)
{
    (void)crewi_atomic_u64_fetch_add(&map->participants, CREWI_MAP_JOINS + 1);
}

/* Items are unclaimed only while somebody has not left who will claim them, or an entry is in the queue. So if we are alone and nothing is
 * left, that stays so, unless somebody joins, which the CAS sees. */
void crewi_map_leave(crewi_map *map)
{
    uint64_t participants = crewi_atomic_u64_load(&map->participants);
    bool is_last;
    do {
        bool is_alone = (participants & (CREWI_MAP_PRESENT | CREWI_MAP_ENDED)) == 1;
        is_last = is_alone && crewi_map_is_exhausted(map);
    } while (
        !crewi_atomic_u64_cas(&map->participants, &participants, participants - 1 + (is_last ? CREWI_MAP_ENDED : 0)));
    if (is_last)
        map_finish(map);
}

void crewi_map_end_alone(crewi_map *map)
{
    /* relaxed: nobody else reads them */
    crewi_atomic_u64_store_relaxed(&map->participants, CREWI_MAP_JOINS | CREWI_MAP_ENDED);
    crewi_atomic_u32_store_relaxed(&map->result.task.refs, 1); /* the entry's is given up */
    if (map->has_started)
        crewi_count(crewi_task_pool(&map->result.task), CREWI_ENDED);
    crewi_result_store_alone(&map->result, map_outcome(map));
}

/* Present meanwhile, or nothing would seem to be going on. */
size_t crewi_map_halt(crewi_map *map, uint32_t why)
{
    crewi_map_join(map);
    (void)crewi_atomic_u32_fetch_or(&map->halted, why);
    size_t taken = crewi_map_take_all(map);
    if (why == CREWI_MAP_LOST)
        (void)crewi_atomic_size_fetch_add(&map->skipped, taken);
    crewi_map_leave(map);
    return taken;
}

void crewi_map_end_rest(crewi_map *map)
{
    (void)crewi_atomic_u32_fetch_or(&map->result.task.state, CREWI_ENDED_BY_POOL);
    crewi_task_leave_place(&map->result.task);
    (void)crewi_map_halt(map, CREWI_MAP_LOST);
}

/* ---- as an entry of the queue ---- */

bool crewi_map_take_kept_entry(crewi_map *map)
{
    if (!(crewi_atomic_u64_load(&map->participants) & CREWI_MAP_ENTRY_KEPT))
        return false;
    return (crewi_atomic_u64_fetch_and(&map->participants, ~CREWI_MAP_ENTRY_KEPT) & CREWI_MAP_ENTRY_KEPT) != 0;
}

static void map_keep_entry(crewi_map *map)
{
    (void)crewi_atomic_u64_fetch_or(&map->participants, CREWI_MAP_ENTRY_KEPT);
}

static void map_give_up_entry(crewi_map *map)
{
    if (crewi_map_take_kept_entry(map))
        crewi_task_unref(&map->result.task);
}

/* Where nobody else could take the entry anyway, it is kept, instead of passed on, until all items have run. */
static bool map_run(crewi_task *task, crewi_frame *frame)
{
    crewi_map *map = crewi_map_of(task);
    bool has_others = crewi_task_pool(task)->options.kind == CREW_THREADS;
    if (!has_others) {
        crewi_task_ref(task);
        map_keep_entry(map);
    }
    crewi_map_work(map, frame, has_others);
    if (!has_others && !crewi_task_is_forked(task))
        map_give_up_entry(map);
    return false;
}

static bool map_end(crewi_task *task, crew_status status)
{
    (void)status;
    crewi_map_end_rest(crewi_map_of(task));
    return false;
}

static bool map_is_dead(const crewi_task *task)
{
    return crewi_map_is_exhausted(crewi_map_of(task));
}

/* ---- as the target of a wait ---- */

static bool map_is_ready(crewi_task *task)
{
    return crewi_is_ready(crewi_atomic_u32_load(&task->state));
}

static void map_help_body(crewi_task *task, crewi_frame *frame)
{
    crewi_map_work(crewi_map_of(task), frame, false);
}

static bool map_help(crewi_task *task, bool any)
{
    (void)any;
    if (crewi_map_is_exhausted(crewi_map_of(task)))
        return false;
    crew_pool *pool = crewi_task_pool(task);
    crewi_run_guarded(map_help_body, task);
    if (!crewi_pool_is_forked(pool))
        pool->backend->retract(pool);
    return true;
}

static bool map_is_waiting_for_callback(const crewi_task *task)
{
    return crewi_phase(crewi_atomic_u32_load(&task->state)) == CREWI_STORED;
}

static bool map_requires(crewi_task *task, const crewi_frame *frame)
{
    if (map_is_waiting_for_callback(task))
        return frame->kind == CREWI_FRAME_CALLBACK && frame->pool == crewi_task_pool(task);
    return frame->kind == CREWI_FRAME_JOB && frame->task == task;
}

/* Read in the reverse of the order in which items move on: what is claimed was claimed by somebody present, and the last to leave sets ENDED
 * before it makes the map ready. In between it is what is running. */
static struct crewi_view map_look(crewi_task *task)
{
    crewi_map *map = crewi_map_of(task);
    struct crewi_view view = {.any_will_do = false};
    view.has_unstarted = !crewi_map_is_exhausted(map);
    uint64_t participants = crewi_atomic_u64_load(&map->participants);
    uint32_t state = crewi_atomic_u32_load(&task->state);
    bool is_ending = (participants & CREWI_MAP_ENDED) && crewi_phase(state) < CREWI_STORED;
    view.running = (size_t)(participants & CREWI_MAP_PRESENT) + is_ending;
    view.is_ready = crewi_is_ready(state);
    view.needs_callback = crewi_phase(state) == CREWI_STORED;
    view.has_unstarted |= view.needs_callback;
    return view;
}

const struct crewi_task_kind crewi_kind_map = {
    .run = map_run,
    .end = map_end,
    .is_dead = map_is_dead,
    .lost = crewi_map_lost,
    .free = map_free,
    .is_ready = map_is_ready,
    .help = map_help,
    .requires = map_requires,
    .look = map_look,
};

/* ---- starting and cancelling ---- */

bool crewi_map_never_ran(const crew_result *result)
{
    const crewi_map *map = crewi_map_of(&result->task);
    return crewi_atomic_size_load(&map->skipped) == map->n;
}

/* Where all items are taken back at once nobody ends the map: it was never accepted. */
bool crewi_map_withdraw(crew_result *result)
{
    crewi_task *task = &result->task;
    crewi_map *map = crewi_map_of(task);
    crew_pool *pool = crewi_task_pool(task);
    size_t nothing = 0;
    crewi_task_leave_place(task);
    crewi_map_join(map);
    bool is_withdrawn = crewi_atomic_size_cas(&map->cursor, &nothing, map->n);
    if (is_withdrawn)
        (void)crewi_atomic_u64_fetch_or(&map->participants, CREWI_MAP_ENDED);
    crewi_map_leave(map);
    pool->backend->retract(pool);
    if (is_withdrawn) {
        crewi_gate_leave(pool);
        return true;
    }
    (void)crewi_atomic_u32_fetch_or(&task->state, CREWI_CANCELLED);
    (void)crewi_map_halt(map, CREWI_MAP_LOST);
    (void)crewi_atomic_u32_fetch_or(&task->state, CREWI_STOP); /* only now, as crewi_map_cancel */
    return false;
}

crew_status crewi_map_cancel(crew_result *result)
{
    crewi_map *map = crewi_map_of(&result->task);
    (void)crewi_atomic_u32_fetch_or(&result->task.state, CREWI_CANCELLED);
    crew_pool *pool = crewi_task_pool(&result->task);
    crewi_task_leave_place(&result->task);
    size_t left = crewi_map_halt(map, CREWI_MAP_LOST);
    /* Only now are those told that run: each would else be followed by one that starts in order to be told. */
    (void)crewi_atomic_u32_fetch_or(&result->task.state, CREWI_STOP);
    bool nothing_started = left == map->n;
    if (left > 0)
        pool->backend->retract(pool);
    uint32_t state = crewi_atomic_u32_load(&result->task.state);
    if (nothing_started)
        return CREW_OK;
    return crewi_phase(state) >= CREWI_STORED ? CREW_END : CREW_BUSY;
}

static crewi_map *map_new(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                          const crew_call *call, uint32_t state, const void *caller)
{
    crewi_shard *shard;
    unsigned ranges = crewi_map_ranges_wanted(pool, input->n, call->chunk);
    crewi_map *map = crewi_cell_new(pool, map_size(input->columns_count, ranges), &shard);
    if (!map)
        return NULL;
    crewi_task_init(&map->result.task, &crewi_kind_map, shard, state, 2); /* the parties', and the entry's */
    map->caller = caller;
    map->columns_count = input->columns_count;
    map->ranges_count = ranges;
    if (!crewi_result_init(&map->result, pool, job, call)) {
        map_free(&map->result.task);
        return NULL;
    }
    map->args = input->args;
    map->arg_step = input->args ? job->arg_size : 0;
    map->values = input->values;
    map->n = input->n;
    map->chunk = call->chunk;
    crewi_map_ranges_init(map, map->columns + input->columns_count, ranges);
    map->stops_on_error = (call->flags & CREW_STOP_ON_ERROR) != 0;
    map->has_started = map->has_failure = false;
    map->lowest = 0;
    crewi_lock_init(&map->failure_lock);
    crewi_lock_init(&map->ranges_lock);
    crewi_atomic_u32_init(&map->halted, 0);
    crewi_atomic_u64_init(&map->participants, 0);
    crewi_atomic_size_init(&map->cursor, 0);
    crewi_atomic_size_init(&map->skipped, 0);
    if (input->columns_count > 0)
        memcpy(map->columns, input->columns, input->columns_count * sizeof *input->columns);
    return map;
}

/* On the submitting thread: the entry is not queued, unless an item ends this thread. */
static void map_run_here(crewi_map *map)
{
    crewi_task *task = &map->result.task;
    map_keep_entry(map);
    (void)crewi_cells_enter_pool(crewi_cells_of(task->shard)); /* the caller keeps the pool */
    (void)crewi_run_as_helper(map_help_body, task, false);
    if (!crewi_task_is_forked(task))
        map_give_up_entry(map);
}

static void map_submit(crew_pool *pool, crewi_map *map, bool run_here)
{
    crewi_task *task = &map->result.task;
    if (map->n == 0) {
        crewi_task_leave_place(task);
        crewi_result_store(&map->result, CREW_OK, 0);
        crewi_task_unref(task); /* the entry's */
    } else if (run_here) {
        map_run_here(map);
    } else {
        crewi_submit(pool, task, CREWI_NEXT);
    }
}

crew_status crewi_map_start(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                            const crew_call *call, bool is_inner, crew_result **ret_result)
{
    bool run_here;
    crew_status status = crewi_place_take(pool, call, &run_here);
    if (status != CREW_OK)
        return crewi_pool_refuse(pool, status, call->error);
    bool has_place = pool->options.queue_max > 0 && !run_here;
    uint32_t state = crewi_result_state(call, ret_result != NULL, has_place);
    crewi_map *map = map_new(pool, job, input, call, state, is_inner ? crewi_thread_mark() : NULL);
    status = map ? crewi_gate_enter(pool) : CREW_NO_MEMORY;
    if (status == CREW_OK) {
        if (ret_result && !is_inner)
            crewi_handle_count(map->result.task.shard);
        if (ret_result)
            *ret_result = &map->result;
        map_submit(pool, map, run_here);
        return CREW_OK;
    }
    if (map)
        map_free(&map->result.task);
    if (has_place)
        crewi_place_give(pool);
    return crewi_pool_refuse(pool, status, call->error);
}

/* ---- with the caller's help ---- */

struct map_here {
    crew_pool *pool;
    const crew_job *job;
    const struct crewi_map_input *input;
    const crew_call *call;
    crew_result *result; /* what is still to be waited for; NULL: nothing */
    crew_status status;  /* where result is NULL */
};

/* The map is through, and nobody else has anything of it: no step of the result is needed. */
static bool map_here_settle(struct map_here *here, crewi_map *map)
{
    crewi_task *task = &map->result.task;
    uint32_t state = crewi_atomic_u32_load(&task->state);
    if (crewi_phase(state) != CREWI_DONE || crewi_atomic_u32_load(&task->refs) != 1)
        return false;
    here->status = crewi_outcome(state);
    if (here->status != CREW_OK && here->call->error)
        crewi_result_error(&map->result, here->call->error);
    map_free(task);
    return true;
}

static void map_here_run(void *opaque)
{
    struct map_here *here = opaque;
    crew_pool *pool = here->pool;
    uint32_t state = crewi_result_state(here->call, true, false);
    crewi_map *map = map_new(pool, here->job, here->input, here->call, state, crewi_thread_mark());
    here->status = map ? crewi_gate_enter(pool) : CREW_NO_MEMORY;
    if (here->status != CREW_OK) {
        if (map)
            map_free(&map->result.task);
        (void)crewi_pool_refuse(pool, here->status, here->call->error);
        return;
    }
    if (crewi_map_prepare_part(map))
        crewi_submit(pool, &map->result.task, CREWI_OFFERED);
    here->result = &map->result;
    crewi_run_guarded(crewi_map_take_part, &map->result.task);
    bool is_forked = crewi_pool_is_forked(pool);
    if (is_forked)
        here->status = CREW_FORKED;
    if (is_forked || map_here_settle(here, map))
        here->result = NULL;
}

static void map_here_lost(void *opaque)
{
    const struct map_here *here = opaque;
    if (here->result)
        crewi_result_abandon(here->result);
}

bool crewi_map_run_here(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                        const crew_call *call, crew_result **ret_result, crew_status *ret_status)
{
    struct map_here here = {.pool = pool, .job = job, .input = input, .call = call};
    bool is_outside = pool->helping && pool->options.kind == CREW_THREADS && !crewi_frame_inside(pool);
    if (!is_outside || input->n == 0 || pool->options.queue_max > 0 || !crewi_stack_is_enough())
        return false;
    if (!crewi_visit(pool, map_here_run, map_here_lost, &here))
        return false;
    *ret_result = here.result;
    *ret_status = here.status;
    return true;
}
