/* SPDX-License-Identifier: MIT */
/* The items of an iterator in line: where they are, how they arrive, and who claims them. */
#include <string.h>

#include "iterator.h"

/* ---- memory: as much as the window ever held, and some to spare ---- */

enum { RING_CAPACITY_MIN = 4, RING_CAPACITY_FIRST = 64 };

static size_t ring_size(size_t capacity)
{
    return sizeof(crewi_ring) + capacity * sizeof(crewi_atomic_ptr);
}

static crewi_ring *line_ring(const crew_iterator *iterator)
{
    return crewi_atomic_ptr_load_acquire(&iterator->ring); /* acquire: pairs with the release in line_grow */
}

static crewi_atomic_ptr *ring_place(crewi_ring *ring, uint64_t position)
{
    return &ring->at[position & (ring->capacity - 1)];
}

static size_t line_capacity_next(const crew_iterator *iterator, const crewi_ring *ring)
{
    size_t capacity = RING_CAPACITY_MIN;
    if (ring)
        return 2 * ring->capacity;
    while (capacity < iterator->window && capacity < RING_CAPACITY_FIRST)
        capacity *= 2;
    return capacity;
}

/* A ring that is full is outgrown; `end`: the first position that has no item yet. Consumers put items in, so they are kept out. False: no
 * memory. */
static bool line_grow(crew_iterator *iterator, uint64_t end)
{
    crewi_shard *shard;
    crewi_ring *old = line_ring(iterator);
    size_t capacity = line_capacity_next(iterator, old);
    crewi_ring *ring = crewi_cell_new(crewi_task_pool(&iterator->task), ring_size(capacity), &shard);
    if (!ring)
        return false;
    ring->outgrown = old;
    ring->shard = shard;
    ring->capacity = capacity;
    for (size_t i = 0; i < capacity; i++)
        crewi_atomic_ptr_init(&ring->at[i], NULL);
    crewi_lock_acquire(&iterator->lock);
    for (uint64_t i = crewi_atomic_u64_load(&iterator->taken); old && i < end; i++) /* relaxed: the release below */
        crewi_atomic_ptr_store_relaxed(ring_place(ring, i), crewi_atomic_ptr_load_relaxed(ring_place(old, i)));
    crewi_atomic_ptr_store_release(&iterator->ring, ring);
    crewi_lock_release(&iterator->lock);
    return true;
}

/* The first item of a slab begins a cache line. */
static crewi_item *slab_item(const crew_iterator *iterator, const crewi_slab *slab, size_t i)
{
    uintptr_t first = (uintptr_t)(slab + 1);
    first = (first + CREWI_CACHE_LINE - 1) / CREWI_CACHE_LINE * CREWI_CACHE_LINE;
    return (crewi_item *)(first + i * iterator->item_size);
}

static size_t slab_size(const crew_iterator *iterator)
{
    return sizeof(crewi_slab) + CREWI_CACHE_LINE + iterator->slab_items * iterator->item_size;
}

static crewi_item *line_item_new(crew_iterator *iterator)
{
    if (!iterator->slabs || iterator->slab_used == iterator->slab_items) {
        crewi_shard *shard;
        crewi_slab *slab = crewi_cell_new(crewi_task_pool(&iterator->task), slab_size(iterator), &shard);
        if (!slab)
            return NULL;
        *slab = (crewi_slab){iterator->slabs, shard};
        iterator->slabs = slab;
        iterator->slab_used = 0;
    }
    return slab_item(iterator, iterator->slabs, iterator->slab_used++);
}

void crewi_line_free(crew_iterator *iterator)
{
    for (crewi_slab *slab = iterator->slabs, *next; slab; slab = next) {
        next = slab->next;
        crewi_cell_free(slab->shard, slab, slab_size(iterator));
    }
    for (crewi_ring *ring = line_ring(iterator), *next; ring; ring = next) {
        next = ring->outgrown;
        crewi_cell_free(ring->shard, ring, ring_size(ring->capacity));
    }
}

/* ---- arriving ---- */

crewi_item *crewi_line_at(const crew_iterator *iterator, uint64_t position)
{
    /* acquire: pairs with crewi_line_next; who asks knows that one is published, but it may have been taken since */
    return crewi_atomic_ptr_load_acquire(ring_place(line_ring(iterator), position));
}

void crewi_line_put(crew_iterator *iterator, uint64_t position, crewi_item *item)
{
    crewi_atomic_ptr_store_relaxed(ring_place(line_ring(iterator), position), item); /* relaxed: told by `taken` */
}

/* The item that was used at this position before; NULL: none, or the ring seems to be full. */
static crewi_item *line_used(const crew_iterator *iterator, uint64_t position)
{
    crewi_ring *ring = line_ring(iterator);
    if (!ring || position - iterator->taken_seen >= ring->capacity)
        return NULL;
    return crewi_atomic_ptr_load_relaxed(ring_place(ring, position)); /* relaxed: who took it told us so by `taken` */
}

static crewi_item *item_prepare(crewi_item *item, uint64_t position)
{
    item->link.next = NULL;
    item->index = (size_t)position;
    crewi_failure_init(&item->failure);
    crewi_atomic_u32_store_relaxed(&item->state, 0);
    crewi_atomic_u32_store_relaxed(&item->count, 1);
    return item;
}

