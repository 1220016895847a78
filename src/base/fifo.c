/* SPDX-License-Identifier: MIT */
/* Segments are linked; the pusher appends, the popper gives back what it has emptied. */
#include "fifo.h"

enum { HELD = 1, SLEEPERS = 2, COUNT_SHIFT = CREWI_FIFO_COUNT_SHIFT, COUNT_MAX = UINT32_MAX >> COUNT_SHIFT };

void crewi_fifo_init(crewi_fifo *fifo, const struct crewi_memory *memory)
{
    fifo->memory = memory;
    fifo->first = fifo->last = NULL;
    fifo->first_count = fifo->last_count = 0;
    crewi_favourite_init(&fifo->favourite);
    fifo->is_favoured = false;
    crewi_lock_init(&fifo->out);
    crewi_atomic_u32_init(&fifo->pushed, 0);
    crewi_atomic_u32_init(&fifo->popped, 0);
    crewi_atomic_ptr_init(&fifo->spare, NULL);
}

static void segment_free(crewi_fifo *fifo, struct crewi_segment *segment)
{
    if (segment)
        crewi_memory_put(fifo->memory, segment, sizeof *segment);
}

static void segments_free(crewi_fifo *fifo, struct crewi_segment *segment)
{
    for (struct crewi_segment *next; segment; segment = next) {
        next = segment->next;
        segment_free(fifo, segment);
    }
}

void crewi_fifo_destroy(crewi_fifo *fifo)
{
    segments_free(fifo, fifo->first);
    segment_free(fifo, crewi_atomic_ptr_load(&fifo->spare));
}

bool crewi_fifo_is_held(const crewi_fifo *fifo)
{
    return (crewi_atomic_u32_load(&fifo->pushed) & HELD) || crewi_favourite_is_inside(&fifo->favourite) ||
           crewi_lock_is_held(&fifo->out);
}

static struct crewi_segment *segment_new(crewi_fifo *fifo)
{
    struct crewi_segment *segment = crewi_atomic_ptr_exchange(&fifo->spare, NULL);
    if (!segment)
        segment = crewi_memory_get(fifo->memory, sizeof *segment, CREWI_CACHE_LINE);
    if (segment)
        segment->next = NULL;
    return segment;
}

/* The first segment of all: poppers look for it only once something was pushed. */
static bool fifo_extend(crewi_fifo *fifo)
{
    struct crewi_segment *segment = segment_new(fifo);
    if (!segment)
        return false;
    if (fifo->last)
        fifo->last->next = segment;
    else
        fifo->first = segment;
    fifo->last = segment;
    fifo->last_count = 0;
    return true;
}

static void fifo_hold(crewi_fifo *fifo)
{
    enum { LOOKS = 100 }; /* before it sleeps, as in lock.c */
    for (unsigned look = 0;; look++) {
        uint32_t word = crewi_atomic_u32_load(&fifo->pushed);
        if (!(word & HELD)) {
            if (crewi_atomic_u32_cas(&fifo->pushed, &word, word | HELD))
                return;
        } else if (look < LOOKS) {
            crewi_cpu_relax();
        } else if ((word & SLEEPERS) || crewi_atomic_u32_cas(&fifo->pushed, &word, word | SLEEPERS)) {
            (void)crewi_futex_wait(&fifo->pushed, word | SLEEPERS, CREWI_NEVER);
        }
    }
}

void crewi_fifo_lock_slowly(crewi_fifo *fifo)
{
    fifo_hold(fifo);
    crewi_favourite_oust(&fifo->favourite);
    fifo->is_favoured = false;
}

static void fifo_let_go(crewi_fifo *fifo, uint32_t entries)
{
    crewi_favourite_count(&fifo->favourite);
    uint32_t before = crewi_atomic_u32_fetch_add(&fifo->pushed, (entries << COUNT_SHIFT) - HELD);
    if (!(before & SLEEPERS))
        return;
    (void)crewi_atomic_u32_fetch_and(&fifo->pushed, ~(uint32_t)SLEEPERS);
    crewi_futex_wake_all(&fifo->pushed);
}

