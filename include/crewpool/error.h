/* SPDX-License-Identifier: MIT */
/* What a call can return, why a job failed, and until when to wait. */
#ifndef CREWPOOL_ERROR_H
#define CREWPOOL_ERROR_H

#include <stddef.h>
#include <stdint.h>

#include "version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every status belongs to one of three ranges, told apart by comparing:
 *   CREW_OK … 15   outcomes: the work was accepted, and ended so (CREW_IS_OUTCOME);
 *   16 … 31        not now: nothing changed, and the same call may succeed later;
 *   32 …           refused: no effect at all, outputs untouched, nothing of the caller's was taken.
 * The numbers are part of the binary interface: new ones are added, none is renumbered. */
typedef enum crew_status {
    CREW_OK = 0,
    CREW_FAILED = 1,     /* the job returned non-zero */
    CREW_CANCELLED = 2,  /* crew_result_cancel, or a map's or iterator's destroy, came before it started */
    CREW_TERMINATED = 3, /* crew_pool_terminate came before it started */
    CREW_BROKEN =
        4, /* the pool lost its last worker, or its lazy initializer failed, before it started (or was submitted) */
    CREW_WORKER_LOST = 5, /* the job, or one run on top of it, ended its thread */

    CREW_TIMEOUT = 16, /* the deadline passed */
    CREW_END = 17,     /* the iterator has no more items, for every consumer, for ever */
    CREW_FULL = 18,    /* queue_max jobs are pending */
    CREW_BUSY = 19,    /* not ready yet; or, from cancel: it runs, and was told to stop */

    CREW_INVALID = 32,      /* an argument, a size, a flag or the moment is wrong; or the value was already moved out */
    CREW_CLOSED = 33,       /* the pool takes no more work, or the iterator no more items */
    CREW_DEADLOCK = 34,     /* waiting for oneself, or in a cycle of jobs that wait for each other */
    CREW_TOO_DEEP = 35,     /* no stack is left to help on, and no thread may be started to stand in */
    CREW_NO_MEMORY = 36,    /* the allocator returned NULL */
    CREW_NO_RESOURCE = 37,  /* the system gave no thread */
    CREW_FORKED = 38,       /* this process is a fork's child: the workers live in the parent */
    CREW_SOURCE_FAILED = 39 /* the iterator's source said an error; sticky; the error tells which */
} crew_status;

/* True where the work was accepted and has ended, so that `while (CREW_IS_OUTCOME(crew_iterator_next(…)))`
 * sees every item, failed ones included, and stops at the end or at a refusal. */
#define CREW_IS_OUTCOME(status) ((int)(status) < 16)

enum { CREW_ERROR_JOB_SIZE = 32, CREW_ERROR_MESSAGE_SIZE = 192 };

/* Why something did not work. It is the caller's own copy: no pointer in it can die. Long texts are cut, always
 * terminated. A blocking call fills `call->error`, and a call with `ret_error` fills that, whenever it returns
 * anything but CREW_OK (for a not-now or a refusal, too); on CREW_OK it is left untouched. */
typedef struct crew_error {
    crew_status status;
    int code;     /* what the job, source or initializer returned; 0 where none of them ran */
    size_t index; /* of the item of a map or an iterator; 0 for apply */
    int worker;   /* who ran it: 0 … slots - 1; -1: a helping caller, or nobody */
    char job[CREW_ERROR_JOB_SIZE];
    char message[CREW_ERROR_MESSAGE_SIZE]; /* crew_fail's text, or the library's explanation; "" where there is none */
} crew_error;

/* Says why this job, source or initializer fails; returns `code`, or -1 where code is 0:
 *     return crew_fail(7, "row %zu is short", row);
 * The text belongs to the innermost job, source or initializer running on this thread and counts only if that one
 * then returns non-zero (a later call replaces it; where memory has run out, it may be lost, code and status are not); outside
 * of one, the call only returns the code.
 * Threads: any; does not block; runs no user code. */
CREW_API int crew_fail(int code, const char *format, ...) CREW_PRINTF(2, 3);

/* "CREW_TIMEOUT" for CREW_TIMEOUT, "CREW_?" for a number that is no status; never NULL, never freed.
 * Threads: any, at any time; does not block. */
CREW_API const char *crew_status_name(crew_status status);

/* An instant: absolute nanoseconds of CLOCK_MONOTONIC. It is a struct so that a duration cannot be passed by mistake.
 * A deadline in the past (CREW_NOW, or any negative one) means: look, and do not wait. */
typedef struct crew_deadline {
    int64_t ns;
} crew_deadline;

#ifdef __cplusplus
#define CREW_FOREVER (crew_deadline{INT64_MAX})
#define CREW_NOW (crew_deadline{0})
#else
#define CREW_FOREVER ((crew_deadline){INT64_MAX})
#define CREW_NOW ((crew_deadline){0})
#endif

/* The instant `ns` nanoseconds from now; saturates at CREW_FOREVER, and at CREW_NOW for a negative duration.
 * Threads: any; does not block. */
CREW_API crew_deadline crew_after_ns(int64_t ns);

/* The same in milliseconds, saturating likewise. */
static inline crew_deadline crew_after_ms(int64_t ms)
{
    return crew_after_ns(ms > INT64_MAX / 1000000 ? INT64_MAX : ms < 0 ? -1 : ms * 1000000);
}

#ifdef __cplusplus
}
#endif
#endif
