/* SPDX-License-Identifier: MIT */
/* imap: a stream of items through a pool, in input order or as they finish, with bounded memory. */
#ifndef CREWPOOL_ITERATOR_H
#define CREWPOOL_ITERATOR_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What imap returns. Lifetime: until crew_iterator_destroy, also beyond the end of its pool.
 * Threads: any number of consumers may call next at once, each item going to one of them; destroy is for the last one. */
typedef struct crew_iterator crew_iterator;

/* Where the items come from: an array (`items` not NULL), borrowed until the iterator is destroyed; or a function.
 * pull writes one item of arg_size bytes to ret_item and returns 1; 0 at the end; a negative number for an error,
 * best as `return crew_fail(-1, "why")`. It may block. Calls of one source never overlap, are under no lock, may come from
 * different threads, and each happens before the next; after 0 or an error there is none. A pulled item whose job has drop_arg belongs to
 * the pool. `release`, if given, is called exactly once, after the last pull has returned (for an array: when it is no
 * longer borrowed), provided that imap returned CREW_OK: before next says CREW_END or CREW_SOURCE_FAILED; else after a pull that
 * was under way when the iterator was destroyed, which may be later. So what `user` points to must live until release, or as long as the
 * pool: not on the stack of a function that may break off early. */
typedef struct crew_source {
    const void *items;
    size_t count;
    int (*pull)(void *user, void *ret_item);
    void *user;
    void (*release)(void *user);
} crew_source;

/* Starts a stream: items are pulled ahead, at most `window` of them pulled and not yet taken by next, and run in parallel
 * (`chunk` of them per job). crew_imap delivers in input order, crew_imap_unordered as they finish.
 * CREW_OK: *ret_iterator must be destroyed · CREW_INVALID: pool, job, source or ret_iterator NULL; neither items nor
 * pull, or both; an on_done; a window smaller than the chunk; the rest as in call.h · CREW_CLOSED · CREW_BROKEN · CREW_NO_MEMORY ·
 * CREW_FORKED. Does not block; runs user code only on a CREW_SERIAL pool.
 * Example:
 *     crew_iterator *lines;
 *     crew_imap(pool, &parse, &(crew_source){.pull = next_line, .user = stdin}, &lines, NULL);
 *     while ((status = crew_iterator_next(lines, &record, &index, CREW_FOREVER, &error)) < CREW_TIMEOUT)
 *         status == CREW_OK ? use(&record) : complain(&error);
 *     crew_iterator_destroy(lines);
 * Python: Pool.imap, Pool.imap_unordered (whose input is swallowed whole). */
CREW_API crew_status crew_imap(crew_pool *pool, const crew_job *job, const crew_source *source,
                               crew_iterator **ret_iterator, const crew_call *call);
CREW_API crew_status crew_imap_unordered(crew_pool *pool, const crew_job *job, const crew_source *source,
                                         crew_iterator **ret_iterator, const crew_call *call);

/* Takes the next item. `ret_value` receives result_size bytes on CREW_OK (a value with drop_result is the caller's from
 * then on); `ret_index` (may be NULL) the item's number, for any outcome; `ret_error` (may be NULL) why it is not CREW_OK.
 * CREW_OK, or how this item ended (CREW_FAILED, CREW_TERMINATED, …): the iteration goes on · CREW_TIMEOUT · CREW_END: no more items,
 * sticky, for every consumer · CREW_SOURCE_FAILED: the source said an error, after all items pulled before it; sticky ·
 * CREW_CLOSED: the pool was closed, terminated or broke before the source ended (ret_error tells which); sticky ·
 * CREW_NO_MEMORY: no item could be pulled; may be tried again · CREW_INVALID: iterator NULL, or ret_value NULL though there is a result · CREW_DEADLOCK,
 * CREW_TOO_DEEP: inside a job, or from inside its own source · CREW_FORKED.
 * After the last item CREW_NOW may still find CREW_TIMEOUT, until the source has said its end.
 * Blocks until the deadline. With CREW_FOREVER it may pull, and run the item it waits for, on this thread.
 * Python: IMapIterator.next(timeout). */
CREW_API crew_status crew_iterator_next(crew_iterator *iterator, void *ret_value, size_t *ret_index,
                                        crew_deadline deadline, crew_error *ret_error);

/* Ends the stream and frees it. NULL is fine. Items not started are dropped and never run; running ones are waited for (not from inside
 * one of them) and their values dropped; a pull that is under way is not waited for: what it returns is dropped, and the source is
 * released after it. Blocks for running items; runs nothing but drops and `release`. */
CREW_API void crew_iterator_destroy(crew_iterator *iterator);

#ifdef __cplusplus
}
#endif
#endif
