/* SPDX-License-Identifier: MIT */
/* Promise 14: threads have a name, a stack and a signal mask of their own, inherit nothing from whoever made the
 * pool or submits, handle no signal, and do not keep a process from ending. */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"
#include "in_child.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void submit_and_wait(crew_pool *pool, const crew_job *job)
{
    crew_result *result;
    CHECK_STATUS(crew_apply_async(pool, job, &(int){0}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, far_away()), CREW_OK); /* finite: the job runs on a worker */
    crew_result_destroy(result);
}

/* ---- names ---- */

static const char *expected_name = "crew";
static counter named;

static int check_name(void *user, int worker, void **ret_state)
{
    char expected[64], name[64] = "";
    (void)user, (void)ret_state;
    snprintf(expected, sizeof expected, "%s-%d", expected_name, worker);
    CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof name), 0);
    CHECK_STRING(name, expected);
    counter_add(&named, 1);
    return 0;
}

CONTRACT_THREADS(workers_have_the_pool_s_name_and_their_number)
{
    expected_name = "decoder";
    crew_pool *pool = contract_pool(CREW_OPTIONS(.name = "decoder", .worker_init = check_name));
    CHECK_EQ(counter_get(&named), config->workers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(workers_of_a_pool_without_a_name_are_called_crew)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_init = check_name));
    CHECK_EQ(counter_get(&named), config->workers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_ACTION(check_long_name, int)
{
    char name[64] = "";
    (void)arg, (void)context;
    CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof name), 0);
    CHECK(strncmp(name, "a_name_tha", 10) == 0);
    CHECK(strrchr(name, '-') != NULL);
    CHECK_EQ(atoi(strrchr(name, '-') + 1), crew_worker_index());
    return 0;
}

CONTRACT_THREADS(a_name_too_long_for_the_system_is_cut_and_its_number_is_not)
{
    char name[] = "a_name_that_is_much_longer_than_what_the_system_takes";
    crew_pool *pool = contract_pool(CREW_OPTIONS(.name = name));
    submit_and_wait(pool, &check_long_name);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_ACTION(check_name_of_copy, int)
{
    char name[64] = "";
    (void)arg, (void)context;
    CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof name), 0);
    CHECK(strncmp(name, "main", 4) != 0);
    return 0;
}

TEST(making_and_using_a_pool_leaves_the_caller_s_name_alone)
{
    char name[64] = "";
    crew_pool *pool;
    CHECK_EQ(pthread_setname_np(pthread_self(), "main"), 0);
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = 2, .name = "other")), CREW_OK);
    submit_and_wait(pool, &check_name_of_copy);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof name), 0);
    CHECK_STRING(name, "main");
}

/* ---- stacks ---- */

CREW_JOB(stack_of_this_thread, int, size_t)
{
    pthread_attr_t attributes;
    (void)arg, (void)context;
    CHECK_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
    CHECK_EQ(pthread_attr_getstacksize(&attributes, result), 0);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
    return 0;
}

static size_t stack_of_a_worker(crew_pool *pool)
{
    size_t size = 0;
    crew_result *result;
    CHECK_STATUS(crew_apply_async(pool, &stack_of_this_thread, &(int){0}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &size, far_away()), CREW_OK);
    crew_result_destroy(result);
    return size;
}

CONTRACT_THREADS(a_worker_has_the_stack_that_was_asked_for)
{
    const size_t sizes[] = {512 * 1024, 3 * 1024 * 1024, 40 * 1024 * 1024};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        crew_pool *pool = contract_pool(CREW_OPTIONS(.stack_size = sizes[i]));
        size_t size = stack_of_a_worker(pool);
        CHECK(size >= sizes[i]);
        CHECK(test_under_sanitizer() || size <= sizes[i] + 256 * 1024);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    }
}

