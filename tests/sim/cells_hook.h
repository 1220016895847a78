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

#define CREWI_POISON_H /* its place is taken */
#include <stddef.h>

void sim_cell_born(void *cell, size_t size);
void sim_cell_died(void *cell, size_t size);

static inline void crewi_cell_born(void *cell, size_t size)
{
    sim_cell_born(cell, size);
}

static inline void crewi_cell_died(void *cell, size_t size)
{
    sim_cell_died(cell, size);
}

/* A link is put into a free cell only where memory may be short, and then the simulation forbids no free cell. */
static inline void crewi_cell_open(void *memory, size_t size)
{
    (void)memory, (void)size;
}

#include "base/cells.h"

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
