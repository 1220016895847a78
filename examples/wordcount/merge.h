/* SPDX-License-Identifier: MIT */
/* Merging the tables of many files into one, in parallel: the one is kept in parts by the words' hashes, and each part is
 * an item of a map, so that no two workers ever touch the same part. While one batch of tables is merged, the next comes in. */
#ifndef WORDCOUNT_MERGE_H
#define WORDCOUNT_MERGE_H

#include <crewpool/crewpool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "table.h"

enum { PARTS_MAX = 16, BATCH_TABLES = 256, BATCH_WORDS = 1 << 17 };

/* All words, in disjoint tables. */
struct merged {
    struct table parts[PARTS_MAX];
    size_t parts_count;
};

uint64_t merged_total(const struct merged *merged);   /* words */
size_t merged_different(const struct merged *merged); /* different ones */
void merged_free(struct merged *merged);

struct batch {
    struct merged *into;
    size_t count, words;
    struct table tables[BATCH_TABLES];
};

struct merge {
    crew_pool *pool;
    crew_result *running; /* the map that merges the batch that is not being filled; NULL: none */
    unsigned filling;
    struct batch batches[2];
};

/* Prepares `merge` to fill `into`, with as many parts as there are workers, within reason. */
void merge_start(struct merge *merge, crew_pool *pool, unsigned workers, struct merged *into);

/* Takes a table over, whatever it returns. False: memory was out, and `into` lacks something. */
bool merge_add(struct merge *merge, struct table *table);

/* Merges the rest, and waits for everything. Must be called once. False as above. */
bool merge_end(struct merge *merge);

#endif
