/* SPDX-License-Identifier: MIT */
/* A result: Python's AsyncResult and Future in one. It is the handle of one apply_async, map_async or starmap_async. */
#ifndef CREWPOOL_RESULT_H
#define CREWPOOL_RESULT_H

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Lifetime: from the call that returned it until crew_result_destroy, also beyond the end of its pool.
 * Threads: any number may wait, get, ask and cancel at once; destroy is for the last one.
 * "Ready" means: the value is stored (with CREW_READY_AFTER_DONE, or a callback and a drop_result: and the callback
 * has returned). Everything the job wrote happens before ready is seen. */
typedef struct crew_result crew_result;

/* Waits until the result is ready, whatever the outcome.
 * CREW_OK: ready · CREW_TIMEOUT · CREW_INVALID: result NULL · CREW_FORKED ·
 * CREW_DEADLOCK, CREW_TOO_DEEP: inside a job, where the wait could never end (see "Waiting inside jobs" in pool.h).
 * Blocks until the deadline. With CREW_FOREVER it may run this very job, or what it waits for, on this thread; with a
 * finite deadline it runs no user code. Python: AsyncResult.wait. */
CREW_API crew_status crew_result_wait(crew_result *result, crew_deadline deadline);

/* Waits likewise, then copies the value to `ret_value` (result_size bytes) and returns the outcome.
 * CREW_OK: the value is in ret_value · CREW_FAILED, CREW_CANCELLED, CREW_TERMINATED, CREW_BROKEN, CREW_WORKER_LOST: how it
 * ended; crew_result_error tells why · CREW_TIMEOUT · CREW_INVALID: result NULL; ret_value NULL though the job has a
 * result; the value was already moved · CREW_DEADLOCK, CREW_TOO_DEEP, CREW_FORKED: as crew_result_wait.
 * Ownership: a value whose job has drop_result is moved, so only the first get has it; others may be read again and again.
 * A map's values are in its array: ret_value is ignored, and may be NULL.
 * Example:  long value; if (crew_result_get(result, &value, crew_after_ms(50)) == CREW_OK) use(value);
 * Python: AsyncResult.get. */
CREW_API crew_status crew_result_get(crew_result *result, void *ret_value, crew_deadline deadline);

/* How it ended, without waiting: CREW_BUSY until ready, then the outcome (Python's ready and successful in one).
 * CREW_INVALID: result NULL · CREW_FORKED. Does not block, runs no user code. */
CREW_API crew_status crew_result_status(const crew_result *result);

/* Why it did not succeed: fills ret_error and returns CREW_OK. For a map: the failure of the lowest index that ran.
 * CREW_BUSY: not ready · CREW_INVALID: an argument is NULL, or the outcome is CREW_OK · CREW_FORKED; ret_error untouched.
 * Does not block, runs no user code. */
CREW_API crew_status crew_result_error(const crew_result *result, crew_error *ret_error);

/* Takes back what has not started; its outcome becomes CREW_CANCELLED, its argument is dropped and its callback will be called.
 * CREW_OK: it will never run (for a map: no item had started; also when it was already cancelled) ·
 * CREW_BUSY: it runs; it was told to stop and crew_should_stop is true in it (a map: items not started will not run) ·
 * CREW_END: it had already ended, nothing changed · CREW_INVALID: result NULL · CREW_FORKED.
 * Does not block; may run drop_arg. Python: Future.cancel. */
CREW_API crew_status crew_result_cancel(crew_result *result);

/* Lets go of the handle. NULL is fine. An unfinished apply goes on alone (its value will be dropped);
 * an unfinished map is cancelled and waited for, because its arrays may be gone afterwards (this may block; it runs nothing
 * but drops and, inside a job, what the running items wait for; from inside one of its own items it does not wait). After fork, in the child, it frees the memory. */
CREW_API void crew_result_destroy(crew_result *result);

#ifdef __cplusplus
}
#endif
#endif
