/* SPDX-License-Identifier: MIT */
/* src/platform/platform.h on simulated threads, and the operations of include/stdatomic.h. */
#include "../../src/platform/platform.h"

#include "engine.h"

enum { STACK_SIZE = 256 * 1024, STACK_RESERVE_MIN = 32 * 1024, CLOCK_NS = 50, CLOCK_JUMP_NS = 20000 };

/* ---- atomics ---- */

static uint64_t word_read(const void *object, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, object, size);
    return value;
}

static void word_write(void *object, size_t size, uint64_t value)
{
    memcpy(object, &value, size);
}

/* A scheduling point, and then nothing comes between until the operation is done. */
static void word_touch(enum sim_kind kind, const void *object, size_t size, const void *where)
{
    sim_point(kind, object);
    sim_memory_check(object, size, "an atomic operation");
    if (sim_memory_is_weak())
        sim_race_atomic(object, size, kind != SIM_LOAD, where);
}

void sim_atomic_init(void *object, size_t size, uint64_t value)
{
    sim_memory_check(object, size, "an atomic's initialisation");
    word_write(object, size, value);
    if (sim_self && sim_memory_is_weak()) {
        sim_race_plain(object, size, true, __builtin_return_address(0));
        sim_weak_init(object, size, value);
    }
}

uint64_t sim_atomic_load(const void *object, size_t size, memory_order order)
{
    if (object == &crewi_fork_count) /* nobody forks here: no step */
        return word_read(object, size);
    word_touch(SIM_LOAD, object, size, __builtin_return_address(0));
    uint64_t value = sim_memory_is_weak() ? sim_weak_load(object, size, (int)order) : word_read(object, size);
    sim_trace(SIM_LOAD, object, value, value, __builtin_return_address(0));
    return value;
}

void sim_atomic_store(void *object, size_t size, uint64_t value, memory_order order)
{
    word_touch(SIM_STORE, object, size, __builtin_return_address(0));
    sim_trace(SIM_STORE, object, word_read(object, size), value, __builtin_return_address(0));
    if (sim_memory_is_weak())
        sim_weak_store(object, size, value, (int)order);
    word_write(object, size, value);
    sim_has_changed();
}

static uint64_t word_latest(const void *object, size_t size, memory_order order)
{
    return sim_memory_is_weak() ? sim_weak_latest(object, size, (int)order) : word_read(object, size);
}

static void word_update(void *object, size_t size, uint64_t value, memory_order order)
{
    if (sim_memory_is_weak())
        sim_weak_update(object, size, value, (int)order);
    word_write(object, size, value);
    sim_has_changed();
}

static uint64_t word_apply(enum sim_rmw what, uint64_t before, uint64_t operand)
{
    switch (what) {
    case SIM_ADD: return before + operand;
    case SIM_SUB: return before - operand;
    case SIM_OR: return before | operand;
    case SIM_AND: return before & operand;
    case SIM_EXCHANGE: break;
    }
    return operand;
}

uint64_t sim_atomic_rmw(void *object, size_t size, enum sim_rmw what, uint64_t operand, memory_order order)
{
    word_touch(SIM_RMW, object, size, __builtin_return_address(0));
    uint64_t before = word_latest(object, size, order);
    word_update(object, size, word_apply(what, before, operand), order);
    sim_trace(SIM_RMW, object, before, word_read(object, size), __builtin_return_address(0));
    return before;
}

bool sim_atomic_cas(void *object, size_t size, void *expected, uint64_t desired, memory_order success,
                    memory_order failure)
{
    word_touch(SIM_CAS, object, size, __builtin_return_address(0));
    uint64_t wanted = word_read(expected, size);
    bool is_equal = word_read(object, size) == wanted;
    uint64_t before = word_latest(object, size, is_equal ? success : failure);
    if (is_equal)
        word_update(object, size, desired, success);
    else
        word_write(expected, size, before);
    sim_trace(SIM_CAS, object, before, word_read(object, size), __builtin_return_address(0));
    return is_equal;
}

