/* SPDX-License-Identifier: MIT */
/* The life of a pool: create, wait, close, terminate, break, join, destroy. */
#include <string.h>

#include "backend.h"

/* ---- birth ---- */

static const struct crewi_backend *pool_backend(int kind)
{
    return kind == CREW_SERIAL ? &crewi_backend_serial : &crewi_backend_threads;
}

static bool pool_helps(const crew_pool_options *options)
{
    if (options->flags & (CREW_CALLER_HELPS | CREW_WORKERS_ONLY))
        return (options->flags & CREW_CALLER_HELPS) != 0;
    return options->workers > 1 && !options->worker_init;
}

static void pool_init_words(crew_pool *pool)
{
    crewi_atomic_u64_init(&pool->gate, 0);
    crewi_atomic_u32_init(&pool->stop, 0);
    crewi_atomic_u32_init(&pool->drained, 0);
    crewi_atomic_u32_init(&pool->drain_waiters, 0);
    crewi_lock_init(&pool->join_lock);
    crewi_atomic_u32_init(&pool->is_joined, 0);
    crewi_lock_init(&pool->break_lock);
    crewi_atomic_u32_init(&pool->present, 0);
    crewi_atomic_size_init(&pool->queued, 0);
    crewi_atomic_u32_init(&pool->room, 0);
    crewi_atomic_u32_init(&pool->room_waiters, 0);
    crewi_lock_init(&pool->iterators_lock);
    for (size_t i = 0; i < CREWI_STRIPES; i++)
        crewi_counts_init(&pool->stripes[i].counts);
}

static crew_pool *pool_new(const crew_pool_options *options)
{
    struct crewi_memory memory = {options->alloc, options->free, options->user};
    crew_pool *pool = crewi_memory_get(&memory, sizeof *pool, CREWI_CACHE_LINE);
    if (!pool)
        return NULL;
    memset(pool, 0, sizeof *pool);
    pool->cells = crewi_cells_new(&memory, pool);
    if (!pool->cells) {
        crewi_memory_put(&memory, pool, sizeof *pool);
        return NULL;
    }
    pool->options = *options;
    pool->backend = pool_backend(options->kind);
    pool->helping = pool_helps(options);
    pool_init_words(pool);
    crewi_desks_init(pool);
    crewi_hatches_init(pool);
    crewi_lane_init(pool);
    return pool;
}

static void pool_delete(crew_pool *pool, bool is_forked)
{
    crewi_cells *cells = pool->cells;
    crewi_cells_shut_pool(cells, !is_forked);
    crewi_desks_close(pool, is_forked);
    crewi_hatches_close(pool, is_forked);
    crewi_memory_put(crewi_cells_memory(cells), pool, sizeof *pool);
    if (is_forked)
        crewi_cells_abandon(cells);
    else
        crewi_cells_orphan(cells);
}

static void pool_forked(void)
{
    crewi_graph_reset();
    crewi_frames_forked();
}

crew_status crew_pool_create(crew_pool **ret_pool, const crew_pool_options *given)
{
    crew_pool_options options;
    crew_status status = crewi_options_read(given, &options);
    if (status != CREW_OK)
        return status;
    if (!ret_pool)
        return crewi_refuse(options.error, CREW_INVALID, "ret_pool is NULL");
    crew_pool *pool = crewi_fork_watch(pool_forked) ? pool_new(&options) : NULL;
    if (!pool)
        return crewi_refuse(options.error, CREW_NO_MEMORY, "out of memory");
    pool->options.error = NULL; /* the caller's, for the time of this call only */
    crewi_barrier_prepare();
    status = pool->backend->open(pool, options.error);
    if (status != CREW_OK) {
        pool_delete(pool, false);
        return status;
    }
    *ret_pool = pool;
    return CREW_OK;
}

/* ---- work ---- */

void crewi_submit(crew_pool *pool, crewi_task *task, enum crewi_where where)
{
    pool->backend->submit(pool, task, where);
    crewi_submitted(pool);
}

