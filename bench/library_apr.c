/* SPDX-License-Identifier: MIT */
/* APR's apr_thread_pool (apr-util). It pushes a function and an argument, and has neither results nor a wait for all;
 * so events, counter and chunks are by_hand.h's. All threads start at once, and as many may be idle, so that none ends
 * in between. A job that waited for another would block its thread: no fib. */
#include <apr_general.h>
#include <apr_thread_pool.h>
#include <apr_version.h>
#include <apu_version.h>
#include <stdio.h>

#include "by_hand.h"

static apr_pool_t *memory;
static apr_thread_pool_t *threads;

static void check(apr_status_t status)
{
    if (status != APR_SUCCESS)
        abort();
}

static void *APR_THREAD_FUNC run_task(apr_thread_t *thread, void *job)
{
    (void)thread;
    ((struct job *)job)->run(job);
    return NULL;
}

static void push(struct job *job)
{
    check(apr_thread_pool_push(threads, run_task, job, APR_THREAD_TASK_PRIORITY_NORMAL, NULL));
}

static const char *version(void)
{
    static char text[64];
    snprintf(text, sizeof text, "APR %s, APR-util %s", apr_version_string(), apu_version_string());
    return text;
}

static void start(unsigned participants)
{
    by_hand_start(participants);
    check(apr_initialize());
    check(apr_pool_create(&memory, NULL));
    check(apr_thread_pool_create(&threads, participants, participants, memory));
}

static void stop(void)
{
    check(apr_thread_pool_destroy(threads));
    apr_pool_destroy(memory);
    apr_terminate();
    by_hand_stop();
}

/* push walks over all tasks of the same priority, under the lock: a million would take hours. */
static size_t pending_some(size_t n)
{
    enum { PENDING_MAX = 20000 };
    return pending(n < PENDING_MAX ? n : PENDING_MAX);
}

const struct library library = {
    .name = "apr",
    .version = version,
    .start = start,
    .stop = stop,
    .fanout = fanout,
    .fanout_detached = fanout_detached,
    .submit = submit,
    .drain = drain,
    .call = hand_off,
    .hand_off = hand_off,
    .pending = pending_some,
    .map_numbers = map_numbers,
    .for_each = for_each,
    .stream = stream,
};