void sim_atomic_fence(memory_order order)
{
    if (order != memory_order_seq_cst)
        sim_fail("only seq_cst fences are known here");
    if (sim_memory_is_weak())
        sim_weak_fence();
}

/* ---- time ---- */

int64_t crewi_clock_now_ns(void)
{
    sim_point(SIM_CLOCK, NULL);
    sim_time_pass(CLOCK_NS + (int64_t)sim_pick(SIM_PICK_TIME, 4) * CLOCK_JUMP_NS);
    return sim_now_ns();
}

void crewi_cpu_relax(void)
{
    sim_rest();
}

/* ---- sleeping and waking ---- */

bool crewi_futex_wait(crewi_atomic_u32 *word, uint32_t expected, int64_t deadline_ns)
{
    sim_point(SIM_SLEEP, word);
    sim_memory_check(word, sizeof *word, "a sleep");
    sim_trace(SIM_SLEEP, word, word_read(word, sizeof *word), expected, __builtin_return_address(0));
    if (deadline_ns <= 0)
        return false;
    if (word_read(word, sizeof *word) != expected)
        return true;
    if (deadline_ns <= sim_now_ns())
        return false;
    if (sim_pick(SIM_PICK_SPURIOUS, 2))
        return true;
    sim_self->state = SIM_SLEEPING;
    sim_self->sleeps_on = word;
    sim_self->deadline_ns = deadline_ns;
    sim_block();
    return !sim_self->timed_out;
}

static unsigned sleepers_of(const void *word, struct sim_thread *ret_sleepers[])
{
    unsigned count = 0;
    struct sim_thread *thread;
    for (unsigned id = 0; (thread = sim_thread_at(id)); id++)
        if (thread->state == SIM_SLEEPING && thread->sleeps_on == word)
            ret_sleepers[count++] = thread;
    return count;
}

static void wake(crewi_atomic_u32 *word, bool all, const void *where)
{
    struct sim_thread *sleepers[SIM_THREADS_MAX];
    sim_point(SIM_WAKE, word);
    unsigned count = sleepers_of(word, sleepers);
    sim_trace(SIM_WAKE, word, count, all, where);
    for (unsigned i = 0; all && i < count; i++)
        sim_thread_rouse(sleepers[i], false);
    if (!all && count > 0)
        sim_thread_rouse(sleepers[count > 1 ? sim_pick(SIM_PICK_PROGRAM, count) : 0], false);
    sim_has_changed();
}

void crewi_futex_wake_one(crewi_atomic_u32 *word)
{
    wake(word, false, __builtin_return_address(0));
}

void crewi_futex_wake_all(crewi_atomic_u32 *word)
{
    wake(word, true, __builtin_return_address(0));
}

/* ---- threads ---- */

/* Not instrumented: what these do to a thread's record is told here. */
static void record_touch(const crewi_thread *thread, const char *what)
{
    sim_memory_check(thread, sizeof *thread, what);
    if (sim_memory_is_weak())
        sim_race_plain(thread, sizeof *thread, true, __builtin_return_address(0));
}

/* The record may go, or be copied, as soon as `run` is called. */
static void thread_main(void *record)
{
    crewi_thread *thread = record;
    record_touch(thread, "a thread's start");
    thread->id = sim_self->id;
    thread->run(thread->arg);
}

bool crewi_thread_start(crewi_thread *ret_thread, void (*run)(void *), void *arg, const char *name, size_t stack_size)
{
    sim_point(SIM_START, NULL);
    if (sim_pick(SIM_PICK_THREAD, 2))
        return false;
    record_touch(ret_thread, "the start of a thread");
    ret_thread->run = run;
    ret_thread->arg = arg;
    (void)snprintf(ret_thread->name, sizeof ret_thread->name, "%s", name);
    struct sim_thread *thread =
        sim_thread_new(thread_main, ret_thread, stack_size > STACK_SIZE ? stack_size : STACK_SIZE, name);
    sim_trace(SIM_START, NULL, thread->id, 0, __builtin_return_address(0));
    return true;
}

