/* SPDX-License-Identifier: MIT */
/* What tests of the contract use of their harness, on simulated threads: gates, counters, threads, clocks, checks. */
#include "contract_run.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "engine.h"
#include "platform/platform.h"

/* ---- checks ---- */

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
{
    char text[1000];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sim_fail("%s:%d: %s", file, line, text);
}

_Noreturn void test_skip(const char *why)
{
    (void)why;
    contract_end(CONTRACT_SKIPPED);
}

bool test_under_sanitizer(void)
{
    return true; /* it takes its time, and figures mean nothing */
}

crew_pool *contract_pool(const crew_pool_options *base)
{
    crew_error error = {.message = ""};
    crew_pool_options options = {.struct_size = sizeof options};
    crew_pool *pool = NULL;
    if (base)
        options = *base;
    options.kind = config->kind;
    if (options.workers == 0)
        options.workers = config->workers;
    if ((options.flags & (CREW_WORKERS_ONLY | CREW_CALLER_HELPS)) == 0)
        options.flags |= (unsigned)(config->helping ? CREW_CALLER_HELPS : CREW_WORKERS_ONLY);
    if (!options.error)
        options.error = &error;
    if (crew_pool_create(&pool, &options) != CREW_OK)
        sim_fail("crew_pool_create: %s", options.error->message);
    return pool;
}

/* ---- counters: whoever reads the same value again pauses ---- */

static uint64_t *word_of(const counter *c)
{
    return (uint64_t *)(uintptr_t)&c->n;
}

long counter_add(counter *c, long delta)
{
    return (long)sim_atomic_rmw(word_of(c), sizeof(uint64_t), SIM_ADD, (uint64_t)delta, memory_order_seq_cst) + delta;
}

long counter_get(const counter *c)
{
    static struct {
        const counter *of;
        long value;
    } last[SIM_THREADS_MAX];
    long value = (long)sim_atomic_load(word_of(c), sizeof(uint64_t), memory_order_seq_cst);
    unsigned id = sim_thread_id();
    if (last[id].of == c && last[id].value == value)
        crewi_cpu_relax();
    last[id].of = c;
    last[id].value = value;
    return value;
}

void counter_max(counter *c, long value)
{
    uint64_t seen = (uint64_t)counter_get(c);
    while ((long)seen < value &&
           !sim_atomic_cas(word_of(c), sizeof seen, &seen, (uint64_t)value, memory_order_seq_cst, memory_order_seq_cst))
        continue;
}

/* ---- gates ---- */

struct gate {
    crewi_atomic_u32 count;
};

struct gate *gate_new(void)
{
    struct gate *gate = sim_memory_take(sizeof *gate, 16);
    crewi_atomic_u32_init(&gate->count, 0);
    return gate;
}

void gate_free(struct gate *gate)
{
    if (gate)
        sim_memory_give(gate);
}

void gate_add(struct gate *gate)
{
    (void)crewi_atomic_u32_fetch_add(&gate->count, 1);
    crewi_futex_wake_all(&gate->count);
}

static bool gate_wait_till(struct gate *gate, unsigned count, int64_t deadline_ns)
{
    uint32_t seen;
    bool in_time = true;
    while ((seen = crewi_atomic_u32_load(&gate->count)) < count && in_time)
        in_time = crewi_futex_wait(&gate->count, seen, deadline_ns);
    return seen >= count;
}

void gate_wait_for(struct gate *gate, unsigned count)
{
    (void)gate_wait_till(gate, count, CREWI_NEVER);
}

bool gate_wait_until(struct gate *gate, unsigned count, int64_t timeout_ns)
{
    return gate_wait_till(gate, count, test_now_ns() + timeout_ns);
}

unsigned gate_count(struct gate *gate)
{
    return crewi_atomic_u32_load(&gate->count);
}

/* ---- clocks, threads, chance ---- */

int64_t test_now_ns(void)
{
    return crewi_clock_now_ns();
}

struct test_thread *test_thread_start(void (*run)(void *), void *arg)
{
    return (struct test_thread *)sim_thread_start(run, arg);
}

void test_thread_join(struct test_thread *thread)
{
    sim_thread_join((struct sim_thread *)thread);
}

unsigned test_threads_alive(void)
{
    unsigned alive = 0;
    const struct sim_thread *thread;
    for (unsigned id = 0; (thread = sim_thread_at(id)); id++)
        alive += thread->state != SIM_ENDED;
    return alive;
}

uint64_t test_seed(void)
{
    return contract_seed();
}

uint64_t test_random(uint64_t *state)
{
    return sim_random(state);
}

/* ---- mutexes and threads of the system ---- */

int sim_mutex_lock(sim_mutex *mutex)
{
    unsigned me = sim_thread_id() + 1;
    if (mutex->owner == me && mutex->kind != PTHREAD_MUTEX_RECURSIVE) {
        if (mutex->kind == PTHREAD_MUTEX_ERRORCHECK)
            return 35; /* EDEADLK */
        sim_fail("a thread locks its own mutex again");
    }
    for (;;) {
        uint32_t nobody = 0;
        if (mutex->owner == me ||
            sim_atomic_cas(&mutex->owner, sizeof nobody, &nobody, me, memory_order_seq_cst, memory_order_seq_cst))
            break;
        (void)crewi_futex_wait((crewi_atomic_u32 *)(void *)&mutex->owner, nobody, CREWI_NEVER);
    }
    mutex->depth++;
    return 0;
}

int sim_mutex_unlock(sim_mutex *mutex)
{
    if (mutex->owner != sim_thread_id() + 1)
        return 1; /* EPERM */
    if (--mutex->depth > 0)
        return 0;
    sim_atomic_store(&mutex->owner, sizeof mutex->owner, 0, memory_order_seq_cst);
    crewi_futex_wake_all((crewi_atomic_u32 *)(void *)&mutex->owner);
    return 0;
}

struct started {
    void *(*run)(void *);
    void *arg;
};

static void run_started(void *opaque)
{
    struct started started = *(struct started *)opaque;
    sim_memory_give(opaque);
    (void)started.run(started.arg);
}

int sim_pthread_create(unsigned *ret_thread, void *(*run)(void *), void *arg)
{
    struct started *started = sim_memory_take(sizeof *started, 16);
    *started = (struct started){run, arg};
    *ret_thread = sim_thread_start(run_started, started)->id;
    return 0;
}

int sim_pthread_join(unsigned thread)
{
    sim_thread_join(sim_thread_at(thread));
    return 0;
}
