/* SPDX-License-Identifier: MIT */
/* Streams as objects: what imap returns, and next(timeout). */
#include "stream.h"

/* ---- consuming ---- */

static py_stream *stream_of(PyObject *self)
{
    return ((py_stream_handle *)self)->stream;
}

static PyObject *stream_take(py_stream *stream)
{
    bool has_failed;
    PyObject *object = py_stream_take(stream, &has_failed);
    py_stream_ensure_runner(stream);
    if (stream->window > 0)
        py_stream_wake(stream); /* there is room again */
    if (!has_failed)
        return object;
    py_raise(object);
    Py_DECREF(object);
    return NULL;
}

/* The source has ended, and all items are taken. */
static PyObject *stream_say_end(py_stream *stream)
{
    PyObject *error = stream->error;
    stream->error = NULL;
    if (error)
        py_raise(error);
    else
        PyErr_SetNone(PyExc_StopIteration);
    Py_XDECREF(error);
    return NULL;
}

/* Inside a task of this very pool: the items that are waited for may have no other thread to run them. */
static bool stream_help(py_stream *stream)
{
    bool is_inside = stream->pool && py_is_worker() && crew_current_pool() == stream->pool->crew->pool;
    return is_inside && py_stream_run_some(stream);
}

static bool stream_has_ended(const py_stream *stream)
{
    return !stream->source && stream->taken == stream->pulled;
}

/* 1: something has changed; 0: too late; -1: exception. */
static int stream_wait(py_stream *stream, int64_t deadline_ns)
{
    if (deadline_ns != PY_FOREVER && (deadline_ns == 0 || py_now_ns() >= deadline_ns))
        return 0;
    if (deadline_ns == PY_FOREVER && (stream_help(stream) || stream_has_ended(stream)))
        return 1;
    if (stream->pool && py_crew_is_forked(stream->pool->crew)) {
        py_raise_status(stream->pool->crew->state, stream->pool->crew, CREW_FORKED);
        return -1;
    }
    unsigned epoch = atomic_load(&stream->epoch);
    stream->waiters++;
    bool goes_on = py_wait_change(&stream->epoch, epoch, deadline_ns);
    stream->waiters--;
    return goes_on ? 1 : -1;
}

static PyObject *stream_next(PyObject *self, int64_t deadline_ns)
{
    py_stream *stream = stream_of(self);
    int verdict = 1;
    while (verdict > 0) {
        if (py_stream_is_ready(stream))
            return stream_take(stream);
        if (stream_has_ended(stream))
            return stream_say_end(stream);
        verdict = stream_wait(stream, deadline_ns);
    }
    py_state *state = verdict == 0 ? py_state_of(self) : NULL;
    if (state)
        PyErr_SetNone(state->helpers[PY_POOL_TIMEOUT]);
    return NULL;
}

static PyObject *handle_iternext(PyObject *self)
{
    return stream_next(self, PY_FOREVER);
}

static const py_signature next_signature = {"next", 1, 0, {"timeout"}};

static PyObject *handle_next(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    PyObject *timeout[1];
    int64_t deadline_ns;
    if (!py_arguments(&next_signature, given, count, keywords, timeout) || !py_deadline(timeout[0], &deadline_ns))
        return NULL;
    return stream_next(self, deadline_ns);
}

/* ---- what the user holds ---- */

static int handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(stream_of(self));
    return 0;
}

/* Without a limit all items run, whether somebody takes the values or not; with one, nobody will make room any more. */
static int handle_clear(PyObject *self)
{
    py_stream *stream = stream_of(self);
    ((py_stream_handle *)self)->stream = NULL;
    if (stream && stream->window > 0) {
        py_stream_stop(stream, NULL);
        py_stream_retire(stream);
    }
    Py_XDECREF(stream);
    return 0;
}

static void handle_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)handle_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef handle_methods[] = {
    {"next", PY_FAST(handle_next),
     "next(timeout=None)\n--\n\nThe next value, or what its call raised. multiprocessing.TimeoutError: not yet."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, "The values of an imap: in the order of the items, or as they come."},
    {Py_tp_new, PY_SLOT(py_refuse_new)},
    {Py_tp_dealloc, PY_SLOT(handle_dealloc)},
    {Py_tp_traverse, PY_SLOT(handle_traverse)},
    {Py_tp_clear, PY_SLOT(handle_clear)},
    {Py_tp_iter, PY_SLOT(PyObject_SelfIter)},
    {Py_tp_iternext, PY_SLOT(handle_iternext)},
    {Py_tp_methods, handle_methods},
    {0, NULL},
};

