/* SPDX-License-Identifier: MIT */
/* Simulated threads: their states, who goes on, and the run as a whole. */
#include "sim.h"

#include <stdarg.h>
#include <unistd.h>

#include "engine.h"

enum { STEPS_MAX = 400000, STEP_NS = 10, REST_NS = 2000, MAIN_STACK = 512 * 1024 };

struct sim_thread *sim_self;

static struct {
    struct sim_options options;
    struct sim_thread threads[SIM_THREADS_MAX];
    unsigned started, ended;
    unsigned long steps;
    bool is_abandoned;
    int64_t now_ns;
    ucontext_t outside;
} run;

/* ---- looking ---- */

unsigned long sim_steps(void)
{
    return run.steps;
}

bool sim_memory_is_weak(void)
{
    return run.options.is_weak;
}

unsigned sim_cpus(void)
{
    return run.options.cpus ? run.options.cpus : 2;
}

unsigned sim_thread_id(void)
{
    return sim_self->id;
}

struct sim_thread *sim_thread_at(unsigned id)
{
    return id < run.started ? &run.threads[id] : NULL;
}

int64_t sim_now_ns(void)
{
    return run.now_ns;
}

void sim_time_pass(int64_t ns)
{
    run.now_ns += ns;
}

unsigned sim_pick(enum sim_pick what, unsigned count)
{
    return run.options.strategy->pick(what, count);
}

/* ---- failing ---- */

static const char *const state_names[] = {"ready", "sleeping", "joining", "ended"};

static void threads_print(void)
{
    for (unsigned i = 0; i < run.started; i++) {
        const struct sim_thread *thread = &run.threads[i];
        printf("# thread %u (%s): %s %p%s\n", i, thread->name, state_names[thread->state], thread->sleeps_on,
               thread->is_resting ? ", resting" : "");
    }
}

_Noreturn void sim_fail(const char *format, ...)
{
    char repeat[200] = "";
    va_list arguments;
    va_start(arguments, format);
    printf("not ok - a run without a fault\n# FAILED in thread %u after %lu steps: ", sim_self ? sim_self->id : 0,
           run.steps);
    (void)vprintf(format, arguments);
    va_end(arguments);
    if (run.options.strategy && run.options.strategy->describe)
        run.options.strategy->describe(repeat, sizeof repeat);
    printf("\n# repeat with %s\n", repeat);
    threads_print();
    sim_trace_print();
    fflush(stdout);
    _exit(1);
}

_Noreturn void sim_abandon(void)
{
    run.is_abandoned = true;
    (void)setcontext(&run.outside);
    abort();
}

static _Noreturn void limit_is_met(const char *what)
{
    if (run.options.on_limit)
        run.options.on_limit();
    sim_fail("%s after %lu steps", what, run.steps);
}

/* ---- who goes on ---- */

static struct sim_thread *earliest_sleeper(void)
{
    struct sim_thread *earliest = NULL;
    for (unsigned i = 0; i < run.started; i++) {
        struct sim_thread *thread = &run.threads[i];
        if (thread->state == SIM_SLEEPING && thread->deadline_ns != INT64_MAX &&
            (!earliest || thread->deadline_ns < earliest->deadline_ns))
            earliest = thread;
    }
    return earliest;
}

static size_t candidates_ready(struct sim_candidates *candidates, bool resting)
{
    for (unsigned i = 0; i < run.started; i++)
        if (run.threads[i].state == SIM_READY && run.threads[i].is_resting == resting)
            candidates->threads[candidates->count++] = &run.threads[i];
    return candidates->count;
}

void sim_candidates(struct sim_candidates *candidates)
{
    candidates->count = 0;
    if (candidates_ready(candidates, false) == 0 && candidates_ready(candidates, true) > 0) {
        run.now_ns += REST_NS;
        sim_has_changed();
    }
    struct sim_thread *sleeper = earliest_sleeper();
    candidates->has_sleeper = sleeper != NULL;
    if (sleeper)
        candidates->threads[candidates->count++] = sleeper;
}

void sim_has_changed(void)
{
    for (unsigned i = 0; i < run.started; i++)
        run.threads[i].is_resting = false;
}

void sim_thread_rouse(struct sim_thread *thread, bool timed_out)
{
    thread->state = SIM_READY;
    thread->timed_out = timed_out;
    thread->is_resting = false;
    if (timed_out && run.now_ns < thread->deadline_ns)
        run.now_ns = thread->deadline_ns;
}

