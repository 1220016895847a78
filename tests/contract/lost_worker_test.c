/* SPDX-License-Identifier: MIT */
/* Promise 8: a job that ends its thread fails, and those suspended beneath it; the worker is replaced. */
#define _GNU_SOURCE
#include "counted_source.h"
#include "limited.h"

#include <poll.h>
#include <pthread.h>

static int ends_thread_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    (void)context;
    pthread_exit(NULL);
}

static int cancels_thread_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    (void)context;
    (void)pthread_cancel(pthread_self());
    pthread_testcancel();
    return 0;
}

static const crew_job ends_thread = {ends_thread_fn, 0, 0, "ends_thread", NULL, NULL};
static const crew_job cancels_thread = {cancels_thread_fn, 0, 0, "cancels_thread", NULL, NULL};

/* A submission from a thread of its own: on a serial pool it is the submitter's that ends. */
struct submission {
    crew_pool *pool;
    const crew_job *job;
    void *context;
    crew_result *result;
};

static void submit(void *arg)
{
    struct submission *submission = arg;

    CHECK_STATUS(crew_apply_async(submission->pool, submission->job, NULL, &submission->result,
                                  CREW_CALL(.context = submission->context)),
                 CREW_OK);
}

static crew_result *submit_elsewhere(crew_pool *pool, const crew_job *job, void *context)
{
    struct submission submission = {pool, job, context, NULL};

    test_thread_join(test_thread_start(submit, &submission));
    CHECK(submission.result != NULL);
    return submission.result;
}

/* Waits without helping, for the status of a result that is then let go of. */
static crew_status end_of(crew_result *result)
{
    crew_status status;

    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    status = crew_result_status(result);
    crew_result_destroy(result);
    return status;
}

static void check_lost(const crew_job *job)
{
    crew_pool *pool = contract_pool(NULL);
    crew_result *result = submit_elsewhere(pool, job, NULL);
    crew_error error;
    long value = 0;

    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_WORKER_LOST);
    CHECK_STATUS(crew_result_error(result, &error), CREW_OK);
    CHECK_STATUS(error.status, CREW_WORKER_LOST);
    CHECK_STRING(error.job, job->name);
    CHECK(error.message[0] != '\0');
    crew_result_destroy(result);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){21}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_job_that_calls_pthread_exit_fails_with_worker_lost)
{
    check_lost(&ends_thread);
}

CONTRACT(a_job_whose_thread_is_cancelled_fails_with_worker_lost)
{
    check_lost(&cancels_thread);
}

CONTRACT_THREADS(every_lost_worker_is_replaced)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;
    crew_result *results[40];

    for (int i = 0; i < 40; i++)
        CHECK_STATUS(crew_apply_async(pool, &ends_thread, NULL, &results[i], NULL), CREW_OK);
    for (int i = 0; i < 40; i++)
        CHECK_STATUS(end_of(results[i]), CREW_WORKER_LOST);
    blocker_hold(&blocker, pool, config->workers);
    end_pool(pool, &blocker);
}

CONTRACT_THREADS(jobs_queued_behind_a_lost_one_all_run)
{
    crew_pool *pool = contract_pool(NULL);
    struct ledger ledger = {0};

    for (long i = 0; i < 100; i++) {
        CHECK_STATUS(ledger_submit(&ledger, pool, i, NULL), CREW_OK);
        if (i % 10 == 0)
            CHECK_STATUS(crew_apply_async(pool, &ends_thread, NULL, NULL, NULL), CREW_OK);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_OK]), 100);
    ledger_check(&ledger, 100, 0);
}

static int spawns_and_ends_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    for (int i = 0; i < 30; i++)
        CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_one, NULL, NULL, CREW_CALL(.context = context)),
                     CREW_OK);
    pthread_exit(NULL);
}

CONTRACT(what_a_lost_job_had_submitted_runs)
{
    static const crew_job spawns_and_ends = {spawns_and_ends_fn, 0, 0, "spawns_and_ends", NULL, NULL};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = CREW_NO_SPARES));
    counter runs = {0};

    CHECK_STATUS(end_of(submit_elsewhere(pool, &spawns_and_ends, &runs)), CREW_WORKER_LOST);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&runs), 30);
}

