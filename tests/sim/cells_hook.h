/* SPDX-License-Identifier: MIT */
/* Included before each of the library's sources: tells the simulation which cells are in use, so that a touch of a free one is seen; and
 * that a fenced compare-and-swap is a fence, which it is by the machine's locked instruction, and not by C11; and when a lock's favourite goes
 * in, so that it can be said how often that was. */
#ifndef SIM_CELLS_HOOK_H
#define SIM_CELLS_HOOK_H

#define crewi_atomic_u32_cas_fenced crewi_atomic_u32_cas_of_machine
#include "base/atomic.h"
#undef crewi_atomic_u32_cas_fenced

static inline bool crewi_atomic_u32_cas_fenced(crewi_atomic_u32 *box, uint32_t *expected, uint32_t desired)
{
    bool is_done = crewi_atomic_u32_cas(box, expected, desired);
    atomic_thread_fence(memory_order_seq_cst);
    return is_done;
}

#define crewi_cells_alloc crewi_cells_alloc_unseen
#define crewi_cells_free crewi_cells_free_unseen
#include "base/cells.h"
#undef crewi_cells_alloc
#undef crewi_cells_free

void sim_cell_born(void *cell, size_t size);
void sim_cell_died(void *cell, size_t size);

static inline void *crewi_cells_alloc(crewi_cells *cells, crewi_cache *cache, unsigned hint, size_t size,
                                      crewi_shard **ret_shard)
{
    void *cell = crewi_cells_alloc_unseen(cells, cache, hint, size, ret_shard);
    if (cell && size <= CREWI_CELL_SIZE_MAX)
        sim_cell_born(cell, size);
    return cell;
}

static inline void crewi_cells_free(crewi_shard *shard, crewi_cache *cache, void *cell, size_t size, bool is_handle)
{
    if (size <= CREWI_CELL_SIZE_MAX)
        sim_cell_died(cell, size);
    crewi_cells_free_unseen(shard, cache, cell, size, is_handle);
}

#define crewi_favourite_enter crewi_favourite_enter_uncounted
#include "platform/favourite.h"
#undef crewi_favourite_enter

void sim_favourite_is_inside(void);

static inline bool crewi_favourite_enter(crewi_favourite *favourite)
{
    bool is_inside = crewi_favourite_enter_uncounted(favourite);
    if (is_inside)
        sim_favourite_is_inside();
    return is_inside;
}

#endif
