/* SPDX-License-Identifier: MIT */
/* Gates: a count that only grows, and threads that wait for it to be reached. */
#define _GNU_SOURCE
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t grown;
    unsigned count;
};

struct gate *gate_new(void)
{
    struct gate *gate = calloc(1, sizeof *gate);
    pthread_condattr_t monotonic;
    CHECK(gate != NULL);
    CHECK_EQ(pthread_condattr_init(&monotonic), 0);
    CHECK_EQ(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC), 0);
    CHECK_EQ(pthread_mutex_init(&gate->mutex, NULL), 0);
    CHECK_EQ(pthread_cond_init(&gate->grown, &monotonic), 0);
    pthread_condattr_destroy(&monotonic);
    return gate;
}

void gate_free(struct gate *gate)
{
    if (gate == NULL)
        return;
    pthread_cond_destroy(&gate->grown);
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

void gate_add(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->count++;
    pthread_cond_broadcast(&gate->grown); /* under the mutex: a waiter may free the gate as soon as it can go on */
    pthread_mutex_unlock(&gate->mutex);
}

void gate_wait_for(struct gate *gate, unsigned count)
{
    pthread_mutex_lock(&gate->mutex);
    while (gate->count < count)
        pthread_cond_wait(&gate->grown, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

bool gate_wait_until(struct gate *gate, unsigned count, int64_t timeout_ns)
{
    int64_t deadline_ns = test_now_ns() + timeout_ns;
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                                .tv_nsec = (long)(deadline_ns % 1000000000)};
    int waited = 0;
    pthread_mutex_lock(&gate->mutex);
    while (gate->count < count && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&gate->grown, &gate->mutex, &deadline);
    bool reached = gate->count >= count;
    pthread_mutex_unlock(&gate->mutex);
    return reached;
}

unsigned gate_count(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    unsigned count = gate->count;
    pthread_mutex_unlock(&gate->mutex);
    return count;
}
