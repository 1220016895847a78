/* SPDX-License-Identifier: MIT */
/* Running the items of a map: one participant's part in it, from its first claim until nothing is left or others have their turn. */
#include <string.h>

#include "map.h"

enum { CLAIMS_AT_ONCE = 64 }; /* before a worker looks whether its turn is over */

#define TURN_NS 500000       /* how long a worker goes on with short items before other work gets its turn */
#define RANGE_SHORT_NS 25000 /* adaptive chunks grow below this and shrink above four times it: about 50 us each */

/* ---- items ---- */

/* One row of a starmap, gathered from its columns. */
static int map_call_row(const crewi_map *map, size_t index, void *value)
{
    const crew_job *job = map->result.job;
    _Alignas(max_align_t) unsigned char row[CREW_ROW_SIZE_MAX];
    memset(row, 0, job->arg_size);
    for (size_t i = 0; i < map->columns_count; i++) {
        const crew_column *column = &map->columns[i];
        memcpy(row + column->offset, (const char *)column->data + index * column->stride, column->size);
    }
    return job->fn(row, value, map->result.context);
}

/* Not 0: it is terminated or broken, which are the uppermost bits. relaxed: that may be seen an item later */
static inline uint64_t pool_ending(const crew_pool *pool)
{
    return crewi_atomic_u64_load_relaxed(&pool->gate) / CREWI_GATE_TERMINATED;
}

/* No further item shall start. Both are asked at once, for a single jump between items. */
static inline bool map_is_halted(const crewi_map *map, const crew_pool *pool)
{
    return (crewi_atomic_u32_load_relaxed(&map->halted) | pool_ending(pool)) != 0; /* relaxed: likewise */
}

/* An item of this frame has left a code or a note behind. False: this is a fork's child now, where nothing of the parent's may be
 * touched any more. */
static bool map_heed(crewi_map *map, crewi_frame *frame, int code)
{
    if (frame->notes & CREWI_NOTE_FORKED)
        return false;
    if (code)
        crewi_map_fail(map, CREW_FAILED, code, frame);
    crewi_frame_forget_message(frame);
    return true;
}

/* Both of these move frame->range_first on to the first item that they did not run. False: this is a fork's child now. */
static bool map_run_rows(crewi_map *map, crewi_frame *frame)
{
    const size_t value_step = map->result.job->result_size;
    size_t index = frame->range_first;
    for (; index < frame->range_end && !map_is_halted(map, frame->pool); index++) {
        frame->index = index;
        int code = map_call_row(map, index, value_step > 0 ? map->values + index * value_step : NULL);
        if (((uint32_t)code | frame->notes) && !map_heed(map, frame, code))
            return false;
    }
    frame->range_first = index;
    return true;
}

/* This loop is what a map of cheap items costs. It keeps what it moves on in registers, and has the rest where that is: there are no
 * registers for more, and copies in this function's frame would cost as much. */
static bool map_run_items(crewi_map *map, crewi_frame *frame)
{
    const crew_job *job = map->result.job;
    size_t index = frame->range_first;
    /* as numbers, since a NULL must not be moved on, not even by 0 */
    uintptr_t value = job->result_size > 0 ? (uintptr_t)(map->values + index * job->result_size) : 0;
    uintptr_t arg = (uintptr_t)(map->args ? map->args + index * map->arg_step : (const char *)&frame->index);
    if (job->arg_size == 0)
        arg = 0;
    for (; index < frame->range_end && !map_is_halted(map, frame->pool); index++) {
        frame->index = index;
        int code = job->fn((const void *)arg, (void *)value, map->result.context);
        if (((uint32_t)code | frame->notes) && !map_heed(map, frame, code))
            return false;
        arg += map->arg_step;
        value += job->result_size;
    }
    frame->range_first = index;
    return true;
}

/* What an order to stop leaves of the claimed items counts as skipped. */
static bool map_run_claimed(crewi_map *map, crewi_frame *frame)
{
    if (!(map->columns_count > 0 ? map_run_rows(map, frame) : map_run_items(map, frame)))
        return false;
    size_t left = frame->range_end - frame->range_first;
    if (left == 0)
        return true;
    if (pool_ending(frame->pool))
        crewi_map_end_rest(map);
    if (!(crewi_atomic_u32_load(&map->halted) & CREWI_MAP_STOPPING))
        (void)crewi_atomic_size_fetch_add(&map->skipped, left);
    return true;
}

void crewi_map_fail(crewi_map *map, crew_status status, int code, const crewi_frame *frame)
{
    crew_error error;
    crewi_error_from_frame(&error, status, code, frame, map->result.job);
    crewi_lock_acquire(&map->failure_lock);
    if (!map->has_failure || frame->index < map->lowest) {
        map->has_failure = true;
        map->lowest = frame->index;
        map->lowest_status = status;
        crewi_result_keep_error(&map->result, &error);
    }
    crewi_lock_release(&map->failure_lock);
    if (map->stops_on_error)
        (void)crewi_map_halt(map, CREWI_MAP_STOPPING);
}