/* ---- the jobs beneath ---- */

struct pile {
    counter survivors, told;
    crew_result *results[4];
};

static crew_fn pile_fn;
static const crew_job pile_job = {pile_fn, sizeof(int), 0, "pile", NULL, NULL};

/* Job k waits for job k + 1, which on a single thread runs on top of it; the last ends the thread. */
static int pile_fn(const void *arg, void *result, void *context)
{
    struct pile *pile = context;
    int next = *(const int *)arg + 1;
    crew_status status;

    (void)result;
    if (next == 4)
        pthread_exit(NULL);
    CHECK_STATUS(
        crew_apply_async(crew_current_pool(), &pile_job, &next, &pile->results[next], CREW_CALL(.context = pile)),
        CREW_OK);
    status = crew_result_get(pile->results[next], NULL, CREW_FOREVER);
    CHECK(status == CREW_OK || status == CREW_WORKER_LOST);
    counter_add(&pile->told, status == CREW_WORKER_LOST);
    counter_add(&pile->survivors, 1);
    return 0;
}

CONTRACT_THREADS(the_jobs_suspended_beneath_a_lost_one_are_lost_with_it)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES));
    struct pile pile = {.survivors = {0}};

    CHECK_STATUS(crew_apply_async(pool, &pile_job, &(int){0}, &pile.results[0], CREW_CALL(.context = &pile)), CREW_OK);
    for (int i = 0; i < 4; i++)
        CHECK_STATUS(end_of(pile.results[i]), CREW_WORKER_LOST);
    CHECK_EQ(counter_get(&pile.survivors), 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(a_job_that_waits_on_another_thread_survives_and_is_told)
{
    crew_pool *pool = contract_pool(NULL);

    for (int round = 0; round < 20; round++) {
        struct pile pile = {.survivors = {0}};
        long lost = 0;

        CHECK_STATUS(crew_apply_async(pool, &pile_job, &(int){0}, &pile.results[0], CREW_CALL(.context = &pile)),
                     CREW_OK);
        for (int i = 0; i < 4; i++)
            lost += end_of(pile.results[i]) == CREW_WORKER_LOST;
        CHECK(lost >= 1);
        CHECK_EQ(lost + counter_get(&pile.survivors), 4);
        CHECK_EQ(counter_get(&pile.told), lost < 4);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- maps and streams ---- */

CREW_JOB(third_ends_thread, long, long)
{
    (void)context;
    if (*arg == 3)
        pthread_exit(NULL);
    *result = *arg;
    return 0;
}

CONTRACT_THREADS(an_item_that_ends_its_thread_fails_its_map_and_the_others_run)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));

    for (size_t chunk = 0; chunk <= 20; chunk += 5) {
        long numbers[20], values[20] = {0};
        crew_error error = {0};

        for (int i = 0; i < 20; i++)
            numbers[i] = i;
        CHECK_STATUS(
            crew_map(pool, &third_ends_thread, numbers, 20, values, CREW_CALL(.error = &error, .chunk = chunk)),
            CREW_WORKER_LOST);
        CHECK_EQ(error.index, 3);
        for (int i = 4; i < 20; i++)
            CHECK_EQ(values[i], i);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void check_lost_item(imap_fn *imap, size_t chunk)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    struct counted_source source;
    crew_iterator *stream;
    crew_status statuses[10];
    size_t index;
    long value;

    counted_source_init(&source, 10);
    CHECK_STATUS(imap(pool, &third_ends_thread, COUNTED(&source), &stream, CREW_CALL(.chunk = chunk)), CREW_OK);
    for (int i = 0; i < 10; i++) {
        crew_status status = crew_iterator_next(stream, &value, &index, far_away(), NULL);

        CHECK(CREW_IS_OUTCOME(status));
        statuses[index] = status;
    }
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(statuses[i], i == 3 ? CREW_WORKER_LOST : CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, far_away(), NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
}

CONTRACT_THREADS(an_item_that_ends_its_thread_comes_at_its_place_in_the_stream)
{
    check_lost_item(crew_imap, 1);
    check_lost_item(crew_imap, 4);
    check_lost_item(crew_imap_unordered, 1);
    check_lost_item(crew_imap_unordered, 4);
}

CONTRACT_THREADS(an_item_that_ends_its_thread_leaves_the_rest_of_its_chunk_to_another)
{
    check_lost_item(crew_imap, 6);
    check_lost_item(crew_imap, 10);
    check_lost_item(crew_imap_unordered, 6);
    check_lost_item(crew_imap_unordered, 10);
}

/* ---- callbacks, sources, helpers, initializers ---- */

static void end_first(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    if (counter_add(user, 1) == 1)
        pthread_exit(NULL);
}

CONTRACT_THREADS(a_callback_that_ends_its_thread_holds_up_no_other)
{
    crew_pool *pool = contract_pool(NULL);
    counter calls = {0};

    for (int i = 0; i < 20; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, CREW_CALL(.on_done = end_first, .user = &calls)),
                     CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&calls), 20);
}

