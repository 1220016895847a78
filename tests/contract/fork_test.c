/* SPDX-License-Identifier: MIT */
/* Promise 11: in a fork's child every call on what was made before says CREW_FORKED, destroy frees memory, nothing
 * hangs, and a job that forks does not go on as a worker there. The parent notices nothing. */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"
#include "in_child.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>

extern char **environ;

static struct test_memory memory;

CREW_JOB(plus_one, long, long)
{
    (void)context;
    *result = *arg + 1;
    return 0;
}

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

static void check_submitting_is_refused(crew_pool *pool)
{
    long numbers[2] = {1, 2}, values[2] = {7, 7}, value = 7;
    const crew_column column = {numbers, sizeof numbers[0], sizeof numbers[0], 0};
    const crew_source source = {.items = numbers, .count = 2};
    crew_result *result = NULL;
    crew_iterator *stream = NULL;
    crew_error error = {.status = CREW_OK};
    const crew_call *call = CREW_CALL(.error = &error);
    CHECK_STATUS(crew_apply(pool, &plus_one, numbers, &value, call), CREW_FORKED);
    CHECK_STATUS(error.status, CREW_FORKED);
    CHECK_STATUS(crew_apply_async(pool, &plus_one, numbers, &result, NULL), CREW_FORKED);
    CHECK_STATUS(crew_map(pool, &plus_one, numbers, 2, values, NULL), CREW_FORKED);
    CHECK_STATUS(crew_map_async(pool, &plus_one, numbers, 2, values, &result, NULL), CREW_FORKED);
    CHECK_STATUS(crew_starmap(pool, &plus_one, &column, 1, 2, values, NULL), CREW_FORKED);
    CHECK_STATUS(crew_starmap_async(pool, &plus_one, &column, 1, 2, values, &result, NULL), CREW_FORKED);
    CHECK_STATUS(crew_imap(pool, &plus_one, &source, &stream, NULL), CREW_FORKED);
    CHECK_STATUS(crew_imap_unordered(pool, &plus_one, &source, &stream, NULL), CREW_FORKED);
    CHECK(result == NULL && stream == NULL);
    CHECK_EQ(value + values[0] + values[1], 21);
}

static void check_pool_calls_are_refused(crew_pool *pool)
{
    crew_pool_info info = {.struct_size = sizeof info, .workers = 77};
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_FORKED);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_FORKED);
    CHECK_EQ(info.workers, 77);
    CHECK_STATUS(crew_pool_close(pool), CREW_FORKED);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_FORKED);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_FORKED);
    crew_pool_request_stop(pool);
}

static void check_result_calls_are_refused(crew_result *result)
{
    long value = 7;
    crew_error error = {.status = CREW_OK};
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_FORKED);
    CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_FORKED);
    CHECK_STATUS(crew_result_status(result), CREW_FORKED);
    CHECK_STATUS(crew_result_error(result, &error), CREW_FORKED);
    CHECK_STATUS(crew_result_cancel(result), CREW_FORKED);
    CHECK_EQ(value, 7);
    CHECK_STATUS(error.status, CREW_OK);
}

static void check_iterator_calls_are_refused(crew_iterator *stream)
{
    long value = 7;
    size_t index = 7;
    crew_error error = {.status = CREW_OK};
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, &error), CREW_FORKED);
    CHECK_STATUS(error.status, CREW_FORKED);
    CHECK(value == 7 && index == 7);
}

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
    struct busy busy = {contract_pool(NULL), {0}};
    struct test_thread *thread = test_thread_start(make_and_destroy_pools, &busy);
    for (int i = 0; i < (test_under_sanitizer() ? 5 : 20); i++)
        check_in_child(refuse_and_destroy, busy.pool);
    counter_add(&busy.stop, 1);
    test_thread_join(thread);
    CHECK_STATUS(crew_pool_destroy(busy.pool), CREW_OK);
}

static void refuse_submitting(void *pool)
{
    check_submitting_is_refused(pool);
}

static counter forks_by_callback;

static void fork_from_callback(const crew_outcome *outcome, void *pool)
{
    CHECK_STATUS(outcome->status, CREW_OK);
    check_in_child(refuse_submitting, pool);
    counter_add(&forks_by_callback, 1);
}

CONTRACT(a_callback_may_fork)
{
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(
        crew_apply_async(pool, &plus_one, &(long){1}, NULL, CREW_CALL(.on_done = fork_from_callback, .user = pool)),
        CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&forks_by_callback), 1);
}

/* ---- jobs that fork ---- */

