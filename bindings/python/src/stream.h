/* SPDX-License-Identifier: MIT */
/* A stream: the items of one imap between their source, the tasks that run them, and the consumers. */
#ifndef CREWPOOL_PYTHON_STREAM_H
#define CREWPOOL_PYTHON_STREAM_H

#include "binding.h"

/* One item: waiting (its argument is here), running (nothing is), or ended (value or exception). Ended items of a stream without
 * order take the places of the first that run: those are never fewer. */
typedef struct {
    PyObject *object;
    enum { PY_ITEM_WAITS, PY_ITEM_RUNS, PY_ITEM_VALUE, PY_ITEM_ERROR } state;
} py_item;

/* taken <= finished (without order) <= claimed <= pulled, all counted from the beginning; item i lies in items[i % capacity].
 * All of it is under the GIL, but for what is set once before anybody else knows it, and pool->streams, which is under that of the pool. */
struct py_stream {
    PyObject_HEAD py_pool *pool; /* until nothing more will run; as long as there are runners, or a feeder */
    py_stream *next, **prior;    /* pool->streams; prior NULL: not there */
    PyObject *function, *context;
    PyObject *source; /* iterator; NULL: it has ended */
    PyObject *error;  /* raised once after the last item */
    py_item *items;
    size_t capacity; /* a power of two */
    size_t taken, finished, claimed, pulled;
    size_t chunk_size, window; /* window 0: no limit */
    bool is_ordered;
    bool is_simple;   /* the source neither blocks nor runs code of Python: tasks pull by themselves */
    bool is_fed;      /* by a thread, which needs the pool */
    bool is_stopped;  /* what has not started never will */
    unsigned runners; /* tasks submitted or running */
    unsigned waiters; /* threads that sleep on `epoch` */
    py_word epoch;    /* +1 to wake them */
};

/* What the user holds. */
typedef struct {
    PyObject_HEAD py_stream *stream;
} py_stream_handle;

/* stream_items.c: the ring, and what moves items along it. The caller has locked the stream. */
bool py_stream_push(py_stream *stream, PyObject *object); /* steals; false: no memory, the stream is stopped */
bool py_stream_has_room(const py_stream *stream);
bool py_stream_is_ready(const py_stream *stream);
bool py_stream_has_work(const py_stream *stream); /* to be claimed, or to be pulled by a task */
size_t py_stream_claim(py_stream *stream, PyObject **ret_objects, size_t *ret_first);
void py_stream_finish(py_stream *stream, size_t index, PyObject *object, bool has_failed); /* steals */
PyObject *py_stream_take(py_stream *stream, bool *ret_failed);
void py_stream_end(py_stream *stream, PyObject *error);  /* of the source; steals */
void py_stream_stop(py_stream *stream, PyObject *error); /* steals; drops what waits */
void py_stream_wake(py_stream *stream);
void py_stream_pull(py_stream *stream, size_t count); /* from a simple source */

/* stream.c */
py_stream *py_stream_after(
    py_pool *pool, py_stream *stream); /* in its list, the first after NULL, or anew: a new reference, or NULL */
void py_stream_unlist(py_stream *stream, py_pool *pool);

/* stream_run.c: tasks, and the thread that feeds them. The caller has not locked the stream. */
void py_stream_ensure_runner(py_stream *stream);
bool py_stream_run_some(py_stream *stream); /* false: nothing is to be claimed */
void py_stream_retire(py_stream *stream);   /* gives up the pool, if all is over */
PyObject *py_stream_feed(PyObject *self, PyObject *unused);

#endif
