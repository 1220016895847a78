/* SPDX-License-Identifier: MIT */
/* Starts pools, and lets their threads meet, so that all are there and have run a job before a clock starts. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "driver.h"

/* A barrier with a time limit: a library may give two items to one thread, which then cannot meet itself. */
struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t complete;
    unsigned count, missing;
    bool failed;
    struct timespec limit;
};

static void meet(void *argument)
{
    struct meeting *meeting = argument;
    pthread_mutex_lock(&meeting->lock);
    if (--meeting->missing == 0)
        pthread_cond_broadcast(&meeting->complete);
    while (meeting->missing > 0 && !meeting->failed)
        meeting->failed =
            pthread_cond_clockwait(&meeting->complete, &meeting->lock, CLOCK_MONOTONIC, &meeting->limit) == ETIMEDOUT;
    pthread_mutex_unlock(&meeting->lock);
}

static void meet_index(size_t index, void *argument)
{
    (void)index;
    meet(argument);
}

void inside(bench_body *work, void *argument)
{
    if (library.within)
        library.within(work, argument);
    else
        work(argument);
}

static void submit_meetings(void *argument)
{
    struct meeting *meeting = argument;
    for (unsigned i = 0; i < meeting->count; i++)
        library.submit(meet, meeting);
    library.drain();
}

bool all_meet(unsigned count, int64_t limit)
{
    int64_t end = measure_now() + limit;
    struct meeting meeting = {.count = count,
                              .missing = count,
                              .limit = {.tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000)}};
    pthread_mutex_init(&meeting.lock, NULL);
    pthread_cond_init(&meeting.complete, NULL);
    if (library.submit)
        inside(submit_meetings, &meeting);
    else
        library.for_each(meet_index, &meeting, count);
    pthread_cond_destroy(&meeting.complete);
    pthread_mutex_destroy(&meeting.lock);
    return !meeting.failed;
}

/* Where they will not meet, the library has had its chance. */
static void warm(unsigned count)
{
    for (int attempt = 0; attempt < 3 && (library.submit || library.for_each); attempt++)
        if (all_meet(count, 100000000))
            break;
}

void start_warm(const struct request *request)
{
    library.start(request->workers);
    warm(request->workers);
}

void start_workers(unsigned count)
{
    if (library.start_workers)
        library.start_workers(count);
    else
        library.start(count);
}

void start_workers_warm(unsigned count)
{
    start_workers(count);
    warm(count);
}
