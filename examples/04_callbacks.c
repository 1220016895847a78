/* SPDX-License-Identifier: MIT */
/* Callbacks instead of waiting: crew_apply_async with on_done. Counts primes range by range; each callback adds its range's
 * count and hands in the range four further on, so that four are always on their way and nobody waits in between.
 *
 *     $ ./04_callbacks
 *     78498 primes below 1000000, in 100 ranges
 *
 * Callbacks of a pool run one at a time, each seeing what the one before wrote: `struct census` needs no lock. */
#include <crewpool/crewpool.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT = 1000000, RANGE = 10000, ON_THEIR_WAY = 4 };

struct range {
    unsigned start, primes;
};

struct census {
    crew_pool *pool;
    unsigned primes, ranges;
};

static bool is_prime(unsigned n)
{
    if (n < 2)
        return false;
    for (unsigned divisor = 2; divisor * divisor <= n; divisor++)
        if (n % divisor == 0)
            return false;
    return true;
}

CREW_JOB(count_primes, unsigned, struct range)
{
    *result = (struct range){*arg, 0};
    for (unsigned n = *arg; n < *arg + RANGE; n++)
        result->primes += is_prime(n);
    return 0;
}

static void counted(const crew_outcome *outcome, void *user);

static void hand_in(struct census *census, unsigned start)
{
    crew_status status = CREW_OK;

    if (start < LIMIT)
        status =
            crew_apply_async(census->pool, &count_primes, &start, NULL, CREW_CALL(.on_done = counted, .user = census));
    if (status != CREW_OK)
        fprintf(stderr, "the range from %u is missing: %s\n", start, crew_status_name(status));
}

/* Called once for each range. The value is borrowed for the time of the call. */
static void counted(const crew_outcome *outcome, void *user)
{
    struct census *census = user;
    const struct range *range = outcome->value;

    if (outcome->status != CREW_OK) {
        fprintf(stderr, "%s: %s\n", outcome->error->job, crew_status_name(outcome->status));
        return;
    }
    census->primes += range->primes;
    census->ranges++;
    hand_in(census, range->start + ON_THEIR_WAY * RANGE);
}

int main(void)
{
    struct census census = {.primes = 0};
    crew_status status = crew_pool_create(&census.pool, NULL);

    if (status != CREW_OK) {
        fprintf(stderr, "no pool: %s\n", crew_status_name(status));
        return EXIT_FAILURE;
    }
    for (unsigned i = 0; i < ON_THEIR_WAY; i++)
        hand_in(&census, i * RANGE);
    crew_pool_wait(census.pool,
                   CREW_FOREVER); /* until all jobs and callbacks are done, those handed in meanwhile, too */
    crew_pool_destroy(census.pool);
    printf("%u primes below %d, in %u ranges\n", census.primes, LIMIT, census.ranges);
    return census.ranges == LIMIT / RANGE ? EXIT_SUCCESS : EXIT_FAILURE;
}
