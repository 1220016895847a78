/* SPDX-License-Identifier: MIT */
/* Maps: one descriptor for any number of items. Whoever works on it claims a range of indexes by a CAS on `cursor`, runs it, and counts
 * it in `finished`; whoever makes that n ends the map.
 *
 * A map has one queue entry. The worker that pops it claims a range and, if more are left, puts the entry back for the next
 * worker before it begins: so workers join one by one as they come free, and none that stays away is waited for. */
#include <string.h>

#include "backend.h"
#include "result.h"

enum { ROUNDS_AT_ONCE = 64 }; /* ranges that a worker runs before other work gets its turn */

#define RANGE_SHORT_NS 5000 /* adaptive ranges grow below this and shrink above four times it: about 10 us each */

struct map {
    crew_result result; /* first: the handle */
    const char *args;
    char *values;
    size_t n;
    size_t chunk; /* 0: adaptive */
    size_t columns_count;
    bool stops_on_error;
    crewi_lock lock; /* guards the lowest failure */
    bool has_failure;
    size_t lowest;
    crew_status lowest_status;
    crewi_atomic_size cursor;     /* items claimed; n: none are left. Claimed by CAS, the rest taken by exchange */
    crewi_atomic_size finished;   /* items through with: ran, or will not run */
    crewi_atomic_size skipped;    /* of these, lost to a cancel or to the pool's end */
    crewi_atomic_u32 active;      /* ranges being run */
    crewi_atomic_u32 is_stopping; /* STOP_ON_ERROR, and there was one */
    crew_column columns[];
};

static struct map *map_of(const crewi_task *task)
{
    return (struct map *)(uintptr_t)task;
}

static size_t map_size(size_t columns_count)
{
    return sizeof(struct map) + columns_count * sizeof(crew_column);
}

const void *crewi_map_values(const crew_result *result)
{
    return map_of(&result->task)->values;
}

size_t crewi_map_lowest(const crew_result *result)
{
    return map_of(&result->task)->lowest;
}

static void map_free(crewi_task *task)
{
    struct map *map = map_of(task);
    crewi_result_clear(&map->result);
    crewi_cell_free(task->shard, map, map_size(map->columns_count));
}

/* ---- ending ---- */

static crew_status map_outcome(struct map *map)
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

static void map_finish(struct map *map, size_t count)
{
    if (count == 0 || crewi_atomic_size_fetch_add(&map->finished, count) + count < map->n)
        return;
    if (crewi_phase(crewi_atomic_u32_load(&map->result.task.state)) != CREWI_PENDING)
        crewi_count(crewi_task_pool(&map->result.task), CREWI_ENDED);
    crewi_result_store(&map->result, map_outcome(map), 0);
}

/* Items that were claimed and will not run. `lost`: because of a cancel or the pool's end. */
static void map_skip(struct map *map, size_t count, bool lost)
{
    if (lost)
        (void)crewi_atomic_size_fetch_add(&map->skipped, count);
    map_finish(map, count);
}

/* Takes all items that nobody has claimed. Returns how many. The map counts as active meanwhile, or nothing would seem to be going on. */
static size_t map_skip_rest(struct map *map, bool lost)
{
    (void)crewi_atomic_u32_fetch_add(&map->active, 1);
    size_t left = map->n - crewi_atomic_size_exchange(&map->cursor, map->n);
    map_skip(map, left, lost);
    (void)crewi_atomic_u32_fetch_sub(&map->active, 1);
    return left;
}

static void map_fail(struct map *map, crew_status status, int code, const crewi_frame *frame)
{
    crew_error error;
    crewi_error_from_frame(&error, status, code, frame, map->result.job);
    crewi_lock_acquire(&map->lock);
    if (!map->has_failure || frame->index < map->lowest) {
        map->has_failure = true;
        map->lowest = frame->index;
        map->lowest_status = status;
        crewi_result_keep_error(&map->result, &error);
    }
    crewi_lock_release(&map->lock);
    if (!map->stops_on_error)
        return;
    crewi_atomic_u32_store(&map->is_stopping, 1);
    (void)map_skip_rest(map, false);
}

/* ---- running ---- */

static bool map_claim(struct map *map, size_t want, crewi_frame *frame)
{
    size_t first = crewi_atomic_size_load(&map->cursor), end;
    do {
        if (first >= map->n)
            return false;
        end = want < map->n - first ? first + want : map->n;
    } while (!crewi_atomic_size_cas(&map->cursor, &first, end));
    frame->range_first = first;
    frame->range_end = end;
    return true;
}

