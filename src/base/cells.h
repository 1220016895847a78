/* SPDX-License-Identifier: MIT */
/* The memory of one pool: small cells from slabs, larger blocks straight from the allocator. It outlives its pool for as long
 * as a cell is in use, because handles do; and it keeps the pool from being freed while a handle's call is inside it. */
#ifndef CREWI_CELLS_H
#define CREWI_CELLS_H

#include <stddef.h>

#include "atomic.h"
#include "poison.h"

typedef struct crewi_cells crewi_cells;
typedef struct crewi_shard crewi_shard;

/* Where memory comes from: the user's functions, or the platform's. */
struct crewi_memory {
    void *(*alloc)(void *user, size_t size, size_t align);
    void (*free)(void *user, void *block, size_t size);
    void *user;
};

void *crewi_memory_get(const struct crewi_memory *memory, size_t size, size_t align);
void crewi_memory_put(const struct crewi_memory *memory, void *block, size_t size);

/* `owner` is what every shard can be asked for: the pool. NULL: no memory. */
crewi_cells *crewi_cells_new(const struct crewi_memory *memory, void *owner);
crewi_shard *crewi_cells_shard(crewi_cells *cells); /* any one, for a task that is no cell */
const struct crewi_memory *crewi_cells_memory(const crewi_cells *cells);

/* What every cell's user asks often: the head of a shard, the rest of which is cells.c's own. */
struct crewi_shard_head {
    crewi_cells *cells;
    void *owner;
    uint32_t generation; /* the process's fork generation in which it was made */
};

static inline crewi_cells *crewi_cells_of(const crewi_shard *shard)
{
    return ((const struct crewi_shard_head *)(const void *)shard)->cells;
}

static inline void *crewi_cells_owner(const crewi_shard *shard)
{
    return ((const struct crewi_shard_head *)(const void *)shard)->owner;
}

static inline uint32_t crewi_cells_generation(const crewi_shard *shard)
{
    return ((const struct crewi_shard_head *)(const void *)shard)->generation;
}

/* ---- a thread's own free cells ---- */

enum { CREWI_CELL_GRAIN = 16, CREWI_CELL_SIZE_MAX = 1024, CREWI_CELL_CLASSES = CREWI_CELL_SIZE_MAX / CREWI_CELL_GRAIN };

/* Free cells of one class, by their addresses: they themselves are not touched until somebody needs them. */
struct crewi_magazine {
    struct crewi_magazine *next;
    uint32_t count, limit; /* cells in it; and how many of its class there may be */
    void *cells[62];
};

static inline size_t crewi_cell_class(size_t size)
{
    return size == 0 ? 0 : (size - 1) / CREWI_CELL_GRAIN;
}

/* Belongs to one thread at a time. What it holds comes from its shard and goes back there in bulk, so that most cells cost no
 * atomic step; cells of other shards go home in bulk, too. */
typedef struct crewi_cache {
    crewi_shard *shard;
    crewi_atomic_size
        handles; /* of the user's: born here minus died here; written by the owner, read by close in a child */
    struct crewi_magazine *loaded[CREWI_CELL_CLASSES]; /* or NULL */
    struct {
        crewi_shard *shard;
        size_t class;
        struct crewi_magazine *magazine; /* or NULL */
    } foreign;                           /* cells of one other shard and one class, on their way home */
} crewi_cache;

/* `hint` picks the shard. To be closed before the cells are orphaned or abandoned. */
void crewi_cache_open(crewi_cache *cache, crewi_cells *cells, unsigned hint);
void crewi_cache_close(crewi_cache *cache); /* gives all cells back */
/* The same in a fork's child, where no lock can be trusted; `is_at_rest`: nobody was at it when the process forked. */
void crewi_cache_abandon(crewi_cache *cache, bool is_at_rest);

/* What the next two do where no magazine serves. */
void *crewi_cells_alloc_slowly(crewi_cells *cells, crewi_cache *cache, unsigned hint, size_t size,
                               crewi_shard **ret_shard);
