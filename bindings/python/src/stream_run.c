/* SPDX-License-Identifier: MIT */
/* What runs a stream's items: a few tasks, each of which takes the next item until there is none or its time is over; and, where
 * the source may block or runs code of Python, a thread that feeds them. */
#include "stream.h"

enum { SLICE_NS = 4000000, CLAIM_SMALL = 32 };

static void stream_stop(py_stream *stream, PyObject *error)
{
    PY_LOCKED(stream);
    py_stream_stop(stream, error);
    PY_UNLOCKED();
}

/* ---- one item ---- */

static PyObject *item_call(py_stream *stream, PyObject *argument)
{
    PyObject *context = stream->context ? PyContext_Copy(stream->context) : NULL;
    if (stream->context && (!context || PyContext_Enter(context) < 0)) {
        Py_XDECREF(context);
        return NULL;
    }
    PyObject *value = PyObject_Vectorcall(stream->function, &argument, 1, NULL);
    if (context && PyContext_Exit(context) < 0)
        Py_CLEAR(value);
    Py_XDECREF(context);
    return value;
}

static void item_run(py_stream *stream, size_t index, PyObject *argument)
{
    PyObject *object = item_call(stream, argument);
    bool has_failed = !object;
    if (has_failed)
        object = py_fetch_exception();
    Py_DECREF(argument);
    PY_LOCKED(stream);
    py_stream_finish(stream, index, object, has_failed);
    PY_UNLOCKED();
}

/* ---- tasks ---- */

bool py_stream_run_some(py_stream *stream)
{
    PyObject *few[CLAIM_SMALL], **objects = few;
    if (stream->chunk_size > CLAIM_SMALL)
        objects = PyMem_Malloc(stream->chunk_size * sizeof *objects);
    if (!objects) {
        PyErr_NoMemory();
        stream_stop(stream, py_fetch_exception());
        return false;
    }
    size_t first = 0, count = 0;
    PY_LOCKED(stream);
    count = py_stream_claim(stream, objects, &first);
    PY_UNLOCKED();
    py_stream_ensure_runner(stream);
    for (size_t i = 0; i < count; i++)
        item_run(stream, first + i, objects[i]);
    if (objects != few)
        PyMem_Free(objects);
    return count > 0;
}

static bool runner_submit(py_stream *stream);

/* True: its time is over, and there is more to do. */
static bool runner_run(py_stream *stream)
{
    int64_t begin_ns = py_coarse_now_ns();
    while (py_stream_run_some(stream)) {
        py_yield_now_and_then();
        if (py_coarse_now_ns() - begin_ns >= SLICE_NS)
            return true;
    }
    return false;
}

static void runner_end(py_stream *stream)
{
    PY_LOCKED(stream);
    stream->runners--;
    PY_UNLOCKED();
    py_stream_ensure_runner(stream); /* what came up since this one found nothing was left to it */
    py_stream_retire(stream);
}

static int job_run(const void *arg, void *ret_value, void *context)
{
    (void)ret_value;
    (void)context;
    py_stream *stream = *(py_stream *const *)arg;
    bool taken;
    if (!py_borrow(&taken))
        return 0;
    *(py_stream **)(uintptr_t)arg = NULL; /* so that the drop knows */
    if (!runner_run(stream) || !runner_submit(stream))
        runner_end(stream);
    Py_DECREF(stream);
    return 0;
}

static PyObject *stream_pool_error(py_stream *stream)
{
    py_crew *crew = stream->pool->crew;
    if (crew->broken)
        return py_broken_error(crew);
    PyObject *error = PyObject_CallFunction(crew->state->helpers[PY_TERMINATED_ERROR], "s",
                                            "the pool was terminated before all items could run");
    return error ? error : py_fetch_exception();
}

static void job_drop(void *arg, void *context)
{
    (void)context;
    py_stream *stream = *(py_stream **)arg;
    bool taken;
    if (!stream || !py_borrow(&taken))
        return;
    stream_stop(stream, stream_pool_error(stream));
    runner_end(stream);
    Py_DECREF(stream);
    py_return(taken);
}

static const crew_job job_stream = {job_run, sizeof(py_stream *), 0, "imap", job_drop, NULL};

/* False: the pool takes no more work. */
static bool runner_submit(py_stream *stream)
{
    Py_INCREF(stream);
    crew_status status = crew_apply_async(stream->pool->crew->pool, &job_stream, &stream, NULL, NULL);
    if (status == CREW_OK)
        return true;
    Py_DECREF(stream);
    stream_stop(stream, stream_pool_error(stream));
    return false;
}

