/* SPDX-License-Identifier: MIT */
/* Data races: two accesses, one a write, at least one of them plain, and neither happens before the other. Each word remembers who touched
 * it last. Plain accesses are known where the code is compiled with -fsanitize=thread. */
#include "sim.h"

enum { RECORDS = 6, TABLE = 1 << 18 };

struct record {
    uint16_t thread;
    uint8_t bytes; /* of the word */
    bool is_write, is_plain;
    uint32_t epoch;
    const void *where;
};

struct word {
    uintptr_t number; /* its address / 8 */
    uint32_t generation, count;
    struct record records[RECORDS];
};

static struct word *words;
static uint32_t generation, words_used;

void sim_race_reset(void)
{
    if (!words)
        words = calloc(TABLE, sizeof *words);
    generation++;
    words_used = 0;
}

static struct word *word_of(uintptr_t number)
{
    uint32_t slot = (uint32_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 40) % TABLE;
    for (; words[slot].generation == generation; slot = (slot + 1) % TABLE)
        if (words[slot].number == number)
            return &words[slot];
    if (++words_used == TABLE)
        sim_fail("more than %d words", TABLE);
    words[slot] = (struct word){.number = number, .generation = generation};
    return &words[slot];
}

static bool is_before(const struct record *record)
{
    return record->epoch <= sim_self->past.of[record->thread];
}

static void check(const struct word *word, const struct record *now)
{
    for (uint32_t i = 0; i < word->count; i++) {
        const struct record *other = &word->records[i];
        bool conflict = (other->bytes & now->bytes) && (other->is_write || now->is_write) &&
                        (other->is_plain || now->is_plain) && other->thread != now->thread;
        if (!conflict || is_before(other))
            continue;
        const void *address = (const void *)(word->number * 8);
        sim_trace(SIM_NOTE, "the other access of the race was here:", 0, 0, NULL);
        sim_trace(other->is_write ? SIM_STORE : SIM_LOAD, address, 0, 0, other->where);
        sim_trace(SIM_NOTE, "and this one here:", 0, 0, NULL);
        sim_trace(now->is_write ? SIM_STORE : SIM_LOAD, address, 0, 0, now->where);
        sim_fail("data race: a %s %s at %p, and before a %s %s by thread %u", now->is_plain ? "plain" : "atomic",
                 now->is_write ? "write" : "read", address, other->is_plain ? "plain" : "atomic",
                 other->is_write ? "write" : "read", other->thread);
    }
}

/* Whoever races with the old access races with the new one, too. */
static bool is_replaced(const struct record *old, const struct record *now)
{
    bool covers =
        (old->bytes & ~now->bytes) == 0 && (now->is_write || !old->is_write) && (now->is_plain || !old->is_plain);
    return covers && is_before(old);
}

static void remember(struct word *word, const struct record *now)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < word->count; i++)
        if (!is_replaced(&word->records[i], now))
            word->records[kept++] = word->records[i];
    if (kept == RECORDS) {
        memmove(word->records, word->records + 1, (RECORDS - 1) * sizeof *now);
        kept--;
    }
    word->records[kept++] = *now;
    word->count = kept;
}

static void access_bytes(uintptr_t first, uintptr_t end, struct record *now)
{
    now->thread = (uint16_t)sim_self->id;
    now->epoch = sim_self->past.of[sim_self->id];
    for (uintptr_t number = first / 8; number * 8 < end; number++) {
        uintptr_t from = first > number * 8 ? first - number * 8 : 0, to = end - number * 8 < 8 ? end - number * 8 : 8;
        now->bytes = (uint8_t)((0xffu << from) & (0xffu >> (8 - to)));
        struct word *word = word_of(number);
        check(word, now);
        remember(word, now);
    }
}

void sim_race_plain(const void *address, size_t size, bool is_write, const void *where)
{
    struct record now = {.is_write = is_write, .is_plain = true, .where = where};
    access_bytes((uintptr_t)address, (uintptr_t)address + size, &now);
}

void sim_race_atomic(const void *address, size_t size, bool is_write, const void *where)
{
    struct record now = {.is_write = is_write, .is_plain = false, .where = where};
    access_bytes((uintptr_t)address, (uintptr_t)address + size, &now);
}
