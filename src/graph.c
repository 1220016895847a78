/* SPDX-License-Identifier: MIT */
/* The wait graph: a list of parked waiters, judged when another one wants to park.
 *
 * Waits with a finite deadline are not in it (they end by themselves), nor are threads outside of any job (nothing waits for
 * them). It spans all pools, so it is the one piece of process-wide state; its lock is taken only when a job is about to
 * sleep anyway.
 *
 * A waiter is *live* if something can still happen that brings its wait to an end: its target is ready, or what the target
 * requires is running on threads that are not parked, or is carried by waiters that are live themselves, or has not started and
 * a thread can be had for it. That is the least fixed point of a few rules, found by applying them until nothing changes. Every
 * parked waiter was live when it parked, and stays so as long as those that park later are: so only the newcomer is ever refused. (Where
 * a pool loses a thread, all park anew.) */
#include "graph.h"

#include "backend.h"

enum { JUDGEMENTS_MAX = 8 };

static struct {
    crewi_lock lock;
    crewi_waiter *waiters;
} graph;

void crewi_graph_reset(void)
{
    crewi_lock_init(&graph.lock);
    graph.waiters = NULL;
}

static size_t frames_required(crewi_task *target, const crewi_frame *frame)
{
    size_t count = 0;
    for (; frame; frame = frame->outer)
    count += target->kind->requires(target, frame);
    return count;
}

static bool waiter_blocks_worker_of(const crewi_waiter *waiter, const crew_pool *pool)
{
    const crewi_frame *frame = waiter->top;
    while (frame && !(frame->kind == CREWI_FRAME_WORKER && frame->pool == pool))
        frame = frame->outer;
    return frame != NULL;
}

/* ---- the rules ---- */

/* The pool has a thread that is not parked for ever, or one that is will go on. */
static bool pool_has_thread(crew_pool *pool)
{
    struct crewi_backend_info info;
    pool->backend->query(pool, &info);
    unsigned blocked = 0;
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next) {
        bool blocks = waiter_blocks_worker_of(waiter, pool);
        if (blocks && waiter->is_live)
            return true;
        blocked += blocks;
    }
    return blocked < info.capacity;
}

/* A target with parts that have not started keeps its pool; if it has got ready meanwhile, the pool may be gone. */
static bool target_has_thread(crewi_task *target)
{
    crewi_cells *cells = crewi_cells_of(target->shard);
    if (!crewi_cells_enter_pool(cells))
        return true;
    bool has_thread = pool_has_thread(crewi_task_pool(target));
    crewi_cells_leave_pool(cells);
    return has_thread;
}

/* How the parked ones among those that the target requires stand. */
struct carriers {
    size_t frames, live, dead;
};

static struct carriers target_carriers(crewi_task *target)
{
    struct carriers carriers = {0, 0, 0};
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next) {
        size_t frames = frames_required(target, waiter->top);
        carriers.frames += frames;
        carriers.live += waiter->is_live ? frames : 0;
        carriers.dead += waiter->is_live ? 0 : frames;
    }
    return carriers;
}

/* Whether a thread will be there for what has not started. One that parked earlier is woken instead, to see whether it can
 * help: the work must have come up since. */
static bool unstarted_is_live(const crewi_waiter *waiter, bool needs_thread, bool threads_are_endless)
{
    if (needs_thread)
        return threads_are_endless || target_has_thread(waiter->target);
    crewi_task_poke(waiter->target);
    return true;
}

/* Of the state word what only progress changes. */
static uint32_t target_progress(crewi_task *target)
{
    return crewi_atomic_u32_load(&target->state) & (CREWI_PHASE | ~(uint32_t)(CREWI_POKE - 1));
}

static bool waiter_is_live(const crewi_waiter *waiter, bool is_me, bool threads_are_endless)
{
    crewi_task *target = waiter->target;
    if (waiter->verdict != CREW_OK)
        return true; /* refused in place of another: about to go on */
    uint32_t before = target_progress(target);
    struct carriers carriers = target_carriers(target);
    struct crewi_view view = target->kind->look(target);
    if (view.is_ready || target_progress(target) != before)
        return true; /* or it has moved on while we looked: it was claimed, or its waiters are awake, and look again */
    bool has_free = view.running > carriers.frames;
    if (view.any_will_do && (has_free || carriers.live > 0))
        return true;
    if (!view.any_will_do && carriers.dead > 0)
        return false;
    if (!view.any_will_do && view.running > 0)
        return true;
    bool needs_thread = is_me || view.needs_another || view.needs_callback || !waiter->can_help;
    return view.has_unstarted && unstarted_is_live(waiter, needs_thread, threads_are_endless);
}

