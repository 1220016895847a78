/* SPDX-License-Identifier: MIT */
/* pthreadpool: parallel loops and nothing else; no single jobs, no jobs inside jobs. The caller is one of its threads.
 * Default flags: the threads spin for a while after each loop before they sleep. */
#include <pthreadpool.h>
#include <stdlib.h>

#include "library.h"

static pthreadpool_t threads;

static const char *version(void)
{
    return "pthreadpool (it tells no version)";
}

static void start(unsigned participants)
{
    threads = pthreadpool_create(participants);
    if (!threads)
        abort();
}

static void stop(void)
{
    pthreadpool_destroy(threads);
}

/* Its loop over an index calls a function of context and index: the other order of ours. */
struct loop {
    bench_index_body *body;
    void *argument;
};

static void run_index(void *context, size_t index)
{
    const struct loop *loop = context;
    loop->body(index, loop->argument);
}

static void for_each(bench_index_body *body, void *argument, size_t n)
{
    struct loop loop = {body, argument};
    pthreadpool_parallelize_1d(threads, run_index, &loop, n, 0);
}

static void run_empty(void *context, size_t index)
{
    bench_empty_index(index, context);
}

static void fanout_bulk(size_t n)
{
    pthreadpool_parallelize_1d(threads, run_empty, NULL, n, 0);
}

struct map {
    bench_number_body *body;
    const double *from;
    double *to;
};

static void run_tile(void *context, size_t first, size_t length)
{
    const struct map *map = context;
    bench_number_body *body = map->body;
    const double *from = map->from + first;
    double *to = map->to + first;
    for (size_t i = 0; i < length; i++)
        to[i] = body(from[i]);
}

/* Cheap items go by tiles, whose length the user gives; a page at a time is what XNNPACK, its first user, does. */
static void map_numbers(bench_number_body *body, const double *from, double *to, size_t n)
{
    enum { TILE = 4096 / sizeof(double) };
    struct map map = {body, from, to};
    pthreadpool_parallelize_1d_tile_1d(threads, run_tile, &map, n, TILE, 0);
}

const struct library library = {
    .name = "pthreadpool",
    .version = version,
    .start = start,
    .stop = stop,
    .fanout_bulk = fanout_bulk,
    .map_numbers = map_numbers,
    .for_each = for_each,
};