/* What was seen by which process; in memory that both share. */
struct sightings {
    pid_t parent;
    counter jobs_in_parent, jobs_in_child, calls_in_parent, calls_in_child;
};

static struct sightings *new_sightings(void)
{
    struct sightings *seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(seen != MAP_FAILED);
    seen->parent = getpid();
    return seen;
}

static void see_call(const crew_outcome *outcome, void *user)
{
    struct sightings *seen = user;
    (void)outcome;
    counter_add(getpid() == seen->parent ? &seen->calls_in_parent : &seen->calls_in_child, 1);
}

CREW_ACTION(see_job, struct sightings *)
{
    struct sightings *seen = *arg;
    (void)context;
    counter_add(getpid() == seen->parent ? &seen->jobs_in_parent : &seen->jobs_in_child, 1);
    return 0;
}

/* Forks; both processes return from the body. Gives the child to the parent. */
CREW_JOB(fork_and_return, int, pid_t)
{
    (void)arg, (void)context;
    *result = fork();
    CHECK(*result >= 0);
    if (*result == 0)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    return 0;
}

CONTRACT_THREADS(a_job_that_forks_and_returns_does_not_go_on_as_a_worker_in_the_child)
{
    struct sightings *seen = new_sightings();
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;
    crew_result *forked;
    pid_t child = 0;
    blocker_hold(&blocker, pool, config->workers);
    CHECK_STATUS(
        crew_apply_async(pool, &fork_and_return, &(int){0}, &forked, CREW_CALL(.on_done = see_call, .user = seen)),
        CREW_OK);
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(crew_apply_async(pool, &see_job, &seen, NULL, NULL), CREW_OK);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_get(forked, &child, far_away()), CREW_OK);
    CHECK(WIFEXITED(child_status(child)));
    crew_result_destroy(forked);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&seen->jobs_in_parent), 100);
    CHECK_EQ(counter_get(&seen->jobs_in_child), 0);
    CHECK_EQ(counter_get(&seen->calls_in_parent), 1);
    CHECK_EQ(counter_get(&seen->calls_in_child), 0);
    blocker_free(&blocker);
}

struct forking_map {
    struct sightings *seen;
    bool is_nested; /* the fork is in a job that the item waits for */
    pid_t child;
};

/* The first item forks; both processes return from it. */
CREW_ACTION(fork_at_the_first, size_t)
{
    struct forking_map *map = context;
    if (*arg > 0)
        counter_add(getpid() == map->seen->parent ? &map->seen->jobs_in_parent : &map->seen->jobs_in_child, 1);
    else if (map->is_nested)
        (void)crew_apply(crew_current_pool(), &fork_and_return, &(int){0}, &map->child, NULL);
    else
        (void)fork_and_return_body(&(int){0}, &map->child, NULL);
    return 0;
}

/* All in one chunk, so that whoever runs the first item would run the others, too. */
static void check_map_that_forks(bool is_nested)
{
    struct forking_map map = {.seen = new_sightings(), .is_nested = is_nested};
    crew_pool *pool = contract_pool(NULL);
    crew_status status = crew_map(pool, &fork_at_the_first, NULL, 100, NULL, CREW_CALL(.context = &map, .chunk = 100));
    if (getpid() != map.seen->parent)
        _exit(status == CREW_FORKED ? 0 : 1);
    CHECK_STATUS(status, CREW_OK);
    int ending = child_status(map.child);
    CHECK(WIFEXITED(ending));
    CHECK_EQ(WEXITSTATUS(ending), 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&map.seen->jobs_in_parent), 99);
    CHECK_EQ(counter_get(&map.seen->jobs_in_child), 0);
}

CONTRACT_THREADS(an_item_that_forks_and_returns_is_the_last_of_its_map_in_the_child)
{
    check_map_that_forks(false);
}

CONTRACT_THREADS(an_item_that_waits_for_a_job_that_forks_is_the_last_of_its_map_in_the_child)
{
    check_map_that_forks(true);
}

static void refuse_and_leave(void *pool)
{
    check_submitting_is_refused(pool);
    _exit(7);
}

CREW_JOB(fork_and_leave, int, int)
{
    (void)arg, (void)context;
    int status = run_in_child(refuse_and_leave, crew_current_pool());
    CHECK(WIFEXITED(status));
    *result = WEXITSTATUS(status);
    return 0;
}

