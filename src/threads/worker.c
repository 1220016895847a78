/* SPDX-License-Identifier: MIT */
/* A worker's thread: initialise, then park, run what is found, park again, until the pool has ended. */
#include "threads.h"

enum {
    FAIR_EVERY = 61, /* how often a worker looks first where it would look last */
    INJECTED_AT_ONCE = 32
};

/* ---- finding work ---- */

static crewi_slot *engine_slot(const crewi_engine *engine, unsigned index)
{
    return crewi_atomic_ptr_load(&engine->slots[index]);
}

static bool guests_have_work(const crewi_engine *engine)
{
    uint32_t used = crewi_atomic_u32_load(&engine->guests_used);
    for (unsigned i = 0; used >> i != 0; i++)
        if ((used >> i & 1) && !crewi_deque_is_empty(&engine->guests[i]))
            return true;
    return false;
}

bool crewi_engine_has_work(const crewi_engine *engine)
{
    if (!crewi_queue_is_empty(&engine->urgent) || !crewi_queue_is_empty(&engine->injector))
        return true;
    for (unsigned i = 0; i < CREWI_HATCHES; i++)
        if (!crewi_fifo_is_empty(&engine->pool->hatches[i].tasks))
            return true;
    if (guests_have_work(engine))
        return true;
    if (crewi_atomic_ptr_load(&engine->offered))
        return true;
    unsigned used = crewi_atomic_u32_load(&engine->slots_used);
    for (unsigned i = 0; i < used; i++) {
        crewi_slot *slot = engine_slot(engine, i);
        if (slot && (!crewi_deque_is_empty(&slot->deque) || !crewi_deque_is_empty(&slot->inbox)))
            return true;
    }
    return false;
}

static crewi_task *queue_next(crewi_queue *queue)
{
    crewi_link *link = crewi_queue_is_empty(queue) ? NULL : crewi_queue_pop(queue);
    return link ? crewi_task_of_link(link) : NULL;
}

static size_t injector_pop(crewi_engine *engine, void **ret_tasks)
{
    size_t count = 0;
    for (crewi_link *link = crewi_queue_pop_chain(&engine->injector, INJECTED_AT_ONCE); link; link = link->next)
        ret_tasks[count++] = crewi_task_of_link(link);
    return count;
}

/* From the injector and the hatches in turn, beginning where the last time found nothing more or had enough. */
static size_t worker_fetch(crewi_slot *slot, void **ret_tasks)
{
    size_t count = 0;
    for (unsigned i = 0; i <= CREWI_HATCHES && count == 0; i++) {
        unsigned from = slot->fetch_next++ % (CREWI_HATCHES + 1);
        if (from == CREWI_HATCHES)
            count = injector_pop(slot->engine, ret_tasks);
        else
            count = crewi_fifo_pop(&slot->pool->hatches[from].tasks, ret_tasks, INJECTED_AT_ONCE);
    }
    return count;
}

/* The inbox is empty. Takes several at once, and puts all but the oldest where thieves get at them, too. In between nobody saw them: a worker may
 * have gone to sleep in view of empty queues. So this counts as submitting. */
static crewi_task *worker_refill(crewi_slot *slot)
{
    void *tasks[INJECTED_AT_ONCE];
    size_t count = worker_fetch(slot, tasks);
    for (size_t i = 1; i < count; i++) /* now: a task in the inbox may be gone at once */
        crewi_prefetch(tasks[i]);
    if (count > 1) {
        crewi_deque_fill(&slot->inbox, tasks + 1, count - 1); /* [S1] */
        crewi_work_arrived(slot->engine);                     /* [S2] */
    }
    return count > 0 ? tasks[0] : NULL;
}

static crewi_task *worker_next_injected(crewi_slot *slot)
{
    while (!crewi_deque_is_empty(&slot->inbox)) {
        crewi_task *task = crewi_deque_steal(&slot->inbox);
        if (task)
            return task;
    }
    return worker_refill(slot);
}

static crewi_task *engine_next_offered(crewi_engine *engine)
{
    return crewi_atomic_ptr_load(&engine->offered) ? crewi_atomic_ptr_exchange(&engine->offered, NULL) : NULL;
}

static uint64_t slot_random(crewi_slot *slot)
{
    slot->random ^= slot->random << 13;
    slot->random ^= slot->random >> 7;
    slot->random ^= slot->random << 17;
    return slot->random;
}

static crewi_task *guests_steal(crewi_engine *engine)
{
    uint32_t used = crewi_atomic_u32_load(&engine->guests_used);
    crewi_task *task = NULL;
    for (unsigned i = 0; !task && used >> i != 0; i++)
        task = used >> i & 1 ? crewi_deque_steal(&engine->guests[i]) : NULL;
    return task;
}

