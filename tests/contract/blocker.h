/* SPDX-License-Identifier: MIT */
/* What keeps a worker busy until the test lets it go: a job that waits at a gate, and a source whose pull does. */
#ifndef CREW_TEST_BLOCKER_H
#define CREW_TEST_BLOCKER_H

#include "test.h"

/* How long a test looks whether something happens that must not. Too short can only make it miss a bug. */
enum { NOT_YET_NS = 30 * 1000 * 1000 };

/* A deadline beyond the time limit of any case; as it is finite, no user code runs in such a wait. */
static inline crew_deadline far_away(void)
{
    return crew_after_ms(3600 * 1000);
}

/* ---- a job that holds its worker; `counted` against the workers that may execute at once ---- */
struct blocker {
    struct gate *started, *go;
};

CREW_ACTION(hold_worker, struct blocker *)
{
    (void)context;
    gate_add((*arg)->started);
    gate_wait((*arg)->go);
    return 0;
}

/* Holds `workers` workers of a pool of the threads kind; one after another, so that no limit of the queue is met. */
static inline void blocker_hold(struct blocker *blocker, crew_pool *pool, unsigned workers)
{
    *blocker = (struct blocker){gate_new(), gate_new()};
    for (unsigned held = 1; held <= workers; held++) {
        CHECK_STATUS(crew_apply_async(pool, &hold_worker, &blocker, NULL, NULL), CREW_OK);
        gate_wait_for(blocker->started, held);
    }
}

static inline void blocker_let_go(struct blocker *blocker)
{
    gate_open(blocker->go);
}

/* Only when the held jobs have ended. */
static inline void blocker_free(struct blocker *blocker)
{
    gate_free(blocker->started);
    gate_free(blocker->go);
}

/* ---- a source that holds its worker in its first pull, and then says the end; such a worker counts as blocked ---- */
struct stuck_source {
    struct gate *pulled, *go, *released;
    crew_iterator *stream;
};

static inline int stuck_pull(void *user, void *ret_item)
{
    struct stuck_source *source = (struct stuck_source *)user;
    (void)ret_item;
    gate_add(source->pulled);
    gate_wait(source->go);
    return 0;
}

static inline void stuck_release(void *user)
{
    gate_add(((struct stuck_source *)user)->released);
}

CREW_ACTION(never_pulled, int)
{
    (void)arg, (void)context;
    return 0;
}

/* Returns when the pull has begun. */
static inline void stuck_source_start(struct stuck_source *stuck, crew_pool *pool)
{
    *stuck = (struct stuck_source){gate_new(), gate_new(), gate_new(), NULL};
    const crew_source source = {.pull = stuck_pull, .user = stuck, .release = stuck_release};
    CHECK_STATUS(crew_imap(pool, &never_pulled, &source, &stuck->stream, NULL), CREW_OK);
    gate_wait(stuck->pulled);
}

static inline void stuck_source_let_go(struct stuck_source *stuck)
{
    gate_open(stuck->go);
}

/* Destroys the stream where that is still to be done, and waits for the release. */
static inline void stuck_source_free(struct stuck_source *stuck)
{
    crew_iterator_destroy(stuck->stream);
    gate_wait(stuck->released);
    CHECK_EQ(gate_count(stuck->released), 1);
    gate_free(stuck->pulled);
    gate_free(stuck->go);
    gate_free(stuck->released);
}

#endif
