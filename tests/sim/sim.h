/* SPDX-License-Identifier: MIT */
/* Simulated threads: fibers of one thread, a virtual clock, futexes, memory that remembers what was freed; and a strategy that decides who
 * takes the next step. A run is repeated exactly by the same strategy with the same seed. Implements src/platform/platform.h, and through
 * include/stdatomic.h everything that src/base/atomic.h is made of.
 *
 * A run fails by: deadlock, too many steps, memory left at the end, a touch of memory that is no (longer) anybody's, a data race (where
 * memory is weak), or what the program itself finds wrong. It then prints why, how to repeat it and its last steps, and ends the process. */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { SIM_THREADS_MAX = 48 };

/* ---- what threads do ---- */

enum sim_kind {
    SIM_LOAD,
    SIM_STORE,
    SIM_RMW,
    SIM_CAS,
    SIM_SLEEP,
    SIM_WAKE,
    SIM_FENCE, /* in all threads */
    SIM_CLOCK,
    SIM_RELAX,
    SIM_START,
    SIM_JOIN,
    SIM_END,
    SIM_ALLOC,
    SIM_FREE,
    SIM_NOTE /* of the program */
};

struct sim_step {
    enum sim_kind kind;
    const void *address; /* what is touched, or NULL */
};

enum sim_state { SIM_READY, SIM_SLEEPING, SIM_JOINING, SIM_ENDED };

/* How much of each thread's past is known: entry t is the number of thread t's steps. */
struct sim_clocks {
    uint32_t of[SIM_THREADS_MAX];
};

struct sim_guard {
    struct sim_guard *outer;
    jmp_buf target;
};

struct sim_thread {
    unsigned id; /* 0: the program's main thread */
    enum sim_state state;
    bool is_resting;        /* looked, and will look again when somebody has done something */
    const void *sleeps_on;  /* SLEEPING: the futex word; JOINING: the thread */
    int64_t deadline_ns;    /* SLEEPING */
    bool timed_out;         /* how the last sleep ended */
    struct sim_step step;   /* what it does next */
    struct sim_clocks past; /* happens before what it does next */
    ucontext_t context;
    jmp_buf end;
    struct sim_guard *guards;
    unsigned char *stack;
    size_t stack_size;
    void (*run)(void *);
    void *arg;
    void *self; /* the library's own pointer */
    int64_t patience_ns;
    char name[16];
};

/* ---- who decides ---- */

/* Choices beyond who runs. 0 is always the usual course. */
enum sim_pick {
    SIM_PICK_SPURIOUS, /* 1: a sleep ends for no reason */
    SIM_PICK_MEMORY,   /* 1: there is none */
    SIM_PICK_THREAD,   /* 1: none can be started */
    SIM_PICK_TIME,     /* n: much time has passed */
    SIM_PICK_RESTLESS, /* 1: a pause is over at once, though nothing has happened: the others get no turn */
    SIM_PICK_STALE,    /* n: a load finds the n-th last value that it may */
    SIM_PICK_PROGRAM   /* the program's own */
};

struct sim_strategy {
    /* Who takes the next step: one of those that sim_candidates lists. */
    struct sim_thread *(*next)(struct sim_thread *self);
    unsigned (*pick)(enum sim_pick what, unsigned count);
    void (*describe)(char *text, size_t size); /* how to repeat this run */
};

struct sim_options {
    const struct sim_strategy *strategy;
    bool is_weak;            /* loads may find old values, and plain memory must be free of races */
    unsigned long steps_max; /* 0: a default */
    unsigned cpus;           /* 0: 2 */
    void (*on_limit)(void);  /* too many steps or threads: does not return. NULL: that fails the run */
};

/* ---- a run ---- */

/* Runs program(arg) as thread 0, and all threads that it starts, to their ends. Returns how many steps it took. */
unsigned long sim_run(const struct sim_options *options, void (*program)(void *), void *arg);

