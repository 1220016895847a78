/* SPDX-License-Identifier: MIT */
/* OpenMP: gcc's libgomp and clang's libomp, by the compiler that makes this file; LIBRARY_NAME says which. Loops are
 * `parallel for`, jobs are tasks, made by the calling thread in a parallel region and run by the whole team. A task has
 * no handle: its result goes where its maker wants it, and is there after taskwait or at the end of the region. Both
 * libraries bound their queues (64 and 256 tasks for each thread) and run on the spot what does not fit; so there is no
 * `pending`. Nothing of the environment's OMP_… is set. */
#include <omp.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "library.h"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

static const char *version(void)
{
#ifdef __clang__
    static const char compiler[] = ""; /* its version begins with its name */
#else
    static const char compiler[] = "gcc ";
#endif
    static char text[128];
    snprintf(text, sizeof text, "OpenMP %d of %s%s", _OPENMP, compiler, __VERSION__);
    return text;
}

static void *obtain(size_t count, size_t size)
{
    void *memory = malloc(count * size);
    if (!memory)
        abort();
    return memory;
}

/* ---- life: the first region starts the threads ---- */

static void start(unsigned participants)
{
    omp_set_num_threads((int)participants);
}

/* Whoever opens a region is one of the team and helps; to hand a job to another thread, there must be one. */
static void start_workers(unsigned count)
{
    start(count > 1 ? count : 2);
}

static void stop(void)
{
    omp_pause_resource_all(omp_pause_hard);
}

/* The others run tasks while they wait at the end of the region. */
static void within(bench_body *work, void *argument)
{
#pragma omp parallel
#pragma omp master
    work(argument);
}

/* ---- one job at a time ---- */

static size_t *results_for(size_t n)
{
    static size_t *results;
    static size_t count;
    if (count < n) {
        free(results);
        results = obtain(n, sizeof *results);
        count = n;
    }
    return results;
}

static void fanout(size_t n)
{
    size_t *results = results_for(n);
#pragma omp parallel
#pragma omp master
    for (size_t i = 0; i < n; i++) {
#pragma omp task
        {
            bench_empty(NULL);
            results[i] = i;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (results[i] != i)
            abort();
}

static void fanout_detached(size_t n)
{
#pragma omp parallel
#pragma omp master
    for (size_t i = 0; i < n; i++) {
#pragma omp task
        bench_empty(NULL);
    }
}

static void fanout_bulk(size_t n)
{
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < n; i++)
        bench_empty_index(i, NULL);
}

/* A job waits for those that it has submitted, because `drain` waits for children, and not for theirs. (The clauses say
 * what holds without them; clang 14 itself crashes at a call through a pointer that they do not name.) */
static void submit(bench_body *body, void *argument)
{
#pragma omp task firstprivate(body, argument)
    {
        body(argument);
#pragma omp taskwait
    }
}

static void drain(void)
{
#pragma omp taskwait
}

static void call(bench_body *body, void *argument)
{
#pragma omp task firstprivate(body, argument)
    body(argument);
#pragma omp taskwait
}

/* A thread that blocks is not at a task scheduling point: so it cannot be the one that runs the task. */
static void hand_off(bench_body *body, void *argument)
{
    sem_t done;
    sem_init(&done, 0, 0);
#pragma omp task firstprivate(body, argument) shared(done)
    {
        body(argument);
        sem_post(&done);
    }
    sem_wait(&done);
    sem_destroy(&done);
}

/* ---- many items ---- */

static void map_numbers(bench_number_body *body, const double *from, double *to, size_t n)
{
#pragma omp parallel for
    for (size_t i = 0; i < n; i++)
        to[i] = body(from[i]);
}

static void for_each(bench_index_body *body, void *argument, size_t n)
{
#pragma omp parallel for
    for (size_t i = 0; i < n; i++)
        body(i, argument);
}

struct slot {
    _Alignas(64) atomic_bool done;
    size_t result;
};

static void launch(struct slot *slot, size_t i)
{
    atomic_store_explicit(&slot->done, false, memory_order_relaxed);
#pragma omp task
    {
        bench_empty(NULL);
        slot->result = i;
        atomic_store_explicit(&slot->done, true, memory_order_release);
    }
}

/* Waits for all that is under way only where the next one is not there yet. */
static void take(const struct slot *slot, size_t expected)
{
    if (!atomic_load_explicit(&slot->done, memory_order_acquire)) {
#pragma omp taskwait
    }
    if (slot->result != expected)
        abort();
}

/* The construct for one item, taskwait depend(in: slot), takes five times as long in libgomp, and libomp 14 now and
 * then crashed in it (llvm-project's issue 85963 is such a race). */
static void stream(size_t n, size_t window)
{
    struct slot *slots = aligned_alloc(_Alignof(struct slot), window * sizeof *slots);
    if (!slots)
        abort();
#pragma omp parallel
#pragma omp master
    for (size_t i = 0, at = 0; i < n + window; i++) {
        if (i >= window)
            take(&slots[at], i - window);
        if (i < n)
            launch(&slots[at], i);
        at = at + 1 == window ? 0 : at + 1;
    }
    free(slots);
}

/* ---- jobs that submit jobs ---- */

static long fib_task(int n)
{
    if (n < 2)
        return bench_fib_leaf(n);
    long left, right;
#pragma omp task shared(left)
    left = fib_task(n - 1);
    right = fib_task(n - 2);
#pragma omp taskwait
    return left + right;
}

static long fib(int n)
{
    long result = 0;
#pragma omp parallel
#pragma omp master
    result = fib_task(n);
    return result;
}

const struct library library = {
    .name = TEXT(LIBRARY_NAME),
    .version = version,
    .start = start,
    .start_workers = start_workers,
    .stop = stop,
    .within = within,
    .fanout = fanout,
    .fanout_detached = fanout_detached,
    .fanout_bulk = fanout_bulk,
    .submit = submit,
    .drain = drain,
    .call = call,
    .hand_off = hand_off,
    .map_numbers = map_numbers,
    .for_each = for_each,
    .stream = stream,
    .fib = fib,
};