CONTRACT(a_job_may_fork_a_child_that_leaves_by_exit)
{
    crew_pool *pool = contract_pool(NULL);
    int codes[4] = {0}, items[4] = {0};
    CHECK_STATUS(crew_map(pool, &fork_and_leave, items, 4, codes, NULL), CREW_OK);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(codes[i], 7);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* In the child, on top of another job: its pool goes, but what this thread runs must still be able to say something. */
static void destroy_fail_and_leave(void *pool)
{
    CHECK_STATUS(crew_pool_destroy(pool), CREW_FORKED);
    _exit(crew_fail(7, "a message of %s", "the child's"));
}

CREW_JOB(fork_and_destroy, int, int)
{
    (void)arg, (void)context;
    int status = run_in_child(destroy_fail_and_leave, crew_current_pool());
    CHECK(WIFEXITED(status));
    *result = WEXITSTATUS(status);
    return 0;
}

/* In the child its own pool goes while it runs, and it goes on, and returns. */
CREW_JOB(fork_destroy_and_ask, int, pid_t)
{
    crew_pool *pool = crew_current_pool();
    int worker = crew_worker_index();
    (void)arg, (void)context;
    *result = fork();
    CHECK(*result >= 0);
    if (*result > 0)
        return 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_FORKED);
    CHECK_EQ(crew_should_stop(), 0);
    CHECK_EQ(crew_worker_index(), worker);
    CHECK(crew_worker_state() == NULL && crew_current_pool() == pool);
    CHECK_STATUS(crew_pool_close(pool), CREW_FORKED);
    return crew_fail(3, "a message of %s", "the child's");
}

/* Whoever called the job in the child is told so, and may free what the job could not. */
static void leave_after_a_fork(crew_pool *pool, crew_status status)
{
    long before = counter_get(&memory.live_blocks);
    CHECK_STATUS(status, CREW_FORKED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_FORKED);
    CHECK(counter_get(&memory.live_blocks) < before);
    _exit(0);
}

CONTRACT(in_a_child_a_job_that_destroys_its_own_pool_may_ask_about_itself_and_return)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    pid_t parent = getpid(), children[2] = {0};
    crew_status status = crew_apply(pool, &fork_destroy_and_ask, &(int){0}, &children[0], NULL);
    if (getpid() != parent)
        leave_after_a_fork(pool, status);
    CHECK_STATUS(status, CREW_OK);
    status = crew_map(pool, &fork_destroy_and_ask, &(int){0}, 1, &children[1], NULL);
    if (getpid() != parent)
        leave_after_a_fork(pool, status);
    CHECK_STATUS(status, CREW_OK);
    for (int i = 0; i < 2; i++) {
        int ending = child_status(children[i]);
        CHECK(WIFEXITED(ending));
        CHECK_EQ(WEXITSTATUS(ending), 0);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
}

static int wait_for_a_fork(const crew_job *job, void *ret_value)
{
    crew_result *inner;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), job, &(int){0}, &inner, NULL), CREW_OK);
    crew_status status = crew_result_get(inner, ret_value, CREW_FOREVER);
    if (status == CREW_FORKED)
        _exit(8);
    CHECK_STATUS(status, CREW_OK);
    crew_result_destroy(inner);
    return 0;
}

CREW_JOB(wait_for_one_that_leaves, int, int)
{
    (void)arg, (void)context;
    return wait_for_a_fork(&fork_and_destroy, result);
}

CREW_JOB(wait_for_one_that_returns, int, pid_t)
{
    (void)arg, (void)context;
    return wait_for_a_fork(&fork_and_return, result);
}

/* The only worker runs both. */
CONTRACT_THREADS(a_job_on_top_of_another_may_fork)
{
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
    int code = 0;
    pid_t child = 0;
    for (int round = 0; round < 2; round++) {
        CHECK_STATUS(crew_apply(pool, &wait_for_one_that_leaves, &(int){0}, &code, NULL), CREW_OK);
        CHECK_EQ(code, 7);
        CHECK_STATUS(crew_apply(pool, &wait_for_one_that_returns, &(int){0}, &child, NULL), CREW_OK);
        int status = child_status(child);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 8);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_JOB(run_a_program, int, int)
{
    char *const arguments[] = {"sh", "-c", "exit 9", NULL};
    pid_t child;
    (void)arg, (void)context;
    CHECK_EQ(posix_spawnp(&child, "sh", NULL, NULL, arguments, environ), 0);
    int status = child_status(child);
    CHECK(WIFEXITED(status));
    *result = WEXITSTATUS(status);
    return 0;
}

CONTRACT(a_job_may_start_a_program_and_wait_for_it)
{
    crew_pool *pool = contract_pool(NULL);
    int codes[4] = {0}, items[4] = {0};
    CHECK_STATUS(crew_map(pool, &run_a_program, items, 4, codes, NULL), CREW_OK);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(codes[i], 9);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