void crewi_sweep(crew_pool *pool)
{
    pool->backend->sweep(pool);
}

crew_status crewi_pool_refuse(crew_pool *pool, crew_status status, crew_error *ret_error)
{
    if (ret_error && status == CREW_BROKEN) {
        *ret_error = pool->broken;
        ret_error->status = CREW_BROKEN;
    } else if (status == CREW_FULL) {
        (void)crewi_refuse(ret_error, status, "queue_max (%zu) is reached", pool->options.queue_max);
    } else {
        (void)crewi_refuse(ret_error, status, "%s",
                           status == CREW_CLOSED ? "the pool takes no more work" : "out of memory");
    }
    return status;
}

/* ---- the end ---- */

static crew_status pool_check(const crew_pool *pool)
{
    if (!pool)
        return CREW_INVALID;
    return crewi_pool_is_forked(pool) ? CREW_FORKED : CREW_OK;
}

/* Inside a job, callback, source or initializer of the pool its end cannot be waited for. */
static crew_status pool_check_outside(const crew_pool *pool)
{
    crew_status status = pool_check(pool);
    if (status == CREW_OK && crewi_frame_inside(pool))
        return CREW_DEADLOCK;
    return status;
}

crew_status crew_pool_wait(crew_pool *pool, crew_deadline deadline)
{
    crew_status status = pool_check_outside(pool);
    return status == CREW_OK ? crewi_gate_wait_drained(pool, deadline.ns) : status;
}

crew_status crew_pool_close(crew_pool *pool)
{
    crew_status status = pool_check(pool);
    if (status != CREW_OK)
        return status;
    crewi_gate_enter_inside(pool); /* the pool does not end while we tell its iterators */
    crewi_gate_shut(pool, CREWI_GATE_CLOSED);
    crewi_iterators_close(pool, false);
    crewi_gate_leave(pool);
    return CREW_OK;
}

crew_status crew_pool_terminate(crew_pool *pool)
{
    crew_status status = pool_check(pool);
    if (status != CREW_OK)
        return status;
    crewi_gate_enter_inside(pool);
    crewi_gate_shut(pool, CREWI_GATE_TERMINATED);
    /* Only now: a map whose items all stopped early would else count as done. */
    (void)crewi_atomic_u32_fetch_or(&pool->stop, CREWI_STOP);
    crewi_iterators_close(pool, true);
    crewi_desk_run(pool, pool->backend->sweep);
    crewi_gate_leave(pool);
    return CREW_OK;
}

void crewi_pool_break(crew_pool *pool, const crew_error *why)
{
    crewi_gate_enter_inside(pool);
    crewi_lock_acquire(&pool->break_lock);
    if (!(crewi_atomic_u64_load(&pool->gate) & CREWI_GATE_BROKEN)) {
        pool->broken = *why;
        crewi_gate_shut(pool, CREWI_GATE_BROKEN);
    }
    crewi_lock_release(&pool->break_lock);
    crewi_iterators_close(pool, true);
    crewi_desk_run(pool, pool->backend->sweep);
    crewi_gate_leave(pool);
}

static crew_status pool_join_threads(crew_pool *pool, int64_t deadline_ns)
{
    if (!pool->backend->wait_threads(pool, deadline_ns))
        return CREW_TIMEOUT;
    crewi_lock_acquire(&pool->join_lock);
    if (!crewi_atomic_u32_load(&pool->is_joined))
        pool->backend->join(pool);
    crewi_atomic_u32_store(&pool->is_joined, 1);
    crewi_lock_release(&pool->join_lock);
    return CREW_OK;
}

crew_status crew_pool_join(crew_pool *pool, crew_deadline deadline)
{
    crew_status status = pool_check_outside(pool);
    if (status != CREW_OK)
        return status;
    if (!(crewi_atomic_u64_load(&pool->gate) & (CREWI_GATE_CLOSED | CREWI_GATE_TERMINATED)))
        return CREW_INVALID;
    status = crewi_gate_wait_drained(pool, deadline.ns);
    return status == CREW_OK ? pool_join_threads(pool, deadline.ns) : status;
}