void crewi_cells_free_slowly(crewi_shard *shard, crewi_cache *cache, void *cell, size_t size, bool is_handle);
void crewi_cells_free_outside(crewi_shard *shard, void *cell, size_t size, bool is_handle);

/* A cell of at least `size` bytes, aligned for any type: from the caller's cache or, where that is NULL, from the shard that
 * `hint` picks (any number; one per thread keeps threads apart). NULL: no memory. The shard is how it is given back. */
static inline void *crewi_cells_alloc(crewi_cells *cells, crewi_cache *cache, unsigned hint, size_t size,
                                      crewi_shard **ret_shard)
{
    struct crewi_magazine *magazine =
        cache && size <= CREWI_CELL_SIZE_MAX ? cache->loaded[crewi_cell_class(size)] : NULL;
    if (!magazine || magazine->count == 0)
        return crewi_cells_alloc_slowly(cells, cache, hint, size, ret_shard);
    *ret_shard = cache->shard;
    void *cell = magazine->cells[--magazine->count];
    crewi_cell_born(cell, size);
    return cell;
}

static inline void crewi_cache_count_handle(crewi_cache *cache, size_t delta)
{
    /* relaxed: nobody else writes it, and it is read in a fork's child only */
    crewi_atomic_size_store_relaxed(&cache->handles, crewi_atomic_size_load_relaxed(&cache->handles) + delta);
}

/* Any thread, also after orphan; `cache` is the caller's, or NULL. `is_handle`: it was counted as one till now. */
static inline void crewi_cells_free(crewi_shard *shard, crewi_cache *cache, void *cell, size_t size, bool is_handle)
{
    if (size <= CREWI_CELL_SIZE_MAX)
        crewi_cell_died(cell, size);
    if (!cache) {
        crewi_cells_free_outside(shard, cell, size, is_handle);
        return;
    }
    bool is_home = cache->shard == shard && size <= CREWI_CELL_SIZE_MAX;
    struct crewi_magazine *magazine = is_home ? cache->loaded[crewi_cell_class(size)] : NULL;
    if (!magazine || magazine->count == magazine->limit) {
        crewi_cells_free_slowly(shard, cache, cell, size, is_handle);
        return;
    }
    magazine->cells[magazine->count++] = cell;
    if (is_handle)
        crewi_cache_count_handle(cache, SIZE_MAX);
}

/* A handle's way into its pool. False: the pool is gone. Between a true and leave, the pool is not freed. The caller holds a
 * cell. */
bool crewi_cells_enter_pool(crewi_cells *cells);
void crewi_cells_leave_pool(crewi_cells *cells);

/* Called once, when the pool goes: waits until nobody is inside, lets nobody in any more; and gives up the pool's own claim, so that the memory
 * goes with its last cell. In a fork's child nobody can be inside: `wait` is false there. */
void crewi_cells_shut_pool(crewi_cells *cells, bool wait);
void crewi_cells_orphan(crewi_cells *cells);

/* How many cells are the user's handles. It matters only in a fork's child: there nobody will ever free the cells of unfinished
 * work, so an abandoned pool's memory goes with the last handle instead, by forget. */
void crewi_shard_count_handle(crewi_shard *shard, size_t delta);
void crewi_cells_abandon(crewi_cells *cells);
void crewi_cells_forget_handle(crewi_shard *shard);

static inline void crewi_cells_count_handle(crewi_shard *shard, crewi_cache *cache)
{
    if (cache)
        crewi_cache_count_handle(cache, 1);
    else
        crewi_shard_count_handle(shard, 1);
}

static inline void crewi_cells_discount_handle(crewi_shard *shard, crewi_cache *cache)
{
    if (cache)
        crewi_cache_count_handle(cache, SIZE_MAX);
    else
        crewi_shard_count_handle(shard, SIZE_MAX);
}

#endif