static CREWI_RARE crewi_item *line_next_slowly(crew_iterator *iterator, uint64_t position)
{
    iterator->taken_seen = crewi_atomic_u64_load(&iterator->taken);
    const crewi_ring *ring = line_ring(iterator);
    bool is_full = !ring || position - iterator->taken_seen >= ring->capacity;
    if (is_full && !line_grow(iterator, position))
        return NULL;
    crewi_item *item = line_used(iterator, position);
    if (item)
        return item_prepare(item, position);
    item = line_item_new(iterator);
    if (item) /* pairs with crewi_line_at: who looks for an older item of this place may find this one */
        crewi_atomic_ptr_store_release(ring_place(line_ring(iterator), position), item_prepare(item, position));
    return item;
}

crewi_item *crewi_line_next(crew_iterator *iterator, unsigned ahead)
{
    uint64_t position = crewi_line_arrived(iterator) + ahead;
    crewi_item *item = line_used(iterator, position);
    return item ? item_prepare(item, position) : line_next_slowly(iterator, position);
}

bool crewi_line_arrive(crew_iterator *iterator)
{
    uint64_t arrived = crewi_atomic_u64_load(&iterator->arrived);
    do {
        if (arrived & CREWI_ARRIVED_CUT)
            return false;
    } while (!crewi_atomic_u64_cas(&iterator->arrived, &arrived, arrived + CREWI_ARRIVED_ONE));
    return true;
}

bool crewi_line_publish(crew_iterator *iterator)
{
    uint64_t first = crewi_atomic_u64_load(&iterator->published), end = crewi_line_arrived(iterator);
    if (first >= end)
        return false;
    /* relaxed: published by the CAS; after a cut the puller and who cuts may both be here, and write the same */
    crewi_atomic_u32_store_relaxed(&crewi_line_at(iterator, first)->count, (uint32_t)(end - first));
    return crewi_atomic_u64_cas(&iterator->published, &first, end);
}

/* ---- claiming ---- */

/* What is read of a place or an item that somebody else claims meanwhile means nothing, but then the CAS fails. */
static inline crewi_item *line_try(crew_iterator *iterator, uint64_t *position)
{
    crewi_item *item = crewi_line_at(iterator, *position);
    /* relaxed: as old as the place; what may have changed since is not claimed */
    uint32_t count = iterator->chunk_size == 1 || !item ? 1 : crewi_atomic_u32_load_relaxed(&item->count);
    return crewi_atomic_u64_cas(&iterator->claimed, position, *position + count) ? item : NULL;
}

static crewi_item *chunk_last(crewi_item *item)
{
    for (uint32_t left = crewi_atomic_u32_load_relaxed(&item->count); left > 1; left--) /* relaxed: the caller's */
        item = CREWI_CONTAINER_OF(item->link.next, crewi_item, link);
    return item;
}

/* Under the lock, NULL for none. */
static crewi_item *chunk_after(crewi_item *item)
{
    crewi_link *next = chunk_last(item)->link.next;
    return next ? CREWI_CONTAINER_OF(next, crewi_item, link) : NULL;
}

/* The first rest, or that which begins with this index. */
static CREWI_RARE crewi_item *line_take_rest(crew_iterator *iterator, const uint64_t *index)
{
    crewi_item *found = NULL, *before = NULL;
    crewi_lock_acquire(&iterator->lock);
    for (found = iterator->rests; found && index && found->index != *index; found = chunk_after(found))
        before = found;
    if (found && before)
        chunk_last(before)->link.next = chunk_last(found)->link.next;
    else if (found)
        iterator->rests = chunk_after(found);
    crewi_atomic_u32_store(&iterator->has_rests, iterator->rests != NULL);
    crewi_lock_release(&iterator->lock);
    return found;
}

crewi_item *crewi_line_claim(crew_iterator *iterator)
{
    crewi_item *item = crewi_atomic_u32_load(&iterator->has_rests) ? line_take_rest(iterator, NULL) : NULL;
    uint64_t position = crewi_atomic_u64_load(&iterator->claimed);
    while (!item && position < crewi_line_published(iterator))
        item = line_try(iterator, &position);
    return item;
}

crewi_item *crewi_line_claim_at(crew_iterator *iterator, uint64_t position)
{
    uint64_t claimed = crewi_atomic_u64_load(&iterator->claimed);
    if (claimed > position)
        return crewi_atomic_u32_load(&iterator->has_rests) ? line_take_rest(iterator, &position) : NULL;
    return claimed == position && position < crewi_line_published(iterator) ? line_try(iterator, &position) : NULL;
}

/* ---- what a lost thread leaves behind ---- */

void crewi_line_give_back(crew_iterator *iterator, crewi_item *first, uint32_t count)
{
    crewi_atomic_u32_store_relaxed(&first->count, count); /* relaxed: the lock */
    crewi_lock_acquire(&iterator->lock);
    chunk_last(first)->link.next = iterator->rests ? &iterator->rests->link : NULL;
    iterator->rests = first;
    crewi_atomic_u32_store(&iterator->has_rests, 1);
    crewi_lock_release(&iterator->lock);
}

bool crewi_line_is_rest(const crew_iterator *iterator, size_t index)
{
    crewi_item *rest = iterator->rests;
    while (rest && index - rest->index >= crewi_atomic_u32_load_relaxed(&rest->count)) /* relaxed: the lock */
        rest = chunk_after(rest);
    return rest != NULL;
}
