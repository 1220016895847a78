/* SPDX-License-Identifier: MIT */
/* The report: the most frequent words, the totals, the comparison. */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "notice.h"

enum { SHOWN_LENGTH = 60 }; /* of a word, in bytes */

/* Negative where `a` comes first in the report: the more frequent, then the lower in byte order. */
static int compare(const struct word *a, const struct word *b)
{
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, shorter);

    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    if (order != 0)
        return order;
    return (a->length > b->length) - (a->length < b->length);
}

static int compare_pointers(const void *a, const void *b)
{
    return compare(*(const struct word *const *)a, *(const struct word *const *)b);
}

/* ---- the best `size` words seen so far, as a heap with the last of them on top ---- */

static void sift_down(const struct word **heap, size_t size)
{
    size_t at = 0, child;

    while ((child = 2 * at + 1) < size) {
        const struct word *moved = heap[at];

        if (child + 1 < size && compare(heap[child + 1], heap[child]) > 0)
            child++;
        if (compare(moved, heap[child]) >= 0)
            return;
        heap[at] = heap[child];
        heap[child] = moved;
        at = child;
    }
}

static void sift_up(const struct word **heap, size_t at)
{
    for (size_t parent; at > 0; at = parent) {
        const struct word *moved = heap[at];

        parent = (at - 1) / 2;
        if (compare(moved, heap[parent]) <= 0)
            return;
        heap[at] = heap[parent];
        heap[parent] = moved;
    }
}

static void offer(const struct word **heap, size_t *size, size_t top, const struct word *word)
{
    if (*size < top) {
        heap[*size] = word;
        sift_up(heap, (*size)++);
    } else if (top > 0 && compare(word, heap[0]) < 0) {
        heap[0] = word;
        sift_down(heap, top);
    }
}

/* ---- printing ---- */

static void print_word(const struct word *word)
{
    size_t shown = word->length < SHOWN_LENGTH ? word->length : SHOWN_LENGTH;

    printf("%12" PRIu64 "  ", word->count);
    print_escaped(stdout, word->text, shown);
    puts(shown < word->length ? "..." : "");
}

static void offer_all(const struct word **heap, size_t *size, size_t top, const struct table *words)
{
    for (size_t i = 0; i < words->capacity; i++)
        if (!is_free(&words->slots[i]))
            offer(heap, size, top, &words->slots[i]);
}

bool report_words(const struct merged *words, size_t top)
{
    size_t size = 0, different = merged_different(words);
    const struct word **best;

    if (top > different)
        top = different;
    best = malloc((top + 1) * sizeof *best);
    if (!best)
        return false;
    for (size_t i = 0; i < words->parts_count; i++)
        offer_all(best, &size, top, &words->parts[i]);
    qsort(best, size, sizeof *best, compare_pointers);
    for (size_t i = 0; i < size; i++)
        print_word(best[i]);
    free(best);
    return true;
}

static void print_skipped(const uint64_t *entries)
{
    static const char *const names[ENTRY_KINDS] = {
        [ENTRY_LINK] = "symbolic links", [ENTRY_DANGLING] = "dangling links",
        [ENTRY_LOOP] = "loops of links", [ENTRY_AGAIN] = "repeated directories",
        [ENTRY_FIFO] = "fifos",          [ENTRY_SOCKET] = "sockets",
        [ENTRY_DEVICE] = "devices",
    };

    for (int kind = 0; kind < ENTRY_KINDS; kind++)
        if (names[kind] && entries[kind] > 0)
            printf("%12" PRIu64 "  %s skipped\n", entries[kind], names[kind]);
}

static void print_seconds(double seconds, unsigned workers, const char *where)
{
    printf("%12.3f  seconds with %u worker%s%s\n", seconds, workers, workers == 1 ? "" : "s", where);
}

void report_totals(const struct totals *totals, unsigned workers)
{
    printf("\n%12" PRIu64 "  files\n", totals->entries[ENTRY_FILE]);
    printf("%12" PRIu64 "  words\n", merged_total(&totals->words));
    printf("%12zu  different words\n", merged_different(&totals->words));
    printf("%12" PRIu64 "  bytes\n", totals->bytes);
    printf("%12" PRIu64 "  unreadable\n", totals->entries[ENTRY_UNREADABLE]);
    print_skipped(totals->entries);
    print_seconds(totals->seconds, workers, "");
}

void report_speed_up(const struct totals *one, const struct totals *many, unsigned workers, unsigned cpus)
{
    putchar('\n');
    print_seconds(one->seconds, 1, ", warm cache");
    print_seconds(many->seconds, workers, ", warm cache");
    printf("%12.2f  times as fast on %u CPU%s\n", one->seconds / many->seconds, cpus, cpus == 1 ? "" : "s");
}
