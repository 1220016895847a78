/* SPDX-License-Identifier: MIT */
/* Items in: crew_imap, and pulling from the source.
 *
 * At most one thread at a time is between pull_begin and pull_end. It holds a count of the pool's gate, so that the pool does not
 * end beneath it. Array sources are fed by whoever notices that there is room, since no user code is involved; functions
 * are called on workers (the iterator's own queue entry asks for one) or by a consumer that waits for ever. */
#include <string.h>

#include "backend.h"
#include "iterator.h"

/* ---- waking ---- */

void crewi_iterator_wake(crew_iterator *iterator)
{
    crewi_atomic_u32 *word = &iterator->task.state;
    uint32_t state = crewi_atomic_u32_load(word);
    while (state & CREWI_WAITERS)
        if (crewi_atomic_u32_cas(word, &state, (state & ~(uint32_t)CREWI_WAITERS) + CREWI_POKE)) {
            crewi_futex_wake_all(word);
            return;
        }
}

/* ---- the source's end ---- */

/* Under the lock: whether the caller shall release the source now. */
static bool iterator_claim_release(crew_iterator *iterator)
{
    bool is_over = iterator->ended != CREW_OK && !iterator->is_pulling && !iterator->is_released;
    if (!is_over || (iterator->source.items && !iterator->is_destroyed))
        return false;
    iterator->is_released = true;
    return true;
}

void crewi_iterator_release(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    bool mine = iterator_claim_release(iterator);
    crewi_lock_release(&iterator->lock);
    if (mine && iterator->source.release)
        iterator->source.release(iterator->source.user);
}

/* Hands a chunk over, as far as it was filled. */
static void pull_publish(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    crewi_chunk *chunk = iterator->filling;
    iterator->filling = NULL;
    crewi_lock_release(&iterator->lock);
    if (chunk && chunk->count > 0)
        crewi_chunk_publish(chunk);
    else if (chunk)
        crewi_chunk_abandon(chunk);
}

void crewi_iterator_end(crew_iterator *iterator, crew_status status, const crew_error *why)
{
    crewi_lock_acquire(&iterator->lock);
    bool is_first = iterator->ended == CREW_OK;
    if (is_first) {
        iterator->ended = status;
        if (why)
            iterator->error = *why;
    }
    crewi_lock_release(&iterator->lock);
    if (!iterator->source.items)
        crewi_iterator_release(iterator);
    crewi_iterator_wake(iterator);
}

/* What was pulled so far is handed over, since the puller may be stuck in its source for ever. */
void crewi_iterator_cut(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    iterator->is_cut = true;
    crewi_lock_release(&iterator->lock);
    pull_publish(iterator);
    crewi_iterator_wake(iterator);
}

/* The pool takes no more work. Why is in the error; the status is no outcome, or loops over outcomes would not end. */
void crewi_iterator_close(crew_iterator *iterator, crew_pool *pool)
{
    crew_error why;
    if (crewi_gate_verdict(pool) == CREW_BROKEN)
        (void)crewi_pool_refuse(pool, CREW_BROKEN, &why);
    else
        (void)crewi_refuse(&why, CREW_CLOSED, "the pool takes no more work");
    why.status = CREW_CLOSED;
    crewi_iterator_end(iterator, CREW_CLOSED, &why);
}

/* ---- one pull ---- */

/* Calls the source for one item. 1, 0, or negative with *ret_error. */
static int source_pull(crew_iterator *iterator, crewi_item *item, crewi_frame *frame, crew_error *ret_error)
{
    unsigned char nothing[1]; /* for a job without argument */
    void *place = iterator->job->arg_size > 0 ? crewi_item_argument(iterator, item) : nothing;
    frame->index = item->index;
    frame->part = item;
    frame->has_message = false;
    int pulled = iterator->source.pull(iterator->source.user, place);
    frame->part = NULL;
    if (crewi_task_is_forked(&iterator->task))
        return 0;
    if (pulled == 0 || pulled == 1)
        return pulled;
    crewi_error_from_frame(ret_error, CREW_FAILED, pulled, frame, iterator->job);
    ret_error->status = CREW_SOURCE_FAILED;
    if (pulled > 1)
        crewi_text_copy(ret_error->message, sizeof ret_error->message,
                        "the source returned neither 1, nor 0, nor an error");
    return -1;
}