/* ---- one participant's part ---- */

struct part {
    crewi_map *map;
    crewi_range *own; /* or NULL */
    size_t want;      /* items to claim at once */
    size_t claims;
    int64_t turn_ns;  /* when its turn began; 0: it need not give way */
    int64_t claim_ns; /* adaptive: when it began with what it runs, if that is measured; else 0 */
    bool is_offered;  /* to others, by an entry that may still be there to be taken back */
    bool is_alone;    /* nobody else has ever seen the map, or will */
};

/* An entry that is taken back was in nobody's hands. It is kept, as that of a map that was never offered. */
static void part_withdraw_offer(struct part *part)
{
    crewi_map *map = part->map;
    crewi_task *task = &map->result.task;
    crew_pool *pool = crewi_task_pool(task);
    part->is_offered = false;
    part->is_alone = pool->backend->take_back(pool, task);
    if (part->is_alone) /* relaxed: nobody else reads it */
        crewi_atomic_u64_store_relaxed(&map->participants, CREWI_MAP_JOINS + 1 + CREWI_MAP_ENTRY_KEPT);
}

/* What would leave nothing to others is claimed after the offer to them was withdrawn, and then without them. */
static bool part_claim(struct part *part, crewi_frame *frame)
{
    if (part->is_offered && crewi_map_is_last_claim(part->map, part->want))
        part_withdraw_offer(part);
    return part->is_alone ? crewi_map_claim_alone(part->map, part->want, frame)
                          : crewi_map_claim(part->map, part->own, part->want, frame);
}

static size_t part_adapt(const struct part *part, size_t left, int64_t elapsed_ns)
{
    size_t fair = left / (2 * (size_t)crewi_task_pool(&part->map->result.task)->options.workers);
    size_t want = part->want;
    if (elapsed_ns < RANGE_SHORT_NS / 16)
        want *= 8;
    else if (elapsed_ns < RANGE_SHORT_NS)
        want *= 2;
    else if (elapsed_ns > 4 * RANGE_SHORT_NS)
        want /= 2;
    want = want < fair ? want : fair;
    return want > 0 ? want : 1;
}

/* The clock is not read for what is claimed first, nor where nothing is left to be divided: a map of few items does without. */
static void part_measure(struct part *part)
{
    size_t left = part->map->n - crewi_atomic_size_load_relaxed(&part->map->cursor); /* relaxed: only an estimate */
    if (left <= part->want)
        return;
    int64_t now_ns = crewi_clock_now_ns();
    if (part->claim_ns != 0)
        part->want = part_adapt(part, left, now_ns - part->claim_ns);
    part->claim_ns = now_ns;
}

static bool part_is_over(struct part *part)
{
    if (part->turn_ns == 0)
        return false;
    if (part->claim_ns != 0)
        return part->claim_ns - part->turn_ns > TURN_NS;
    return ++part->claims % CLAIMS_AT_ONCE == 0 && crewi_clock_now_ns() - part->turn_ns > TURN_NS;
}

/* From its first claim on. False: this is a fork's child now. */
static bool part_run(struct part *part, crewi_frame *frame)
{
    crewi_map *map = part->map;
    crewi_frame_enter(frame, CREWI_FRAME_JOB, crewi_task_pool(&map->result.task), &map->result.task);
    frame->stop = &map->result.task.state;
    frame->part = part->own;
    do {
        if (!map_run_claimed(map, frame)) {
            crewi_frame_leave(frame);
            return false;
        }
        if (map->chunk == 0)
            part_measure(part);
    } while (!part_is_over(part) && part_claim(part, frame));
    crewi_frame_leave(frame);
    return true;
}

/* Once for each map: the first item is claimed by one. */
static void map_started(crewi_map *map)
{
    map->has_started = true;
    crewi_count(crewi_task_pool(&map->result.task), CREWI_STARTED);
    crewi_task_leave_place(&map->result.task);
}

static void map_pass_on(crewi_map *map)
{
    if (crewi_map_is_exhausted(map))
        return;
    crewi_task_ref(&map->result.task);
    crewi_submit(crewi_task_pool(&map->result.task), &map->result.task, CREWI_BEHIND);
}