static crewi_task *worker_steal(crewi_slot *self)
{
    crewi_engine *engine = self->engine;
    unsigned used = crewi_atomic_u32_load(&engine->slots_used);
    unsigned start = (unsigned)(slot_random(self) % used);
    for (unsigned i = 0; i < used; i++) {
        crewi_slot *slot = engine_slot(engine, (start + i) % used);
        crewi_task *task = slot ? crewi_deque_steal(&slot->deque) : NULL;
        if (slot && !task)
            task = crewi_deque_steal(&slot->inbox);
        if (task)
            return task;
    }
    return guests_steal(engine);
}

/* Newest first is quick, but would let old entries wait for ever behind jobs that submit jobs. */
static crewi_task *worker_next_fair(crewi_slot *slot)
{
    bool own_turn = slot->ticks / FAIR_EVERY % 2 == 0;
    crewi_task *task = own_turn ? crewi_deque_steal(&slot->deque) : engine_next_offered(slot->engine);
    return task ? task : worker_next_injected(slot);
}

/* Anything but callbacks. */
static crewi_task *worker_next_job(crewi_slot *slot)
{
    crewi_task *task = ++slot->ticks % FAIR_EVERY == 0 ? worker_next_fair(slot) : NULL;
    if (!task)
        task = crewi_deque_pop(&slot->deque);
    if (!task)
        task = worker_next_injected(slot);
    if (!task)
        task = engine_next_offered(slot->engine);
    return task ? task : worker_steal(slot);
}

static crewi_task *worker_next(crewi_slot *slot)
{
    crewi_task *task = queue_next(&slot->engine->urgent);
    return task ? task : worker_next_job(slot);
}

/* ---- running it ---- */

void crewi_worker_in_run(crewi_slot *slot, bool running)
{
    const crew_pool_options *options = &slot->pool->options;
    if (!options->worker_run || slot->is_in_run == running)
        return;
    slot->is_in_run = running;
    options->worker_run(options->user, (int)slot->index, running);
}

/* Whoever has been looking for work has some now: others come for what is left. */
static void worker_found(crewi_slot *slot)
{
    if (!slot->is_searching)
        return;
    crewi_found_work(slot);
    crewi_engine_grow(slot->engine);
}

static void worker_run_task(crewi_slot *slot, crewi_task *task)
{
    worker_found(slot);
    crewi_worker_in_run(slot, true);
    slot->has_run = true;
    slot->current = task;
    bool has_gone = task->kind->run(task, &slot->frame);
    slot->current = NULL;
    if (!has_gone && !crewi_pool_is_forked(slot->pool))
        crewi_task_drop_entry(task);
}

/* ---- initialising ---- */

static crew_status worker_init(crewi_slot *slot, crew_error *ret_error)
{
    const crew_pool_options *options = &slot->pool->options;
    if (!options->worker_init)
        return CREW_OK;
    void *state = NULL;
    crewi_frame_enter(&slot->frame, CREWI_FRAME_INIT, slot->pool, NULL);
    int code = options->worker_init(options->user, (int)slot->index, &state);
    crewi_frame_leave(&slot->frame);
    slot->base.worker_state = state;
    if (code == 0)
        return CREW_OK;
    crewi_error_from_frame(ret_error, CREW_FAILED, code, &slot->frame, NULL);
    return CREW_FAILED;
}

/* True: the thread goes on, to serve the callbacks of the pool that its failure has broken. */
static bool worker_init_failed(crewi_slot *slot, const crew_error *error)
{
    crewi_engine *engine = slot->engine;
    bool is_lazy = (slot->pool->options.flags & CREW_LAZY_INIT) != 0;
    crewi_lock_acquire(&engine->lock);
    if (!engine->has_init_failure)
        engine->init_failure = *error;
    engine->has_init_failure = engine->cannot_init = true;
    bool breaks = engine->is_open && (engine->initialised == 0 || (is_lazy && slot->index < engine->workers));
    engine->spare_failures += !breaks;
    crewi_lock_release(&engine->lock);
    if (breaks)
        crewi_pool_break(slot->pool, error);
    return breaks;
}

/* False: the thread is of no use and shall end. */
static bool worker_initialise(crewi_slot *slot)
{
    crew_error error;
    if (worker_init(slot, &error) != CREW_OK)
        return worker_init_failed(slot, &error);
    slot->is_initialised = true;
    crewi_lock_acquire(&slot->engine->lock);
    slot->engine->initialised++;
    slot->engine->cannot_init = false;
    crewi_lock_release(&slot->engine->lock);
    return true;
}

/* It was not to be: another worker's. */
static void worker_give_up_held(crewi_slot *slot)
{
    crewi_task *task = crewi_atomic_ptr_exchange(&slot->held, NULL);
    if (!task)
        return;
    crewi_queue_push(&slot->engine->injector, &task->link); /* [S1] */
    crewi_work_arrived(slot->engine);                       /* [S2] */
}

