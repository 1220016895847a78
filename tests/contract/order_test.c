/* SPDX-License-Identifier: MIT */
/* Promise 12, order and fairness: jobs of one outside thread enter in its order and, with one worker and no helper,
 * start in it; what a job submits starts newest first; every accepted job starts after finitely many others. */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"

/* ---- a log of who started when, written by one worker only ---- */
enum { LOG_SIZE = 4096 };
static int started[LOG_SIZE];
static counter started_count;

static void note(int number)
{
    long at = counter_add(&started_count, 1) - 1;
    CHECK(at < LOG_SIZE);
    started[at] = number;
}

CREW_ACTION(note_start, int)
{
    (void)context;
    note(*arg);
    return 0;
}

static void submit_note(crew_pool *pool, int number)
{
    CHECK_STATUS(crew_apply_async(pool, &note_start, &number, NULL, NULL), CREW_OK);
}

static void check_started(long count)
{
    CHECK_EQ(counter_get(&started_count), count);
}

CONTRACT(one_worker_starts_jobs_in_the_order_of_their_submitter)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    for (int i = 0; i < 2000; i++)
        submit_note(pool, i);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    check_started(2000);
    for (int i = 0; i < 2000; i++)
        CHECK_EQ(started[i], i);
}

CONTRACT_THREADS(one_worker_starts_jobs_that_had_to_queue_in_order)
{
    struct blocker blocker;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    blocker_hold(&blocker, pool, 1);
    for (int i = 0; i < 2000; i++)
        submit_note(pool, i);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    check_started(2000);
    for (int i = 0; i < 2000; i++)
        CHECK_EQ(started[i], i);
    blocker_free(&blocker);
}

CONTRACT_THREADS(cancelled_jobs_do_not_disturb_the_order_of_the_others)
{
    enum { COUNT = 300 };
    static crew_result *results[COUNT];
    struct blocker blocker;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    blocker_hold(&blocker, pool, 1);
    for (int i = 0; i < COUNT; i++)
        CHECK_STATUS(crew_apply_async(pool, &note_start, &i, &results[i], NULL), CREW_OK);
    for (int i = 0; i < COUNT; i += 3)
        CHECK_STATUS(crew_result_cancel(results[i]), CREW_OK);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    check_started(COUNT / 3 * 2);
    for (int i = 0; i < COUNT / 3; i++) {
        CHECK_EQ(started[2 * i], 3 * i + 1);
        CHECK_EQ(started[2 * i + 1], 3 * i + 2);
    }
    for (int i = 0; i < COUNT; i++)
        crew_result_destroy(results[i]);
    blocker_free(&blocker);
}

CONTRACT(one_worker_starts_a_map_in_its_place_between_jobs)
{
    int items[3] = {1, 1, 1};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    submit_note(pool, 0);
    CHECK_STATUS(crew_map_async(pool, &note_start, items, 3, NULL, NULL, NULL), CREW_OK);
    submit_note(pool, 2);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    check_started(5);
    CHECK_EQ(started[0], 0);
    CHECK_EQ(started[1], 1);
}

struct numbering_thread {
    crew_pool *pool;
    int first;
};

static void submit_five_hundred(void *arg)
{
    struct numbering_thread *thread = arg;
    for (int i = 0; i < 500; i++)
        submit_note(thread->pool, thread->first + i);
}

CONTRACT_THREADS(jobs_of_several_threads_start_in_the_order_of_each)
{
    struct test_thread *threads[4];
    struct numbering_thread numbering[4];
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    for (int t = 0; t < 4; t++) {
        numbering[t] = (struct numbering_thread){pool, t * 1000};
        threads[t] = test_thread_start(submit_five_hundred, &numbering[t]);
    }
    for (int t = 0; t < 4; t++)
        test_thread_join(threads[t]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    check_started(4 * 500);
    int next[4] = {0, 0, 0, 0};
    for (int i = 0; i < 4 * 500; i++)
        CHECK_EQ(started[i] % 1000, next[started[i] / 1000]++);
}

CREW_ACTION(submit_three, int)
{
    (void)arg, (void)context;
    note(0);
    for (int i = 1; i <= 3; i++)
        submit_note(crew_current_pool(), i);
    return 0;
}

CONTRACT_THREADS(what_a_job_submits_starts_newest_first_on_its_worker)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    CHECK_STATUS(crew_apply_async(pool, &submit_three, &(int){0}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    check_started(4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(started[i], (4 - i) % 4);
}

/* ---- nobody starves: each case goes on for ever where somebody does ---- */
struct fairness {
    counter ran; /* becomes 1 when the job in question has started */
    counter others;
};

CREW_ACTION(start_at_last, struct fairness *)
{
    (void)context;
    counter_add(&(*arg)->ran, 1);
    return 0;
}

static int chain_fn(const void *arg, void *result, void *context);
static const crew_job chain = {chain_fn, sizeof(struct fairness *), 0, "chain", NULL, NULL};

/* Submits its successor until the job in question has run. */
static int chain_fn(const void *arg, void *result, void *context)
{
    struct fairness *fairness = *(struct fairness *const *)arg;
    (void)result, (void)context;
    counter_add(&fairness->others, 1);
    if (counter_get(&fairness->ran) == 0)
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &chain, arg, NULL, NULL), CREW_OK);
    return 0;
}

CONTRACT_THREADS(an_outsider_s_job_starts_though_jobs_go_on_submitting_jobs)
{
    struct fairness fairness = {{0}, {0}}, *pointer = &fairness;
    crew_pool *pool = contract_pool(NULL);
    for (unsigned i = 0; i < config->workers; i++)
        CHECK_STATUS(crew_apply_async(pool, &chain, &pointer, NULL, NULL), CREW_OK);
    while (counter_get(&fairness.others) < 100)
        continue;
    CHECK_STATUS(crew_apply_async(pool, &start_at_last, &pointer, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&fairness.ran), 1);
}

CREW_ACTION(submit_old_then_chain, struct fairness *)
{
    (void)context;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &start_at_last, arg, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &chain, arg, NULL, NULL), CREW_OK);
    return 0;
}

