/* SPDX-License-Identifier: MIT */
/* Who takes which items of a map.
 *
 * Items lie behind `cursor` at first. A map with adaptive chunks, or of few claims, is claimed from there. In the others a participant
 * takes a block of items into a range of its own and claims from that, so that participants do not meet at every item; whoever finds
 * nothing behind the cursor takes the upper half of the longest range. Nothing in a range is private: if its owner is held up in an item,
 * the others run the rest.
 *
 * Items move between cursor and ranges under `ranges_lock` only, and the first of what was moved is claimed under it, too: so whoever has the
 * lock sees every unclaimed item, and each move brings the map nearer to its end. Claims by an owner and from the cursor are a CAS
 * without the lock. Nothing that is claimed is ever unclaimed, so a word of a range that has come back means what it meant before. */
#include "map.h"

enum {
    RANGES_MAX = 64,         /* more participants than this share the cursor, and the lock */
    CLAIMS_MIN = 64,         /* a map of fewer claims needs no ranges */
    BLOCK_CLAIMS_MIN = 16,   /* a block from the cursor is of at least so many claims, */
    BLOCK_CLAIMS_MAX = 4096, /* at most so many, */
    BLOCK_SHARE = 4          /* and in between a worker's share of the rest, divided by this */
};

/* ---- ranges ---- */

static uint64_t range_pack(size_t first, size_t end)
{
    return (uint64_t)first | (uint64_t)end << 32;
}

static size_t range_first(uint64_t items)
{
    return (uint32_t)items;
}

static size_t range_end(uint64_t items)
{
    return (size_t)(items >> 32);
}

static size_t range_length(const crewi_range *range)
{
    uint64_t items = crewi_atomic_u64_load(&range->items);
    return range_end(items) - range_first(items);
}

size_t crewi_map_ranges_size(unsigned count)
{
    return count > 0 ? (count + 1) * sizeof(crewi_range) : 0; /* one more: to align them */
}

unsigned crewi_map_ranges_wanted(const crew_pool *pool, size_t n, size_t chunk)
{
    unsigned workers = pool->options.workers;
    bool is_wanted = pool->options.kind == CREW_THREADS && workers > 1 && chunk > 0 && n / chunk >= CLAIMS_MIN;
    if (!is_wanted || n > UINT32_MAX)
        return 0;
    return workers < RANGES_MAX ? workers : RANGES_MAX;
}

void crewi_map_ranges_init(crewi_map *map, void *memory, unsigned count)
{
    uintptr_t line = ((uintptr_t)memory + CREWI_CACHE_LINE - 1) / CREWI_CACHE_LINE * CREWI_CACHE_LINE;
    map->ranges = count > 0 ? (crewi_range *)line : NULL;
    map->ranges_count = count;
    for (unsigned i = 0; i < count; i++) {
        crewi_atomic_u64_init(&map->ranges[i].items, 0);
        map->ranges[i].is_owned = false;
    }
}

/* One that was left with items in it, rather than an empty one. */
crewi_range *crewi_map_range_take(crewi_map *map)
{
    crewi_range *found = NULL;
    if (map->ranges_count == 0)
        return NULL;
    crewi_lock_acquire(&map->ranges_lock);
    for (unsigned i = 0; i < map->ranges_count; i++) {
        crewi_range *range = &map->ranges[i];
        if (!range->is_owned && (!found || range_length(range) > range_length(found)))
            found = range;
    }
    if (found)
        found->is_owned = true;
    crewi_lock_release(&map->ranges_lock);
    return found;
}

void crewi_map_range_give(crewi_map *map, crewi_range *own)
{
    if (!own)
        return;
    crewi_lock_acquire(&map->ranges_lock);
    own->is_owned = false;
    crewi_lock_release(&map->ranges_lock);
}

/* ---- claims ---- */

static size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline bool range_claim(crewi_range *range, size_t want, crewi_frame *frame)
{
    uint64_t items = crewi_atomic_u64_load_relaxed(&range->items); /* relaxed: the CAS finds the truth */
    size_t first, end, next;
    do {
        first = range_first(items);
        end = range_end(items);
        if (first == end)
            return false;
        next = want < end - first ? first + want : end;
    } while (!crewi_atomic_u64_cas(&range->items, &items, range_pack(next, end)));
    frame->range_first = first;
    frame->range_end = next;
    return true;
}

static bool cursor_claim(crewi_map *map, size_t want, crewi_frame *frame)
{
    size_t first = crewi_atomic_size_load(&map->cursor), end;
    do {
        if (first >= map->n)
            return false;
        end = want < map->n - first ? first + want : map->n;
    } while (!crewi_atomic_size_cas(&map->cursor, &first, end));
    frame->range_first = first;
    frame->range_end = end;
    return true;
}

/* ---- under the lock ---- */

