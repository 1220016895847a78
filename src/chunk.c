/* SPDX-License-Identifier: MIT */
/* How the items of an iterator are run, chunk by chunk, and how they end.
 *
 * Chunks have no queue entries of their own: the iterator's entry calls a worker, who claims chunk after chunk. Before it runs one, it
 * puts the entry back if more have not started: so another worker can join, and no item that blocks holds up those behind it. */
#include "backend.h"
#include "iterator.h"

enum { LOOK_EVERY = 64 }; /* chunks after which a worker looks at the clock and at the source, at the latest */

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

size_t crewi_item_size(const crew_iterator *iterator)
{
    return aligned(sizeof(crewi_item)) + item_argument_size(iterator) + aligned(iterator->job->result_size);
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

void crewi_item_drop(const crew_iterator *iterator, crewi_item *item)
{
    if (crewi_item_outcome(item) == CREW_OK && iterator->job->drop_result)
        iterator->job->drop_result(crewi_item_value(iterator, item), iterator->context);
    crewi_failure_drop(&item->failure);
}

/* ---- how an item ends ---- */

static void item_keep_pool_error(crew_iterator *iterator, crewi_item *item)
{
    crew_error error;
    (void)crewi_pool_refuse(crewi_task_pool(&iterator->task), CREW_BROKEN, &error);
    error.index = item->index;
    crewi_text_copy(error.job, sizeof error.job, iterator->job->name);
    crewi_failure_keep(&item->failure, crewi_cells_of(iterator->task.shard), &error);
}

/* In input order only the next item is waited for. Whoever takes the one before it looks for waiters, too, after it has
 * counted that as taken: so if we see an old count, it sees that this one is done. */
static void item_tell(crew_iterator *iterator, size_t index)
{
    if (!(crewi_atomic_u32_load(&iterator->task.state) & CREWI_WAITERS))
        return;
    if (!iterator->is_ordered || crewi_atomic_u64_load(&iterator->taken) == index)
        crewi_iterator_wake(iterator);
}

/* The item's last moment with its runner: from here on it is the consumer's. */
static CREWI_USUAL void item_settle(crew_iterator *iterator, struct crewi_local *local, crewi_item *item,
                                    crew_status status)
{
    size_t index = item->index;
    crewi_count_by(crewi_task_pool(&iterator->task), local, status == CREW_OK ? CREWI_SUCCEEDED : CREWI_FAILED);
    crewi_item_drop_argument(iterator, item);
    crewi_atomic_u32_store(&item->state, 1 + (uint32_t)status);
    if (!iterator->is_ordered)
        crewi_queue_push(&iterator->done, &item->link);
    item_tell(iterator, index);
}

static CREWI_RARE void item_fail(crew_iterator *iterator, crewi_item *item, crew_status status, int code,
                                 const crewi_frame *frame)
{
    crew_error error;
    crewi_error_from_frame(&error, status, code, frame, iterator->job);
    crewi_failure_keep(&item->failure, crewi_cells_of(iterator->task.shard), &error);
    item_settle(iterator, frame->local, item, status);
}

/* It has not started, and will not. */
static CREWI_RARE void item_end(crew_iterator *iterator, struct crewi_local *local, crewi_item *item,
                                crew_status status)
{
    if (status == CREW_BROKEN)
        item_keep_pool_error(iterator, item);
    item_settle(iterator, local, item, status);
}

/* What an item is to end as that has not started: CREW_OK to run it. */
static crew_status item_verdict(const crew_iterator *iterator)
{
    if (crewi_atomic_u32_load(&iterator->task.state) & CREWI_STOP)
        return CREW_CANCELLED;
    return crewi_gate_verdict(crewi_task_pool(&iterator->task));
}

/* False: this is a fork's child now. */
static CREWI_USUAL bool item_run(crew_iterator *iterator, crewi_item *item, crewi_frame *frame)
{
    crew_status verdict = item_verdict(iterator);
    if (verdict != CREW_OK)
        return item_end(iterator, frame->local, item, verdict), true;
    frame->index = item->index;
    frame->part = item;
    crewi_frame_forget_message(frame);
    crewi_frame_return(frame);
    int code =
        iterator->job->fn(crewi_item_argument(iterator, item), crewi_item_value(iterator, item), iterator->context);
    crewi_frame_leave(frame);
    if (crewi_task_is_forked(&iterator->task))
        return false;
    if (code)
        item_fail(iterator, item, CREW_FAILED, code, frame);
    else
        item_settle(iterator, frame->local, item, CREW_OK);
    return true;
}

/* ---- chunks ---- */

/* Through with it. */
static void chunk_finish(crew_iterator *iterator, struct crewi_local *local)
{
    crew_pool *pool = crewi_task_pool(&iterator->task);
    crewi_count_by(pool, local, CREWI_ENDED);
    crewi_gate_leave_by(pool, local);
}

/* Runs a chunk that the caller has claimed. False: this is a fork's child now. */
static CREWI_USUAL bool chunk_run(crew_iterator *iterator, crewi_item *item, crewi_frame *frame)
{
    crewi_count_by(crewi_task_pool(&iterator->task), frame->local, CREWI_STARTED);
    uint32_t left = crewi_atomic_u32_load_relaxed(&item->count); /* relaxed: claimed */
    frame->range_end = item->index + left;
    for (crewi_link *next; left > 0; left--) {
        next = item->link.next; /* once it is settled, the item is another's */
        if (!item_run(iterator, item, frame))
            return false;
        item = left > 1 ? CREWI_CONTAINER_OF(next, crewi_item, link) : NULL;
    }
    chunk_finish(iterator, frame->local);
    return true;
}

static void chunk_end(crew_iterator *iterator, crewi_item *item, crew_status status)
{
    struct crewi_local *local = crewi_local_here(crewi_task_pool(&iterator->task));
    crewi_count_by(crewi_task_pool(&iterator->task), local, CREWI_STARTED);
    uint32_t left = crewi_atomic_u32_load_relaxed(&item->count); /* relaxed: claimed */
    for (crewi_link *next; left > 0; left--) {
        next = item->link.next;
        item_end(iterator, local, item, status);
        item = left > 1 ? CREWI_CONTAINER_OF(next, crewi_item, link) : NULL;
    }
    chunk_finish(iterator, local);
}

/* Whoever claims chunks has counted itself before: what is claimed never seems to be neither unstarted nor running. */
static void running_begin(crew_iterator *iterator)
{
    (void)crewi_atomic_u32_fetch_add(&iterator->running, 1);
}

static void running_end(crew_iterator *iterator)
{
    (void)crewi_atomic_u32_fetch_sub(&iterator->running, 1);
    crewi_iterator_wake(iterator);
}

static void frame_prepare(crew_iterator *iterator, crewi_frame *frame)
{
    crewi_frame_enter(frame, CREWI_FRAME_JOB, crewi_task_pool(&iterator->task), &iterator->task);
    frame->stop = &iterator->task.state;
    crewi_frame_leave(frame);
}

/* After 1, 2, 4 … chunks, so that few long ones do not take more than twice their turn, and short ones do not pay for the clock. */
static bool is_time_to_look(size_t chunks)
{
    return (chunks & (chunks - 1)) == 0 || chunks % LOOK_EVERY == 0;
}

static bool chunks_may_go_on(crew_iterator *iterator, int64_t end_ns)
{
    uint64_t ahead = crewi_line_arrived(iterator) - crewi_atomic_u64_load(&iterator->taken);
    if (iterator->window - ahead >= iterator->refill) { /* a guess, so that the consumers' lock is left alone */
        crewi_lock_acquire(&iterator->lock);
        bool can_pull = !iterator->is_starved && crewi_iterator_can_pull(iterator, iterator->refill);
        crewi_lock_release(&iterator->lock);
        if (can_pull)
            return false;
    }
    return crewi_clock_now_ns() < end_ns;
}

bool crewi_chunks_run(crew_iterator *iterator, crewi_frame *frame, int64_t end_ns)
{
    crewi_item *item;
    frame_prepare(iterator, frame);
    running_begin(iterator);
    for (size_t chunks = 1; (item = crewi_line_claim(iterator)); chunks++) {
        if (crewi_line_has_unstarted(iterator))
            crewi_iterator_call(iterator, CREWI_LAZILY);
        if (!chunk_run(iterator, item, frame))
            return false;
        if (is_time_to_look(chunks) && !chunks_may_go_on(iterator, end_ns))
            break;
    }
    running_end(iterator);
    return true;
}

void crewi_chunk_help(crew_iterator *iterator, crewi_frame *frame)
{
    frame->range_first = 0;
    frame_prepare(iterator, frame);
    running_begin(iterator);
    /* Ordered: of those that have not started only the next to be taken will do. Who takes it waits until it is done. */
    crewi_item *item = iterator->is_ordered ? crewi_line_claim_at(iterator, crewi_atomic_u64_load(&iterator->taken))
                                            : crewi_line_claim(iterator);
    if (item && !chunk_run(iterator, item, frame))
        return;
    running_end(iterator);
}

void crewi_chunks_end(crew_iterator *iterator, crew_status status)
{
    running_begin(iterator);
    for (crewi_item *item; (item = crewi_line_claim(iterator));)
        chunk_end(iterator, item, status);
    running_end(iterator);
}

/* ---- a lost thread ---- */

void crewi_chunk_lost(crew_iterator *iterator, crewi_item *item, crewi_frame *frame)
{
    crewi_link *next = item->link.next;
    uint32_t left = (uint32_t)(frame->range_end - item->index - 1);
    if (left > 0) {
        crewi_gate_enter_inside(crewi_task_pool(&iterator->task));
        crewi_line_give_back(iterator, CREWI_CONTAINER_OF(next, crewi_item, link), left);
    }
    item_fail(iterator, item, CREW_WORKER_LOST, 0, frame);
    if (crewi_atomic_u32_load(&iterator->task.state) & CREWI_STOP)
        crewi_chunks_end(iterator, CREW_CANCELLED); /* a call may have been withdrawn for good */
    else if (crewi_line_has_unstarted(iterator))
        crewi_iterator_call(iterator, CREWI_BEHIND);
    chunk_finish(iterator, frame->local);
    running_end(iterator);
}
