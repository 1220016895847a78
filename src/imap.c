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

/* Hands a chunk over, as far as it has arrived. Where chunks are single items they are handed over as they arrive. */
static void pull_publish(crew_iterator *iterator)
{
    if (iterator->chunk_size == 1 || crewi_line_arrived(iterator) == crewi_line_published(iterator))
        return;
    crew_pool *pool = crewi_task_pool(&iterator->task);
    crewi_gate_enter_inside(pool); /* the puller's own count keeps the pool so far */
    if (crewi_line_publish(iterator))
        crewi_iterator_call(iterator, CREWI_LAZILY);
    else
        crewi_gate_leave(pool);
}

void crewi_iterator_end(crew_iterator *iterator, crew_status status, const crew_error *why)
{
    crewi_lock_acquire(&iterator->lock);
    bool is_first = iterator->ended == CREW_OK;
    if (is_first) {
        iterator->ended = status;
        if (why)
            iterator->error = *why;
        (void)crewi_atomic_u64_fetch_or(&iterator->arrived, CREWI_ARRIVED_ENDED);
    }
    crewi_lock_release(&iterator->lock);
    if (!iterator->source.items)
        crewi_iterator_release(iterator);
    crewi_iterator_wake(iterator);
}

/* What was pulled so far is handed over, since the puller may be stuck in its source for ever. */
void crewi_iterator_cut(crew_iterator *iterator)
{
    (void)crewi_atomic_u64_fetch_or(&iterator->arrived, CREWI_ARRIVED_CUT);
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
    crewi_frame_forget_message(frame);
    int pulled = iterator->source.pull(iterator->source.user, place);
    frame->part = NULL;
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

static bool iterator_is_starved(crew_iterator *iterator)
{
    crewi_lock_acquire(&iterator->lock);
    bool is_starved = iterator->is_starved;
    crewi_lock_release(&iterator->lock);
    return is_starved;
}

/* Has what was pulled counted and, where it is a chunk, handed over. False: after a cut it is nobody's. */
static bool item_arrive(crew_iterator *iterator, struct crewi_local *local)
{
    if (iterator->chunk_size > 1)
        return crewi_line_arrive(iterator);
    crewi_gate_enter_inside_by(crewi_task_pool(&iterator->task), local);
    bool has_arrived = crewi_line_arrive(iterator);
    if (has_arrived)
        crewi_iterator_call(iterator, CREWI_LAZILY);
    else
        crewi_gate_leave_by(crewi_task_pool(&iterator->task), local);
    return has_arrived;
}

/* Once it has arrived an item may be cut off, run and used again by others: so its successor is known before. False: no memory. */
static bool item_link(crew_iterator *iterator, crewi_item *item, bool is_last)
{
    crewi_item *next = is_last ? NULL : crewi_line_next(iterator, 1);
    item->link.next = next ? &next->link : NULL;
    return is_last || next;
}

/* Pulls one item for the chunk; `is_last`: it will be full then. False: no more now. */
static bool chunk_pull(crew_iterator *iterator, bool is_last, crewi_frame *frame)
{
    crew_error error;
    if (crewi_atomic_u64_load(&iterator->arrived) & (CREWI_ARRIVED_ENDED | CREWI_ARRIVED_CUT))
        return false;
    crewi_item *item = crewi_line_next(iterator, 0);
    if (!item)
        return iterator_starve(iterator);
    int pulled = source_next(iterator, item, frame, &error);
    if (crewi_task_is_forked(&iterator->task))
        return false;
    if (pulled != 1) {
        source_end(iterator, pulled, &error);
        return false;
    }
    bool goes_on = item_link(iterator, item, is_last) || iterator_starve(iterator);
    if (item_arrive(iterator, frame->local))
        return goes_on;
    crewi_item_drop_argument(iterator, item);
    return false;
}

/* ---- a run of pulls ---- */

/* Under the lock: room for a whole chunk at least, so that a consumer that takes items one by one does not break chunks up. */
bool crewi_iterator_can_pull(const crew_iterator *iterator, size_t items)
{
    uint64_t ahead = crewi_line_arrived(iterator) - crewi_atomic_u64_load(&iterator->taken);
    return iterator->ended == CREW_OK && !iterator->is_pulling && iterator->window - ahead >= items;
}

/* True: the caller is the puller now, and holds a count of the gate that pull_end gives back. */
static bool pull_begin(crew_iterator *iterator, size_t items, bool has_gate)
{
    crew_pool *pool = crewi_task_pool(&iterator->task);
    crewi_lock_acquire(&iterator->lock);
    bool begins = crewi_iterator_can_pull(iterator, items);
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

/* The pool may be gone after this, if nothing else holds it. */
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

/* The puller's: whether the window has room for a chunk. */
static bool pull_has_room(crew_iterator *iterator)
{
    uint64_t arrived = crewi_line_arrived(iterator);
    if (iterator->window - (arrived - iterator->taken_seen) < iterator->chunk_size)
        iterator->taken_seen = crewi_atomic_u64_load(&iterator->taken);
    return iterator->window - (arrived - iterator->taken_seen) >= iterator->chunk_size &&
           crewi_gate_verdict(crewi_task_pool(&iterator->task)) == CREW_OK;
}

static void pull_chunks(crew_iterator *iterator, crewi_frame *frame, size_t chunks_max)
{
    bool goes_on = true;
    for (size_t i = 0; goes_on && i < chunks_max && pull_has_room(iterator); i++) {
        for (size_t left = iterator->chunk_size; goes_on && left > 0; left--)
            goes_on = chunk_pull(iterator, left == 1, frame);
        if (!goes_on && crewi_task_is_forked(&iterator->task))
            return;
        pull_publish(iterator);
    }
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
    if (iterator->source.items) {
        frame->local =
            crewi_local_here(crewi_task_pool(&iterator->task)); /* all that is asked of a frame not entered */
        pull_chunks(iterator, frame, chunks_max);
    } else {
        pull_chunks_suspended(iterator, frame, chunks_max);
    }
    if (!crewi_task_is_forked(&iterator->task))
        pull_end(iterator);
}

/* ---- asking for a worker that pulls, or runs what was pulled ---- */

/* With a count of the gate, which goes with the entry. */
static void iterator_call_counted(crew_iterator *iterator, enum crewi_where where)
{
    uint32_t state = CREWI_NOT_CALLED;
    crew_pool *pool = crewi_task_pool(&iterator->task);
    if (!crewi_atomic_u32_cas(&iterator->call, &state, CREWI_CALLED)) {
        crewi_gate_leave(pool);
        return;
    }
    crewi_task_ref(&iterator->task);
    crewi_submit(pool, &iterator->task, where);
}

void crewi_iterator_call_now(crew_iterator *iterator, enum crewi_where where)
{
    crewi_gate_enter_inside(crewi_task_pool(&iterator->task));
    iterator_call_counted(iterator, where);
}

static void iterator_call_to_pull(crew_iterator *iterator)
{
    crew_pool *pool = crewi_task_pool(&iterator->task);
    if (crewi_atomic_u32_load(&iterator->call))
        return;
    if (crewi_gate_enter(pool) == CREW_OK)
        iterator_call_counted(iterator, CREWI_BEHIND);
    else
        crewi_iterator_close(iterator, pool);
}

/* No user code is called for the items of an array: whoever notices that there is room, pulls. Without memory, the next to ask
 * tries again. */
static void iterator_pull_array(crew_iterator *iterator)
{
    crewi_frame not_entered;
    size_t items = iterator->chunk_size;
    for (bool goes_on = true; goes_on && pull_begin(iterator, items, false); items = iterator->refill) {
        pull_run(iterator, &not_entered, SIZE_MAX);
        goes_on = !iterator_is_starved(iterator);
    }
}

void crewi_iterator_kick(crew_iterator *iterator)
{
    if (iterator->source.items)
        iterator_pull_array(iterator);
    else
        iterator_call_to_pull(iterator);
}

/* ---- a consumer pulls ---- */

/* Workers that came meanwhile went away again. */
static void pull_one_body(crewi_task *task, crewi_frame *frame)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    crew_pool *pool = crewi_task_pool(task);
    frame->range_first = 0;
    crewi_gate_enter_inside(pool);
    pull_run(iterator, frame, 1);
    if (crewi_task_is_forked(task))
        return;
    if (!iterator_is_starved(iterator))
        crewi_iterator_kick(iterator);
    crewi_gate_leave(pool);
}

bool crewi_iterator_pull_here(crew_iterator *iterator)
{
    if (!pull_begin(iterator, iterator->chunk_size, false))
        return false;
    crewi_run_guarded(pull_one_body, &iterator->task);
    return true;
}

/* ---- a worker has come ---- */

/* Now that a worker is here, less room will do. */
static bool iterator_pull_again(crew_iterator *iterator)
{
    size_t items = iterator->refill / 4 > iterator->chunk_size ? iterator->refill / 4 : iterator->chunk_size;
    return !iterator_is_starved(iterator) && pull_begin(iterator, items, false);
}

enum { PULL_AT_ONCE = 1024 };

#define TURN_NS 500000 /* after which other work gets its turn */

/* Pulls and runs in turn, as long as there is something to do, and until its time is up. False: the latter. */
static bool iterator_work(crew_iterator *iterator, crewi_frame *frame)
{
    int64_t end_ns = crewi_clock_now_ns() + TURN_NS;
    bool pulls = pull_begin(iterator, iterator->chunk_size, true);
    do {
        if (pulls)
            pull_run(iterator, frame, PULL_AT_ONCE);
        if (crewi_task_is_forked(&iterator->task) || !crewi_chunks_run(iterator, frame, end_ns))
            return true;
        if (crewi_clock_now_ns() >= end_ns)
            return false;
        pulls = iterator_pull_again(iterator);
    } while (pulls || crewi_line_has_unstarted(iterator));
    return true;
}

/* True: the entry's count of the gate is the caller's. */
static bool iterator_answer(crew_iterator *iterator, uint32_t answer)
{
    uint32_t state = CREWI_CALLED;
    return crewi_atomic_u32_cas(&iterator->call, &state, answer);
}

void crewi_iterator_withdraw(crew_iterator *iterator)
{
    crew_pool *pool = crewi_task_pool(&iterator->task);
    if (!iterator_answer(iterator, CREWI_WITHDRAWN))
        return;
    crewi_gate_leave(pool);
    pool->backend->retract(pool);
}

bool crewi_iterator_run(crewi_task *task, crewi_frame *frame)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    if (!iterator_answer(iterator, CREWI_NOT_CALLED))
        return false;
    frame->range_first = 1; /* counted in `workers`: what `lost` has to know */
    (void)crewi_atomic_u32_fetch_add(&iterator->workers, 1);
    bool has_more = !iterator_work(iterator, frame);
    (void)crewi_atomic_u32_fetch_sub(&iterator->workers, 1);
    if (has_more)
        crewi_iterator_call(iterator, CREWI_BEHIND);
    return false;
}

