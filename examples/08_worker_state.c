/* SPDX-License-Identifier: MIT */
/* State of a worker: each one makes its own scratch memory once, in worker_init, and every job on it uses it. Corrects
 * words: which one of a list takes the fewest insertions, deletions and replacements of letters?
 *
 *     $ ./08_worker_state recieve acess definately
 *     recieve: receive (2)
 *     acess: access (1)
 *     definately: definitely (1)
 *     workers have corrected 3 words and kept nothing */
#include <crewpool/crewpool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const known[] = {
    "access",    "achieve",   "address",    "apparent",  "because",   "beginning",  "behaviour",  "calendar",
    "committed", "correct",   "definitely", "embarrass", "existence", "foreign",    "government", "independent",
    "knowledge", "necessary", "neighbour",  "occurred",  "parallel",  "possession", "queue",      "receive",
    "recommend", "separate",  "successful", "thread",    "tomorrow",  "until",      "weird",      "yacht",
};

typedef const char *text;

struct correction {
    const char *word;
    size_t distance;
};

/* A row of the table of distances, as long as the longest word that this worker has met, and what it did. */
struct scratch {
    size_t *row;
    size_t length;
    unsigned words;
};

struct census {
    atomic_uint words;    /* corrected, as the workers counted them */
    atomic_int scratches; /* made and not freed */
};

static int make_scratch(void *census, int worker, void **ret_state)
{
    *ret_state = calloc(1, sizeof(struct scratch));
    if (!*ret_state)
        return crew_fail(1, "no scratch memory for worker %d", worker);
    atomic_fetch_add(&((struct census *)census)->scratches, 1);
    return 0;
}

static void free_scratch(void *user, int worker, void *state)
{
    struct census *census = user;
    struct scratch *scratch = state;

    (void)worker;
    atomic_fetch_add(&census->words, scratch->words);
    atomic_fetch_sub(&census->scratches, 1);
    free(scratch->row);
    free(scratch);
}

static int make_room(struct scratch *scratch, size_t length)
{
    size_t *row;

    if (length < scratch->length)
        return 0;
    row = realloc(scratch->row, (length + 1) * sizeof *row);
    if (!row)
        return crew_fail(1, "a word of %zu letters is too long", length);
    scratch->row = row;
    scratch->length = length + 1;
    return 0;
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t lower = a < b ? a : b;

    return lower < c ? lower : c;
}

/* Levenshtein's distance; `row` has room for strlen(to) + 1. */
static size_t distance(const char *from, const char *to, size_t *row)
{
    size_t length = strlen(to), diagonal;

    for (size_t i = 0; i <= length; i++)
        row[i] = i;
    for (size_t line = 1; *from; line++, from++) {
        diagonal = row[0];
        row[0] = line;
        for (size_t i = 1; i <= length; i++) {
            size_t above = row[i];

            row[i] = least(row[i - 1] + 1, above + 1, diagonal + (*from != to[i - 1]));
            diagonal = above;
        }
    }
    return row[length];
}

CREW_JOB(correct, text, struct correction)
{
    struct scratch *scratch = crew_worker_state(); /* never NULL: with a worker_init, only workers run jobs */

    if (make_room(scratch, strlen(*arg)) != 0)
        return 1;
    scratch->words++;
    *result = (struct correction){NULL, SIZE_MAX};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t far = distance(known[i], *arg, scratch->row);

        if (far < result->distance)
            *result = (struct correction){known[i], far};
    }
    return 0;
}

static int correct_all(crew_pool *pool, char **words, size_t count)
{
    struct correction *corrections = malloc(count * sizeof *corrections);
    crew_error error = {.message = "out of memory"};
    int good =
        corrections && crew_map(pool, &correct, words, count, corrections, CREW_CALL(.error = &error)) == CREW_OK;

    for (size_t i = 0; good && i < count; i++)
        printf("%s: %s (%zu)\n", words[i], corrections[i].word, corrections[i].distance);
    if (!good)
        fprintf(stderr, "%s\n", error.message);
    free(corrections);
    return good;
}

int main(int argc, char **argv)
{
    struct census census = {0};
    crew_error error;
    crew_pool *pool;
    int good;

    if (crew_pool_create(&pool, CREW_OPTIONS(.worker_init = make_scratch, .worker_exit = free_scratch, .user = &census,
                                             .error = &error)) != CREW_OK) {
        fprintf(stderr, "no pool: %s\n", error.message);
        return EXIT_FAILURE;
    }
    good = argc < 2 || correct_all(pool, argv + 1, (size_t)argc - 1);
    crew_pool_destroy(pool); /* after it every worker_exit has returned */
    printf("workers have corrected %u words and kept %s\n", atomic_load(&census.words),
           atomic_load(&census.scratches) == 0 ? "nothing" : "something");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
