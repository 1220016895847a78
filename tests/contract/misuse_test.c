/* SPDX-License-Identifier: MIT */
/* Promise 17 and the bad moments: wrong order, wrong thread, twice, too late; user code that misbehaves. A status,
 * never a crash, a hang or a partial effect. (Bad arguments are in bad_input_test.c.) */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"

#include <pthread.h>

/* ---- results: twice, by two threads, after the pool ---- */

static counter values_dropped, got_value, got_nothing;

static void drop_value(void *result, void *context)
{
    (void)context;
    free(*(char **)result);
    counter_add(&values_dropped, 1);
}

CREW_JOB_DROPS(make_text, int, char *, NULL, drop_value)
{
    (void)context;
    *result = malloc(16);
    CHECK(*result != NULL);
    snprintf(*result, 16, "text %d", *arg);
    return 0;
}

CREW_JOB(plus_one, int, int)
{
    (void)context;
    *result = *arg + 1;
    return 0;
}

static crew_result *submit(crew_pool *pool, const crew_job *job, int number)
{
    crew_result *result = NULL;
    CHECK_STATUS(crew_apply_async(pool, job, &number, &result, NULL), CREW_OK);
    return result;
}

CONTRACT(a_moved_value_cannot_be_read_again_but_the_outcome_can)
{
    crew_pool *pool = contract_pool(NULL);
    crew_result *result = submit(pool, &make_text, 5);
    char *text = NULL, *again = NULL;
    CHECK_STATUS(crew_result_get(result, &text, CREW_FOREVER), CREW_OK);
    CHECK_STRING(text, "text 5");
    CHECK_STATUS(crew_result_get(result, &again, CREW_FOREVER), CREW_INVALID);
    CHECK(again == NULL);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, CREW_NOW), CREW_OK);
    free(text);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&values_dropped), 0);
}

static void get_text(void *result)
{
    char *text = NULL;
    crew_status status = crew_result_get(result, &text, CREW_FOREVER);
    if (status == CREW_OK) {
        CHECK_STRING(text, "text 7");
        free(text);
        counter_add(&got_value, 1);
    } else {
        CHECK_STATUS(status, CREW_INVALID);
        CHECK(text == NULL);
        counter_add(&got_nothing, 1);
    }
}

CONTRACT(of_several_threads_that_read_a_moved_value_exactly_one_gets_it)
{
    crew_pool *pool = contract_pool(NULL);
    for (int round = 1; round <= 10; round++) {
        struct test_thread *threads[4];
        crew_result *result = submit(pool, &make_text, 7);
        for (int i = 0; i < 4; i++)
            threads[i] = test_thread_start(get_text, result);
        for (int i = 0; i < 4; i++)
            test_thread_join(threads[i]);
        crew_result_destroy(result);
        CHECK_EQ(counter_get(&got_value), round);
        CHECK_EQ(counter_get(&got_nothing), 3 * round);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&values_dropped), 0);
}

static void get_number(void *result)
{
    for (int i = 0, value = 0; i < 10; i++, value = 0) {
        CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
        CHECK_EQ(value, 8);
    }
}

CONTRACT(a_plain_value_can_be_read_by_any_number_of_threads_after_its_pool_is_gone)
{
    struct test_thread *threads[4];
    crew_pool *pool = contract_pool(NULL);
    crew_result *result = submit(pool, &plus_one, 7);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (int i = 0; i < 4; i++)
        threads[i] = test_thread_start(get_number, result);
    for (int i = 0; i < 4; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_result_cancel(result), CREW_END);
    crew_result_destroy(result);
}

CONTRACT(a_moved_value_that_nobody_read_is_dropped_though_its_pool_is_gone)
{
    crew_pool *pool = contract_pool(NULL);
    crew_result *result = submit(pool, &make_text, 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&values_dropped), 0);
    crew_result_destroy(result);
    CHECK_EQ(counter_get(&values_dropped), 1);
}

static int make_nothing(const void *arg, void *result, void *context)
{
    (void)context;
    CHECK(arg == NULL && result == NULL);
    return 0;
}

static void drop_nothing(void *result, void *context)
{
    (void)context;
    CHECK(result == NULL);
    counter_add(&values_dropped, 1);
}

