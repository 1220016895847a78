/* SPDX-License-Identifier: MIT */
/* What a library leaves to its user that can push a function and nothing else: a small event (a semaphore) for each job
 * that somebody waits for, a counter for those that nobody does, and 4 chunks for each worker instead of a loop. An
 * adapter defines `push`, calls by_hand_start and by_hand_stop, and has the entries of its table from here. */
#ifndef BENCH_BY_HAND_H
#define BENCH_BY_HAND_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "chunks.h"
#include "library.h"

/* The first member of whatever a job has. */
struct job {
    void (*run)(struct job *job);
};

/* Has the library run job->run(job) on one of its threads. */
static void push(struct job *job);

static unsigned worker_count;

static void *obtain(size_t count, size_t size)
{
    void *memory = malloc(count * size);
    if (!memory)
        abort();
    return memory;
}

/* ---- jobs without handles are counted; one more stands for the drain to come ---- */

static atomic_size_t outstanding = 1;
static sem_t all_ended;

static void one_ended(void)
{
    if (atomic_fetch_sub_explicit(&outstanding, 1, memory_order_acq_rel) == 1)
        sem_post(&all_ended);
}

static void wait_for_all(void)
{
    one_ended();
    sem_wait(&all_ended);
    atomic_store_explicit(&outstanding, 1, memory_order_relaxed);
}

static void run_empty(struct job *job)
{
    (void)job;
    bench_empty(NULL);
    one_ended();
}

static void fanout_detached(size_t n)
{
    static struct job empty = {run_empty};
    atomic_fetch_add_explicit(&outstanding, n, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        push(&empty);
    wait_for_all();
}

struct submitted {
    struct job job;
    bench_body *body;
    void *argument;
};

static void run_submitted(struct job *job)
{
    struct submitted *submitted = (struct submitted *)job;
    submitted->body(submitted->argument);
    free(submitted);
    one_ended();
}

static void submit(bench_body *body, void *argument)
{
    struct submitted *submitted = obtain(1, sizeof *submitted);
    *submitted = (struct submitted){{run_submitted}, body, argument};
    atomic_fetch_add_explicit(&outstanding, 1, memory_order_relaxed);
    push(&submitted->job);
}

/* ---- jobs with handles ---- */

struct handle {
    struct job job;
    sem_t done;
    size_t argument, result;
};

static void run_handle(struct job *job)
{
    struct handle *handle = (struct handle *)job;
    bench_empty(NULL);
    handle->result = handle->argument;
    sem_post(&handle->done);
}

static void launch(struct handle *handle, size_t argument)
{
    handle->argument = argument;
    push(&handle->job);
}

static void take(struct handle *handle, size_t expected)
{
    sem_wait(&handle->done);
    if (handle->result != expected)
        abort();
}

static void initialise(struct handle *handle)
{
    handle->job.run = run_handle;
    sem_init(&handle->done, 0, 0);
}

/* Into `handles`, where take_all finds them. */
static void launch_all(void **handles, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct handle *handle = handles[i] = obtain(1, sizeof *handle);
        initialise(handle);
        launch(handle, i);
    }
}

static void take_all(void **handles, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct handle *handle = handles[i];
        take(handle, i);
        sem_destroy(&handle->done);
        free(handle);
    }
}

/* Grows to what a fan-out needs, so that its second round finds it. */
static void **handles_for(size_t n)
{
    static void **handles;
    static size_t count;
    if (count < n) {
        free(handles);
        handles = obtain(n, sizeof *handles);
        count = n;
    }
    return handles;
}

static void fanout(size_t n)
{
    void **handles = handles_for(n);
    launch_all(handles, n);
    take_all(handles, n);
}

static void stream(size_t n, size_t window)
{
    struct handle *slots = obtain(window, sizeof *slots), *end = slots + window, *slot = slots;
    for (size_t i = 0; i < window; i++)
        initialise(&slots[i]);
    for (size_t i = 0; i < n + window; i++) {
        if (i >= window)
            take(slot, i - window);
        if (i < n)
            launch(slot, i);
        slot = slot + 1 == end ? slots : slot + 1;
    }
    free(slots);
}

