/* SPDX-License-Identifier: MIT */
/* libuv's thread pool. uv_queue_work belongs to the thread of a loop, which also hears there that a job has ended; the
 * loop's thread runs no jobs. Each outside thread that submits has a loop of its own; a job asks the first one by
 * uv_async_send, the only call that any thread may make. There is no parallel loop over items: 4 chunks for each
 * worker. A job cannot wait for another: no fib. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "chunks.h"
#include "library.h"

static unsigned worker_count;

static const char *version(void)
{
    return uv_version_string();
}

static void check(int status)
{
    if (status == 0)
        return;
    fprintf(stderr, "bench-libuv: %s\n", uv_strerror(status));
    exit(1);
}

static void *obtain(size_t count, size_t size)
{
    void *memory = malloc(count * size);
    if (!memory)
        abort();
    return memory;
}

/* ---- loops: the thread's that started the pool comes last in the list ---- */

struct origin {
    uv_loop_t loop;
    struct origin *next;
};

static struct origin *origins;
static uv_mutex_t origins_lock;
static _Thread_local struct origin *own;

static uv_loop_t *own_loop(void)
{
    if (!own) {
        own = obtain(1, sizeof *own);
        check(uv_loop_init(&own->loop));
        uv_mutex_lock(&origins_lock);
        own->next = origins;
        origins = own;
        uv_mutex_unlock(&origins_lock);
    }
    return &own->loop;
}

static void queue(uv_work_t *request, uv_work_cb run, uv_after_work_cb ended)
{
    check(uv_queue_work(own_loop(), request, run, ended));
}

/* Until all that this thread has queued has ended. */
static void run_own_loop(void)
{
    uv_run(own_loop(), UV_RUN_DEFAULT);
}

/* ---- jobs without handles ---- */

struct submitted {
    uv_work_t request;
    bench_body *body;
    void *argument;
    struct submitted *next;
};

static struct submitted *asked; /* by jobs, newest first */
static uv_mutex_t asked_lock;
static uv_async_t ask;
static _Thread_local bool in_job;

static void run_submitted(uv_work_t *request)
{
    struct submitted *submitted = (struct submitted *)request;
    in_job = true;
    submitted->body(submitted->argument);
    in_job = false;
}

static void release(uv_work_t *request, int status)
{
    check(status);
    free(request);
}

static struct submitted *take_asked(void)
{
    uv_mutex_lock(&asked_lock);
    struct submitted *list = asked;
    asked = NULL;
    uv_mutex_unlock(&asked_lock);
    return list;
}

static bool queue_asked(void)
{
    struct submitted *next, *list = take_asked();
    for (struct submitted *submitted = list; submitted; submitted = next) {
        next = submitted->next;
        queue(&submitted->request, run_submitted, release);
    }
    return list;
}

static void hear(uv_async_t *handle)
{
    (void)handle;
    queue_asked();
}

static void submit(bench_body *body, void *argument)
{
    struct submitted *submitted = obtain(1, sizeof *submitted);
    submitted->body = body;
    submitted->argument = argument;
    if (!in_job) {
        queue(&submitted->request, run_submitted, release);
        return;
    }
    uv_mutex_lock(&asked_lock);
    submitted->next = asked;
    asked = submitted;
    uv_mutex_unlock(&asked_lock);
    check(uv_async_send(&ask));
}

static void run_empty(uv_work_t *request)
{
    (void)request;
    bench_empty(NULL);
}

static void fanout_detached(size_t n)
{
    for (size_t i = 0; i < n; i++)
        queue(obtain(1, sizeof(uv_work_t)), run_empty, release);
    run_own_loop();
}

/* ---- jobs with handles: the loop hands over the results, as they come ---- */

struct handle {
    uv_work_t request;
    size_t argument, result;
};

static size_t taken;

static void run_handle(uv_work_t *request)
{
    struct handle *handle = (struct handle *)request;
    bench_empty(NULL);
    handle->result = handle->argument;
}

static void take_and_free(uv_work_t *request, int status)
{
    struct handle *handle = (struct handle *)request;
    check(status);
    if (handle->result != handle->argument)
        abort();
    taken++;
    free(handle);
}

static void queue_handles(size_t n)
{
    taken = 0;
    for (size_t i = 0; i < n; i++) {
        struct handle *handle = obtain(1, sizeof *handle);
        handle->argument = i;
        queue(&handle->request, run_handle, take_and_free);
    }
}

static void fanout(size_t n)
{
    queue_handles(n);
    run_own_loop();
    if (taken != n)
        abort();
}

/* ---- many in the queue: the workers are held at a gate until the drain ---- */

static uv_sem_t held, gate;
static bool holding;

static void hold(void *argument)
{
    (void)argument;
    uv_sem_post(&held);
    uv_sem_wait(&gate);
}

static size_t pending(size_t n)
{
    for (unsigned i = 0; i < worker_count; i++)
        submit(hold, NULL);
    for (unsigned i = 0; i < worker_count; i++)
        uv_sem_wait(&held);
    holding = true;
    queue_handles(n);
    return n;
}

/* The loops of other threads too: they have queued what they had to, and wait for nothing. */
static void drain(void)
{
    for (unsigned i = 0; holding && i < worker_count; i++)
        uv_sem_post(&gate);
    holding = false;
    do {
        for (struct origin *origin = origins; origin; origin = origin->next)
            uv_run(&origin->loop, UV_RUN_DEFAULT);
    } while (queue_asked());
}

