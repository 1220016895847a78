/* SPDX-License-Identifier: MIT */
/* Cells are carved from slabs, never merged, and reused by size class. They travel in magazines (Bonwick and Adams, "Magazines and
 * Vmem"): following a list through cells that another core has written last would cost a cache miss each. Shards are guarded by a lock each; caches need none. A cell goes
 * back to the shard that it came from: else one that only gives would grow for ever. */
#include "cells.h"

#include <string.h>

#include "../platform/favourite.h"
#include "../platform/lock.h"
#include "../platform/platform.h"
#include "assert.h"

#define MAGAZINE_MAX (sizeof(((struct crewi_magazine *)0)->cells) / sizeof(void *))

enum {
    SHARDS = 8,
    SLAB_SIZE_MIN = 1024, /* each next slab of a shard is twice as large, up to the maximum */
    SLAB_SIZE_MAX = 64 * 1024,
    MAGAZINE_MIN = 4,     /* cells of one class in a magazine at most, however large they are, */
    MAGAZINE_BYTES = 4096 /* and how much they may be together, if that is more */
};

/* A free cell for which there was no memory for a magazine. */
struct loose_cell {
    struct loose_cell *next;
};

struct slab {
    _Alignas(CREWI_CELL_GRAIN) struct slab *next;
    size_t size;
};

struct crewi_shard {
    struct crewi_shard_head head;               /* read-only */
    _Alignas(CREWI_CACHE_LINE) crewi_lock lock; /* guards what follows */
    bool is_orphan;                             /* from now on freed cells are only counted */
    size_t live;                                /* cells in use, or in caches */
    crewi_atomic_size handles;                  /* of the user's: born here minus died here; may wrap, the sum counts */
    char *bump;
    size_t bump_left;
    struct slab *slabs;
    struct crewi_magazine *spare;                      /* empty ones */
    struct crewi_magazine *filled[CREWI_CELL_CLASSES]; /* each with a cell at least */
    struct loose_cell *loose[CREWI_CELL_CLASSES];
};

/* A cache for whoever has none of its own, picked by the thread's hash. Who finds it taken goes to the shard. */
struct outlet {
    _Alignas(CREWI_CACHE_LINE) crewi_atomic_u32 word; /* OUTLET_FREE, _TAKEN, or _CLOSED for good */
    crewi_favourite favourite;                        /* whose being inside is as good as _TAKEN */
    crewi_cache cache;                                /* of whoever has taken it */
};

enum { OUTLET_FREE = 0, OUTLET_TAKEN = 1, OUTLET_CLOSED = 2 };

#define INSIDE_SHUT (UINT32_C(1) << 31)
#define BIAS (SIZE_MAX / 2 + 1) /* of `outstanding` before orphan: it cannot become 0 */

