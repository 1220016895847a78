/* SPDX-License-Identifier: MIT */
/* What becomes of errors: a job says why it fails with crew_fail; a map does its other items all the same and reports the
 * failure of the lowest index; an imap reports each at its place; what nobody waits for reaches the pool's on_unhandled;
 * misuse is refused with a status.
 *
 *     $ ./05_errors
 *     map: parse_price, item 2: "1O.50" is no price (code 1)
 *     imap: 12.00
 *     imap: 3.99
 *     imap: item 2: "1O.50" is no price
 *     imap: 0.20
 *     imap: item 4: -5 is less than nothing
 *     imap: 100.00
 *     nobody waited: "free" is no price
 *     refused: CREW_INVALID */
#include <crewpool/crewpool.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 6 };

typedef const char *text;

static const text texts[COUNT] = {"12", "3.99", "1O.50", "0.20", "-5", "100"};

CREW_JOB(parse_price, text, double)
{
    char *end;

    *result = strtod(*arg, &end);
    if (end == *arg || *end != '\0')
        return crew_fail(1, "\"%s\" is no price", *arg);
    if (*result < 0)
        return crew_fail(2, "%s is less than nothing", *arg);
    return 0;
}

/* For sums, say: all or nothing. (The places of failed items are undefined.) */
static void parse_as_a_whole(crew_pool *pool)
{
    double prices[COUNT];
    crew_error error;

    if (crew_map(pool, &parse_price, texts, COUNT, prices, CREW_CALL(.error = &error)) != CREW_OK)
        printf("map: %s, item %zu: %s (code %d)\n", error.job, error.index, error.message, error.code);
}

/* For reports, say: everything that is good, and what is wrong with the rest. */
static void parse_one_by_one(crew_pool *pool)
{
    const crew_source source = {.items = texts, .count = COUNT};
    crew_iterator *prices;
    crew_error error;
    crew_status status;
    double price;
    size_t index;

    if (crew_imap(pool, &parse_price, &source, &prices, CREW_CALL(.window = 4)) != CREW_OK)
        return;
    while (CREW_IS_OUTCOME(status = crew_iterator_next(prices, &price, &index, CREW_FOREVER, &error)))
        if (status == CREW_OK)
            printf("imap: %.2f\n", price);
        else
            printf("imap: item %zu: %s\n", index, error.message);
    crew_iterator_destroy(prices);
}

/* Like a callback: at most one of these runs at a time. */
static void nobody_waited(const crew_outcome *outcome, void *user)
{
    (void)user;
    printf("nobody waited: %s\n", outcome->error->message);
}

int main(void)
{
    static const text free_of_charge = "free";
    crew_error error = {.message = ""};
    crew_pool *pool;

    if (crew_pool_create(&pool, CREW_OPTIONS(.on_unhandled = nobody_waited, .error = &error)) != CREW_OK) {
        fprintf(stderr, "no pool: %s\n", error.message);
        return EXIT_FAILURE;
    }
    parse_as_a_whole(pool);
    parse_one_by_one(pool);
    crew_apply_async(pool, &parse_price, &free_of_charge, NULL, NULL);
    crew_pool_wait(pool, CREW_FOREVER);
    printf("refused: %s\n", crew_status_name(crew_apply(pool, &parse_price, NULL, NULL, NULL)));
    crew_pool_destroy(pool);
    return EXIT_SUCCESS;
}
