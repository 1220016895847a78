/* SPDX-License-Identifier: MIT */
/* Promise 1 at its narrowest: two threads reach for the same jobs in the same instants, many thousands of times. */
#include "ledger.h"

enum { BATCH = 64, MEETINGS_MAX = 1000, MEETINGS_MS = 500 };

/* Two threads that meet before each batch and after it, without sleeping: nanoseconds count. */
struct meeting {
    crew_pool *pool;
    crew_result *results[BATCH]; /* written before the meeting */
    counter round, over;
    counter runs, drops, callbacks;
    bool helps; /* what the partner does: wait for the jobs, or cancel them as well */
};

static int met_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    counter_add(&((struct meeting *)context)->runs, 1);
    return 0;
}

static void met_drop(void *arg, void *context)
{
    (void)arg;
    counter_add(&((struct meeting *)context)->drops, 1);
}

static void met_done(const crew_outcome *outcome, void *user)
{
    CHECK(outcome->status == CREW_OK || outcome->status == CREW_CANCELLED);
    counter_add(&((struct meeting *)user)->callbacks, 1);
}

static void partner(void *arg)
{
    struct meeting *meeting = arg;

    for (long round = 1;; round++) {
        long now;

        while ((now = counter_get(&meeting->round)) >= 0 && now < round)
            ;
        if (now < 0)
            return;
        for (int i = 0; i < BATCH; i++)
            (void)(meeting->helps ? crew_result_wait(meeting->results[i], CREW_FOREVER)
                                  : crew_result_cancel(meeting->results[i]));
        counter_add(&meeting->over, 1);
    }
}

static void submit_batch(struct meeting *meeting)
{
    static const crew_job job = {met_fn, sizeof(int), 0, "met", met_drop, NULL};

    for (int i = 0; i < BATCH; i++)
        CHECK_STATUS(crew_apply_async(meeting->pool, &job, &i, &meeting->results[i],
                                      CREW_CALL(.context = meeting, .on_done = met_done, .user = meeting)),
                     CREW_OK);
}

/* How many of a batch ran. A pause that changes keeps the two from settling into taking turns. */
static long meet(struct meeting *meeting, long round)
{
    long ran = 0;

    submit_batch(meeting);
    counter_add(&meeting->round, 1);
    for (int i = 0; i < BATCH; i++) {
        (void)crew_result_cancel(meeting->results[i]);
        for (volatile long left = (round + i) % 16; left > 0; left--)
            ;
    }
    while (counter_get(&meeting->over) < round)
        ;
    for (int i = 0; i < BATCH; i++) {
        CHECK_STATUS(crew_result_wait(meeting->results[i], far_away()), CREW_OK);
        ran += crew_result_status(meeting->results[i]) == CREW_OK;
        crew_result_destroy(meeting->results[i]);
    }
    return ran;
}

/* As many batches as fit into the time. */
static void check_meetings(crew_pool *pool, bool helps, struct blocker *blocker)
{
    struct meeting meeting = {.pool = pool, .helps = helps};
    struct test_thread *thread = test_thread_start(partner, &meeting);
    int64_t end_ns = test_now_ns() + MEETINGS_MS * INT64_C(1000000);
    long round = 0, ran = 0;

    while (round < MEETINGS_MAX && test_now_ns() < end_ns)
        ran += meet(&meeting, ++round);
    counter_add(&meeting.round, -2 * MEETINGS_MAX);
    test_thread_join(thread);
    end_pool(pool, blocker);
    CHECK_EQ(counter_get(&meeting.runs), ran);
    CHECK_EQ(counter_get(&meeting.drops), BATCH * round);
    CHECK_EQ(counter_get(&meeting.callbacks), BATCH * round);
}

CONTRACT_THREADS(a_job_that_two_threads_cancel_at_once_ends_once)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;

    blocker_hold(&blocker, pool, config->workers);
    check_meetings(pool, false, &blocker);
}

CONTRACT_THREADS(a_job_that_is_cancelled_run_and_helped_with_at_once_ends_once)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;

    blocker_hold(&blocker, pool, 0);
    check_meetings(pool, true, &blocker);
}
