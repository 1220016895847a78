/* SPDX-License-Identifier: MIT */
/* What to run: jobs, the values that go in and come out, and what a running job may ask. */
#ifndef CREWPOOL_JOB_H
#define CREWPOOL_JOB_H

#include <stddef.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_pool crew_pool;

/* The body of a job. `arg` points to `arg_size` bytes that belong to the job while it runs, `result` to `result_size`
 * bytes to fill (uninitialised on entry); either is NULL where its size is 0. `context` is crew_call's. Returns 0 for
 * success, else a code of its own, best as `return crew_fail(code, "why")`; `result` then counts as not written.
 * It must not leave by longjmp or by a C++ exception; pthread_exit and cancellation of the thread are
 * caught: the job ends as CREW_WORKER_LOST (likewise in callbacks, sources and initializers). */
typedef int crew_fn(const void *arg, void *result, void *context);

/* What to run: a constant, kept by pointer, so it must outlive every call made with it; typically `static const`.
 * What varies from call to call is crew_call's `context`. */
typedef struct crew_job {
    crew_fn *fn;
    size_t arg_size;    /* bytes of an argument; 0: none */
    size_t result_size; /* bytes of a result; 0: none */
    const char *name;   /* for errors and traces; NULL is fine */
    /* Releases what an argument owns, once for each argument that the pool accepted by copy (apply) or pulled
     * (imap), whether the job ran or not. Arguments of map, starmap and array sources are borrowed: never dropped. */
    void (*drop_arg)(void *arg, void *context);
    /* Releases what a result owns, once for each successful result that nobody took by get or next. A map writes its
     * results into the caller's array: those are the caller's. */
    void (*drop_result)(void *result, void *context);
} crew_job;
/* Drops run on whichever thread ends the job or lets go of it last (terminate's, cancel's and destroy's callers
 * included), under no lock. `context` must outlive them. */

/* A value of any length. `data` is malloc's (or NULL), so that ownership can pass from job to caller. */
typedef struct crew_bytes {
    void *data;
    size_t size;
} crew_bytes;

/* Replaces what `bytes` holds by a copy of `size` bytes from `data` (which may lie inside what it holds).
 * `bytes` must be initialised, {0} at first. size 0 leaves it empty.
 * CREW_OK · CREW_INVALID: bytes NULL, or data NULL with a size · CREW_NO_MEMORY: `bytes` unchanged.
 * Threads: any, one at a time for one value; does not block. */
CREW_API crew_status crew_bytes_set(crew_bytes *bytes, const void *data, size_t size);

/* Frees what a crew_bytes holds and empties it; fits drop_arg and drop_result. `bytes` may be NULL.
 * Threads: any, one at a time for one value; does not block. */
CREW_API void crew_bytes_drop(void *bytes, void *unused);

/* ---- what a running job may ask: about itself, that is, the innermost job, callback, source or initializer on this
 * ---- thread. None of these blocks, runs user code, or can be misused: outside of all they say "nothing". ---- */

/* True when this job (or source) should finish early: its result was cancelled, its map or iterator destroyed, its pool
 * terminated or told by crew_pool_request_stop. Nothing is ever forced. 0 outside of a job. */
CREW_API int crew_should_stop(void);

/* The pool this job runs for: what a job submits its own jobs to. NULL outside of a job. */
CREW_API crew_pool *crew_current_pool(void);

/* Which worker runs this job: 0 … slots - 1, the same from its start to its end, and no two running jobs of one pool
 * share it. -1 on a helping caller and outside of a job. */
CREW_API int crew_worker_index(void);

/* What worker_init returned on this worker; NULL on a helping caller and outside of a job. */
CREW_API void *crew_worker_state(void);

/* Calls wait(user) and returns what it returns, or -1 where `wait` is NULL. Meanwhile the job counts as waiting inside the library: it is
 * none of those that execute, and another thread (one of the pool's `spares_max`) stands in for its own. For a wait by means of
 * the job's own, a semaphore, a pipe, for what other jobs of the pool may have to do first:
 *     static int wait_for_ticket(void *tickets) { return sem_wait(tickets); }
 *     crew_block(wait_for_ticket, &tickets);
 * Outside of a job it only calls. Threads: any; blocks as `wait` does, then for its turn to execute (up to 10 ms). */
CREW_API int crew_block(int (*wait)(void *user), void *user);

#ifdef __cplusplus
}
#define CREWI_STATIC_ASSERT(condition, text) static_assert(condition, text)
#define CREWI_ALIGN_FITS(Type) (alignof(Type) <= alignof(max_align_t))
#else
#define CREWI_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#define CREWI_ALIGN_FITS(Type) (_Alignof(Type) <= _Alignof(max_align_t))
#endif

#define CREWI_UNUSED __attribute__((unused))

/* Typed bodies without a cast, at file scope:
 *     CREW_JOB(twice, int, long) { *result = 2L * *arg; return 0; }
 * defines `static const crew_job twice` (to share it between files, export a pointer to it). The body sees
 * `Arg const *arg, Result *result, void *context`, and need not use them all. */
#define CREW_JOB(job, Arg, Result) CREW_JOB_DROPS(job, Arg, Result, NULL, NULL)

/* The same for arguments or results that own memory: drop_arg and drop_result as in crew_job. */
#define CREW_JOB_DROPS(job, Arg, Result, argument_drop, result_drop)                                                \
    CREWI_STATIC_ASSERT(CREWI_ALIGN_FITS(Arg) && CREWI_ALIGN_FITS(Result), #job ": over-aligned types do not fit"); \
    static int job##_body(Arg const *arg, Result *result, void *context);                                           \
    static int job##_fn(const void *crewi_arg, void *crewi_result, void *crewi_context)                             \
    {                                                                                                               \
        return job##_body((Arg const *)crewi_arg, (Result *)crewi_result, crewi_context);                           \
    }                                                                                                               \
    static const crew_job job = {job##_fn, sizeof(Arg), sizeof(Result), #job, argument_drop, result_drop};          \
    static int job##_body(CREWI_UNUSED Arg const *arg, CREWI_UNUSED Result *result, CREWI_UNUSED void *context)

/* A job without a result. The body sees `Arg const *arg, void *context`. */
#define CREW_ACTION(job, Arg) CREW_ACTION_DROPS(job, Arg, NULL)

#define CREW_ACTION_DROPS(job, Arg, argument_drop)                                      \
    CREWI_STATIC_ASSERT(CREWI_ALIGN_FITS(Arg), #job ": over-aligned types do not fit"); \
    static int job##_body(Arg const *arg, void *context);                               \
    static int job##_fn(const void *crewi_arg, void *crewi_result, void *crewi_context) \
    {                                                                                   \
        (void)crewi_result;                                                             \
        return job##_body((Arg const *)crewi_arg, crewi_context);                       \
    }                                                                                   \
    static const crew_job job = {job##_fn, sizeof(Arg), 0, #job, argument_drop, NULL};  \
    static int job##_body(CREWI_UNUSED Arg const *arg, CREWI_UNUSED void *context)

#endif
