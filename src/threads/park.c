/* SPDX-License-Identifier: MIT */
/* Permits, sleeping and waking.
 *
 * `executing` threads hold a permit and may run jobs; an idle worker holds none. Whoever wakes a worker gives it one. A job that
 * waits gives its permit up, and takes it again when it goes on. */
#include "threads.h"

#define RESUME_GRACE_NS 10000000 /* how long a job that goes on waits for a permit, see crewi_threads_resume */

/* ---- permits, under the lock ---- */

static void engine_note_pressure(crewi_engine *engine)
{
    bool pressed = engine->resumers || engine->executing > engine->workers;
    crewi_atomic_u32_store(&engine->pressure, pressed);
}

/* A permit that is free goes to a job that waits to go on, before new work. */
static void engine_grant_resumers(crewi_engine *engine)
{
    while (engine->resumers && engine->executing < engine->workers) {
        crewi_resumer *resumer = engine->resumers;
        engine->resumers = resumer->next;
        if (!engine->resumers)
            engine->resumers_end = &engine->resumers;
        engine->executing++;
        /* The resumer may leave as soon as it sees this; the wake needs only the address. */
        crewi_atomic_u32_store(&resumer->is_granted, 1);
        crewi_futex_wake_one(&resumer->is_granted);
    }
    engine_note_pressure(engine);
}

static void engine_idle_remove(crewi_engine *engine, crewi_slot *slot)
{
    crewi_slot **at = &engine->idle;
    while (*at != slot)
        at = &(*at)->idle_next;
    *at = slot->idle_next;
    slot->is_idle = false;
    (void)crewi_atomic_u32_fetch_sub(&engine->idle_count, 1);
}

static void engine_idle_add(crewi_engine *engine, crewi_slot *slot)
{
    crewi_atomic_u32_store(&slot->wake, CREWI_ASLEEP);
    slot->idle_next = engine->idle;
    slot->is_idle = true;
    engine->idle = slot;
    (void)crewi_atomic_u32_fetch_add(&engine->idle_count, 1);
}

bool crewi_permit_try(crewi_engine *engine)
{
    crewi_lock_acquire(&engine->lock);
    bool has = engine->executing < engine->workers;
    engine->executing += has;
    crewi_lock_release(&engine->lock);
    return has;
}

/* Work that came while all permits were taken was left to their holders: whoever gives one up has to look. */
void crewi_permit_release(crewi_engine *engine)
{
    crewi_lock_acquire(&engine->lock);
    engine->executing--;
    engine_grant_resumers(engine);
    crewi_lock_release(&engine->lock);
    if (crewi_engine_has_work(engine))
        crewi_wake_one(engine);
}

/* ---- waking ---- */

/* With a permit, even if that is one too many: then the next to finish a task gives it back. If nobody sleeps, the next on
 * its way to sleep has that permit. */
static void engine_wake(crewi_engine *engine, bool beyond_limit)
{
    crewi_lock_acquire(&engine->lock);
    crewi_slot *slot = beyond_limit || engine->executing < engine->workers ? engine->idle : NULL;
    engine->is_urged |= beyond_limit && !slot;
    if (slot) {
        engine_idle_remove(engine, slot);
        engine->executing++;
        engine_note_pressure(engine);
        (void)crewi_atomic_u32_fetch_add(&engine->searchers, 1);
        crewi_atomic_u32_store(&slot->wake, CREWI_GRANTED);
    }
    crewi_lock_release(&engine->lock);
    if (slot)
        crewi_futex_wake_one(&slot->wake);
}

void crewi_wake_one(crewi_engine *engine)
{
    engine_wake(engine, false);
}

void crewi_threads_urge(crew_pool *pool)
{
    crewi_engine *engine = crewi_engine_of(pool);
    if (crewi_queue_is_empty(&engine->urgent))
        return;
    engine_wake(engine, true);
    crewi_engine_ensure_sleeper(engine);
}

/* [S2] after [S1], the push: a searcher will find the entry, or see it when it looks again before it sleeps [P3]. */
void crewi_work_arrived(crewi_engine *engine)
{
    if (crewi_atomic_u32_load(&engine->idle_count) > 0 && crewi_atomic_u32_load(&engine->searchers) == 0)
        crewi_wake_one(engine);
}

/* A searcher that found work wakes the next one, if there is more: so that wakes follow the work, one after the other. */
void crewi_found_work(crewi_slot *slot)
{
    if (!slot->is_searching)
        return;
    slot->is_searching = false;
    (void)crewi_atomic_u32_fetch_sub(&slot->engine->searchers, 1);
    if (crewi_atomic_u32_load(&slot->engine->idle_count) > 0 && crewi_engine_has_work(slot->engine))
        crewi_wake_one(slot->engine);
}

