/* SPDX-License-Identifier: MIT */
/* Merging in batches, with crew_map_async over the parts. */
#include "merge.h"

CREW_ACTION(merge_part, size_t)
{
    const struct batch *batch = context;

    for (size_t i = 0; i < batch->count; i++)
        if (!table_merge_part(&batch->into->parts[*arg], &batch->tables[i], *arg, batch->into->parts_count))
            return crew_fail(1, "out of memory for the words of all files");
    return 0;
}

void merge_start(struct merge *merge, crew_pool *pool, unsigned workers, struct merged *into)
{
    into->parts_count = workers < PARTS_MAX ? workers : PARTS_MAX;
    merge->pool = pool;
    merge->running = NULL;
    merge->filling = 0;
    for (int i = 0; i < 2; i++) {
        merge->batches[i].into = into;
        merge->batches[i].count = merge->batches[i].words = 0;
    }
}

static void batch_empty(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        table_free(&batch->tables[i]);
    batch->count = batch->words = 0;
}

/* Waits for the batch that is being merged. */
static bool finish(struct merge *merge)
{
    crew_status status = merge->running ? crew_result_wait(merge->running, CREW_FOREVER) : CREW_OK;

    if (status == CREW_OK && merge->running)
        status = crew_result_status(merge->running);
    crew_result_destroy(merge->running);
    merge->running = NULL;
    batch_empty(&merge->batches[!merge->filling]);
    return status == CREW_OK;
}

/* Merges the batch that was being filled, and fills the other one from now on. */
static bool start(struct merge *merge)
{
    struct batch *full = &merge->batches[merge->filling];
    crew_status status;

    merge->filling = !merge->filling;
    status = crew_map_async(merge->pool, &merge_part, NULL, full->into->parts_count, NULL, &merge->running,
                            CREW_CALL(.context = full, .chunk = 1));
    return status == CREW_OK;
}

bool merge_add(struct merge *merge, struct table *table)
{
    struct batch *batch = &merge->batches[merge->filling];

    batch->tables[batch->count++] = *table;
    batch->words += table->used;
    if (batch->count < BATCH_TABLES && batch->words < BATCH_WORDS)
        return true;
    return finish(merge) && start(merge);
}

bool merge_end(struct merge *merge)
{
    bool good = finish(merge) && start(merge);

    good = finish(merge) && good;
    merge->filling = !merge->filling;
    return finish(merge) && good;
}

uint64_t merged_total(const struct merged *merged)
{
    uint64_t total = 0;

    for (size_t i = 0; i < merged->parts_count; i++)
        total += merged->parts[i].total;
    return total;
}

size_t merged_different(const struct merged *merged)
{
    size_t different = 0;

    for (size_t i = 0; i < merged->parts_count; i++)
        different += merged->parts[i].used;
    return different;
}

void merged_free(struct merged *merged)
{
    for (size_t i = 0; i < merged->parts_count; i++)
        table_free(&merged->parts[i]);
}