struct sim_thread *sim_thread_start(void (*start)(void *), void *arg)
{
    sim_point(SIM_START, NULL);
    return sim_thread_new(start, arg, STACK_SIZE, "user");
}

void sim_thread_join(struct sim_thread *other)
{
    sim_point(SIM_JOIN, other);
    if (!other || other == sim_self)
        sim_fail("a join of no thread, or of itself");
    sim_trace(SIM_JOIN, NULL, other->id, 0, __builtin_return_address(0));
    if (other->state != SIM_ENDED) {
        sim_self->state = SIM_JOINING;
        sim_self->sleeps_on = other;
        sim_block();
    }
    if (sim_memory_is_weak())
        sim_weak_join(sim_self, &other->past);
}

void crewi_thread_join(crewi_thread thread)
{
    sim_thread_join(sim_thread_at((unsigned)thread.id));
}

void crewi_thread_vanish(void)
{
    sim_fail("a thread of a fork's child, where nobody forks");
}

/* What it calls on the way out has the stack of the body no more. */
void crewi_thread_guard(void (*body)(void *), void (*lost)(void *), void *arg)
{
    struct sim_guard guard = {.outer = sim_self->guards};
    if (setjmp(guard.target) == 0) {
        sim_self->guards = &guard;
        body(arg);
        sim_self->guards = guard.outer;
        return;
    }
    lost(arg);
    sim_thread_exit();
}

bool crewi_stack_is_enough(void)
{
    size_t left = (size_t)((unsigned char *)__builtin_frame_address(0) - sim_self->stack);
    size_t reserve = sim_self->stack_size / 4;
    return left > (reserve < STACK_RESERVE_MIN ? (size_t)STACK_RESERVE_MIN : reserve);
}

/* ---- the calling thread ---- */

void *crewi_self_get(void)
{
    return sim_self->self;
}

void crewi_self_set(void *self)
{
    sim_self->self = self;
}

int64_t *crewi_self_patience_ns(void)
{
    return &sim_self->patience_ns;
}

unsigned crewi_cpus_at_hand(void)
{
    return sim_cpus();
}

void *crewi_thread_mark(void)
{
    return sim_self;
}

unsigned crewi_thread_hash(void)
{
    return sim_self->id;
}

/* ---- a barrier in all threads ---- */

static unsigned long favoured, barriers;

void sim_favourite_is_inside(void)
{
    favoured++;
}

unsigned long sim_favoured(void)
{
    return favoured;
}

unsigned long sim_barriers(void)
{
    return barriers;
}

void crewi_barrier_prepare(void)
{
    /* it is there */
}

bool crewi_barrier_is_there(void)
{
    return true;
}

void crewi_barrier_everywhere(void)
{
    sim_point(SIM_FENCE, NULL);
    sim_trace(SIM_FENCE, NULL, 0, 0, __builtin_return_address(0));
    barriers++;
    if (sim_memory_is_weak())
        sim_weak_barrier_everywhere();
}

/* ---- processes ---- */

crewi_atomic_u32 crewi_fork_count;

bool crewi_fork_watch(void (*in_child)(void))
{
    return in_child != NULL;
}

/* ---- memory ---- */

void *crewi_memory_alloc(size_t size, size_t align)
{
    sim_point(SIM_ALLOC, NULL);
    if (sim_memory_may_fail() && sim_pick(SIM_PICK_MEMORY, 2))
        return NULL;
    void *block = sim_memory_take(size, align);
    sim_trace(SIM_ALLOC, block, size, 0, __builtin_return_address(0));
    return block;
}

void crewi_memory_free(void *block)
{
    if (!block)
        return;
    sim_point(SIM_FREE, block);
    sim_trace(SIM_FREE, block, 0, 0, __builtin_return_address(0));
    sim_memory_give(block);
}