CONTRACT_THREADS(a_worker_has_the_system_s_default_stack_where_none_was_asked_for)
{
    pthread_attr_t attributes;
    size_t expected;
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_getstacksize(&attributes, &expected), 0);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
    crew_pool *pool = contract_pool(NULL);
    CHECK(stack_of_a_worker(pool) >= expected);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CREW_ACTION(use_nearly_all_of_a_megabyte, int)
{
    volatile char used[900 * 1024];
    (void)arg, (void)context;
    for (size_t i = 0; i < sizeof used; i += 1024)
        used[i] = 1;
    CHECK_EQ(used[sizeof used - 1024], 1);
    return 0;
}

CONTRACT_THREADS(a_job_can_use_the_stack_that_was_asked_for)
{
    const size_t megabyte = 1024 * 1024; /* a sanitizer takes more than that for itself */
    crew_pool *pool = contract_pool(CREW_OPTIONS(.stack_size = test_under_sanitizer() ? 4 * megabyte : megabyte));
    submit_and_wait(pool, &use_nearly_all_of_a_megabyte);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- signals ---- */

static const int asynchronous[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGALRM, SIGTERM,   SIGUSR1, SIGUSR2,  SIGCHLD, SIGCONT,
                                   SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,  SIGVTALRM, SIGPROF, SIGWINCH, SIGIO,   SIGPWR};
static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};

CREW_ACTION(check_mask, int)
{
    sigset_t blocked;
    (void)arg, (void)context;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    for (size_t i = 0; i < sizeof asynchronous / sizeof asynchronous[0]; i++)
        CHECK_EQ(sigismember(&blocked, asynchronous[i]) ? 0 : asynchronous[i], 0);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        CHECK_EQ(sigismember(&blocked, number) ? 0 : number, 0);
    for (size_t i = 0; i < sizeof synchronous / sizeof synchronous[0]; i++)
        CHECK_EQ(sigismember(&blocked, synchronous[i]) ? synchronous[i] : 0, 0);
    return 0;
}

static int check_mask_in_init(void *user, int worker, void **ret_state)
{
    (void)user, (void)worker, (void)ret_state;
    return check_mask_body(&(int){0}, NULL);
}

CONTRACT_THREADS(workers_block_all_asynchronous_signals_and_no_synchronous_one)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_init = check_mask_in_init));
    submit_and_wait(pool, &check_mask);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void block_everything(int how)
{
    sigset_t all;
    CHECK_EQ(sigfillset(&all), 0);
    CHECK_EQ(pthread_sigmask(how, &all, NULL), 0);
}

CONTRACT_THREADS(workers_do_not_inherit_the_mask_of_who_made_the_pool_or_submits)
{
    block_everything(SIG_BLOCK);
    crew_pool *pool = contract_pool(NULL);
    submit_and_wait(pool, &check_mask);
    block_everything(SIG_UNBLOCK);
    submit_and_wait(pool, &check_mask);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(the_caller_s_own_mask_is_left_alone)
{
    sigset_t mask;
    CHECK_EQ(sigemptyset(&mask), 0);
    CHECK_EQ(sigaddset(&mask, SIGUSR2), 0);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply(pool, &never_pulled, &(int){0}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGUSR2), 1);
    CHECK_EQ(sigismember(&mask, SIGUSR1), 0);
    CHECK_EQ(sigismember(&mask, SIGTERM), 0);
}

static counter handled_by_main, handled_by_others;
static pthread_t main_thread;

static void note_handler(int number)
{
    (void)number;
    counter_add(pthread_equal(pthread_self(), main_thread) ? &handled_by_main : &handled_by_others, 1);
}

/* While this thread blocks the signal no other one may take it. */
CONTRACT_THREADS(handlers_run_in_the_program_s_own_threads_only)
{
    sigset_t usr1, pending;
    struct blocker blocker;
    main_thread = pthread_self();
    CHECK(signal(SIGUSR1, note_handler) != SIG_ERR);
    crew_pool *pool = contract_pool(NULL);
    blocker_hold(&blocker, pool, config->workers); /* now all threads are there */
    CHECK_EQ(sigemptyset(&usr1), 0);
    CHECK_EQ(sigaddset(&usr1, SIGUSR1), 0);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &usr1, NULL), 0);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(sigpending(&pending), 0);
    CHECK_EQ(sigismember(&pending, SIGUSR1), 1);
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &usr1, NULL), 0);
    CHECK_EQ(counter_get(&handled_by_main), 1);
    CHECK_EQ(counter_get(&handled_by_others), 0);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

