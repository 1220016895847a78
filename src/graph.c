/* SPDX-License-Identifier: MIT */
/* The wait graph: a list of parked waiters, searched when another one wants to park.
 *
 * Waits with a finite deadline are not in it (they end by themselves), nor are threads outside of any job (nothing waits for
 * them). It spans all pools, so it is the one piece of process-wide state; its lock is taken only when a job is about to
 * sleep anyway. A wait is
 *     LIVE     something can still happen that brings it nearer its end;
 *     a CYCLE  what it waits for is, through others, waiting for it;
 *     STUCK    what it waits for needs a thread, and all threads that there can be are parked in the same way.
 * Every parked waiter was live when it parked, and can only be deprived by a later one; that one is refused. */
#include "graph.h"

#include "backend.h"

enum outlook { LIVE, CYCLE, STUCK };

static struct {
    crewi_lock lock;
    crewi_waiter *waiters;
    unsigned search; /* the number of the last search */
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

static enum outlook graph_look(crewi_task *target, const crewi_waiter *me, crewi_waiter *via, crewi_waiter **ret_culprit);

/* The pool has threads that are not parked for ever; or one that is will go on, and then find the work. */
static enum outlook graph_look_for_thread(crew_pool *pool, const crewi_waiter *me)
{
    crewi_waiter *ignored = NULL;
    struct crewi_backend_info info;
    pool->backend->query(pool, &info);
    unsigned blocked = 0;
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next)
        blocked += waiter_blocks_worker_of(waiter, pool);
    if (blocked < info.capacity)
        return LIVE;
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next) {
        if (waiter == me || waiter->mark == graph.search || !waiter_blocks_worker_of(waiter, pool))
            continue;
        waiter->mark = graph.search;
        if (graph_look(waiter->target, me, waiter, &ignored) == LIVE)
            return LIVE;
    }
    return STUCK;
}

/* The unstarted part of a target needs a thread of its pool, which is alive as long as it has such parts. */
static enum outlook graph_look_unstarted(crewi_task *target, const crewi_waiter *me)
{
    crewi_cells *cells = crewi_cells_of(target->shard);
    if (!crewi_cells_enter_pool(cells))
        return LIVE;
    enum outlook outlook = graph_look_for_thread(crewi_task_pool(target), me);
    crewi_cells_leave_pool(cells);
    return outlook;
}

/* Who could be refused instead of me. A cycle has such a one: the waits that cannot be refused lead to one's own items. */
static void note_culprit(crewi_waiter **ret_culprit, crewi_waiter *waiter)
{
    if (!*ret_culprit && waiter && !waiter->must)
        *ret_culprit = waiter;
}

/* `via`: the waiter for this target; NULL: me. */
static enum outlook graph_look(crewi_task *target, const crewi_waiter *me, crewi_waiter *via, crewi_waiter **ret_culprit)
{
    uint32_t before = crewi_atomic_u32_load(&target->state);
    if (target->kind->is_ready(target))
        return LIVE;
    if (frames_required(target, me->top) > 0) {
        note_culprit(ret_culprit, via);
        return CYCLE;
    }
    size_t parked = 0;
    bool is_live = false;
    for (crewi_waiter *waiter = graph.waiters; waiter; waiter = waiter->next) {
        size_t frames = waiter == me ? 0 : frames_required(target, waiter->top);
        if (frames == 0)
            continue;
        parked += frames;
        if (waiter->mark == graph.search)
            continue;
        waiter->mark = graph.search;
        enum outlook outlook = graph_look(waiter->target, me, waiter, ret_culprit);
        if (outlook == CYCLE) {
            note_culprit(ret_culprit, waiter);
            return CYCLE;
        }
        is_live |= outlook == LIVE;
    }
    struct crewi_view view = target->kind->look(target);
    if (is_live || view.is_ready || view.running > parked || crewi_atomic_u32_load(&target->state) != before)
        return LIVE; /* or it has moved on while we looked: whoever waits for it is awake, and looks again */
    if (parked > 0 || !view.has_unstarted)
        return STUCK;
    if (!via)
        return graph_look_unstarted(target, me);
    crewi_task_poke(target); /* came up after that one parked: let it look again whether it can help */
    return LIVE;
}

static void graph_unlink(const crewi_waiter *waiter)
{
    crewi_waiter **at = &graph.waiters;
    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
}

crew_status crewi_graph_enter(crewi_waiter *waiter)
{
    crew_status status = CREW_OK;
    crewi_waiter *culprit = NULL;
    crewi_lock_acquire(&graph.lock);
    graph.search++;
    waiter->mark = graph.search;
    waiter->verdict = CREW_OK;
    waiter->next = graph.waiters;
    graph.waiters = waiter;
    enum outlook outlook = graph_look(waiter->target, waiter, NULL, &culprit);
    if (outlook == CYCLE && waiter->must && culprit) {
        culprit->verdict = CREW_DEADLOCK;
        crewi_task_poke(culprit->target);
    } else if (outlook != LIVE && !waiter->must) {
        status = outlook == CYCLE ? CREW_DEADLOCK : CREW_TOO_DEEP;
        graph_unlink(waiter);
    }
    crewi_lock_release(&graph.lock);
    return status;
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
