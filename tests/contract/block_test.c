/* SPDX-License-Identifier: MIT */
/* Promise 3 for waits that the library does not see: a job that says so has another thread stand in for its own. */
#define _GNU_SOURCE
#include "blocker.h"

#include <pthread.h>

enum { WORKERS_MAX = 16 };

struct meeting {
    struct gate *came, *go;
};

static int wait_at_gate(void *gate)
{
    gate_wait(gate);
    return 7;
}

CREW_JOB(wait_unseen, struct meeting, int)
{
    (void)context;
    gate_add(arg->came);
    *result = crew_block(wait_at_gate, arg->go);
    return 0;
}

CREW_ACTION(open_up, struct meeting)
{
    (void)context;
    gate_open(arg->go);
    return 0;
}

static struct meeting meeting_new(void)
{
    return (struct meeting){gate_new(), gate_new()};
}

static void meeting_free(const struct meeting *meeting)
{
    gate_free(meeting->came);
    gate_free(meeting->go);
}

static void check_all_goes_on(crew_pool *pool)
{
    crew_pool_info info = {.struct_size = sizeof info};

    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_EQ(info.blocked, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(jobs_on_all_workers_may_wait_unseen_for_one_that_comes_later)
{
    crew_pool *pool = contract_pool(NULL);
    struct meeting meeting = meeting_new();
    crew_result *results[WORKERS_MAX];
    int code = 0;

    for (unsigned i = 0; i < config->workers; i++)
        CHECK_STATUS(crew_apply_async(pool, &wait_unseen, &meeting, &results[i], NULL), CREW_OK);
    gate_wait_for(meeting.came, config->workers);
    CHECK_STATUS(crew_apply_async(pool, &open_up, &meeting, NULL, NULL), CREW_OK);
    for (unsigned i = 0; i < config->workers; i++) {
        CHECK_STATUS(crew_result_get(results[i], &code, far_away()), CREW_OK);
        CHECK_EQ(code, 7);
        crew_result_destroy(results[i]);
    }
    check_all_goes_on(pool);
    meeting_free(&meeting);
}

/* ---- what may be done inside ---- */

static int ask_inside(void *user)
{
    struct meeting *meeting = user;
    crew_pool *pool = crew_current_pool();

    CHECK(pool != NULL);
    CHECK(crew_should_stop() == 0);
    gate_add(meeting->came);
    CHECK_STATUS(crew_apply_async(pool, &open_up, meeting, NULL, NULL), CREW_OK);
    CHECK_EQ(crew_block(wait_at_gate, meeting->go), 7);
    CHECK_STATUS(crew_apply(pool, &open_up, meeting, NULL, NULL), CREW_OK);
    return crew_fail(3, "said while it waited");
}

CREW_ACTION(wait_and_fail, struct meeting)
{
    int worker = crew_worker_index(), code = crew_block(ask_inside, (void *)(uintptr_t)arg);

    (void)context;
    CHECK_EQ(crew_worker_index(), worker);
    return code;
}

CONTRACT_THREADS(a_job_that_waits_unseen_may_submit_wait_and_fail_meanwhile)
{
    crew_pool *pool = contract_pool(NULL);
    struct meeting meeting = meeting_new();
    crew_error error;

    CHECK_STATUS(crew_apply(pool, &wait_and_fail, &meeting, NULL, CREW_CALL(.error = &error)), CREW_FAILED);
    CHECK_EQ(error.code, 3);
    CHECK_STRING(error.message, "said while it waited");
    CHECK_EQ(gate_count(meeting.go), 2);
    check_all_goes_on(pool);
    meeting_free(&meeting);
}

CONTRACT(outside_of_a_job_and_without_threads_a_block_only_calls)
{
    struct gate *gate = gate_new();
    crew_pool *pool;
    int code = 0;

    gate_open(gate);
    CHECK_EQ(crew_block(wait_at_gate, gate), 7);
    CHECK_EQ(crew_block(NULL, gate), -1);
    pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply(pool, &wait_unseen, &(struct meeting){gate, gate}, &code, NULL), CREW_OK);
    CHECK_EQ(code, 7);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(gate);
}

/* ---- a thread that is lost meanwhile ---- */

static int leave(void *unused)
{
    (void)unused;
    pthread_exit(NULL);
}

CREW_ACTION(leave_unseen, int)
{
    (void)arg, (void)context;
    return crew_block(leave, NULL);
}

CONTRACT_THREADS(a_thread_that_is_lost_while_its_job_waits_unseen_is_replaced)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    struct meeting meeting = meeting_new();
    int code = 0;

    gate_open(meeting.go);
    for (unsigned i = 0; i < 2 * config->workers; i++)
        CHECK_STATUS(crew_apply(pool, &leave_unseen, &(int){0}, NULL, NULL), CREW_WORKER_LOST);
    CHECK_STATUS(crew_apply(pool, &wait_unseen, &meeting, &code, NULL), CREW_OK);
    CHECK_EQ(code, 7);
    check_all_goes_on(pool);
    meeting_free(&meeting);
}
