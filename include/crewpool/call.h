/* SPDX-License-Identifier: MIT */
/* Handing work to a pool: apply, map and starmap, each blocking and async. (imap is in iterator.h.) */
#ifndef CREWPOOL_CALL_H
#define CREWPOOL_CALL_H

#include "error.h"
#include "job.h"
#include "macros.h"
#include "result.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a call ended, as a callback sees it; all of it is borrowed for the time of the callback. */
typedef struct crew_outcome {
    crew_status status;      /* CREW_OK or another outcome */
    const void *value;       /* the result, or a map's array; NULL where there is none */
    const crew_error *error; /* NULL on success */
    size_t index;            /* apply: 0; a map that failed: the item of `error` */
} crew_outcome;

/* Called once for each accepted call, after the value is stored. Callbacks of one pool run one at a time, in the order in
 * which their results were stored, under no lock, at the bottom of a worker's stack: one may wait, submit, close, terminate,
 * and take long (others then wait their turn; jobs go on). Python: callback and error_callback in one. */
typedef void crew_done_fn(const crew_outcome *outcome, void *user);

/* crew_call.flags */
enum {
    CREW_STOP_ON_ERROR = 1,   /* map: after a failure, start no further item */
    CREW_NO_WAIT = 2,         /* do not block, or run, where the queue is full: CREW_FULL */
    CREW_READY_AFTER_DONE = 4 /* the result is ready after its callback has returned (Python's order) */
};

/* This time: one struct for every submitting method, made by CREW_CALL(.field = value, …). All zero but the size is
 * every default; where a pointer to it is expected NULL is the same. It is only read during the call. */
typedef struct crew_call {
    size_t struct_size;    /* sizeof(crew_call), set by CREW_CALL; less is refused, more must be zero beyond */
    void *context;         /* handed to the job and its drops; must outlive them and the callback */
    crew_done_fn *on_done; /* called once at the end; not for imap, whose consumer sees every item */
    void *user;            /* handed to on_done */
    crew_error *error;     /* blocking calls, and refused ones, write here why they do not return CREW_OK */
    size_t chunk;  /* map: items taken at once (any number); 0: adaptive, by measured time. imap: items per job; 0: 1 */
    size_t window; /* imap: items pulled and not taken, at most; 0: 2 x workers x chunk */
    unsigned flags;
} crew_call;

#define CREW_CALL(...) CREWI_POINTER_TO(crew_call, __VA_ARGS__)

/* All six calls below:
 * Statuses, refused: CREW_INVALID: pool, job or job->fn NULL; a needed array or output NULL; a size that overflows; a bad
 *   crew_call · CREW_CLOSED: the pool was closed (unless the caller runs inside it) or terminated · CREW_BROKEN: the pool broke
 *   · CREW_NO_MEMORY · CREW_FORKED. Not now: CREW_FULL: `queue_max` is reached, and the pool or the call says not to wait.
 * Ownership: on anything in the range "refused" or "not now" nothing was taken, and no drop or callback will be called.
 * Threads: any, concurrently, from inside jobs, callbacks, sources and initializers, too. The async ones block only where
 *   `queue_max` is reached, and run user code only with CREW_FULL_RUNS (or on a CREW_SERIAL pool, whose jobs run at submit).
 * Order: jobs of one outside thread enter the queue in its order.
 * Visibility: everything before the call happens before the job; everything in the job before its result is ready. */

/* Runs one job and waits for it: copies arg_size bytes from `arg` (NULL where that is 0), and result_size bytes to
 * `ret_value` on CREW_OK. Returns the outcome; call->error tells why it is not CREW_OK.
 * Inside a job also CREW_TOO_DEEP, in a callback CREW_DEADLOCK: refused, nothing was run (with on_done and drop_result: or it ran, and
 * no thread is left to call on_done before the value is moved). May run this job on this thread (see pool.h, "Who runs a job").
 * Example:  long twice_21; crew_apply(pool, &twice, &(int){21}, &twice_21, NULL);
 * Python: Pool.apply. */
CREW_API crew_status crew_apply(crew_pool *pool, const crew_job *job, const void *arg, void *ret_value,
                                const crew_call *call);

