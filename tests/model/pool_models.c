/* SPDX-License-Identifier: MIT */
/* A whole pool, of one worker or two: submitting against parking, closing and terminating; cancelling against running; the end of a job against
 * those who wait for it; callbacks; waiting for an empty pool. */
#include <crewpool/crewpool.h>

#include "core.h"
#include "model.h"

enum { JOBS = 3 };

struct job_record {
    int argument, ran, told; /* plain: what the pool promises to order */
};

static crew_pool *pool;
static struct job_record records[JOBS];
static crew_result *results[JOBS];
static crew_status accepted[JOBS], ended[JOBS];

static int work(const void *arg, void *result, void *context)
{
    int number = *(const int *)arg;
    (void)context;
    WANT(records[number].argument == 10 + number);
    WANT(records[number].ran++ == 0);
    *(int *)result = 100 + number;
    return 0;
}

static const crew_job job = {work, sizeof(int), sizeof(int), "work", NULL, NULL};

static void on_done(const crew_outcome *outcome, void *user)
{
    struct job_record *record = user;
    WANT(outcome->status != CREW_OK || record->ran == 1);
    WANT(record->told++ == 0);
}

static void make_pool(unsigned workers, unsigned flags)
{
    for (int i = 0; i < JOBS; i++) {
        records[i] = (struct job_record){0};
        results[i] = NULL;
        accepted[i] = ended[i] = CREW_BUSY;
    }
    WANT(crew_pool_create(&pool, CREW_OPTIONS(.workers = workers, .spares_max = CREW_NO_SPARES, .flags = flags)) ==
         CREW_OK);
}

static void begin_one(void)
{
    make_pool(1, CREW_WORKERS_ONLY);
    model_settle();
}

static void begin_helping(void)
{
    make_pool(1, CREW_CALLER_HELPS);
    model_settle();
}

static void submit(int number)
{
    records[number].argument = 10 + number;
    accepted[number] = crew_apply_async(pool, &job, &number, &results[number], NULL);
}

static void submit_detached(int number)
{
    records[number].argument = 10 + number;
    accepted[number] = crew_apply_async(pool, &job, &number, NULL, NULL);
}

static void submit_told(int number, unsigned flags)
{
    const crew_call *call = CREW_CALL(.on_done = on_done, .user = &records[number], .flags = flags);
    records[number].argument = 10 + number;
    accepted[number] = crew_apply_async(pool, &job, &number, &results[number], call);
}

static void get(int number)
{
    int value = 0;
    ended[number] = crew_result_get(results[number], &value, CREW_FOREVER);
    WANT(ended[number] != CREW_OK || value == 100 + number);
    WANT(ended[number] != CREW_OK || records[number].ran == 1);
}

static void end_pool(void)
{
    WANT(crew_pool_destroy(pool) == CREW_OK);
    for (int i = 0; i < JOBS; i++)
        crew_result_destroy(results[i]);
}

static void submit_first(void)
{
    submit_detached(0);
}

static void submit_second(void)
{
    submit_detached(1);
}

static void close_pool(void)
{
    WANT(crew_pool_close(pool) == CREW_OK);
}

static void terminate_pool(void)
{
    WANT(crew_pool_terminate(pool) == CREW_OK);
}

static void wait_for_pool(void)
{
    WANT(crew_pool_wait(pool, CREW_FOREVER) == CREW_OK);
}

/* ---- parking ---- */

/* Its worker has been woken, will find this one, and then go to sleep. */
static void begin_one_awake(void)
{
    begin_one();
    submit_detached(2);
}

/* The worker is woken, or sees it before it sleeps: nobody else would run it. */
static void end_both_ran(void)
{
    WANT(crew_pool_wait(pool, CREW_FOREVER) == CREW_OK);
    WANT(records[0].ran == 1 && records[1].ran == 1);
    end_pool();
}

MODEL(submit_against_park, begin_one_awake, end_both_ran, submit_first, submit_second);

/* Its worker has gone to sleep since anybody last heard of it. */
static void begin_one_asleep(void)
{
    begin_one_awake();
    model_settle();
}

static void end_first_ran(void)
{
    WANT(crew_pool_wait(pool, CREW_FOREVER) == CREW_OK);
    WANT(records[0].ran == 1);
    end_pool();
}

MODEL(submit_to_a_sleeper, begin_one_asleep, end_first_ran, submit_first);

/* ---- work that is in somebody's hands for a moment ---- */

static crewi_atomic_u32 second_has_run;

/* The first of these has to have the second run beside it; there are two workers. */
static int wait_for_second(const void *arg, void *result, void *context)
{
    (void)arg, (void)result, (void)context;
    while (!crewi_atomic_u32_load(&second_has_run))
        (void)crewi_futex_wait(&second_has_run, 0, CREWI_NEVER);
    return 0;
}

static int be_the_second(const void *arg, void *result, void *context)
{
    (void)arg, (void)result, (void)context;
    crewi_atomic_u32_store(&second_has_run, 1);
    crewi_futex_wake_all(&second_has_run);
    return 0;
}

static const crew_job first_job = {wait_for_second, 0, 0, "first", NULL, NULL};
static const crew_job second_job = {be_the_second, 0, 0, "second", NULL, NULL};

/* One worker is awake, and is about to start the other. */
static void begin_two_awake(void)
{
    crewi_atomic_u32_init(&second_has_run, 0);
    make_pool(2, CREW_WORKERS_ONLY);
    model_settle();
    submit_detached(2);
}

static void submit_two_that_meet(void)
{
    WANT(crew_apply_async(pool, &first_job, NULL, NULL, NULL) == CREW_OK);
    WANT(crew_apply_async(pool, &second_job, NULL, NULL, NULL) == CREW_OK);
}