static void pool_free(crew_pool *pool, bool is_forked)
{
    pool->backend->free(pool);
    pool_delete(pool, is_forked);
}

/* In a fork's child. What this thread runs may be of this pool, and have its frame there: whoever called it may free the pool later. */
static void pool_free_forked(crew_pool *pool)
{
    if (!crewi_frame_of_pool(crewi_frame_top(), pool))
        pool_free(pool, true);
}

crew_status crew_pool_destroy(crew_pool *pool)
{
    if (!pool)
        return CREW_OK;
    crew_status status = pool_check_outside(pool);
    if (status == CREW_FORKED) {
        pool_free_forked(pool);
        return CREW_FORKED;
    }
    if (status != CREW_OK)
        return status;
    (void)crew_pool_close(pool);
    (void)crew_pool_join(pool, CREW_FOREVER);
    pool_free(pool, false);
    return CREW_OK;
}

void crew_pool_request_stop(crew_pool *pool)
{
    if (pool)
        (void)crewi_atomic_u32_fetch_or(&pool->stop, CREWI_STOP);
}

/* ---- looking ---- */

static int pool_state(crew_pool *pool, uint64_t gate)
{
    if (crewi_atomic_u32_load(&pool->is_joined))
        return CREW_POOL_JOINED;
    if (gate & CREWI_GATE_TERMINATED)
        return CREW_POOL_TERMINATED;
    if (gate & CREWI_GATE_BROKEN)
        return CREW_POOL_BROKEN;
    return gate & CREWI_GATE_CLOSED ? CREW_POOL_CLOSED : CREW_POOL_OPEN;
}

void crewi_totals_add(struct crewi_totals *totals, const struct crewi_counts *counts)
{
    for (size_t i = 0; i < CREWI_COUNTERS; i++) /* relaxed: a look, not an edge */
        totals->of[i] += crewi_atomic_u64_load_relaxed(&counts->of[i]);
    totals->credits += crewi_atomic_size_load_relaxed(&counts->credits);
}

static size_t difference(uint64_t more, uint64_t less)
{
    return more > less ? (size_t)(more - less) : 0;
}

static void info_count(crew_pool *pool, struct crewi_totals totals, uint64_t gate, crew_pool_info *info)
{
    for (size_t i = 0; i < CREWI_STRIPES; i++)
        crewi_totals_add(&totals, &pool->stripes[i].counts);
    for (size_t i = 0; i < CREWI_DESKS; i++)
        crewi_totals_add(&totals, &pool->desks[i].local.counts);
    for (size_t i = 0; i < CREWI_HATCHES; i++)
        crewi_totals_add(&totals, &pool->hatches[i].local.counts);
    info->done = totals.of[CREWI_SUCCEEDED];
    info->failed = totals.of[CREWI_FAILED];
    info->running = difference(totals.of[CREWI_STARTED], totals.of[CREWI_ENDED]);
    info->queued = difference(difference(gate & CREWI_GATE_COUNT, totals.credits), info->running);
}

crew_status crew_pool_query(crew_pool *pool, crew_pool_info *ret_info)
{
    crew_status status = pool_check(pool);
    if (status == CREW_OK && (!ret_info || ret_info->struct_size < sizeof *ret_info))
        return CREW_INVALID;
    if (status != CREW_OK)
        return status;
    struct crewi_backend_info backend;
    pool->backend->query(pool, &backend);
    crew_pool_info info = {
        .struct_size = ret_info->struct_size, .workers = pool->options.workers, .slots = backend.slots};
    uint64_t gate = crewi_atomic_u64_load(&pool->gate);
    info.state = pool_state(pool, gate);
    info_count(pool, backend.totals, gate, &info);
    info.threads = backend.threads;
    info.blocked = backend.blocked;
    info.spare_failures = backend.spare_failures;
    *ret_info = info;
    return CREW_OK;
}
