/* SPDX-License-Identifier: MIT */
/* Promise 11, for those that fork inside a pool: a callback, a job, an item of a map. The child may say and free what it likes, and leave or
 * return: it never goes on as a worker. */
#define _GNU_SOURCE
#include "forked_calls.h"

#include "blocker.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>

extern char **environ;

static struct test_memory memory;

/* ---- callbacks that fork ---- */

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
