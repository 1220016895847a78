/* SPDX-License-Identifier: MIT */
/* The platform contract on Linux: futex, pthreads, CLOCK_MONOTONIC. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#else
#define __libc_single_threaded false
#endif

#include "../base/poison.h"
#include "platform.h"

#if defined(__SANITIZE_THREAD__)
#define CREWI_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CREWI_THREAD_SANITIZER
#endif
#endif

/* Few and small enough to lie in the block that threads are born with: reached without a call, from a shared library, too. */
#define CREWI_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

/* ---- time ---- */

/* Where no clock can be read (a sandbox may forbid it), a thread's time goes on by a little with each look: so whoever looks around
 * for some time ends. */
static CREWI_THREAD_LOCAL int64_t linux_clock_last_ns;

int64_t crewi_clock_now_ns(void)
{
    enum { STEP_NS = 1000 };
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        linux_clock_last_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    else
        linux_clock_last_ns += STEP_NS;
    return linux_clock_last_ns;
}

/* ---- sleeping and waking ---- */

/* Through syscall(), which is no cancellation point. errno belongs to the user's code and is kept. */
static int linux_futex(crewi_atomic_u32 *word, int operation, uint32_t value, const struct timespec *until)
{
    int kept = errno;
    long result = syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, until, NULL, FUTEX_BITSET_MATCH_ANY);
    int failure = result < 0 ? errno : 0;
    errno = kept;
    return failure;
}

bool crewi_futex_wait(crewi_atomic_u32 *word, uint32_t expected, int64_t deadline_ns)
{
    if (deadline_ns == CREWI_NEVER)
        return linux_futex(word, FUTEX_WAIT_BITSET, expected, NULL), true;
    if (deadline_ns <= 0)
        return false;
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000), .tv_nsec = (long)(deadline_ns % 1000000000)};
    return linux_futex(word, FUTEX_WAIT_BITSET, expected, &until) != ETIMEDOUT;
}

void crewi_futex_wake_one(crewi_atomic_u32 *word)
{
    (void)linux_futex(word, FUTEX_WAKE, 1, NULL);
}

void crewi_futex_wake_all(crewi_atomic_u32 *word)
{
    (void)linux_futex(word, FUTEX_WAKE, INT_MAX, NULL);
}

/* ---- threads ---- */

static void *linux_thread_main(void *opaque)
{
    crewi_thread *thread = opaque;
    thread->id = (uintptr_t)pthread_self();
    (void)pthread_setname_np(pthread_self(), thread->name);
    thread->run(thread->arg);
    return NULL;
}

/* Synchronous signals stay open: blocking SIGSEGV and its like would turn a fault into silence. */
static void linux_asynchronous_signals(sigset_t *ret_set)
{
    static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    (void)sigfillset(ret_set);
    for (size_t i = 0; i < sizeof synchronous / sizeof *synchronous; i++)
        (void)sigdelset(ret_set, synchronous[i]);
}

/* As small as the system can do, and whole pages. */
static size_t linux_stack_round(size_t size)
{
    enum { PAGE = 4096 };
    size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    size = size < least ? least : size;
    return size > SIZE_MAX - PAGE ? size : (size + PAGE - 1) / PAGE * PAGE;
}

/* Asking for a policy makes a new thread wait until it has been set: not where it inherits that one in any case. */
static void linux_default_policy(pthread_attr_t *attributes)
{
    if (syscall(SYS_sched_getscheduler, 0) != SCHED_OTHER)
        (void)pthread_attr_setinheritsched(attributes, PTHREAD_EXPLICIT_SCHED);
}

/* A thread that may not leave SCHED_IDLE, as only the privileged may, has others beside it there. */
static bool linux_thread_begin(pthread_t *ret_id, pthread_attr_t *attributes, crewi_thread *thread)
{
    int failure = pthread_create(ret_id, attributes, linux_thread_main, thread);
    if (failure != EPERM)
        return failure == 0;
    (void)pthread_attr_setinheritsched(attributes, PTHREAD_INHERIT_SCHED);
    return pthread_create(ret_id, attributes, linux_thread_main, thread) == 0;
}