static bool map_is_exhausted(const struct map *map)
{
    return crewi_atomic_size_load(&map->cursor) >= map->n;
}

static int map_call(const struct map *map, const void *arg, size_t index)
{
    const crew_job *job = map->result.job;
    void *value = job->result_size > 0 ? map->values + index * job->result_size : NULL;
    return job->fn(arg, value, map->result.context);
}

/* One row of a starmap, gathered from its columns. */
static int map_call_row(const struct map *map, size_t index)
{
    _Alignas(max_align_t) unsigned char row[CREW_ROW_SIZE_MAX];
    memset(row, 0, map->result.job->arg_size);
    for (size_t i = 0; i < map->columns_count; i++) {
        const crew_column *column = &map->columns[i];
        memcpy(row + column->offset, (const char *)column->data + index * column->stride, column->size);
    }
    return map_call(map, row, index);
}

static int map_call_item(const struct map *map, size_t index)
{
    size_t arg_size = map->result.job->arg_size;
    if (map->columns_count > 0)
        return map_call_row(map, index);
    if (arg_size == 0)
        return map_call(map, NULL, index);
    return map_call(map, map->args ? map->args + index * arg_size : (const void *)&index, index);
}

static bool map_must_skip(const struct map *map)
{
    /* relaxed: an order to stop may be seen an item later */
    uint32_t state = crewi_atomic_u32_load_relaxed(&map->result.task.state);
    return (state & (CREWI_CANCELLED | CREWI_ENDED_BY_POOL)) || crewi_atomic_u32_load_relaxed(&map->is_stopping);
}

/* Runs the claimed range of `frame`. False: this is a fork's child now. */
static bool map_run_range(struct map *map, crewi_frame *frame)
{
    size_t first = frame->range_first, end = frame->range_end, index = first;
    crewi_frame_enter(frame, CREWI_FRAME_JOB, crewi_task_pool(&map->result.task), &map->result.task);
    frame->stop = &map->result.task.state;
    for (; index < end && !map_must_skip(map); index++) {
        frame->index = index;
        frame->has_message = false;
        int code = map_call_item(map, index);
        if (crewi_task_is_forked(&map->result.task))
            break;
        if (code)
            map_fail(map, CREW_FAILED, code, frame);
    }
    crewi_frame_leave(frame);
    if (crewi_task_is_forked(&map->result.task))
        return false;
    if (index < end && !crewi_atomic_u32_load(&map->is_stopping))
        (void)crewi_atomic_size_fetch_add(&map->skipped, end - index);
    map_finish(map, end - first);
    (void)crewi_atomic_u32_fetch_sub(&map->active, 1); /* only now: in between nothing would seem to be going on */
    return true;
}

static size_t map_adapt(const struct map *map, size_t chunk, int64_t elapsed_ns)
{
    const crew_pool *pool = crewi_task_pool(&map->result.task);
    size_t fair = (map->n - crewi_atomic_size_load(&map->cursor)) / (2 * (size_t)pool->options.workers);
    if (elapsed_ns < RANGE_SHORT_NS)
        chunk *= 2;
    else if (elapsed_ns > 4 * RANGE_SHORT_NS)
        chunk /= 2;
    chunk = chunk < fair ? chunk : fair;
    return chunk > 0 ? chunk : 1;
}

static void map_end_rest(struct map *map)
{
    (void)crewi_atomic_u32_fetch_or(&map->result.task.state, CREWI_ENDED_BY_POOL);
    crewi_task_leave_place(&map->result.task);
    (void)map_skip_rest(map, true);
}

/* Runs ranges until none is left, or `rounds` of them. The caller holds a reference. */
static void map_work(struct map *map, crewi_frame *frame, size_t rounds, bool passes_on)
{
    crewi_task *task = &map->result.task;
    crew_pool *pool = crewi_task_pool(task);
    size_t chunk = map->chunk > 0 ? map->chunk : 1;
    int64_t start_ns = map->chunk > 0 ? 0 : crewi_clock_now_ns();
    for (size_t round = 0; round < rounds; round++) {
        if (crewi_gate_verdict(pool) != CREW_OK)
            map_end_rest(map);
        (void)crewi_atomic_u32_fetch_add(&map->active, 1);
        if (!map_claim(map, chunk, frame)) {
            (void)crewi_atomic_u32_fetch_sub(&map->active, 1);
            return;
        }
        if (crewi_task_claim(task))
            crewi_count(pool, CREWI_STARTED);
        crewi_task_leave_place(task);
        if (passes_on && !map_is_exhausted(map)) {
            crewi_task_ref(task);
            crewi_submit(pool, task, CREWI_BEHIND);
        }
        passes_on = false;
        if (!map_run_range(map, frame))
            return;
        if (map->chunk > 0 || map_is_exhausted(map))
            continue;
        int64_t now_ns = crewi_clock_now_ns();
        chunk = map_adapt(map, chunk, now_ns - start_ns);
        start_ns = now_ns;
    }
}

