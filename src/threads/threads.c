/* SPDX-License-Identifier: MIT */
/* The threads backend: starting and ending threads, and the functions of struct crewi_backend. */
#include "threads.h"

#include <stdio.h>
#include <string.h>

enum { COMPACTION_SLACK = 256 }; /* dead entries that may lie in the queues besides one for each live one */
enum { SWEEP_AT_ONCE = 64 };     /* entries that terminate takes out of a queue for one lock */

/* ---- starting threads ---- */

void crewi_engine_tell(crewi_engine *engine)
{
    (void)crewi_atomic_u32_fetch_add(&engine->arrivals, 1);
    crewi_futex_wake_all(&engine->arrivals);
}

static crewi_slot *slot_new(crewi_engine *engine, unsigned index)
{
    crewi_slot *slot = crewi_memory_get(crewi_cells_memory(engine->pool->cells), sizeof *slot, CREWI_CACHE_LINE);
    if (!slot)
        return NULL;
    memset(slot, 0, sizeof *slot);
    slot->pool = engine->pool;
    slot->engine = engine;
    slot->index = index;
    slot->random = index * UINT64_C(0x9E3779B97F4A7C15) + 1;
    crewi_atomic_u32_init(&slot->wake, CREWI_ASLEEP);
    crewi_atomic_ptr_init(&slot->held, NULL);
    crewi_deque_init(&slot->deque);
    crewi_deque_init(&slot->inbox);
    crewi_local_init(&slot->local, engine->pool->cells, index, slot);
    slot->local.queue = &slot->deque;
    return slot;
}

/* The lowest index that no thread has, reserved for the caller, who starts one there; or slots_max. */
static unsigned engine_reserve_index(crewi_engine *engine, bool (*is_wanted)(const crewi_engine *engine))
{
    unsigned index = 0;
    crewi_lock_acquire(&engine->lock);
    if (!is_wanted(engine))
        index = engine->slots_max;
    while (index < engine->slots_max && engine->is_taken[index])
        index++;
    if (index < engine->slots_max) {
        engine->is_taken[index] = true;
        engine->alive++;
        engine->arriving++;
    }
    crewi_lock_release(&engine->lock);
    return index;
}

static crewi_slot *engine_slot_at(crewi_engine *engine, unsigned index)
{
    crewi_slot *slot = crewi_atomic_ptr_load(&engine->slots[index]);
    if (slot)
        return slot;
    slot = slot_new(engine, index);
    if (!slot)
        return NULL;
    crewi_atomic_ptr_store(&engine->slots[index], slot); /* only whoever reserved the index gets here */
    uint32_t used = crewi_atomic_u32_load(&engine->slots_used);
    while (used <= index && !crewi_atomic_u32_cas(&engine->slots_used, &used, index + 1))
        continue;
    return slot;
}

/* A long pool's name is cut, the index is not. */
static void slot_name(const crewi_slot *slot, char name[CREWI_THREAD_NAME_SIZE])
{
    const char *pool_name = slot->pool->options.name;
    char index[12];
    int digits = snprintf(index, sizeof index, "-%u", slot->index);
    crewi_text_copy(name, (size_t)(CREWI_THREAD_NAME_SIZE - digits), pool_name ? pool_name : "crew");
    memcpy(name + strlen(name), index, (size_t)digits + 1);
}

/* By whoever has reserved the slot: nobody else looks at its thread till that has ended. */
static bool slot_start(crewi_slot *slot)
{
    const crew_pool_options *options = &slot->pool->options;
    char name[CREWI_THREAD_NAME_SIZE];
    slot_name(slot, name);
    slot->predecessor = slot->thread;
    slot->has_predecessor = slot->has_thread;
    slot->is_arriving = slot->is_in_reserve = true;
    slot->has_thread = true; /* the new thread may be through before we go on */
    if (crewi_thread_start(&slot->thread, crewi_worker_main, slot, name, options->stack_size))
        return true;
    slot->has_thread = slot->has_predecessor;
    return false;
}

/* Under the lock. At the first failure in a row the next task is soon enough to try again, later not every task. */
static void engine_note_start(crewi_engine *engine, bool is_started)
{
    enum { PAUSE_NS = 10000000 };
    engine->start_again_ns = engine->cannot_start ? crewi_clock_now_ns() + PAUSE_NS : 0;
    engine->cannot_start = !is_started;
    crewi_atomic_u32_store(&engine->is_short, !is_started);
}

