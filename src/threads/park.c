/* SPDX-License-Identifier: MIT */
/* Sleeping and waking. A worker without work looks around for a moment if that has paid lately, dozes while others are at work, and
 * sleeps. Whoever wakes a worker gives it a permit. */
#include "threads.h"

enum {
    SPIN_NS_MAX = 50000, /* about what it costs to wake a thread on another core */
    SPIN_TURNS = 16,     /* looks between two looks at the clock */
    DOZE_NS = 50000,
    DOZES_MAX = 8, /* in a row without anything to see, then it sleeps */
    DISMISS_AT_ONCE = 64
};

/* ---- waking ---- */

static void engine_idle_remove(crewi_engine *engine, crewi_slot *slot)
{
    crewi_slot **at = &engine->idle;
    while (*at != slot)
        at = &(*at)->idle_next;
    *at = slot->idle_next;
    slot->is_idle = false;
    (void)crewi_atomic_u32_fetch_sub(&engine->idle_count, 1);
}

/* The last to sleep is the first to wake, but one in reserve is the last: whose memory is warm, and whose initializer has run, goes
 * before. */
static void engine_idle_add(crewi_engine *engine, crewi_slot *slot)
{
    crewi_slot **at = &engine->idle;
    while (slot->is_in_reserve && *at)
        at = &(*at)->idle_next;
    crewi_atomic_u32_store(&slot->wake, CREWI_ASLEEP);
    slot->idle_next = *at;
    slot->is_idle = true;
    *at = slot;
    (void)crewi_atomic_u32_fetch_add(&engine->idle_count, 1);
}

/* Under the lock: the sleeper has a permit now, and counts as a searcher. */
static void slot_grant(crewi_slot *slot)
{
    engine_idle_remove(slot->engine, slot);
    (void)crewi_atomic_u32_fetch_add(&slot->engine->searchers, 1);
    crewi_atomic_u32_store(&slot->wake, CREWI_GRANTED);
}

/* Beyond the limit: with a permit even if that is one too many; then the next to finish a task gives it back. If nobody
 * sleeps, the next on its way to sleep has that permit. */
