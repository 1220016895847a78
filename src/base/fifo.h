/* SPDX-License-Identifier: MIT */
/* An unbounded first-in-first-out queue of addresses, in segments: nobody has to touch what an entry points to, and entries can be
 * fetched ahead. Whoever pushes has locked it for that, and may do other things under the same lock; unlocking is what makes the entry
 * seen: one step for both. Poppers take turns under another lock. */
#ifndef CREWI_FIFO_H
#define CREWI_FIFO_H

#include <stddef.h>

#include "../platform/favourite.h"
#include "../platform/lock.h"
#include "../platform/platform.h"
#include "atomic.h"
#include "cells.h"

enum { CREWI_SEGMENT_ENTRIES = 127, CREWI_FIFO_COUNT_SHIFT = 2 };

struct crewi_segment {
    struct crewi_segment *next; /* written by the pusher before it has pushed anything into that one */
    void *entries[CREWI_SEGMENT_ENTRIES];
};

typedef struct crewi_fifo {
    const struct crewi_memory *memory;
    /* bit 0 HELD, by a pusher, who guards the next two; bit 1 SLEEPERS: others wait for that; bits 2-31: how many were ever pushed, less
     * those filtered out, modulo 2^30 */
    _Alignas(CREWI_CACHE_LINE) crewi_atomic_u32 pushed;
    unsigned last_count; /* entries ever put into `last` */
    struct crewi_segment *last;
    crewi_favourite favourite;                 /* among pushers; its being inside is as good as HELD */
    bool is_favoured;                          /* guarded by either: who is inside is that one */
    _Alignas(CREWI_CACHE_LINE) crewi_lock out; /* guards the next two */
    unsigned first_count;                      /* entries taken out of `first` */
    struct crewi_segment *first;
    crewi_atomic_u32 popped; /* how many ever, modulo 2^30; written under `out` */
    crewi_atomic_ptr spare;  /* a segment that was emptied, for the pushers */
} crewi_fifo;

void crewi_fifo_init(crewi_fifo *fifo, const struct crewi_memory *memory);
void crewi_fifo_destroy(crewi_fifo *fifo);
/* By anybody, now: in a fork's child it stays so. */
bool crewi_fifo_is_held(const crewi_fifo *fifo);

void crewi_fifo_lock_slowly(crewi_fifo *fifo);

static inline void crewi_fifo_lock(crewi_fifo *fifo)
{
    if (crewi_favourite_enter(&fifo->favourite))
        fifo->is_favoured = true;
    else
        crewi_fifo_lock_slowly(fifo);
}

void crewi_fifo_unlock(crewi_fifo *fifo);

/* Under the lock, which is given back. False: no memory. */
bool crewi_fifo_push_slowly(crewi_fifo *fifo, void *entry);

static inline bool crewi_fifo_push_and_unlock(crewi_fifo *fifo, void *entry)
{
    if (!fifo->is_favoured || !fifo->last || fifo->last_count == CREWI_SEGMENT_ENTRIES)
        return crewi_fifo_push_slowly(fifo, entry);
    fifo->last->entries[fifo->last_count++] = entry;
    /* Whoever sees the count sees the entry. One that is about to oust us may hold the word. */
    (void)crewi_atomic_u32_fetch_add(&fifo->pushed, 1 << CREWI_FIFO_COUNT_SHIFT);
    crewi_favourite_leave(&fifo->favourite);
    return true;
}

/* The oldest, at most so many. Returns how many. */
size_t crewi_fifo_pop(crewi_fifo *fifo, void **ret_entries, size_t most);

/* Takes every entry out for which `is_dead`, and has it dropped. */
void crewi_fifo_filter(crewi_fifo *fifo, bool (*is_dead)(const void *entry), void (*drop)(void *entry));

/* Never says "empty" when a push that happened before has not been popped. */
bool crewi_fifo_is_empty(const crewi_fifo *fifo);

#endif
