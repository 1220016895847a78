/* SPDX-License-Identifier: MIT */
/* The record behind a crew_iterator, shared by imap.c (items in), line.c (where they wait), chunk.c (how they run) and iterator.c
 * (items out).
 *
 * An item is pulled, waits in a chunk, is run, is done, is taken. Items stand in *line*: a ring, in the order in which they were pulled.
 * Positions are numbers that only grow: taken <= claimed <= published <= arrived. Who runs a chunk has claimed it by one CAS on
 * `claimed`. The item that was taken as number t serves again at position t + capacity. */
#ifndef CREWI_ITERATOR_H
#define CREWI_ITERATOR_H

#include "core.h"
#include "failure.h"

typedef struct crewi_item {
    crewi_link
        link; /* to the next of its chunk, until it is settled; unordered: then in the queue of those that are done */
    size_t index;
    crewi_failure failure;
    crewi_atomic_u32 state; /* 0: not done; else 1 + its outcome, which is how its runner hands it to the consumer */
    crewi_atomic_u32 count; /* items of the chunk that begins here */
} crewi_item;               /* the argument, where it was pulled, and the result follow */

/* Where the items in line are. Grows to what the window needs; an outgrown one stays readable until the iterator is freed. */
typedef struct crewi_ring {
    struct crewi_ring *outgrown;
    crewi_shard *shard;
    size_t capacity;       /* a power of two */
    crewi_atomic_ptr at[]; /* position modulo capacity: crewi_item; NULL: never used */
} crewi_ring;

/* Memory for some items, which are used again and again. */
typedef struct crewi_slab {
    struct crewi_slab *next;
    crewi_shard *shard;
} crewi_slab;

/* crew_iterator.arrived, one word:
 *   bit  0     ENDED: nothing more shall be pulled; set with `ended`, for good
 *   bit  1     CUT: terminated, broken, destroyed: what the source still has in hand is nobody's; set for good
 *   bits 2-63  items that the source has returned; grows by a CAS of the puller that fails once CUT is set */
#define CREWI_ARRIVED_ENDED UINT64_C(1)
#define CREWI_ARRIVED_CUT UINT64_C(2)
#define CREWI_ARRIVED_ONE UINT64_C(4)

/* The queue entry. CALLED: a worker will come and look; the entry has a count of the gate. WITHDRAWN: it is still in the queue, but
 * nothing has to be done any more, ever. */
enum crewi_call_state { CREWI_NOT_CALLED, CREWI_CALLED, CREWI_WITHDRAWN };

struct crew_iterator {
    crewi_task
        task; /* queue entry: "wants a worker"; target of next's waits: its word is poked whenever something changes */
    /* read-only */
    const crew_job *job;
    void *context;
    crew_source source;
    size_t window, chunk_size;
    size_t refill; /* so many places are free before a worker is called to pull, unless somebody waits */
    size_t item_size, slab_items;
    bool is_ordered;
    crewi_atomic_ptr ring; /* written by the puller, seldom */
    /* guarded by the pool's iterators_lock */
    struct crew_iterator **list; /* of the pool's two lists the one it is in, or NULL */
    struct crew_iterator *list_previous, *list_next;
    crew_error error; /* guarded by lock: why, where ended is SOURCE_FAILED or CLOSED */
    /* the puller's; `arrived` and `published` are read by all */
    char line_of_puller[CREWI_CACHE_LINE];
    crewi_atomic_u64 arrived;
    crewi_atomic_u64
        published; /* kept only where chunks have several items: what has arrived in whole chunks, or after a cut */
    uint64_t taken_seen; /* taken, some time ago */
    crewi_slab *slabs;
    size_t slab_used; /* items of the newest slab that have been used */
    /* the runners' */
    char line_of_runners[CREWI_CACHE_LINE];
    crewi_atomic_u64 claimed;
    crewi_queue done; /* unordered: in the order in which they were done */
    /* everybody's, and seldom written */
    char line_of_all[CREWI_CACHE_LINE];
    crewi_atomic_u32 running; /* threads that look for chunks to run, or run them */
    crewi_atomic_u32 workers; /* threads that the entry has brought, and that have not gone */
    crewi_atomic_u32 call;    /* enum crewi_call_state */
    crewi_atomic_u32 has_rests;
    crewi_item *rests; /* guarded by lock: chunks that lost threads left behind, one after the other; not started */
    /* the consumers' */
    char line_of_consumers[CREWI_CACHE_LINE];
    crewi_lock lock; /* guards all below: who writes has it */
    crewi_atomic_u64 taken;
    crewi_atomic_u64 published_seen; /* published, some time ago */
    bool is_pulling;                 /* somebody is between pull_begin and pull_end: at most one */
    bool is_starved;                 /* the last pull found no memory for an item */
    bool is_destroyed;
    bool is_released;
    crew_status ended; /* CREW_OK: more may come; else what next says once all is taken */
};

