/* SPDX-License-Identifier: MIT */
/* A C++ program: a job over a struct, options and calls by the macros, a pool that ends with its scope. */
#include <crewpool/crewpool.h>
#include <cstdio>
#include <vector>

struct Range {
    long first, last;
};

CREW_JOB(sum_of_squares, Range, long)
{
    (void)context;
    *result = 0;
    for (long i = arg->first; i <= arg->last; i++)
        *result += i * i;
    return 0;
}

int main()
{
    const std::vector<Range> ranges = {{0, 24}, {25, 49}, {50, 74}, {75, 99}};
    std::vector<long> sums(ranges.size());
    CREW_AUTO_POOL(pool);
    if (crew_pool_create(&pool, CREW_OPTIONS(.workers = 2, .name = "squares")) != CREW_OK)
        return 1;
    if (crew_map(pool, &sum_of_squares, ranges.data(), ranges.size(), sums.data(), CREW_CALL(.chunk = 1)) != CREW_OK)
        return 1;
    long sum = 0;
    for (long part : sums)
        sum += part;
    std::printf("%ld\n", sum);
    return 0;
}