void crewi_map_work(crewi_map *map, crewi_frame *frame, bool as_worker)
{
    struct part part = {.map = map, .want = map->chunk > 0 ? map->chunk : 1};
    if (map->ranges_count == 0 && crewi_map_is_exhausted(map))
        return;
    crewi_map_join(map);
    part.own = crewi_map_range_take(map);
    part.turn_ns = as_worker ? crewi_clock_now_ns() : 0;
    if (pool_ending(crewi_task_pool(&map->result.task)))
        crewi_map_end_rest(map);
    if (part_claim(&part, frame)) {
        if (frame->range_first == 0)
            map_started(map);
        if (as_worker)
            map_pass_on(map);
        if (!part_run(&part, frame))
            return;
    }
    crewi_map_range_give(map, part.own);
    crewi_map_leave(map);
}

/* ---- the part of a caller that takes part from the start ---- */

static size_t map_first_claim(const crewi_map *map)
{
    size_t want = map->chunk > 0 ? map->chunk : 1;
    return want < map->n ? want : map->n;
}

bool crewi_map_prepare_part(crewi_map *map)
{
    size_t first = map_first_claim(map);
    bool has_more = first < map->n;
    crewi_atomic_u64_init(&map->participants, CREWI_MAP_JOINS + 1 + (has_more ? 0 : CREWI_MAP_ENTRY_KEPT));
    crewi_atomic_size_init(&map->cursor, first);
    map_started(map);
    return has_more;
}

void crewi_map_take_part(crewi_task *task, crewi_frame *frame)
{
    crewi_map *map = crewi_map_of(task);
    crew_pool *pool = crewi_task_pool(task);
    struct part part = {.map = map, .own = crewi_map_range_take(map), .want = map->chunk > 0 ? map->chunk : 1};
    frame->range_first = 0;
    frame->range_end = map_first_claim(map);
    part.is_offered = frame->range_end < map->n;
    part.is_alone = !part.is_offered;
    if (!part_run(&part, frame))
        return;
    crewi_map_range_give(map, part.own);
    if (part.is_offered)
        part_withdraw_offer(&part);
    if (part.is_alone) {
        crewi_map_end_alone(map);
    } else {
        crewi_map_leave(map);
        pool->backend->retract(pool);
    }
}

/* ---- a lost thread leaves the rest of what it claimed behind ---- */

struct map_rest {
    crewi_task task;
    crewi_map *map; /* with a reference, and present in the lost participant's place */
    size_t first, end;
};

static bool map_rest_run(crewi_task *task, crewi_frame *frame)
{
    struct map_rest *rest = CREWI_CONTAINER_OF(task, struct map_rest, task);
    crewi_map *map = rest->map;
    crewi_frame_enter(frame, CREWI_FRAME_JOB, crewi_task_pool(task), &map->result.task);
    frame->stop = &map->result.task.state;
    frame->range_first = rest->first;
    frame->range_end = rest->end;
    bool is_parent = map_run_claimed(map, frame);
    crewi_frame_leave(frame);
    if (is_parent)
        crewi_map_leave(map);
    return false;
}

static bool map_rest_end(crewi_task *task, crew_status status)
{
    (void)status;
    struct map_rest *rest = CREWI_CONTAINER_OF(task, struct map_rest, task);
    crewi_map_end_rest(rest->map);
    (void)crewi_atomic_size_fetch_add(&rest->map->skipped, rest->end - rest->first);
    crewi_map_leave(rest->map);
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

/* False: there is none, or no memory to hand it on; then its items share the fate of the lost one. */
static bool map_hand_on_rest(crewi_map *map, size_t first, size_t end)
{
    crewi_shard *shard;
    crew_pool *pool = crewi_task_pool(&map->result.task);
    struct map_rest *rest = first < end ? crewi_cell_new(pool, sizeof *rest, &shard) : NULL;
    if (!rest)
        return false;
    crewi_task_init(&rest->task, &kind_map_rest, shard, CREWI_PENDING, 1);
    rest->map = map;
    rest->first = first;
    rest->end = end;
    crewi_task_ref(&map->result.task);
    crewi_submit(pool, &rest->task, CREWI_NEXT);
    return true;
}

/* Where it was the thread that waits for the map, nothing more of that starts, not even what is claimed: it may be the only one that
 * could run it. */
void crewi_map_lost(crewi_task *task, crewi_frame *frame)
{
    crewi_map *map = crewi_map_of(task);
    bool is_abandoned = map->caller == crewi_thread_mark();
    crewi_map_fail(map, CREW_WORKER_LOST, 0, frame);
    if (is_abandoned)
        (void)crewi_map_halt(map, CREWI_MAP_STOPPING);
    crewi_map_range_give(map, frame->part);
    if (crewi_map_take_kept_entry(map))
        crewi_submit(crewi_task_pool(task), task, CREWI_BEHIND);
    if (is_abandoned || !map_hand_on_rest(map, frame->index + 1, frame->range_end))
        crewi_map_leave(map);
}