static void count_signal(int number)
{
    (void)number;
    counter_add(&handled_by_others, 1);
}

struct waiting_thread {
    crew_result *result;
    struct gate *ready, *returned;
    pthread_t thread;
};

static void wait_and_tell(void *arg)
{
    struct waiting_thread *waiting = arg;
    waiting->thread = pthread_self();
    gate_open(waiting->ready);
    CHECK_STATUS(crew_result_wait(waiting->result, CREW_FOREVER), CREW_OK);
    gate_open(waiting->returned);
}

CONTRACT_THREADS(a_signal_to_a_waiting_thread_neither_ends_its_wait_nor_is_lost)
{
    struct blocker blocker = {gate_new(), gate_new()}, *held = &blocker;
    struct waiting_thread waiting = {.ready = gate_new(), .returned = gate_new()};
    CHECK(signal(SIGUSR1, count_signal) != SIG_ERR);
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(pool, &hold_worker, &held, &waiting.result, NULL), CREW_OK);
    gate_wait(blocker.started);
    struct test_thread *thread = test_thread_start(wait_and_tell, &waiting);
    gate_wait(waiting.ready);
    for (int sent = 1; sent <= 100; sent++) {
        CHECK_EQ(pthread_kill(waiting.thread, SIGUSR1), 0);
        while (!test_under_sanitizer() && counter_get(&handled_by_others) < sent) /* one may keep signals back */
            continue;
    }
    CHECK_EQ(gate_count(waiting.returned), 0);
    blocker_let_go(&blocker);
    test_thread_join(thread);
    crew_result_destroy(waiting.result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(waiting.ready);
    gate_free(waiting.returned);
    blocker_free(&blocker);
}

static crew_pool *stopped_by_signal;

static void stop_pool(int number)
{
    (void)number;
    crew_pool_request_stop(stopped_by_signal);
}

CREW_ACTION(run_until_stopped, struct gate *)
{
    (void)context;
    gate_open(*arg);
    while (!crew_should_stop())
        continue;
    return 0;
}

CONTRACT_THREADS(a_signal_handler_may_tell_a_pool_to_stop)
{
    struct gate *started = gate_new();
    crew_result *result;
    stopped_by_signal = contract_pool(NULL);
    CHECK(signal(SIGUSR1, stop_pool) != SIG_ERR);
    CHECK_STATUS(crew_apply_async(stopped_by_signal, &run_until_stopped, &started, &result, NULL), CREW_OK);
    gate_wait(started);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(stopped_by_signal), CREW_OK);
    gate_free(started);
}

/* ---- scheduling ---- */

static void set_policy(int policy)
{
    int status = sched_setscheduler(0, policy, &(struct sched_param){.sched_priority = 0});
    if (status != 0 && (errno == ENOSYS || errno == EPERM))
        test_skip("this libc sets no policy, or SCHED_IDLE may not be left here");
    CHECK_EQ(status, 0);
}

CREW_ACTION(check_policy, int)
{
    (void)arg, (void)context;
    CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
    return 0;
}

CONTRACT_THREADS(workers_inherit_the_scheduling_policy_of_no_caller)
{
    set_policy(SCHED_BATCH);
    crew_pool *pool = contract_pool(NULL);
    submit_and_wait(pool, &check_policy);
    CHECK_EQ(sched_getscheduler(0), SCHED_BATCH);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* This thread, and those that it starts. */
static void give_up_raising_priorities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    const struct rlimit none = {0, 0};
    CHECK_EQ(setrlimit(RLIMIT_NICE, &none), 0);
    CHECK_EQ(syscall(SYS_capget, &header, data), 0);
    data[CAP_TO_INDEX(CAP_SYS_NICE)].effective &= ~CAP_TO_MASK(CAP_SYS_NICE);
    CHECK_EQ(syscall(SYS_capset, &header, data), 0);
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* Whether a thread of this policy may start one of the default policy. */
static bool may_leave_policy(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED), 0);
    int failure = pthread_create(&thread, &attributes, do_nothing, NULL);
    CHECK(failure == 0 || failure == EPERM);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
    if (failure == 0)
        CHECK_EQ(pthread_join(thread, NULL), 0);
    return failure == 0;
}

