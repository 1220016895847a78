/* SPDX-License-Identifier: MIT */
/* What the jobs do. A translation unit of its own, so that no compiler sees through a call of them. */
#include "library.h"

#include "measure.h"

void **bench_handles;

void bench_empty(void *argument)
{
    (void)argument;
}

void bench_empty_index(size_t index, void *argument)
{
    (void)index;
    (void)argument;
}

double bench_square_and_one(double number)
{
    return number * number + 1;
}

long bench_fib_leaf(int n)
{
    return n;
}

void bench_spin(uint64_t steps)
{
    uint64_t number = steps;
    for (uint64_t step = 0; step < steps; step++) {
        number = number * 6364136223846793005U + 1442695040888963407U;
        __asm__ volatile("" : "+r"(number)); /* each step waits for the one before */
    }
}

void bench_spin_body(void *argument)
{
    bench_spin(*(const uint64_t *)argument);
}

void bench_spin_index(size_t index, void *argument)
{
    (void)index;
    bench_spin(*(const uint64_t *)argument);
}

void bench_doze(void *argument)
{
    measure_pause(*(const int64_t *)argument);
}