static bool linux_thread_create(crewi_thread *thread, size_t stack_size)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes))
        return false;
    bool started = stack_size == 0 || pthread_attr_setstacksize(&attributes, linux_stack_round(stack_size)) == 0;
    linux_default_policy(&attributes);
    pthread_t id; /* the new thread knows it sooner */
    sigset_t blocked, kept;
    linux_asynchronous_signals(&blocked);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, &kept); /* the new thread starts with it: no signal slips in between */
    started = started && linux_thread_begin(&id, &attributes, thread);
    (void)pthread_sigmask(SIG_SETMASK, &kept, NULL);
    (void)pthread_attr_destroy(&attributes);
    return started;
}

bool crewi_thread_start(crewi_thread *ret_thread, void (*run)(void *), void *arg, const char *name, size_t stack_size)
{
    ret_thread->run = run;
    ret_thread->arg = arg;
    (void)snprintf(ret_thread->name, sizeof ret_thread->name, "%.*s", (int)sizeof ret_thread->name - 1, name);
    return linux_thread_create(ret_thread, stack_size);
}

void crewi_thread_join(crewi_thread thread)
{
    int kept; /* pthread_join is a cancellation point; our callers are not */
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &kept);
    (void)pthread_join((pthread_t)thread.id, NULL);
    (void)pthread_setcancelstate(kept, NULL);
}

void crewi_thread_vanish(void)
{
    for (;;)
        (void)syscall(SYS_exit, 0);
}

/* The stack that the calling thread had when it was first asked for, once: for the main thread the question reads a file. Beneath the floor a
 * thread begins no more jobs. */
static CREWI_THREAD_LOCAL struct {
    uintptr_t low, floor;
    size_t size;
} linux_stack;

static void linux_stack_measure(void)
{
    enum { ASSUMED = 256 * 1024, RESERVE_MIN = 32 * 1024 };
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        (void)pthread_attr_getstack(&attributes, &low, &size);
        (void)pthread_attr_destroy(&attributes);
    }
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    bool known = size != 0 && here > (uintptr_t)low && here - (uintptr_t)low <= size;
    linux_stack.low = known ? (uintptr_t)low : here - ASSUMED;
    linux_stack.size = known ? size : ASSUMED;
    size_t reserve = linux_stack.size / 4;
    linux_stack.floor = linux_stack.low + (reserve < RESERVE_MIN ? RESERVE_MIN : reserve);
}

bool crewi_stack_is_enough(void)
{
    if (linux_stack.floor == 0)
        linux_stack_measure();
    return (uintptr_t)__builtin_frame_address(0) > linux_stack.floor;
}

struct linux_guard {
    void (*lost)(void *);
    void *arg;
};

/* A cancelled thread leaves its frames without telling an address sanitizer. What that has for the purpose is for the frames above the caller, and
 * stumbles over the marks of those beneath; so would everything else that puts a buffer there. */
static void linux_forget_frames_beneath(const char *frame)
{
    uintptr_t depth = (uintptr_t)frame - linux_stack.low;
    if (depth < linux_stack.size) /* else on a stack of its own, which nobody knows */
        CREWI_ALLOW(frame - depth, depth);
}

static void linux_lost(void *opaque)
{
    struct linux_guard *guard = opaque;
    if (CREWI_ADDRESS_SANITIZER)
        linux_forget_frames_beneath(__builtin_frame_address(0));
    guard->lost(guard->arg);
}

void crewi_thread_guard(void (*body)(void *), void (*lost)(void *), void *arg)
{
    struct linux_guard guard = {lost, arg};
    if (CREWI_ADDRESS_SANITIZER && linux_stack.floor == 0)
        linux_stack_measure();
    pthread_cleanup_push(linux_lost, &guard);
    body(arg);
    pthread_cleanup_pop(0);
}