/* CREW_LAZY_INIT: the first job is in hand already, since the initializer may take its time, or wait for others to begin. The pool's end finds
 * it there. False: the thread is of no use, or a fork's child. */
static bool worker_initialise_late(crewi_slot *slot)
{
    crewi_atomic_ptr_store(&slot->held, worker_next_job(slot)); /* if the pool has just ended, it counts as started */
    worker_found(slot);
    if (!worker_initialise(slot)) {
        worker_give_up_held(slot);
        return false;
    }
    crewi_task *task = crewi_atomic_ptr_exchange(&slot->held, NULL);
    if (task)
        worker_run_task(slot, task);
    return !crewi_pool_is_forked(slot->pool);
}

static void worker_exit(crewi_slot *slot)
{
    const crew_pool_options *options = &slot->pool->options;
    crewi_worker_in_run(slot, false);
    bool is_due = slot->is_initialised && !slot->is_exiting && options->worker_exit;
    slot->is_exiting = true;
    if (!is_due)
        return;
    crewi_frame_enter(&slot->frame, CREWI_FRAME_INIT, slot->pool, NULL);
    options->worker_exit(options->user, (int)slot->index, slot->base.worker_state);
    crewi_frame_leave(&slot->frame);
}

/* ---- the life of a worker ---- */

static void worker_arrived(crewi_slot *slot)
{
    crewi_lock_acquire(&slot->engine->lock);
    slot->engine->arriving--;
    slot->is_arriving = false;
    bool is_awaited = !slot->engine->is_open && slot->engine->arriving == 0;
    crewi_lock_release(&slot->engine->lock);
    if (is_awaited)
        crewi_engine_tell(slot->engine);
}

/* Runs what is found. False: a fork's child has come back from a job, and leaves. */
static bool worker_run_found(crewi_slot *slot)
{
    for (crewi_task *task; (task = worker_next(slot));) {
        worker_run_task(slot, task);
        if (crewi_pool_is_forked(slot->pool))
            return false;
        if (crewi_atomic_u32_load_relaxed(&slot->engine->is_short)) /* relaxed: or seen at the next task */
            crewi_engine_start_again(slot->engine);
        if (crewi_permit_is_wanted(slot->engine))
            break;
    }
    return true;
}

static void worker_live(crewi_slot *slot)
{
    bool is_lazy = (slot->pool->options.flags & CREW_LAZY_INIT) != 0;
    if (!is_lazy && !worker_initialise(slot))
        return;
    worker_arrived(slot);
    if (!crewi_park_arrived(slot) || (is_lazy && !worker_initialise_late(slot)))
        return;
    while (worker_run_found(slot) && crewi_park_worker(slot))
        continue;
}

/* Gives back all that the engine counts this thread for. True: it was the last that create or join waits for. */
static bool worker_retire(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    if (slot->is_searching)
        (void)crewi_atomic_u32_fetch_sub(&engine->searchers, 1);
    slot->is_searching = false;
    if (slot->base.has_permit)
        crewi_permit_release(engine);
    slot->base.has_permit = false;
    crewi_gate_flush(slot->pool, &slot->local);
    crewi_lock_acquire(&engine->lock);
    engine->arriving -= slot->is_arriving;
    engine->initialised -= slot->is_initialised;
    slot->is_arriving = slot->is_initialised = false; /* a lost worker that goes on retires twice */
    engine->alive--;
    engine->is_taken[slot->index] = false;
    bool is_last = engine->alive == 0 || (!engine->is_open && engine->arriving == 0);
    crewi_lock_release(&engine->lock);
    return is_last;
}

static void worker_leave_unused(crewi_slot *slot);

static void worker_body(void *opaque)
{
    crewi_slot *slot = opaque;
    worker_live(slot);
    if (crewi_pool_is_forked(slot->pool))
        return;
    worker_exit(slot);
    if (!slot->is_initialised)
        worker_leave_unused(slot);
    else if (worker_retire(slot))
        crewi_engine_tell(slot->engine);
}

/* ---- a job has ended this thread ---- */

static void lost_serve(crewi_task *task, crewi_frame *frame)
{
    (void)task->kind->run(task, frame); /* the lane's: its entry stays ours */
}

static void lost_serve_lane(crewi_engine *engine)
{
    for (crewi_task *task; (task = queue_next(&engine->urgent));) {
        crewi_run_guarded(lost_serve, task);
        crewi_task_drop_entry(task);
    }
}

/* Whether another thread takes over. If not, this one counts again. */
static bool lost_find_successor(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    crewi_engine_ensure_reserve(engine);
    crewi_lock_acquire(&engine->lock);
    bool is_last = engine->alive == 0;
    engine->alive += is_last;
    engine->is_taken[slot->index] |= is_last;
    crewi_lock_release(&engine->lock);
    return !is_last;
}

