/* SPDX-License-Identifier: MIT */
/* The serial backend: no thread at all. A job runs at submit, on the submitting thread: the executable specification of
 * what every backend must do, and the one to debug with.
 *
 * One thread at a time has the *turn*. Whoever submits without it queues the task, takes the turn if it is free, and works
 * the queue off; if another thread has it, that one looks at the queue again after it let go. Who submits while it has the turn
 * (a job submits a job) runs the task at once, on top; or queues it, where the stack is nearly used up. Callbacks wait until
 * nothing of the pool is suspended beneath them.
 *
 * Vacuous here: idle workers, stealing, spares, thread attributes (promises 9 and 14), "at most workers at once" beyond one; and,
 * since taking an item makes room for the next, crew_iterator_next runs user code even with a finite deadline. */
#include "../backend.h"

struct serial {
    crewi_lock turn;
    /* Whose turn: crewi_thread_mark() of that thread, NULL while nobody's; a thread only compares with itself. */
    crewi_atomic_ptr holder;
    crewi_queue jobs, callbacks;
    void *worker_state;
    bool has_tried_init, is_initialised; /* by whoever has the turn, or create, or join */
};

static struct serial *serial_of(crew_pool *pool)
{
    return pool->engine;
}

static void serial_hook(crew_pool *pool, int running)
{
    if (pool->options.worker_run)
        pool->options.worker_run(pool->options.user, 0, running);
}

/* ---- the turn ---- */

static bool serial_has_turn(crew_pool *pool)
{
    return crewi_atomic_ptr_load(&serial_of(pool)->holder) == crewi_thread_mark();
}

static void serial_begin_turn(crew_pool *pool)
{
    crewi_atomic_ptr_store(&serial_of(pool)->holder, crewi_thread_mark());
    serial_hook(pool, 1);
}

static void serial_release_turn(crew_pool *pool)
{
    serial_hook(pool, 0);
    crewi_atomic_ptr_store(&serial_of(pool)->holder, NULL);
    crewi_lock_release(&serial_of(pool)->turn);
}

static bool serial_try_turn(crew_pool *pool)
{
    if (!crewi_lock_try(&serial_of(pool)->turn))
        return false;
    serial_begin_turn(pool);
    return true;
}

/* ---- running ---- */

struct serial_run {
    crewi_frame base; /* CREWI_FRAME_WORKER: this thread is worker 0 for now */
    crewi_frame frame;
    crew_pool *pool;
    crewi_task *task;
    bool has_turn; /* this run is the outermost one: the turn is its own */
};

static void serial_work_off(crew_pool *pool);

static void serial_end_run(struct serial_run *run, bool has_gone)
{
    crewi_self_set(run->base.outer);
    if (!has_gone)
        crewi_task_drop_entry(run->task);
}

static void serial_body(void *opaque)
{
    struct serial_run *run = opaque;
    bool has_gone = run->task->kind->run(run->task, &run->frame);
    serial_end_run(run, has_gone || crewi_pool_is_forked(run->pool));
}

/* The submitter's thread ends in the job. What it had still to work off is worked off on its way out. */
static void serial_lost(void *opaque)
{
    struct serial_run *run = opaque;
    crew_pool *pool = run->pool;
    if (crewi_pool_is_forked(pool))
        return;
    crewi_frame_lost(&run->frame);
    serial_end_run(run, false);
    if (run->has_turn) {
        serial_release_turn(pool);
        serial_work_off(pool);
    }
}

static void serial_run(crew_pool *pool, crewi_task *task, bool has_turn)
{
    struct serial_run run = {.pool = pool, .task = task, .has_turn = has_turn};
    crewi_frame_enter(&run.base, CREWI_FRAME_WORKER, pool, task);
    run.base.worker = 0;
    run.base.worker_state = serial_of(pool)->worker_state;
    run.base.has_permit = has_turn;
    crewi_thread_guard(serial_body, serial_lost, &run);
}

static crewi_task *serial_next(crew_pool *pool)
{
    crewi_link *link = crewi_queue_pop(&serial_of(pool)->jobs);
    if (!link && !crewi_frame_inside(pool))
        link = crewi_queue_pop(&serial_of(pool)->callbacks);
    return link ? crewi_task_of_link(link) : NULL;
}

static bool serial_has_work(crew_pool *pool)
{
    struct serial *serial = serial_of(pool);
    bool may_call_back = !crewi_frame_inside(pool);
    return !crewi_queue_is_empty(&serial->jobs) || (may_call_back && !crewi_queue_is_empty(&serial->callbacks));
}

static crew_status serial_init(crew_pool *pool, crew_error *ret_error)
{
    crewi_frame frame = {.has_permit = false};
    crewi_frame_enter(&frame, CREWI_FRAME_INIT, pool, NULL);
    frame.worker = 0;
    serial_of(pool)->has_tried_init = true;
    int code = pool->options.worker_init(pool->options.user, 0, &serial_of(pool)->worker_state);
    crewi_frame_leave(&frame);
    serial_of(pool)->is_initialised = code == 0;
    if (code == 0)
        return CREW_OK;
    if (ret_error)
        crewi_error_from_frame(ret_error, CREW_FAILED, code, &frame, NULL);
    return CREW_FAILED;
}

/* CREW_LAZY_INIT: before the first work. */
static void serial_init_lazily(crew_pool *pool)
{
    crew_error why;
    if (!serial_of(pool)->has_tried_init && serial_init(pool, &why) != CREW_OK)
        crewi_pool_break(pool, &why);
}