static bool map_run(crewi_task *task, crewi_frame *frame)
{
    map_work(map_of(task), frame, ROUNDS_AT_ONCE, true);
    return false;
}

static bool map_end(crewi_task *task, crew_status status)
{
    (void)status;
    map_end_rest(map_of(task));
    return false;
}

static bool map_is_dead(const crewi_task *task)
{
    return map_is_exhausted(map_of(task));
}

/* ---- a lost thread leaves the rest of its range behind ---- */

struct map_rest {
    crewi_task task;
    struct map *map; /* with a reference, and counted in `active` */
    size_t first, end;
};

static bool map_rest_run(crewi_task *task, crewi_frame *frame)
{
    struct map_rest *rest = CREWI_CONTAINER_OF(task, struct map_rest, task);
    frame->range_first = rest->first;
    frame->range_end = rest->end;
    (void)map_run_range(rest->map, frame);
    return false;
}

static bool map_rest_end(crewi_task *task, crew_status status)
{
    (void)status;
    struct map_rest *rest = CREWI_CONTAINER_OF(task, struct map_rest, task);
    (void)crewi_atomic_u32_fetch_or(&rest->map->result.task.state, CREWI_ENDED_BY_POOL);
    map_skip(rest->map, rest->end - rest->first, true);
    (void)crewi_atomic_u32_fetch_sub(&rest->map->active, 1);
    return false;
}

static bool map_rest_is_dead(const crewi_task *task)
{
    (void)task;
    return false;
}

static void map_rest_free(crewi_task *task)
{
    struct map_rest *rest = CREWI_CONTAINER_OF(task, struct map_rest, task);
    crewi_task_unref(&rest->map->result.task);
    crewi_cell_free(task->shard, rest, sizeof *rest);
}

static const struct crewi_task_kind kind_map_rest = {
    .run = map_rest_run, .end = map_rest_end, .is_dead = map_rest_is_dead, .free = map_rest_free};

/* Without memory to hand the rest on, its items share the fate of the lost one. */
static void map_lost(crewi_task *task, crewi_frame *frame)
{
    struct map *map = map_of(task);
    crewi_shard *shard;
    size_t next = frame->index + 1, ran = next - frame->range_first, left = frame->range_end - next;
    map_fail(map, CREW_WORKER_LOST, 0, frame);
    struct map_rest *rest = NULL;
    if (left > 0)
        rest = crewi_cell_new(crewi_task_pool(task), sizeof *rest, &shard);
    if (rest) {
        crewi_task_init(&rest->task, &kind_map_rest, shard, CREWI_PENDING, 1);
        rest->map = map;
        rest->first = next;
        rest->end = frame->range_end;
        crewi_task_ref(task);
        crewi_submit(crewi_task_pool(task), &rest->task, CREWI_NEXT);
        map_finish(map, ran);
    } else {
        map_finish(map, ran + left);
        (void)crewi_atomic_u32_fetch_sub(&map->active, 1);
    }
}

/* ---- as the target of a wait ---- */

static bool map_is_ready(crewi_task *task)
{
    return crewi_is_ready(crewi_atomic_u32_load(&task->state));
}

static void map_help_body(crewi_task *task, crewi_frame *frame)
{
    map_work(map_of(task), frame, SIZE_MAX, false);
}