/* ---- one job, waited for ---- */

struct call {
    uv_work_t request;
    bench_body *body;
    void *argument;
    bool ended;
};

static void run_call(uv_work_t *request)
{
    struct call *call = (struct call *)request;
    call->body(call->argument);
}

static void end_call(uv_work_t *request, int status)
{
    check(status);
    ((struct call *)request)->ended = true;
}

static void hand_off(bench_body *body, void *argument)
{
    struct call call = {.body = body, .argument = argument};
    queue(&call.request, run_call, end_call);
    while (!call.ended)
        uv_run(own_loop(), UV_RUN_ONCE);
}

/* ---- many items ---- */

struct chunk {
    uv_work_t request;
    bench_number_body *number_body;
    const double *from;
    double *to;
    bench_index_body *index_body;
    void *argument;
    size_t first, end;
};

static void run_numbers(uv_work_t *request)
{
    const struct chunk *chunk = (const struct chunk *)request;
    bench_number_body *body = chunk->number_body;
    const double *from = chunk->from;
    double *to = chunk->to;
    for (size_t i = chunk->first, end = chunk->end; i < end; i++)
        to[i] = body(from[i]);
}

static void run_indexes(uv_work_t *request)
{
    const struct chunk *chunk = (const struct chunk *)request;
    for (size_t i = chunk->first; i < chunk->end; i++)
        chunk->index_body(i, chunk->argument);
}

static void run_in_chunks(const struct chunk *model, uv_work_cb run, size_t n)
{
    size_t length = chunk_length(n, worker_count), count = (n + length - 1) / length;
    struct chunk *chunks = obtain(count, sizeof *chunks);
    for (size_t i = 0; i < count; i++) {
        chunks[i] = *model;
        chunks[i].first = i * length;
        chunks[i].end = (i + 1) * length < n ? (i + 1) * length : n;
        queue(&chunks[i].request, run, NULL);
    }
    run_own_loop();
    free(chunks);
}

static void map_numbers(bench_number_body *body, const double *from, double *to, size_t n)
{
    run_in_chunks(&(struct chunk){.number_body = body, .from = from, .to = to}, run_numbers, n);
}

static void for_each(bench_index_body *body, void *argument, size_t n)
{
    run_in_chunks(&(struct chunk){.index_body = body, .argument = argument}, run_indexes, n);
}

struct slot {
    struct handle handle;
    bool done;
};

static void fill_slot(uv_work_t *request, int status)
{
    check(status);
    ((struct slot *)request)->done = true;
}

static void launch(struct slot *slot, size_t argument)
{
    slot->handle.argument = argument;
    slot->done = false;
    queue(&slot->handle.request, run_handle, fill_slot);
}

static void take(const struct slot *slot, size_t expected)
{
    while (!slot->done)
        uv_run(own_loop(), UV_RUN_ONCE);
    if (slot->handle.result != expected)
        abort();
}

static void stream(size_t n, size_t window)
{
    struct slot *slots = obtain(window, sizeof *slots), *end = slots + window, *slot = slots;
    for (size_t i = 0; i < n + window; i++) {
        if (i >= window)
            take(slot, i - window);
        if (i < n)
            launch(slot, i);
        slot = slot + 1 == end ? slots : slot + 1;
    }
    free(slots);
}

/* ---- life: the pool is the process's, started by the first job, once, as large as the environment then says ---- */

static void allow_one_start(void)
{
    static bool started;
    if (started) {
        fprintf(stderr, "libuv has no way to start its pool a second time\n");
        exit(77);
    }
    started = true;
}

static void start(unsigned participants)
{
    char size[16];
    allow_one_start();
    worker_count = participants;
    snprintf(size, sizeof size, "%u", participants);
    check(uv_os_setenv("UV_THREADPOOL_SIZE", size));
    check(uv_mutex_init(&origins_lock));
    check(uv_mutex_init(&asked_lock));
    check(uv_sem_init(&held, 0));
    check(uv_sem_init(&gate, 0));
    check(uv_async_init(own_loop(), &ask, hear));
    uv_unref((uv_handle_t *)&ask); /* so that a loop without jobs ends */
}

static void close_loops(void)
{
    struct origin *next;
    for (struct origin *origin = origins; origin; origin = next) {
        next = origin->next;
        uv_run(&origin->loop, UV_RUN_DEFAULT);
        check(uv_loop_close(&origin->loop));
        free(origin);
    }
    origins = own = NULL;
}

static void stop(void)
{
    uv_close((uv_handle_t *)&ask, NULL);
    close_loops();
    uv_library_shutdown(); /* ends the threads */
    uv_sem_destroy(&gate);
    uv_sem_destroy(&held);
    uv_mutex_destroy(&asked_lock);
    uv_mutex_destroy(&origins_lock);
}

const struct library library = {
    .name = "libuv",
    .version = version,
    .start = start,
    .stop = stop,
    .fanout = fanout,
    .fanout_detached = fanout_detached,
    .submit = submit,
    .drain = drain,
    .call = hand_off,
    .hand_off = hand_off,
    .pending = pending,
    .map_numbers = map_numbers,
    .for_each = for_each,
    .stream = stream,
};
