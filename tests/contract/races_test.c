/* SPDX-License-Identifier: MIT */
/* Promises 1 and 9 under fire: workers, helpers, cancel, close and terminate race for the same jobs, over and over; and
 * no submit to a sleeping pool is ever overlooked. */
#include "ledger.h"

enum { JOBS = 64 };

static unsigned rounds(unsigned plain)
{
    return test_under_sanitizer() ? plain / 10 : plain;
}

/* Keeps this thread busy for a moment that differs from call to call, so that the races meet in every order. */
static void dawdle(uint64_t *random, unsigned limit)
{
    for (volatile uint64_t left = test_random(random) % (limit + 1); left > 0; left--)
        ;
}

/* ---- cancel, help and the workers: one of them gets each job ---- */

struct scramble {
    crew_pool *pool;
    struct gate *begin;
    crew_result *results[JOBS];
    counter runs[JOBS], drops[JOBS], callbacks[JOBS];
    crew_status ends[JOBS];
};

static int scramble_fn(const void *arg, void *result, void *context)
{
    (void)result;
    counter_add(&((struct scramble *)context)->runs[*(const int *)arg], 1);
    return 0;
}

static void scramble_drop(void *arg, void *context)
{
    counter_add(&((struct scramble *)context)->drops[*(int *)arg], 1);
}

static void scramble_done(const crew_outcome *outcome, void *user)
{
    CHECK(outcome->status == CREW_OK || outcome->status == CREW_CANCELLED || outcome->status == CREW_TERMINATED);
    counter_add(user, 1);
}

static const crew_job scramble_job = {scramble_fn, sizeof(int), 0, "scramble", scramble_drop, NULL};

static void cancel_upwards(void *arg)
{
    struct scramble *scramble = arg;

    gate_wait(scramble->begin);
    for (int i = 0; i < JOBS; i++)
        (void)crew_result_cancel(scramble->results[i]);
}

static void cancel_downwards(void *arg)
{
    struct scramble *scramble = arg;

    gate_wait(scramble->begin);
    for (int i = JOBS - 1; i >= 0; i--)
        (void)crew_result_cancel(scramble->results[i]);
}

static void get_all(void *arg)
{
    struct scramble *scramble = arg;

    gate_wait(scramble->begin);
    for (int i = JOBS / 2; i < JOBS + JOBS / 2; i++)
        scramble->ends[i % JOBS] = crew_result_get(scramble->results[i % JOBS], NULL, CREW_FOREVER);
}