/* Whoever takes both out of the hatch runs one, and has another worker look for the other. */
static void end_both_met(void)
{
    WANT(crew_pool_wait(pool, CREW_FOREVER) == CREW_OK);
    WANT(crewi_atomic_u32_load(&second_has_run) == 1);
    end_pool();
}

MODEL_WIDE(two_jobs_taken_at_once_meet, begin_two_awake, end_both_met, submit_two_that_meet);

/* ---- the end ---- */

static void end_accepted_ran(void)
{
    end_pool();
    for (int i = 0; i < 2; i++) {
        WANT(accepted[i] == CREW_OK || accepted[i] == CREW_CLOSED);
        WANT(records[i].ran == (accepted[i] == CREW_OK));
    }
}

MODEL_WIDE(submit_against_close, begin_one, end_accepted_ran, submit_first, submit_second, close_pool);

static void submit_handle(void)
{
    submit(0);
}

static void end_accepted_ended(void)
{
    if (accepted[0] == CREW_OK)
        get(0);
    WANT(accepted[0] == CREW_OK || accepted[0] == CREW_CLOSED);
    WANT(accepted[0] != CREW_OK || ended[0] == CREW_OK || ended[0] == CREW_TERMINATED);
    WANT(records[0].ran == (ended[0] == CREW_OK));
    end_pool();
}

MODEL(submit_against_terminate, begin_one, end_accepted_ended, submit_handle, terminate_pool);

static void submit_and_get(void)
{
    submit(0);
    get(0);
}

static void end_of_first(void)
{
    WANT(ended[0] == CREW_OK);
    end_pool();
}

MODEL(wait_for_the_pool_against_its_last_job, begin_one, end_of_first, submit_and_get, wait_for_pool);

static void submit_first_and_wait(void)
{
    submit_detached(0);
    wait_for_pool();
    WANT(records[0].ran == 1);
}

static void end_of_waiter(void)
{
    end_pool();
}

MODEL(wait_for_the_pool_hears_of_its_end, begin_one, end_of_waiter, submit_first_and_wait);

/* ---- claim and completion ---- */

static void begin_with_job(void)
{
    begin_helping();
    submit(0);
}

static void cancel(void)
{
    accepted[1] = crew_result_cancel(results[0]);
}

static void get_first(void)
{
    get(0);
}

static void end_cancelled_or_ran(void)
{
    WANT(accepted[1] == CREW_OK || accepted[1] == CREW_BUSY || accepted[1] == CREW_END);
    WANT(ended[0] == (accepted[1] == CREW_OK ? CREW_CANCELLED : CREW_OK));
    WANT(records[0].ran == (ended[0] == CREW_OK));
    end_pool();
}

MODEL(cancel_against_run, begin_with_job, end_cancelled_or_ran, cancel, get_first);

static void get_and_destroy(void)
{
    get(0);
    crew_result_destroy(results[0]);
    results[0] = NULL;
}

static void end_after_get(void)
{
    WANT(ended[0] == CREW_OK);
    end_pool();
}

MODEL(completion_against_destroy, begin_with_job, end_after_get, get_and_destroy);

static void begin_with_job_of_worker(void)
{
    begin_one();
    submit(0);
}

MODEL(completion_wakes_the_waiter, begin_with_job_of_worker, end_after_get, get_and_destroy);

static void destroy_first(void)
{
    crew_result_destroy(results[0]);
    results[0] = NULL;
}

static void end_without_handle(void)
{
    WANT(crew_pool_wait(pool, CREW_FOREVER) == CREW_OK);
    WANT(records[0].ran == 1);
    end_pool();
}

MODEL(completion_against_losing_the_handle, begin_with_job_of_worker, end_without_handle, destroy_first);

/* ---- callbacks ---- */

static void begin_two_told(void)
{
    make_pool(2, CREW_WORKERS_ONLY);
    model_settle();
    submit_told(0, 0);
    submit_told(1, CREW_READY_AFTER_DONE);
}

static void get_second(void)
{
    get(1);
    WANT(records[1].told == 1);
}

static void end_both_told(void)
{
    WANT(crew_pool_wait(pool, CREW_FOREVER) == CREW_OK);
    WANT(records[0].told == 1 && records[1].told == 1);
    end_pool();
}

MODEL_WIDE(callbacks_one_at_a_time, begin_two_told, end_both_told, get_first, get_second);

/* An outsider that may help waits for a callback: without being in its way, and without running in circles. */
static void begin_told_helping(void)
{
    make_pool(2, CREW_CALLER_HELPS); /* a permit is left for whoever helps */
    model_settle();
    submit_told(1, CREW_READY_AFTER_DONE);
}

static void end_second_told(void)
{
    WANT(records[1].told == 1);
    end_pool();
}

MODEL_WIDE(a_helper_waits_for_a_callback, begin_told_helping, end_second_told, get_second);

/* ---- an outsider executes ---- */

static void apply_first(void)
{
    int number = 0, value = 0;
    records[0].argument = 10;
    WANT(crew_apply(pool, &job, &number, &value, NULL) == CREW_OK && value == 100);
}

/* It may have the only permit when the second job comes: then it wakes the worker when it leaves [rule R]. */
MODEL(work_that_is_left_to_a_helper, begin_helping, end_both_ran, apply_first, submit_second);

/* What it has taken of the gate in bulk stays with its desk: or the other would wait for ever. */
MODEL(wait_for_the_pool_against_a_helper, begin_helping, end_pool, apply_first, wait_for_pool);
