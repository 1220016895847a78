/* SPDX-License-Identifier: MIT */
/* Waiting for a task: help with it, or with what it waits for; else sleep, with a stand-in at work. */
#include "backend.h"
#include "graph.h"

enum {
    FOLLOW_MAX = 64,
    LOOK_NS_MAX = 50000, /* about what it costs to be woken on another core */
    LOOK_TURNS = 16      /* looks between two looks at the clock */
};

bool crewi_park(crewi_atomic_u32 *word, uint32_t expected, int64_t deadline_ns)
{
    if (!crewi_frame_top())
        return crewi_futex_wait(word, expected, deadline_ns);
    crewi_frames_suspend();
    bool in_time = crewi_futex_wait(word, expected, deadline_ns);
    crewi_frames_resume();
    return in_time;
}

/* ---- helping ---- */

static void help_body(crewi_task *target, crewi_frame *frame)
{
    (void)frame;
    crewi_frame *helper = crewi_frame_top();
    if (target->kind->help(target, false)) /* others are there, too */
        helper->part = target;
}

/* An outside thread counts as a worker while it helps. It is inside the pool until crewi_run_as_helper has ended. What has not started
 * may still be nothing for it: then it sleeps. */
static bool help_from_outside(crewi_task *target)
{
    crew_pool *pool = crewi_task_pool(target);
    if (!pool->helping || target->kind->is_ready(target) || !target->kind->look(target).has_unstarted ||
        !pool->backend->enter(pool, 0)) {
        crewi_cells_leave_pool(pool->cells);
        return false;
    }
    return crewi_run_as_helper(help_body, target, true);
}

bool crewi_help(crewi_task *target)
{
    if (crewi_help_own(target))
        return true;
    crewi_cells *cells = crewi_cells_of(target->shard);
    if (!crewi_stack_is_enough() || !crewi_cells_enter_pool(cells))
        return false;
    const crewi_frame *inside = crewi_frame_inside(crewi_task_pool(target));
    if (!inside)
        return help_from_outside(target);
    /* Inside it the pool cannot go: nothing more to hold on to, should the job end this thread. */
    crewi_cells_leave_pool(cells);
    return inside->kind != CREWI_FRAME_INIT && target->kind->help(target, true);
}

/* The target runs and is itself parked: helps with what that one waits for, and so on. */
static bool wait_help_along(crewi_task *target)
{
    bool helped = false;
    crewi_task_ref(target);
    for (unsigned steps = 0; !helped && steps < FOLLOW_MAX; steps++) {
        crewi_task *next = crewi_graph_follow(target);
        crewi_task_unref(target);
        if (!next)
            return false;
        helped = crewi_help(next);
        target = next;
    }
    crewi_task_unref(target);
    return helped;
}

/* ---- sleeping ---- */

/* Whoever changes anything about the target from here on clears WAITERS, and so changes the word. */
static uint32_t wait_prepare(crewi_task *target)
{
    return crewi_atomic_u32_fetch_or(&target->state, CREWI_WAITERS) | CREWI_WAITERS;
}

/* Sleeps until the word is not `expected` any more. True: it is not, or may not be. */
static bool wait_sleep(crewi_task *target, uint32_t expected, int64_t deadline_ns)
{
    if (target->kind->is_ready(target))
        return true;
    return crewi_futex_wait(&target->state, expected, deadline_ns);
}

/* Sleeps until the word changes. A callback is waited for a moment only, then asked for even beyond the pool's limit: who holds
 * the permits may want a lock that the job waiting here holds. */
static void wait_sleep_in_graph(crewi_task *target, uint32_t expected)
{
    enum { MOMENT_NS = 10000000 };
    crewi_cells *cells = crewi_cells_of(target->shard);
    bool needs_callback = target->kind->look(target).needs_callback;
    if (needs_callback && !wait_sleep(target, expected, crewi_clock_now_ns() + MOMENT_NS) &&
        crewi_cells_enter_pool(cells)) {
        crew_pool *pool = crewi_task_pool(target);
        pool->backend->urge(pool);
        crewi_cells_leave_pool(cells);
    }
    (void)wait_sleep(target, expected, CREWI_NEVER);
}

/* Sleeps for ever as a waiter that the graph knows. */
static crew_status wait_in_graph(crewi_task *target, unsigned flags)
{
    crewi_waiter waiter = {.target = target, .top = crewi_frame_top(), .can_help = crewi_stack_is_enough()};
    /* Before the graph is searched, or the target looked at: a change during that is not slept through. */
    uint32_t expected = wait_prepare(target);
    waiter.must = (flags & CREWI_WAIT_MUST) && !target->kind->look(target).needs_callback;
    crew_status status = crewi_graph_enter(&waiter);
    if (status != CREW_OK)
        return status;
    wait_sleep_in_graph(target, expected);
    status = crewi_graph_verdict(&waiter);
    crewi_graph_leave(&waiter);
    return status;
}

