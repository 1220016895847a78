/* SPDX-License-Identifier: MIT */
/* What cases are written with: checks, the configured pool, counters, the clock, threads and randomness. */
#define _GNU_SOURCE
#include "run.h"

#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

const struct contract *config;

/* ---- checks ---- */

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    flockfile(stderr); /* one message, whole, even when two threads fail at once */
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    fflush(stdout);
    _exit(1);
}

void test_skip(const char *why)
{
    printf("\n" RUN_SKIP_MARK "%s\n", why);
    fflush(stdout);
    _exit(RUN_SKIPPED);
}

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
enum { UNDER_THREAD_SANITIZER = true };
#else
enum { UNDER_THREAD_SANITIZER = false };
#endif

bool test_under_sanitizer(void)
{
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
    return true;
#else
    return UNDER_THREAD_SANITIZER;
#endif
}

/* A case may end while its threads still run; that is no leak of the library's. And a race ends the process in which it is found, whatever
 * that says afterwards. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "report_thread_leaks=0:halt_on_error=1";
}

/* ---- the configured pool ---- */

crew_pool *contract_pool(const crew_pool_options *base)
{
    crew_error error = {.message = ""};
    crew_pool_options options = {.struct_size = sizeof options};
    crew_pool *pool = NULL;
    if (base != NULL)
        options = *base;
    options.kind = config->kind;
    if (options.workers == 0)
        options.workers = config->workers;
    if ((options.flags & (CREW_WORKERS_ONLY | CREW_CALLER_HELPS)) == 0)
        options.flags |= config->helping ? CREW_CALLER_HELPS : CREW_WORKERS_ONLY;
    if (options.error == NULL)
        options.error = &error;
    crew_status status = crew_pool_create(&pool, &options);
    if (status != CREW_OK)
        test_fail(__FILE__, __LINE__, "crew_pool_create: %s: %s", crew_status_name(status), options.error->message);
    return pool;
}

/* ---- counting ---- */

long counter_add(counter *c, long delta)
{
    return atomic_fetch_add(&c->n, delta) + delta;
}

long counter_get(const counter *c)
{
    return atomic_load(&c->n);
}

void counter_max(counter *c, long value)
{
    long seen = atomic_load(&c->n);
    while (seen < value && !atomic_compare_exchange_weak(&c->n, &seen, value))
        continue;
}

/* ---- clock ---- */

int64_t test_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- threads ---- */

struct test_thread {
    pthread_t thread;
    void (*run)(void *);
    void *arg;
};

static void *thread_main(void *started)
{
    struct test_thread *thread = started;
    thread->run(thread->arg);
    return NULL;
}

struct test_thread *test_thread_start(void (*run)(void *), void *arg)
{
    struct test_thread *thread = malloc(sizeof *thread);
    CHECK(thread != NULL);
    *thread = (struct test_thread){.run = run, .arg = arg};
    CHECK_EQ(pthread_create(&thread->thread, NULL, thread_main, thread), 0);
    return thread;
}

void test_thread_join(struct test_thread *thread)
{
    CHECK_EQ(pthread_join(thread->thread, NULL), 0);
    free(thread);
}

/* A thread that was joined may stay listed for a moment, but the kernel marked it before join could return. */
static bool is_exiting(const char *thread)
{
    enum { PF_EXITING = 4 };
    char path[320], line[512];
    unsigned flags = PF_EXITING;
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", thread);
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return true;
    if (fgets(line, sizeof line, stream) != NULL && strrchr(line, ')') != NULL)
        sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %u", &flags);
    fclose(stream);
    return (flags & PF_EXITING) != 0;
}

static unsigned sanitizer_threads; /* alive before the case starts */

unsigned test_threads_alive(void)
{
    unsigned alive = 0;
    DIR *threads = opendir("/proc/self/task");
    CHECK(threads != NULL);
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;)
        alive += entry->d_name[0] != '.' && !is_exiting(entry->d_name);
    closedir(threads);
    return alive - sanitizer_threads;
}

static void do_nothing(void *arg)
{
    (void)arg;
}

/* Elsewhere a case begins with a single thread, so that locks may have favourites. */
void test_threads_baseline(void)
{
    if (UNDER_THREAD_SANITIZER) /* its own thread comes with the first other one */
        test_thread_join(test_thread_start(do_nothing, NULL));
    sanitizer_threads = 0;
    sanitizer_threads = test_threads_alive() - 1;
}

/* ---- randomness ---- */

uint64_t test_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t test_seed(void)
{
    static uint64_t seed; /* first asked for by main, so that every case sees the same */
    if (seed == 0) {
        const char *given = getenv("TEST_SEED");
        uint64_t chance = (uint64_t)test_now_ns() ^ ((uint64_t)getpid() << 40);
        seed = given != NULL ? strtoull(given, NULL, 0) : test_random(&chance);
    }
    return seed;
}
