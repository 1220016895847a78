/* SPDX-License-Identifier: MIT */
/* What a library under measurement does for the driver: one such table for each, in library_<name>.c. Each entry is written in that
 * library's natural best way, as its own documentation recommends, and says which. An entry is NULL where the library has
 * nothing of the kind; `participants` are the threads that run jobs, a helping caller included. */
#ifndef BENCH_LIBRARY_H
#define BENCH_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bodies live in bodies.c, a translation unit of their own: no compiler sees through a call of them. */
typedef void bench_body(void *argument);
typedef void bench_index_body(size_t index, void *argument);
typedef double bench_number_body(double number);

struct library {
    const char *name; /* as in the table */
    const char *(*version)(void);

    /* ---- life: the driver calls everything below between a start and its stop ---- */
    void (*start)(unsigned participants);  /* for workloads in which the caller may help */
    void (*start_workers)(unsigned count); /* `count` threads of the library's own; NULL: start serves */
    void (*stop)(void);
    /* Runs work(argument) on the calling thread so that submit, drain, call, hand_off and pending may be called from it, and from jobs.
     * NULL: these may be called anywhere. Everything else is called outside of it. */
    void (*within)(bench_body *work, void *argument);

    /* ---- one job at a time ---- */
    void (*fanout)(
        size_t n); /* n empty jobs, one by one, each with a handle; then each result is taken, each handle freed */
    void (*fanout_detached)(size_t n); /* the same without handles: returns when all have run */
    void (*fanout_bulk)(size_t n);     /* n empty items in one call, grain 1; returns when all have run */
    void (*submit)(bench_body *body, void *argument);   /* from any thread, a job's own included; detached */
    void (*drain)(void);                                /* returns when all that was submitted has run; may help */
    void (*call)(bench_body *body, void *argument);     /* submits, waits for the end; the caller may run it */
    void (*hand_off)(bench_body *body, void *argument); /* the same, but another thread must run it */
    size_t (*pending)(size_t n); /* queues n jobs with handles, 8 bytes of argument and of result, while all workers are
                                  * held; returns how many there are; the next drain lets go and frees all */

    /* ---- many items ---- */
    void (*map_numbers)(bench_number_body *body, const double *from, double *to, size_t n); /* default chunks */
    void (*for_each)(bench_index_body *body, void *argument, size_t n);                     /* default chunks */
    void (*stream)(size_t n, size_t window); /* n empty items, at most `window` at once, taken in order by the caller */

    /* ---- jobs that submit jobs ---- */
    long (*fib)(
        int n); /* without cut-off: of the two calls for each n > 1 one is a job (spawned, waited for, freed), one direct */
};

extern const struct library library; /* each program links one */

/* Room for the handles of `pending`, one pointer for each job, written to before the memory is looked at: it is the caller's. */
extern void **bench_handles;

/* bodies.c */
void bench_empty(void *argument);
void bench_empty_index(size_t index, void *argument);
double bench_square_and_one(double number); /* x * x + 1 */
long bench_fib_leaf(int n);                 /* n, for n < 2 */
void bench_spin(uint64_t steps);      /* so many dependent multiplications; measure_spin_rate says how long they take */
void bench_spin_body(void *argument); /* the same as a job: argument points to the steps, a uint64_t */
void bench_spin_index(size_t index, void *argument);
void bench_doze(void *argument); /* lets the nanoseconds pass to which the argument points, an int64_t, without a CPU */
#ifdef __cplusplus
}
#endif
#endif
