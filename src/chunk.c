/* SPDX-License-Identifier: MIT */
/* Items and chunks of an iterator: how they are run, and how they end. */
#include <string.h>

#include "backend.h"
#include "iterator.h"

/* ---- items ---- */

enum { ITEM_ALIGN = _Alignof(max_align_t) };

static size_t aligned(size_t size)
{
    return (size + ITEM_ALIGN - 1) / ITEM_ALIGN * ITEM_ALIGN;
}

/* An array's items are borrowed; pulled ones are the pool's. */
static size_t item_argument_size(const crew_iterator *iterator)
{
    return iterator->source.items ? 0 : aligned(iterator->job->arg_size);
}

static size_t item_size(const crew_iterator *iterator)
{
    return aligned(sizeof(crewi_item)) + item_argument_size(iterator) + iterator->job->result_size;
}

crewi_item *crewi_item_new(crew_iterator *iterator)
{
    crewi_shard *shard;
    crewi_item *item = crewi_cell_new(crewi_task_pool(&iterator->task), item_size(iterator), &shard);
    if (!item)
        return NULL;
    memset(item, 0, sizeof *item);
    item->shard = shard;
    return item;
}

void *crewi_item_argument(const crew_iterator *iterator, const crewi_item *item)
{
    if (iterator->job->arg_size == 0)
        return NULL;
    if (iterator->source.items)
        return (char *)(uintptr_t)iterator->source.items + item->index * iterator->job->arg_size;
    return (char *)(uintptr_t)item + aligned(sizeof *item);
}

void *crewi_item_value(const crew_iterator *iterator, const crewi_item *item)
{
    if (iterator->job->result_size == 0)
        return NULL;
    return (char *)(uintptr_t)item + aligned(sizeof *item) + item_argument_size(iterator);
}

void crewi_item_drop_argument(const crew_iterator *iterator, crewi_item *item)
{
    if (!iterator->source.items && iterator->job->drop_arg)
        iterator->job->drop_arg(crewi_item_argument(iterator, item), iterator->context);
}

void crewi_item_free(crew_iterator *iterator, crewi_item *item)
{
    bool has_value = item->is_done && item->status == CREW_OK;
    if (has_value && iterator->job->drop_result)
        iterator->job->drop_result(crewi_item_value(iterator, item), iterator->context);
    crewi_failure_drop(&item->failure);
    crewi_cell_free(item->shard, item, item_size(iterator));
}

/* ---- chunks ---- */

static const struct crewi_task_kind kind_chunk;

static crewi_chunk *chunk_of(const crewi_task *task)
{
    return CREWI_CONTAINER_OF((crewi_task *)(uintptr_t)task, crewi_chunk, task);
}

crewi_chunk *crewi_chunk_new(crew_iterator *iterator)
{
    crewi_shard *shard;
    crewi_chunk *chunk = crewi_cell_new(crewi_task_pool(&iterator->task), sizeof *chunk, &shard);
    if (!chunk)
        return NULL;
    memset(chunk, 0, sizeof *chunk);
    crewi_task_init(&chunk->task, &kind_chunk, shard, CREWI_PENDING, 2); /* the entry's and the end's */
    chunk->iterator = iterator;
    crewi_task_ref(&iterator->task);
    return chunk;
}

void crewi_chunk_add(crewi_chunk *chunk, crewi_item *item)
{
    item->chunk = chunk;
    if (chunk->last)
        chunk->last->chunk_next = item;
    else
        chunk->first = item;
    chunk->last = item;
    chunk->count++;
}

static void chunk_free(crewi_task *task)
{
    crewi_chunk *chunk = chunk_of(task);
    crewi_task *iterator = &chunk->iterator->task;
    crewi_cell_free(task->shard, chunk, sizeof *chunk);
    crewi_task_unref(iterator);
}

void crewi_chunk_abandon(crewi_chunk *chunk)
{
    crewi_task_unref(&chunk->task);
    crewi_task_unref(&chunk->task);
}

