/* SPDX-License-Identifier: MIT */
/* Cells are carved from slabs, never merged, and reused by size class. Each shard allocates under its own lock; freeing pushes
 * to a stack that the allocating side takes whole (so there is no ABA). */
#include "cells.h"

#include "../platform/lock.h"
#include "../platform/platform.h"
#include "assert.h"

enum {
    CELL_GRAIN = 16,
    CELL_SIZE_MAX = 1024, /* larger blocks come straight from the allocator */
    CLASSES = CELL_SIZE_MAX / CELL_GRAIN,
    SHARDS = 8,
    SLAB_SIZE_MIN = 1024, /* each next slab of a shard is twice as large, up to the maximum */
    SLAB_SIZE_MAX = 16 * 1024
};

struct cell {
    struct cell *next;
};

struct slab {
    _Alignas(CELL_GRAIN) struct slab *next;
    size_t size;
};

#define SHARD_ORPHAN (UINT64_C(1) << 63)
#define SHARD_HANDLE (UINT64_C(1) << 32)

struct crewi_shard {
    _Alignas(CREWI_CACHE_LINE) crewi_lock lock; /* guards slabs, bump, bump_left, local */
    struct slab *slabs;
    char *bump;
    size_t bump_left;
    struct cell *local[CLASSES];
    /* bits 0-31: cells in use, +1 by alloc, -1 by free; bits 32-62: handles among them; bit 63 SHARD_ORPHAN: set by orphan.
     * Whoever makes it exactly SHARD_ORPHAN has freed the last cell and closes the shard. */
    crewi_atomic_u64 live;
    crewi_cells *cells;
    crewi_atomic_ptr returned[CLASSES]; /* pushed by anyone, taken whole under `lock` */
};

#define INSIDE_SHUT (UINT32_C(1) << 31)

struct crewi_cells {
    struct crewi_shard shards[SHARDS];
    struct crewi_memory memory;
    void *owner;
    uint32_t generation;
    crewi_atomic_u32 shards_open; /* the one who makes it 0 frees everything */
    crewi_atomic_u64
        heirs; /* in a fork's child, once abandoned: handles + 1; the one who makes it 1 frees everything */
    crewi_atomic_u32 inside; /* bits 0-30: calls inside the pool; bit 31 INSIDE_SHUT: the pool is gone */
};

void *crewi_memory_get(const struct crewi_memory *memory, size_t size, size_t align)
{
    return memory->alloc ? memory->alloc(memory->user, size, align) : crewi_memory_alloc(size, align);
}

void crewi_memory_put(const struct crewi_memory *memory, void *block, size_t size)
{
    if (memory->alloc)
        memory->free(memory->user, block, size);
    else
        crewi_memory_free(block);
}

static void shard_init(struct crewi_shard *shard, crewi_cells *cells)
{
    crewi_lock_init(&shard->lock);
    shard->slabs = NULL;
    shard->bump = NULL;
    shard->bump_left = 0;
    crewi_atomic_u64_init(&shard->live, 0);
    shard->cells = cells;
    for (size_t i = 0; i < CLASSES; i++) {
        shard->local[i] = NULL;
        crewi_atomic_ptr_init(&shard->returned[i], NULL);
    }
}

crewi_cells *crewi_cells_new(const struct crewi_memory *memory, void *owner)
{
    crewi_cells *cells = crewi_memory_get(memory, sizeof *cells, CREWI_CACHE_LINE);
    if (!cells)
        return NULL;
    cells->memory = *memory;
    cells->owner = owner;
    cells->generation = crewi_fork_generation();
    crewi_atomic_u32_init(&cells->shards_open, SHARDS);
    crewi_atomic_u32_init(&cells->inside, 0);
    crewi_atomic_u64_init(&cells->heirs, 0);
    for (size_t i = 0; i < SHARDS; i++)
        shard_init(&cells->shards[i], cells);
    return cells;
}

const struct crewi_memory *crewi_cells_memory(const crewi_cells *cells)
{
    return &cells->memory;
}

void *crewi_cells_owner(const crewi_shard *shard)
{
    return shard->cells->owner;
}

crewi_shard *crewi_cells_shard(crewi_cells *cells)
{
    return &cells->shards[0];
}

crewi_cells *crewi_cells_of(crewi_shard *shard)
{
    return shard->cells;
}

uint32_t crewi_cells_generation(const crewi_cells *cells)
{
    return cells->generation;
}

static size_t cell_class(size_t size)
{
    return size == 0 ? 0 : (size - 1) / CELL_GRAIN;
}

static void *shard_carve(struct crewi_shard *shard, size_t size)
{
    if (shard->bump_left < size) {
        size_t slab_size = shard->slabs ? 2 * shard->slabs->size : SLAB_SIZE_MIN;
        slab_size = slab_size < SLAB_SIZE_MAX ? slab_size : SLAB_SIZE_MAX;
        struct slab *slab = crewi_memory_get(&shard->cells->memory, slab_size, CREWI_CACHE_LINE);
        if (!slab)
            return NULL;
        slab->next = shard->slabs;
        slab->size = slab_size;
        shard->slabs = slab;
        shard->bump = (char *)(slab + 1);
        shard->bump_left = slab_size - sizeof *slab;
    }
    void *cell = shard->bump;
    shard->bump += size;
    shard->bump_left -= size;
    return cell;
}