/* ---- the calling thread ---- */

static CREWI_THREAD_LOCAL void *linux_self;

void *crewi_self_get(void)
{
    return linux_self;
}

void crewi_self_set(void *self)
{
    linux_self = self;
}

static CREWI_THREAD_LOCAL int64_t linux_patience_ns;

int64_t *crewi_self_patience_ns(void)
{
    return &linux_patience_ns;
}

void crewi_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

unsigned crewi_cpus_at_hand(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1; /* more than a cpu_set_t holds, or forbidden: then nobody spins */
    return (unsigned)CPU_COUNT(&set);
}

void *crewi_thread_mark(void)
{
    return &linux_self;
}

unsigned crewi_thread_hash(void)
{
    uint64_t address = (uint64_t)(uintptr_t)crewi_thread_mark();
    return (unsigned)((address >> 6) * 0x9E3779B97F4A7C15u >> 40);
}

/* ---- a barrier in all threads ---- */

/* Set once, by the thread that made the first pool; a fork's child inherits both this and what it stands for. */
static crewi_atomic_u32 linux_has_barrier;

static long linux_membarrier(int command)
{
    int kept = errno;
    long result = syscall(SYS_membarrier, command, 0, 0);
    errno = kept;
    return result;
}

/* A process of many threads would wait some 10 ms for this; one of a single thread does not. ThreadSanitizer does not know such barriers. */
void crewi_barrier_prepare(void)
{
#ifndef CREWI_THREAD_SANITIZER
    if (__libc_single_threaded && linux_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0)
        crewi_atomic_u32_store(&linux_has_barrier, 1);
#endif
}

bool crewi_barrier_is_there(void)
{
    return crewi_atomic_u32_load_relaxed(&linux_has_barrier) != 0; /* relaxed: if seen late, it is used late */
}

/* Where it is forbidden after it was allowed, a while does: no core keeps a store to itself for a millisecond. */
void crewi_barrier_everywhere(void)
{
    enum { LONG_NS = 1000000 };
    crewi_atomic_u32 nobody;
    crewi_atomic_u32_init(&nobody, 0);
    if (linux_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0)
        (void)crewi_futex_wait(&nobody, 0, crewi_clock_now_ns() + LONG_NS);
}

/* ---- processes ---- */

crewi_atomic_u32 crewi_fork_count;
static pthread_mutex_t linux_fork_lock = PTHREAD_MUTEX_INITIALIZER; /* guards registering */
static void (*linux_in_child)(void);
static crewi_atomic_u32 linux_is_watching; /* 1: registered; read without the lock, which a fork may leave held */

static void linux_forked(void)
{
    (void)crewi_atomic_u32_fetch_add(&crewi_fork_count, 1);
    linux_in_child(); /* written before this handler was registered */
}

bool crewi_fork_watch(void (*in_child)(void))
{
    if (crewi_atomic_u32_load(&linux_is_watching))
        return true;
    (void)pthread_mutex_lock(&linux_fork_lock);
    if (!crewi_atomic_u32_load(&linux_is_watching)) {
        linux_in_child = in_child;
        crewi_atomic_u32_store(&linux_is_watching, pthread_atfork(NULL, NULL, linux_forked) == 0);
    }
    (void)pthread_mutex_unlock(&linux_fork_lock);
    return crewi_atomic_u32_load(&linux_is_watching) != 0;
}

/* ---- memory ---- */

void *crewi_memory_alloc(size_t size, size_t align)
{
    void *block = NULL;
    int kept = errno;
    bool plain = align <= _Alignof(max_align_t);
    if (plain)
        block = malloc(size);
    else if (posix_memalign(&block, align, size))
        block = NULL;
    errno = kept;
    return block;
}

void crewi_memory_free(void *block)
{
    free(block);
}
