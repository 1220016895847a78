/* SPDX-License-Identifier: MIT */
/* Where Python's Pool hangs, loses or lies at fork, exit, signals and the system's limits: what crewpool does. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "python_rows_stage.h"

/* ---- fork ---- */

/* What a child of fork finds of its parent's. */
static struct {
    crew_pool *pool;
    crew_result *result;
    crew_iterator *iterator;
} inherited;

static void use_what_was_inherited(void)
{
    int item = 1;
    long value;
    crew_result *result = NULL;
    crew_iterator *iterator = NULL;
    crew_pool *pool = inherited.pool;
    crew_pool_info info = {.struct_size = sizeof info};
    const crew_source source = {.items = &item, .count = 1};
    CHECK_STATUS(crew_apply(pool, &twice, &item, &value, NULL), CREW_FORKED);
    CHECK_STATUS(crew_apply_async(pool, &twice, &item, &result, NULL), CREW_FORKED);
    CHECK_STATUS(crew_map(pool, &twice, &item, 1, &value, NULL), CREW_FORKED);
    CHECK_STATUS(crew_imap(pool, &twice, &source, &iterator, NULL), CREW_FORKED);
    CHECK_STATUS(crew_result_get(inherited.result, &value, CREW_FOREVER), CREW_FORKED);
    CHECK_STATUS(crew_result_cancel(inherited.result), CREW_FORKED);
    CHECK_STATUS(crew_iterator_next(inherited.iterator, &value, NULL, CREW_FOREVER, NULL), CREW_FORKED);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_FORKED);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_FORKED);
    CHECK_STATUS(crew_pool_close(pool), CREW_FORKED);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_FORKED);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_FORKED);
    crew_iterator_destroy(inherited.iterator);
    crew_result_destroy(inherited.result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_FORKED);
}

/* §1.5, fork: the child's pool says RUN, accepts work and never runs it;
 * gh-90622, gh-105464 (row 39): the child deadlocks */
CONTRACT(a_forked_child_is_told_so_by_every_call_and_its_parent_goes_on)
{
    int items[] = {0, 1, 2};
    long value = 0;
    const crew_source source = {.items = items, .count = 3};
    inherited.pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(inherited.pool, &twice, &(int){21}, &inherited.result, NULL), CREW_OK);
    CHECK_STATUS(crew_imap(inherited.pool, &twice, &source, &inherited.iterator, NULL), CREW_OK);
    CHECK_EQ(exit_status_of_child(use_what_was_inherited), 0);
    CHECK_STATUS(crew_result_get(inherited.result, &value, CREW_FOREVER), CREW_OK);
    CHECK_EQ(value, 42);
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(crew_iterator_next(inherited.iterator, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(value, 2 * i);
    }
    crew_iterator_destroy(inherited.iterator);
    crew_result_destroy(inherited.result);
    CHECK_STATUS(crew_pool_destroy(inherited.pool), CREW_OK);
}

static void ask_the_pool_and_leave(void)
{
    long value;
    _exit(crew_apply(crew_current_pool(), &twice, &(int){1}, &value, NULL) == CREW_FORKED ? 7 : 1);
}

CREW_JOB(fork_a_child, int, int)
{
    (void)arg;
    (void)context;
    *result = exit_status_of_child(ask_the_pool_and_leave);
    return 0;
}

/* gh-88110 (row 38): the child of a fork from a pool thread ends with status 1, or joins threads that do not exist */
CONTRACT(a_child_that_a_job_forks_is_told_so_and_leaves_by_exit)
{
    int status = -1;
    long value = 0;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply(pool, &fork_a_child, &(int){0}, &status, NULL), CREW_OK);
    CHECK_EQ(status, 7);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){21}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void leave_at_once(void)
{
    _exit(0);
}

/* The one job: its child returns into the library. That process ends with its last thread, by exit, whose handlers
 * (a leak checker's, say) may need a lock that a thread of the parent held. */
CREW_ACTION(fork_and_return, int)
{
    int status = -1;
    (void)arg;
    gate_wait(context);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        return atexit(leave_at_once);
    CHECK_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? 0 : crew_fail(1, "a signal ended the child");
}

CREW_ACTION(write_a_byte, int)
{
    (void)arg;
    return write(*(int *)context, "x", 1) == 1 ? 0 : crew_fail(1, "the pipe is broken");
}