CREW_ACTION(check_idle_policy, int)
{
    (void)arg, (void)context;
    CHECK_EQ(sched_getscheduler(0), SCHED_IDLE);
    return 0;
}

CONTRACT_THREADS(workers_stay_with_a_caller_who_may_not_leave_the_idle_policy)
{
    set_policy(SCHED_IDLE);
    give_up_raising_priorities();
    if (may_leave_policy())
        test_skip("here anybody may leave SCHED_IDLE");
    crew_pool *pool = contract_pool(NULL);
    submit_and_wait(pool, &check_idle_policy);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- how many, and until when ---- */

CONTRACT_THREADS(all_threads_are_gone_when_join_has_returned)
{
    struct blocker blocker;
    unsigned before = test_threads_alive();
    crew_pool *pool = contract_pool(NULL);
    blocker_hold(&blocker, pool, config->workers);
    CHECK(test_threads_alive() >= before + config->workers);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(test_threads_alive(), before);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

CONTRACT_THREADS(a_pool_ends_though_its_first_worker_may_not_have_come)
{
    unsigned before = test_threads_alive();
    for (int i = 0; i < 200; i++) {
        crew_pool *pool = contract_pool(NULL);
        if (i % 2)
            CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(test_threads_alive(), before);
    }
}

CONTRACT_THREADS(all_of_many_sleeping_workers_end_with_their_pool)
{
    enum { MANY = 150 };
    struct blocker blocker;
    unsigned before = test_threads_alive();
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = MANY, .flags = CREW_WORKERS_ONLY));
    blocker_hold(&blocker, pool, MANY);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    for (int i = 0; i < 50; i++) /* meanwhile most have fallen asleep */
        submit_and_wait(pool, &never_pulled);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(test_threads_alive(), before);
    blocker_free(&blocker);
}

CONTRACT_THREADS(few_jobs_bring_few_threads)
{
    crew_pool_info info = {.struct_size = sizeof info};
    struct blocker blocker;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 64, .flags = CREW_WORKERS_ONLY));
    blocker_hold(&blocker, pool, 3);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK(info.threads >= 3 && info.threads <= 1 + 2 * 3); /* each job that begins brings two at most */
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(&blocker);
}

TEST(a_serial_pool_starts_no_thread)
{
    crew_pool *pool;
    unsigned before = test_threads_alive();
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.kind = CREW_SERIAL, .workers = 4)), CREW_OK);
    CHECK_STATUS(crew_apply(pool, &never_pulled, &(int){0}, NULL, NULL), CREW_OK);
    CHECK_EQ(test_threads_alive(), before);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(a_pool_has_never_more_threads_than_slots)
{
    crew_pool_info info = {.struct_size = sizeof info};
    unsigned before = test_threads_alive();
    crew_pool *pool = contract_pool(NULL);
    for (int i = 0; i < 50; i++) {
        submit_and_wait(pool, &never_pulled);
        CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
        CHECK(info.threads >= 1 && info.threads <= info.slots);
        CHECK(test_threads_alive() <= before + info.slots);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- the end of the process ---- */

static struct exiting {
    crew_pool *pool;
    struct blocker blocker;
} exiting; /* static, so that a leak checker finds what the exit leaves alive */

CREW_ACTION(submit_for_ever, int)
{
    (void)context;
    while (crew_apply_async(crew_current_pool(), &never_pulled, arg, NULL, NULL) == CREW_OK)
        continue;
    return 0;
}

static void exit_with_a_live_pool(void *arg)
{
    (void)arg;
    exiting.pool = contract_pool(NULL);
    if (config->threads)
        blocker_hold(&exiting.blocker, exiting.pool, config->workers);
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(crew_apply_async(exiting.pool, &never_pulled, &i, NULL, NULL), CREW_OK);
    exit(3);
}

static void check_exit_code(void (*body)(void *), int code)
{
    int status = run_in_child(body, NULL);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), code);
}