static void go_on_with(struct sim_thread *next)
{
    struct sim_thread *self = sim_self;
    if (next->state == SIM_SLEEPING)
        sim_thread_rouse(next, true);
    if (next == self)
        return;
    sim_self = next;
    (void)swapcontext(&self->context, &next->context);
}

void sim_point(enum sim_kind kind, const void *address)
{
    unsigned long steps_max = run.options.steps_max ? run.options.steps_max : STEPS_MAX;
    sim_self->step = (struct sim_step){kind, address};
    run.now_ns += STEP_NS;
    if (++run.steps > steps_max)
        limit_is_met("no end");
    go_on_with(run.options.strategy->next(sim_self));
}

void sim_rest(void)
{
    sim_self->is_resting = !sim_pick(SIM_PICK_RESTLESS, 2);
    sim_point(SIM_RELAX, NULL);
    sim_self->is_resting = false;
}

/* The calling thread's state says what it waits for. */
void sim_block(void)
{
    struct sim_candidates candidates;
    sim_candidates(&candidates);
    if (candidates.count == 0)
        sim_fail("deadlock: nobody can go on");
    go_on_with(run.options.strategy->next(sim_self));
}

unsigned sim_choose(unsigned count)
{
    return sim_pick(SIM_PICK_PROGRAM, count);
}

void sim_note(const char *what)
{
    sim_point(SIM_NOTE, NULL);
    sim_trace(SIM_NOTE, what, 0, 0, __builtin_return_address(0));
}

/* ---- threads ---- */

static void thread_end(void)
{
    struct sim_thread *self = sim_self;
    sim_trace(SIM_END, NULL, self->id, 0, NULL);
    self->state = SIM_ENDED;
    run.ended++;
    for (unsigned i = 0; i < run.started; i++)
        if (run.threads[i].state == SIM_JOINING && run.threads[i].sleeps_on == self)
            sim_thread_rouse(&run.threads[i], false);
    sim_has_changed();
    sim_memory_mark_dead(self->stack, self->stack_size);
    if (run.ended == run.started)
        (void)setcontext(&run.outside);
    sim_block();
    abort(); /* nobody goes on with a thread that has ended */
}

static void thread_main(void)
{
    if (setjmp(sim_self->end) == 0)
        sim_self->run(sim_self->arg);
    thread_end();
}

_Noreturn void sim_thread_exit(void)
{
    struct sim_guard *guard = sim_self->guards;
    if (!guard)
        longjmp(sim_self->end, 1);
    sim_self->guards = guard->outer;
    longjmp(guard->target, 1);
}

struct sim_thread *sim_thread_new(void (*start)(void *), void *arg, size_t stack_size, const char *name)
{
    if (run.started == SIM_THREADS_MAX)
        limit_is_met("too many threads");
    struct sim_thread *thread = &run.threads[run.started];
    memset(thread, 0, offsetof(struct sim_thread, context));
    thread->id = run.started++;
    thread->guards = NULL;
    thread->self = NULL;
    thread->patience_ns = 0;
    thread->run = start;
    thread->arg = arg;
    thread->stack_size = stack_size;
    thread->stack = sim_memory_take(stack_size, 4096);
    (void)snprintf(thread->name, sizeof thread->name, "%s", name);
    (void)getcontext(&thread->context);
    thread->context.uc_stack.ss_sp = thread->stack;
    thread->context.uc_stack.ss_size = stack_size;
    thread->context.uc_link = NULL;
    makecontext(&thread->context, thread_main, 0);
    if (run.options.is_weak)
        sim_weak_fork(thread, sim_self);
    return thread;
}

unsigned long sim_run(const struct sim_options *options, void (*program)(void *), void *arg)
{
    run.options = *options;
    run.started = run.ended = 0;
    run.steps = 0;
    run.is_abandoned = false;
    run.now_ns = 1000000000;
    sim_self = NULL;
    sim_trace_reset();
    sim_memory_reset();
    if (options->is_weak) {
        sim_weak_reset();
        sim_race_reset();
    }
    sim_self = sim_thread_new(program, arg, MAIN_STACK, "main");
    (void)swapcontext(&run.outside, &sim_self->context);
    if (!run.is_abandoned)
        sim_memory_check_leaks();
    sim_self = NULL;
    return run.steps;
}