static int ending_pull(void *user, void *ret_item)
{
    struct counted_source *source = user;

    if (source->next == 2)
        pthread_exit(NULL);
    return counted_pull(user, ret_item);
}

static void check_source_that_ends_its_thread(size_t chunk)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    struct counted_source source;
    crew_iterator *stream;
    long value;

    counted_source_init(&source, ENDLESS);
    CHECK_STATUS(crew_imap(pool, &plus_100,
                           &(crew_source){.pull = ending_pull, .user = &source, .release = counted_release}, &stream,
                           CREW_CALL(.chunk = chunk)),
                 CREW_OK);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_SOURCE_FAILED);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_NOW, NULL), CREW_SOURCE_FAILED);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
}

/* Longer than a worker's turn at a stream. */
CREW_JOB(slow_plus_100, long, long)
{
    (void)context;
    (void)poll(NULL, 0, 1);
    *result = *arg + 100;
    return 0;
}

/* The thread that is lost in the source would have run the second item in its next turn. */
CONTRACT_THREADS(what_was_pulled_before_the_source_ended_its_thread_is_run)
{
    for (int round = 0; round < 20; round++) {
        crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
        struct counted_source source;
        crew_iterator *stream;
        long value;

        counted_source_init(&source, ENDLESS);
        CHECK_STATUS(crew_imap(pool, &slow_plus_100,
                               &(crew_source){.pull = ending_pull, .user = &source, .release = counted_release},
                               &stream, CREW_CALL(.window = 2)),
                     CREW_OK);
        for (int i = 0; i < 2; i++) {
            CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_OK);
            CHECK_EQ(value, 100 + i);
        }
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_SOURCE_FAILED);
        crew_iterator_destroy(stream);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        counted_source_free(&source);
    }
}

CONTRACT_THREADS(a_source_that_ends_its_thread_has_failed)
{
    check_source_that_ends_its_thread(0);
}

CONTRACT_THREADS(a_source_that_ends_its_thread_in_the_middle_of_a_chunk_loses_nothing_that_it_gave)
{
    check_source_that_ends_its_thread(4);
}

static void help(void *arg)
{
    (void)crew_result_wait(arg, CREW_FOREVER);
}

CONTRACT_THREADS(a_helper_that_is_lost_settles_the_job_it_helped_with)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;
    struct test_thread *helper;
    crew_result *result;

    blocker_hold(&blocker, pool, config->workers - 1);
    CHECK_STATUS(crew_apply_async(pool, &ends_thread, NULL, &result, NULL), CREW_OK);
    helper = test_thread_start(help, result);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_WORKER_LOST);
    test_thread_join(helper);
    crew_result_destroy(result);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

struct registry {
    counter inits, exits;
    long good; /* so many calls of the initializer succeed */
};

static int register_worker(void *user, int worker, void **ret_state)
{
    struct registry *registry = user;

    (void)worker;
    *ret_state = registry;
    return counter_add(&registry->inits, 1) <= registry->good ? 0 : crew_fail(13, "no more seats");
}

static void unregister_worker(void *user, int worker, void *state)
{
    struct registry *registry = user;

    (void)worker;
    CHECK(state == registry);
    counter_add(&registry->exits, 1);
}