static int source_next(crew_iterator *iterator, crewi_item *item, crewi_frame *frame, crew_error *ret_error)
{
    if (iterator->source.items)
        return item->index < iterator->source.count;
    return source_pull(iterator, item, frame, ret_error);
}

/* Under the lock: room for a whole chunk, so that a consumer that takes items one by one does not break chunks up. */
bool crewi_iterator_has_room(const crew_iterator *iterator)
{
    return iterator->ended == CREW_OK &&
           iterator->window - (iterator->pulled - iterator->taken) >= iterator->chunk_size;
}

/* Counts the item as pulled before it is, so that the window holds at every instant. */
static bool item_reserve(crew_iterator *iterator, crewi_item *item)
{
    crewi_lock_acquire(&iterator->lock);
    bool goes_on = iterator->ended == CREW_OK;
    if (goes_on)
        item->index = iterator->pulled++;
    iterator->is_in_source = goes_on;
    crewi_lock_release(&iterator->lock);
    return goes_on;
}

/* The source returned an item. False: after the end of pool or iterator it is nobody's. */
static bool item_arrive(crew_iterator *iterator, crewi_item *item)
{
    crewi_lock_acquire(&iterator->lock);
    bool is_wanted = !iterator->is_cut;
    if (is_wanted) {
        iterator->is_in_source = false;
        crewi_chunk_add(iterator->filling, item);
    }
    crewi_lock_release(&iterator->lock);
    return is_wanted;
}

static void item_unpull(crew_iterator *iterator, crewi_item *item)
{
    crewi_lock_acquire(&iterator->lock);
    iterator->pulled--;
    iterator->is_in_source = false;
    crewi_lock_release(&iterator->lock);
    crewi_item_free(iterator, item);
}

/* The source has said its last word: it is released before anybody can see the end, who may then take its memory away. */
static void source_end(crew_iterator *iterator, int pulled, const crew_error *error)
{
    crewi_lock_acquire(&iterator->lock);
    bool mine = !iterator->is_released && !iterator->source.items;
    iterator->is_released |= mine;
    crewi_lock_release(&iterator->lock);
    if (mine && iterator->source.release)
        iterator->source.release(iterator->source.user);
    crewi_iterator_end(iterator, pulled == 0 ? CREW_END : CREW_SOURCE_FAILED, pulled == 0 ? NULL : error);
}

/* No memory to pull into: next says so, once all else is taken. */
static bool iterator_starve(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    iterator->is_starved = true;
    crewi_lock_release(&iterator->lock);
    return false;
}

/* Pulls one item into the chunk. False: no more now. */
static bool chunk_pull(crew_iterator *iterator, crewi_frame *frame)
{
    crew_error error;
    crewi_item *item = crewi_item_new(iterator);
    if (!item)
        return iterator_starve(iterator);
    if (!item_reserve(iterator, item)) {
        crewi_item_free(iterator, item);
        return false;
    }
    int pulled = source_next(iterator, item, frame, &error);
    if (crewi_task_is_forked(&iterator->task))
        return false;
    if (pulled == 1 && item_arrive(iterator, item))
        return true;
    if (pulled == 1)
        crewi_item_drop_argument(iterator, item);
    item_unpull(iterator, item);
    if (pulled <= 0)
        source_end(iterator, pulled, &error);
    return false;
}

/* ---- a run of pulls ---- */

/* True: the caller is the puller now, and holds a count of the gate that pull_end gives back. */
static bool pull_begin(crew_iterator *iterator, bool has_gate)
{
    crew_pool *pool = crewi_task_pool(&iterator->task);
    crewi_lock_acquire(&iterator->lock);
    bool begins = !iterator->is_pulling && crewi_iterator_has_room(iterator);
    crew_status status = begins && !has_gate ? crewi_gate_enter(pool) : CREW_OK;
    begins = begins && status == CREW_OK;
    if (begins) {
        iterator->is_pulling = true;
        iterator->is_starved = false;
    }
    crewi_lock_release(&iterator->lock);
    if (status != CREW_OK)
        crewi_iterator_close(iterator, pool);
    if (!begins && has_gate)
        crewi_gate_leave(pool);
    return begins;
}

static void pull_end(crew_iterator *iterator)
{
    crew_pool *pool = crewi_task_pool(&iterator->task);
    crewi_lock_acquire(&iterator->lock);
    iterator->is_pulling = false;
    crewi_lock_release(&iterator->lock);
    if (!iterator->source.items)
        crewi_iterator_release(iterator);
    crewi_iterator_wake(iterator);
    crewi_gate_leave(pool);
}

