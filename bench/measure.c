/* SPDX-License-Identifier: MIT */
/* Clocks, percentiles, the spin's calibration, and what Linux says of this process. */
#define _GNU_SOURCE
#include "measure.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

static int64_t clock_nanoseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t measure_now(void)
{
    return clock_nanoseconds(CLOCK_MONOTONIC);
}

struct span measure_start(void)
{
    int64_t cpu = clock_nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    return (struct span){.wall = measure_now(), .cpu = cpu};
}

struct span measure_since(struct span start)
{
    int64_t wall = measure_now();
    return (struct span){wall - start.wall, clock_nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - start.cpu};
}

void measure_pause(int64_t nanoseconds)
{
    struct timespec time = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)};
    ppoll(NULL, 0, &time, NULL);
}

void measure_pause_until(int64_t instant)
{
    for (int64_t now = measure_now(); now < instant; now = measure_now())
        measure_pause(instant - now);
}

static int compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

void measure_sort(int64_t *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
}

double measure_percentile(const int64_t *sorted, size_t count, unsigned percent)
{
    return (double)sorted[(count - 1) * percent / 100];
}

double measure_median(const int64_t *sorted, size_t count)
{
    return (double)(sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

double measure_mean(const int64_t *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i];
    return sum / (double)count;
}

double measure_spin_rate(void)
{
    enum { STEPS = 100000, RUNS = 100 };
    int64_t best = INT64_MAX;
    for (int run = 0; run < RUNS; run++) {
        int64_t start = measure_now();
        bench_spin(STEPS);
        int64_t took = measure_now() - start;
        best = took < best ? took : best;
    }
    return STEPS * 1000.0 / (double)best;
}

size_t measure_resident_bytes(void)
{
    size_t total, resident;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%zu %zu", &total, &resident) != 2)
        fail("cannot read /proc/self/statm");
    fclose(statm);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static cpu_set_t usable_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        fail("cannot read the affinity mask");
    return set;
}

unsigned measure_cpu_count(void)
{
    cpu_set_t set = usable_cpus();
    return (unsigned)CPU_COUNT(&set);
}

bool measure_two_cpus(size_t ret_cpus[2])
{
    cpu_set_t set = usable_cpus();
    int found = 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            ret_cpus[found++] = cpu;
    return found == 2;
}

void measure_pin(size_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fail("cannot pin a thread to CPU %zu", cpu);
}
