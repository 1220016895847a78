/* SPDX-License-Identifier: MIT */
/* Items out: next, destroy; and an iterator as the target of a wait. */
#include <string.h>

#include "backend.h"
#include "iterator.h"

/* ---- freeing ---- */

/* Under the lock: the next item to hand out, if there is one. */
static crewi_item *iterator_done_item(crew_iterator *iterator)
{
    uint64_t taken = crewi_atomic_u64_load_relaxed(&iterator->taken); /* relaxed: the lock */
    if (!iterator->is_ordered) {
        crewi_link *link = crewi_queue_pop(&iterator->done);
        return link ? CREWI_CONTAINER_OF(link, crewi_item, link) : NULL;
    }
    /* relaxed: the lock */
    if (taken == crewi_atomic_u64_load_relaxed(&iterator->published_seen))
        crewi_atomic_u64_store_relaxed(&iterator->published_seen, crewi_line_published(iterator));
    if (taken == crewi_atomic_u64_load_relaxed(&iterator->published_seen))
        return NULL;
    crewi_item *item = crewi_line_at(iterator, taken);
    return crewi_item_is_done(item) ? item : NULL;
}

/* Under the lock, when the item's value is out: it may be pulled into again. */
static void iterator_count_taken(crew_iterator *iterator, crewi_item *item)
{
    uint64_t taken = crewi_atomic_u64_load_relaxed(&iterator->taken); /* relaxed: the lock */
    if (!iterator->is_ordered)
        crewi_line_put(iterator, taken, item);
    crewi_atomic_u64_store(&iterator->taken, taken + 1);
}

/* Items that nobody will take; called when none is being run. */
static void iterator_drop_items(crew_iterator *iterator)
{
    for (bool goes_on = true; goes_on;) {
        crewi_lock_acquire(&iterator->lock);
        crewi_item *item = iterator_done_item(iterator);
        if (item)
            iterator_count_taken(iterator, item);
        crewi_lock_release(&iterator->lock);
        if (item)
            crewi_item_drop(iterator, item);
        goes_on = item != NULL;
    }
}

static void iterator_free(crewi_task *task)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    iterator_drop_items(iterator);
    crewi_iterator_release(iterator);
    crewi_line_free(iterator);
    crewi_cell_free(task->shard, iterator, sizeof *iterator);
}

/* ---- as the target of a wait: all questions are asked without the lock ---- */

/* How the next item stands: the one without which an ordered iterator cannot go on. */
enum head { HEAD_NOT_THERE, HEAD_UNSTARTED, HEAD_RUNNING, HEAD_DONE };

/* Under the lock. `claimed` is read first: what has moved on since is taken for older than it is. */
static enum head iterator_head(const crew_iterator *iterator)
{
    uint64_t taken = crewi_atomic_u64_load(&iterator->taken);
    uint64_t claimed = crewi_atomic_u64_load(&iterator->claimed);
    if (taken >= crewi_line_published(iterator))
        return HEAD_NOT_THERE;
    if (claimed <= taken || crewi_line_is_rest(iterator, (size_t)taken)) /* indices wrap at the end of size_t */
        return HEAD_UNSTARTED;
    return crewi_item_is_done(crewi_line_at(iterator, taken)) ? HEAD_DONE : HEAD_RUNNING;
}

static bool iterator_has_item(const crew_iterator *iterator)
{
    return iterator->is_ordered ? iterator_head(iterator) == HEAD_DONE : !crewi_queue_is_empty(&iterator->done);
}

static bool iterator_is_empty(const crew_iterator *iterator)
{
    return crewi_line_arrived(iterator) == crewi_atomic_u64_load(&iterator->taken);
}

/* Nothing is on its way any more. What a source still has in hand after a cut will be dropped: nobody waits for it. */
static bool iterator_is_through(const crew_iterator *iterator)
{
    bool is_cut = (crewi_atomic_u64_load(&iterator->arrived) & CREWI_ARRIVED_CUT) != 0;
    return iterator->ended != CREW_OK && (!iterator->is_pulling || is_cut) && iterator_is_empty(iterator);
}

static bool iterator_is_dry(const crew_iterator *iterator)
{
    bool nothing_comes = iterator->is_starved && !iterator->is_pulling && !crewi_atomic_u32_load(&iterator->call);
    return iterator_is_through(iterator) || (iterator_is_empty(iterator) && nothing_comes);
}

/* The order of the questions: what has started was counted as running before, and what runs no more is done. */
static bool iterator_is_idle(const crew_iterator *iterator)
{
    return !crewi_line_has_unstarted(iterator) && crewi_atomic_u32_load(&iterator->running) == 0;
}

static bool iterator_is_ready_locked(const crew_iterator *iterator)
{
    if (iterator->is_destroyed)
        return iterator_is_idle(iterator);
    return iterator_has_item(iterator) || iterator_is_dry(iterator);
}

/* Without the lock, and without touching what others write often: whether the next item is there and not done. If another consumer
 * takes it meanwhile, that one tells the waiters. */
