/* SPDX-License-Identifier: MIT */
/* Errors in a word: see failure.h. */
#include "failure.h"

struct kept_error {
    crew_error error;
    crewi_shard *shard;
};

static struct kept_error *failure_cell(const crewi_failure *failure)
{
    return failure->word & 1 ? NULL : (struct kept_error *)(uintptr_t)failure->word;
}

static uint64_t failure_pack(const crew_error *error)
{
    return (uint64_t)(uint32_t)error->code << 32 | (uint64_t)(uint32_t)(error->worker + 1) << 1 | 1;
}

void crewi_failure_keep(crewi_failure *failure, crewi_cells *cells, const crew_error *error)
{
    struct kept_error *kept = failure_cell(failure);
    crewi_shard *shard = kept ? kept->shard : NULL;
    if (!kept)
        kept = crewi_cells_alloc(cells, NULL, crewi_thread_hash(), sizeof *kept, &shard);
    if (kept)
        *kept = (struct kept_error){*error, shard};
    failure->word = kept ? (uint64_t)(uintptr_t)kept : failure_pack(error);
}

void crewi_failure_drop_kept(crewi_failure *failure)
{
    struct kept_error *kept = failure_cell(failure);
    if (kept)
        crewi_cells_free(kept->shard, NULL, kept, sizeof *kept, false);
    failure->word = 0;
}

void crewi_failure_get(const crewi_failure *failure, crew_status status, size_t index, const crew_job *job,
                       crew_error *ret_error)
{
    const struct kept_error *kept = failure_cell(failure);
    if (kept) {
        *ret_error = kept->error;
        return;
    }
    crewi_error_from_frame(ret_error, status, (int)(uint32_t)(failure->word >> 32), NULL, job);
    ret_error->index = index;
    if (failure->word & 1)
        ret_error->worker = (int)(failure->word >> 1 & 0x7fff) - 1;
}
