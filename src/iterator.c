/* SPDX-License-Identifier: MIT */
/* Items out: next, destroy; and an iterator as the target of a wait. */
#include <string.h>

#include "backend.h"
#include "iterator.h"

/* ---- freeing ---- */

/* Items that nobody will take; called when none is being run. */
static void iterator_drop_items(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    crewi_item *item = iterator->first;
    iterator->first = iterator->last = NULL;
    crewi_lock_release(&iterator->lock);
    for (crewi_item *next; item; item = next) {
        next = item->next;
        crewi_item_free(iterator, item);
    }
}

static void iterator_free(crewi_task *task)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    iterator_drop_items(iterator);
    crewi_iterator_release(iterator);
    crewi_cell_free(task->shard, iterator, sizeof *iterator);
}

/* ---- as the target of a wait: all questions are asked without the lock ---- */

static bool iterator_has_item(const crew_iterator *iterator)
{
    return iterator->first && iterator->first->is_done;
}

static bool iterator_is_empty(const crew_iterator *iterator)
{
    return iterator->pulled == iterator->taken;
}

/* Nothing is on its way any more. What a source still has in hand after a cut will be dropped: nobody waits for it. */
static bool iterator_is_through(const crew_iterator *iterator)
{
    size_t late = iterator->is_cut && iterator->is_in_source;
    return iterator->ended != CREW_OK && iterator->pulled - late == iterator->taken;
}

static bool iterator_is_dry(const crew_iterator *iterator)
{
    bool nothing_comes = iterator->is_starved && !iterator->is_pulling && !iterator->is_activated;
    return iterator_is_through(iterator) || (iterator_is_empty(iterator) && nothing_comes);
}

static bool iterator_is_ready_locked(const crew_iterator *iterator)
{
    if (iterator->is_destroyed)
        return iterator->running == 0 && !iterator->chunks; /* a listed one may have been claimed */
    return iterator_has_item(iterator) || iterator_is_dry(iterator);
}

static bool iterator_is_ready(crewi_task *task)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    crewi_lock_acquire(&iterator->lock);
    bool is_ready = iterator_is_ready_locked(iterator);
    crewi_lock_release(&iterator->lock);
    return is_ready;
}

static bool chunk_is_unstarted(const crewi_chunk *chunk)
{
    return crewi_phase(crewi_atomic_u32_load(&chunk->task.state)) == CREWI_PENDING;
}

/* Under the lock: the chunk without which the next item cannot come. For an unordered iterator any will do, but helping with
 * one might take longer than waiting for another: only a job does that (`any`), since other workers may be blocked by locks it holds. */
static crewi_chunk *iterator_chunk_needed(const crew_iterator *iterator, bool any)
{
    crewi_chunk *chunk = any ? iterator->chunks : NULL;
    if (iterator->is_ordered) {
        chunk = iterator->first && !iterator->first->is_done ? iterator->first->chunk : NULL;
        return chunk && chunk_is_unstarted(chunk) ? chunk : NULL;
    }
    while (chunk && !chunk_is_unstarted(chunk))
        chunk = chunk->next;
    return chunk;
}

static bool iterator_help(crewi_task *task, bool any)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    crew_pool *pool = crewi_task_pool(task);
    crewi_lock_acquire(&iterator->lock);
    crewi_chunk *chunk = iterator->is_destroyed ? NULL : iterator_chunk_needed(iterator, any);
    bool is_claimed = chunk && crewi_task_claim(&chunk->task);
    bool wants_pull = !chunk && !iterator->is_destroyed && iterator_is_empty(iterator);
    crewi_lock_release(&iterator->lock);
    if (wants_pull)
        return crewi_iterator_pull_here(iterator);
    if (!is_claimed)
        return false;
    crewi_run_guarded(crewi_chunk_run_claimed, &chunk->task);
    if (!crewi_pool_is_forked(pool))
        pool->backend->retract(pool);
    return true;
}

/* Under the lock. */
static bool iterator_requires_locked(const crew_iterator *iterator, const crewi_frame *frame)
{
    bool is_pull = frame->kind == CREWI_FRAME_PULL;
    if (iterator->is_destroyed)
        return !is_pull;
    if (is_pull)
        return !iterator->first;
    return !iterator->is_ordered || (iterator->first && iterator->first->index == frame->index);
}