struct crewi_cells {
    struct crewi_shard shards[SHARDS];
    struct outlet outlets[SHARDS];
    struct crewi_memory memory;
    crewi_atomic_size
        outstanding; /* blocks beyond CREWI_CELL_SIZE_MAX; after orphan all cells: whoever makes it 0 frees everything */
    crewi_atomic_size heirs; /* in a fork's child, once abandoned: handles + 1; whoever makes it 1 frees everything */
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

/* ---- birth and death ---- */

static void shard_init(struct crewi_shard *shard, crewi_cells *cells, void *owner)
{
    shard->head = (struct crewi_shard_head){cells, owner, crewi_fork_generation()};
    crewi_lock_init(&shard->lock);
    shard->is_orphan = false;
    shard->live = 0;
    crewi_atomic_size_init(&shard->handles, 0);
    shard->slabs = NULL;
    shard->bump = NULL;
    shard->bump_left = 0;
    shard->spare = NULL;
    for (size_t i = 0; i < CREWI_CELL_CLASSES; i++) {
        shard->filled[i] = NULL;
        shard->loose[i] = NULL;
    }
}

static void outlet_init(struct outlet *outlet, crewi_cells *cells, unsigned index)
{
    crewi_atomic_u32_init(&outlet->word, OUTLET_FREE);
    crewi_favourite_init(&outlet->favourite);
    crewi_cache_open(&outlet->cache, cells, index);
}

crewi_cells *crewi_cells_new(const struct crewi_memory *memory, void *owner)
{
    crewi_cells *cells = crewi_memory_get(memory, sizeof *cells, CREWI_CACHE_LINE);
    if (!cells)
        return NULL;
    cells->memory = *memory;
    crewi_atomic_size_init(&cells->outstanding, BIAS);
    crewi_atomic_size_init(&cells->heirs, 0);
    crewi_atomic_u32_init(&cells->inside, 0);
    for (size_t i = 0; i < SHARDS; i++)
        shard_init(&cells->shards[i], cells, owner);
    for (unsigned i = 0; i < SHARDS; i++)
        outlet_init(&cells->outlets[i], cells, i);
    return cells;
}

const struct crewi_memory *crewi_cells_memory(const crewi_cells *cells)
{
    return &cells->memory;
}

crewi_shard *crewi_cells_shard(crewi_cells *cells)
{
    return &cells->shards[0];
}

static void magazines_destroy(const struct crewi_memory *memory, struct crewi_magazine *magazine)
{
    for (struct crewi_magazine *next; magazine; magazine = next) {
        next = magazine->next;
        crewi_memory_put(memory, magazine, sizeof *magazine);
    }
}

static void shard_destroy(const struct crewi_memory *memory, struct crewi_shard *shard)
{
    for (struct slab *slab = shard->slabs, *next; slab; slab = next) {
        next = slab->next;
        crewi_cell_open(slab, slab->size);
        crewi_memory_put(memory, slab, slab->size);
    }
    if (crewi_lock_is_held(&shard->lock)) /* in a fork's child: somebody was at the lists */
        return;
    magazines_destroy(memory, shard->spare);
    for (size_t i = 0; i < CREWI_CELL_CLASSES; i++)
        magazines_destroy(memory, shard->filled[i]);
}

static void cells_destroy(crewi_cells *cells)
{
    struct crewi_memory memory = cells->memory;
    for (size_t i = 0; i < SHARDS; i++)
        shard_destroy(&memory, &cells->shards[i]);
    crewi_memory_put(&memory, cells, sizeof *cells);
}

static void cells_discount(crewi_cells *cells, size_t count)
{
    if (crewi_atomic_size_fetch_sub(&cells->outstanding, count) == count)
        cells_destroy(cells);
}

/* Giving an outlet back is a store that wakes nobody: so who has to have it, which is only here, looks now and then. */
static void outlet_close(struct outlet *outlet)
{
    enum { LOOK_NS = 20000 };
    uint32_t word = OUTLET_FREE;
    while (!crewi_atomic_u32_cas(&outlet->word, &word, OUTLET_CLOSED)) {
        (void)crewi_futex_wait(&outlet->word, OUTLET_TAKEN, crewi_clock_now_ns() + LOOK_NS);
        word = OUTLET_FREE;
    }
    crewi_favourite_oust(&outlet->favourite);
    crewi_cache_close(&outlet->cache);
}

/* From each shard's turn on its cells are subtracted as they come back; in the end the pool's own bias goes. */
void crewi_cells_orphan(crewi_cells *cells)
{
    size_t live = 0;
    for (size_t i = 0; i < SHARDS; i++)
        outlet_close(&cells->outlets[i]);
    for (size_t i = 0; i < SHARDS; i++) {
        struct crewi_shard *shard = &cells->shards[i];
        crewi_lock_acquire(&shard->lock);
        shard->is_orphan = true;
        live += shard->live;
        crewi_lock_release(&shard->lock);
    }
    cells_discount(cells, BIAS - live);
}

/* ---- shards, under their locks ---- */

static bool shard_grow(struct crewi_shard *shard, size_t cell_size)
{
    size_t size = shard->slabs ? 2 * shard->slabs->size : SLAB_SIZE_MIN;
    size = size < SLAB_SIZE_MAX ? size : SLAB_SIZE_MAX;
    while (size < sizeof(struct slab) + CREWI_CACHE_LINE + cell_size)
        size *= 2;
    struct slab *slab = crewi_memory_get(&shard->head.cells->memory, size, CREWI_CACHE_LINE);
    if (!slab)
        return false;
    slab->next = shard->slabs;
    slab->size = size;
    shard->slabs = slab;
    shard->bump = (char *)(slab + 1);
    shard->bump_left = size - sizeof *slab;
    return true;
}

/* Cells of whole cache lines begin with one. */
static void shard_align(struct crewi_shard *shard, size_t size)
{
    if (shard->bump_left == 0) /* and `bump` may be NULL */
        return;
    size_t gap = size % CREWI_CACHE_LINE == 0 ? (size_t)(-(uintptr_t)shard->bump % CREWI_CACHE_LINE) : 0;
    gap = gap < shard->bump_left ? gap : shard->bump_left;
    shard->bump += gap;
    shard->bump_left -= gap;
}

static void *shard_carve(struct crewi_shard *shard, size_t size)
{
    shard_align(shard, size);
    if (shard->bump_left < size && !shard_grow(shard, size))
        return NULL;
    shard_align(shard, size);
    void *cell = shard->bump;
    shard->bump += size;
    shard->bump_left -= size;
    return cell;
}

static uint32_t magazine_limit(size_t class)
{
    size_t limit = MAGAZINE_BYTES / ((class + 1) * CREWI_CELL_GRAIN);
    return limit > MAGAZINE_MAX ? MAGAZINE_MAX : limit < MAGAZINE_MIN ? MAGAZINE_MIN : (uint32_t)limit;
}

/* An empty one, or NULL. */
static struct crewi_magazine *shard_magazine(struct crewi_shard *shard, size_t class)
{
    struct crewi_magazine *magazine = shard->spare;
    if (magazine)
        shard->spare = magazine->next;
    else
        magazine = crewi_memory_get(&shard->head.cells->memory, sizeof *magazine, CREWI_CACHE_LINE);
    if (magazine) {
        magazine->count = 0;
        magazine->limit = magazine_limit(class);
    }
    return magazine;
}

static void shard_take_back(struct crewi_shard *shard, struct crewi_magazine *magazine)
{
    magazine->next = shard->spare;
    shard->spare = magazine;
}

static void *shard_take(struct crewi_shard *shard, size_t class)
{
    struct crewi_magazine *magazine = shard->filled[class];
    struct loose_cell *loose = shard->loose[class];
    if (loose)
        shard->loose[class] = loose->next;
    if (loose || !magazine)
        return loose ? loose : shard_carve(shard, (class + 1) * CREWI_CELL_GRAIN);
    void *cell = magazine->cells[--magazine->count];
    if (magazine->count == 0) {
        shard->filled[class] = magazine->next;
        shard_take_back(shard, magazine);
    }
    return cell;
}

static void shard_keep(struct crewi_shard *shard, size_t class, void *cell)
{
    struct crewi_magazine *magazine = shard->filled[class];
    if (!magazine || magazine->count == magazine->limit) {
        magazine = shard_magazine(shard, class);
        if (!magazine) {
            struct loose_cell *loose = cell;
            crewi_cell_open(loose, sizeof *loose);
            loose->next = shard->loose[class];
            shard->loose[class] = loose;
            return;
        }
        magazine->next = shard->filled[class];
        shard->filled[class] = magazine;
    }
    magazine->cells[magazine->count++] = cell;
}

static void *shard_alloc(struct crewi_shard *shard, size_t class)
{
    crewi_lock_acquire(&shard->lock);
    void *cell = shard_take(shard, class);
    shard->live += cell != NULL;
    crewi_lock_release(&shard->lock);
    return cell;
}

static void shard_keep_all(struct crewi_shard *shard, size_t class, void **cells, size_t count)
{
    crewi_lock_acquire(&shard->lock);
    bool is_orphan = shard->is_orphan;
    for (size_t i = 0; i < count && !is_orphan; i++)
        shard_keep(shard, class, cells[i]);
    shard->live -= is_orphan ? 0 : count;
    crewi_lock_release(&shard->lock);
    if (is_orphan)
        cells_discount(shard->head.cells, count);
}

/* A filled magazine goes in; an empty one comes out, if `wants_another` and there is memory. Caches are closed before orphans are made. */
static struct crewi_magazine *shard_put_magazine(struct crewi_shard *shard, size_t class,
                                                 struct crewi_magazine *magazine, bool wants_another)
{
    size_t count = magazine->count;
    crewi_lock_acquire(&shard->lock);
    CREWI_ASSERT(!shard->is_orphan);
    if (count == 0) {
        shard_take_back(shard, magazine);
    } else {
        magazine->next = shard->filled[class];
        shard->filled[class] = magazine;
        shard->live -= count;
    }
    struct crewi_magazine *another = wants_another ? shard_magazine(shard, class) : NULL;
    crewi_lock_release(&shard->lock);
    return another;
}

/* The last one in the magazine is the first to be used: so it is filled from that end, and cells that are used one after the
 * other lie one after the other, where the hardware fetches them ahead. */
static void shard_fill(struct crewi_shard *shard, size_t class, struct crewi_magazine *magazine)
{
    uint32_t wanted = magazine->limit / 2, count = 0;
    void *cells[MAGAZINE_MAX], *cell;
    while (count < wanted && (cell = shard_take(shard, class)))
        cells[count++] = cell;
    while (count > 0)
        magazine->cells[magazine->count++] = cells[--count];
}

/* Exchanges an empty magazine (or none) for one with cells, or for an empty one, or for none where there is no memory. */
static struct crewi_magazine *shard_exchange(struct crewi_shard *shard, size_t class, struct crewi_magazine *empty)
{
    crewi_lock_acquire(&shard->lock);
    struct crewi_magazine *magazine = shard->filled[class];
    if (magazine) {
        shard->filled[class] = magazine->next;
        if (empty)
            shard_take_back(shard, empty);
    } else {
        magazine = empty ? empty : shard_magazine(shard, class);
        if (magazine)
            shard_fill(shard, class, magazine);
    }
    shard->live += magazine ? magazine->count : 0;
    crewi_lock_release(&shard->lock);
    return magazine;
}

static struct crewi_magazine *shard_empty_magazine(struct crewi_shard *shard, size_t class)
{
    crewi_lock_acquire(&shard->lock);
    struct crewi_magazine *magazine = shard_magazine(shard, class);
    crewi_lock_release(&shard->lock);
    return magazine;
}

/* ---- caches ---- */

void crewi_cache_open(crewi_cache *cache, crewi_cells *cells, unsigned hint)
{
    cache->shard = &cells->shards[hint % SHARDS];
    crewi_atomic_size_init(&cache->handles, 0);
    for (size_t i = 0; i < CREWI_CELL_CLASSES; i++)
        cache->loaded[i] = NULL;
    cache->foreign.magazine = NULL;
}

static void cache_send_home(crewi_cache *cache)
{
    if (cache->foreign.magazine)
        (void)shard_put_magazine(cache->foreign.shard, cache->foreign.class, cache->foreign.magazine, false);
    cache->foreign.magazine = NULL;
}

static void cache_empty(crewi_cache *cache)
{
    for (size_t class = 0; class < CREWI_CELL_CLASSES; class ++)
        if (cache->loaded[class])
            (void)shard_put_magazine(cache->shard, class, cache->loaded[class], false);
    cache_send_home(cache);
}

static void cache_fold_handles(crewi_cache *cache)
{
    (void)crewi_atomic_size_fetch_add(&cache->shard->handles, crewi_atomic_size_load(&cache->handles));
}

void crewi_cache_close(crewi_cache *cache)
{
    cache_fold_handles(cache);
    cache_empty(cache);
}

/* The magazines are only told to their shard, which frees them with its own. */
void crewi_cache_abandon(crewi_cache *cache, bool is_at_rest)
{
    cache_fold_handles(cache);
    for (size_t class = 0; is_at_rest && class < CREWI_CELL_CLASSES; class ++)
        if (cache->loaded[class])
            shard_take_back(cache->shard, cache->loaded[class]);
    if (is_at_rest && cache->foreign.magazine)
        shard_take_back(cache->foreign.shard, cache->foreign.magazine);
}

static void *cache_alloc(crewi_cache *cache, size_t class)
{
    struct crewi_magazine *magazine = cache->loaded[class];
    if (!magazine || magazine->count == 0)
        cache->loaded[class] = magazine = shard_exchange(cache->shard, class, magazine);
    if (!magazine || magazine->count == 0)
        return NULL;
    return magazine->cells[--magazine->count];
}

/* The half that was freed first goes to the shard, packed: its magazines would else be half empty. */
static void cache_shrink(crewi_cache *cache, size_t class, struct crewi_magazine *full)
{
    uint32_t half = full->count / 2;
    shard_keep_all(cache->shard, class, full->cells, half);
    full->count -= half;
    memmove(full->cells, full->cells + half, full->count * sizeof *full->cells);
}

static void cache_free(crewi_cache *cache, size_t class, void *cell)
{
    struct crewi_magazine *magazine = cache->loaded[class];
    if (!magazine)
        cache->loaded[class] = magazine = shard_exchange(cache->shard, class, NULL);
    if (!magazine) {
        shard_keep_all(cache->shard, class, &cell, 1);
        return;
    }
    if (magazine->count == magazine->limit)
        cache_shrink(cache, class, magazine);
    magazine->cells[magazine->count++] = cell;
}

static void cache_free_foreign(crewi_cache *cache, crewi_shard *shard, size_t class, void *cell)
{
    struct crewi_magazine *magazine = cache->foreign.magazine;
    bool fits = magazine && cache->foreign.shard == shard && cache->foreign.class == class;
    if (magazine && (!fits || magazine->count == magazine->limit))
        magazine = shard_put_magazine(cache->foreign.shard, cache->foreign.class, magazine, true);
    if (magazine && !fits)
        magazine->limit = magazine_limit(class);
    if (!magazine)
        magazine = shard_empty_magazine(shard, class);
    cache->foreign.shard = shard;
    cache->foreign.class = class;
    cache->foreign.magazine = magazine;
    if (magazine)
        magazine->cells[magazine->count++] = cell;
    else
        shard_keep_all(shard, class, &cell, 1);
}

/* ---- those who have no cache ---- */

static struct outlet *outlet_here(crewi_cells *cells)
{
    return &cells->outlets[crewi_thread_hash() % SHARDS];
}

/* For whoever is not its favourite. */
static bool outlet_take(struct outlet *outlet)
{
    uint32_t word = OUTLET_FREE;
    if (!crewi_atomic_u32_cas(&outlet->word, &word, OUTLET_TAKEN))
        return false;
    crewi_favourite_oust(&outlet->favourite);
    return true;
}

static void outlet_give(struct outlet *outlet)
{
    crewi_favourite_count(&outlet->favourite);
    crewi_atomic_u32_store_release(&outlet->word, OUTLET_FREE); /* pairs with the next one's CAS in outlet_take */
}

/* ---- cells ---- */

static void *block_alloc(crewi_cells *cells, size_t size)
{
    void *block = crewi_memory_get(&cells->memory, size, _Alignof(max_align_t));
    if (block) /* relaxed: the count is read only by those who free, after this block reached them */
        (void)crewi_atomic_size_fetch_add_relaxed(&cells->outstanding, 1);
    return block;
}

static void *alloc_outside(crewi_cells *cells, unsigned hint, size_t size, crewi_shard **ret_shard)
{
    struct outlet *outlet = outlet_here(cells);
    bool is_favoured = crewi_favourite_enter(&outlet->favourite);
    if (!is_favoured && !outlet_take(outlet))
        return shard_alloc(*ret_shard = &cells->shards[hint % SHARDS], crewi_cell_class(size));
    void *cell = crewi_cells_alloc(cells, &outlet->cache, hint, size, ret_shard);
    if (is_favoured)
        crewi_favourite_leave(&outlet->favourite);
    else
        outlet_give(outlet);
    return cell;
}

void *crewi_cells_alloc_slowly(crewi_cells *cells, crewi_cache *cache, unsigned hint, size_t size,
                               crewi_shard **ret_shard)
{
    *ret_shard = cache ? cache->shard : &cells->shards[hint % SHARDS];
    if (size > CREWI_CELL_SIZE_MAX)
        return block_alloc(cells, size);
    void *cell = cache ? cache_alloc(cache, crewi_cell_class(size)) : alloc_outside(cells, hint, size, ret_shard);
    if (cell)
        crewi_cell_born(cell, size);
    return cell;
}

static void block_free(crewi_shard *shard, void *block, size_t size)
{
    crewi_memory_put(&shard->head.cells->memory, block, size);
    cells_discount(shard->head.cells, 1);
}

void crewi_cells_free_slowly(crewi_shard *shard, crewi_cache *cache, void *cell, size_t size, bool is_handle)
{
    if (is_handle)
        crewi_cache_count_handle(cache, SIZE_MAX);
    if (size > CREWI_CELL_SIZE_MAX)
        block_free(shard, cell, size);
    else if (cache->shard == shard)
        cache_free(cache, crewi_cell_class(size), cell);
    else
        cache_free_foreign(cache, shard, crewi_cell_class(size), cell);
}

static CREWI_RARE void free_outside_slowly(crewi_shard *shard, void *cell, size_t size, bool is_handle)
{
    struct outlet *outlet = outlet_here(shard->head.cells);
    if (outlet_take(outlet)) {
        crewi_cells_free(shard, &outlet->cache, cell, size, is_handle);
        outlet_give(outlet);
        return;
    }
    if (is_handle)
        crewi_shard_count_handle(shard, SIZE_MAX);
    shard_keep_all(shard, crewi_cell_class(size), &cell, 1);
}

/* The user's function is called with nothing taken. */
static CREWI_RARE void block_free_outside(crewi_shard *shard, void *block, size_t size, bool is_handle)
{
    if (is_handle)
        crewi_shard_count_handle(shard, SIZE_MAX);
    block_free(shard, block, size);
}

void crewi_cells_free_outside(crewi_shard *shard, void *cell, size_t size, bool is_handle)
{
    if (size > CREWI_CELL_SIZE_MAX) {
        block_free_outside(shard, cell, size, is_handle);
        return;
    }
    struct outlet *outlet = outlet_here(shard->head.cells);
    if (!crewi_favourite_enter(&outlet->favourite)) {
        free_outside_slowly(shard, cell, size, is_handle);
        return;
    }
    crewi_cells_free(shard, &outlet->cache, cell, size, is_handle);
    crewi_favourite_leave(&outlet->favourite);
}

/* ---- handles ---- */

void crewi_shard_count_handle(crewi_shard *shard, size_t delta)
{
    crewi_lock_acquire(&shard->lock);
    /* relaxed: written under the lock only, and read in a fork's child only */
    crewi_atomic_size_store_relaxed(&shard->handles, crewi_atomic_size_load_relaxed(&shard->handles) + delta);
    crewi_lock_release(&shard->lock);
}

static bool outlet_is_at_rest(const struct outlet *outlet)
{
    return crewi_atomic_u32_load(&outlet->word) == OUTLET_FREE && !crewi_favourite_is_inside(&outlet->favourite);
}

void crewi_cells_abandon(crewi_cells *cells)
{
    size_t handles = 0;
    for (size_t i = 0; i < SHARDS; i++)
        crewi_cache_abandon(&cells->outlets[i].cache, outlet_is_at_rest(&cells->outlets[i]));
    for (size_t i = 0; i < SHARDS; i++)
        handles += crewi_atomic_size_load(&cells->shards[i].handles);
    crewi_atomic_size_store(&cells->heirs, handles + 1);
    if (handles == 0)
        cells_destroy(cells);
}

void crewi_cells_forget_handle(crewi_shard *shard)
{
    crewi_cells *cells = shard->head.cells;
    (void)crewi_atomic_size_fetch_sub(&shard->handles, 1); /* some thread of the parent may hold the lock for ever */
    if (crewi_atomic_size_load(&cells->heirs) > 0 && crewi_atomic_size_fetch_sub(&cells->heirs, 1) == 2)
        cells_destroy(cells);
}

/* ---- who is inside the pool ---- */

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
