/* SPDX-License-Identifier: MIT */
/* What the workloads measure with: clocks, percentiles, a spin of known length, the processors and the memory of this process. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC, and of CPU time of all threads of the process. */
struct span {
    int64_t wall, cpu;
};

int64_t measure_now(void);
struct span measure_start(void);
struct span measure_since(struct span start);

/* Nothing but time passes. */
void measure_pause(int64_t nanoseconds);
void measure_pause_until(int64_t instant);

/* Sorts, which the two after it expect. */
void measure_sort(int64_t *values, size_t count);
double measure_percentile(const int64_t *sorted, size_t count, unsigned percent);
double measure_median(const int64_t *sorted, size_t count);
double measure_mean(const int64_t *values, size_t count);

/* Steps of bench_spin in a microsecond: of many short runs the fastest. */
double measure_spin_rate(void);

size_t measure_resident_bytes(void);

unsigned measure_cpu_count(void);          /* of the affinity mask */
bool measure_two_cpus(size_t ret_cpus[2]); /* the first two of the mask; false where there is one only */
void measure_pin(size_t cpu);              /* the calling thread, and the threads that it will create */

#endif