/* gh-88110 (row 38): the worker's loop goes on in the child */
CONTRACT_THREADS(a_job_that_returns_in_a_forked_child_ends_there_and_runs_no_other_job)
{
    enum { OTHERS = 10 };
    char bytes[2 * OTHERS];
    int pipe_ends[2];
    struct gate *go = gate_new();
    crew_result *forking;
    CHECK_EQ(pipe(pipe_ends), 0);
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    CHECK_STATUS(crew_apply_async(pool, &fork_and_return, &(int){0}, &forking, CREW_CALL(.context = go)), CREW_OK);
    for (int i = 0; i < OTHERS; i++)
        CHECK_STATUS(crew_apply_async(pool, &write_a_byte, &i, NULL, CREW_CALL(.context = &pipe_ends[1])), CREW_OK);
    gate_open(go);
    CHECK_STATUS(crew_result_get(forking, NULL, CREW_FOREVER), CREW_OK);
    crew_result_destroy(forking);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(close(pipe_ends[1]), 0);
    CHECK_EQ(read(pipe_ends[0], bytes, sizeof bytes), OTHERS);
    CHECK_EQ(close(pipe_ends[0]), 0);
    gate_free(go);
}

/* ---- the end of the process ---- */

static crew_pool *left_alone;
static struct stage never_let_go;
static crew_result *left_running[WORKERS_MOST];

static void exit_with_a_full_pool(void)
{
    never_let_go = stage_new();
    left_alone = contract_pool(NULL);
    stage_hold(&never_let_go, left_alone, config->workers, left_running);
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(crew_apply_async(left_alone, &twice, &i, NULL, NULL), CREW_OK);
    exit(3);
}

/* gh-80961, gh-86575 (row 20): the end of the process waits for queued and running futures */
CONTRACT_THREADS(exit_waits_for_no_job_of_a_pool_that_is_still_alive)
{
    CHECK_EQ(exit_status_of_child(exit_with_a_full_pool), 3);
}

static void exit_with_a_forgotten_pool(void)
{
    long value = 0;
    left_alone = contract_pool(NULL);
    CHECK_STATUS(crew_apply(left_alone, &twice, &(int){21}, &value, NULL), CREW_OK);
    exit(value == 42 ? 3 : 1);
}

/* gh-78353, gh-82682 (row 27): a pool that nobody closed leaks or hangs the process */
CONTRACT(a_pool_that_nobody_closed_does_not_hang_the_process)
{
    CHECK_EQ(exit_status_of_child(exit_with_a_forgotten_pool), 3);
}

static void outlive_the_main_thread(void *main_thread_ended)
{
    long value = 0;
    gate_wait(main_thread_ended);
    CHECK_STATUS(crew_apply(left_alone, &twice, &(int){21}, &value, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(left_alone), CREW_OK);
    _exit(value == 42 ? 3 : 1);
}

static void open_at_the_end(void *gate)
{
    gate_open((struct gate *)gate);
}

static void end_the_main_thread(void)
{
    pthread_key_t key; /* its destructor runs when the thread has left all its functions */
    struct gate *ended = gate_new();
    left_alone = contract_pool(NULL);
    CHECK_EQ(pthread_key_create(&key, open_at_the_end), 0);
    CHECK_EQ(pthread_setspecific(key, ended), 0);
    (void)test_thread_start(outlive_the_main_thread, ended);
    pthread_exit(NULL);
}

/* gh-148280, gh-113964 (row 21): submit fails once the main thread has ended */
CONTRACT(a_pool_takes_work_after_the_main_thread_has_ended)
{
    if (!test_forked_main_may_end())
        test_skip("a main thread that ends in a fork's child keeps a lock of this libc for ever");
    CHECK_EQ(exit_status_of_child(end_the_main_thread), 3);
}

/* ---- Ctrl-C ---- */

static crew_pool *to_interrupt;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    crew_pool_request_stop(to_interrupt);
}

static void install_interrupt(crew_pool *pool)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    to_interrupt = pool;
    CHECK_EQ(sigaction(SIGINT, &action, NULL), 0);
}

CREW_JOB(ask_to_stop, int, int)
{
    struct stage *stage = context;
    sigset_t blocked;
    (void)arg;
    gate_add(stage->started);
    gate_wait(stage->go);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    *result = crew_should_stop() + 2 * sigismember(&blocked, SIGINT);
    return 0;
}

/* gh-125886 (row 23), §1.5, Ctrl-C: the workers go on with the queue, get() is interrupted only in the main thread */
CONTRACT_THREADS(an_interrupt_tells_running_jobs_to_stop_and_terminate_ends_the_queue)
{
    struct stage stage = stage_new();
    crew_result *running, *queued;
    int seen = -1;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    const crew_call *call = CREW_CALL(.context = &stage);
    install_interrupt(pool);
    CHECK_STATUS(crew_apply_async(pool, &ask_to_stop, &(int){0}, &running, call), CREW_OK);
    gate_wait(stage.started);
    CHECK_STATUS(crew_apply_async(pool, &ask_to_stop, &(int){0}, &queued, call), CREW_OK);
    CHECK_EQ(raise(SIGINT), 0);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_result_status(queued), CREW_TERMINATED);
    gate_open(stage.go);
    CHECK_STATUS(crew_result_get(running, &seen, CREW_FOREVER), CREW_OK);
    CHECK_EQ(seen, 1 + 2);
    crew_result_destroy(running);
    crew_result_destroy(queued);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

