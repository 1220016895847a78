/* SPDX-License-Identifier: MIT */
/* crewpool, as its headers recommend: apply_async with a handle or without, map, imap with the default chunk. The only options are the
 * number of workers, and CREW_WORKERS_ONLY where the driver asks for threads of the library's own. */
#define _GNU_SOURCE
#include <crewpool/crewpool.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "library.h"

static crew_pool *pool;
static unsigned pool_workers;
static crew_result **handles; /* grows to what a fan-out needs, so that its second round finds it */
static size_t handles_count;

static const char *version(void)
{
    static char text[32];
    unsigned number = crew_version();
    snprintf(text, sizeof text, "%u.%u.%u", number >> 16, number >> 8 & 0xff, number & 0xff);
    return text;
}

static void expect(crew_status status)
{
    if (status == CREW_OK)
        return;
    fprintf(stderr, "bench-crewpool: %s\n", crew_status_name(status));
    exit(1);
}

/* ---- life ---- */

static void start(unsigned participants)
{
    pool_workers = participants;
    expect(crew_pool_create(&pool, CREW_OPTIONS(.workers = participants)));
}

static void start_workers(unsigned count)
{
    pool_workers = count;
    expect(crew_pool_create(&pool, CREW_OPTIONS(.workers = count, .flags = CREW_WORKERS_ONLY)));
}

static void stop(void)
{
    expect(crew_pool_destroy(pool));
    free(handles);
    handles = NULL;
    handles_count = 0;
}

/* ---- one job at a time ---- */

static int empty(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    bench_empty(context);
    return 0;
}

static const crew_job empty_job = {.fn = empty, .name = "empty"};

static crew_result **handles_for(size_t n)
{
    if (handles_count < n) {
        free(handles);
        handles = malloc(n * sizeof(crew_result *));
        handles_count = n;
    }
    if (!handles)
        expect(CREW_NO_MEMORY);
    return handles;
}

static void fanout(size_t n)
{
    crew_result **results = handles_for(n);
    for (size_t i = 0; i < n; i++)
        expect(crew_apply_async(pool, &empty_job, NULL, &results[i], NULL));
    for (size_t i = 0; i < n; i++) {
        expect(crew_result_get(results[i], NULL, CREW_FOREVER));
        crew_result_destroy(results[i]);
    }
}

static void fanout_detached(size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect(crew_apply_async(pool, &empty_job, NULL, NULL, NULL));
    expect(crew_pool_wait(pool, CREW_FOREVER));
}

static void fanout_bulk(size_t n)
{
    crew_result *result;
    expect(crew_map_async(pool, &empty_job, NULL, n, NULL, &result, CREW_CALL(.chunk = 1)));
    expect(crew_result_get(result, NULL, CREW_FOREVER));
    crew_result_destroy(result);
}

struct body {
    bench_body *function;
    void *argument;
};

CREW_ACTION(body_job, struct body)
{
    arg->function(arg->argument);
    return 0;
}

static void submit(bench_body *function, void *argument)
{
    expect(crew_apply_async(pool, &body_job, &(struct body){function, argument}, NULL, NULL));
}

/* Helps where start allows it, and hands off where start_workers does not. */
static void call(bench_body *function, void *argument)
{
    expect(crew_apply(pool, &body_job, &(struct body){function, argument}, NULL, NULL));
}