static bool iterator_head_is_not_done(const crew_iterator *iterator)
{
    uint64_t taken = crewi_atomic_u64_load(&iterator->taken);
    if (!iterator->is_ordered || taken >= crewi_atomic_u64_load(&iterator->published_seen))
        return false;
    const crewi_item *item = crewi_line_at(iterator, taken); /* NULL: the line has grown, and it was taken long ago */
    return item && !crewi_item_is_done(item);
}

static bool iterator_is_ready(crewi_task *task)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    if (!(crewi_atomic_u32_load(&task->state) & CREWI_STOP) && iterator_head_is_not_done(iterator))
        return false;
    crewi_lock_acquire(&iterator->lock);
    bool is_ready = iterator_is_ready_locked(iterator);
    crewi_lock_release(&iterator->lock);
    return is_ready;
}

/* Under the lock: whether a chunk waits to be started without which the next item cannot come. For an unordered iterator any will do,
 * but helping with one might take longer than waiting for another: only a job does that (`any`), since other workers may be
 * blocked by locks it holds. */
static bool iterator_needs_chunk(const crew_iterator *iterator, bool any)
{
    if (iterator->is_destroyed)
        return false;
    return iterator->is_ordered ? iterator_head(iterator) == HEAD_UNSTARTED : any && crewi_line_has_unstarted(iterator);
}

static void iterator_help_body(crewi_task *task, crewi_frame *frame)
{
    crewi_chunk_help(crewi_iterator_of(task), frame);
}

static bool iterator_help(crewi_task *task, bool any)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    crewi_lock_acquire(&iterator->lock);
    bool needs_chunk = iterator_needs_chunk(iterator, any);
    bool wants_pull = !needs_chunk && !iterator->is_destroyed && iterator_is_empty(iterator);
    crewi_lock_release(&iterator->lock);
    if (wants_pull)
        return crewi_iterator_pull_here(iterator);
    if (needs_chunk)
        crewi_run_guarded(iterator_help_body, task);
    return needs_chunk;
}