/* Ends the process with status 1, after printing all that is known. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For strategies: leaves the run as it is, and it was none. What the library keeps beyond a run is the caller's to reset. */
_Noreturn void sim_abandon(void);

/* For programs. */
unsigned sim_choose(unsigned count);
void sim_note(const char *what); /* a scheduling point, and a line in the trace; `what` must stay valid */
struct sim_thread *sim_thread_start(void (*run)(void *), void *arg);
void sim_thread_join(struct sim_thread *thread);
_Noreturn void sim_thread_exit(void);
unsigned sim_thread_id(void);

/* ---- for strategies and between the parts ---- */

extern struct sim_thread *sim_self;

struct sim_candidates {
    size_t count;
    struct sim_thread
        *threads[SIM_THREADS_MAX]; /* ready; and, last, the sleeper with the earliest deadline, if `has_sleeper` */
    bool has_sleeper;
};

void sim_candidates(struct sim_candidates *ret_candidates);
struct sim_thread *sim_thread_at(unsigned id); /* NULL: there is none */
unsigned sim_pick(enum sim_pick what, unsigned count);
unsigned long sim_steps(void);
unsigned long sim_favoured(void); /* a lock's favourite went in, in all runs; and */
unsigned long sim_barriers(void); /* one was ousted */
unsigned long sim_frees(void);    /* blocks and cells freed, in all runs */
bool sim_memory_is_weak(void);

void sim_point(enum sim_kind kind, const void *address);
void sim_has_changed(void); /* whoever rests looks again */
void sim_trace(enum sim_kind kind, const void *address, uint64_t before, uint64_t after, const void *where);
void sim_trace_print(void);
void sim_trace_reset(void);

/* memory.c */
void sim_memory_reset(void);
void *sim_memory_take(size_t size, size_t align); /* never fails */
void sim_memory_give(void *block);
void sim_memory_check_leaks(void);
void sim_memory_check(const void *address, size_t size, const char *what);
void sim_cell_born(void *cell, size_t size);
void sim_cell_died(void *cell, size_t size);
void sim_memory_mark_dead(void *block, size_t size);
bool sim_memory_may_fail(void); /* this run has failing allocations */
void sim_memory_let_fail(bool may_fail);

/* weak.c: memory that is weak. Orders are memory_order's numbers. */
void sim_weak_reset(void);
void sim_weak_init(void *object, size_t size, uint64_t value);
uint64_t sim_weak_load(const void *object, size_t size, int order);
void sim_weak_store(void *object, size_t size, uint64_t value, int order);
uint64_t sim_weak_latest(const void *object, size_t size, int order); /* what a read-modify-write finds */
void sim_weak_update(void *object, size_t size, uint64_t value, int order);
void sim_weak_fence(void);              /* of the calling thread; seq_cst */
void sim_weak_barrier_everywhere(void); /* of all threads */
void sim_weak_join(struct sim_thread *thread, const struct sim_clocks *past);
void sim_weak_fork(struct sim_thread *child, struct sim_thread *parent);

/* race.c */
void sim_race_reset(void);
void sim_race_plain(const void *address, size_t size, bool is_write, const void *where);
void sim_race_atomic(const void *address, size_t size, bool is_write, const void *where);

/* random.c: strategies by seed. */
struct sim_random_options {
    bool may_fail_memory, may_fail_threads, may_wake, may_time_out, may_jump, may_be_stale, is_restless;
};
const struct sim_strategy *sim_random_begin(uint64_t seed); /* everything by the seed, and so */
const struct sim_strategy *sim_random_begin_with(uint64_t seed, struct sim_random_options options);
/* Priorities (a run of `steps` steps, so many changes): whoever has the highest runs. */
const struct sim_strategy *sim_priorities_begin(uint64_t seed, unsigned changes, unsigned long steps);
uint64_t sim_random(uint64_t *state);

#endif