/* gh-125886 (row 23): what to do about Ctrl-C is the program's choice */
CONTRACT(a_request_to_stop_from_a_signal_handler_is_seen_by_jobs_and_ends_nothing_by_itself)
{
    struct stage stage = stage_new();
    int seen = -1;
    crew_pool *pool = contract_pool(NULL);
    install_interrupt(pool);
    gate_open(stage.go);
    CHECK_EQ(raise(SIGINT), 0);
    CHECK_STATUS(crew_apply(pool, &ask_to_stop, &(int){0}, &seen, CREW_CALL(.context = &stage)), CREW_OK);
    CHECK_EQ(seen & 1, 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

/* ---- what a pool asks of the system ---- */

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* numpy#21026, polars#27175, scarf#104 (row 33): ThreadPool needs a pipe and named semaphores, fails without them */
CONTRACT(a_pool_needs_no_descriptor_and_no_named_semaphore)
{
    enum { ITEMS = 100 };
    int items[ITEMS] = {0};
    long values[ITEMS];
    unsigned before = open_descriptors();
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_map(pool, &twice, items, ITEMS, values, NULL), CREW_OK);
    CHECK_EQ(open_descriptors(), before);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(open_descriptors(), before);
}

/* gh-94243 (row 43): too many workers are accepted, and hang later */
CONTRACT(more_workers_than_there_can_be_are_refused_when_the_pool_is_made)
{
    crew_error error = {0};
    crew_pool *pool = NULL;
    const crew_pool_options *options =
        CREW_OPTIONS(.kind = config->kind, .workers = CREW_WORKERS_MAX + 1, .error = &error);
    CHECK_STATUS(crew_pool_create(&pool, options), CREW_INVALID);
    CHECK(pool == NULL);
    CHECK_STATUS(error.status, CREW_INVALID);
    CHECK(error.message[0] != '\0');
}

static unsigned default_size(void)
{
    crew_pool *pool;
    crew_pool_info info = {.struct_size = sizeof info};
    CHECK_STATUS(crew_pool_create(&pool, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    return info.workers;
}

/* gh-149452, gh-80235 (row 34): the default size ignores the quota (recorded cgroup trees have their own tests) */
TEST(the_default_size_is_that_of_crew_cpu_count_and_follows_affinity_and_environment)
{
    cpu_set_t set;
    unsigned count = 0;
    crew_error error = {0};
    CHECK_EQ(unsetenv("CREW_CPU_COUNT"), 0);
    CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    CHECK_STATUS(crew_cpu_count(&count, NULL), CREW_OK);
    CHECK(count >= 1 && count <= (unsigned)CPU_COUNT(&set));
    CHECK_EQ(default_size(), count);
    CHECK_EQ(setenv("CREW_CPU_COUNT", "3", 1), 0);
    CHECK_EQ(default_size(), 3);
    CHECK_EQ(setenv("CREW_CPU_COUNT", "x", 1), 0);
    CHECK_STATUS(crew_cpu_count(&count, &error), CREW_INVALID);
    CHECK_STATUS(error.status, CREW_INVALID);
}

struct portrait {
    char name[16];
    int worker;
    size_t stack_size;
};

CREW_JOB(portray, int, struct portrait)
{
    pthread_attr_t attributes;
    (void)arg;
    (void)context;
    result->worker = crew_worker_index();
    CHECK_EQ(pthread_getname_np(pthread_self(), result->name, sizeof result->name), 0);
    CHECK_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
    CHECK_EQ(pthread_attr_getstacksize(&attributes, &result->stack_size), 0);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
    return 0;
}

/* gh-89502, PR 13250 (row 35): name, stack and kind of the threads cannot be chosen */
CONTRACT_THREADS(worker_threads_have_the_name_and_the_stack_that_were_asked_for)
{
    enum { STACK = 16 << 20 };
    char expected[32];
    struct portrait portrait = {.worker = -1};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.name = "decode", .stack_size = STACK, .flags = CREW_WORKERS_ONLY));
    CHECK_STATUS(crew_apply(pool, &portray, &(int){0}, &portrait, NULL), CREW_OK);
    CHECK(portrait.worker >= 0);
    snprintf(expected, sizeof expected, "decode-%d", portrait.worker);
    CHECK_STRING(portrait.name, expected);
    CHECK(portrait.stack_size >= STACK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