CONTRACT(a_process_can_exit_with_a_live_pool_whose_jobs_are_stuck)
{
    check_exit_code(exit_with_a_live_pool, 3);
}

static void exit_while_jobs_submit(void *arg)
{
    (void)arg;
    exiting.pool = contract_pool(CREW_OPTIONS(.queue_max = 100));
    CHECK_STATUS(crew_apply_async(exiting.pool, &submit_for_ever, &(int){0}, NULL, NULL), CREW_OK);
    exit(4);
}

CONTRACT_THREADS(a_process_can_exit_while_jobs_submit_jobs)
{
    if (test_under_sanitizer())
        test_skip("its own end is not made for threads that go on");
    check_exit_code(exit_while_jobs_submit, 4);
}

CREW_ACTION(exit_now, int)
{
    (void)context;
    exit(*arg);
}

static void exit_from_a_job(void *arg)
{
    (void)arg;
    exiting.pool = contract_pool(NULL);
    (void)crew_apply(exiting.pool, &exit_now, &(int){6}, NULL, NULL);
    test_fail(__FILE__, __LINE__, "exit has returned");
}

CONTRACT(a_job_may_exit_the_process)
{
    check_exit_code(exit_from_a_job, 6);
}

static void destroy_at_exit(void)
{
    CHECK_STATUS(crew_pool_destroy(exiting.pool), CREW_OK);
    _exit(8); /* shows that destroy has returned */
}

static void exit_with_destroy_to_come(void *arg)
{
    (void)arg;
    exiting.pool = contract_pool(NULL);
    CHECK_EQ(atexit(destroy_at_exit), 0);
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(crew_apply_async(exiting.pool, &never_pulled, &i, NULL, NULL), CREW_OK);
    exit(0);
}

CONTRACT(a_pool_may_be_destroyed_by_an_exit_handler)
{
    check_exit_code(exit_with_destroy_to_come, 8);
}

static void outlive_main(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(crew_apply(exiting.pool, &never_pulled, &i, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(exiting.pool), CREW_OK);
    _exit(9);
}

static void end_the_main_thread_only(void *arg)
{
    (void)arg;
    exiting.pool = contract_pool(NULL);
    (void)test_thread_start(outlive_main, NULL);
    pthread_exit(NULL);
}

CONTRACT(a_pool_outlives_the_main_thread)
{
    if (!test_forked_main_may_end())
        test_skip("a main thread that ends in a fork's child keeps a lock of this libc for ever");
    check_exit_code(end_the_main_thread_only, 9);
}

/* ---- cancellation ---- */

static void *wait_under_cancellation(void *arg)
{
    struct waiting_thread *waiting = arg;
    gate_open(waiting->ready);
    CHECK_STATUS(crew_result_wait(waiting->result, CREW_FOREVER), CREW_OK);
    CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL), 0); /* for what follows; the wait itself is done */
    gate_open(waiting->returned);
    return arg;
}

CONTRACT_THREADS(a_wait_is_no_cancellation_point)
{
    struct blocker blocker = {gate_new(), gate_new()}, *held = &blocker;
    struct waiting_thread waiting = {.ready = gate_new(), .returned = gate_new()};
    void *returned = NULL;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(pool, &hold_worker, &held, &waiting.result, NULL), CREW_OK);
    gate_wait(blocker.started);
    CHECK_EQ(pthread_create(&waiting.thread, NULL, wait_under_cancellation, &waiting), 0);
    gate_wait(waiting.ready);
    CHECK_EQ(pthread_cancel(waiting.thread), 0);
    CHECK(!gate_wait_until(waiting.returned, 1, NOT_YET_NS));
    blocker_let_go(&blocker);
    CHECK_EQ(pthread_join(waiting.thread, &returned), 0);
    CHECK(returned == &waiting);
    CHECK_EQ(gate_count(waiting.returned), 1);
    crew_result_destroy(waiting.result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(waiting.ready);
    gate_free(waiting.returned);
    blocker_free(&blocker);
}