/* All jobs are queued behind a blocker, and let go at the same moment as the threads that race for them. */
static void scramble_run(struct scramble *scramble, crew_pool *pool, void (*const parts[])(void *), int count)
{
    struct test_thread *threads[3];
    struct blocker blocker;

    scramble->begin = gate_new();
    blocker_hold(&blocker, pool, config->workers);
    for (int i = 0; i < JOBS; i++)
        CHECK_STATUS(
            crew_apply_async(pool, &scramble_job, &i, &scramble->results[i],
                             CREW_CALL(.context = scramble, .on_done = scramble_done, .user = &scramble->callbacks[i])),
            CREW_OK);
    for (int i = 0; i < count; i++)
        threads[i] = test_thread_start(parts[i], scramble);
    gate_open(scramble->begin);
    blocker_let_go(&blocker);
    for (int i = 0; i < count; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    blocker_free(&blocker);
}

static void scramble_check(struct scramble *scramble)
{
    for (int i = 0; i < JOBS; i++) {
        crew_status status = crew_result_status(scramble->results[i]);

        CHECK_STATUS(scramble->ends[i], status);
        CHECK_EQ(counter_get(&scramble->runs[i]), status == CREW_OK);
        CHECK_EQ(counter_get(&scramble->drops[i]), 1);
        CHECK_EQ(counter_get(&scramble->callbacks[i]), 1);
        crew_result_destroy(scramble->results[i]);
    }
    gate_free(scramble->begin);
}

CONTRACT_THREADS(a_job_that_workers_helpers_and_cancels_race_for_has_one_end)
{
    static void (*const parts[])(void *) = {cancel_upwards, cancel_downwards, get_all};
    crew_pool *pool = contract_pool(NULL);

    for (unsigned round = 0; round < rounds(200); round++) {
        struct scramble scramble = {0};

        scramble_run(&scramble, pool, parts, 3);
        scramble_check(&scramble);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- terminate against everything ---- */

static void terminate_soon(void *arg)
{
    struct scramble *scramble = arg;
    uint64_t random = test_seed() + (uintptr_t)scramble->results[0];

    gate_wait(scramble->begin);
    dawdle(&random, 20000);
    CHECK_STATUS(crew_pool_terminate(scramble->pool), CREW_OK);
}

CONTRACT_THREADS(a_job_that_workers_helpers_and_terminate_race_for_has_one_end)
{
    static void (*const parts[])(void *) = {terminate_soon, get_all};

    for (unsigned round = 0; round < rounds(100); round++) {
        struct scramble scramble = {.pool = contract_pool(NULL)};

        scramble_run(&scramble, scramble.pool, parts, 2);
        CHECK_STATUS(crew_pool_destroy(scramble.pool), CREW_OK);
        scramble_check(&scramble);
    }
}

struct flood {
    crew_pool *pool;
    struct ledger ledger;
    struct gate *begun;
    counter accepted;
    crew_status refusal;
};

static void submit_until_refused(void *arg)
{
    struct flood *flood = arg;

    for (long i = 0;; i++) {
        crew_status status = ledger_submit(&flood->ledger, flood->pool, i, NULL);

        if (status != CREW_OK) {
            CHECK_STATUS(status, CREW_CLOSED);
            return;
        }
        if (counter_add(&flood->accepted, 1) == 10)
            gate_open(flood->begun);
    }
}

static void flood_ended_by(crew_status (*end)(crew_pool *))
{
    struct flood flood = {.pool = contract_pool(CREW_OPTIONS(.queue_max = 1000)), .begun = gate_new()};
    struct test_thread *threads[2];

    for (int i = 0; i < 2; i++)
        threads[i] = test_thread_start(submit_until_refused, &flood);
    gate_wait(flood.begun);
    CHECK_STATUS(end(flood.pool), CREW_OK);
    for (int i = 0; i < 2; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(flood.pool), CREW_OK);
    ledger_check(&flood.ledger, counter_get(&flood.accepted), 0);
    CHECK_EQ(counter_get(&flood.ledger.runs), counter_get(&flood.ledger.by_status[CREW_OK]));
    CHECK(end == crew_pool_terminate || counter_get(&flood.ledger.by_status[CREW_TERMINATED]) == 0);
    gate_free(flood.begun);
}

CONTRACT(a_submit_that_races_terminate_is_refused_or_ends)
{
    for (unsigned round = 0; round < rounds(30); round++)
        flood_ended_by(crew_pool_terminate);
}

CONTRACT(a_submit_that_races_close_is_refused_or_runs)
{
    for (unsigned round = 0; round < rounds(30); round++)
        flood_ended_by(crew_pool_close);
}

/* ---- a sleeping pool hears every submit ---- */

static int answer_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    gate_add(context);
    return 0;
}

static const crew_job answer = {answer_fn, 0, 0, "answer", NULL, NULL};

CONTRACT_THREADS(a_submit_to_a_pool_about_to_sleep_always_wakes_a_worker)
{
    crew_pool *pool = contract_pool(NULL);
    struct gate *answers = gate_new();
    uint64_t random = test_seed();

    for (unsigned round = 1; round <= rounds(20000); round++) {
        CHECK_STATUS(crew_apply_async(pool, &answer, NULL, NULL, CREW_CALL(.context = answers)), CREW_OK);
        gate_wait_for(answers, round);
        dawdle(&random, 3000);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(answers);
}

struct player {
    crew_pool *pool;
    uint64_t random;
};

static void play(void *arg)
{
    struct player *player = arg;
    struct gate *answers = gate_new();

    for (unsigned round = 1; round <= rounds(8000); round++) {
        CHECK_STATUS(crew_apply_async(player->pool, &answer, NULL, NULL, CREW_CALL(.context = answers)), CREW_OK);
        gate_wait_for(answers, round);
        dawdle(&player->random, 1000);
    }
    CHECK_STATUS(crew_pool_wait(player->pool, CREW_FOREVER), CREW_OK);
    gate_free(answers);
}

CONTRACT_THREADS(two_submitters_who_each_await_an_answer_are_always_heard)
{
    crew_pool *pool = contract_pool(NULL);
    struct player players[2] = {{pool, test_seed()}, {pool, test_seed() + 1}};
    struct test_thread *threads[2];

    for (int i = 0; i < 2; i++)
        threads[i] = test_thread_start(play, &players[i]);
    for (int i = 0; i < 2; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct relay {
    counter left;
    struct gate *finish;
};

static crew_fn relay_fn;
static const crew_job relay_job = {relay_fn, 0, 0, "relay", NULL, NULL};

static int relay_fn(const void *arg, void *result, void *context)
{
    struct relay *relay = context;

    (void)arg;
    (void)result;
    if (counter_add(&relay->left, -1) <= 0) {
        gate_add(relay->finish);
        return 0;
    }
    return crew_apply_async(crew_current_pool(), &relay_job, NULL, NULL, CREW_CALL(.context = context)) != CREW_OK;
}

CONTRACT_THREADS(a_job_that_submits_its_successor_is_always_followed)
{
    crew_pool *pool = contract_pool(NULL);
    struct relay relay = {.left = {rounds(20000)}, .finish = gate_new()};

    for (int i = 0; i < 3; i++)
        CHECK_STATUS(crew_apply_async(pool, &relay_job, NULL, NULL, CREW_CALL(.context = &relay)), CREW_OK);
    gate_wait_for(relay.finish, 3);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(relay.finish);
}

/* ---- ready only after stored ---- */

struct page {
    unsigned char bytes[256];
};

/* Fills a page with its argument, and fails for an odd one. `context` is plain memory that the reader looks at, too. */
CREW_JOB(fill_page, unsigned char, struct page)
{
    uint64_t random = *arg;

    for (size_t i = 0; i < sizeof result->bytes; i++) {
        result->bytes[i] = *arg;
        if (i % 64 == 0)
            dawdle(&random, 50);
    }
    *(unsigned char *)context = *arg;
    return *arg % 2 == 0 ? 0 : crew_fail(*arg, "page %d", (int)*arg);
}

static void check_page(crew_result *result, unsigned char number)
{
    struct page page;

    CHECK_STATUS(crew_result_get(result, &page, CREW_NOW), CREW_OK);
    for (size_t i = 0; i < sizeof page.bytes; i++)
        CHECK_EQ(page.bytes[i], number);
}

static void check_page_error(const crew_result *result, unsigned char number)
{
    char message[16];
    crew_error error;

    CHECK_STATUS(crew_result_error(result, &error), CREW_OK);
    CHECK_EQ(error.code, number);
    (void)snprintf(message, sizeof message, "page %d", (int)number);
    CHECK_STRING(error.message, message);
}

CREW_JOB(fill_page_in_two_halves, struct blocker *, struct page)
{
    (void)context;
    memset(result->bytes, 7, sizeof result->bytes / 2);
    gate_add((*arg)->started);
    gate_wait((*arg)->go);
    memset(result->bytes, 7, sizeof result->bytes);
    return 0;
}

CONTRACT_THREADS(a_result_is_not_ready_while_its_job_runs)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker = {gate_new(), gate_new()}, *argument = &blocker;
    crew_result *result;
    struct page page;

    CHECK_STATUS(crew_apply_async(pool, &fill_page_in_two_halves, &argument, &result, NULL), CREW_OK);
    gate_wait(blocker.started);
    CHECK_STATUS(crew_result_status(result), CREW_BUSY);
    CHECK_STATUS(crew_result_get(result, &page, CREW_NOW), CREW_TIMEOUT);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    check_page(result, 7);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

CONTRACT_THREADS(a_map_is_not_ready_while_an_item_runs)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker = {gate_new(), gate_new()}, *arguments[3] = {&blocker, &blocker, &blocker};
    crew_result *result;

    CHECK_STATUS(crew_map_async(pool, &hold_worker, arguments, 3, NULL, &result, CREW_CALL(.chunk = 3)), CREW_OK);
    gate_wait(blocker.started);
    CHECK_STATUS(crew_result_status(result), CREW_BUSY);
    CHECK_STATUS(crew_result_wait(result, CREW_NOW), CREW_TIMEOUT);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    CHECK_EQ(gate_count(blocker.started), 3);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

/* Many sleep for the same result, round after round: to wake them all takes a while, so that the first of them looks at
 * it when whoever made it ready has hardly gone on. */
enum { SLEEPERS = 16 };

struct dormitory {
    struct gate *begin, *about_to_sleep, *awake; /* counted through all rounds */
    crew_result *result;
};

static void sleep_until_ready(void *arg)
{
    struct dormitory *dormitory = arg;

    for (unsigned round = 1; round <= rounds(100); round++) {
        gate_wait_for(dormitory->begin, round);
        gate_add(dormitory->about_to_sleep);
        CHECK_STATUS(crew_result_wait(dormitory->result, far_away()), CREW_OK);
        CHECK_STATUS(crew_result_status(dormitory->result), CREW_FAILED);
        check_page_error(dormitory->result, 7);
        gate_add(dormitory->awake);
    }
}

/* The argument is how many sleepers there have been in all rounds. */
CREW_ACTION(fail_when_they_sleep, unsigned)
{
    gate_wait_for(((struct dormitory *)context)->about_to_sleep, *arg);
    return crew_fail(7, "page 7");
}

CONTRACT_THREADS(whoever_sleeps_until_a_result_is_ready_sees_its_whole_error)
{
    struct dormitory dormitory = {gate_new(), gate_new(), gate_new(), NULL};
    struct test_thread *threads[SLEEPERS];
    crew_pool *pool = contract_pool(NULL);

    for (int i = 0; i < SLEEPERS; i++)
        threads[i] = test_thread_start(sleep_until_ready, &dormitory);
    for (unsigned round = 1; round <= rounds(100); round++) {
        unsigned count = round * SLEEPERS;

        CHECK_STATUS(
            crew_apply_async(pool, &fail_when_they_sleep, &count, &dormitory.result, CREW_CALL(.context = &dormitory)),
            CREW_OK);
        gate_add(dormitory.begin);
        gate_wait_for(dormitory.awake, count);
        crew_result_destroy(dormitory.result);
    }
    for (int i = 0; i < SLEEPERS; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(dormitory.begin);
    gate_free(dormitory.about_to_sleep);
    gate_free(dormitory.awake);
}

CONTRACT(a_result_that_is_ready_has_its_whole_value_or_error)
{
    crew_pool *pool = contract_pool(NULL);

    for (unsigned round = 0; round < rounds(3000); round++) {
        unsigned char number = (unsigned char)round, seen = (unsigned char)~number;
        crew_result *result;

        CHECK_STATUS(crew_apply_async(pool, &fill_page, &number, &result, CREW_CALL(.context = &seen)), CREW_OK);
        while (crew_result_status(result) == CREW_BUSY)
            ;
        CHECK_EQ(seen, number);
        number % 2 == 0 ? check_page(result, number) : check_page_error(result, number);
        crew_result_destroy(result);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_map_that_is_ready_has_all_its_values)
{
    enum { COUNT = 50 };
    crew_pool *pool = contract_pool(NULL);
    int numbers[COUNT];

    for (int i = 0; i < COUNT; i++)
        numbers[i] = i;
    for (unsigned round = 0; round < rounds(2000); round++) {
        long doubled[COUNT] = {0};
        crew_result *result;

        CHECK_STATUS(crew_map_async(pool, &twice, numbers, COUNT, doubled, &result, CREW_CALL(.chunk = 1 + round % 3)),
                     CREW_OK);
        while (crew_result_status(result) == CREW_BUSY)
            ;
        for (int i = 0; i < COUNT; i++)
            CHECK_EQ(doubled[i], 2L * i);
        crew_result_destroy(result);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