CONTRACT_THREADS(a_job_s_older_submission_starts_though_newer_ones_keep_coming)
{
    struct fairness fairness = {{0}, {0}}, *pointer = &fairness;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(pool, &submit_old_then_chain, &pointer, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&fairness.ran), 1);
}

/* The same where another worker, which could take the old one, is busy with a chain of its own. */
CONTRACT_THREADS(older_submissions_start_though_every_worker_has_newer_ones)
{
    struct fairness fairness[16] = {{{0}, {0}}}, *pointer;
    crew_pool *pool = contract_pool(NULL);
    for (unsigned i = 0; i < config->workers; i++) {
        pointer = &fairness[i];
        CHECK_STATUS(crew_apply_async(pool, &submit_old_then_chain, &pointer, NULL, NULL), CREW_OK);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (unsigned i = 0; i < config->workers; i++)
        CHECK_EQ(counter_get(&fairness[i].ran), 1);
}

struct flood {
    crew_pool *pool;
    struct fairness *fairness;
};

static void flood_from_outside(void *arg)
{
    struct flood *flood = arg;
    while (counter_get(&flood->fairness->ran) == 0)
        CHECK_STATUS(crew_apply_async(flood->pool, &never_pulled, &(int){0}, NULL, NULL), CREW_OK);
}

CREW_ACTION(submit_one_child, struct fairness *)
{
    (void)context;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &start_at_last, arg, NULL, NULL), CREW_OK);
    return 0;
}

CONTRACT_THREADS(a_job_s_submission_starts_though_outsiders_flood_the_pool)
{
    struct fairness fairness = {{0}, {0}}, *pointer = &fairness;
    struct test_thread *threads[2];
    struct flood flood = {contract_pool(CREW_OPTIONS(.queue_max = 1000)), &fairness};
    for (int i = 0; i < 2; i++)
        threads[i] = test_thread_start(flood_from_outside, &flood);
    CHECK_STATUS(crew_apply_async(flood.pool, &submit_one_child, &pointer, NULL, NULL), CREW_OK);
    for (int i = 0; i < 2; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(flood.pool), CREW_OK);
    CHECK_EQ(counter_get(&fairness.ran), 1);
}

static int pull_endlessly(void *user, void *ret_item)
{
    (void)user;
    *(int *)ret_item = 0;
    return 1;
}

CONTRACT(a_job_starts_beside_an_endless_stream_that_is_consumed)
{
    struct fairness fairness = {{0}, {0}}, *pointer = &fairness;
    crew_pool *pool = contract_pool(NULL);
    crew_iterator *stream;
    const crew_source source = {.pull = pull_endlessly};
    CHECK_STATUS(crew_imap(pool, &never_pulled, &source, &stream, CREW_CALL(.window = 64)), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &start_at_last, &pointer, NULL, NULL), CREW_OK);
    while (counter_get(&fairness.ran) == 0)
        CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_OK);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* Each callback submits a job with the same callback, until the job in question has run. */
static void submit_with_callback(const crew_outcome *outcome, void *user)
{
    struct flood *flood = user;
    CHECK_STATUS(outcome->status, CREW_OK);
    counter_add(&flood->fairness->others, 1);
    if (counter_get(&flood->fairness->ran) == 0)
        CHECK_STATUS(crew_apply_async(flood->pool, &never_pulled, &(int){0}, NULL,
                                      CREW_CALL(.on_done = submit_with_callback, .user = flood)),
                     CREW_OK);
}

CONTRACT_THREADS(a_job_starts_though_callbacks_go_on_submitting)
{
    struct fairness fairness = {{0}, {0}}, *pointer = &fairness;
    struct flood flood = {contract_pool(NULL), &fairness};
    CHECK_STATUS(crew_apply_async(flood.pool, &never_pulled, &(int){0}, NULL,
                                  CREW_CALL(.on_done = submit_with_callback, .user = &flood)),
                 CREW_OK);
    while (counter_get(&fairness.others) < 100)
        continue;
    CHECK_STATUS(crew_apply_async(flood.pool, &start_at_last, &pointer, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(flood.pool), CREW_OK);
    CHECK_EQ(counter_get(&fairness.ran), 1);
}

/* One worker's stack never gets out of hand: a chain of a hundred thousand is no recursion. */
struct countdown {
    long left;
    counter *ended;
};
static int count_down_fn(const void *arg, void *result, void *context);
static const crew_job count_down = {count_down_fn, sizeof(struct countdown), 0, "count_down", NULL, NULL};

static int count_down_fn(const void *arg, void *result, void *context)
{
    struct countdown countdown = *(const struct countdown *)arg;
    (void)result, (void)context;
    if (countdown.left-- == 0)
        counter_add(countdown.ended, 1);
    else
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_down, &countdown, NULL, NULL), CREW_OK);
    return 0;
}

CONTRACT_THREADS(a_long_chain_of_jobs_that_submit_jobs_comes_to_its_end)
{
    counter ended = {0};
    struct countdown countdown = {test_under_sanitizer() ? 10000 : 100000, &ended};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(pool, &count_down, &countdown, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ended), 1);
}
