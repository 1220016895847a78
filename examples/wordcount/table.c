/* SPDX-License-Identifier: MIT */
/* The table of words. Slots hold the hash, so that neither growing nor merging reads a word's bytes twice. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 128, FIRST_CHUNK = 1024, LARGEST_CHUNK = 1 << 20 };

struct chunk {
    struct chunk *next; /* the one before it */
    size_t used, size;
    unsigned char bytes[];
};

/* ---- hashing: eight bytes a step, multiply and fold ---- */

static uint64_t hash_step(uint64_t hash, uint64_t bits)
{
    hash = (hash ^ bits) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

static uint64_t last_bytes(const unsigned char *bytes, size_t length)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < length; i++)
        bits = bits << 8 | bytes[i];
    return bits;
}

static uint32_t hash_of(const unsigned char *bytes, size_t length)
{
    uint64_t hash = hash_step(0, length), bits;

    for (; length >= sizeof bits; bytes += sizeof bits, length -= sizeof bits) {
        memcpy(&bits, bytes, sizeof bits);
        hash = hash_step(hash, bits);
    }
    return (uint32_t)hash_step(hash, last_bytes(bytes, length));
}

/* ---- the arena ---- */

static struct chunk *chunk_new(struct table *table, size_t length)
{
    size_t size = table->chunks ? table->chunks->size * 2 : FIRST_CHUNK;
    struct chunk *chunk;

    if (size > LARGEST_CHUNK)
        size = LARGEST_CHUNK;
    if (size < length)
        size = length;
    chunk = malloc(sizeof *chunk + size);
    if (!chunk)
        return NULL;
    *chunk = (struct chunk){.next = table->chunks, .size = size};
    return table->chunks = chunk;
}

static const unsigned char *arena_copy(struct table *table, const void *text, size_t length)
{
    struct chunk *chunk = table->chunks;
    unsigned char *copy;

    if (!chunk || chunk->size - chunk->used < length)
        chunk = chunk_new(table, length);
    if (!chunk)
        return NULL;
    copy = chunk->bytes + chunk->used;
    memcpy(copy, text, length);
    chunk->used += length;
    return copy;
}

/* ---- the slots ---- */

static bool is_word(const struct word *word, const void *text, size_t length, uint32_t hash)
{
    return word->hash == hash && word->length == length && memcmp(word->text, text, length) == 0;
}

/* The slot of this word, or the free one where it belongs. */
static struct word *find(const struct table *table, const void *text, size_t length, uint32_t hash)
{
    size_t mask = table->capacity - 1, at = hash & mask;

    while (!is_free(&table->slots[at]) && !is_word(&table->slots[at], text, length, hash))
        at = (at + 1) & mask;
    return &table->slots[at];
}

static void move_word(struct table *into, const struct word *word)
{
    size_t mask = into->capacity - 1, at = word->hash & mask;

    while (!is_free(&into->slots[at]))
        at = (at + 1) & mask;
    into->slots[at] = *word;
}

/* All free: every bit is set. Zeros from calloc would do as well, but such pages are read before they are written, which on
 * Linux is two page faults for each, and the second one halts the other CPUs for a moment. */
static struct word *slots_new(size_t capacity)
{
    struct word *slots = malloc(capacity * sizeof *slots);

    if (slots)
        memset(slots, 0xff, capacity * sizeof *slots);
    return slots;
}

static bool grow(struct table *table)
{
    struct table larger = *table;

    larger.capacity = table->capacity ? table->capacity * 2 : FIRST_CAPACITY;
    larger.slots = slots_new(larger.capacity);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < table->capacity; i++)
        if (!is_free(&table->slots[i]))
            move_word(&larger, &table->slots[i]);
    free(table->slots);
    *table = larger;
    return true;
}

static bool is_full(const struct table *table)
{
    return table->used >= table->capacity / 4 * 3;
}

static const struct word *add_hashed(struct table *table, const struct word *word)
{
    struct word *slot;

    if (is_full(table) && !grow(table))
        return NULL;
    slot = find(table, word->text, word->length, word->hash);
    if (is_free(slot)) {
        const unsigned char *text = arena_copy(table, word->text, word->length);

        if (!text)
            return NULL;
        *slot = (struct word){.text = text, .length = word->length, .hash = word->hash};
        table->used++;
    }
    slot->count += word->count;
    table->total += word->count;
    return slot;
}

const struct word *table_add(struct table *table, const void *text, size_t length, uint64_t count)
{
    struct word word = {text, count, (uint32_t)length, hash_of(text, length)};

    return add_hashed(table, &word);
}

/* From the upper bits of the hash: the lower ones are for the slot. */
static size_t part_of(const struct word *word, size_t parts)
{
    return (size_t)((uint64_t)word->hash * parts >> 32);
}

bool table_merge_part(struct table *into, const struct table *from, size_t part, size_t parts)
{
    for (size_t i = 0; i < from->capacity; i++) {
        const struct word *word = &from->slots[i];

        if (!is_free(word) && part_of(word, parts) == part && !add_hashed(into, word))
            return false;
    }
    return true;
}

void table_free(struct table *table)
{
    for (struct chunk *chunk = table->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(table->slots);
    *table = (struct table){0};
}
