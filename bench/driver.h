/* SPDX-License-Identifier: MIT */
/* Between main.c and the workloads: what is asked for, and how a workload says its figures. */
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "library.h"
#include "measure.h"

struct request {
    unsigned workers; /* threads that run jobs, a helping caller included */
    size_t n;         /* how many operations; what that means is the workload's */
};

struct workload {
    const char *name;
    size_t n; /* the default; 0: as many as the workload always does */
    void (*run)(const struct request *request);
};

/* Groups of workloads, each ended by one without a name, and after the last group NULL. */
extern const struct workload *const workloads[];

/* Prints the sample's line of one metric. `report_span` divides wall and CPU time by `count` and prints them as `metric` and
 * `metric`-cpu; its unit is "ns", "us" or "ms". */
void report(const char *metric, const char *unit, double value);
void report_span(const char *metric, const char *unit, struct span took, size_t count);

/* Ends the program as one whose library has nothing of the kind, unless it `has`. */
void need(bool has, const char *what);

/* Ends the program with a message. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Loops that would take minutes with a slow library stop when its time is over; some have been done by then. */
int64_t time_limit(void);
bool time_is_over(int64_t limit);

/* calloc that fails by fail(). */
void *allocate(size_t count, size_t size);

/* ---- the pool under measurement, awake: all its threads have run a job ---- */
void start_warm(const struct request *request);
void start_workers(unsigned count); /* threads of the library's own only; not warmed */
void start_workers_warm(unsigned count);

/* Runs work(argument) where submit, drain, call, hand_off and pending may be called. */
void inside(bench_body *work, void *argument);

/* Jobs meet, so that as many threads run one at the same time. False if they have not met after the time limit. */
bool all_meet(unsigned count, int64_t limit);

#endif
