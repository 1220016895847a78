/* SPDX-License-Identifier: MIT */
/* The record of a map, and what its three files have of each other: map.c (its life), map_claim.c (who takes which items), map_run.c
 * (running them). */
#ifndef CREWI_MAP_H
#define CREWI_MAP_H

#include "backend.h"
#include "result.h"

/* What one participant has taken from the cursor, and may still lose to others: items leave it at the front, by a CAS; what is
 * moved from here to there is moved under `ranges_lock`. */
typedef struct crewi_range {
    _Alignas(CREWI_CACHE_LINE) crewi_atomic_u64 items; /* bits 0-31: the first; bits 32-63: the end; none where equal */
    bool is_owned;                                     /* guarded by ranges_lock: only its owner claims from it */
} crewi_range;

/* crewi_map.participants, one word:
 *   bits 0-29  who may be running items, or is about to claim some, or takes some away; a lost thread's successor, too
 *   bit  30    ENTRY_KEPT: whoever runs the map at its submission has its entry; cleared by who gives that to the queue, or up
 *   bit  31    ENDED: set by the last to leave, who ends the map; for good
 *   bits 32-63 how many ever joined, so that a CAS sees that somebody came and went */
#define CREWI_MAP_PRESENT ((UINT64_C(1) << 30) - 1)
#define CREWI_MAP_ENTRY_KEPT (UINT64_C(1) << 30)
#define CREWI_MAP_ENDED (UINT64_C(1) << 31)
#define CREWI_MAP_JOINS (UINT64_C(1) << 32)

/* crewi_map.halted: why no further item shall start. */
enum {
    CREWI_MAP_STOPPING = 1, /* STOP_ON_ERROR, and there was one */
    CREWI_MAP_LOST = 2      /* cancelled, or the pool ends: what does not run is `skipped` */
};

typedef struct crewi_map {
    crew_result result; /* first: the handle */
    const void *caller; /* the mark of the thread that makes a blocking call of it, or NULL */
    crewi_atomic_u32 halted;
    const char *args;
    size_t arg_step; /* from one of them to the next; 0: there are none */
    char *values;
    size_t n;
    size_t chunk; /* 0: adaptive */
    size_t columns_count;
    crewi_range *ranges; /* `ranges_count` of them, behind the columns */
    unsigned ranges_count;
    bool stops_on_error;
    bool has_started; /* written by whoever claims item 0 */
    bool has_failure; /* guarded, with the next three, by failure_lock: the failure of the lowest index */
    crewi_lock failure_lock;
    crew_status lowest_status;
    size_t lowest;
    crewi_lock ranges_lock;
    crewi_atomic_u64 participants;
    crewi_atomic_size cursor;  /* items before it are claimed, or in a range; n: none are left behind it */
    crewi_atomic_size skipped; /* items lost to a cancel or to the pool's end */
    crew_column columns[];
} crewi_map;

static inline crewi_map *crewi_map_of(const crewi_task *task)
{
    return (crewi_map *)(uintptr_t)task;
}

/* map.c */
void crewi_map_join(crewi_map *map);
/* May end the map: the caller holds a reference, and no frame of the map is entered. */
void crewi_map_leave(crewi_map *map);
/* No further item starts: takes all that nobody has claimed, and returns how many. */
size_t crewi_map_halt(crewi_map *map, uint32_t why);
/* The same at the pool's end. */
void crewi_map_end_rest(crewi_map *map);
/* Ends the map for the one participant that it ever had. */
void crewi_map_end_alone(crewi_map *map);
/* The entry that was kept from the queue becomes the caller's. False: somebody has it already. */
bool crewi_map_take_kept_entry(crewi_map *map);

/* map_claim.c */
size_t crewi_map_ranges_size(unsigned count);
unsigned crewi_map_ranges_wanted(const crew_pool *pool, size_t n, size_t chunk);
void crewi_map_ranges_init(crewi_map *map, void *memory, unsigned count);
/* A range to be one's own, or NULL: there is none to be had, which changes nothing but speed. */
crewi_range *crewi_map_range_take(crewi_map *map);
void crewi_map_range_give(crewi_map *map, crewi_range *own);
/* Claims up to `want` items into frame->range_first … range_end. */
bool crewi_map_claim(crewi_map *map, crewi_range *own, size_t want, crewi_frame *frame);
/* Whether such a claim, outside of ranges, would leave nothing behind. */
bool crewi_map_is_last_claim(const crewi_map *map, size_t want);
/* The same as claim, of a map that nobody else has, nor had. */
bool crewi_map_claim_alone(crewi_map *map, size_t want, crewi_frame *frame);
/* Whether all items are claimed. Never true while one is still to be had. */
bool crewi_map_is_exhausted(crewi_map *map);
size_t crewi_map_take_all(crewi_map *map);

/* map_run.c */
/* Runs items until none is left to claim; `as_worker`: or until others have their turn, and after passing the queue's entry on. The caller
 * holds a reference. */
void crewi_map_work(crewi_map *map, crewi_frame *frame, bool as_worker);
/* The map is the caller's alone as yet: makes it present, with a first claim. True: there are items for others, too. */
bool crewi_map_prepare_part(crewi_map *map);
/* Takes that part, and ends the map if it stayed alone. */
void crewi_map_take_part(crewi_task *task, crewi_frame *frame);
void crewi_map_fail(crewi_map *map, crew_status status, int code, const crewi_frame *frame);
void crewi_map_lost(crewi_task *task, crewi_frame *frame);

#endif