static void chunk_unlist(crewi_chunk *chunk)
{
    if (chunk->previous)
        chunk->previous->next = chunk->next;
    else
        chunk->iterator->chunks = chunk->next;
    if (chunk->next)
        chunk->next->previous = chunk->previous;
}

static void chunk_list(crewi_chunk *chunk)
{
    crew_iterator *iterator = chunk->iterator;
    chunk->previous = NULL;
    chunk->next = iterator->chunks;
    if (chunk->next)
        chunk->next->previous = chunk;
    iterator->chunks = chunk;
}

/* Listed, it may have been run by a helper already: the entry's reference is still ours to give. */
static void chunk_submit(crewi_chunk *chunk)
{
    crew_iterator *iterator = chunk->iterator;
    crewi_task_ref(&iterator->task);
    crewi_submit(crewi_task_pool(&iterator->task), &chunk->task, CREWI_BEHIND);
    crewi_iterator_wake(iterator);
    crewi_task_unref(&iterator->task);
}

static void iterator_append(crew_iterator *iterator, crewi_item *item)
{
    item->next = NULL;
    if (iterator->first)
        iterator->last->next = item;
    else
        iterator->first = item;
    iterator->last = item;
}

/* From the moment that its items can be seen the chunk can be claimed. */
void crewi_chunk_publish(crewi_chunk *chunk)
{
    crew_iterator *iterator = chunk->iterator;
    crewi_gate_enter_inside(crewi_task_pool(&iterator->task)); /* the puller's own count keeps the pool so far */
    crewi_lock_acquire(&iterator->lock);
    for (crewi_item *item = chunk->first; iterator->is_ordered && item; item = item->chunk_next)
        iterator_append(iterator, item);
    chunk_list(chunk);
    crewi_lock_release(&iterator->lock);
    chunk_submit(chunk);
}

/* Claimed: from "not started" to "running". */
static void chunk_start(crewi_chunk *chunk)
{
    crew_iterator *iterator = chunk->iterator;
    crewi_lock_acquire(&iterator->lock);
    chunk_unlist(chunk);
    iterator->running++;
    crewi_lock_release(&iterator->lock);
    crewi_count(crewi_task_pool(&chunk->task), CREWI_STARTED);
}

static void chunk_finish(crewi_chunk *chunk)
{
    crew_iterator *iterator = chunk->iterator;
    crew_pool *pool = crewi_task_pool(&chunk->task);
    crewi_lock_acquire(&iterator->lock);
    iterator->running--;
    crewi_lock_release(&iterator->lock);
    crewi_iterator_wake(iterator);
    crewi_count(pool, CREWI_ENDED);
    crewi_task_unref(&chunk->task);
    crewi_gate_leave(pool);
}

static void item_keep_pool_error(crew_iterator *iterator, crewi_item *item)
{
    crew_error error;
    (void)crewi_pool_refuse(crewi_task_pool(&iterator->task), CREW_BROKEN, &error);
    error.index = item->index;
    crewi_text_copy(error.job, sizeof error.job, iterator->job->name);
    crewi_failure_keep(&item->failure, crewi_cells_of(iterator->task.shard), &error);
}

/* The item's last moment with its runner: from here on it is the consumer's. */
static void item_settle(crew_iterator *iterator, crewi_item *item, crew_status status)
{
    crewi_count(crewi_task_pool(&iterator->task), status == CREW_OK ? CREWI_SUCCEEDED : CREWI_FAILED);
    crewi_item_drop_argument(iterator, item);
    if (status == CREW_BROKEN)
        item_keep_pool_error(iterator, item);
    crewi_lock_acquire(&iterator->lock);
    item->status = status;
    item->is_done = true;
    if (!iterator->is_ordered)
        iterator_append(iterator, item);
    crewi_lock_release(&iterator->lock);
    crewi_iterator_wake(iterator);
}

static void item_fail(crew_iterator *iterator, crewi_item *item, crew_status status, int code, const crewi_frame *frame)
{
    crew_error error;
    crewi_error_from_frame(&error, status, code, frame, iterator->job);
    crewi_failure_keep(&item->failure, crewi_cells_of(iterator->task.shard), &error);
    item_settle(iterator, item, status);
}