static crew_status engine_start_thread(crewi_engine *engine, unsigned index)
{
    crewi_slot *slot = engine_slot_at(engine, index);
    bool is_started = slot && slot_start(slot);
    crewi_lock_acquire(&engine->lock);
    engine_note_start(engine, is_started);
    if (!is_started) {
        engine->is_taken[index] = false;
        engine->alive--;
        engine->arriving--;
        engine->spare_failures++;
    }
    crewi_lock_release(&engine->lock);
    if (is_started)
        return CREW_OK;
    return slot ? CREW_NO_RESOURCE : CREW_NO_MEMORY;
}

/* Threads that execute, or could at once, are fewer than the permits, and none of them sleeps. Where work waits, more than one may
 * be on its way, as long as that leaves CPUs to those that are there. */
static bool reserve_is_wanted(const crewi_engine *engine)
{
    if (engine->idle || engine->alive - engine->suspended >= engine->workers || crewi_gate_is_ended(engine->pool))
        return false;
    return engine->arriving == 0 || (engine->arriving <= engine->spinners_max && crewi_engine_has_work(engine));
}

static bool engine_start_if(crewi_engine *engine, bool (*is_wanted)(const crewi_engine *engine))
{
    unsigned index = engine_reserve_index(engine, is_wanted);
    return index < engine->slots_max && engine_start_thread(engine, index) == CREW_OK;
}

void crewi_engine_ensure_reserve(crewi_engine *engine)
{
    (void)engine_start_if(engine, reserve_is_wanted);
}

void crewi_engine_grow(crewi_engine *engine)
{
    if (engine_start_if(engine, reserve_is_wanted))
        (void)engine_start_if(engine, reserve_is_wanted);
}

void crewi_engine_start_again(crewi_engine *engine)
{
    crewi_lock_acquire(&engine->lock);
    bool is_due = crewi_clock_now_ns() >= engine->start_again_ns;
    if (is_due)
        crewi_atomic_u32_store(&engine->is_short, 0);
    crewi_lock_release(&engine->lock);
    if (is_due)
        crewi_engine_grow(engine);
}

static bool sleeper_is_wanted(const crewi_engine *engine)
{
    return engine->is_urged && !engine->idle && engine->arriving == 0;
}

void crewi_engine_ensure_sleeper(crewi_engine *engine)
{
    (void)engine_start_if(engine, sleeper_is_wanted);
}

/* ---- open ---- */

static size_t engine_size(unsigned slots_max)
{
    return sizeof(crewi_engine) + slots_max * (sizeof(crewi_atomic_ptr) + sizeof(bool));
}

static crewi_engine *engine_new(crew_pool *pool)
{
    unsigned slots_max = pool->options.workers + pool->options.spares_max;
    crewi_engine *engine = crewi_memory_get(crewi_cells_memory(pool->cells), engine_size(slots_max), CREWI_CACHE_LINE);
    if (!engine)
        return NULL;
    memset(engine, 0, engine_size(slots_max));
    engine->pool = pool;
    engine->workers = pool->options.workers;
    engine->slots_max = slots_max;
    engine->spinners_max = crewi_cpus_at_hand() / 2;
    engine->is_taken = (bool *)(void *)(engine->slots + slots_max);
    crewi_queue_init(&engine->injector);
    crewi_queue_init(&engine->urgent);
    crewi_atomic_ptr_init(&engine->offered, NULL);
    crewi_atomic_u32_init(&engine->guests_used, 0);
    for (unsigned i = 0; i < CREWI_DESKS; i++) {
        crewi_deque_init(&engine->guests[i]);
        pool->desks[i].local.queue = &engine->guests[i];
    }
    crewi_atomic_size_init(&engine->dead, 0);
    crewi_atomic_u32_init(&engine->idle_count, 0);
    crewi_atomic_u32_init(&engine->searchers, 0);
    crewi_atomic_u32_init(&engine->dozers, 0);
    crewi_atomic_u32_init(&engine->is_stirred, 0);
    crewi_atomic_u32_init(&engine->is_helped, 0);
    crewi_atomic_u32_init(&engine->is_short, 0);
    crewi_atomic_u32_init(&engine->arrivals, 0);
    crewi_atomic_u32_init(&engine->slots_used, 0);
    crewi_lock_init(&engine->lock);
    engine->resumers_end = &engine->resumers;
    for (unsigned i = 0; i < slots_max; i++)
        crewi_atomic_ptr_init(&engine->slots[i], NULL);
    return engine;
}