static inline crew_iterator *crewi_iterator_of(crewi_task *task)
{
    return CREWI_CONTAINER_OF(task, crew_iterator, task);
}

/* ---- line.c: the items in line ---- */

static inline uint64_t crewi_line_arrived(const crew_iterator *iterator)
{
    return crewi_atomic_u64_load(&iterator->arrived) / CREWI_ARRIVED_ONE;
}

static inline uint64_t crewi_line_published(const crew_iterator *iterator)
{
    return iterator->chunk_size == 1 ? crewi_line_arrived(iterator) : crewi_atomic_u64_load(&iterator->published);
}

/* The item at a position that has been published and not taken; in an unordered iterator: and not claimed. */
crewi_item *crewi_line_at(const crew_iterator *iterator, uint64_t position);
/* Under the lock: an item was taken as number `position`. */
void crewi_line_put(crew_iterator *iterator, uint64_t position, crewi_item *item);
/* The puller's: the place for the next item to arrive, or (`ahead` 1) for the one after that. NULL: no memory. */
crewi_item *crewi_line_next(crew_iterator *iterator, unsigned ahead);
/* The puller's: the item is there. False: after a cut it is nobody's. */
bool crewi_line_arrive(crew_iterator *iterator);
/* What has arrived is a chunk. False: nothing, or somebody else has published it. */
bool crewi_line_publish(crew_iterator *iterator);
/* Whether a chunk has not started. */
static inline bool crewi_line_has_unstarted(const crew_iterator *iterator)
{
    return crewi_atomic_u64_load(&iterator->claimed) < crewi_line_published(iterator) ||
           crewi_atomic_u32_load(&iterator->has_rests);
}

/* The first item of a chunk that is the caller's now to run or end; NULL: all have started. */
crewi_item *crewi_line_claim(crew_iterator *iterator);
/* The same, but only of the chunk that begins at this position. */
crewi_item *crewi_line_claim_at(crew_iterator *iterator, uint64_t position);
/* The first `count` items of this chain are a chunk that has not started. */
void crewi_line_give_back(crew_iterator *iterator, crewi_item *first, uint32_t count);
/* Under the lock: whether that of this index is given back, and unstarted. */
bool crewi_line_is_rest(const crew_iterator *iterator, size_t index);
void crewi_line_free(crew_iterator *iterator);

/* ---- chunk.c: running them ---- */

static inline bool crewi_item_is_done(const crewi_item *item)
{
    return crewi_atomic_u32_load(&item->state) != 0;
}

static inline crew_status crewi_item_outcome(const crewi_item *item)
{
    /* acquire: pairs with item_settle; only of an item that is done */
    return (crew_status)(crewi_atomic_u32_load_acquire(&item->state) - 1);
}

size_t crewi_item_size(const crew_iterator *iterator);
void *crewi_item_argument(const crew_iterator *iterator, const crewi_item *item);
void *crewi_item_value(const crew_iterator *iterator, const crewi_item *item);
void crewi_item_drop_argument(const crew_iterator *iterator, crewi_item *item);
/* It is done and nobody takes it. */
void crewi_item_drop(const crew_iterator *iterator, crewi_item *item);

/* Runs chunks until all have started, or more should be pulled, or time is up. False: this is a fork's child now. */
bool crewi_chunks_run(crew_iterator *iterator, crewi_frame *frame, int64_t end_ns);
/* For a consumer: runs the chunk that the next item needs, if it has not started; unordered: any. */
void crewi_chunk_help(crew_iterator *iterator, crewi_frame *frame);
/* Ends all that have not started. */
void crewi_chunks_end(crew_iterator *iterator, crew_status status);
/* The thread that ran this item is lost. */
void crewi_chunk_lost(crew_iterator *iterator, crewi_item *item, crewi_frame *frame);

/* ---- imap.c: pulling them ---- */

void crewi_iterator_wake(crew_iterator *iterator);
/* Sees to it that a worker comes and looks. The pool must be held open. */
void crewi_iterator_call_now(crew_iterator *iterator, enum crewi_where where);
/* A worker that comes clears `call` before it looks, and we look at it after there is something to be seen. */
static inline void crewi_iterator_call(crew_iterator *iterator, enum crewi_where where)
{
    if (!crewi_atomic_u32_load(&iterator->call))
        crewi_iterator_call_now(iterator, where);
}
/* The last call, if it has not been answered, is void: the iterator is destroyed, and all has been ended. */
void crewi_iterator_withdraw(crew_iterator *iterator);
/* Sees to it that items are pulled, if they should be. Holds no lock; the pool must be held. */
void crewi_iterator_kick(crew_iterator *iterator);
/* Under the lock: whether so many items could be pulled, and nobody does. */
bool crewi_iterator_can_pull(const crew_iterator *iterator, size_t items);
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
