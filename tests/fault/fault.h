/* SPDX-License-Identifier: MIT */
/* Faults of the system on demand. A scenario is a little program over the library. It runs once to count what it asks of the system,
 * then once for every call, in a process of its own, with that call failing (or all from it on). Whatever fails: it ends, nothing
 * is leaked, what was accepted is kept, and what is refused says why.
 *
 *     SCENARIO(a_map) { crew_pool *pool = fault_pool(NULL); if (pool) { … CHECK_STATUS(crew_pool_destroy(pool), CREW_OK); } }
 *
 * FAULT=memory:7 in the environment runs only those with the 7th allocation failing, FAULT_ROUNDS=5 each five times. */
#ifndef CREW_TEST_FAULT_H
#define CREW_TEST_FAULT_H

#include "harness/test.h"

#include <sys/resource.h>

/* What may fail. A futex that says EINTR or EAGAIN has not slept, one that says ETIMEDOUT has not slept long enough; wakes are
 * never lost, since the kernel loses none. */
enum fault_kind {
    FAULT_MEMORY,  /* malloc, posix_memalign */
    FAULT_THREAD,  /* pthread_create */
    FAULT_FUTEX,   /* a wait that ends for no reason */
    FAULT_TIMEOUT, /* a wait with a deadline that ends too early */
    FAULT_CLOCK,   /* clock_gettime */
    FAULT_FILE,    /* fopen, fgets, getline */
    FAULT_SYSTEM,  /* attributes, names, affinity, handlers of fork, sysconf */
    FAULT_KINDS
};
enum fault_mode { FAULT_ONCE, FAULT_FROM_THEN_ON };

/* Runs a scenario for every call that can fail. */
void fault_each(void (*scenario)(void), enum fault_mode mode);

#define SCENARIO(name)                                                                   \
    static void name(void);                                                              \
    TEST_DEFINE(name##_keeps_its_promises_whatever_call_of_the_system_fails, 0, 120)     \
    {                                                                                    \
        fault_each(name, FAULT_ONCE);                                                    \
    }                                                                                    \
    TEST_DEFINE(name##_keeps_its_promises_whatever_the_system_is_out_of_at_once, 0, 120) \
    {                                                                                    \
        fault_each(name, FAULT_FROM_THEN_ON);                                            \
    }                                                                                    \
    static void name(void)

/* Runs `scenario` once, in this process, under a limit of setrlimit; refusals for want of anything are then allowed. */
void fault_run_limited(void (*scenario)(void), int resource, rlim_t value);

/* ---- for scenarios ---- */

/* True where a call ended as expected. If not, it must have been refused for a reason that fits the fault; without one it must not. */
bool fault_granted(crew_status status, crew_status expected);

/* The same for a call that also said why. */
bool fault_granted_error(crew_status status, crew_status expected, const crew_error *error);

/* Whether something fails at all in this run, and so may be refused. */
bool fault_is_armed(void);

/* A pool with these options (NULL: 2 workers), or NULL where it was refused for a good reason. */
crew_pool *fault_pool(const crew_pool_options *options);

/* ---- between fault.c, which decides what fails, and system.c, which lets it ---- */

/* Counts a call. True: it has to fail. */
bool fault_strikes(enum fault_kind kind);

/* What the library holds of the system now. */
long fault_live_blocks(void);
long fault_live_files(void);

#endif