static void threads_free(crew_pool *pool)
{
    crewi_engine *engine = crewi_engine_of(pool);
    const struct crewi_memory *memory = crewi_cells_memory(pool->cells);
    for (unsigned i = 0; i < engine->slots_max; i++) {
        crewi_slot *slot = crewi_atomic_ptr_load(&engine->slots[i]);
        if (!slot)
            continue;
        crewi_local_close(&slot->local, crewi_pool_is_forked(pool), crewi_atomic_u32_load(&pool->is_joined) != 0);
        crewi_memory_put(memory, slot, sizeof *slot);
    }
    crewi_memory_put(memory, engine, engine_size(engine->slots_max));
}

static bool engine_is(crewi_engine *engine, bool (*condition)(const crewi_engine *engine))
{
    crewi_lock_acquire(&engine->lock);
    bool is_so = condition(engine);
    crewi_lock_release(&engine->lock);
    return is_so;
}

static bool engine_wait_until(crewi_engine *engine, bool (*condition)(const crewi_engine *engine), int64_t deadline_ns)
{
    for (bool in_time = true;;) {
        uint32_t epoch = crewi_atomic_u32_load(&engine->arrivals);
        if (engine_is(engine, condition))
            return true;
        if (!in_time)
            return false;
        in_time = crewi_park(&engine->arrivals, epoch, deadline_ns);
    }
}

static bool engine_has_nobody(const crewi_engine *engine)
{
    return engine->alive == 0;
}

static bool engine_has_settled(const crewi_engine *engine)
{
    return engine->arriving == 0;
}

static bool anyone_is_wanted(const crewi_engine *engine)
{
    (void)engine;
    return true;
}

static void sweep_end(crewi_task *task, crew_status status)
{
    if (!task->kind->end(task, status))
        crewi_task_drop_entry(task);
}

/* Some at a time: what is in hand here, nobody else who sweeps can end meanwhile. */
static void sweep_queue(crewi_queue *queue, crew_status status)
{
    for (crewi_link *link, *next; (link = crewi_queue_pop_chain(queue, SWEEP_AT_ONCE));)
        for (; link; link = next) {
            next = link->next;
            sweep_end(crewi_task_of_link(link), status);
        }
}

static void sweep_hatch(crewi_hatch *hatch, crew_status status)
{
    void *tasks[SWEEP_AT_ONCE];
    for (size_t count; (count = crewi_fifo_pop(&hatch->tasks, tasks, SWEEP_AT_ONCE)) > 0;)
        for (size_t i = 0; i < count; i++)
            sweep_end(tasks[i], status);
}

static void sweep_deque(crewi_deque *deque, crew_status status)
{
    while (!crewi_deque_is_empty(deque)) {
        crewi_task *task = crewi_deque_steal(deque);
        if (task)
            sweep_end(task, status);
    }
}

static void threads_sweep(crew_pool *pool)
{
    crewi_engine *engine = crewi_engine_of(pool);
    crew_status status = crewi_gate_verdict(pool);
    for (unsigned i = 0; i < CREWI_HATCHES; i++)
        sweep_hatch(&pool->hatches[i], status);
    sweep_queue(&engine->injector, status);
    crewi_task *offered = crewi_atomic_ptr_exchange(&engine->offered, NULL);
    if (offered)
        sweep_end(offered, status);
    for (unsigned i = 0; i < CREWI_DESKS; i++)
        sweep_deque(&engine->guests[i], status);
    unsigned used = crewi_atomic_u32_load(&engine->slots_used);
    for (unsigned i = 0; i < used; i++) {
        crewi_slot *slot = crewi_atomic_ptr_load(&engine->slots[i]);
        if (!slot)
            continue;
        crewi_task *held = crewi_atomic_ptr_exchange(&slot->held, NULL);
        if (held)
            sweep_end(held, status);
        sweep_deque(&slot->inbox, status);
        sweep_deque(&slot->deque, status);
    }
}

static bool threads_wait(crew_pool *pool, int64_t deadline_ns)
{
    return engine_wait_until(crewi_engine_of(pool), engine_has_nobody, deadline_ns);
}

static void threads_join(crew_pool *pool)
{
    crewi_engine *engine = crewi_engine_of(pool);
    for (unsigned i = 0; i < engine->slots_max; i++) {
        crewi_slot *slot = crewi_atomic_ptr_load(&engine->slots[i]);
        if (!slot || !slot->has_thread)
            continue;
        crewi_thread_join(slot->thread);
        slot->has_thread = false;
    }
    threads_sweep(pool); /* dead entries, claimed elsewhere; nothing else is left */
}