bool crewi_iterator_run_end(crewi_task *task, crew_status status)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    if (!iterator_answer(iterator, CREWI_NOT_CALLED))
        return false;
    crewi_iterator_close(iterator, crewi_task_pool(task));
    crewi_chunks_end(iterator, status);
    crewi_gate_leave(crewi_task_pool(task));
    return false;
}

/* ---- a lost thread: an item's, or the puller's ---- */

void crewi_iterator_lost(crewi_task *task, crewi_frame *frame)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    crew_pool *pool = crewi_task_pool(task);
    bool was_consumer = frame->range_first == 0;
    (void)crewi_atomic_u32_fetch_sub(&iterator->workers, (uint32_t)frame->range_first);
    if (frame->kind != CREWI_FRAME_PULL) {
        crewi_chunk_lost(iterator, frame->part, frame);
        return;
    }
    crew_error error;
    crewi_frames_resume();
    (void)crewi_refuse(&error, CREW_SOURCE_FAILED, "the source ended its thread");
    source_end(iterator, -1, &error);
    pull_publish(iterator);
    if (crewi_atomic_u32_load(&iterator->task.state) & CREWI_STOP)
        crewi_chunks_end(iterator, CREW_CANCELLED); /* a call may have been withdrawn for good */
    else if (crewi_line_has_unstarted(iterator))    /* this thread would have run it */
        crewi_iterator_call(iterator, CREWI_BEHIND);
    pull_end(iterator);
    if (was_consumer)
        crewi_gate_leave(pool); /* what pull_one_body took */
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

/* Large windows are refilled when half of them is free; memory is had for some small items at once. */
static void iterator_measure(crew_iterator *iterator)
{
    enum { SLAB_BYTES = 896, LARGE_WINDOW = 64 };
    size_t chunks = iterator->window / iterator->chunk_size;
    iterator->refill = chunks < LARGE_WINDOW ? iterator->chunk_size : chunks / 2 * iterator->chunk_size;
    iterator->item_size = crewi_item_size(iterator);
    iterator->slab_items = SLAB_BYTES / iterator->item_size;
    if (iterator->slab_items > iterator->window)
        iterator->slab_items = iterator->window;
    if (iterator->slab_items == 0)
        iterator->slab_items = 1;
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
    if (iterator->chunk_size > UINT32_MAX)
        iterator->chunk_size = UINT32_MAX;
    iterator->window = call->window > 0 ? call->window : 2 * (size_t)pool->options.workers * iterator->chunk_size;
    iterator->is_ordered = is_ordered;
    iterator_measure(iterator);
    crewi_queue_init(&iterator->done);
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
    crewi_task_ref(&iterator->task); /* an item may let go of its own stream */
    *ret_iterator = iterator;
    crewi_iterator_kick(iterator);
    crewi_task_unref(&iterator->task);
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