static bool map_help(crewi_task *task, bool any)
{
    (void)any;
    if (map_is_exhausted(map_of(task)))
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

/* Read in the reverse of the order in which items move on: what is claimed was counted as active before, and what is active no
 * more was finished before. */
static struct crewi_view map_look(crewi_task *task)
{
    struct map *map = map_of(task);
    struct crewi_view view = {.any_will_do = false};
    view.has_unstarted = !map_is_exhausted(map);
    view.running = crewi_atomic_u32_load(&map->active);
    view.is_ready = map_is_ready(task);
    view.needs_callback = map_is_waiting_for_callback(task);
    view.has_unstarted |= view.needs_callback;
    return view;
}

const struct crewi_task_kind crewi_kind_map = {
    .run = map_run,
    .end = map_end,
    .is_dead = map_is_dead,
    .lost = map_lost,
    .free = map_free,
    .is_ready = map_is_ready,
    .help = map_help,
    .requires = map_requires,
    .look = map_look,
};

/* ---- starting and cancelling ---- */

bool crewi_map_never_ran(const crew_result *result)
{
    const struct map *map = map_of(&result->task);
    return crewi_atomic_size_load(&map->skipped) == map->n;
}

bool crewi_map_withdraw(crew_result *result)
{
    crewi_task *task = &result->task;
    struct map *map = map_of(task);
    crew_pool *pool = crewi_task_pool(task);
    size_t nothing = 0;
    crewi_task_leave_place(task);
    pool->backend->retract(pool);
    if (!crewi_atomic_size_cas(&map->cursor, &nothing, map->n)) {
        (void)crewi_atomic_u32_fetch_or(&task->state, CREWI_CANCELLED | CREWI_STOP);
        (void)map_skip_rest(map, true);
        return false;
    }
    crewi_gate_leave(pool);
    return true;
}

crew_status crewi_map_cancel(crew_result *result)
{
    struct map *map = map_of(&result->task);
    (void)crewi_atomic_u32_fetch_or(&result->task.state, CREWI_CANCELLED | CREWI_STOP);
    crew_pool *pool = crewi_task_pool(&result->task);
    crewi_task_leave_place(&result->task);
    size_t left = map_skip_rest(map, true);
    bool nothing_started = left == map->n;
    if (left > 0)
        pool->backend->retract(pool);
    uint32_t state = crewi_atomic_u32_load(&result->task.state);
    if (nothing_started)
        return CREW_OK;
    return crewi_phase(state) >= CREWI_STORED ? CREW_END : CREW_BUSY;
}

static struct map *map_new(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                           const crew_call *call, uint32_t state)
{
    crewi_shard *shard;
    struct map *map = crewi_cell_new(pool, map_size(input->columns_count), &shard);
    if (!map)
        return NULL;
    crewi_task_init(&map->result.task, &crewi_kind_map, shard, state, 2); /* the parties', and the entry's */
    if (!crewi_result_init(&map->result, pool, job, call)) {
        crewi_cell_free(shard, map, map_size(input->columns_count));
        return NULL;
    }
    map->args = input->args;
    map->values = input->values;
    map->n = input->n;
    map->chunk = call->chunk;
    map->columns_count = input->columns_count;
    map->stops_on_error = (call->flags & CREW_STOP_ON_ERROR) != 0;
    crewi_lock_init(&map->lock);
    map->has_failure = false;
    map->lowest = 0;
    map->lowest_status = CREW_OK;
    crewi_atomic_size_init(&map->cursor, 0);
    crewi_atomic_size_init(&map->finished, 0);
    crewi_atomic_size_init(&map->skipped, 0);
    crewi_atomic_u32_init(&map->active, 0);
    crewi_atomic_u32_init(&map->is_stopping, 0);
    if (input->columns_count > 0)
        memcpy(map->columns, input->columns, input->columns_count * sizeof *input->columns);
    return map;
}

static void map_submit(crew_pool *pool, struct map *map, bool run_here)
{
    crewi_task *task = &map->result.task;
    if (map->n == 0) {
        crewi_task_leave_place(task);
        crewi_result_store(&map->result, CREW_OK, 0);
        crewi_task_unref(task); /* the entry's */
    } else if (!run_here) {
        crewi_submit(pool, task, CREWI_NEXT);
    } else if (crewi_cells_enter_pool(pool->cells)) {
        crewi_run_as_helper(map_help_body, task, false);
        crewi_task_unref(task); /* the entry's */
    }
}

crew_status crewi_map_start(crew_pool *pool, const crew_job *job, const struct crewi_map_input *input,
                            const crew_call *call, crew_result **ret_result)
{
    bool run_here;
    crew_status status = crewi_place_take(pool, call, &run_here);
    if (status != CREW_OK)
        return crewi_pool_refuse(pool, status, call->error);
    bool has_place = pool->options.queue_max > 0 && !run_here;
    struct map *map = map_new(pool, job, input, call, crewi_result_state(call, ret_result != NULL, has_place));
    status = map ? crewi_gate_enter(pool) : CREW_NO_MEMORY;
    if (status == CREW_OK) {
        if (ret_result) {
            crewi_handle_count(map->result.task.shard);
            *ret_result = &map->result;
        }
        map_submit(pool, map, run_here);
        return CREW_OK;
    }
    if (map)
        map_free(&map->result.task);
    if (has_place)
        crewi_place_give(pool);
    return crewi_pool_refuse(pool, status, call->error);
}