/* Pulls one chunk. False: no more now. */
static bool pull_chunk(crew_iterator *iterator, crewi_frame *frame)
{
    crewi_chunk *chunk = crewi_chunk_new(iterator);
    if (!chunk)
        return iterator_starve(iterator);
    crewi_lock_acquire(&iterator->lock);
    iterator->filling = chunk;
    crewi_lock_release(&iterator->lock);
    bool goes_on = true;
    for (size_t i = 0; goes_on && i < iterator->chunk_size; i++)
        goes_on = chunk_pull(iterator, frame);
    if (crewi_task_is_forked(&iterator->task))
        return false;
    pull_publish(iterator);
    return goes_on;
}

static bool pull_has_room(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    bool has_room = crewi_iterator_has_room(iterator);
    crewi_lock_release(&iterator->lock);
    return has_room && crewi_gate_verdict(crewi_task_pool(&iterator->task)) == CREW_OK;
}

static void pull_chunks(crew_iterator *iterator, crewi_frame *frame, size_t chunks_max)
{
    bool goes_on = true;
    for (size_t i = 0; goes_on && i < chunks_max && pull_has_room(iterator); i++)
        goes_on = pull_chunk(iterator, frame);
}

/* A source may block: the thread that calls it counts as waiting for all that time. */
static void pull_chunks_suspended(crew_iterator *iterator, crewi_frame *frame, size_t chunks_max)
{
    crewi_frames_suspend();
    crewi_frame_enter(frame, CREWI_FRAME_PULL, crewi_task_pool(&iterator->task), &iterator->task);
    frame->stop = &iterator->task.state;
    pull_chunks(iterator, frame, chunks_max);
    crewi_frame_leave(frame);
    if (!crewi_task_is_forked(&iterator->task))
        crewi_frames_resume();
}

/* The puller's work; ends with pull_end. */
static void pull_run(crew_iterator *iterator, crewi_frame *frame, size_t chunks_max)
{
    if (iterator->source.items)
        pull_chunks(iterator, frame, chunks_max);
    else
        pull_chunks_suspended(iterator, frame, chunks_max);
    if (crewi_task_is_forked(&iterator->task))
        return;
    bool is_starved = iterator->is_starved; /* only the puller writes it */
    crewi_task_ref(&iterator->task);        /* pull_end may let go of the last other one */
    crewi_gate_enter_inside(crewi_task_pool(&iterator->task));
    pull_end(iterator);
    if (!is_starved)
        crewi_iterator_kick(iterator); /* room that came up while we were at it */
    crewi_gate_leave(crewi_task_pool(&iterator->task));
    crewi_task_unref(&iterator->task);
}

static void pull_one_body(crewi_task *task, crewi_frame *frame)
{
    pull_run(crewi_iterator_of(task), frame, 1);
}

bool crewi_iterator_pull_here(crew_iterator *iterator)
{
    if (!pull_begin(iterator, false))
        return false;
    crewi_run_guarded(pull_one_body, &iterator->task);
    return true;
}

/* ---- asking for a worker that pulls ---- */

static void iterator_activate(crew_iterator *iterator)
{
    crew_pool *pool = crewi_task_pool(&iterator->task);
    crewi_lock_acquire(&iterator->lock);
    bool wanted = !iterator->is_activated && !iterator->is_pulling && crewi_iterator_has_room(iterator);
    crew_status status = wanted ? crewi_gate_enter(pool) : CREW_OK;
    wanted = wanted && status == CREW_OK;
    if (wanted) {
        iterator->is_activated = true;
        crewi_task_ref(&iterator->task);
    }
    crewi_lock_release(&iterator->lock);
    if (status != CREW_OK)
        crewi_iterator_close(iterator, pool);
    if (wanted)
        crewi_submit(pool, &iterator->task, CREWI_BEHIND);
}

void crewi_iterator_kick(crew_iterator *iterator)
{
    crewi_frame unused;
    if (!iterator->source.items)
        iterator_activate(iterator);
    else if (pull_begin(iterator, false))
        pull_run(iterator, &unused, SIZE_MAX);
}

static void iterator_deactivate(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    iterator->is_activated = false;
    crewi_lock_release(&iterator->lock);
}

bool crewi_iterator_run(crewi_task *task, crewi_frame *frame)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    iterator_deactivate(iterator);
    if (pull_begin(iterator, true))
        pull_run(iterator, frame, SIZE_MAX);
    return false;
}