/* ---- a queue ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static unsigned held;
static size_t pending_count;

static void hold(void *argument)
{
    (void)argument;
    pthread_mutex_lock(&gate);
    held++;
    pthread_cond_broadcast(&gate_changed);
    while (held > 0)
        pthread_cond_wait(&gate_changed, &gate);
    pthread_mutex_unlock(&gate);
}

static void hold_all(void)
{
    for (unsigned i = 0; i < pool_workers; i++)
        submit(hold, NULL);
    pthread_mutex_lock(&gate);
    while (held < pool_workers)
        pthread_cond_wait(&gate_changed, &gate);
    pthread_mutex_unlock(&gate);
}

static void let_go(void)
{
    pthread_mutex_lock(&gate);
    held = 0;
    pthread_cond_broadcast(&gate_changed);
    pthread_mutex_unlock(&gate);
}

CREW_JOB(copy, uint64_t, uint64_t)
{
    *result = *arg;
    return 0;
}

static size_t pending(size_t n)
{
    hold_all();
    for (uint64_t i = 0; i < n; i++)
        expect(crew_apply_async(pool, &copy, &i, (crew_result **)&bench_handles[i], NULL));
    pending_count = n;
    return n;
}

static void finish_pending(void)
{
    let_go();
    for (size_t i = 0; i < pending_count; i++) {
        uint64_t value;
        expect(crew_result_get(bench_handles[i], &value, CREW_FOREVER));
        crew_result_destroy(bench_handles[i]);
    }
    pending_count = 0;
}

static void drain(void)
{
    if (pending_count > 0)
        finish_pending();
    expect(crew_pool_wait(pool, CREW_FOREVER));
}

/* ---- many items ---- */

/* The job is the item's one function call, from the library to here; a second one, to the body, would not be natural. */
CREW_JOB(square_and_one, double, double)
{
    *result = *arg * *arg + 1;
    return 0;
}

static void map_numbers(bench_number_body *body, const double *from, double *to, size_t n)
{
    (void)body;
    expect(crew_map(pool, &square_and_one, from, n, to, NULL));
}

struct index_body {
    bench_index_body *function;
    void *argument;
};

CREW_ACTION(index_job, size_t)
{
    const struct index_body *body = context;
    body->function(*arg, body->argument);
    return 0;
}

static void for_each(bench_index_body *function, void *argument, size_t n)
{
    struct index_body body = {function, argument};
    expect(crew_map(pool, &index_job, NULL, n, NULL, CREW_CALL(.context = &body)));
}

static int pull(void *user, void *ret_item)
{
    (void)ret_item;
    size_t *left = user;
    return *left > 0 ? (--*left, 1) : 0;
}

static void stream(size_t n, size_t window)
{
    static size_t left;
    left = n;
    size_t taken = 0;
    crew_iterator *items;
    expect(
        crew_imap(pool, &empty_job, &(crew_source){.pull = pull, .user = &left}, &items, CREW_CALL(.window = window)));
    while (crew_iterator_next(items, NULL, NULL, CREW_FOREVER, NULL) == CREW_OK)
        taken++;
    crew_iterator_destroy(items);
    expect(taken == n ? CREW_OK : CREW_FAILED);
}

/* ---- jobs that submit jobs ---- */

static int fib_body(const void *arg, void *result, void *context);
static const crew_job fib_job = {.fn = fib_body, .arg_size = sizeof(int), .result_size = sizeof(long), .name = "fib"};

static long fib_call(crew_pool *here, int n)
{
    if (n < 2)
        return bench_fib_leaf(n);
    crew_result *left;
    long value;
    expect(crew_apply_async(here, &fib_job, &(int){n - 1}, &left, CREW_CALL(.context = here)));
    long right = fib_call(here, n - 2);
    expect(crew_result_get(left, &value, CREW_FOREVER));
    crew_result_destroy(left);
    return value + right;
}

static int fib_body(const void *arg, void *result, void *context)
{
    *(long *)result = fib_call(context, *(const int *)arg);
    return 0;
}

static long fib(int n)
{
    long result;
    expect(crew_apply(pool, &fib_job, &n, &result, CREW_CALL(.context = pool)));
    return result;
}

const struct library library = {
    .name = "crewpool",
    .version = version,
    .start = start,
    .start_workers = start_workers,
    .stop = stop,
    .fanout = fanout,
    .fanout_detached = fanout_detached,
    .fanout_bulk = fanout_bulk,
    .submit = submit,
    .drain = drain,
    .call = call,
    .hand_off = call,
    .pending = pending,
    .map_numbers = map_numbers,
    .for_each = for_each,
    .stream = stream,
    .fib = fib,
};