CONTRACT_THREADS(a_lost_worker_is_ended_and_its_replacement_initialised)
{
    struct registry registry = {.good = 1000};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 2, .worker_init = register_worker,
                                                 .worker_exit = unregister_worker, .user = &registry));
    struct blocker blocker;

    for (int i = 0; i < 5; i++)
        CHECK_STATUS(end_of(submit_elsewhere(pool, &ends_thread, NULL)), CREW_WORKER_LOST);
    blocker_hold(&blocker, pool, 2);
    CHECK(counter_get(&registry.inits) >= 4);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&registry.exits), counter_get(&registry.inits));
}

static void leave_for_good(void *user, int worker, void *state)
{
    unregister_worker(user, worker, state);
    pthread_exit(NULL);
}

CONTRACT_THREADS(a_worker_that_is_lost_on_its_way_out_has_no_successor)
{
    struct registry registry = {.good = 1000};
    crew_pool *pool = contract_pool(
        CREW_OPTIONS(.workers = 3, .worker_init = register_worker, .worker_exit = leave_for_good, .user = &registry));
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&registry.inits), 3);
    CHECK_EQ(counter_get(&registry.exits), 3);
}

CONTRACT_THREADS(a_pool_that_cannot_replace_its_last_worker_is_broken)
{
    struct registry registry = {.good = 1};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY,
                                                 .worker_init = register_worker, .worker_exit = unregister_worker,
                                                 .user = &registry));
    crew_pool_info info = {.struct_size = sizeof info};
    crew_result *lost, *next = NULL;
    crew_status status;
    counter runs = {0};

    CHECK_STATUS(crew_apply_async(pool, &ends_thread, NULL, &lost, NULL), CREW_OK);
    status = crew_apply_async(pool, &count_one, NULL, &next, CREW_CALL(.context = &runs));
    CHECK(status == CREW_OK || status == CREW_BROKEN);
    CHECK_STATUS(end_of(lost), CREW_WORKER_LOST);
    CHECK_STATUS(status == CREW_OK ? end_of(next) : status, CREW_BROKEN);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, NULL), CREW_BROKEN);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_EQ(info.state, CREW_POOL_BROKEN);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&registry.exits), 1);
    CHECK_EQ(counter_get(&runs), 0);
}

static void lose_the_only_thread_there_may_be(void *arg)
{
    struct ledger ledger = {0};
    long accepted = 0;
    crew_pool *pool;
    crew_result *lost;

    (void)arg;
    limit_threads(2);
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY)), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &ends_thread, NULL, &lost, NULL), CREW_OK);
    for (long i = 0; i < 100; i++)
        accepted += ledger_submit(&ledger, pool, i, NULL) == CREW_OK;
    CHECK_STATUS(end_of(lost), CREW_WORKER_LOST);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_BROKEN]), accepted);
    ledger_check(&ledger, accepted, 0);
}

TEST(a_pool_that_gets_no_thread_for_its_last_worker_s_calls_back_all_the_same)
{
    for (int i = 0; i < 20; i++)
        check_with_limited_threads(lose_the_only_thread_there_may_be, NULL);
}

/* ---- a blocking call whose thread is ended by what it helps with ---- */

static void note_outcome(const crew_outcome *outcome, void *user)
{
    if (outcome->status == CREW_WORKER_LOST)
        counter_add(user, 1);
}

struct caller {
    crew_pool *pool;
    counter told;
};

static void apply_and_be_ended(void *arg)
{
    struct caller *caller = arg;
    (void)crew_apply(caller->pool, &ends_thread, NULL, NULL, CREW_CALL(.on_done = note_outcome, .user = &caller->told));
    CHECK(!config->helping && config->threads); /* else it does not come back */
}

CONTRACT(a_blocking_call_that_ends_with_its_thread_leaves_nothing_behind)
{
    struct test_memory memory = {.fail_at = 0};
    struct caller caller = {.pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)))};

    test_thread_join(test_thread_start(apply_and_be_ended, &caller));
    CHECK_STATUS(crew_pool_destroy(caller.pool), CREW_OK);
    CHECK_EQ(counter_get(&caller.told), 1);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
}