/* What an item is to end as that has not started: CREW_OK to run it. */
static crew_status item_verdict(const crew_iterator *iterator)
{
    if (crewi_atomic_u32_load(&iterator->task.state) & CREWI_STOP)
        return CREW_CANCELLED;
    return crewi_gate_verdict(crewi_task_pool(&iterator->task));
}

/* False: this is a fork's child now. */
static bool item_run(crew_iterator *iterator, crewi_item *item, crewi_frame *frame)
{
    crew_status verdict = item_verdict(iterator);
    if (verdict != CREW_OK)
        return item_settle(iterator, item, verdict), true;
    crewi_frame_enter(frame, CREWI_FRAME_JOB, crewi_task_pool(&iterator->task), &iterator->task);
    frame->stop = &iterator->task.state;
    frame->index = item->index;
    frame->part = item;
    int code =
        iterator->job->fn(crewi_item_argument(iterator, item), crewi_item_value(iterator, item), iterator->context);
    crewi_frame_leave(frame);
    if (crewi_task_is_forked(&iterator->task))
        return false;
    if (code)
        item_fail(iterator, item, CREW_FAILED, code, frame);
    else
        item_settle(iterator, item, CREW_OK);
    return true;
}

void crewi_chunk_run_claimed(crewi_task *task, crewi_frame *frame)
{
    crewi_chunk *chunk = chunk_of(task);
    crew_iterator *iterator = chunk->iterator;
    chunk_start(chunk);
    for (crewi_item *item = chunk->first, *next; item; item = next) {
        next = item->chunk_next;
        if (!item_run(iterator, item, frame))
            return;
    }
    chunk_finish(chunk);
}

void crewi_chunk_end_claimed(crewi_chunk *chunk, crew_status status)
{
    crew_iterator *iterator = chunk->iterator;
    chunk_start(chunk);
    for (crewi_item *item = chunk->first, *next; item; item = next) {
        next = item->chunk_next;
        item_settle(iterator, item, status);
    }
    chunk_finish(chunk);
}

static bool chunk_run(crewi_task *task, crewi_frame *frame)
{
    if (crewi_task_claim(task))
        crewi_chunk_run_claimed(task, frame);
    return false;
}

static bool chunk_end(crewi_task *task, crew_status status)
{
    if (crewi_task_claim(task))
        crewi_chunk_end_claimed(chunk_of(task), status);
    return false;
}

static bool chunk_is_dead(const crewi_task *task)
{
    return crewi_phase(crewi_atomic_u32_load(&task->state)) != CREWI_PENDING;
}

static const struct crewi_task_kind kind_chunk = {
    .run = chunk_run, .end = chunk_end, .is_dead = chunk_is_dead, .free = chunk_free};

/* ---- a lost thread ---- */

/* The rest of its chunk becomes a chunk of its own; without memory for that, it shares the fate of the lost item. */
static void chunk_hand_on(crewi_chunk *chunk, crewi_item *rest)
{
    crew_iterator *iterator = chunk->iterator;
    crewi_chunk *heir = crewi_chunk_new(iterator);
    if (heir)
        crewi_gate_enter_inside(crewi_task_pool(&iterator->task));
    crewi_lock_acquire(&iterator->lock);
    for (crewi_item *item = rest, *next; heir && item; item = next) {
        next = item->chunk_next;
        item->chunk_next = NULL;
        crewi_chunk_add(heir, item);
    }
    if (heir)
        chunk_list(heir);
    crewi_lock_release(&iterator->lock);
    if (heir)
        chunk_submit(heir);
    for (crewi_item *item = heir ? NULL : rest, *next; item; item = next) {
        next = item->chunk_next;
        item_settle(iterator, item, CREW_WORKER_LOST);
    }
}

void crewi_chunk_lost(crewi_item *item, crewi_frame *frame)
{
    crewi_chunk *chunk = item->chunk;
    crewi_item *rest = item->chunk_next;
    item_fail(chunk->iterator, item, CREW_WORKER_LOST, 0, frame);
    if (rest)
        chunk_hand_on(chunk, rest);
    chunk_finish(chunk);
}
