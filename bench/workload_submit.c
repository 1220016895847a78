/* SPDX-License-Identifier: MIT */
/* Many jobs at once: what one of them costs. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>

#include "workloads.h"

/* The first round meets cold memory, the second that of the first. */
static void measure_two_rounds(const struct request *request, void (*round)(size_t n))
{
    static const char *const names[] = {"cold", "warm"};
    start_warm(request);
    for (int i = 0; i < 2; i++) {
        struct span start = measure_start();
        round(request->n);
        report_span(names[i], "ns", measure_since(start), request->n);
    }
    library.stop();
}

static void run_fanout(const struct request *request)
{
    need(library.fanout, "single jobs");
    measure_two_rounds(request, library.fanout);
}

static void run_fanout_detached(const struct request *request)
{
    need(library.fanout_detached, "single jobs");
    measure_two_rounds(request, library.fanout_detached);
}

static void run_fanout_bulk(const struct request *request)
{
    need(library.fanout_bulk, "bulk submission");
    measure_two_rounds(request, library.fanout_bulk);
}

static void run_depth(const struct request *request)
{
    need(library.fanout_detached, "single jobs");
    start_warm(request);
    struct span start = measure_start();
    library.fanout_detached(request->n);
    report_span("cold", "ns", measure_since(start), request->n);
    library.stop();
}

/* ---- producers ---- */

enum { PRODUCERS = 4 };

struct producers {
    pthread_barrier_t barrier;
    size_t each;
};

static void *produce(void *argument)
{
    struct producers *producers = argument;
    pthread_barrier_wait(&producers->barrier);
    for (size_t i = 0; i < producers->each; i++)
        library.submit(bench_empty, NULL);
    pthread_barrier_wait(&producers->barrier);
    return NULL;
}

static void produce_all(struct producers *producers, const char *name)
{
    pthread_t threads[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++)
        if (pthread_create(&threads[i], NULL, produce, producers) != 0)
            fail("no thread");
    struct span start = measure_start();
    pthread_barrier_wait(&producers->barrier);
    pthread_barrier_wait(&producers->barrier);
    library.drain();
    struct span took = measure_since(start);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    report_span(name, "ns", took, producers->each * PRODUCERS);
}

static void run_producers(const struct request *request)
{
    need(library.submit && !library.within, "submission from threads outside");
    struct producers producers = {.each = (request->n + PRODUCERS - 1) / PRODUCERS};
    pthread_barrier_init(&producers.barrier, NULL, PRODUCERS + 1);
    start_warm(request);
    produce_all(&producers, "cold");
    produce_all(&producers, "warm");
    library.stop();
    pthread_barrier_destroy(&producers.barrier);
}

/* ---- in order, nested, in memory ---- */

static void run_stream(const struct request *request)
{
    need(library.stream, "ordered stream");
    start_warm(request);
    struct span start = measure_start();
    library.stream(request->n, 1000);
    report_span("item", "ns", measure_since(start), request->n);
    library.stop();
}

static long fib(int n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

/* `n` is the argument of fib: fib(n + 1) - 1 calls spawn a job. */
static void run_nested(const struct request *request)
{
    need(library.fib, "jobs that wait for jobs");
    int n = request->n < 45 ? (int)request->n : 45;
    start_warm(request);
    struct span start = measure_start();
    long result = library.fib(n);
    report_span("spawn", "ns", measure_since(start), (size_t)(fib(n + 1) - 1));
    library.stop();
    if (result != fib(n))
        fail("fib(%d) is not %ld", n, result);
}

struct queue {
    size_t n;
    double bytes;
};

static void fill_queue(void *argument)
{
    struct queue *queue = argument;
    size_t before = measure_resident_bytes();
    size_t queued = library.pending(queue->n);
    queue->bytes = ((double)measure_resident_bytes() - (double)before) / (double)queued;
    library.drain();
}

static void run_memory(const struct request *request)
{
    need(library.pending, "queue with results");
    struct queue queue = {.n = request->n};
    bench_handles = allocate(request->n, sizeof *bench_handles);
    for (size_t i = 0; i < request->n; i++)
        bench_handles[i] = bench_handles;
    start_workers_warm(request->workers);
    inside(fill_queue, &queue);
    library.stop();
    report("bytes", "bytes", queue.bytes);
    free(bench_handles);
}

const struct workload submit_workloads[] = {
    {"fanout", 1000000, run_fanout},
    {"fanout-detached", 1000000, run_fanout_detached},
    {"fanout-bulk", 1000000, run_fanout_bulk},
    {"depth", 1000000, run_depth},
    {"producers", 1000000, run_producers},
    {"stream", 1000000, run_stream},
    {"nested", 30, run_nested},
    {"memory", 1000000, run_memory},
    {NULL, 0, NULL},
};
