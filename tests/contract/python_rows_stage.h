/* SPDX-License-Identifier: MIT */
/* What the python_rows tests share: jobs held at a gate, a thread that waits for a result, a fork with its outcome. */
#ifndef CREW_TEST_PYTHON_ROWS_STAGE_H
#define CREW_TEST_PYTHON_ROWS_STAGE_H

#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

enum { WORKERS_MOST = 16 };

struct stage {
    struct gate *started; /* counts the held jobs that run */
    struct gate *go;      /* lets all of them end */
};

static inline struct stage stage_new(void)
{
    return (struct stage){gate_new(), gate_new()};
}

static inline void stage_free(struct stage *stage)
{
    gate_free(stage->started);
    gate_free(stage->go);
}

CREW_JOB(hold, int, int)
{
    struct stage *stage = context;
    gate_add(stage->started);
    gate_wait(stage->go);
    *result = *arg;
    return 0;
}

CREW_JOB(twice, int, long)
{
    (void)context;
    *result = 2L * *arg;
    return 0;
}

/* Holds `count` jobs, all of them running at the same time when it returns. */
static inline void stage_hold(struct stage *stage, crew_pool *pool, unsigned count, crew_result **ret_held)
{
    for (unsigned i = 0; i < count; i++) {
        CHECK_STATUS(crew_apply_async(pool, &hold, &(int){(int)i}, &ret_held[i], CREW_CALL(.context = stage)), CREW_OK);
        gate_wait_for(stage->started, i + 1); /* so that no two of them are pending, whatever queue_max is */
    }
}

/* Lets the held jobs go and checks that each one kept its value. */
static inline void stage_release(struct stage *stage, unsigned count, crew_result **held)
{
    gate_open(stage->go);
    for (unsigned i = 0; i < count; i++) {
        int value = -1;
        CHECK_STATUS(crew_result_get(held[i], &value, CREW_FOREVER), CREW_OK);
        CHECK_EQ(value, i);
        crew_result_destroy(held[i]);
    }
}

/* A pool that runs two jobs at least, whatever the configuration. */
static inline crew_pool *pool_of_two_or_more(void)
{
    return contract_pool(CREW_OPTIONS(.workers = config->workers < 2 ? 2 : config->workers));
}

static inline void count_call(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    counter_add(user, 1);
}

/* A thread that waits for one result. */
struct waiter {
    crew_result *result;
    struct gate *about_to_wait;
    crew_status status;
};

static inline void waiter_run(void *arg)
{
    struct waiter *waiter = arg;
    gate_open(waiter->about_to_wait);
    waiter->status = crew_result_get(waiter->result, &(long){0}, CREW_FOREVER);
}

/* Forks, runs `body` in the child, and returns the child's exit status, or -1 when a signal ended it. */
static inline int exit_status_of_child(void (*body)(void))
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        body();
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