/* One sleep of a job: CREW_OK: look again. */
static crew_status wait_parked(crewi_task *target, int64_t deadline_ns, unsigned flags)
{
    crew_status status = CREW_OK;
    crewi_frames_suspend();
    if (deadline_ns == CREWI_NEVER)
        status = wait_in_graph(target, flags);
    else if (!wait_sleep(target, wait_prepare(target), deadline_ns))
        status = CREW_TIMEOUT;
    crewi_frames_resume();
    return status;
}

static crew_status wait_outside(crewi_task *target, int64_t deadline_ns)
{
    return wait_sleep(target, wait_prepare(target), deadline_ns) ? CREW_OK : CREW_TIMEOUT;
}

/* ---- looking around before sleeping ---- */

/* For as long as this thread's waits lately say that it pays. True: the target is ready. */
static bool wait_look(crewi_task *target, int64_t begin_ns)
{
    int64_t until_ns = begin_ns + *crewi_self_patience_ns();
    while (crewi_clock_now_ns() < until_ns)
        for (unsigned look = 0; look < LOOK_TURNS; look++) {
            if (target->kind->is_ready(target))
                return true;
            crewi_cpu_relax();
        }
    return false;
}

/* A wait that was as short as a wake shows that looking around pays, a longer one that it does less. */
static void wait_learn(int64_t begin_ns)
{
    int64_t *patience_ns = crewi_self_patience_ns();
    bool was_short = crewi_clock_now_ns() - begin_ns < LOOK_NS_MAX;
    if (!was_short)
        *patience_ns /= 2;
    else if (*patience_ns < LOOK_NS_MAX && crewi_cpus_at_hand() > 1)
        *patience_ns = LOOK_NS_MAX;
}

static crew_status wait_sleeping(crewi_task *target, int64_t deadline_ns, unsigned flags, bool is_inside)
{
    crew_status status = CREW_OK;
    int64_t begin_ns = crewi_clock_now_ns();
    if (!wait_look(target, begin_ns))
        status = is_inside ? wait_parked(target, deadline_ns, flags) : wait_outside(target, deadline_ns);
    wait_learn(begin_ns);
    return status;
}

static bool wait_is_over(int64_t deadline_ns)
{
    return deadline_ns <= 0 || (deadline_ns != CREWI_NEVER && crewi_clock_now_ns() >= deadline_ns);
}

/* In a fork's child, to which a job that helped may have come back, the target is the parent's: it is not even looked at, since another
 * thread of the parent may have had its lock. */
crew_status crewi_wait(crewi_task *target, int64_t deadline_ns, unsigned flags)
{
    for (;;) {
        if (crewi_task_is_forked(target))
            return CREW_FORKED;
        if (target->kind->is_ready(target))
            return CREW_OK;
        bool is_inside = crewi_frame_top() != NULL;
        if (deadline_ns == CREWI_NEVER && (crewi_help(target) || (is_inside && wait_help_along(target))))
            continue;
        if (wait_is_over(deadline_ns))
            return CREW_TIMEOUT;
        crew_status status = wait_sleeping(target, deadline_ns, flags, is_inside);
        if (status == CREW_TIMEOUT && target->kind->is_ready(target))
            return CREW_OK;
        if (status == CREW_TOO_DEEP && crewi_help(target)) /* what was not there a moment ago */
            continue;
        if (status != CREW_OK)
            return status;
    }
}

crew_status crewi_wait_for_callback_check(crew_pool *pool)
{
    struct crewi_backend_info info;
    unsigned blocked = 0;
    if (!crewi_frame_inside(pool))
        return CREW_OK;
    for (const crewi_frame *frame = crewi_frame_top(); frame; frame = frame->outer) {
        if (frame->pool == pool && frame->kind == CREWI_FRAME_CALLBACK)
            return CREW_DEADLOCK;
        blocked += frame->pool == pool && frame->kind == CREWI_FRAME_WORKER;
    }
    pool->backend->query(pool, &info);
    return blocked < info.capacity ? CREW_OK : CREW_TOO_DEEP;
}

bool crewi_wait_is_possible(crew_pool *pool)
{
    const crewi_frame *inside = crewi_frame_inside(pool);
    return !inside || crewi_stack_is_enough() || crewi_graph_has_capacity(pool);
}
