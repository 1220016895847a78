/* SPDX-License-Identifier: MIT */
/* Cells of those who have no cache: an outlet's favourite against the end of the pool, and against others who free. Nothing is lost, nothing is
 * freed twice, and whoever is last frees the rest. */
#include "base/cells.h"
#include "model.h"
#include "platform/platform.h"

enum { CELLS = 6, FREED_BY_ONE = 3 };

static const struct crewi_memory plain_memory;

static crewi_cells *cells;

static struct place {
    crewi_shard *shard;
    size_t *cell;
} places[CELLS];

static void cell_new(struct place *place)
{
    place->cell = crewi_cells_alloc(cells, NULL, 0, sizeof *place->cell, &place->shard);
    WANT(place->cell);
    *place->cell = (size_t)(place - places);
}

static void cell_free(struct place *place)
{
    WANT(*place->cell == (size_t)(place - places));
    crewi_cells_free(place->shard, NULL, place->cell, sizeof *place->cell, false);
}

static void cells_begin_with(unsigned count)
{
    crewi_barrier_prepare();
    cells = crewi_cells_new(&plain_memory, NULL);
    WANT(cells);
    for (unsigned i = 0; i < count; i++)
        cell_new(&places[i]);
}

static void cells_begin(void)
{
    cells_begin_with(FREED_BY_ONE);
}

/* Two of them make it the favourite of its outlet. */
static void cells_free_first(void)
{
    for (unsigned i = 0; i < FREED_BY_ONE; i++)
        cell_free(&places[i]);
}

static void cells_orphan(void)
{
    crewi_cells_orphan(cells);
}

static void cells_end_orphaned(void)
{
}

MODEL(cells_freed_while_the_pool_ends, cells_begin, cells_end_orphaned, cells_free_first, cells_orphan);

static void cells_begin_all(void)
{
    cells_begin_with(CELLS);
}

static void cells_free_others(void)
{
    for (unsigned i = FREED_BY_ONE; i < CELLS; i++)
        cell_free(&places[i]);
}

MODEL_WIDE(cells_freed_by_two_while_the_pool_ends, cells_begin_all, cells_end_orphaned, cells_free_first,
           cells_free_others, cells_orphan);

/* What one frees, another may get, and never two of them. */
static void cells_use_first(void)
{
    for (unsigned i = 0; i < FREED_BY_ONE; i++) {
        cell_new(&places[i]);
        cell_free(&places[i]);
    }
}

static void cells_use_others(void)
{
    for (unsigned i = FREED_BY_ONE; i < CELLS; i++)
        cell_new(&places[i]);
    cells_free_others();
}

static void cells_begin_none(void)
{
    cells_begin_with(0);
}

MODEL_WIDE(cells_used_by_two, cells_begin_none, cells_orphan, cells_use_first, cells_use_others);