/* Create says whether all workers can. */
static crew_status engine_start_all(crewi_engine *engine, crew_error *ret_error)
{
    crew_status status = CREW_OK;
    for (unsigned i = 0; status == CREW_OK && i < engine->workers; i++)
        status = engine_start_thread(engine, engine_reserve_index(engine, anyone_is_wanted));
    (void)engine_wait_until(engine, engine_has_settled, CREWI_NEVER);
    crewi_lock_acquire(&engine->lock);
    bool has_failed = engine->has_init_failure;
    engine->is_open = true;
    crewi_lock_release(&engine->lock);
    if (has_failed && ret_error) {
        *ret_error = engine->init_failure;
        ret_error->status = CREW_FAILED;
    }
    return has_failed ? CREW_FAILED : status;
}

/* With an initializer all workers start now; else one, which nobody waits for, and the others when there is work. */
static crew_status engine_start_first(crewi_engine *engine, crew_error *ret_error)
{
    const crew_pool_options *options = &engine->pool->options;
    crew_status status;
    if (options->worker_init && !(options->flags & CREW_LAZY_INIT)) {
        status = engine_start_all(engine, ret_error);
    } else {
        engine->is_open = true; /* no other thread is there yet */
        status = engine_start_thread(engine, engine_reserve_index(engine, anyone_is_wanted));
    }
    if (status == CREW_OK || status == CREW_FAILED)
        return status;
    return crewi_refuse(ret_error, status, "a worker's thread could not be started");
}

static crew_status threads_open(crew_pool *pool, crew_error *ret_error)
{
    crewi_engine *engine = engine_new(pool);
    if (!engine)
        return crewi_refuse(ret_error, CREW_NO_MEMORY, "out of memory");
    pool->engine = engine;
    crew_status status = engine_start_first(engine, ret_error);
    if (status == CREW_OK)
        return CREW_OK;
    crewi_gate_shut(pool, CREWI_GATE_CLOSED);
    (void)threads_wait(pool, CREWI_NEVER);
    threads_join(pool);
    threads_free(pool);
    return status;
}

/* ---- work ---- */

/* In a full deque entries at the bottom that were claimed elsewhere make room. */
static bool deque_trim(crewi_deque *deque)
{
    crewi_task *newest = crewi_deque_pop(deque);
    if (!newest)
        return true;
    if (!newest->kind->is_dead(newest)) {
        (void)crewi_deque_push(deque, newest);
        return false;
    }
    crewi_task_drop_entry(newest);
    return true;
}

/* Thieves look only at those guests' queues that were ever used. */
static void guest_note(crewi_engine *engine, const crewi_deque *deque)
{
    uint32_t bit = UINT32_C(1) << (deque - engine->guests);
    if (!(crewi_atomic_u32_load(&engine->guests_used) & bit))
        (void)crewi_atomic_u32_fetch_or(&engine->guests_used, bit);
}

static inline bool own_push(crewi_engine *engine, const struct crewi_local *local, crewi_task *task)
{
    crewi_deque *deque = local->queue;
    if (deque && !local->slot)
        guest_note(engine, deque);
    return deque && (crewi_deque_push(deque, task) || (deque_trim(deque) && crewi_deque_push(deque, task)));
}

/* The newest of what this thread's jobs have submitted is at hand. */
static bool threads_claim(const struct crewi_local *local, crewi_task *task, bool *ret_has_entry)
{
    if (local && local->queue)
        return crewi_deque_claim(local->queue, task, ret_has_entry);
    *ret_has_entry = false;
    return crewi_task_claim(task);
}

static bool hatch_push(crew_pool *pool, crewi_task *task)
{
    return crewi_hatch_push_and_unlock(pool, crewi_hatch_lock(pool), task);
}

static bool engine_offer(crewi_engine *engine, crewi_task *task)
{
    void *nobody = NULL;
    return !crewi_atomic_ptr_load(&engine->offered) && crewi_atomic_ptr_cas(&engine->offered, &nobody, task);
}

static bool threads_take_back(crew_pool *pool, crewi_task *task)
{
    void *found = task;
    return crewi_atomic_ptr_cas(&crewi_engine_of(pool)->offered, &found, NULL);
}

static void threads_spawn(crew_pool *pool, const struct crewi_local *local, crewi_task *task)
{
    crewi_engine *engine = crewi_engine_of(pool);
    if (!own_push(engine, local, task)) /* [S1] */
        crewi_queue_push(&engine->injector, &task->link);
    crewi_work_arrived(engine); /* [S2] */
}

/* New work goes to the thread's own queue or, from outside, into a hatch. */
static bool engine_push_new(crewi_engine *engine, crewi_task *task)
{
    struct crewi_local *local = crewi_local_here(engine->pool);
    return local ? own_push(engine, local, task) : hatch_push(engine->pool, task);
}