/* Under the lock. */
static bool iterator_requires_locked(const crew_iterator *iterator, const crewi_frame *frame)
{
    bool is_pull = frame->kind == CREWI_FRAME_PULL;
    if (iterator->is_destroyed)
        return !is_pull;
    if (!iterator->is_ordered)
        return !is_pull || crewi_queue_is_empty(&iterator->done);
    bool has_head = iterator_head(iterator) != HEAD_NOT_THERE;
    return is_pull ? !has_head : has_head && crewi_atomic_u64_load(&iterator->taken) == frame->index;
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

/* Under the lock: a pull is due, though nobody is at it yet. */
static bool iterator_will_pull(const crew_iterator *iterator)
{
    return !iterator->is_starved && crewi_iterator_can_pull(iterator, iterator->chunk_size);
}

static struct crewi_view iterator_look_ordered(const crew_iterator *iterator)
{
    enum head head = iterator_head(iterator);
    bool is_there = head != HEAD_NOT_THERE;
    bool is_called = crewi_atomic_u32_load(&iterator->call);
    return (struct crewi_view){
        .is_ready = head == HEAD_DONE || iterator_is_dry(iterator),
        .has_unstarted = head == HEAD_UNSTARTED || (!is_there && (is_called || iterator_will_pull(iterator))),
        .running = is_there ? head == HEAD_RUNNING : iterator->is_pulling,
    };
}

/* The questions are asked in this order for the same reason as in iterator_is_idle. */
static struct crewi_view iterator_look_at_all(const crew_iterator *iterator)
{
    bool may_pull = !iterator->is_destroyed && (iterator_will_pull(iterator) || crewi_atomic_u32_load(&iterator->call));
    bool is_pulling = !iterator->is_destroyed && iterator->is_pulling;
    struct crewi_view view = {.any_will_do = !iterator->is_destroyed};
    bool has_chunk = crewi_line_has_unstarted(iterator);
    view.has_unstarted = has_chunk || may_pull;
    view.needs_another = !has_chunk && !iterator_is_empty(iterator); /* waiters pull only when nothing is on its way */
    view.running = crewi_atomic_u32_load(&iterator->running) + (size_t)is_pulling;
    view.is_ready = iterator_is_ready_locked(iterator);
    return view;
}

static struct crewi_view iterator_look(crewi_task *task)
{
    crew_iterator *iterator = crewi_iterator_of(task);
    crewi_lock_acquire(&iterator->lock);
    struct crewi_view view = iterator->is_ordered && !iterator->is_destroyed ? iterator_look_ordered(iterator)
                                                                             : iterator_look_at_all(iterator);
    crewi_lock_release(&iterator->lock);
    return view;
}

static bool iterator_is_dead(const crewi_task *task)
{
    return crewi_atomic_u32_load(&CREWI_CONTAINER_OF(task, const crew_iterator, task)->call) == CREWI_WITHDRAWN;
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

/* What next hands out, besides the value. */
struct taken {
    bool is_item;
    crew_status status; /* of the item; or CREW_OK: there may be one later; or why there will be none */
    size_t index;
    crewi_failure failure;
    bool wants_pull; /* there is room, and nobody is coming */
};

/* Under the lock. Whoever is about to wait has the rest of the window pulled, too. */
static bool iterator_wants_pull(const crew_iterator *iterator, bool will_wait)
{
    return !crewi_atomic_u32_load(&iterator->call) &&
           crewi_iterator_can_pull(iterator, will_wait ? iterator->chunk_size : iterator->refill);
}

static void iterator_take_out(crew_iterator *iterator, crewi_item *item, void *ret_value, struct taken *ret_taken)
{
    ret_taken->is_item = true;
    ret_taken->status = crewi_item_outcome(item);
    ret_taken->index = item->index;
    ret_taken->failure = item->failure;
    if (ret_taken->status == CREW_OK && iterator->job->result_size > 0)
        memcpy(ret_value, crewi_item_value(iterator, item), iterator->job->result_size);
    iterator_count_taken(iterator, item);
}

static void iterator_take(crew_iterator *iterator, void *ret_value, struct taken *ret_taken)
{
    crewi_lock_acquire(&iterator->lock);
    crewi_item *item = iterator_done_item(iterator);
    ret_taken->is_item = false;
    ret_taken->status = CREW_OK;
    if (item)
        iterator_take_out(iterator, item, ret_value, ret_taken);
    else if (iterator_is_dry(iterator))
        ret_taken->status = iterator->ended != CREW_OK ? iterator->ended : CREW_NO_MEMORY;
    ret_taken->wants_pull = ret_taken->status != CREW_NO_MEMORY && iterator_wants_pull(iterator, !item);
    crewi_lock_release(&iterator->lock);
    if (item)
        crewi_iterator_wake(iterator); /* other consumers wait for another item now, which may depend on others */
}

/* Makes sure that pulling goes on; after the pool's end there is nothing to go on. False: what a pool without threads has run for that has
 * forked, and this is the child. */
static bool iterator_go_on(crew_iterator *iterator)
{
    crewi_cells *cells = crewi_cells_of(iterator->task.shard);
    if (crewi_cells_enter_pool(cells)) {
        crewi_iterator_kick(iterator);
        crewi_cells_leave_pool(cells);
    }
    return !crewi_task_is_forked(&iterator->task);
}

static crew_status iterator_deliver(crew_iterator *iterator, struct taken *taken, size_t *ret_index,
                                    crew_error *ret_error)
{
    if (ret_index)
        *ret_index = taken->index;
    if (taken->status == CREW_OK)
        return CREW_OK;
    if (ret_error)
        crewi_failure_get(&taken->failure, taken->status, taken->index, iterator->job, ret_error);
    crewi_failure_drop(&taken->failure);
    return taken->status;
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
    if (!iterator_go_on(iterator))
        return false;
    crewi_lock_acquire(&iterator->lock);
    bool comes = !iterator_is_dry(iterator);
    crewi_lock_release(&iterator->lock);
    return comes;
}

/* While a worker is at it, the next item may be done in a moment. Rests in between, so that there will be several. */
static bool iterator_look_around(crew_iterator *iterator)
{
    enum { LOOKS = 32, RELAXES = 12 };
    for (unsigned i = 0; i < LOOKS && crewi_atomic_u32_load(&iterator->workers) > 0; i++) {
        for (unsigned j = 0; j < RELAXES; j++)
            crewi_cpu_relax();
        if (iterator_is_ready(&iterator->task))
            return true;
    }
    return false;
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
        struct taken taken;
        iterator_take(iterator, ret_value, &taken);
        bool is_parent = !taken.wants_pull || iterator_go_on(iterator);
        if (taken.is_item)
            return iterator_deliver(iterator, &taken, ret_index, ret_error);
        crew_status status = is_parent ? taken.status : CREW_FORKED;
        if (status == CREW_NO_MEMORY && !has_retried) {
            has_retried = iterator_retry(iterator);
            if (has_retried)
                continue;
        }
        if (status == CREW_OK && deadline.ns > 0 && iterator_look_around(iterator))
            continue;
        if (status == CREW_OK)
            status = crewi_wait(&iterator->task, deadline.ns, 0);
        if (status != CREW_OK)
            return iterator_refuse(iterator, status, ret_error);
    }
}

/* ---- destroy ---- */

/* What of destroy concerns the pool, while there is one. */
static void iterator_leave_pool(crew_iterator *iterator)
{
    crewi_cells *cells = crewi_cells_of(iterator->task.shard);
    if (!crewi_cells_enter_pool(cells))
        return;
    crewi_iterator_list(iterator, NULL);
    crewi_iterator_cut(iterator);
    crewi_chunks_end(iterator, CREW_CANCELLED);
    crewi_iterator_withdraw(iterator);
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
    iterator_leave_pool(iterator);
    if (!iterator_runs_here(iterator)) {
        (void)crewi_wait(&iterator->task, CREWI_NEVER, CREWI_WAIT_MUST);
        iterator_drop_items(iterator);
        crewi_iterator_release(iterator);
    }
    crewi_handle_discount(iterator->task.shard);
    crewi_task_unref(&iterator->task);
}