/* Hands one job over. `arg` is copied. `ret_result` receives a handle before the job can start, or is NULL: then
 * nobody waits, and a failure without on_done goes to the pool's on_unhandled. CREW_OK: accepted; it will end exactly once.
 * Example:  crew_result *r; crew_apply_async(pool, &twice, &(int){21}, &r, CREW_CALL(.on_done = print));
 * Python: Pool.apply_async. */
CREW_API crew_status crew_apply_async(crew_pool *pool, const crew_job *job, const void *arg, crew_result **ret_result,
                                      const crew_call *call);

/* Runs the job on every item of an array, in parallel, and waits for all: ret_values[i] = job(args[i]).
 * `args`: n x arg_size bytes, borrowed; NULL: the argument of item i is `(size_t)i`, and arg_size must be
 * sizeof(size_t) (or 0). `ret_values`: n x result_size bytes (NULL where that is 0); an item that failed or did not run
 * leaves its place undefined. n may be 0.
 * Returns CREW_OK if every item succeeded, else the failure of the lowest index that ran, with index, worker and message
 * in call->error. Every item runs, unless CREW_STOP_ON_ERROR, a cancel or the end of the pool come between; items that were left
 * unrun so make the outcome CREW_CANCELLED or CREW_TERMINATED. Never returns while a job can still touch the arrays.
 * Inside a job also CREW_TOO_DEEP, in a callback CREW_DEADLOCK: refused, nothing was run. Helps: items may run on this thread.
 * Example:  crew_map(pool, &collatz, numbers, count, steps, NULL);
 * Python: Pool.map (whose error is the first to arrive). */
CREW_API crew_status crew_map(crew_pool *pool, const crew_job *job, const void *args, size_t n, void *ret_values,
                              const crew_call *call);

/* The same without waiting: both arrays are borrowed until the result is ready and, with on_done, the callback has returned.
 * on_done is called once for the whole map (also for an empty one). Without a handle (`ret_result` NULL) an on_done is how to
 * know that the arrays are free again. Python: Pool.map_async. */
CREW_API crew_status crew_map_async(crew_pool *pool, const crew_job *job, const void *args, size_t n, void *ret_values,
                                    crew_result **ret_result, const crew_call *call);

/* One member of a starmap's argument struct: for item i, `size` bytes from data + i x stride go to offset in the argument.
 * stride 0: one value for all rows. Made by CREW_COLUMN. Members without a column are zero. */
typedef struct crew_column {
    const void *data;
    size_t size, stride, offset;
} crew_column;

/* The column that fills `member` of `Arg` from an array of that type, or, CREW_CONSTANT, from one variable for all rows:
 *     struct area { double width, height; };
 *     crew_column columns[] = {CREW_COLUMN(struct area, width, widths), CREW_CONSTANT(struct area, height, &height)};
 *     crew_starmap(pool, &area, columns, 2, n, areas, NULL); */
/* clang-format off */
#define CREW_COLUMN(Arg, member, array) {(array), sizeof(((Arg *)0)->member), sizeof *(array), offsetof(Arg, member)}
#define CREW_CONSTANT(Arg, member, pointer) {(pointer), sizeof(((Arg *)0)->member), 0, offsetof(Arg, member)}
/* clang-format on */

enum { CREW_ROW_SIZE_MAX = 4096 };

/* map over several arrays: gathers the columns of row i into the job's argument struct, on the worker's stack. `columns`
 * itself is copied; its arrays are borrowed. As crew_map in everything else.
 * CREW_INVALID also: columns NULL or 0 of them; one that reaches beyond arg_size, or has size 0 or no data; arg_size above
 * CREW_ROW_SIZE_MAX. Python: Pool.starmap. */
CREW_API crew_status crew_starmap(crew_pool *pool, const crew_job *job, const crew_column *columns,
                                  size_t columns_count, size_t n, void *ret_values, const crew_call *call);

/* As crew_map_async. Python: Pool.starmap_async. */
CREW_API crew_status crew_starmap_async(crew_pool *pool, const crew_job *job, const crew_column *columns,
                                        size_t columns_count, size_t n, void *ret_values, crew_result **ret_result,
                                        const crew_call *call);

#ifdef __cplusplus
}
#endif
#endif