/* ---- many in the queue: the workers are held at a gate until the drain ---- */

static sem_t held, gate;
static size_t pending_count;

static void run_holder(struct job *job)
{
    (void)job;
    sem_post(&held);
    sem_wait(&gate);
    one_ended();
}

static size_t pending(size_t n)
{
    static struct job holder = {run_holder};
    atomic_fetch_add_explicit(&outstanding, worker_count, memory_order_relaxed);
    for (unsigned i = 0; i < worker_count; i++)
        push(&holder);
    for (unsigned i = 0; i < worker_count; i++)
        sem_wait(&held);
    launch_all(bench_handles, n);
    pending_count = n;
    return n;
}

static void drain(void)
{
    if (pending_count > 0) {
        for (unsigned i = 0; i < worker_count; i++)
            sem_post(&gate);
        take_all(bench_handles, pending_count);
        pending_count = 0;
    }
    wait_for_all();
}

/* ---- one job, waited for ---- */

struct call {
    struct job job;
    bench_body *body;
    void *argument;
    sem_t done;
};

static void run_call(struct job *job)
{
    struct call *call = (struct call *)job;
    call->body(call->argument);
    sem_post(&call->done);
}

static void hand_off(bench_body *body, void *argument)
{
    struct call call = {.job = {run_call}, .body = body, .argument = argument};
    sem_init(&call.done, 0, 0);
    push(&call.job);
    sem_wait(&call.done);
    sem_destroy(&call.done);
}

/* ---- loops ---- */

struct loop {
    bench_number_body *number_body;
    const double *from;
    double *to;
    bench_index_body *index_body;
    void *argument;
    atomic_size_t missing;
    sem_t done;
};

struct chunk {
    struct job job;
    struct loop *loop;
    size_t first, end;
};

static void chunk_ended(struct loop *loop)
{
    if (atomic_fetch_sub_explicit(&loop->missing, 1, memory_order_acq_rel) == 1)
        sem_post(&loop->done);
}

static void run_numbers(struct job *job)
{
    const struct chunk *chunk = (const struct chunk *)job;
    bench_number_body *body = chunk->loop->number_body;
    const double *from = chunk->loop->from;
    double *to = chunk->loop->to;
    for (size_t i = chunk->first, end = chunk->end; i < end; i++)
        to[i] = body(from[i]);
    chunk_ended(chunk->loop);
}

static void run_indexes(struct job *job)
{
    const struct chunk *chunk = (const struct chunk *)job;
    for (size_t i = chunk->first; i < chunk->end; i++)
        chunk->loop->index_body(i, chunk->loop->argument);
    chunk_ended(chunk->loop);
}

static void run_in_chunks(struct loop *loop, void (*run)(struct job *job), size_t n)
{
    size_t length = chunk_length(n, worker_count), count = (n + length - 1) / length;
    struct chunk *chunks = obtain(count, sizeof *chunks);
    atomic_init(&loop->missing, count);
    sem_init(&loop->done, 0, 0);
    for (size_t i = 0; i < count; i++) {
        size_t first = i * length;
        chunks[i] = (struct chunk){{run}, loop, first, first + length < n ? first + length : n};
        push(&chunks[i].job);
    }
    if (count > 0)
        sem_wait(&loop->done);
    sem_destroy(&loop->done);
    free(chunks);
}

static void map_numbers(bench_number_body *body, const double *from, double *to, size_t n)
{
    struct loop loop = {.number_body = body, .from = from, .to = to};
    run_in_chunks(&loop, run_numbers, n);
}

static void for_each(bench_index_body *body, void *argument, size_t n)
{
    struct loop loop = {.index_body = body, .argument = argument};
    run_in_chunks(&loop, run_indexes, n);
}

/* ---- life ---- */

static void by_hand_start(unsigned workers)
{
    worker_count = workers;
    sem_init(&all_ended, 0, 0);
    sem_init(&held, 0, 0);
    sem_init(&gate, 0, 0);
}

static void by_hand_stop(void)
{
    sem_destroy(&gate);
    sem_destroy(&held);
    sem_destroy(&all_ended);
}

#endif