/* Items first … end - 1 are the caller's: it has claimed the first `want` of them, the others lie in its range. */
static void range_fill(crewi_range *own, size_t first, size_t end, size_t want, crewi_frame *frame)
{
    frame->range_first = first;
    frame->range_end = size_min(first + want, end);
    crewi_atomic_u64_store(&own->items, range_pack(frame->range_end, end));
}

static bool range_fill_from_cursor(crewi_map *map, crewi_range *own, crewi_frame *frame)
{
    size_t left = map->n - crewi_atomic_size_load(&map->cursor);
    size_t claims = left / map->chunk / (BLOCK_SHARE * (size_t)crewi_task_pool(&map->result.task)->options.workers);
    claims = claims > BLOCK_CLAIMS_MIN ? size_min(claims, BLOCK_CLAIMS_MAX) : BLOCK_CLAIMS_MIN;
    if (!cursor_claim(map, claims * map->chunk, frame))
        return false;
    range_fill(own, frame->range_first, frame->range_end, map->chunk, frame);
    return true;
}

static crewi_range *map_longest_range(const crewi_map *map)
{
    crewi_range *longest = &map->ranges[0];
    size_t most = range_length(longest);
    for (unsigned i = 1; i < map->ranges_count; i++) {
        size_t length = range_length(&map->ranges[i]);
        if (length > most) {
            longest = &map->ranges[i];
            most = length;
        }
    }
    return most > 0 ? longest : NULL;
}

/* The upper half, in whole chunks; of a single chunk all. */
static bool range_fill_from_other(crewi_map *map, crewi_range *own, crewi_frame *frame)
{
    for (crewi_range *other; (other = map_longest_range(map));) {
        uint64_t items = crewi_atomic_u64_load(&other->items);
        size_t first = range_first(items), end = range_end(items);
        size_t keep = first == end ? 0 : ((end - first - 1) / map->chunk + 1) / 2 * map->chunk;
        if (first == end || !crewi_atomic_u64_cas(&other->items, &items, range_pack(first, first + keep)))
            continue;
        range_fill(own, first + keep, end, map->chunk, frame);
        return true;
    }
    return false;
}

static bool map_claim_anywhere(crewi_map *map, size_t want, crewi_frame *frame)
{
    for (unsigned i = 0; i < map->ranges_count; i++)
        if (range_claim(&map->ranges[i], want, frame))
            return true;
    return cursor_claim(map, want, frame);
}

static bool map_claim_locked(crewi_map *map, crewi_range *own, size_t want, crewi_frame *frame)
{
    bool is_claimed;
    crewi_lock_acquire(&map->ranges_lock);
    if (own)
        is_claimed = range_fill_from_cursor(map, own, frame) || range_fill_from_other(map, own, frame);
    else
        is_claimed = map_claim_anywhere(map, want, frame);
    crewi_lock_release(&map->ranges_lock);
    return is_claimed;
}

/* ---- what the others use ---- */

bool crewi_map_claim(crewi_map *map, crewi_range *own, size_t want, crewi_frame *frame)
{
    if (own ? range_claim(own, want, frame) : cursor_claim(map, want, frame))
        return true;
    return map->ranges_count > 0 && map_claim_locked(map, own, want, frame);
}

bool crewi_map_is_last_claim(const crewi_map *map, size_t want)
{
    /* relaxed: it only grows, and an older value is only taken for more to be left */
    return map->ranges_count == 0 && map->n - crewi_atomic_size_load_relaxed(&map->cursor) <= want;
}

bool crewi_map_claim_alone(crewi_map *map, size_t want, crewi_frame *frame)
{
    size_t first = crewi_atomic_size_load_relaxed(&map->cursor); /* relaxed, as the store: only we have it */
    if (first == map->n)
        return false;
    frame->range_first = first;
    frame->range_end = first + size_min(want, map->n - first);
    crewi_atomic_size_store_relaxed(&map->cursor, frame->range_end);
    return true;
}

bool crewi_map_is_exhausted(crewi_map *map)
{
    if (crewi_atomic_size_load(&map->cursor) < map->n)
        return false;
    if (map->ranges_count == 0)
        return true;
    crewi_lock_acquire(&map->ranges_lock);
    bool is_exhausted = !map_longest_range(map);
    crewi_lock_release(&map->ranges_lock);
    return is_exhausted;
}

size_t crewi_map_take_all(crewi_map *map)
{
    if (map->ranges_count == 0)
        return map->n - crewi_atomic_size_exchange(&map->cursor, map->n);
    crewi_lock_acquire(&map->ranges_lock);
    size_t taken = map->n - crewi_atomic_size_exchange(&map->cursor, map->n);
    for (unsigned i = 0; i < map->ranges_count; i++) {
        uint64_t items = crewi_atomic_u64_exchange(&map->ranges[i].items, 0);
        taken += range_end(items) - range_first(items);
    }
    crewi_lock_release(&map->ranges_lock);
    return taken;
}
