/* SPDX-License-Identifier: MIT */
/* A pool of workers: its options, its life, and the rules that hold for everything that runs in it. */
#ifndef CREWPOOL_POOL_H
#define CREWPOOL_POOL_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "call.h"
#include "error.h"
#include "job.h"
#include "macros.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The rules ------------------------------------------------------------------------------------------------------------------
 *
 * Exactly once. Every accepted job ends exactly once, its callback is called exactly once, its copied or pulled argument is dropped
 * exactly once, whatever happens to the pool.
 *
 * Who runs a job. A worker; or the thread that waits for exactly that job with CREW_FOREVER ("helping"), where helping is on: by
 * default unless the pool has a worker_init or only one worker; always and never by CREW_CALLER_HELPS and CREW_WORKERS_ONLY. A helper
 * from outside counts as one of the `workers` while it helps; it has index -1 and no state. A wait inside a job of the same pool may
 * always run what it waits for, on its worker. At most `workers` jobs execute at once; a job that waits inside a crew_… call does not count
 * (when it goes on, it waits for its turn up to 10 ms, then goes on in any case: the running ones may need a lock that it holds).
 *
 * Waiting inside jobs. A wait runs on its own stack only work whose completion it requires: the awaited job, items of the
 * awaited map, the awaited iterator's pull and next item, and what those wait for; never a stranger that may need a lock which the
 * waiter holds. Else it parks, and another thread (one of `spares_max`) keeps its core busy. Within one pool, jobs that wait for
 * each other only through this library and ordinary locks hang only if they would hang with unlimited threads. What can
 * never end is refused: CREW_DEADLOCK for a cycle, CREW_TOO_DEEP where neither stack nor a thread is left.
 *
 * Order. Jobs of one outside thread enter in its order; with one worker and no helper they start in it; every accepted job starts
 * after finitely many others. What a job submits runs newest first on its own worker, unless another takes it.
 *
 * Happens-before. Each line is an edge that makes plain memory written before it visible after it:
 *     submit → the job's start                          the job's end → ready, get, wait, next, its callback
 *     every item of a map → the map's result            worker_init → every job on that worker → worker_exit
 *     pull n of a source → pull n + 1 → release         callback n of a pool → callback n + 1
 *     last job, callback and worker_exit → join         crew_pool_request_stop → crew_should_stop being true
 *     jobs and callbacks that ended → crew_pool_wait    running items → destroy of their map's or iterator's handle
 *     its callback → ready, with CREW_READY_AFTER_DONE
 *
 * Threads. "Blocks" means that it may wait for others; "user code" that it may run jobs, callbacks, sources or drops on this thread.
 *     function                               who may call                     blocks              user code
 *     crew_pool_create                       any thread                       until init is done  no (init runs on workers)
 *     apply, map, starmap                    any                              yes                 jobs it waits for
 *     …_async, imap                          any                              only on queue_max   drops of what it refuses: no
 *     crew_pool_close, request_stop, query   any, also inside jobs            no                  no (close: release)
 *     crew_pool_terminate                    any, also inside jobs            no                  drop_arg, release
 *     crew_pool_wait, join, destroy          outside the pool's own jobs      yes                 drops
 *     crew_result_get, wait; iterator_next   any                              yes                 jobs it waits for (FOREVER)
 *     crew_result_status, error              any                              no                  no
 *     crew_result_cancel                     any                              no                  drop_arg
 *     crew_result_destroy                    the handle's last user           a map: yes          drops
 *     crew_iterator_destroy                  the handle's last user           running items       drops, release
 *     crew_fail, current_pool, …             any                              no                  no
 *     crew_block                             any                              as what it calls    what it calls
 * All may be called concurrently with each other on the same object, except that destroy must be the last call on it.
 * None is a cancellation point. Only crew_pool_request_stop and crew_version are async-signal-safe.
 *
 * After fork, in the child, every call on a pool, result or iterator from before returns CREW_FORKED, and destroy frees memory (a
 * pool's not from inside the pool). A job that forks must leave the child by _exit or exec; if its body returns instead, its thread
 * ends there, and with it the child, with status 0 and without running exit handlers. (Records of jobs that were unfinished and larger
 * than 1 KiB are not freed.)
 *
 * What cannot be detected, and is forbidden: longjmp or a C++ exception out of a job; destroy while another thread still uses the
 * same handle; a job that waits for another by means of its own (a semaphore, say, and outside crew_block) when no thread is left to run
 * that one.
 * ------------------------------------------------------------------------------------------------------------------------------ */

/* crew_pool_options.kind */
enum {
    CREW_THREADS = 0, /* worker threads of this process */
    CREW_SERIAL =
        1 /* no thread at all: a job runs at submit, on the submitting thread; for debugging and for tests. There even
                       * crew_iterator_next with a finite deadline runs user code: taking an item makes room for the next */
};

/* crew_pool_options.flags */
enum {
    CREW_WORKERS_ONLY = 1, /* no helping from outside: jobs run on workers only */
    CREW_CALLER_HELPS =
        2, /* helping from outside even with an initializer (the helper has no state!) or a single worker */
    CREW_FULL_FAILS = 4, /* queue_max reached: submitting returns CREW_FULL */
    CREW_FULL_RUNS =
        8, /* queue_max reached: submitting runs the job on the submitting thread, beside the workers; refused
                             * together with CREW_WORKERS_ONLY */
    CREW_LAZY_INIT = 16 /* start and initialise workers when there is work; a failure then breaks the pool */
};

#define CREW_NO_SPARES UINT_MAX
enum { CREW_WORKERS_MAX = 4096 };

/* How to make a pool: all zero but the size is every default. Made by CREW_OPTIONS(.field = value, …); copied by create
 * (what the pointers point to must live as long as the pool). */
typedef struct crew_pool_options {
    size_t struct_size; /* sizeof(crew_pool_options), set by CREW_OPTIONS; less is refused, more must be zero beyond */
    int kind;
    unsigned workers;    /* 0: crew_cpu_count(); at most CREW_WORKERS_MAX */
    unsigned spares_max; /* threads that may stand in for waiting workers; 0: a default; CREW_NO_SPARES: none */
    const char *name;    /* threads are name-0, name-1, … (cut before the number); NULL: "crew" */
    size_t stack_size;   /* of a worker's stack in bytes; 0: the system's default */
    crew_error *error;   /* why create did not return CREW_OK */
    /* Runs first on every worker's (and spare's) thread. Returns 0, or non-zero to say it cannot start (crew_fail tells why).
     * *ret_state is what crew_worker_state returns there. worker_exit runs last on that thread, for each success. */
    int (*worker_init)(void *user, int worker, void **ret_state);
    void (*worker_exit)(void *user, int worker, void *state);
    /* Called around a run of jobs on a worker: running 1 before the first, 0 before it waits or sleeps; whoever submits counts on it to
     * look once more after that, so neither may wait for other jobs. */
    void (*worker_run)(void *user, int worker, int running);
    /* Told of a failure (FAILED, BROKEN, WORKER_LOST) that no handle and no callback would see; runs as a callback. */
    void (*on_unhandled)(const crew_outcome *outcome, void *user);
    void *user; /* handed to all of these, and to alloc and free */
    size_t
        queue_max; /* jobs and maps pending (not started, not cancelled) before outsiders wait, fail or run; 0: no limit */
    unsigned flags;
    /* Both or none. alloc returns memory aligned to `align` (a power of two) or NULL; free gets the same size back. Any thread. */
    void *(*alloc)(void *user, size_t size, size_t align);
    void (*free)(void *user, void *block, size_t size);
} crew_pool_options;

#define CREW_OPTIONS(...) CREWI_POINTER_TO(crew_pool_options, __VA_ARGS__)

/* Makes a pool. `options` NULL: one worker per usable CPU and every other default.
 * With a worker_init (unless CREW_LAZY_INIT) all workers are started and initialised before it returns, and one failure unwinds all.
 * CREW_OK · CREW_INVALID: ret_pool NULL, or an option that cannot be; CREW_CPU_COUNT in the environment is not a number · CREW_FAILED: an
 * initializer failed; code, worker and message in options->error · CREW_NO_MEMORY · CREW_NO_RESOURCE: no thread to be had.
 * Threads are created here and by workers, with asynchronous signals blocked and the default scheduling policy, whatever the caller's
 * (but SCHED_IDLE where the caller may not leave that); CPU affinity is that of the thread that calls create.
 * Python: ThreadPool(processes, initializer, initargs). */
CREW_API crew_status crew_pool_create(crew_pool **ret_pool, const crew_pool_options *options);

/* Waits until nothing is queued or running and every callback has returned; the pool stays as open as it was.
 * CREW_OK · CREW_TIMEOUT · CREW_DEADLOCK: called from inside a job or callback of the pool · CREW_INVALID: NULL · CREW_FORKED. */
CREW_API crew_status crew_pool_wait(crew_pool *pool, crew_deadline deadline);

/* Takes no more work from outside. What is queued runs, and what it and its callbacks submit; iterators stop pulling.
 * CREW_OK, also a second time and after terminate · CREW_INVALID: NULL · CREW_FORKED. Python: Pool.close. */
CREW_API crew_status crew_pool_close(crew_pool *pool);

/* Ends what has not started as CREW_TERMINATED, itself and at once, and takes no more work from anyone; running jobs see crew_should_stop,
 * finish, and keep their results. Callbacks are still called. Waits for no user code.
 * CREW_OK, also a second time and after close · CREW_INVALID: NULL · CREW_FORKED. Python: Pool.terminate (which waits). */
CREW_API crew_status crew_pool_terminate(crew_pool *pool);

/* Waits, after close or terminate, until every job, callback and worker_exit has returned and the threads are gone.
 * CREW_OK, also a second time · CREW_TIMEOUT · CREW_INVALID: NULL, or neither closed nor terminated · CREW_DEADLOCK: called from inside a job,
 * callback, source or initializer of the pool · CREW_FORKED. Python: Pool.join. */
CREW_API crew_status crew_pool_join(crew_pool *pool, crew_deadline deadline);

/* Closes, joins and frees the pool. NULL is fine. Results and iterators stay valid until they are destroyed themselves.
 * CREW_OK: the pool is gone · CREW_DEADLOCK: called from inside it; nothing done · CREW_FORKED: in the child; its memory is freed,
 * unless called from inside it. */
CREW_API crew_status crew_pool_destroy(crew_pool *pool);

/* crew_pool_info.state */
enum { CREW_POOL_OPEN = 0, CREW_POOL_CLOSED = 1, CREW_POOL_TERMINATED = 2, CREW_POOL_BROKEN = 3, CREW_POOL_JOINED = 4 };

/* A look at a pool; the numbers are of slightly different instants while it works. */
typedef struct crew_pool_info {
    size_t struct_size;      /* to be set by the caller: sizeof(crew_pool_info) */
    int state;               /* CREW_POOL_… */
    unsigned workers;        /* jobs that may execute at once */
    unsigned slots;          /* workers and spares: bounds crew_worker_index */
    size_t queued, running;  /* jobs and maps accepted and not started; started and not ended */
    uint64_t done, failed;   /* ended with CREW_OK; ended otherwise: jobs, maps, and items of iterators */
    unsigned threads;        /* alive now */
    unsigned blocked;        /* of these, waiting inside a crew_… call of a job, or in a source */
    uint64_t spare_failures; /* stand-ins that could not be started or initialised */
} crew_pool_info;

/* Fills ret_info. CREW_OK · CREW_INVALID: NULL, or struct_size is not set · CREW_FORKED. */
CREW_API crew_status crew_pool_query(crew_pool *pool, crew_pool_info *ret_info);

/* Makes crew_should_stop true in every running and later job of the pool, for good; refuses and ends nothing. NULL is fine.
 * Async-signal-safe. */
CREW_API void crew_pool_request_stop(crew_pool *pool);

/* How many CPUs this process may use: the smaller of its affinity mask and its cgroup's CPU quota (v1 or v2, the tightest of all
 * ancestors, rounded up), at least 1; the affinity is the calling thread's. CREW_CPU_COUNT in the environment overrides it
 * (1 … CREW_WORKERS_MAX; anything else, empty included, is refused).
 * CREW_OK · CREW_INVALID: ret_count NULL, or CREW_CPU_COUNT is no such number (ret_error, which may be NULL, says so).
 * Reads files of /proc and of the cgroup file system. Python: os.process_cpu_count (which knows no quota). */
CREW_API crew_status crew_cpu_count(unsigned *ret_count, crew_error *ret_error);

/* A pool that is destroyed (closed and joined) where its scope ends, as Python's `with`:
 *     CREW_AUTO_POOL(pool);
 *     if (crew_pool_create(&pool, NULL) != CREW_OK) return 1; */
#define CREW_AUTO_POOL(pool) __attribute__((cleanup(crewi_pool_cleanup))) crew_pool *pool = NULL

static inline void crewi_pool_cleanup(crew_pool **pool)
{
    (void)crew_pool_destroy(*pool);
}

#ifdef __cplusplus
}
#endif
#endif
