/* SPDX-License-Identifier: MIT */
/* Jobs that hand in jobs and wait for them: quicksort. Each job splits its part, hands one side in, sorts the other itself and
 * then waits. Such waits never deadlock, whatever the number of workers: a job that waits runs what it waits for, or
 * leaves its core to others.
 *
 *     $ ./07_nested
 *     sorted 2000000 numbers: 5707 … 4294965946 */
#include <crewpool/crewpool.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 2000000, SMALL = 4096 };

struct part {
    uint32_t *first, *end;
};

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

static uint32_t median(uint32_t a, uint32_t b, uint32_t c)
{
    if (a > b)
        return median(b, a, c);
    return c < a ? a : c < b ? c : b;
}

/* Splits after Hoare: nothing left of the returned place is greater than anything from there on; neither side is empty. */
static uint32_t *split(struct part part)
{
    uint32_t pivot = median(*part.first, part.first[(part.end - part.first) / 2], part.end[-1]);
    uint32_t *low = part.first, *high = part.end - 1;

    for (;; low++, high--) {
        while (*low < pivot)
            low++;
        while (*high > pivot)
            high--;
        if (low >= high)
            return low;
        uint32_t swapped = *low;
        *low = *high;
        *high = swapped;
    }
}

static int sort(struct part part);

CREW_ACTION(quicksort, struct part)
{
    return sort(*arg);
}

static int sort_both(struct part left, struct part right)
{
    crew_result *sorting_left;
    crew_status status = crew_apply_async(crew_current_pool(), &quicksort, &left, &sorting_left, NULL);
    int failed;

    if (status != CREW_OK)
        return crew_fail(1, "handing in: %s", crew_status_name(status));
    failed = sort(right);
    status =
        crew_result_get(sorting_left, NULL, CREW_FOREVER); /* the numbers are the caller's: wait even if that failed */
    crew_result_destroy(sorting_left);
    return failed || status == CREW_OK ? failed : crew_fail(1, "left side: %s", crew_status_name(status));
}

static int sort(struct part part)
{
    uint32_t *middle;

    if (part.end - part.first <= SMALL) {
        qsort(part.first, (size_t)(part.end - part.first), sizeof *part.first, compare);
        return 0;
    }
    middle = split(part);
    return sort_both((struct part){part.first, middle}, (struct part){middle, part.end});
}

static void fill(uint32_t *numbers)
{
    uint64_t state = 1;

    for (int i = 0; i < COUNT; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        numbers[i] = (uint32_t)(state >> 32);
    }
}

static int is_sorted(const uint32_t *numbers)
{
    for (int i = 1; i < COUNT; i++)
        if (numbers[i - 1] > numbers[i])
            return 0;
    return 1;
}

int main(void)
{
    uint32_t *numbers = malloc(COUNT * sizeof *numbers);
    crew_error error = {.message = "no pool, or out of memory"};
    crew_status status = CREW_NO_MEMORY;

    CREW_AUTO_POOL(pool);
    if (numbers && crew_pool_create(&pool, NULL) == CREW_OK) {
        fill(numbers);
        status =
            crew_apply(pool, &quicksort, &(struct part){numbers, numbers + COUNT}, NULL, CREW_CALL(.error = &error));
    }
    if (status == CREW_OK && is_sorted(numbers))
        printf("sorted %d numbers: %" PRIu32 " … %" PRIu32 "\n", COUNT, numbers[0], numbers[COUNT - 1]);
    else
        fprintf(stderr, "%s\n", status == CREW_OK ? "not sorted" : error.message);
    free(numbers);
    return status == CREW_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
