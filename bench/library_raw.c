/* SPDX-License-Identifier: MIT */
/* Plain threads, without any pool: the floors of a few workloads. A program without a library, so its workloads are its own. */
#define _GNU_SOURCE
#include <gnu/libc-version.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "driver.h"

enum { THREADS_MAX = 4096 };

static const char *version(void)
{
    static char text[64];
    snprintf(text, sizeof text, "glibc %s", gnu_get_libc_version());
    return text;
}

const struct library library = {.name = "raw", .version = version};

static void create(pthread_t threads[], unsigned count, void *(*body)(void *), void *argument)
{
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, body, argument) != 0)
            fail("no thread");
}

static void join(const pthread_t threads[], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* ---- blocking: the threads, already there, share the sleeps by one counter ---- */

struct sleeps {
    pthread_barrier_t barrier;
    atomic_size_t next;
    size_t count;
};

static void *share_sleeps(void *argument)
{
    struct sleeps *sleeps = argument;
    int64_t millisecond = 1000000;
    pthread_barrier_wait(&sleeps->barrier);
    while (atomic_fetch_add_explicit(&sleeps->next, 1, memory_order_relaxed) < sleeps->count)
        bench_doze(&millisecond);
    pthread_barrier_wait(&sleeps->barrier);
    return NULL;
}

static void run_blocking(const struct request *request)
{
    pthread_t threads[THREADS_MAX];
    struct sleeps sleeps = {.count = request->n};
    need(request->workers <= THREADS_MAX, "so many threads");
    pthread_barrier_init(&sleeps.barrier, NULL, request->workers + 1);
    create(threads, request->workers, share_sleeps, &sleeps);
    measure_pause(20000000); /* for all of them to reach the barrier */
    struct span start = measure_start();
    pthread_barrier_wait(&sleeps.barrier);
    pthread_barrier_wait(&sleeps.barrier);
    report_span("total", "us", measure_since(start), 1);
    join(threads, request->workers);
    pthread_barrier_destroy(&sleeps.barrier);
}

/* ---- start: eight creations and their joins; the threads need not even meet ---- */

enum { LIFE_WORKERS = 8 };

static void *return_at_once(void *argument)
{
    bench_empty(argument);
    return NULL;
}

static void run_start(const struct request *request)
{
    int64_t *values = allocate(request->n, sizeof *values);
    for (size_t i = 0; i < request->n; i++) {
        pthread_t threads[LIFE_WORKERS];
        int64_t start = measure_now();
        create(threads, LIFE_WORKERS, return_at_once, NULL);
        join(threads, LIFE_WORKERS);
        values[i] = measure_now() - start;
    }
    measure_sort(values, request->n);
    report("cycle", "us", measure_median(values, request->n) / 1e3);
    free(values);
}

/* ---- trickle: the producer alone ---- */

static void run_trickle(const struct request *request)
{
    struct span start = measure_start();
    for (size_t i = 0; i < request->n; i++) {
        measure_pause_until(start.wall + (int64_t)(i + 1) * 1000000);
        bench_empty(NULL);
    }
    report("cpu", "ms", (double)measure_since(start).cpu / 1e6 * 5000 / (double)request->n);
}

static const struct workload raw_workloads[] = {
    {"blocking", 2000, run_blocking},
    {"start-1", 200, run_start},
    {"start-8", 200, run_start},
    {"trickle", 5000, run_trickle},
    {NULL, 0, NULL},
};

const struct workload *const workloads[] = {raw_workloads, NULL};