void py_stream_ensure_runner(py_stream *stream)
{
    bool is_wanted;
    PY_LOCKED(stream);
    is_wanted = stream->pool && stream->runners < stream->pool->crew->workers && py_stream_has_work(stream);
    stream->runners += is_wanted;
    PY_UNLOCKED();
    if (is_wanted && !runner_submit(stream))
        runner_end(stream);
}

void py_stream_retire(py_stream *stream)
{
    py_pool *pool = NULL;
    PY_LOCKED(stream);
    if (!stream->source && !stream->is_fed && stream->runners == 0 && !py_stream_has_work(stream)) {
        pool = stream->pool;
        stream->pool = NULL;
    }
    PY_UNLOCKED();
    if (!pool)
        return;
    py_stream_unlist(stream, pool);
    Py_DECREF(pool);
}

/* ---- feeding ---- */

static bool feeder_has_room(const py_stream *stream)
{
    return stream->window == 0 || stream->pulled - stream->taken + stream->chunk_size <= stream->window;
}

/* True: it may look again. */
static bool feeder_sleep(py_stream *stream)
{
    unsigned epoch = 0;
    bool is_needed;
    PY_LOCKED(stream);
    is_needed = stream->source && !feeder_has_room(stream);
    stream->waiters += is_needed;
    epoch = atomic_load(&stream->epoch);
    PY_UNLOCKED();
    if (!is_needed)
        return false;
    (void)py_wait_change(&stream->epoch, epoch, PY_FOREVER);
    PY_LOCKED(stream);
    stream->waiters--;
    PY_UNLOCKED();
    return true;
}

/* The source, as long as more is wanted of it: a new reference, or NULL. */
static PyObject *feeder_source(py_stream *stream)
{
    PyObject *source;
    PY_LOCKED(stream);
    source = Py_XNewRef(stream->source);
    PY_UNLOCKED();
    return source;
}

static bool feeder_is_wanted(py_stream *stream)
{
    bool is_wanted;
    PY_LOCKED(stream);
    is_wanted = stream->source != NULL;
    PY_UNLOCKED();
    return is_wanted;
}

/* Pulls one chunk. False: the source has ended. One that fails takes its chunk with it, as it does in the original. */
static bool feeder_pull(py_stream *stream, PyObject *source, PyObject **ret_chunk, PyObject **ret_error)
{
    PyObject *chunk = PyList_New(0), *object = NULL;
    size_t count = 0;
    while (chunk && count < stream->chunk_size && feeder_is_wanted(stream) && (object = PyIter_Next(source))) {
        if (PyList_Append(chunk, object) < 0)
            Py_CLEAR(chunk);
        Py_DECREF(object);
        count++;
    }
    *ret_error = PyErr_Occurred() ? py_fetch_exception() : NULL;
    if (*ret_error)
        Py_CLEAR(chunk);
    *ret_chunk = chunk;
    return object != NULL;
}

static void feeder_push(py_stream *stream, PyObject *chunk)
{
    PY_LOCKED(stream);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(chunk) && !stream->is_stopped; i++)
        (void)py_stream_push(stream, Py_NewRef(PyList_GET_ITEM(chunk, i)));
    py_stream_wake(stream); /* a task that waits for an item may run this one */
    PY_UNLOCKED();
    py_stream_ensure_runner(stream);
    Py_DECREF(chunk);
}

static void feeder_end(py_stream *stream, PyObject *error)
{
    PY_LOCKED(stream);
    py_stream_end(stream, error);
    PY_UNLOCKED();
}

static void feeder_run(py_stream *stream)
{
    PyObject *source = feeder_source(stream), *chunk, *error;
    bool goes_on = true;
    while (goes_on && feeder_is_wanted(stream)) {
        if (feeder_sleep(stream))
            continue;
        goes_on = feeder_pull(stream, source, &chunk, &error);
        if (chunk)
            feeder_push(stream, chunk);
        if (!goes_on || error)
            feeder_end(stream, error);
        py_yield_now_and_then();
    }
    Py_XDECREF(source);
}

PyObject *py_stream_feed(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_stream *stream = (py_stream *)self;
    py_pool *pool = (py_pool *)Py_NewRef((PyObject *)stream->pool);
    feeder_run(stream);
    PY_LOCKED(stream);
    stream->is_fed = false;
    PY_UNLOCKED();
    py_stream_retire(stream);
    py_pool_feeder_ended(pool);
    Py_DECREF(pool);
    Py_RETURN_NONE;
}
