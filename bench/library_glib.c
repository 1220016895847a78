/* SPDX-License-Identifier: MIT */
/* GLib: an exclusive GThreadPool, whose threads are its own and wait without a time limit. It has one function and pushes pointers to it:
 * results, waiting and loops are by hand. */
#define _GNU_SOURCE
#include <glib.h>
#include <stdio.h>

#include "by_hand.h"

static GThreadPool *pool;

static const char *version(void)
{
    static char text[32];
    snprintf(text, sizeof text, "%u.%u.%u", glib_major_version, glib_minor_version, glib_micro_version);
    return text;
}

static void run_job(gpointer data, gpointer user)
{
    struct job *job = data;
    (void)user;
    job->run(job);
}

static void push(struct job *job)
{
    if (!g_thread_pool_push(pool, job, NULL))
        abort();
}

static void start(unsigned participants)
{
    by_hand_start(participants);
    pool = g_thread_pool_new(run_job, NULL, (int)participants, TRUE, NULL);
    if (!pool)
        abort();
}

static void stop(void)
{
    g_thread_pool_free(pool, FALSE, TRUE);
    by_hand_stop();
}

const struct library library = {
    .name = "glib",
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