CONTRACT(a_value_of_no_bytes_is_moved_like_any_other)
{
    static const crew_job nothing = {make_nothing, 0, 0, "nothing", NULL, drop_nothing};
    crew_pool *pool = contract_pool(NULL);
    crew_result *result = submit(pool, &nothing, 0);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_INVALID);
    crew_result_destroy(result);
    CHECK_STATUS(crew_apply(pool, &nothing, NULL, NULL, NULL), CREW_OK);
    CHECK_EQ(counter_get(&values_dropped), 0);
    crew_result_destroy(submit(pool, &nothing, 0));
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&values_dropped), 1);
}

CONTRACT_THREADS(a_result_of_a_terminated_pool_that_is_gone_tells_how_it_ended)
{
    struct blocker blocker;
    int value = 77;
    crew_error error = {.status = CREW_OK};
    crew_pool *pool = contract_pool(NULL);
    blocker_hold(&blocker, pool, config->workers);
    crew_result *result = submit(pool, &plus_one, 7);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_TERMINATED);
    CHECK_EQ(value, 77);
    CHECK_STATUS(crew_result_error(result, &error), CREW_OK);
    CHECK_STATUS(error.status, CREW_TERMINATED);
    CHECK_STATUS(crew_result_cancel(result), CREW_END);
    crew_result_destroy(result);
    blocker_free(&blocker);
}

CONTRACT(cancelling_what_has_ended_changes_nothing)
{
    int value = 0;
    crew_pool *pool = contract_pool(NULL);
    crew_result *result = submit(pool, &plus_one, 7);
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_result_cancel(result), CREW_END);
    CHECK_STATUS(crew_result_get(result, &value, CREW_NOW), CREW_OK);
    CHECK_EQ(value, 8);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(cancelling_twice_says_both_times_that_it_will_never_run)
{
    struct blocker blocker;
    crew_pool *pool = contract_pool(NULL);
    blocker_hold(&blocker, pool, config->workers);
    crew_result *result = submit(pool, &plus_one, 7);
    CHECK_STATUS(crew_result_cancel(result), CREW_OK);
    CHECK_STATUS(crew_result_cancel(result), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_CANCELLED);
    crew_result_destroy(result);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

/* ---- deadlines long past ---- */

CONTRACT_THREADS(a_deadline_long_past_means_look_and_do_not_wait)
{
    const crew_deadline past[] = {CREW_NOW, {1}, {-1}, {INT64_MIN}, crew_after_ms(-5), crew_after_ns(INT64_MIN)};
    struct blocker blocker;
    int value = 77;
    crew_pool *pool = contract_pool(NULL);
    blocker_hold(&blocker, pool, config->workers);
    crew_result *result = submit(pool, &plus_one, 7);
    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
        CHECK_STATUS(crew_result_wait(result, past[i]), CREW_TIMEOUT);
        CHECK_STATUS(crew_result_get(result, &value, past[i]), CREW_TIMEOUT);
        CHECK_STATUS(crew_pool_wait(pool, past[i]), CREW_TIMEOUT);
    }
    CHECK_EQ(value, 77);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++)
        CHECK_STATUS(crew_pool_join(pool, past[i]), CREW_TIMEOUT);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++)
        CHECK_STATUS(crew_result_get(result, &value, past[i]), CREW_OK);
    CHECK_EQ(value, 8);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