static bool iterator_requires(crewi_task *task, const crewi_frame *frame)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    if (frame->task != task || (frame->kind != CREWI_FRAME_JOB && frame->kind != CREWI_FRAME_PULL))
        return false;
    crewi_lock_acquire(&iterator->lock);
    bool requires = iterator_requires_locked(iterator, frame);
    crewi_lock_release(&iterator->lock);
    return requires;
}

static size_t iterator_running(const crew_iterator *iterator)
{
    if (iterator->is_ordered && !iterator->is_destroyed) { /* only the head counts */
        const crewi_item *head = iterator->first;
        return head ? !head->is_done && !chunk_is_unstarted(head->chunk) : iterator->is_pulling;
    }
    size_t running = iterator->running + (iterator->is_pulling && !iterator->first);
    bool is_about_to_pull = crewi_iterator_has_room(iterator) && !iterator->is_pulling && !iterator->is_activated;
    running += is_about_to_pull && !iterator->is_starved;
    for (const crewi_chunk *chunk = iterator->chunks; chunk; chunk = chunk->next)
        running += !chunk_is_unstarted(chunk); /* claimed, and about to be counted */
    return running;
}

static struct crewi_view iterator_look(crewi_task *task)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    crewi_lock_acquire(&iterator->lock);
    bool can_pull = iterator_is_empty(iterator) && !iterator->is_pulling && iterator->ended == CREW_OK;
    struct crewi_view view = {
        .is_ready = iterator_is_ready_locked(iterator),
        .any_will_do = !iterator->is_ordered && !iterator->is_destroyed,
        .has_unstarted =
            can_pull || iterator_chunk_needed(iterator, true) || (!iterator->first && iterator->is_activated),
        .running = iterator_running(iterator),
    };
    crewi_lock_release(&iterator->lock);
    return view;
}

static bool iterator_is_dead(const crewi_task *task)
{
    (void)task;
    return false;
}

const struct crewi_task_kind crewi_kind_iterator = {
    .run = crewi_iterator_run,
    .end = crewi_iterator_run_end,
    .is_dead = iterator_is_dead,
    .lost = crewi_iterator_lost,
    .free = iterator_free,
    .is_ready = iterator_is_ready,
    .help = iterator_help,
    .requires = iterator_requires,
    .look = iterator_look,
};

/* ---- next ---- */

/* The next item to hand out, or NULL with *ret_status: CREW_OK: there may be one later. */
static crewi_item *iterator_take(crew_iterator *iterator, crew_status *ret_status)
{
    crewi_item *item = NULL;
    *ret_status = CREW_OK;
    crewi_lock_acquire(&iterator->lock);
    if (iterator_has_item(iterator)) {
        item = iterator->first;
        iterator->first = item->next;
        iterator->taken++;
    } else if (iterator_is_dry(iterator)) {
        *ret_status = iterator->ended != CREW_OK ? iterator->ended : CREW_NO_MEMORY;
    }
    crewi_lock_release(&iterator->lock);
    if (item)
        crewi_iterator_wake(iterator); /* other consumers wait for another item now, which may depend on others */
    return item;
}

/* Makes sure that pulling goes on; after the pool's end there is nothing to go on. */
static void iterator_go_on(crew_iterator *iterator)
{
    crewi_cells *cells = crewi_cells_of(iterator->task.shard);
    if (!crewi_cells_enter_pool(cells))
        return;
    crewi_iterator_kick(iterator);
    crewi_cells_leave_pool(cells);
}

static crew_status iterator_deliver(crew_iterator *iterator, crewi_item *item, void *ret_value, size_t *ret_index,
                                    crew_error *ret_error)
{
    crew_status status = item->status;
    if (ret_index)
        *ret_index = item->index;
    if (status == CREW_OK) {
        if (iterator->job->result_size > 0)
            memcpy(ret_value, crewi_item_value(iterator, item), iterator->job->result_size);
        item->is_done = false; /* its value is the consumer's now */
    } else if (ret_error) {
        crewi_failure_get(&item->failure, status, item->index, iterator->job, ret_error);
    }
    crewi_item_free(iterator, item);
    iterator_go_on(iterator);
    return status;
}