static void *shard_cell(struct crewi_shard *shard, size_t class)
{
    if (!shard->local[class])
        shard->local[class] = crewi_atomic_ptr_exchange(&shard->returned[class], NULL);
    struct cell *cell = shard->local[class];
    if (!cell)
        return shard_carve(shard, (class + 1) * CELL_GRAIN);
    shard->local[class] = cell->next;
    return cell;
}

void *crewi_cells_alloc(crewi_cells *cells, unsigned hint, size_t size, crewi_shard **ret_shard)
{
    struct crewi_shard *shard = &cells->shards[hint % SHARDS];
    void *cell;
    if (size > CELL_SIZE_MAX) {
        cell = crewi_memory_get(&cells->memory, size, _Alignof(max_align_t));
    } else {
        crewi_lock_acquire(&shard->lock);
        cell = shard_cell(shard, cell_class(size));
        crewi_lock_release(&shard->lock);
    }
    if (!cell)
        return NULL;
    /* relaxed: the count is read only by those who free, after this cell reached them */
    (void)crewi_atomic_u64_fetch_add_relaxed(&shard->live, 1);
    *ret_shard = shard;
    return cell;
}

static void cells_destroy(crewi_cells *cells)
{
    struct crewi_memory memory = cells->memory;
    for (size_t i = 0; i < SHARDS; i++)
        for (struct slab *slab = cells->shards[i].slabs, *next; slab; slab = next) {
            next = slab->next;
            crewi_memory_put(&memory, slab, slab->size);
        }
    crewi_memory_put(&memory, cells, sizeof *cells);
}

static void shard_close(crewi_cells *cells)
{
    if (crewi_atomic_u32_fetch_sub(&cells->shards_open, 1) == 1)
        cells_destroy(cells);
}

static void shard_push(struct crewi_shard *shard, size_t class, struct cell *cell)
{
    /* relaxed: only a first guess; the CAS finds the truth */
    void *head = crewi_atomic_ptr_load_relaxed(&shard->returned[class]);
    do
        cell->next = head;
    while (!crewi_atomic_ptr_cas(&shard->returned[class], &head, cell));
}

void crewi_cells_free(crewi_shard *shard, void *cell, size_t size)
{
    crewi_cells *cells = shard->cells;
    if (size > CELL_SIZE_MAX)
        crewi_memory_put(&cells->memory, cell, size);
    else
        shard_push(shard, cell_class(size), cell);
    if (crewi_atomic_u64_fetch_sub(&shard->live, 1) == (SHARD_ORPHAN | 1))
        shard_close(cells);
}

void crewi_cells_orphan(crewi_cells *cells)
{
    for (size_t i = 0; i < SHARDS; i++)
        if (crewi_atomic_u64_fetch_or(&cells->shards[i].live, SHARD_ORPHAN) == 0)
            shard_close(cells);
}

void crewi_cells_count_handle(crewi_shard *shard)
{
    (void)crewi_atomic_u64_fetch_add_relaxed(&shard->live, SHARD_HANDLE); /* relaxed: as in alloc */
}

void crewi_cells_discount_handle(crewi_shard *shard)
{
    (void)crewi_atomic_u64_fetch_sub(&shard->live, SHARD_HANDLE);
}

void crewi_cells_abandon(crewi_cells *cells)
{
    uint64_t handles = 0;
    for (size_t i = 0; i < SHARDS; i++)
        handles += (crewi_atomic_u64_load(&cells->shards[i].live) & ~SHARD_ORPHAN) / SHARD_HANDLE;
    crewi_atomic_u64_store(&cells->heirs, handles + 1);
    if (handles == 0)
        cells_destroy(cells);
}

void crewi_cells_forget_handle(crewi_shard *shard)
{
    crewi_cells *cells = shard->cells;
    crewi_cells_discount_handle(shard);
    if (crewi_atomic_u64_load(&cells->heirs) > 0 && crewi_atomic_u64_fetch_sub(&cells->heirs, 1) == 2)
        cells_destroy(cells);
}

bool crewi_cells_enter_pool(crewi_cells *cells)
{
    if (!(crewi_atomic_u32_fetch_add(&cells->inside, 1) & INSIDE_SHUT))
        return true;
    crewi_cells_leave_pool(cells);
    return false;
}

void crewi_cells_leave_pool(crewi_cells *cells)
{
    if (crewi_atomic_u32_fetch_sub(&cells->inside, 1) == (INSIDE_SHUT | 1))
        crewi_futex_wake_all(&cells->inside);
}

void crewi_cells_shut_pool(crewi_cells *cells, bool wait)
{
    uint32_t inside = crewi_atomic_u32_fetch_or(&cells->inside, INSIDE_SHUT) | INSIDE_SHUT;
    while (wait && inside != INSIDE_SHUT) {
        (void)crewi_futex_wait(&cells->inside, inside, CREWI_NEVER);
        inside = crewi_atomic_u32_load(&cells->inside);
    }
}