void crewi_threads_wake_all(crew_pool *pool)
{
    crewi_engine *engine = crewi_engine_of(pool);
    if (!crewi_gate_is_ended(pool))
        return;
    crewi_lock_acquire(&engine->lock);
    while (engine->idle) {
        crewi_slot *slot = engine->idle;
        engine_idle_remove(engine, slot);
        crewi_atomic_u32_store(&slot->wake, CREWI_DISMISSED);
        crewi_futex_wake_one(&slot->wake);
    }
    crewi_lock_release(&engine->lock);
}

/* ---- sleeping ---- */

/* [P1] Onto the list of sleepers, without permit. */
static void park_announce(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    crewi_lock_acquire(&engine->lock);
    engine_idle_add(engine, slot);
    if (slot->base.has_permit)
        engine->executing--;
    slot->base.has_permit = false;
    engine_grant_resumers(engine);
    crewi_lock_release(&engine->lock);
}

/* [P3] Something is there after all: takes itself off the list, if nobody was faster. */
static void park_retract(crewi_slot *slot, bool has_ended)
{
    crewi_engine *engine = slot->engine;
    crewi_lock_acquire(&engine->lock);
    bool may_run = engine->executing < engine->workers || engine->is_urged;
    if (slot->is_idle && (has_ended || may_run)) {
        engine->is_urged = false;
        engine_idle_remove(engine, slot);
        engine->executing += !has_ended;
        engine_note_pressure(engine);
        crewi_atomic_u32_store(&slot->wake, has_ended ? CREWI_DISMISSED : CREWI_GRANTED);
        if (!has_ended)
            (void)crewi_atomic_u32_fetch_add(&engine->searchers, 1);
    }
    crewi_lock_release(&engine->lock);
}

bool crewi_park_worker(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    crewi_worker_in_run(slot, false);
    crewi_gate_flush(slot->pool, &slot->local);
    park_announce(slot); /* [P1] */
    if (slot->is_searching)
        (void)crewi_atomic_u32_fetch_sub(&engine->searchers, 1); /* [P2] */
    slot->is_searching = false;
    bool has_ended = crewi_gate_is_ended(slot->pool);
    if (has_ended || crewi_engine_has_work(engine))
        park_retract(slot, has_ended); /* [P3] */
    uint32_t wake;
    while ((wake = crewi_atomic_u32_load(&slot->wake)) == CREWI_ASLEEP)
        (void)crewi_futex_wait(&slot->wake, CREWI_ASLEEP, CREWI_NEVER); /* [P4] */
    if (wake == CREWI_DISMISSED)
        return false;
    slot->base.has_permit = true;
    slot->is_searching = true;
    return true;
}

/* ---- jobs that wait ---- */

void crewi_threads_suspend(crew_pool *pool, crewi_frame *frame)
{
    crewi_engine *engine = crewi_engine_of(pool);
    crewi_slot *slot = frame->kind == CREWI_FRAME_WORKER ? CREWI_CONTAINER_OF(frame, crewi_slot, base) : NULL;
    if (slot) {
        crewi_worker_in_run(slot, false);
        crewi_lock_acquire(&engine->lock);
        engine->suspended++;
        crewi_lock_release(&engine->lock);
    }
    crewi_permit_release(engine);
    if (slot)
        crewi_engine_ensure_reserve(engine);
}

static void engine_resumer_remove(crewi_engine *engine, crewi_resumer *resumer)
{
    crewi_resumer **at = &engine->resumers;
    while (*at != resumer)
        at = &(*at)->next;
    *at = resumer->next;
    if (!resumer->next)
        engine->resumers_end = at;
}

/* All permits are taken: waits for one, but not for long, since who holds them may want a lock that this job holds. */
static void resume_wait(crewi_engine *engine, crewi_resumer *resumer)
{
    int64_t deadline_ns = crewi_clock_now_ns() + RESUME_GRACE_NS;
    bool in_time = true;
    while (in_time && !crewi_atomic_u32_load(&resumer->is_granted))
        in_time = crewi_futex_wait(&resumer->is_granted, 0, deadline_ns);
    crewi_lock_acquire(&engine->lock);
    if (!crewi_atomic_u32_load(&resumer->is_granted)) {
        engine_resumer_remove(engine, resumer);
        engine->executing++;
        engine_note_pressure(engine);
    }
    crewi_lock_release(&engine->lock);
}

void crewi_threads_resume(crew_pool *pool, crewi_frame *frame)
{
    crewi_engine *engine = crewi_engine_of(pool);
    bool is_worker = frame->kind == CREWI_FRAME_WORKER;
    crewi_resumer resumer = {.next = NULL};
    crewi_atomic_u32_init(&resumer.is_granted, 0);
    crewi_lock_acquire(&engine->lock);
    engine->suspended -= is_worker;
    bool must_wait = engine->executing >= engine->workers;
    if (must_wait) {
        *engine->resumers_end = &resumer;
        engine->resumers_end = &resumer.next;
    } else {
        engine->executing++;
    }
    engine_note_pressure(engine);
    crewi_lock_release(&engine->lock);
    if (must_wait)
        resume_wait(engine, &resumer);
    if (is_worker)
        crewi_worker_in_run(CREWI_CONTAINER_OF(frame, crewi_slot, base), true);
}