CONTRACT_THREADS(next_with_a_deadline_long_past_looks_and_loses_nothing)
{
    struct stuck_source stuck;
    crew_error error = {.status = CREW_OK};
    crew_pool *pool = contract_pool(NULL);
    stuck_source_start(&stuck, pool);
    CHECK_STATUS(crew_iterator_next(stuck.stream, NULL, NULL, CREW_NOW, &error), CREW_TIMEOUT);
    CHECK_STATUS(error.status, CREW_TIMEOUT);
    CHECK_STATUS(crew_iterator_next(stuck.stream, NULL, NULL, (crew_deadline){INT64_MIN}, NULL), CREW_TIMEOUT);
    stuck_source_let_go(&stuck);
    CHECK_STATUS(crew_iterator_next(stuck.stream, NULL, NULL, far_away(), NULL), CREW_END);
    stuck_source_free(&stuck);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

TEST(deadlines_saturate)
{
    int64_t now = test_now_ns();
    CHECK_EQ(crew_after_ns(INT64_MAX).ns, INT64_MAX);
    CHECK_EQ(crew_after_ms(INT64_MAX).ns, INT64_MAX);
    CHECK_EQ(crew_after_ms(INT64_MAX / 1000000).ns, INT64_MAX);
    CHECK_EQ(crew_after_ns(-1).ns, 0);
    CHECK_EQ(crew_after_ns(INT64_MIN).ns, 0);
    CHECK_EQ(crew_after_ms(INT64_MIN).ns, 0);
    CHECK(crew_after_ms(5).ns >= now + 5 * 1000000);
    CHECK(crew_after_ns(0).ns <= test_now_ns());
}

/* ---- looking at a pool, and joining it, while another thread joins ---- */

struct slow_exit {
    crew_pool *pool;
    struct gate *leaving, *go;
};

static void leave_slowly(void *user, int worker, void *state)
{
    struct slow_exit *slow = user;
    (void)worker, (void)state;
    gate_add(slow->leaving);
    gate_wait(slow->go);
}

static void join_for_ever(void *user)
{
    struct slow_exit *slow = user;
    CHECK_STATUS(crew_pool_join(slow->pool, CREW_FOREVER), CREW_OK);
}

CONTRACT_THREADS(a_join_that_goes_on_holds_up_no_other_call)
{
    crew_pool_info info = {.struct_size = sizeof info};
    struct slow_exit slow = {NULL, gate_new(), gate_new()};
    slow.pool = contract_pool(CREW_OPTIONS(.worker_exit = leave_slowly, .user = &slow));
    CHECK_STATUS(crew_apply(slow.pool, &plus_one, &(int){1}, &(int){0}, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_close(slow.pool), CREW_OK);
    struct test_thread *joiner = test_thread_start(join_for_ever, &slow);
    gate_wait(slow.leaving);
    CHECK(!gate_wait_until(slow.leaving, config->workers + 1, NOT_YET_NS)); /* the joiner may get to where it waits */
    CHECK_STATUS(crew_pool_query(slow.pool, &info), CREW_OK);
    CHECK_EQ(info.state, CREW_POOL_CLOSED);
    CHECK_STATUS(crew_pool_join(slow.pool, CREW_NOW), CREW_TIMEOUT);
    CHECK_STATUS(crew_pool_join(slow.pool, crew_after_ns(NOT_YET_NS)), CREW_TIMEOUT);
    gate_open(slow.go);
    test_thread_join(joiner);
    CHECK_STATUS(crew_pool_join(slow.pool, CREW_NOW), CREW_OK);
    CHECK_STATUS(crew_pool_query(slow.pool, &info), CREW_OK);
    CHECK_EQ(info.state, CREW_POOL_JOINED);
    CHECK_STATUS(crew_pool_destroy(slow.pool), CREW_OK);
    gate_free(slow.leaving);
    gate_free(slow.go);
}

/* ---- a source that never returns, or fails ---- */

CONTRACT_THREADS(a_stream_whose_source_never_returns_can_be_destroyed)
{
    struct stuck_source stuck;
    int value = 0;
    crew_pool *pool = contract_pool(NULL);
    stuck_source_start(&stuck, pool);
    crew_iterator_destroy(stuck.stream);
    stuck.stream = NULL;
    CHECK_EQ(gate_count(stuck.released), 0);
    if (config->workers > 1)
        CHECK_STATUS(crew_apply(pool, &plus_one, &(int){7}, &value, NULL), CREW_OK);
    stuck_source_let_go(&stuck);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stuck_source_free(&stuck);
}

CONTRACT_THREADS(a_stream_whose_source_never_returns_ends_with_its_pool)
{
    struct stuck_source stuck;
    crew_pool *pool = contract_pool(NULL);
    stuck_source_start(&stuck, pool);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stuck.stream, NULL, NULL, far_away(), NULL), CREW_CLOSED);
    CHECK_STATUS(crew_iterator_next(stuck.stream, NULL, NULL, CREW_FOREVER, NULL), CREW_CLOSED);
    CHECK_STATUS(crew_pool_join(pool, crew_after_ns(NOT_YET_NS)), CREW_TIMEOUT);
    stuck_source_let_go(&stuck);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stuck_source_free(&stuck);
}

struct failing_source {
    int pulled, fail_at;
    struct gate *released;
};

static int pull_until_failure(void *user, void *ret_item)
{
    struct failing_source *source = user;
    CHECK(source->pulled <= source->fail_at); /* after an error there is no pull */
    *(int *)ret_item = source->pulled;
    return source->pulled++ == source->fail_at ? crew_fail(-9, "item %d is missing", source->fail_at) : 1;
}