static crew_status iterator_refuse(crew_iterator *iterator, crew_status status, crew_error *ret_error)
{
    if (!ret_error)
        return status;
    if (status == CREW_SOURCE_FAILED || status == CREW_CLOSED)
        *ret_error = iterator->error;
    else
        crewi_error_from_frame(ret_error, status, 0, NULL, iterator->job);
    return status;
}

/* No memory for an item when it was due: tries once more. True: something comes now. */
static bool iterator_retry(crew_iterator *iterator)
{
    iterator_go_on(iterator);
    crewi_lock_acquire(&iterator->lock);
    bool comes = !iterator_is_dry(iterator);
    crewi_lock_release(&iterator->lock);
    return comes;
}

crew_status crew_iterator_next(crew_iterator *iterator, void *ret_value, size_t *ret_index, crew_deadline deadline,
                               crew_error *ret_error)
{
    if (!iterator || (!ret_value && iterator->job->result_size > 0))
        return crewi_refuse(ret_error, CREW_INVALID,
                            iterator ? "ret_value is NULL, the job has a result" : "iterator is NULL");
    if (crewi_task_is_forked(&iterator->task))
        return iterator_refuse(iterator, CREW_FORKED, ret_error);
    for (bool has_retried = false;;) {
        crew_status status;
        crewi_item *item = iterator_take(iterator, &status);
        if (item)
            return iterator_deliver(iterator, item, ret_value, ret_index, ret_error);
        if (status == CREW_NO_MEMORY && !has_retried) {
            has_retried = iterator_retry(iterator);
            if (has_retried)
                continue;
        }
        if (status == CREW_OK)
            status = crewi_wait(&iterator->task, deadline.ns, 0);
        if (status != CREW_OK)
            return iterator_refuse(iterator, status, ret_error);
    }
}

/* ---- destroy ---- */

/* Claims a chunk that has not started, with a reference; NULL: there is none. */
static crewi_chunk *iterator_claim_chunk(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    crewi_chunk *chunk = iterator->chunks;
    while (chunk && !crewi_task_claim(&chunk->task))
        chunk = chunk->next;
    crewi_lock_release(&iterator->lock);
    return chunk;
}

/* What of destroy concerns the pool, while there is one. */
static void iterator_leave_pool(crew_iterator *iterator)
{
    crewi_cells *cells = crewi_cells_of(iterator->task.shard);
    if (!crewi_cells_enter_pool(cells))
        return;
    crew_pool *pool = crewi_task_pool(&iterator->task);
    crewi_iterator_list(iterator, NULL);
    for (crewi_chunk *chunk; (chunk = iterator_claim_chunk(iterator));) {
        crewi_chunk_end_claimed(chunk, CREW_CANCELLED);
        pool->backend->retract(pool);
    }
    crewi_cells_leave_pool(cells);
}

static bool iterator_runs_here(const crew_iterator *iterator)
{
    const crewi_frame *frame = crewi_frame_top();
    while (frame && !(frame->task == &iterator->task && frame->kind == CREWI_FRAME_JOB))
        frame = frame->outer;
    return frame != NULL;
}

void crew_iterator_destroy(crew_iterator *iterator)
{
    if (!iterator)
        return;
    if (crewi_task_is_forked(&iterator->task)) {
        crewi_cells_forget_handle(iterator->task.shard);
        return;
    }
    (void)crewi_atomic_u32_fetch_or(&iterator->task.state, CREWI_STOP);
    crewi_lock_acquire(&iterator->lock);
    iterator->is_destroyed = true;
    crewi_lock_release(&iterator->lock);
    crewi_iterator_end(iterator, CREW_CLOSED, NULL);
    crewi_iterator_cut(iterator);
    iterator_leave_pool(iterator);
    if (!iterator_runs_here(iterator)) {
        (void)crewi_wait(&iterator->task, CREWI_NEVER, CREWI_WAIT_MUST);
        iterator_drop_items(iterator);
        crewi_iterator_release(iterator);
    }
    crewi_handle_discount(iterator->task.shard);
    crewi_task_unref(&iterator->task);
}
