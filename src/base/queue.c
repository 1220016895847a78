/* SPDX-License-Identifier: MIT */
/* A stack that producers push to by one CAS, reversed into a list by the consumer. Nobody pops single links from the
 * stack, so there is no ABA. */
#include "queue.h"

void crewi_queue_init(crewi_queue *queue)
{
    crewi_atomic_ptr_init(&queue->incoming, NULL);
    crewi_lock_init(&queue->lock);
    crewi_atomic_ptr_init(&queue->first, NULL);
    queue->last = NULL;
}

void crewi_queue_push(crewi_queue *queue, crewi_link *link)
{
    /* relaxed: only a first guess; the CAS finds the truth */
    void *head = crewi_atomic_ptr_load_relaxed(&queue->incoming);
    do
        link->next = head;
    while (!crewi_atomic_ptr_cas(&queue->incoming, &head, link));
}

/* Appends what came in to the list. Publishes `first` before it could be missed: while links are in hands only, they are
 * in neither place, and queue_is_empty would lie; so the stack is cleared last. */
static void queue_refill(crewi_queue *queue)
{
    crewi_link *head = crewi_atomic_ptr_load(&queue->incoming);
    if (!head)
        return;
    crewi_link *keep_first = crewi_atomic_ptr_load(&queue->first);
    if (!keep_first)
        crewi_atomic_ptr_store(&queue->first, head); /* any link will do as "not empty": readers never follow it */
    crewi_link *newest = crewi_atomic_ptr_exchange(&queue->incoming, NULL);
    crewi_link *oldest = NULL;
    for (crewi_link *link = newest, *next; link; link = next) {
        next = link->next;
        link->next = oldest;
        oldest = link;
    }
    if (keep_first)
        queue->last->next = oldest;
    else
        crewi_atomic_ptr_store(&queue->first, oldest);
    queue->last = newest;
}

crewi_link *crewi_queue_pop_chain(crewi_queue *queue, size_t most)
{
    if (crewi_queue_is_empty(queue))
        return NULL;
    crewi_lock_acquire(&queue->lock);
    if (!crewi_atomic_ptr_load(&queue->first))
        queue_refill(queue);
    crewi_link *chain = crewi_atomic_ptr_load(&queue->first), *last = chain;
    for (size_t count = 1; last && last->next && count < most; count++)
        last = last->next;
    if (last) {
        /* relaxed: consumers have the lock, and who reads an older value only takes the queue for not empty a little longer */
        crewi_atomic_ptr_store_relaxed(&queue->first, last->next);
        last->next = NULL;
    }
    crewi_lock_release(&queue->lock);
    return chain;
}

crewi_link *crewi_queue_pop(crewi_queue *queue)
{
    return crewi_queue_pop_chain(queue, 1);
}

crewi_link *crewi_queue_filter(crewi_queue *queue, bool (*is_dead)(const crewi_link *link))
{
    crewi_link *dead = NULL, *first = NULL, **end = &first, *last = NULL;
    crewi_lock_acquire(&queue->lock);
    queue_refill(queue);
    for (crewi_link *link = crewi_atomic_ptr_load(&queue->first), *next; link; link = next) {
        next = link->next;
        if (is_dead(link)) {
            link->next = dead;
            dead = link;
        } else {
            *end = link;
            end = &link->next;
            last = link;
        }
    }
    *end = NULL;
    queue->last = last;
    crewi_atomic_ptr_store(&queue->first, first);
    crewi_lock_release(&queue->lock);
    return dead;
}
