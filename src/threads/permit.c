/* SPDX-License-Identifier: MIT */
/* Permits: who may execute. `permits` threads hold one and may run jobs; an idle worker holds none. A job that waits gives its
 * permit up, and takes it again when it goes on. Taking and giving back is one atomic step each, unless somebody waits for one. */
#include "threads.h"

#define PERMIT_COUNT (CREWI_DESK_FIRST - 1)

#define RESUME_GRACE_NS 10000000 /* how long a job that goes on waits for a permit, see crewi_threads_resume */

unsigned crewi_permits_out(const crewi_engine *engine)
{
    return crewi_atomic_u32_load(&engine->pool->present) & PERMIT_COUNT;
}

/* For new work: WANTED is beyond any number of workers, since who waits comes first. */
static bool permits_are_left(const crewi_engine *engine, uint32_t present)
{
    return (present & ~CREWI_DESK_BITS) < engine->workers;
}

bool crewi_permit_try_with_desk(crewi_engine *engine, uint32_t desk)
{
    uint32_t present = crewi_atomic_u32_load(&engine->pool->present);
    while (permits_are_left(engine, present) && !(present & desk))
        if (crewi_atomic_u32_cas(&engine->pool->present, &present, (present | desk) + 1))
            return true;
    return false;
}

bool crewi_permit_try(crewi_engine *engine)
{
    return crewi_permit_try_with_desk(engine, 0);
}

void crewi_permit_take(crewi_engine *engine)
{
    (void)crewi_atomic_u32_fetch_add(&engine->pool->present, 1);
}

bool crewi_permit_is_wanted(const crewi_engine *engine)
{
    /* relaxed: seen a task later is early enough */
    return (crewi_atomic_u32_load_relaxed(&engine->pool->present) & ~CREWI_DESK_BITS) > engine->workers;
}

/* Under the lock: permits that are free go to jobs that wait to go on. False: none is left over for new work. */
static bool permits_grant(crewi_engine *engine)
{
    while (engine->resumers) {
        uint32_t present = crewi_atomic_u32_load(&engine->pool->present);
        if ((present & PERMIT_COUNT) >= engine->workers)
            return false;
        if (!crewi_atomic_u32_cas(&engine->pool->present, &present, present + 1))
            continue;
        crewi_resumer *resumer = engine->resumers;
        engine->resumers = resumer->next;
        if (!engine->resumers)
            engine->resumers_end = &engine->resumers;
        /* The resumer may leave as soon as it sees this; the wake needs only the address. */
        crewi_atomic_u32_store(&resumer->is_granted, 1);
        crewi_futex_wake_one(&resumer->is_granted);
    }
    uint32_t before = crewi_atomic_u32_fetch_and(&engine->pool->present, ~CREWI_PERMIT_WANTED);
    return (before & PERMIT_COUNT) < engine->workers;
}

/* Work that came while all permits were taken, or wanted, was left to their holders: whoever frees one has to look. */
static void permit_look_for_work(crewi_engine *engine)
{
    if (crewi_atomic_u32_load(&engine->idle_count) > 0 && crewi_engine_has_work(engine))
        crewi_wake_one(engine);
}

/* True: there was none for new work before [rule R]. */
static bool permit_put_with_desk(crewi_engine *engine, uint32_t desk)
{
    uint32_t before = crewi_atomic_u32_fetch_sub(&engine->pool->present, 1 + desk);
    if (before & CREWI_PERMIT_WANTED) {
        crewi_lock_acquire(&engine->lock);
        (void)permits_grant(engine);
        crewi_lock_release(&engine->lock);
    }
    return !permits_are_left(engine, before);
}

void crewi_permit_put(crewi_engine *engine)
{
    (void)permit_put_with_desk(engine, 0);
}

/* Where permits were left, work that came has woken somebody, or is watched [S2]. */
void crewi_permit_leave(crewi_engine *engine, uint32_t desk)
{
    if (permit_put_with_desk(engine, desk))
        permit_look_for_work(engine);
}

void crewi_permit_release(crewi_engine *engine)
{
    crewi_permit_put(engine);
    permit_look_for_work(engine);
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
    crewi_permit_leave(engine, 0);
    if (slot)
        crewi_engine_ensure_reserve(engine);
}

/* Puts the resumer in line; it may be its turn at once. */
static void resume_queue(crewi_engine *engine, crewi_resumer *resumer)
{
    crewi_lock_acquire(&engine->lock);
    *engine->resumers_end = resumer;
    engine->resumers_end = &resumer->next;
    (void)crewi_atomic_u32_fetch_or(&engine->pool->present, CREWI_PERMIT_WANTED);
    bool has_more = permits_grant(engine);
    crewi_lock_release(&engine->lock);
    if (has_more)
        permit_look_for_work(engine);
}

/* Waited long enough: leaves the line, and goes on without a permit that was free. */
static void resume_anyway(crewi_engine *engine, crewi_resumer *resumer)
{
    crewi_lock_acquire(&engine->lock);
    bool is_granted = crewi_atomic_u32_load(&resumer->is_granted) != 0;
    if (!is_granted) {
        crewi_resumer **at = &engine->resumers;
        while (*at != resumer)
            at = &(*at)->next;
        *at = resumer->next;
        if (!resumer->next)
            engine->resumers_end = at;
        crewi_permit_take(engine);
    }
    bool has_more = !is_granted && permits_grant(engine);
    crewi_lock_release(&engine->lock);
    if (has_more)
        permit_look_for_work(engine);
}

/* All permits are taken: waits for one, but not for long, since who holds them may want a lock that this job holds. */
static void resume_wait(crewi_engine *engine)
{
    crewi_resumer resumer = {.next = NULL};
    crewi_atomic_u32_init(&resumer.is_granted, 0);
    resume_queue(engine, &resumer);
    int64_t deadline_ns = crewi_clock_now_ns() + RESUME_GRACE_NS;
    bool in_time = true;
    while (in_time && !crewi_atomic_u32_load(&resumer.is_granted))
        in_time = crewi_futex_wait(&resumer.is_granted, 0, deadline_ns);
    resume_anyway(engine, &resumer);
}

void crewi_threads_resume(crew_pool *pool, crewi_frame *frame)
{
    crewi_engine *engine = crewi_engine_of(pool);
    bool is_worker = frame->kind == CREWI_FRAME_WORKER;
    if (is_worker) {
        crewi_lock_acquire(&engine->lock);
        engine->suspended--;
        crewi_lock_release(&engine->lock);
    }
    if (!crewi_permit_try(engine))
        resume_wait(engine);
    if (is_worker)
        crewi_worker_in_run(CREWI_CONTAINER_OF(frame, crewi_slot, base), true);
}
