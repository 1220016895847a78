/* SPDX-License-Identifier: MIT */
/* crew_map: the same job for every number, on all CPUs, results in order. Which number below a million takes the most steps
 * of Collatz's rule (halve the even, 3 n + 1 the odd) until it is 1?
 *
 *     $ ./01_map
 *     837799 takes 524 steps
 *     all numbers below 1000000 take 131434272 steps */
#include <crewpool/crewpool.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 1000000 };

/* The argument is the index of the item, because crew_map gets no array of arguments. */
CREW_JOB(collatz, size_t, uint32_t)
{
    uint64_t n = *arg;

    for (*result = 0; n > 1; ++*result)
        n = n % 2 ? 3 * n + 1 : n / 2;
    return 0;
}

static void print_steps(const uint32_t *steps)
{
    size_t longest = 0;
    uint64_t sum = 0;

    for (size_t i = 0; i < COUNT; i++) {
        sum += steps[i];
        if (steps[i] > steps[longest])
            longest = i;
    }
    printf("%zu takes %" PRIu32 " steps\n", longest, steps[longest]);
    printf("all numbers below %d take %" PRIu64 " steps\n", COUNT, sum);
}

int main(void)
{
    uint32_t *steps = malloc(COUNT * sizeof *steps);
    crew_pool *pool;
    crew_error error;
    crew_status status;

    status = crew_pool_create(&pool, CREW_OPTIONS(.error = &error));
    if (status == CREW_OK && steps) {
        status = crew_map(pool, &collatz, NULL, COUNT, steps, CREW_CALL(.error = &error));
        crew_pool_destroy(pool);
    }
    if (status == CREW_OK && steps)
        print_steps(steps);
    else
        fprintf(stderr, "%s: %s\n", crew_status_name(status), steps ? error.message : "out of memory");
    free(steps);
    return status == CREW_OK && steps ? EXIT_SUCCESS : EXIT_FAILURE;
}