static void release_failing(void *user)
{
    gate_open(((struct failing_source *)user)->released);
}

static void stream_until_failure(crew_pool *pool, int fail_at)
{
    struct failing_source failing = {0, fail_at, gate_new()};
    const crew_source source = {.pull = pull_until_failure, .user = &failing, .release = release_failing};
    crew_iterator *stream;
    crew_error error = {.status = CREW_OK};
    char expected[32];
    int value = 0;
    snprintf(expected, sizeof expected, "item %d is missing", fail_at);
    CHECK_STATUS(crew_imap(pool, &plus_one, &source, &stream, NULL), CREW_OK);
    for (int i = 0; i < fail_at; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(value, i + 1);
    }
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, &error), CREW_SOURCE_FAILED);
    CHECK_STATUS(error.status, CREW_SOURCE_FAILED);
    CHECK_EQ(error.code, -9);
    CHECK_STRING(error.message, expected);
    crew_iterator_destroy(stream);
    gate_wait(failing.released); /* the thread that pulled may still be on its way out */
    CHECK_EQ(gate_count(failing.released), 1);
    gate_free(failing.released);
}

CONTRACT(a_source_that_fails_at_any_item_loses_none_before_it)
{
    crew_pool *pool = contract_pool(NULL);
    for (int fail_at = 0; fail_at < 40; fail_at += 13)
        stream_until_failure(pool, fail_at);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- an initializer that fails on the third worker ---- */

static counter inits, exits;

static int fail_third_init(void *user, int worker, void **ret_state)
{
    (void)user, (void)worker, (void)ret_state;
    if (counter_add(&inits, 1) == 3)
        return crew_fail(33, "no decoder for number %d", 3);
    return 0;
}

static void count_exit(void *user, int worker, void *state)
{
    (void)user, (void)worker, (void)state;
    counter_add(&exits, 1);
}

TEST(an_initializer_that_fails_on_the_third_worker_unmakes_the_pool)
{
    crew_error error = {.status = CREW_OK};
    crew_pool *pool = NULL;
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = 4, .worker_init = fail_third_init,
                                                      .worker_exit = count_exit, .error = &error)),
                 CREW_FAILED);
    CHECK(pool == NULL);
    CHECK_STATUS(error.status, CREW_FAILED);
    CHECK_EQ(error.code, 33);
    CHECK(error.worker >= 0 && error.worker < 4);
    CHECK_STRING(error.message, "no decoder for number 3");
    CHECK_EQ(counter_get(&exits), counter_get(&inits) - 1);
    CHECK_EQ(test_threads_alive(), 1);
}

TEST(an_initializer_that_fails_on_the_third_worker_breaks_a_lazy_pool)
{
    struct blocker blocker;
    crew_error error = {.status = CREW_OK};
    crew_status status = CREW_OK;
    crew_pool *pool;
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = 3, .worker_init = fail_third_init,
                                                      .worker_exit = count_exit, .flags = CREW_LAZY_INIT)),
                 CREW_OK);
    blocker_hold(&blocker, pool, 2);
    while (status == CREW_OK) /* jobs in need of a third worker */
        status = crew_apply_async(pool, &plus_one, &(int){1}, NULL, CREW_CALL(.error = &error));
    CHECK_STATUS(status, CREW_BROKEN);
    CHECK_STATUS(error.status, CREW_BROKEN);
    CHECK(strstr(error.message, "no decoder for number 3") != NULL);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&exits), counter_get(&inits) - 1);
    blocker_free(&blocker);
}

/* ---- jobs that end their thread ---- */

static counter stayed;

CREW_ACTION(leave_at_three, int)
{
    (void)context;
    if (*arg == 3)
        pthread_exit(NULL);
    counter_add(&stayed, 1);
    return 0;
}

