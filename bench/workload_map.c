/* SPDX-License-Identifier: MIT */
/* Many items of one array. */
#include <stdlib.h>

#include "workloads.h"

/* ---- cheap items: a function call each ---- */

enum { CHEAP_ROUNDS = 5 };

struct arrays {
    double *from, *to;
    size_t n;
};

static void square_in_a_loop(const struct arrays *arrays)
{
    for (size_t i = 0; i < arrays->n; i++)
        arrays->to[i] = bench_square_and_one(arrays->from[i]);
}

static void square_by_library(const struct arrays *arrays)
{
    library.map_numbers(bench_square_and_one, arrays->from, arrays->to, arrays->n);
}

/* The rounds after a first that does not count, their wall times sorted; returns the CPU time of all of them. */
static int64_t time_rounds(void (*round)(const struct arrays *arrays), const struct arrays *arrays,
                           int64_t walls[CHEAP_ROUNDS])
{
    int64_t cpu = 0;
    round(arrays);
    for (int i = 0; i < CHEAP_ROUNDS; i++) {
        struct span start = measure_start();
        round(arrays);
        struct span took = measure_since(start);
        walls[i] = took.wall;
        cpu += took.cpu;
    }
    measure_sort(walls, CHEAP_ROUNDS);
    return cpu;
}

static void run_map_cheap(const struct request *request)
{
    need(library.map_numbers, "map");
    int64_t serial[CHEAP_ROUNDS], walls[CHEAP_ROUNDS];
    struct arrays arrays = {allocate(request->n, sizeof(double)), allocate(request->n, sizeof(double)), request->n};
    for (size_t i = 0; i < request->n; i++) {
        arrays.from[i] = (double)i;
        arrays.to[i] = -1;
    }
    time_rounds(square_in_a_loop, &arrays, serial);
    start_warm(request);
    int64_t cpu = time_rounds(square_by_library, &arrays, walls);
    library.stop();
    report("region", "us", measure_median(walls, CHEAP_ROUNDS) / 1e3);
    report("region-best", "us", (double)walls[0] / 1e3);
    report("region-cpu", "us", (double)cpu / CHEAP_ROUNDS / 1e3);
    report("serial", "us", measure_median(serial, CHEAP_ROUNDS) / 1e3);
    for (size_t i = 0; i < request->n; i++)
        if (arrays.to[i] != bench_square_and_one(arrays.from[i]))
            fail("a wrong number at %zu", i);
    free(arrays.from);
    free(arrays.to);
}

/* ---- regions of spinning items ---- */

enum { REGIONS = 10 };

static void run_map_20us(const struct request *request)
{
    need(library.for_each, "loop over an index");
    uint64_t steps = (uint64_t)(20 * measure_spin_rate());
    int64_t walls[REGIONS], cpu = 0;
    start_warm(request);
    for (int i = 0; i < REGIONS; i++) {
        struct span start = measure_start();
        library.for_each(bench_spin_index, &steps, request->n);
        struct span took = measure_since(start);
        walls[i] = took.wall;
        cpu += took.cpu;
    }
    library.stop();
    measure_sort(walls, REGIONS);
    report("region", "us", measure_median(walls, REGIONS) / 1e3);
    report("region-cpu", "us", (double)cpu / REGIONS / 1e3);
}

static void run_map_small(const struct request *request)
{
    need(library.for_each, "loop over an index");
    double rate = measure_spin_rate();
    uint64_t steps = (uint64_t)(10 * rate), steps_between = (uint64_t)(1000 * rate);
    int64_t *values = allocate(request->n, sizeof *values);
    start_warm(request);
    for (size_t i = 0; i < request->n; i++) {
        bench_spin(steps_between);
        int64_t start = measure_now();
        library.for_each(bench_spin_index, &steps, 100);
        values[i] = measure_now() - start;
    }
    library.stop();
    report("region-mean", "us", measure_mean(values, request->n) / 1e3);
    measure_sort(values, request->n);
    report("region", "us", measure_median(values, request->n) / 1e3);
    report("p99", "us", measure_percentile(values, request->n, 99) / 1e3);
    free(values);
}

enum { BATCH = 100 }; /* between two looks at the clock */

static void empty_maps(size_t n)
{
    for (size_t i = 0; i < n; i++)
        library.for_each(bench_empty_index, NULL, 2);
}

static void run_map_empty(const struct request *request)
{
    need(library.for_each, "loop over an index");
    start_warm(request);
    size_t done = 0;
    struct span start = measure_start();
    for (int64_t end = time_limit(); done < request->n && !time_is_over(end); done += BATCH)
        empty_maps(BATCH);
    report_span("mean", "ns", measure_since(start), done);
    library.stop();
}

/* Who has learned from empty regions that one thread is enough must still use all for the long one. */
static void run_map_2_long(const struct request *request)
{
    need(library.for_each, "loop over an index");
    uint64_t steps = (uint64_t)(5000 * measure_spin_rate());
    int64_t *values = allocate(request->n, sizeof *values);
    start_warm(request);
    size_t done = 0;
    for (int64_t end = time_limit(); done < request->n && !time_is_over(end); done++) {
        empty_maps(10000);
        int64_t start = measure_now();
        library.for_each(bench_spin_index, &steps, 2);
        values[done] = measure_now() - start;
    }
    library.stop();
    measure_sort(values, done);
    report("region", "us", measure_median(values, done) / 1e3);
    report("region-max", "us", (double)values[done - 1] / 1e3);
    free(values);
}

const struct workload map_workloads[] = {
    {"map-cheap", 10000000, run_map_cheap}, {"map-20us", 1000, run_map_20us},   {"map-small", 200, run_map_small},
    {"map-empty", 1000000, run_map_empty},  {"map-2-long", 20, run_map_2_long}, {NULL, 0, NULL},
};
