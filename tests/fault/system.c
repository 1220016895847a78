/* SPDX-License-Identifier: MIT */
/* What the library calls instead of the system. A fault leaves outputs as the system would: untouched, with errno set where
 * that is how the function says it. */
#define _GNU_SOURCE
#include "system.h"

#include "fault.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static counter live_blocks, live_files;

long fault_live_blocks(void)
{
    return counter_get(&live_blocks);
}

long fault_live_files(void)
{
    return counter_get(&live_files);
}

/* ---- memory ---- */

static void *counted(void *block)
{
    if (block != NULL)
        counter_add(&live_blocks, 1);
    return block;
}

static bool memory_fails(void)
{
    if (!fault_strikes(FAULT_MEMORY))
        return false;
    errno = ENOMEM;
    return true;
}

void *fault_malloc(size_t size)
{
    return memory_fails() ? NULL : counted(malloc(size));
}

int fault_posix_memalign(void **ret_block, size_t align, size_t size)
{
    if (memory_fails())
        return ENOMEM;
    int failure = posix_memalign(ret_block, align, size);
    if (failure == 0)
        (void)counted(*ret_block);
    return failure;
}

void fault_free(void *block)
{
    if (block != NULL)
        counter_add(&live_blocks, -1);
    free(block);
}

cpu_set_t *fault_cpualloc(size_t count)
{
    return memory_fails() ? NULL : counted(malloc(CPU_ALLOC_SIZE(count)));
}

/* ---- threads and processes ---- */

int fault_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    return fault_strikes(FAULT_THREAD) ? EAGAIN : pthread_create(ret_thread, attributes, run, arg);
}

int fault_pthread_attr_init(pthread_attr_t *attributes)
{
    return fault_strikes(FAULT_SYSTEM) ? ENOMEM : pthread_attr_init(attributes);
}

int fault_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
{
    return fault_strikes(FAULT_SYSTEM) ? EINVAL : pthread_attr_setstacksize(attributes, size);
}

int fault_pthread_attr_setinheritsched(pthread_attr_t *attributes, int inherit)
{
    return fault_strikes(FAULT_SYSTEM) ? EINVAL : pthread_attr_setinheritsched(attributes, inherit);
}

int fault_pthread_setname_np(pthread_t thread, const char *name)
{
    return fault_strikes(FAULT_SYSTEM) ? ERANGE : pthread_setname_np(thread, name);
}

int fault_pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    return fault_strikes(FAULT_SYSTEM) ? ENOMEM : pthread_getattr_np(thread, attributes);
}

int fault_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return fault_strikes(FAULT_SYSTEM) ? ENOMEM : pthread_atfork(prepare, parent, child);
}

int fault_sched_getaffinity(pid_t process, size_t size, cpu_set_t *set)
{
    if (!fault_strikes(FAULT_SYSTEM))
        return sched_getaffinity(process, size, set);
    errno = EINVAL;
    return -1;
}

long fault_sysconf(int name)
{
    return fault_strikes(FAULT_SYSTEM) ? -1 : sysconf(name);
}

/* ---- sleeping and waking ---- */

static bool is_past(const struct timespec *until)
{
    return until != NULL && (int64_t)until->tv_sec * 1000000000 + until->tv_nsec <= test_now_ns();
}

/* 0, or why a sleep ends at once. Past its deadline the kernel says so, whatever else there is. */
static int futex_fault(int operation, const struct timespec *until)
{
    static _Atomic unsigned turn;
    if (operation != (FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG))
        return 0;
    if (fault_strikes(FAULT_FUTEX) && !is_past(until))
        return atomic_fetch_add(&turn, 1) % 2 ? EAGAIN : EINTR;
    return until != NULL && fault_strikes(FAULT_TIMEOUT) ? ETIMEDOUT : 0;
}

long fault_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    if (number == SYS_exit)
        return syscall(SYS_exit, va_arg(arguments, int));
    if (number == SYS_membarrier || number == SYS_sched_getscheduler) {
        errno = EPERM;
        return fault_strikes(FAULT_SYSTEM) ? -1 : syscall(number, va_arg(arguments, int), 0, 0);
    }
    CHECK_EQ(number, SYS_futex);
    void *word = va_arg(arguments, void *);
    int operation = va_arg(arguments, int);
    uint32_t value = va_arg(arguments, uint32_t);
    const struct timespec *until = va_arg(arguments, const struct timespec *);
    va_end(arguments);
    errno = futex_fault(operation, until);
    return errno != 0 ? -1 : syscall(SYS_futex, word, operation, value, until, NULL, FUTEX_BITSET_MATCH_ANY);
}

int fault_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    if (!fault_strikes(FAULT_CLOCK))
        return clock_gettime(clock, ret_now);
    errno = EPERM;
    return -1;
}

/* ---- files ---- */

static bool file_fails(int why)
{
    if (!fault_strikes(FAULT_FILE))
        return false;
    errno = why;
    return true;
}

FILE *fault_fopen(const char *path, const char *mode)
{
    FILE *file = file_fails(EMFILE) ? NULL : fopen(path, mode);
    counter_add(&live_files, file != NULL);
    return file;
}

int fault_fclose(FILE *file)
{
    counter_add(&live_files, -1);
    return fclose(file);
}

char *fault_fgets(char *text, int size, FILE *file)
{
    return file_fails(EIO) ? NULL : fgets(text, size, file);
}

/* Has memory of its own, which the library frees; the system may allocate it even where it then fails. */
ssize_t fault_getline(char **line, size_t *size, FILE *file)
{
    if (file_fails(ENOMEM))
        return -1;
    bool had_none = *line == NULL;
    ssize_t length = getline(line, size, file);
    if (had_none)
        (void)counted(*line);
    return length;
}