CONTRACT_THREADS(an_item_of_a_map_that_ends_its_thread_costs_no_other_item)
{
    int items[10];
    crew_result *map;
    crew_error error = {.status = CREW_OK};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    for (int i = 0; i < 10; i++)
        items[i] = i;
    CHECK_STATUS(crew_map_async(pool, &leave_at_three, items, 10, NULL, &map, CREW_CALL(.chunk = 5)), CREW_OK);
    CHECK_STATUS(crew_result_get(map, NULL, far_away()), CREW_WORKER_LOST);
    CHECK_STATUS(crew_result_error(map, &error), CREW_OK);
    CHECK_EQ(error.index, 3);
    CHECK_EQ(counter_get(&stayed), 9);
    crew_result_destroy(map);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(an_item_of_a_stream_that_ends_its_thread_costs_no_other_item)
{
    int items[10];
    crew_iterator *stream;
    const crew_source source = {.items = items, .count = 10};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    for (int i = 0; i < 10; i++)
        items[i] = i;
    CHECK_STATUS(crew_imap(pool, &leave_at_three, &source, &stream, CREW_CALL(.chunk = 2, .window = 6)), CREW_OK);
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, far_away(), NULL), i == 3 ? CREW_WORKER_LOST : CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, far_away(), NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void note_cleanup(void *count)
{
    counter_add(count, 1);
}

CREW_ACTION(leave_from_below_a_cleanup, counter *)
{
    (void)context;
    pthread_cleanup_push(note_cleanup, *arg);
    pthread_exit(NULL);
    pthread_cleanup_pop(0);
}

CONTRACT_THREADS(a_job_that_ends_its_thread_has_its_own_cleanup_run_first)
{
    counter cleanups = {0}, *pointer = &cleanups;
    crew_result *result;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(pool, &leave_from_below_a_cleanup, &pointer, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, far_away()), CREW_WORKER_LOST);
    CHECK_EQ(counter_get(&cleanups), 1);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- crew_fail in the wrong place ---- */

CREW_ACTION(fail_twice, int)
{
    (void)context;
    (void)crew_fail(1, "the first text");
    return *arg ? crew_fail(2, "the last text") : 0;
}

CONTRACT(the_last_text_of_crew_fail_counts_and_only_where_the_job_then_fails)
{
    crew_error error = {.status = CREW_OK, .message = "untouched"};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply(pool, &fail_twice, &(int){0}, NULL, CREW_CALL(.error = &error)), CREW_OK);
    CHECK_STRING(error.message, "untouched");
    CHECK_STATUS(crew_apply(pool, &fail_twice, &(int){1}, NULL, CREW_CALL(.error = &error)), CREW_FAILED);
    CHECK_STRING(error.message, "the last text");
    CHECK_EQ(error.code, 2);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_ACTION(fail_without_text, int)
{
    (void)context;
    return *arg;
}

CONTRACT(the_text_of_one_job_is_never_told_of_another)
{
    crew_error error;
    crew_pool *pool = contract_pool(NULL);
    CHECK_EQ(crew_fail(4, "said outside of a job"), 4);
    CHECK_EQ(crew_fail(0, "said outside of a job"), -1);
    for (int i = 0; i < 20; i++) {
        CHECK_STATUS(crew_apply(pool, &fail_twice, &(int){1}, NULL, NULL), CREW_FAILED);
        CHECK_STATUS(crew_apply(pool, &fail_without_text, &(int){6}, NULL, CREW_CALL(.error = &error)), CREW_FAILED);
        CHECK_STRING(error.message, "");
        CHECK_EQ(error.code, 6);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_ACTION(fail_at_length, int)
{
    (void)arg, (void)context;
    return crew_fail(0, "%0*d%s", CREW_ERROR_MESSAGE_SIZE - 10, 5, "0123456789012345678901234567890123456789");
}

CONTRACT(a_text_that_is_too_long_is_cut_and_terminated)
{
    crew_error error;
    crew_pool *pool = contract_pool(NULL);
    memset(&error, 'x', sizeof error);
    CHECK_STATUS(crew_apply(pool, &fail_at_length, &(int){0}, NULL, CREW_CALL(.error = &error)), CREW_FAILED);
    CHECK(memchr(error.message, '\0', sizeof error.message) != NULL);
    CHECK_EQ(strlen(error.message), CREW_ERROR_MESSAGE_SIZE - 1);
    CHECK_EQ(error.code, -1);
    CHECK(memchr(error.job, '\0', sizeof error.job) != NULL);
    CHECK_STRING(error.job, "fail_at_length");
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- NULL and twice ---- */

TEST(destroying_nothing_is_fine)
{
    CHECK_STATUS(crew_pool_destroy(NULL), CREW_OK);
    crew_result_destroy(NULL);
    crew_iterator_destroy(NULL);
    crew_pool_request_stop(NULL);
    crew_bytes_drop(NULL, NULL);
    CREW_AUTO_POOL(never_made);
    CHECK(never_made == NULL);
}
