/* SPDX-License-Identifier: MIT */
/* A table from words (any bytes) to how often each was seen: open addressing, the bytes in an arena of its own. */
#ifndef WORDCOUNT_TABLE_H
#define WORDCOUNT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct word {
    const unsigned char *text; /* not terminated */
    uint64_t count;
    uint32_t length; /* UINT32_MAX: a free slot */
    uint32_t hash;
};

/* All zero is an empty table. */
struct table {
    struct word *slots; /* `capacity` of them, a power of two, or none yet */
    size_t capacity, used;
    uint64_t total; /* of all counts */
    struct chunk *chunks;
};

static inline bool is_free(const struct word *slot)
{
    return slot->length == UINT32_MAX;
}

/* Adds `count` to a word, which is copied when it is new. The entry stays valid until the next addition; NULL: out of memory. */
const struct word *table_add(struct table *table, const void *text, size_t length, uint64_t count);

/* Words are spread over `parts` parts by their hashes. Adds those of `from` that belong to this part; `from` stays as it
 * is. False: out of memory, some are missing. */
bool table_merge_part(struct table *into, const struct table *from, size_t part, size_t parts);

void table_free(struct table *table);

#endif