PyType_Spec py_stream_handle_spec = {
    .name = "crewpool._core.Iterator",
    .basicsize = sizeof(py_stream_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = handle_slots,
};

/* ---- the stream itself ---- */

static int stream_traverse(PyObject *self, visitproc visit, void *arg)
{
    py_stream *stream = (py_stream *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(stream->pool);
    Py_VISIT(stream->function);
    Py_VISIT(stream->context);
    Py_VISIT(stream->source);
    Py_VISIT(stream->error);
    for (size_t i = stream->taken; i < stream->pulled; i++)
        Py_VISIT(stream->items[i & (stream->capacity - 1)].object);
    return 0;
}

static int stream_clear(PyObject *self)
{
    py_stream *stream = (py_stream *)self;
    Py_CLEAR(stream->function);
    Py_CLEAR(stream->context);
    Py_CLEAR(stream->source);
    Py_CLEAR(stream->error);
    while (stream->taken < stream->pulled) {
        py_item *item = &stream->items[stream->taken++ & (stream->capacity - 1)];
        Py_CLEAR(item->object);
    }
    py_stream_retire(stream);
    return 0;
}

static void stream_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)stream_clear(self);
    PyMem_Free(((py_stream *)self)->items);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef stream_methods[] = {
    {"feed", py_stream_feed, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_new, PY_SLOT(py_refuse_new)},
    {Py_tp_dealloc, PY_SLOT(stream_dealloc)},
    {Py_tp_traverse, PY_SLOT(stream_traverse)},
    {Py_tp_clear, PY_SLOT(stream_clear)},
    {Py_tp_methods, stream_methods},
    {0, NULL},
};

PyType_Spec py_stream_spec = {
    .name = "crewpool._core.Stream",
    .basicsize = sizeof(py_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = stream_slots,
};

/* ---- making one ---- */

static bool source_is_simple(PyObject *items)
{
    return PyList_CheckExact(items) || PyTuple_CheckExact(items) || PyUnicode_CheckExact(items) ||
           PyBytes_CheckExact(items) || Py_IS_TYPE(items, &PyRange_Type);
}

static void stream_list(py_stream *stream, py_pool *pool)
{
    stream->next = pool->streams;
    stream->prior = &pool->streams;
    if (stream->next)
        stream->next->prior = &stream->next;
    pool->streams = stream;
}

static py_stream *stream_new(py_pool *pool, PyObject *function, PyObject *items)
{
    PyTypeObject *type = pool->crew->state->stream_type;
    py_stream *stream = (py_stream *)type->tp_alloc(type, 0);
    if (!stream)
        return NULL;
    stream->function = Py_NewRef(function);
    stream->context = py_current_context(pool);
    stream->is_simple = source_is_simple(items);
    stream->source = PyObject_GetIter(items);
    stream->pool = (py_pool *)Py_NewRef((PyObject *)pool);
    stream_list(stream, pool);
    if (!stream->source)
        py_stream_end(stream, py_fetch_exception());
    return stream;
}

/* False with an exception: there is no thread to be had. */
static bool stream_start(py_stream *stream)
{
    py_pool *pool = stream->pool; /* which the caller has, too */
    if (stream->is_simple || !stream->source) {
        py_stream_ensure_runner(stream);
        py_stream_retire(stream);
        return true;
    }
    (void)atomic_fetch_add(&pool->feeders, 1);
    stream->is_fed = true;
    PyObject *feed = PyObject_GetAttrString((PyObject *)stream, "feed");
    PyObject *nothing =
        feed ? PyObject_CallFunctionObjArgs(pool->crew->state->helpers[PY_START_THREAD], feed, NULL) : NULL;
    Py_XDECREF(feed);
    if (!nothing) {
        stream->is_fed = false;
        py_pool_feeder_ended(pool);
        py_stream_stop(stream, NULL);
        py_stream_retire(stream);
    }
    Py_XDECREF(nothing);
    return nothing != NULL;
}

PyObject *py_stream_start(py_pool *pool, PyObject *function, PyObject *items, size_t chunk_size, size_t window,
                          bool is_ordered)
{
    py_stream *stream = stream_new(pool, function, items);
    if (!stream)
        return NULL;
    stream->chunk_size = chunk_size;
    stream->window = window;
    stream->is_ordered = is_ordered;
    PyTypeObject *type = (PyTypeObject *)pool->crew->state->helpers[is_ordered ? PY_ORDERED : PY_UNORDERED];
    py_stream_handle *handle = (py_stream_handle *)type->tp_alloc(type, 0);
    if (handle)
        handle->stream = (py_stream *)Py_NewRef((PyObject *)stream);
    if (!handle || !stream_start(stream))
        Py_CLEAR(handle);
    Py_DECREF(stream);
    return (PyObject *)handle;
}
