/* SPDX-License-Identifier: MIT */
/* One job at a time: how long until it has run, or has started, with a pool that is awake or asleep. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workloads.h"

typedef void call_function(bench_body *body, void *argument);
typedef void start_function(const struct request *request);

static void start_only_workers(const struct request *request)
{
    start_workers_warm(request->workers);
}

static void report_with(const char *prefix, const char *metric, double value)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix, metric);
    report(name, "ns", value);
}

static void report_latencies(const char *prefix, int64_t *values, size_t count)
{
    measure_sort(values, count);
    report_with(prefix, "p50", measure_percentile(values, count, 50));
    report_with(prefix, "p99", measure_percentile(values, count, 99));
}

/* Calls one after the other: first a loop without a clock in it, for the mean, then one with a clock around each call, after a pause. */
struct calls {
    call_function *call;
    size_t looped, timed;
    int64_t pause;    /* ns */
    struct span loop; /* of all `looped` */
    int64_t *values;  /* of each that was timed */
};

static void loop_calls(struct calls *calls)
{
    enum { BATCH = 100 }; /* between two looks at the clock */
    size_t done = 0;
    struct span start = measure_start();
    for (int64_t end = time_limit(); done < calls->looped && !time_is_over(end); done += BATCH)
        for (int i = 0; i < BATCH; i++)
            calls->call(bench_empty, NULL);
    calls->loop = measure_since(start);
    calls->looped = done;
}

static void time_calls(struct calls *calls)
{
    size_t done = 0;
    for (int64_t end = time_limit(); done < calls->timed && (calls->pause || !time_is_over(end)); done++) {
        if (calls->pause)
            measure_pause(calls->pause);
        int64_t start = measure_now();
        calls->call(bench_empty, NULL);
        calls->values[done] = measure_now() - start;
    }
    calls->timed = done;
}

static void make_calls(void *argument)
{
    struct calls *calls = argument;
    if (calls->looped)
        loop_calls(calls);
    time_calls(calls);
}

/* ---- hot ---- */

static void measure_hot(const struct request *request, call_function *call, size_t timed)
{
    struct calls calls = {.call = call, .looped = request->n, .timed = timed};
    calls.values = allocate(timed, sizeof(int64_t));
    inside(make_calls, &calls);
    library.stop();
    report_span("mean", "ns", calls.loop, calls.looped);
    report_latencies("", calls.values, calls.timed);
    free(calls.values);
}

static void run_apply_hot(const struct request *request)
{
    need(library.call, "call that waits");
    start_warm(request);
    measure_hot(request, library.call, (request->n + 4) / 5);
}

static void run_handoff_hot(const struct request *request)
{
    need(library.hand_off, "call that another thread must run");
    start_only_workers(request);
    measure_hot(request, library.hand_off, (request->n * 2 + 4) / 5);
}

/* ---- cold: after pauses, wherever the kernel likes, all threads on one core, and the caller apart from the others ---- */

enum placement { ANYWHERE, SAME, APART };
static const char *const placement_prefix[] = {"", "same-", "apart-"};

static void measure_cold(size_t n, call_function *call, const struct request *request, start_function *start,
                         enum placement placement, const size_t cpus[2])
{
    struct calls calls = {.call = call, .timed = n, .pause = 1000000};
    const char *prefix = placement_prefix[placement];
    calls.values = allocate(n, sizeof(int64_t));
    if (placement != ANYWHERE)
        measure_pin(cpus[1]); /* inherited by the library's threads */
    start(request);
    if (placement == APART)
        measure_pin(cpus[0]);
    inside(make_calls, &calls);
    library.stop();
    report_with(prefix, "mean", measure_mean(calls.values, n));
    report_latencies(prefix, calls.values, n);
    free(calls.values);
}