static void engine_wake(crewi_engine *engine, bool beyond_limit)
{
    crewi_lock_acquire(&engine->lock);
    crewi_slot *slot = engine->idle;
    engine->is_urged |= beyond_limit && !slot;
    if (slot && beyond_limit)
        crewi_permit_take(engine);
    else if (slot && !crewi_permit_try(engine))
        slot = NULL;
    if (slot)
        slot_grant(slot);
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

bool crewi_dozer_stir(crewi_engine *engine)
{
    if (crewi_atomic_u32_load(&engine->dozers) == 0)
        return false;
    if (!crewi_atomic_u32_load_relaxed(&engine->is_stirred)) /* relaxed: only says that dozing is of use */
        crewi_atomic_u32_store_relaxed(&engine->is_stirred, 1);
    return true;
}

/* Work that came up is in good hands: all permits are out, and whoever gives one back looks [rule R]; or somebody is at work, and a worker
 * dozes that will look in a moment. */
static bool engine_is_watched(crewi_engine *engine)
{
    unsigned out = crewi_permits_out(engine);
    if (out >= engine->workers)
        return true;
    return out > 0 && crewi_dozer_stir(engine);
}

/* [S2] after [S1], the push: a searcher will find the entry, or see it when it looks again before it sleeps [P3]. */
void crewi_work_arrived(crewi_engine *engine)
{
    if (crewi_atomic_u32_load(&engine->idle_count) > 0 && crewi_atomic_u32_load(&engine->searchers) == 0 &&
        !engine_is_watched(engine))
        crewi_wake_one(engine);
}

/* A searcher that found work wakes the next one, if there is more: so that wakes follow the work, one after the other. */
void crewi_found_work(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    slot->is_searching = false;
    (void)crewi_atomic_u32_fetch_sub(&engine->searchers, 1);
    if (crewi_atomic_u32_load(&engine->idle_count) > 0 && crewi_engine_has_work(engine) && !engine_is_watched(engine))
        crewi_wake_one(engine);
}

/* Takes up to `most` sleepers off the list, dismissed; returns the words to wake them by. */
static unsigned engine_dismiss(crewi_engine *engine, crewi_atomic_u32 *words[], unsigned most)
{
    unsigned count = 0;
    crewi_lock_acquire(&engine->lock);
    while (engine->idle && count < most) {
        crewi_slot *slot = engine->idle;
        engine_idle_remove(engine, slot);
        crewi_atomic_u32_store(&slot->wake, CREWI_DISMISSED);
        words[count++] = &slot->wake;
    }
    crewi_lock_release(&engine->lock);
    return count;
}

/* Not under the lock, which each of them takes on its way out. */
void crewi_threads_wake_all(crew_pool *pool)
{
    crewi_atomic_u32 *words[DISMISS_AT_ONCE];
    if (!crewi_gate_is_ended(pool))
        return;
    unsigned count;
    do {
        count = engine_dismiss(crewi_engine_of(pool), words, DISMISS_AT_ONCE);
        for (unsigned i = 0; i < count; i++)
            crewi_futex_wake_one(words[i]);
    } while (count == DISMISS_AT_ONCE);
}

/* ---- looking around before sleeping ---- */

/* Looks until there is something to see. False: the time is over. */
static bool spin_look(crewi_slot *slot, int64_t deadline_ns)
{
    for (unsigned turn = 1;; turn++) {
        if (crewi_engine_has_work(slot->engine))
            return true;
        if (turn % SPIN_TURNS == 0 && (crewi_clock_now_ns() >= deadline_ns || crewi_gate_is_ended(slot->pool)))
            return false;
        crewi_cpu_relax();
    }
}

/* From here on it will look again: whoever submits leaves the work to it. True: it is one of few. */
static bool park_search(crewi_slot *slot)
{
    bool was_searching = slot->is_searching;
    slot->is_searching = true;
    return was_searching || crewi_atomic_u32_fetch_add(&slot->engine->searchers, 1) < slot->engine->spinners_max;
}

/* [P0] Without a permit, and only while few are awake. True: it has a permit, and there was work. */
static bool park_spin(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    if (slot->spin_ns == 0 || crewi_permits_out(engine) >= engine->spinners_max)
        return false;
    return spin_look(slot, slot->idle_since_ns + slot->spin_ns) && crewi_permit_try(engine);
}

/* What waiting as long as this last time says about the next. */
static void spin_learn(crewi_slot *slot)
{
    if (slot->engine->spinners_max == 0)
        return;
    bool was_short = crewi_clock_now_ns() - slot->idle_since_ns < SPIN_NS_MAX;
    slot->spin_ns = was_short ? SPIN_NS_MAX : slot->spin_ns / 2;
}

/* ---- dozing ---- */

/* When whoever submits is at work, too, being woken for each bit of it costs more than it brings: looks by itself instead. Not one in
 * reserve, which would be faster than those before it. */
static void doze_begin(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    uint32_t none = 0;
    bool is_of_use =
        crewi_permits_out(engine) > 0 || crewi_atomic_u32_exchange(&engine->is_helped, 0) || !slot->has_run;
    is_of_use &= !slot->is_in_reserve;
    slot->dozes_left = is_of_use && crewi_atomic_u32_cas(&engine->dozers, &none, 1) ? DOZES_MAX : 0;
}

static void doze_end(crewi_slot *slot)
{
    if (slot->dozes_left > 0)
        (void)crewi_atomic_u32_fetch_sub(&slot->engine->dozers, 1);
    slot->dozes_left = 0;
}

/* ---- sleeping ---- */

/* [P1] Onto the list of sleepers, without permit. */
static void park_announce(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    crewi_lock_acquire(&engine->lock);
    engine_idle_add(engine, slot);
    crewi_lock_release(&engine->lock);
}

/* [P3] If something is there after all: takes itself off the list, unless somebody was faster. One in reserve does what a submitter
 * does [S2]: so whoever looks already, or sleeps with memory that is warm, goes before it. */
static void park_look(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    bool has_ended = crewi_gate_is_ended(slot->pool);
    if (!has_ended && !crewi_engine_has_work(engine))
        return;
    crewi_lock_acquire(&engine->lock);
    if (slot->is_idle && has_ended) {
        engine_idle_remove(engine, slot);
        crewi_atomic_u32_store(&slot->wake, CREWI_DISMISSED);
    } else if (slot->is_idle && engine->is_urged) {
        engine->is_urged = false;
        crewi_permit_take(engine);
        slot_grant(slot);
    } else if (slot->is_idle && !slot->is_in_reserve && crewi_permit_try(engine)) {
        slot_grant(slot);
    }
    crewi_lock_release(&engine->lock);
    if (slot->is_in_reserve && !has_ended)
        crewi_work_arrived(engine);
}

/* The doze is over: looks, and dozes on only if there was something to see since the last time. */
static void doze_look(crewi_slot *slot)
{
    if (crewi_atomic_u32_exchange(&slot->engine->is_stirred, 0))
        slot->dozes_left = DOZES_MAX;
    else if (slot->dozes_left == 1)
        doze_end(slot);
    else
        slot->dozes_left--;
    park_look(slot); /* after it no longer counts as a dozer, as in [P3] */
}

/* [P4] */
static uint32_t park_sleep(crewi_slot *slot)
{
    uint32_t wake;
    while ((wake = crewi_atomic_u32_load(&slot->wake)) == CREWI_ASLEEP) {
        if (slot->dozes_left == 0)
            (void)crewi_futex_wait(&slot->wake, CREWI_ASLEEP, CREWI_NEVER);
        else if (!crewi_futex_wait(&slot->wake, CREWI_ASLEEP, crewi_clock_now_ns() + DOZE_NS))
            doze_look(slot);
    }
    doze_end(slot);
    return wake;
}

static bool park_deep(crewi_slot *slot)
{
    doze_begin(slot);
    park_announce(slot); /* [P1] */
    if (slot->is_searching)
        (void)crewi_atomic_u32_fetch_sub(&slot->engine->searchers, 1); /* [P2] */
    slot->is_searching = false;
    park_look(slot);                          /* [P3] */
    return park_sleep(slot) == CREWI_GRANTED; /* [P4] */
}

/* The next thing that is found, it may run. */
static void park_end(crewi_slot *slot)
{
    slot->base.has_permit = true;
    slot->is_searching = true;
    slot->has_run = false;
    slot->is_in_reserve = false;
}

bool crewi_park_worker(crewi_slot *slot)
{
    crewi_engine *engine = slot->engine;
    bool is_one_of_few = park_search(slot); /* first: worker_run may let somebody go on who submits */
    crewi_worker_in_run(slot, false);
    crewi_gate_flush(slot->pool, &slot->local);
    if (slot->base.has_permit)
        crewi_permit_put(engine); /* what rule R demands, [P0] or [P3] does */
    slot->base.has_permit = false;
    slot->idle_since_ns = engine->spinners_max > 0 ? crewi_clock_now_ns() : 0;
    if (!(is_one_of_few && park_spin(slot)) && !park_deep(slot))
        return false;
    spin_learn(slot);
    park_end(slot);
    return true;
}

/* A new worker. What it finds at once says nothing about how long waiting takes. */
bool crewi_park_arrived(crewi_slot *slot)
{
    crewi_gate_flush(slot->pool, &slot->local); /* of its initializer */
    if (!park_deep(slot))
        return false;
    park_end(slot);
    return true;
}
