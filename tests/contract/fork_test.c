/* SPDX-License-Identifier: MIT */
/* Promise 11: in a fork's child every call on what was made before says CREW_FORKED, destroy frees memory, nothing
 * hangs. The parent notices nothing. (Who forks inside a pool: fork_inside_test.c.) */
#define _GNU_SOURCE
#include "forked_calls.h"

#include "blocker.h"

static struct test_memory memory;

/* ---- what the child inherits: a pool with something pending of every kind ---- */
struct heirloom {
    crew_pool *pool;
    crew_result *result, *map;
    crew_iterator *stream;
    long numbers[8], values[8];
    struct blocker blocker;
};

static void make_heirloom(struct heirloom *all)
{
    const crew_source source = {.items = all->numbers, .count = 8};
    all->pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    if (config->threads)
        blocker_hold(&all->blocker, all->pool, config->workers);
    CHECK_STATUS(crew_apply_async(all->pool, &plus_one, &(long){41}, &all->result, NULL), CREW_OK);
    CHECK_STATUS(crew_apply_async(all->pool, &plus_one, &(long){1}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_map_async(all->pool, &plus_one, all->numbers, 8, all->values, &all->map, NULL), CREW_OK);
    CHECK_STATUS(crew_imap(all->pool, &plus_one, &source, &all->stream, NULL), CREW_OK);
}

/* In the parent everything still has its ordinary end. */
static void use_up_heirloom(struct heirloom *all)
{
    long value = 0;
    if (config->threads)
        blocker_let_go(&all->blocker);
    CHECK_STATUS(crew_result_get(all->result, &value, CREW_FOREVER), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_result_get(all->map, NULL, CREW_FOREVER), CREW_OK);
    for (int i = 0; i < 8; i++)
        CHECK_STATUS(crew_iterator_next(all->stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(all->stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_result_destroy(all->result);
    crew_result_destroy(all->map);
    crew_iterator_destroy(all->stream);
    CHECK_STATUS(crew_pool_destroy(all->pool), CREW_OK);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
    if (config->threads)
        blocker_free(&all->blocker);
}

/* ---- in the child ---- */

static void check_everything_is_refused(void *arg)
{
    struct heirloom *all = arg;
    check_submitting_is_refused(all->pool);
    check_result_calls_are_refused(all->result);
    check_result_calls_are_refused(all->map);
    check_iterator_calls_are_refused(all->stream);
    check_pool_calls_are_refused(all->pool);
}

static void destroy_pool_between_handles(void *arg)
{
    struct heirloom *all = arg;
    crew_result_destroy(all->result);
    CHECK_STATUS(crew_pool_destroy(all->pool), CREW_FORKED);
    crew_result_destroy(all->map);
    crew_iterator_destroy(all->stream);
}

static void destroy_handles_first(void *arg)
{
    struct heirloom *all = arg;
    crew_iterator_destroy(all->stream);
    crew_result_destroy(all->map);
    crew_result_destroy(all->result);
    CHECK_STATUS(crew_pool_destroy(all->pool), CREW_FORKED);
}

/* What threads that are gone held of the pool's memory cannot be told from what the handles hold, so of a busy pool
 * not all of it has to come back; but nothing may be freed twice or touched afterwards. */
static void check_busy_memory(void *arg)
{
    long before = counter_get(&memory.live_blocks);
    destroy_pool_between_handles(arg);
    CHECK(counter_get(&memory.live_blocks) < before);
}

static void check_busy_memory_handles_first(void *arg)
{
    long before = counter_get(&memory.live_blocks);
    destroy_handles_first(arg);
    CHECK(counter_get(&memory.live_blocks) < before);
}

static void check_all_memory(void *arg)
{
    destroy_pool_between_handles(arg);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
}

static void check_all_memory_handles_first(void *arg)
{
    destroy_handles_first(arg);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
}

CONTRACT(in_a_child_every_call_says_forked)
{
    struct heirloom all = {.numbers = {0}};
    make_heirloom(&all);
    check_in_child(check_everything_is_refused, &all);
    use_up_heirloom(&all);
}

CONTRACT(in_a_child_a_busy_pool_can_be_destroyed)
{
    struct heirloom all = {.numbers = {0}};
    make_heirloom(&all);
    check_in_child(check_busy_memory, &all);
    check_in_child(check_busy_memory_handles_first, &all);
    use_up_heirloom(&all);
}

CONTRACT(in_a_child_destroy_frees_all_memory_of_a_joined_pool)
{
    long value = 0;
    struct heirloom all = {.numbers = {0}};
    const crew_source source = {.items = all.numbers, .count = 8};
    all.pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    CHECK_STATUS(crew_apply_async(all.pool, &plus_one, &(long){41}, &all.result, NULL), CREW_OK);
    CHECK_STATUS(crew_map_async(all.pool, &plus_one, all.numbers, 8, all.values, &all.map, NULL), CREW_OK);
    CHECK_STATUS(crew_imap(all.pool, &plus_one, &source, &all.stream, NULL), CREW_OK);
    for (int i = 0; i < 8; i++)
        CHECK_STATUS(crew_iterator_next(all.stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_close(all.pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(all.pool, CREW_FOREVER), CREW_OK); /* now no thread holds anything of it */
    check_in_child(check_all_memory, &all);
    check_in_child(check_all_memory_handles_first, &all);
    crew_result_destroy(all.result);
    crew_result_destroy(all.map);
    crew_iterator_destroy(all.stream);
    CHECK_STATUS(crew_pool_destroy(all.pool), CREW_OK);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
}

static void exit_normally(void *arg)
{
    (void)arg;
    exit(5);
}

CONTRACT(a_child_that_leaves_everything_alone_can_exit)
{
    static struct heirloom all; /* static, so that a leak checker still finds everything in the child */
    make_heirloom(&all);
    int status = run_in_child(exit_normally, NULL);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 5);
    use_up_heirloom(&all);
}

CONTRACT(a_closed_pool_is_forked_in_the_child_too)
{
    struct heirloom all = {.numbers = {0}};
    make_heirloom(&all);
    CHECK_STATUS(crew_pool_close(all.pool), CREW_OK);
    check_in_child(check_everything_is_refused, &all);
    check_in_child(check_busy_memory, &all);
    if (config->threads)
        blocker_let_go(&all.blocker);
    CHECK_STATUS(crew_result_wait(all.result, CREW_FOREVER), CREW_OK);
    crew_result_destroy(all.result);
    crew_result_destroy(all.map);
    crew_iterator_destroy(all.stream);
    CHECK_STATUS(crew_pool_destroy(all.pool), CREW_OK);
    if (config->threads)
        blocker_free(&all.blocker);
}

static void call_null(void *arg)
{
    (void)arg;
    CHECK_STATUS(crew_pool_destroy(NULL), CREW_OK);
    CHECK_STATUS(crew_pool_close(NULL), CREW_INVALID);
    crew_result_destroy(NULL);
    crew_iterator_destroy(NULL);
}

CONTRACT(null_means_the_same_in_a_child)
{
    crew_pool *pool = contract_pool(NULL);
    check_in_child(call_null, NULL);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- new pools of the child, and its children ---- */

static void use_a_new_pool(crew_pool *pool)
{
    long numbers[4] = {1, 2, 3, 4};
    CHECK_STATUS(crew_map(pool, &plus_one, numbers, 4, numbers, NULL), CREW_OK);
    CHECK_EQ(numbers[0] + numbers[1] + numbers[2] + numbers[3], 14);
}

static void make_and_use_a_new_pool(void *arg)
{
    (void)arg;
    crew_pool *pool = contract_pool(NULL);
    use_a_new_pool(pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void skip_where_a_child_may_start_no_thread(void)
{
    if (test_under_sanitizer() && config->threads)
        test_skip("a sanitizer allows no thread in the child of a process with threads");
}

CONTRACT(a_child_can_make_a_pool_of_its_own)
{
    skip_where_a_child_may_start_no_thread();
    crew_pool *pool = contract_pool(NULL);
    use_a_new_pool(pool);
    check_in_child(make_and_use_a_new_pool, NULL);
    use_a_new_pool(pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void check_pools_are_forked(void *arg)
{
    crew_pool **pools = arg;
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(crew_pool_close(pools[i]), CREW_FORKED);
        CHECK_STATUS(crew_pool_destroy(pools[i]), CREW_FORKED);
    }
}

static void fork_again_with_a_pool(void *arg)
{
    crew_pool *pools[2] = {arg, contract_pool(NULL)};
    use_a_new_pool(pools[1]);
    check_in_child(check_pools_are_forked, pools);
    use_a_new_pool(pools[1]);
    CHECK_STATUS(crew_pool_close(pools[0]), CREW_FORKED);
    CHECK_STATUS(crew_pool_destroy(pools[1]), CREW_OK);
}

CONTRACT(a_grandchild_inherits_neither_pool)
{
    skip_where_a_child_may_start_no_thread();
    crew_pool *pool = contract_pool(NULL);
    use_a_new_pool(pool);
    check_in_child(fork_again_with_a_pool, pool);
    use_a_new_pool(pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- forks at bad moments ---- */

struct busy {
    crew_pool *pool;
    counter stop;
};

static void keep_submitting(void *arg)
{
    struct busy *busy = arg;
    long numbers[16] = {0}, value;
    while (!counter_get(&busy->stop)) {
        crew_result *result;
        CHECK_STATUS(crew_apply_async(busy->pool, &plus_one, &(long){1}, &result, NULL), CREW_OK);
        (void)crew_result_cancel(result);
        crew_result_destroy(result);
        CHECK_STATUS(crew_map(busy->pool, &plus_one, numbers, 16, numbers, NULL), CREW_OK);
        CHECK_STATUS(crew_apply(busy->pool, &plus_one, &(long){1}, &value, NULL), CREW_OK);
        CHECK_EQ(value, 2);
    }
}

enum { INHERITED = 32 }; /* one at least for each place where the library keeps memory for threads */

struct inheritance {
    crew_pool *pool;
    crew_result *results[INHERITED];
};

static void refuse_and_destroy(void *arg)
{
    check_submitting_is_refused(arg);
    check_pool_calls_are_refused(arg);
    CHECK_STATUS(crew_pool_destroy(arg), CREW_FORKED);
}

static void refuse_and_destroy_all(void *arg)
{
    struct inheritance *all = arg;
    for (int i = 0; i < INHERITED; i++)
        crew_result_destroy(all->results[i]);
    refuse_and_destroy(all->pool);
}

CONTRACT(a_fork_while_others_submit_hangs_neither_process)
{
    struct busy busy = {contract_pool(NULL), {0}};
    struct inheritance all = {.pool = busy.pool};
    struct test_thread *threads[2];
    for (int i = 0; i < INHERITED; i++)
        CHECK_STATUS(crew_apply_async(busy.pool, &plus_one, &(long){1}, &all.results[i], NULL), CREW_OK);
    for (int i = 0; i < 2; i++)
        threads[i] = test_thread_start(keep_submitting, &busy);
    for (int i = 0; i < (test_under_sanitizer() ? 5 : 20); i++)
        check_in_child(refuse_and_destroy_all, &all);
    for (int i = 0; i < INHERITED; i++)
        crew_result_destroy(all.results[i]);
    counter_add(&busy.stop, 1);
    for (int i = 0; i < 2; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(busy.pool), CREW_OK);
}

static void make_and_destroy_pools(void *arg)
{
    struct busy *busy = arg;
    while (!counter_get(&busy->stop)) {
        crew_pool *pool = contract_pool(NULL);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    }
}

CONTRACT(a_fork_while_pools_come_and_go_hangs_neither_process)
{
    if (test_under_sanitizer())
        test_skip("a sanitizer's own locks may be held by a thread that starts or ends meanwhile");
    struct busy busy = {contract_pool(NULL), {0}};
    struct test_thread *thread = test_thread_start(make_and_destroy_pools, &busy);
    for (int i = 0; i < 20; i++)
        check_in_child(refuse_and_destroy, busy.pool);
    counter_add(&busy.stop, 1);
    test_thread_join(thread);
    CHECK_STATUS(crew_pool_destroy(busy.pool), CREW_OK);
}
