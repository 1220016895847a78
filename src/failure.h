/* SPDX-License-Identifier: MIT */
/* Errors are rare and large, so records have only a word for theirs: a cell with all of it or, without memory for that, what
 * fits into the word. */
#ifndef CREWI_FAILURE_H
#define CREWI_FAILURE_H

#include "core.h"

/* 0: none; even: points to a cell; odd: bit 0 set, bits 1-15 worker + 1, bits 32-63 code. */
typedef struct crewi_failure {
    uint64_t word;
} crewi_failure;

static inline void crewi_failure_init(crewi_failure *failure)
{
    failure->word = 0;
}

/* Keeps a copy of *error, in place of an earlier one. */
void crewi_failure_keep(crewi_failure *failure, crewi_cells *cells, const crew_error *error);
void crewi_failure_drop_kept(crewi_failure *failure);

static inline void crewi_failure_drop(crewi_failure *failure)
{
    if (failure->word != 0)
        crewi_failure_drop_kept(failure);
}

/* What was kept; or, as far as nothing was, an error made from the other arguments. */
void crewi_failure_get(const crewi_failure *failure, crew_status status, size_t index, const crew_job *job,
                       crew_error *ret_error);

#endif