bool crewi_iterator_run_end(crewi_task *task, crew_status status)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    iterator_deactivate(iterator);
    (void)status;
    crewi_iterator_close(iterator, crewi_task_pool(task));
    crewi_gate_leave(crewi_task_pool(task));
    return false;
}

/* ---- a lost thread: an item's, or the puller's ---- */

void crewi_iterator_lost(crewi_task *task, crewi_frame *frame)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    if (frame->kind != CREWI_FRAME_PULL) {
        crewi_chunk_lost(frame->part, frame);
        return;
    }
    crew_error error;
    crewi_frames_resume();
    if (frame->part)
        item_unpull(iterator, frame->part);
    (void)crewi_refuse(&error, CREW_SOURCE_FAILED, "the source ended its thread");
    source_end(iterator, -1, &error);
    pull_publish(iterator);
    pull_end(iterator);
}

/* ---- the calls ---- */

static crew_status imap_check(const crew_job *job, const crew_source *source, crew_iterator **ret_iterator,
                              const crew_call *call)
{
    const char *fault = NULL;
    if (!source || !ret_iterator)
        fault = source ? "ret_iterator is NULL" : "source is NULL";
    else if (!source->items && !source->pull)
        fault = "the source has neither items nor pull";
    else if (source->items && source->pull)
        fault = "the source has both items and pull";
    else if (source->items && job->arg_size > 0 && source->count > PTRDIFF_MAX / job->arg_size)
        fault = "the source's items are beyond what memory can hold";
    else if (call->on_done)
        fault = "imap has no on_done: the consumer sees every item";
    else if (call->window > 0 && call->window < (call->chunk > 0 ? call->chunk : 1))
        fault = "the window is smaller than a chunk";
    else if (call->window > PTRDIFF_MAX || call->chunk > PTRDIFF_MAX / (2 * (size_t)CREW_WORKERS_MAX))
        fault = "window or chunk is beyond what can be";
    return fault ? crewi_refuse(call->error, CREW_INVALID, "%s", fault) : CREW_OK;
}

static crew_iterator *iterator_new(crew_pool *pool, const crew_job *job, const crew_source *source,
                                   const crew_call *call, bool is_ordered)
{
    crewi_shard *shard;
    crew_iterator *iterator = crewi_cell_new(pool, sizeof *iterator, &shard);
    if (!iterator)
        return NULL;
    memset(iterator, 0, sizeof *iterator);
    crewi_task_init(&iterator->task, &crewi_kind_iterator, shard, CREWI_PENDING, 1);
    iterator->job = job;
    iterator->context = call->context;
    iterator->source = *source;
    iterator->chunk_size = call->chunk > 0 ? call->chunk : 1;
    iterator->window = call->window > 0 ? call->window : 2 * (size_t)pool->options.workers * iterator->chunk_size;
    iterator->is_ordered = is_ordered;
    crewi_lock_init(&iterator->lock);
    return iterator;
}

static crew_status imap_start(crew_pool *pool, const crew_job *job, const crew_source *source,
                              crew_iterator **ret_iterator, const crew_call *call, bool is_ordered)
{
    crew_status status = crewi_call_check(pool, job, &call);
    if (status == CREW_OK)
        status = imap_check(job, source, ret_iterator, call);
    if (status != CREW_OK)
        return status;
    crew_iterator *iterator = iterator_new(pool, job, source, call, is_ordered);
    status = iterator ? crewi_gate_enter(pool) : CREW_NO_MEMORY;
    if (status != CREW_OK) {
        if (iterator)
            crewi_cell_free(iterator->task.shard, iterator, sizeof *iterator);
        return crewi_pool_refuse(pool, status, call->error);
    }
    crewi_iterator_list(iterator, &pool->iterators_open);
    crewi_handle_count(iterator->task.shard);
    *ret_iterator = iterator;
    crewi_iterator_kick(iterator);
    crewi_gate_leave(pool);
    return CREW_OK;
}

crew_status crew_imap(crew_pool *pool, const crew_job *job, const crew_source *source, crew_iterator **ret_iterator,
                      const crew_call *call)
{
    return imap_start(pool, job, source, ret_iterator, call, true);
}

crew_status crew_imap_unordered(crew_pool *pool, const crew_job *job, const crew_source *source,
                                crew_iterator **ret_iterator, const crew_call *call)
{
    return imap_start(pool, job, source, ret_iterator, call, false);
}