/* Each placement has a process, as some libraries ask for the affinity once, or keep threads. */
static void run_cold(const struct request *request, call_function *call, start_function *start)
{
    size_t cpus[2];
    int status;
    bool several = measure_two_cpus(cpus);
    for (enum placement placement = ANYWHERE; placement <= (several ? APART : ANYWHERE); placement++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            size_t n = placement == ANYWHERE ? (request->n + 4) / 5 : request->n;
            measure_cold(n, call, request, start, placement, cpus);
            exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
            fail("a process for one placement failed");
    }
}

static void run_apply_cold(const struct request *request)
{
    need(library.call, "call that waits");
    run_cold(request, library.call, start_warm);
}

static void run_handoff_cold(const struct request *request)
{
    need(library.hand_off, "call that another thread must run");
    run_cold(request, library.hand_off, start_only_workers);
}

/* ---- submit to start ---- */

struct started {
    int64_t submitted, latency;
};

static void note_start(void *argument)
{
    struct started *started = argument;
    started->latency = measure_now() - started->submitted;
}

struct spawner {
    struct started job;
    uint64_t steps;
};

static void spawn_then_work(void *argument)
{
    struct spawner *spawner = argument;
    spawner->job.submitted = measure_now();
    library.submit(note_start, &spawner->job);
    bench_spin(spawner->steps);
}

static void report_microseconds(const char *metric, const int64_t *sorted, size_t count, unsigned percent)
{
    report(metric, "us", measure_percentile(sorted, count, percent) / 1000);
}

static void submit_spawner(void *spawner)
{
    library.submit(spawn_then_work, spawner);
}

/* Each round is drained outside: there the end of what `within` opens has waited, too. */
static void run_spawn_then_work(const struct request *request)
{
    need(library.submit, "submission inside jobs");
    struct spawner spawner = {.steps = (uint64_t)(5000 * measure_spin_rate())};
    int64_t *values = allocate(request->n, sizeof *values);
    start_warm(request);
    for (size_t i = 0; i < request->n; i++) {
        inside(submit_spawner, &spawner);
        library.drain();
        values[i] = spawner.job.latency;
    }
    library.stop();
    measure_sort(values, request->n);
    report_microseconds("p50", values, request->n, 50);
    report_microseconds("p99", values, request->n, 99);
    free(values);
}

/* A thousand jobs a second. */
struct latencies {
    int64_t *values;
    size_t n;
    struct started *jobs;
    struct span took;
};

static void produce_steadily(void *argument)
{
    struct latencies *latencies = argument;
    struct span start = measure_start();
    for (size_t i = 0; i < latencies->n; i++) {
        measure_pause_until(start.wall + (int64_t)(i + 1) * 1000000);
        latencies->jobs[i].submitted = measure_now();
        library.submit(note_start, &latencies->jobs[i]);
    }
    library.drain();
    latencies->took = measure_since(start);
}

/* The CPU time is told for 5 s, however many jobs there are. */
static void run_trickle(const struct request *request)
{
    need(library.submit, "submission without waiting");
    struct latencies latencies = {.n = request->n};
    latencies.jobs = allocate(request->n, sizeof(struct started));
    latencies.values = allocate(request->n, sizeof(int64_t));
    start_workers_warm(request->workers);
    inside(produce_steadily, &latencies);
    library.stop();
    for (size_t i = 0; i < request->n; i++)
        latencies.values[i] = latencies.jobs[i].latency;
    report("cpu", "ms", (double)latencies.took.cpu / 1e6 * 5000 / (double)request->n);
    report("mean", "ns", measure_mean(latencies.values, request->n));
    report_latencies("", latencies.values, request->n);
    free(latencies.values);
    free(latencies.jobs);
}

const struct workload call_workloads[] = {
    {"apply-hot", 1000000, run_apply_hot},
    {"handoff-hot", 50000, run_handoff_hot},
    {"apply-cold", 5000, run_apply_cold},
    {"handoff-cold", 5000, run_handoff_cold},
    {"spawn-then-work", 200, run_spawn_then_work},
    {"trickle", 5000, run_trickle},
    {NULL, 0, NULL},
};
