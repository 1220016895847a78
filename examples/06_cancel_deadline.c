/* SPDX-License-Identifier: MIT */
/* Ending early. First: the first hit cancels the rest, by letting go of the iterator over an endless source. Second: a
 * deadline for an answer, after which the job is told to stop, and gives what it has so far.
 *
 *     $ ./06_cancel_deadline
 *     1000036000099 = 1000003 x 1000033
 *     not ready after 50 ms: CREW_TIMEOUT
 *     told to stop: CREW_BUSY
 *     pi is about 3.14 */
#include <crewpool/crewpool.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the first hit cancels the rest ---- */

enum { RANGE = 10000 };

static const uint64_t product = UINT64_C(1000036000099);

/* Ranges of possible divisors, without an end: whoever finds the one that fits stops asking. */
static int next_range(void *user, void *ret_item)
{
    uint64_t *next = user;

    *(uint64_t *)ret_item = *next;
    *next += RANGE;
    return 1;
}

CREW_JOB(find_divisor, uint64_t, uint64_t)
{
    *result = 0;
    for (uint64_t divisor = *arg; divisor < *arg + RANGE && *result == 0 && !crew_should_stop(); divisor++)
        if (product % divisor == 0 && divisor < product)
            *result = divisor;
    return 0;
}

/* `next` outlives the pool: a pull that is under way is not waited for when the iterator goes. */
static void factorise(crew_pool *pool, uint64_t *next)
{
    const crew_source source = {.pull = next_range, .user = next};
    crew_iterator *divisors;
    uint64_t divisor = 0;

    if (crew_imap_unordered(pool, &find_divisor, &source, &divisors, NULL) != CREW_OK)
        return;
    while (divisor == 0 && crew_iterator_next(divisors, &divisor, NULL, CREW_FOREVER, NULL) == CREW_OK)
        continue;
    crew_iterator_destroy(divisors);
    if (divisor > 0)
        printf("%" PRIu64 " = %" PRIu64 " x %" PRIu64 "\n", product, divisor, product / divisor);
}

/* ---- an answer in time ---- */

/* Gets better for as long as it is let; posts the semaphore when there is a first answer. */
CREW_JOB(approximate_pi, int, double)
{
    double denominator = 1;

    *result = 0;
    for (int round = 0; round == 0 || !crew_should_stop(); round++) {
        for (int i = 0; i < *arg; i++, denominator += 4)
            *result += 4 / denominator - 4 / (denominator + 2);
        if (round == 0)
            sem_post(context);
    }
    return 0;
}

static void print_pi_in_time(crew_result *result)
{
    crew_status status;
    double pi;

    status = crew_result_get(result, &pi, crew_after_ms(50));
    printf("not ready after 50 ms: %s\n", crew_status_name(status));
    printf("told to stop: %s\n", crew_status_name(crew_result_cancel(result)));
    if (crew_result_get(result, &pi, CREW_FOREVER) == CREW_OK)
        printf("pi is about %.2f\n", pi);
}

static void approximate(crew_pool *pool)
{
    crew_result *result;
    sem_t has_begun;

    sem_init(&has_begun, 0, 0);
    if (crew_apply_async(pool, &approximate_pi, &(int){10000}, &result, CREW_CALL(.context = &has_begun)) == CREW_OK) {
        sem_wait(&has_begun); /* what has not started would be cancelled, and have no answer at all */
        print_pi_in_time(result);
        crew_result_destroy(result);
    }
    sem_destroy(&has_begun);
}

int main(void)
{
    uint64_t next = 2;
    crew_pool *pool;

    if (crew_pool_create(&pool, NULL) != CREW_OK)
        return EXIT_FAILURE;
    factorise(pool, &next);
    approximate(pool);
    crew_pool_destroy(pool);
    return EXIT_SUCCESS;
}
