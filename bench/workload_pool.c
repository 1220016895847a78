/* SPDX-License-Identifier: MIT */
/* What a pool costs as a whole: to start, to keep, and with jobs that differ or sleep. */
#include <math.h>
#include <stdlib.h>

#include "workloads.h"

/* ---- irregular: a few jobs are long ---- */

/* Pareto's distribution with exponent 2, of a fixed seed, the same in every program: the longest of 2000 is 25.6 times the mean. Returns the total. */
static double pareto(double *ret_durations, size_t count)
{
    uint64_t state = 965;
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        ret_durations[i] = 1 / sqrt(((double)(state >> 11) + 0.5) * 0x1p-53);
        total += ret_durations[i];
    }
    return total;
}

/* Steps for each job; a millisecond is the mean. Returns their sum. */
static uint64_t irregular_steps(uint64_t *ret_steps, size_t count, double rate)
{
    double *durations = allocate(count, sizeof *durations);
    double total = pareto(durations, count);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        ret_steps[i] = (uint64_t)(durations[i] / total * 1000 * (double)count * rate);
        sum += ret_steps[i];
    }
    free(durations);
    return sum;
}

struct batch {
    bench_body *body;
    char *arguments;
    size_t size; /* of an argument; 0: all have the first */
    size_t n;
    struct span took;
};

static void run_batch(void *argument)
{
    struct batch *batch = argument;
    struct span start = measure_start();
    for (size_t i = 0; i < batch->n; i++)
        library.submit(batch->body, batch->arguments + i * batch->size);
    library.drain();
    batch->took = measure_since(start);
}

static void run_irregular(const struct request *request)
{
    need(library.submit, "single jobs");
    uint64_t *steps = allocate(request->n, sizeof *steps);
    double rate = measure_spin_rate();
    uint64_t sum = irregular_steps(steps, request->n, rate);
    struct batch batch = {bench_spin_body, (char *)steps, sizeof *steps, request->n, {0, 0}};
    start_warm(request);
    inside(run_batch, &batch);
    library.stop();
    double rate_after = measure_spin_rate();
    unsigned cpus = measure_cpu_count();
    unsigned parallel = request->workers < cpus ? request->workers : cpus;
    double ideal = (double)sum / (rate > rate_after ? rate : rate_after) / parallel; /* us */
    report("efficiency", "ratio", ideal / ((double)batch.took.wall / 1e3));
    free(steps);
}

static void run_blocking(const struct request *request)
{
    need(library.submit, "single jobs");
    int64_t millisecond = 1000000;
    struct batch batch = {bench_doze, (char *)&millisecond, 0, request->n, {0, 0}};
    start_workers_warm(request->workers);
    inside(run_batch, &batch);
    library.stop();
    report_span("total", "us", batch.took, 1);
}

/* ---- life ---- */

enum { LIFE_WORKERS = 8 };
static const int64_t LIFE_LIMIT = 2000000000; /* ns, for threads to meet that certainly exist */

static void hand_off_one(void *argument)
{
    library.hand_off(bench_empty, argument);
}

static void run_one(void)
{
    if (library.hand_off)
        inside(hand_off_one, NULL);
    else
        all_meet(1, LIFE_LIMIT);
}

static void run_eight(void)
{
    if (!all_meet(LIFE_WORKERS, LIFE_LIMIT))
        fail("%d workers do not run %d jobs at a time", LIFE_WORKERS, LIFE_WORKERS);
}

static void measure_cycles(const struct request *request, void (*work)(void))
{
    need(library.submit || library.for_each, "jobs on workers");
    int64_t *values = allocate(request->n, sizeof *values);
    size_t done = 0;
    for (int64_t end = time_limit(); done < request->n && !time_is_over(end); done++) {
        int64_t start = measure_now();
        start_workers(LIFE_WORKERS);
        work();
        library.stop();
        values[done] = measure_now() - start;
    }
    measure_sort(values, done);
    report("cycle", "us", measure_median(values, done) / 1e3);
    free(values);
}

static void run_start_1(const struct request *request)
{
    measure_cycles(request, run_one);
}

static void run_start_8(const struct request *request)
{
    measure_cycles(request, run_eight);
}

/* `n` is milliseconds; the CPU time is told for 5 s. */
static void run_idle(const struct request *request)
{
    need(library.submit || library.for_each, "jobs on workers");
    start_workers(LIFE_WORKERS);
    run_eight();
    struct span start = measure_start();
    measure_pause((int64_t)request->n * 1000000);
    struct span took = measure_since(start);
    library.stop();
    report("cpu", "ms", (double)took.cpu / 1e6 * 5000 / (double)request->n);
}

const struct workload pool_workloads[] = {
    {"irregular", 2000, run_irregular}, {"blocking", 2000, run_blocking}, {"start-1", 200, run_start_1},
    {"start-8", 200, run_start_8},      {"idle", 5000, run_idle},         {NULL, 0, NULL},
};
