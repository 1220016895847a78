/* SPDX-License-Identifier: MIT */
/* An unbounded first-in-first-out queue of links that live in their owners. Anyone pushes, without a lock and without a moment
 * in which a half-done push hides others; consumers take turns under a lock. */
#ifndef CREWI_QUEUE_H
#define CREWI_QUEUE_H

#include "../platform/lock.h"
#include "atomic.h"

typedef struct crewi_link {
    struct crewi_link *next;
} crewi_link;

typedef struct crewi_queue {
    crewi_atomic_ptr incoming; /* newest first; pushed by anyone, taken whole by the consumer that holds `lock` */
    char line[56];             /* keeps the producers' cache line to themselves */
    crewi_lock lock;           /* guards what follows */
    crewi_atomic_ptr first;    /* oldest first; written under `lock`, read by crewi_queue_is_empty without it */
    crewi_link *last;          /* means nothing where first is NULL */
} crewi_queue;

void crewi_queue_init(crewi_queue *queue);
void crewi_queue_push(crewi_queue *queue, crewi_link *link);

/* The oldest link, or NULL. Links that one thread pushed come out in its order. */
crewi_link *crewi_queue_pop(crewi_queue *queue);
/* The oldest links, at most so many, chained in their order; or NULL. */
crewi_link *crewi_queue_pop_chain(crewi_queue *queue, size_t most);

/* Never says "empty" when a push that happened before has not been popped. */
static inline bool crewi_queue_is_empty(const crewi_queue *queue)
{
    return !crewi_atomic_ptr_load(&queue->incoming) && !crewi_atomic_ptr_load(&queue->first);
}

/* Unlinks every link for which `is_dead` is true and returns them as a chain; the others keep their order. */
crewi_link *crewi_queue_filter(crewi_queue *queue, bool (*is_dead)(const crewi_link *link));

#endif