static void threads_submit(crew_pool *pool, crewi_task *task, enum crewi_where where)
{
    crewi_engine *engine = crewi_engine_of(pool);
    bool is_pushed = false; /* [S1] */
    if (where == CREWI_OFFERED)
        is_pushed = engine_offer(engine, task);
    if (!is_pushed && (where == CREWI_NEXT || where == CREWI_OFFERED))
        is_pushed = engine_push_new(engine, task);
    if (!is_pushed)
        crewi_queue_push(where == CREWI_URGENT ? &engine->urgent : &engine->injector, &task->link);
    if (where != CREWI_LAZILY || !crewi_dozer_stir(engine))
        crewi_work_arrived(engine); /* [S2] */
}

static void threads_hatch_pushed(crew_pool *pool)
{
    crewi_work_arrived(crewi_engine_of(pool)); /* [S2] */
}

static bool entry_is_dead(const void *entry)
{
    const crewi_task *task = entry;
    return task->kind->is_dead(task);
}

static void entry_drop(void *entry)
{
    crewi_task_drop_entry(entry);
}

static bool link_is_dead(const crewi_link *link)
{
    return entry_is_dead(crewi_task_of_link((crewi_link *)(uintptr_t)link));
}

static void threads_retract(crew_pool *pool)
{
    crewi_engine *engine = crewi_engine_of(pool);
    size_t dead = crewi_atomic_size_fetch_add(&engine->dead, 1) + 1;
    size_t live = (size_t)(crewi_atomic_u64_load(&pool->gate) & CREWI_GATE_COUNT);
    if (dead <= live + COMPACTION_SLACK || crewi_atomic_size_exchange(&engine->dead, 0) < dead)
        return;
    for (unsigned i = 0; i < CREWI_HATCHES; i++)
        crewi_fifo_filter(&pool->hatches[i].tasks, entry_is_dead, entry_drop);
    for (crewi_link *link = crewi_queue_filter(&engine->injector, link_is_dead), *next; link; link = next) {
        next = link->next;
        crewi_task_drop_entry(crewi_task_of_link(link));
    }
}

/* ---- outside helpers ---- */

static bool threads_enter(crew_pool *pool, uint32_t desk)
{
    crewi_engine *engine = crewi_engine_of(pool);
    if (!crewi_atomic_u32_load_relaxed(&engine->is_helped)) /* relaxed: a hint for idle workers */
        crewi_atomic_u32_store_relaxed(&engine->is_helped, 1);
    return crewi_permit_try_with_desk(engine, desk);
}

static void threads_leave(crew_pool *pool, uint32_t desk)
{
    crewi_permit_leave(crewi_engine_of(pool), desk);
}

static void threads_query(crew_pool *pool, struct crewi_backend_info *ret_info)
{
    crewi_engine *engine = crewi_engine_of(pool);
    crewi_lock_acquire(&engine->lock);
    unsigned startable = engine->cannot_start ? 0 : engine->slots_max - engine->alive;
    unsigned capacity = engine->cannot_init ? engine->initialised : engine->alive + startable;
    *ret_info = (struct crewi_backend_info){
        .slots = engine->slots_max,
        .threads = engine->alive,
        .blocked = engine->suspended,
        .capacity = capacity,
        .spare_failures = engine->spare_failures,
    };
    crewi_lock_release(&engine->lock);
    uint32_t used = crewi_atomic_u32_load(&engine->slots_used);
    for (unsigned i = 0; i < used; i++) {
        const crewi_slot *slot = crewi_atomic_ptr_load(&engine->slots[i]);
        if (slot)
            crewi_totals_add(&ret_info->totals, &slot->local.counts);
    }
}

const struct crewi_backend crewi_backend_threads = {
    .version = CREWI_BACKEND_VERSION,
    .name = "threads",
    .open = threads_open,
    .hatch_pushed = threads_hatch_pushed,
    .submit = threads_submit,
    .claim = threads_claim,
    .spawn = threads_spawn,
    .take_back = threads_take_back,
    .retract = threads_retract,
    .enter = threads_enter,
    .leave = threads_leave,
    .suspend = crewi_threads_suspend,
    .resume = crewi_threads_resume,
    .urge = crewi_threads_urge,
    .sweep = threads_sweep,
    .wake_all = crewi_threads_wake_all,
    .wait_threads = threads_wait,
    .join = threads_join,
    .free = threads_free,
    .query = threads_query,
};
