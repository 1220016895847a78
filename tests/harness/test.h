/* SPDX-License-Identifier: MIT */
/* The harness of all C tests: cases register themselves, each runs in its own process with a time limit, output is TAP.
 *
 *     TEST(map_of_nothing_is_ready_at_once) { CHECK_STATUS(crew_map(pool, &job, NULL, 0, NULL, NULL), CREW_OK); }
 *
 * A CONTRACT case runs once per configuration (backend x workers x helping) and makes its pools through contract_pool. */
#ifndef CREW_TEST_H
#define CREW_TEST_H

#include <crewpool/crewpool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a contract case runs on ---- */
struct contract {
    int kind;         /* CREW_THREADS or CREW_SERIAL */
    unsigned workers; /* 1, 2, 4 or 16 */
    bool helping;     /* CREW_CALLER_HELPS, else CREW_WORKERS_ONLY */
    bool threads;     /* kind is CREW_THREADS: things really run side by side */
};
extern const struct contract *config; /* of the running case; a plain TEST sees threads, 2 workers, helping */

/* A pool for this configuration. `base` (may be NULL) gives every other option; its kind, and workers and helping flags where they
 * are 0, are filled in from the configuration. Fails the test when create does. */
crew_pool *contract_pool(const crew_pool_options *base);

/* ---- cases ---- */
enum { TEST_PLAIN = 0, TEST_CONTRACT = 1, TEST_CONTRACT_THREADS = 2 };
struct test_case {
    const char *name, *file;
    void (*run)(void);
    int kind;
    unsigned limit_s; /* 0: the default of 20 s (60 s under a sanitizer) */
    struct test_case *next;
};
void test_register(struct test_case *test);

#define TEST_DEFINE(test_name, test_kind, limit)                                                  \
    static void test_name(void);                                                                  \
    __attribute__((constructor)) static void test_name##_register(void)                           \
    {                                                                                             \
        static struct test_case self = {#test_name, __FILE__, test_name, test_kind, limit, NULL}; \
        test_register(&self);                                                                     \
    }                                                                                             \
    static void test_name(void)
#define TEST(name) TEST_DEFINE(name, TEST_PLAIN, 0)
#define CONTRACT(name) TEST_DEFINE(name, TEST_CONTRACT, 0)                 /* both backends */
#define CONTRACT_THREADS(name) TEST_DEFINE(name, TEST_CONTRACT_THREADS, 0) /* what needs real concurrency */

/* ---- checks: print file, line and values, and end the case's process ---- */
_Noreturn void test_fail(const char *file, int line, const char *format, ...) CREW_PRINTF(3, 4);
_Noreturn void test_skip(const char *why); /* ends the case as "ok # SKIP why" */
#define CHECK(condition) ((condition) ? (void)0 : test_fail(__FILE__, __LINE__, "%s", #condition))
/* Function calls, so that a compound literal in an argument lives as long as the block around the check. */
#define CHECK_EQ(actual, expected) \
    test_check_eq(__FILE__, __LINE__, #actual, (long long)(actual), #expected, (long long)(expected))
#define CHECK_STATUS(actual, expected) test_check_status(__FILE__, __LINE__, #actual, (actual), (expected))
#define CHECK_STRING(actual, expected) test_check_string(__FILE__, __LINE__, #actual, (actual), (expected))

static inline void test_check_eq(const char *file, int line, const char *what, long long actual,
                                 const char *expectation, long long expected)
{
    if (actual != expected)
        test_fail(file, line, "%s is %lld, not %s (%lld)", what, actual, expectation, expected);
}

static inline void test_check_status(const char *file, int line, const char *what, crew_status actual,
                                     crew_status expected)
{
    if (actual != expected)
        test_fail(file, line, "%s is %s, not %s", what, crew_status_name(actual), crew_status_name(expected));
}

static inline void test_check_string(const char *file, int line, const char *what, const char *actual,
                                     const char *expected)
{
    if (strcmp(actual, expected) != 0)
        test_fail(file, line, "%s is \"%s\", not \"%s\"", what, actual, expected);
}

/* ---- gates instead of sleeps (mutex and condition variable; gate_wait gives up only by the case's time limit) ---- */
struct gate;
struct gate *gate_new(void); /* closed, count 0 */
void gate_free(struct gate *gate);
void gate_add(struct gate *gate);                      /* count + 1 */
void gate_wait_for(struct gate *gate, unsigned count); /* until count >= this */
bool gate_wait_until(struct gate *gate, unsigned count,
                     int64_t timeout_ns); /* the same with a limit; false: it passed */
unsigned gate_count(struct gate *gate);
#define gate_open(gate) gate_add(gate)
#define gate_wait(gate) gate_wait_for(gate, 1)

/* ---- counting, clocks, threads, randomness ---- */
typedef struct {
    _Atomic long n;
} counter;                                /* seq_cst */
long counter_add(counter *c, long delta); /* the new value */
long counter_get(const counter *c);
void counter_max(counter *c, long value); /* c = max(c, value) */

int64_t test_now_ns(void);
struct test_thread;
struct test_thread *test_thread_start(void (*run)(void *), void *arg);
void test_thread_join(struct test_thread *thread); /* and frees */

uint64_t test_seed(void);              /* TEST_SEED or random; printed at the case's start */
uint64_t test_random(uint64_t *state); /* splitmix64 */

unsigned test_threads_alive(void); /* of this process, from /proc/self/task */
/* Not with musl 1.2.3: whoever starts a thread afterwards would hang, with or without this library. */
static inline bool test_forked_main_may_end(void)
{
#ifdef __GLIBC__
    return true;
#else
    return false;
#endif
}
bool test_under_sanitizer(void); /* ASan or TSan: timings and memory figures mean nothing */

/* ---- an allocator for crew_pool_options that counts, checks sizes, and can fail ---- */
struct test_memory {
    counter live_blocks, live_bytes, calls;
    _Atomic long fail_at; /* the call of this number (from 1) returns NULL; 0: none; < 0: all from -fail_at on */
};
void *test_memory_alloc(void *memory, size_t size, size_t align);
void test_memory_free(void *memory, void *block, size_t size);
/* It refuses what is larger: a sanitizer's allocator would abort. */
#define TEST_MEMORY_MAX ((size_t)(SIZE_MAX > UINT32_MAX ? SIZE_MAX >> 20 : SIZE_MAX >> 4))
#define TEST_MEMORY(memory) .alloc = test_memory_alloc, .free = test_memory_free, .user = (memory)

#endif