/* Callbacks still have to be called, also of jobs that run elsewhere or were about to be submitted: so this thread stays, on its way
 * out, until the broken pool has ended. */
static void lost_go_on(crewi_slot *slot)
{
    crew_error why;
    (void)crewi_refuse(&why, CREW_BROKEN, "the last worker's thread has ended, and no other could be started");
    slot->base.worker_state = NULL;
    do {
        crewi_pool_break(slot->pool, &why);
        lost_serve_lane(slot->engine);
    } while (crewi_park_worker(slot));
    (void)worker_retire(slot);
}

/* In worker_init or worker_exit. */
static bool lost_is_in_hook(const crewi_slot *slot)
{
    return slot->frame.is_on_stack && slot->frame.kind == CREWI_FRAME_INIT;
}

/* Its place is empty. The gate is held till it is known whether somebody takes over, so that the pool does not end before. */
static void lost_hand_over(crewi_slot *slot, bool needs_successor)
{
    bool goes_on = needs_successor && !lost_find_successor(slot);
    crewi_graph_look_again();
    if (!goes_on)
        crewi_self_set(NULL);
    crewi_gate_leave(slot->pool);
    if (goes_on)
        lost_go_on(slot);
    crewi_engine_tell(slot->engine); /* the pool's until its last thread is joined */
    crewi_self_set(NULL);
}

/* It could not be initialised, but somebody may have counted on it: the last worker that had been may have been lost meanwhile. */
static void worker_leave_unused(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    crewi_lock_acquire(&engine->lock);
    bool is_open = engine->is_open;
    crewi_lock_release(&engine->lock);
    if (is_open && !crewi_gate_is_ended(slot->pool)) {
        crewi_gate_enter_inside(slot->pool);
        lost_hand_over(slot, worker_retire(slot));
    } else if (worker_retire(slot)) {
        crewi_engine_tell(engine);
    }
}

static void lost_settle(crewi_slot *slot)
{
    bool was_hook = lost_is_in_hook(slot);
    crewi_nest_lost(&slot->local, 0);
    crewi_self_set(&slot->base);
    if (was_hook)
        crewi_frame_leave(&slot->frame);
    else
        crewi_frame_lost(&slot->frame);
    if (slot->current)
        crewi_task_drop_entry(slot->current);
    slot->current = NULL;
}

static void lost_at_work(crewi_slot *slot)
{
    crewi_gate_enter_inside(slot->pool);
    lost_settle(slot);
    worker_exit(slot);
    (void)worker_retire(slot);
    lost_hand_over(slot, true);
}

/* By worker_init: nobody takes over as long as others are left, since whoever did would be lost likewise. Where the pool breaks by that, this thread
 * serves its callbacks. */
static void lost_in_init(crewi_slot *slot)
{
    crew_error error;
    crewi_error_from_frame(&error, CREW_WORKER_LOST, 0, &slot->frame, NULL);
    lost_settle(slot);
    bool goes_on = worker_init_failed(slot, &error);
    worker_give_up_held(slot);
    if (goes_on && slot->is_arriving)
        worker_arrived(slot);
    if (goes_on) {
        lost_go_on(slot);
        crewi_engine_tell(slot->engine);
    } else {
        worker_leave_unused(slot);
    }
    crewi_self_set(NULL);
}

/* By worker_exit: nobody takes over from a worker that was leaving. */
static void lost_on_its_way_out(crewi_slot *slot)
{
    lost_settle(slot);
    if (worker_retire(slot))
        crewi_engine_tell(slot->engine);
    crewi_self_set(NULL);
}

static void worker_lost(void *opaque)
{
    crewi_slot *slot = opaque;
    if (crewi_pool_is_forked(slot->pool))
        return;
    if (slot->is_exiting)
        lost_on_its_way_out(slot);
    else if (lost_is_in_hook(slot))
        lost_in_init(slot);
    else
        lost_at_work(slot);
}

void crewi_worker_main(void *opaque)
{
    crewi_slot *slot = opaque;
    if (slot->has_predecessor)
        crewi_thread_join(slot->predecessor);
    slot->base = (crewi_frame){.has_permit = false};
    slot->frame = (crewi_frame){.has_permit = false};
    slot->current = NULL;
    slot->is_initialised = slot->is_exiting = slot->is_searching = slot->is_in_run = false;
    crewi_frame_enter(&slot->base, CREWI_FRAME_WORKER, slot->pool, NULL);
    slot->base.worker = (int)slot->index;
    slot->base.local = &slot->local;
    crewi_thread_guard(worker_body, worker_lost, slot);
    if (crewi_pool_is_forked(slot->pool))
        crewi_thread_vanish(); /* the thread of a job that forked, in the child: the parent's exit handlers are not its own */
}