/* The least fixed point, as far as `me` is concerned. */
static bool graph_judges_live(crewi_waiter *me, bool threads_are_endless)
{
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next)
        waiter->is_live = false;
    for (bool changes = true; changes && !me->is_live;) {
        changes = false;
        for (crewi_waiter *waiter = graph.waiters; waiter && !me->is_live; waiter = waiter->next) {
            if (waiter->is_live || !waiter_is_live(waiter, waiter == me, threads_are_endless))
                continue;
            waiter->is_live = changes = true;
        }
    }
    return me->is_live;
}

/* ---- a wait that cannot be refused closes a cycle: another one of the cycle is, instead ---- */

static bool waits_for(const crewi_waiter *waiter, const crewi_waiter *carrier)
{
    return frames_required(waiter->target, carrier->top) > 0;
}

/* Marks all that `me` waits for, through others, and that is dead with it. */
static void graph_mark_ahead(crewi_waiter *me)
{
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next)
        waiter->is_ahead = waiter == me;
    for (bool changes = true; changes;) {
        changes = false;
        for (crewi_waiter *from = graph.waiters; from; from = from->next)
            for (crewi_waiter *to = graph.waiters; from->is_ahead && to; to = to->next)
                if (!to->is_ahead && !to->is_live && waits_for(from, to))
                    to->is_ahead = changes = true;
    }
}

static bool graph_refuse_another(crewi_waiter *me, crew_status verdict)
{
    crewi_waiter *culprit = NULL;
    graph_mark_ahead(me);
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next)
        if (waiter->is_ahead && !waiter->must && waiter->verdict == CREW_OK && (!culprit || waits_for(waiter, me)))
            culprit = waiter;
    if (!culprit)
        return false;
    culprit->verdict = verdict;
    crewi_task_poke(culprit->target);
    return true;
}

/* ---- entering and leaving ---- */

static void graph_unlink(const crewi_waiter *waiter)
{
    crewi_waiter **at = &graph.waiters;
    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
}

/* What moves on between two judgements looks live to the second: then both are repeated, a few times, since judging may itself make a
 * target move on. The last judgement is the one without endless threads, whose marks are left. */
static crew_status graph_judge(crewi_waiter *waiter)
{
    bool threads_would_do = false, has_moved = true;
    for (unsigned tries = 0; has_moved && tries < JUDGEMENTS_MAX; tries++) {
        uint32_t before = target_progress(waiter->target);
        if (graph_judges_live(waiter, false))
            return CREW_OK;
        threads_would_do = graph_judges_live(waiter, true);
        has_moved = threads_would_do && target_progress(waiter->target) != before;
    }
    (void)graph_judges_live(waiter, false);
    return threads_would_do ? CREW_TOO_DEEP : CREW_DEADLOCK;
}

/* Newest first: most waiters are live for a reason of their own, which ends the search at once. */
crew_status crewi_graph_enter(crewi_waiter *waiter)
{
    crewi_lock_acquire(&graph.lock);
    waiter->verdict = CREW_OK;
    waiter->next = graph.waiters;
    graph.waiters = waiter;
    crew_status status = graph_judge(waiter);
    while (waiter->must && status != CREW_OK && graph_refuse_another(waiter, status)) /* it may close several cycles */
        status = graph_judge(waiter);
    if (status != CREW_OK && !waiter->must)
        graph_unlink(waiter);
    crewi_lock_release(&graph.lock);
    return waiter->must ? CREW_OK : status;
}

void crewi_graph_leave(crewi_waiter *waiter)
{
    crewi_lock_acquire(&graph.lock);
    graph_unlink(waiter);
    crewi_lock_release(&graph.lock);
}

crew_status crewi_graph_verdict(const crewi_waiter *waiter)
{
    crewi_lock_acquire(&graph.lock);
    crew_status verdict = waiter->verdict;
    crewi_lock_release(&graph.lock);
    return verdict;
}

/* They wake, and park again if they may. */
void crewi_graph_look_again(void)
{
    crewi_lock_acquire(&graph.lock);
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next)
        crewi_task_poke(waiter->target);
    crewi_lock_release(&graph.lock);
}

/* ---- questions of others ---- */

crewi_task *crewi_graph_follow(crewi_task *target)
{
    crewi_task *next = NULL;
    crewi_lock_acquire(&graph.lock);
    for (crewi_waiter *waiter = graph.waiters; waiter && !next; waiter = waiter->next)
        if (frames_required(target, waiter->top) > 0)
            next = waiter->target;
    if (next)
        crewi_task_ref(next);
    crewi_lock_release(&graph.lock);
    return next;
}

bool crewi_graph_has_capacity(crew_pool *pool)
{
    struct crewi_backend_info info;
    unsigned blocked = 1; /* the caller, which is about to be */
    crewi_lock_acquire(&graph.lock);
    pool->backend->query(pool, &info);
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next)
        blocked += waiter_blocks_worker_of(waiter, pool);
    crewi_lock_release(&graph.lock);
    return blocked < info.capacity;
}
