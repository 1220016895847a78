/* SPDX-License-Identifier: MIT */
/* Promise 16, visibility: each happens-before edge that pool.h lists, on plain memory. A race detector sees a
 * missing edge; without one, the values are checked. */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"

enum { ROUNDS = 50 };

/* Plain memory, one side of which is written outside and the other by a job. */
struct letter {
    long question, answer;
};

CREW_ACTION(answer_letter, struct letter *)
{
    struct letter *letter = *arg;
    (void)context;
    CHECK_EQ(letter->question, 20);
    letter->answer = letter->question + 22;
    return 0;
}

static void post(crew_pool *pool, struct letter *letter, crew_result **ret_result, const crew_call *call)
{
    letter->question = 20;
    letter->answer = 0;
    CHECK_STATUS(crew_apply_async(pool, &answer_letter, &letter, ret_result, call), CREW_OK);
}

/* ---- submit → start; end → ready, wait, get ---- */

CONTRACT(what_a_job_wrote_is_seen_when_its_result_is_ready)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < ROUNDS; round++) {
        struct letter letter;
        crew_result *result;
        post(pool, &letter, &result, NULL);
        while (crew_result_status(result) == CREW_BUSY)
            continue;
        CHECK_EQ(letter.answer, 42);
        crew_result_destroy(result);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(what_a_job_wrote_is_seen_after_wait)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < ROUNDS; round++) {
        struct letter letter;
        crew_result *result;
        post(pool, &letter, &result, NULL);
        CHECK_STATUS(crew_result_wait(result, round % 2 ? CREW_FOREVER : far_away()), CREW_OK);
        CHECK_EQ(letter.answer, 42);
        crew_result_destroy(result);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(what_a_job_wrote_is_seen_after_get)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < ROUNDS; round++) {
        struct letter letter;
        crew_result *result;
        post(pool, &letter, &result, NULL);
        CHECK_STATUS(crew_result_get(result, NULL, round % 2 ? CREW_FOREVER : far_away()), CREW_OK);
        CHECK_EQ(letter.answer, 42);
        crew_result_destroy(result);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(what_a_job_wrote_is_seen_after_apply)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < ROUNDS; round++) {
        struct letter letter = {20, 0}, *pointer = &letter;
        CHECK_STATUS(crew_apply(pool, &answer_letter, &pointer, NULL, NULL), CREW_OK);
        CHECK_EQ(letter.answer, 42);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* Every one of several waiters sees it, whoever ran the job. */
struct shared_letter {
    struct letter letter;
    crew_result *result;
};

static void wait_and_read(void *arg)
{
    struct shared_letter *shared = arg;
    CHECK_STATUS(crew_result_wait(shared->result, CREW_FOREVER), CREW_OK);
    CHECK_EQ(shared->letter.answer, 42);
}

CONTRACT(what_a_job_wrote_is_seen_by_every_waiter)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < ROUNDS / 5; round++) {
        struct shared_letter shared;
        struct test_thread *threads[3];
        post(pool, &shared.letter, &shared.result, NULL);
        for (int i = 0; i < 3; i++)
            threads[i] = test_thread_start(wait_and_read, &shared);
        for (int i = 0; i < 3; i++)
            test_thread_join(threads[i]);
        crew_result_destroy(shared.result);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- end → callback, callback n → callback n + 1, last callback → join ---- */

static long plain_calls; /* no atomic, no lock: callbacks are one after another */

static void read_letter(const crew_outcome *outcome, void *user)
{
    struct letter *letter = user;
    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK_EQ(letter->answer, 42);
    plain_calls++;
}

CONTRACT(what_a_job_wrote_is_seen_by_its_callback_and_each_callback_sees_the_one_before)
{
    static struct letter letters[500];
    crew_pool *pool = contract_pool(NULL);
    for (int i = 0; i < 500; i++)
        post(pool, &letters[i], NULL, CREW_CALL(.on_done = read_letter, .user = &letters[i]));
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(plain_calls, 500);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(what_a_callback_wrote_is_seen_when_a_result_is_ready_after_it)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 1; round <= ROUNDS; round++) {
        struct letter letter;
        crew_result *result;
        post(pool, &letter, &result,
             CREW_CALL(.on_done = read_letter, .user = &letter, .flags = CREW_READY_AFTER_DONE));
        CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
        CHECK_EQ(plain_calls, round);
        crew_result_destroy(result);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- maps and streams ---- */

enum { ITEMS = 200 };
static long plain_in[ITEMS], plain_out[ITEMS];

CREW_ACTION(answer_item, size_t)
{
    (void)context;
    CHECK_EQ(plain_in[*arg], 20);
    plain_out[*arg] = plain_in[*arg] + 22;
    return 0;
}

static void prepare_items(void)
{
    for (int i = 0; i < ITEMS; i++)
        plain_in[i] = 20, plain_out[i] = 0;
}

static void check_items(void)
{
    for (int i = 0; i < ITEMS; i++)
        CHECK_EQ(plain_out[i], 42);
}

CONTRACT(what_the_items_of_a_map_wrote_is_seen_with_its_result)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < ROUNDS / 5; round++) {
        crew_result *map;
        prepare_items();
        CHECK_STATUS(crew_map(pool, &answer_item, NULL, ITEMS, NULL, NULL), CREW_OK);
        check_items();
        prepare_items();
        CHECK_STATUS(crew_map_async(pool, &answer_item, NULL, ITEMS, NULL, &map, CREW_CALL(.chunk = 1)), CREW_OK);
        CHECK_STATUS(crew_result_wait(map, far_away()), CREW_OK);
        check_items();
        crew_result_destroy(map);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(the_arrays_of_a_map_are_free_again_when_its_handle_is_destroyed)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < ROUNDS; round++) {
        crew_result *map;
        prepare_items();
        CHECK_STATUS(crew_map_async(pool, &answer_item, NULL, ITEMS, NULL, &map, NULL), CREW_OK);
        crew_result_destroy(map); /* cancels, and waits for what runs */
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void check_items_as_callback(const crew_outcome *outcome, void *user)
{
    (void)user;
    CHECK_STATUS(outcome->status, CREW_OK);
    check_items();
    plain_calls++;
}

CONTRACT(what_the_items_of_a_map_wrote_is_seen_by_its_callback)
{
    crew_pool *pool = contract_pool(NULL);
    prepare_items();
    CHECK_STATUS(
        crew_map_async(pool, &answer_item, NULL, ITEMS, NULL, NULL, CREW_CALL(.on_done = check_items_as_callback)),
        CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(plain_calls, 1);
}

/* All plain, and touched by pulls (which may be on any thread) and by the release only. */
struct plain_source {
    size_t pulled;
    bool released;
};

static int pull_plainly(void *user, void *ret_item)
{
    struct plain_source *source = user;
    CHECK(!source->released);
    if (source->pulled == ITEMS)
        return 0;
    plain_in[source->pulled] = 20;
    *(size_t *)ret_item = source->pulled++;
    return 1;
}

static void release_plainly(void *user)
{
    struct plain_source *source = user;
    CHECK(!source->released);
    source->released = true;
}

static void check_stream(bool ordered)
{
    crew_pool *pool = contract_pool(NULL);
    crew_iterator *stream;
    struct plain_source plain = {0, false};
    const crew_source source = {.pull = pull_plainly, .user = &plain, .release = release_plainly};
    crew_status status = ordered ? crew_imap(pool, &answer_item, &source, &stream, NULL)
                                 : crew_imap_unordered(pool, &answer_item, &source, &stream, NULL);
    CHECK_STATUS(status, CREW_OK);
    for (size_t index, i = 0; i < ITEMS; i++) {
        CHECK_STATUS(crew_iterator_next(stream, NULL, &index, i % 2 ? CREW_FOREVER : far_away(), NULL), CREW_OK);
        CHECK_EQ(plain_out[index], 42);
    }
    CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(plain.pulled, ITEMS);
    CHECK(plain.released);
}

CONTRACT(pulls_see_each_other_jobs_see_their_pull_and_next_sees_the_job)
{
    check_stream(true);
}

CONTRACT(the_same_is_seen_in_an_unordered_stream)
{
    check_stream(false);
}

/* ---- initializer → jobs of the worker → worker_exit → join ---- */

struct plain_worker {
    long answer, jobs;
};

enum { SLOTS = 8192 };
static struct plain_worker plain_workers[SLOTS];
static long jobs_of_exited[SLOTS];

static int init_plainly(void *user, int worker, void **ret_state)
{
    (void)user;
    CHECK(worker >= 0 && worker < SLOTS);
    plain_workers[worker] = (struct plain_worker){42, 0};
    *ret_state = &plain_workers[worker];
    return 0;
}

static void exit_plainly(void *user, int worker, void *state)
{
    struct plain_worker *plain = state;
    (void)user;
    CHECK_EQ(plain->answer, 42);
    jobs_of_exited[worker] += plain->jobs;
}

CREW_ACTION(count_in_state, int)
{
    struct plain_worker *plain = crew_worker_state();
    (void)arg, (void)context;
    CHECK_EQ(plain->answer, 42);
    plain->jobs++;
    return 0;
}

CONTRACT(jobs_see_their_worker_s_initializer_and_join_sees_its_exit)
{
    long jobs = 0;
    crew_pool *pool = contract_pool(
        CREW_OPTIONS(.worker_init = init_plainly, .worker_exit = exit_plainly, .flags = CREW_WORKERS_ONLY));
    for (int i = 0; i < 500; i++)
        CHECK_STATUS(crew_apply_async(pool, &count_in_state, &i, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    for (int i = 0; i < SLOTS; i++)
        jobs += jobs_of_exited[i];
    CHECK_EQ(jobs, 500);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- last job → join, wait of the pool ---- */

CONTRACT(join_sees_what_jobs_without_handles_wrote)
{
    static struct letter letters[ITEMS];
    crew_pool *pool = contract_pool(NULL);
    for (int i = 0; i < ITEMS; i++)
        post(pool, &letters[i], NULL, NULL);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, far_away()), CREW_OK);
    for (int i = 0; i < ITEMS; i++)
        CHECK_EQ(letters[i].answer, 42);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(waiting_for_the_pool_sees_what_jobs_without_handles_wrote)
{
    static struct letter letters[ITEMS];
    crew_pool *pool = contract_pool(NULL);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < ITEMS; i++)
            post(pool, &letters[i], NULL, NULL);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        for (int i = 0; i < ITEMS; i++)
            CHECK_EQ(letters[i].answer, 42);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- request_stop → should_stop ---- */

struct stopping {
    struct gate *started;
    long reason;
};

CREW_ACTION(read_reason_when_stopped, struct stopping *)
{
    (void)context;
    gate_open((*arg)->started);
    while (!crew_should_stop())
        continue;
    CHECK_EQ((*arg)->reason, 42);
    return 0;
}

CONTRACT_THREADS(a_job_that_is_told_to_stop_sees_what_was_written_before)
{
    struct stopping stopping = {gate_new(), 0}, *pointer = &stopping;
    crew_result *result;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(pool, &read_reason_when_stopped, &pointer, &result, NULL), CREW_OK);
    gate_wait(stopping.started);
    stopping.reason = 42;
    crew_pool_request_stop(pool);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(stopping.started);
}

/* ---- the same edges between jobs ---- */

CREW_ACTION(post_inside, int)
{
    struct letter letter;
    crew_result *result;
    (void)arg, (void)context;
    post(crew_current_pool(), &letter, &result, NULL);
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
    CHECK_EQ(letter.answer, 42);
    crew_result_destroy(result);
    return 0;
}

CONTRACT(a_job_sees_what_the_jobs_it_waits_for_wrote)
{
    int items[ITEMS] = {0};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_map(pool, &post_inside, items, ITEMS, NULL, CREW_CALL(.chunk = 1)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