/* Who pushes while we have the turn relies on us to look again after we let go of it. */
static void serial_work_off(crew_pool *pool)
{
    while (serial_has_work(pool) && serial_try_turn(pool)) {
        serial_init_lazily(pool);
        for (crewi_task *task; (task = serial_next(pool));) {
            serial_run(pool, task, true);
            if (crewi_pool_is_forked(pool))
                return;
        }
        serial_release_turn(pool);
    }
}

static void serial_submit(crew_pool *pool, crewi_task *task, enum crewi_where where)
{
    bool urgent = where == CREWI_URGENT;
    struct serial *serial = serial_of(pool);
    if (!urgent && serial_has_turn(pool) && crewi_stack_is_enough()) {
        serial_run(pool, task, false);
        return;
    }
    crewi_queue_push(urgent ? &serial->callbacks : &serial->jobs, &task->link);
    if (!serial_has_turn(pool))
        serial_work_off(pool);
}

static bool serial_claim(const struct crewi_local *local, crewi_task *task, bool *ret_has_entry)
{
    (void)local;
    *ret_has_entry = false;
    return crewi_task_claim(task);
}

static void serial_retract(crew_pool *pool)
{
    (void)pool;
}

/* ---- helping and waiting ---- */

static void serial_urge(crew_pool *pool)
{
    (void)pool; /* no thread to run it */
}

/* Outsiders are lent no desks here. */
static bool serial_enter(crew_pool *pool, uint32_t desk)
{
    (void)desk;
    return serial_try_turn(pool);
}

static void serial_leave(crew_pool *pool, uint32_t desk)
{
    (void)desk;
    serial_release_turn(pool);
    serial_work_off(pool);
}

static void serial_suspend(crew_pool *pool, crewi_frame *frame)
{
    (void)frame;
    serial_release_turn(pool);
}

static void serial_resume(crew_pool *pool, crewi_frame *frame)
{
    (void)frame;
    crewi_lock_acquire(&serial_of(pool)->turn);
    serial_begin_turn(pool);
}

/* ---- life ---- */

static void serial_free(crew_pool *pool)
{
    crewi_memory_put(crewi_cells_memory(pool->cells), pool->engine, sizeof(struct serial));
}

static crew_status serial_open(crew_pool *pool, crew_error *ret_error)
{
    struct serial *serial = crewi_memory_get(crewi_cells_memory(pool->cells), sizeof *serial, CREWI_CACHE_LINE);
    if (!serial)
        return crewi_refuse(ret_error, CREW_NO_MEMORY, "out of memory");
    crewi_lock_init(&serial->turn);
    crewi_atomic_ptr_init(&serial->holder, NULL);
    crewi_queue_init(&serial->jobs);
    crewi_queue_init(&serial->callbacks);
    serial->worker_state = NULL;
    serial->has_tried_init = !pool->options.worker_init;
    serial->is_initialised = false;
    pool->engine = serial;
    if (!pool->options.worker_init || (pool->options.flags & CREW_LAZY_INIT))
        return CREW_OK;
    crew_status status = serial_init(pool, ret_error);
    if (status != CREW_OK)
        serial_free(pool);
    return status;
}

static void serial_wake_all(crew_pool *pool)
{
    (void)pool;
}

static void serial_sweep(crew_pool *pool)
{
    crew_status status = crewi_gate_verdict(pool);
    for (crewi_link *link; (link = crewi_queue_pop(&serial_of(pool)->jobs));) {
        crewi_task *task = crewi_task_of_link(link);
        if (!task->kind->end(task, status))
            crewi_task_drop_entry(task);
    }
}

/* Everything has ended: whoever has the turn is about to let go. */
static bool serial_wait_threads(crew_pool *pool, int64_t deadline_ns)
{
    (void)deadline_ns;
    (void)pool;
    return true;
}

static void serial_join(crew_pool *pool)
{
    struct serial *serial = serial_of(pool);
    crewi_lock_acquire(&serial->turn);
    crewi_lock_release(&serial->turn);
    serial_sweep(pool); /* dead entries, claimed elsewhere; nothing else is left */
    if (pool->options.worker_exit && serial->is_initialised) {
        crewi_frame frame = {.has_permit = false};
        crewi_frame_enter(&frame, CREWI_FRAME_INIT, pool, NULL);
        frame.worker = 0;
        frame.worker_state = serial->worker_state;
        pool->options.worker_exit(pool->options.user, 0, serial->worker_state);
        crewi_frame_leave(&frame);
    }
    serial->is_initialised = false;
}

static void serial_query(crew_pool *pool, struct crewi_backend_info *ret_info)
{
    void *holder = crewi_atomic_ptr_load(&serial_of(pool)->holder);
    bool another_goes_on = holder && holder != crewi_thread_mark();
    *ret_info = (struct crewi_backend_info){.slots = pool->options.workers, .capacity = another_goes_on ? 1 : 0};
}

const struct crewi_backend crewi_backend_serial = {
    .version = CREWI_BACKEND_VERSION,
    .name = "serial",
    .open = serial_open,
    .submit = serial_submit,
    .claim = serial_claim,
    .retract = serial_retract,
    .enter = serial_enter,
    .leave = serial_leave,
    .suspend = serial_suspend,
    .resume = serial_resume,
    .urge = serial_urge,
    .sweep = serial_sweep,
    .wake_all = serial_wake_all,
    .wait_threads = serial_wait_threads,
    .join = serial_join,
    .free = serial_free,
    .query = serial_query,
};
