/* SPDX-License-Identifier: MIT */
/* A program as a user writes it: squares of an array, and the version that it runs with. */
#include <crewpool/crewpool.h>
#include <stdio.h>

enum { COUNT = 100 };

CREW_JOB(square, int, long)
{
    (void)context;
    *result = (long)*arg * *arg;
    return 0;
}

int main(void)
{
    int numbers[COUNT];
    long squares[COUNT], sum = 0;
    crew_pool *pool;
    for (int i = 0; i < COUNT; i++)
        numbers[i] = i;
    if (crew_pool_create(&pool, CREW_OPTIONS(.workers = 2)) != CREW_OK)
        return 1;
    if (crew_map(pool, &square, numbers, COUNT, squares, CREW_CALL(.chunk = 8)) != CREW_OK)
        return 1;
    if (crew_pool_destroy(pool) != CREW_OK || crew_version() != CREW_VERSION)
        return 1;
    for (int i = 0; i < COUNT; i++)
        sum += squares[i];
    printf("%ld\n", sum);
    return 0;
}
