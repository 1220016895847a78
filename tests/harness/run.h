/* SPDX-License-Identifier: MIT */
/* One run of one test case in a process of its own: between main (test.c), which decides what runs, and run.c, which runs it. */
#ifndef CREW_TEST_RUN_H
#define CREW_TEST_RUN_H

#include "test.h"

#include <poll.h>
#include <sys/types.h>

enum { RUN_NAME_SIZE = 256, RUN_OUTPUT_MAX = 16 * 1024 };
enum run_phase { RUN_WAITING, RUN_ACTIVE, RUN_ABORTED, RUN_FINISHED };

struct run {
    const struct test_case *test;
    struct contract config;
    char name[RUN_NAME_SIZE];
    enum run_phase phase;
    bool timed_out;
    int status; /* waitpid's, once finished */
    pid_t process;
    int output_fd; /* read end of its stdout and stderr; -1: at its end */
    int64_t started_ns, ended_ns;
    int64_t deadline_ns; /* of the case; after the time limit, of its end by SIGABRT */
    char *output;        /* what it printed, and what was found out about it; terminated */
    size_t output_size;
    bool output_cut; /* its beginning was dropped */
};

/* Must be called once before the first run_start. */
void run_prepare(void);

/* Forks the case's process. */
void run_start(struct run *run);

/* Waits until something happens to the active ones among these runs, and deals with it. */
void run_wait(struct run *runs, size_t count);

/* Seconds a case may take, sanitizers taken into account. */
unsigned run_limit_s(const struct test_case *test);

/* Exit status of a case that was skipped; its last line of output is then RUN_SKIP_MARK and the reason. */
enum { RUN_SKIPPED = 77 };
#define RUN_SKIP_MARK "SKIP: "

/* Remembers which threads there are before the case's own (a sanitizer has one). */
void test_threads_baseline(void);

#endif