/* The count goes on by `entries` in the same step. */
static void fifo_release(crewi_fifo *fifo, uint32_t entries)
{
    if (!fifo->is_favoured) {
        fifo_let_go(fifo, entries);
        return;
    }
    if (entries != 0)
        (void)crewi_atomic_u32_fetch_add(&fifo->pushed, entries << COUNT_SHIFT);
    crewi_favourite_leave(&fifo->favourite);
}

void crewi_fifo_unlock(crewi_fifo *fifo)
{
    fifo_release(fifo, 0);
}

bool crewi_fifo_push_slowly(crewi_fifo *fifo, void *entry)
{
    bool has_room = (fifo->last && fifo->last_count < CREWI_SEGMENT_ENTRIES) || fifo_extend(fifo);
    if (has_room)
        fifo->last->entries[fifo->last_count++] = entry;
    fifo_release(fifo, has_room);
    return has_room;
}

/* The emptied segment is kept for the pusher; it is no longer anybody's `last`. */
static void fifo_advance(crewi_fifo *fifo)
{
    struct crewi_segment *segment = fifo->first;
    fifo->first = segment->next;
    fifo->first_count = 0;
    segment_free(fifo, crewi_atomic_ptr_exchange(&fifo->spare, segment));
}

static uint32_t fifo_count(uint32_t pushed, uint32_t popped)
{
    return ((pushed >> COUNT_SHIFT) - popped) & COUNT_MAX;
}

size_t crewi_fifo_pop(crewi_fifo *fifo, void **ret_entries, size_t most)
{
    if (crewi_fifo_is_empty(fifo))
        return 0;
    crewi_lock_acquire(&fifo->out);
    uint32_t popped = crewi_atomic_u32_load_relaxed(&fifo->popped); /* relaxed: written under the lock only */
    uint32_t there = fifo_count(crewi_atomic_u32_load(&fifo->pushed), popped);
    uint32_t count = there < most ? there : (uint32_t)most;
    for (uint32_t i = 0; i < count; i++) {
        if (fifo->first_count == CREWI_SEGMENT_ENTRIES)
            fifo_advance(fifo);
        ret_entries[i] = fifo->first->entries[fifo->first_count++];
    }
    crewi_atomic_u32_store(&fifo->popped, (popped + count) & COUNT_MAX);
    crewi_lock_release(&fifo->out);
    return count;
}

bool crewi_fifo_is_empty(const crewi_fifo *fifo)
{
    uint32_t popped = crewi_atomic_u32_load(&fifo->popped); /* first: it never overtakes pushed */
    return fifo_count(crewi_atomic_u32_load(&fifo->pushed), popped) == 0;
}

/* Where an entry lies. */
struct place {
    struct crewi_segment *segment;
    unsigned count; /* entries of the segment before this one */
};

static void **place_next(struct place *place)
{
    if (place->count == CREWI_SEGMENT_ENTRIES)
        *place = (struct place){place->segment->next, 0};
    return &place->segment->entries[place->count++];
}

/* Both locks are held. Entries move towards the front, into places that were read before. Returns how many were dropped. */
static uint32_t fifo_compact(crewi_fifo *fifo, uint32_t there, bool (*is_dead)(const void *entry),
                             void (*drop)(void *entry))
{
    struct place from = {fifo->first, fifo->first_count}, to = from;
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < there; i++) {
        void *entry = *place_next(&from);
        if (!is_dead(entry)) {
            *place_next(&to) = entry;
            continue;
        }
        drop(entry);
        dropped++;
    }
    segments_free(fifo, to.segment->next);
    to.segment->next = NULL;
    fifo->last = to.segment;
    fifo->last_count = to.count;
    return dropped;
}

void crewi_fifo_filter(crewi_fifo *fifo, bool (*is_dead)(const void *entry), void (*drop)(void *entry))
{
    crewi_lock_acquire(&fifo->out);
    crewi_fifo_lock(fifo);
    uint32_t there = fifo_count(crewi_atomic_u32_load(&fifo->pushed), crewi_atomic_u32_load(&fifo->popped));
    uint32_t dropped = there > 0 ? fifo_compact(fifo, there, is_dead, drop) : 0;
    fifo_release(fifo, 0u - dropped);
    crewi_lock_release(&fifo->out);
}
