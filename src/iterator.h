/* SPDX-License-Identifier: MIT */
/* The record behind a crew_iterator, shared by imap.c (items in) and iterator.c (items out).
 *
 * An item is pulled, waits in a chunk, is run, is done, is taken. `pulled - taken` counts every item in between, and the one
 * that is being pulled right now; it never exceeds the window. */
#ifndef CREWI_ITERATOR_H
#define CREWI_ITERATOR_H

#include "core.h"
#include "failure.h"

struct crewi_chunk;

typedef struct crewi_item {
    struct crewi_item
        *next; /* in pull order (ordered), or in the order they were done; guarded by the iterator's lock */
    struct crewi_item *chunk_next; /* the rest of the item is its chunk runner's, then, once done, the consumer's */
    struct crewi_chunk *chunk;
    crewi_shard *shard;
    size_t index;
    bool is_done; /* guarded by the lock */
    crew_status status;
    crewi_failure failure;
} crewi_item; /* the argument, where it was pulled, and the result follow */

/* Items that one job runs one after the other. Claimed like any task. */
typedef struct crewi_chunk {
    crewi_task task;
    struct crew_iterator *iterator;      /* with a reference */
    struct crewi_chunk *previous, *next; /* among those not started; guarded by the iterator's lock */
    crewi_item *first, *last;
    size_t count;
} crewi_chunk;

struct crew_iterator {
    crewi_task
        task; /* queue entry: "wants to pull"; target of next's waits: its word is poked whenever something changes */
    /* read-only */
    const crew_job *job;
    void *context;
    crew_source source;
    size_t window, chunk_size;
    bool is_ordered;
    /* guarded by the pool's iterators_lock */
    struct crew_iterator **list; /* of the pool's two lists the one it is in, or NULL */
    struct crew_iterator *list_previous, *list_next;
    /* guarded by lock */
    crewi_lock lock;
    size_t pulled, taken;
    crewi_item *first, *last; /* ordered: all items not taken, in pull order; unordered: the done ones */
    crewi_chunk *chunks;      /* not started */
    crewi_chunk
        *filling;      /* being pulled into; whoever takes it out publishes it: the puller, or who ends the iterator */
    size_t running;    /* chunks being run */
    bool is_pulling;   /* somebody is between pull_begin and pull_end: at most one */
    bool is_in_source; /* and has counted an item that the source has not returned yet */
    bool is_activated; /* the queue entry is in the queue */
    bool is_starved;   /* the last pull found no memory for an item */
    bool is_cut;       /* terminated, broken, destroyed: what the source still has in hand is nobody's */
    bool is_destroyed;
    bool is_released;
    crew_status ended; /* CREW_OK: more may come; else what next says once all is taken */
    crew_error error;  /* why, where ended is SOURCE_FAILED or CLOSED */
};

static inline crew_iterator *crewi_iterator_of(crewi_task *task)
{
    return CREWI_CONTAINER_OF(task, crew_iterator, task);
}

/* chunk.c */
crewi_item *crewi_item_new(crew_iterator *iterator);
void crewi_item_free(crew_iterator *iterator, crewi_item *item); /* drops its value, if it still has one */
void *crewi_item_argument(const crew_iterator *iterator, const crewi_item *item);
void *crewi_item_value(const crew_iterator *iterator, const crewi_item *item);
void crewi_item_drop_argument(const crew_iterator *iterator, crewi_item *item);

crewi_chunk *crewi_chunk_new(crew_iterator *iterator);
void crewi_chunk_add(crewi_chunk *chunk, crewi_item *item);
void crewi_chunk_abandon(crewi_chunk *chunk); /* empty, never published */
/* Lists and submits a filled chunk. */
void crewi_chunk_publish(crewi_chunk *chunk);
void crewi_chunk_run_claimed(crewi_task *task, crewi_frame *frame);
void crewi_chunk_end_claimed(crewi_chunk *chunk, crew_status status);
/* The thread that ran this item is lost. */
void crewi_chunk_lost(crewi_item *item, crewi_frame *frame);

/* imap.c */
void crewi_iterator_wake(crew_iterator *iterator);
/* Sees to it that items are pulled, if they should be. Holds no lock; the pool must be held. */
void crewi_iterator_kick(crew_iterator *iterator);
bool crewi_iterator_has_room(const crew_iterator *iterator);
/* A consumer's own pull: at most one chunk. False: nothing to pull, or somebody does. */
bool crewi_iterator_pull_here(crew_iterator *iterator);
/* Says "no more" (the first reason counts), and releases the source if nobody is pulling. */
void crewi_iterator_end(crew_iterator *iterator, crew_status status, const crew_error *why);
void crewi_iterator_close(crew_iterator *iterator, crew_pool *pool);
void crewi_iterator_cut(crew_iterator *iterator);
void crewi_iterator_release(crew_iterator *iterator);
void crewi_iterator_lost(crewi_task *task, crewi_frame *frame);
bool crewi_iterator_run(crewi_task *task, crewi_frame *frame);
bool crewi_iterator_run_end(crewi_task *task, crew_status status);

/* iterators.c: the pool's iterators */
void crewi_iterator_list(crew_iterator *iterator, crew_iterator **list); /* NULL: off the list */

/* iterator.c */
extern const struct crewi_task_kind crewi_kind_iterator;

#endif
