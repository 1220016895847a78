/* SPDX-License-Identifier: MIT */
/* Who waits for what, among the jobs of all pools: so that a wait which could never end is refused instead of begun. */
#ifndef CREWI_GRAPH_H
#define CREWI_GRAPH_H

#include "core.h"

/* One job (and all that is suspended beneath it on its thread) that is parked until `target` is ready, for ever if need be.
 * Lives on the waiter's stack. All fields belong to the graph's lock. */
typedef struct crewi_waiter {
    struct crewi_waiter *next;
    crewi_task *target;
    crewi_frame *top;       /* the waiter's innermost frame */
    bool must;              /* cannot be refused */
    bool can_help;          /* has stack left to run what it waits for */
    crew_status verdict;    /* set when another waiter that cannot be refused closed a cycle: give up, and say this */
    bool is_live, is_ahead; /* what the last search found */
} crewi_waiter;

/* Enters the waiter, or refuses: CREW_OK · CREW_DEADLOCK · CREW_TOO_DEEP. */
crew_status crewi_graph_enter(crewi_waiter *waiter);
void crewi_graph_leave(crewi_waiter *waiter);
crew_status crewi_graph_verdict(const crewi_waiter *waiter);

/* What a waiter that `target` depends on is itself waiting for, with a reference; NULL: none. */
crewi_task *crewi_graph_follow(crewi_task *target);

/* Whether a thread of `pool` is or may become free for work that nobody helps with. */
bool crewi_graph_has_capacity(crew_pool *pool);

#endif
