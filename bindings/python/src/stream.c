/* SPDX-License-Identifier: MIT */
/* Streams as objects: what imap returns, and next(timeout). */
#include "stream.h"

/* ---- consuming ---- */

static py_stream *stream_of(PyObject *self)
{
    return ((py_stream_handle *)self)->stream;
}

/* The source has ended, and all items are taken. */
static bool stream_has_ended(const py_stream *stream)
{
    return !stream->source && stream->taken == stream->pulled;
}

enum stream_step { STEP_NONE, STEP_VALUE, STEP_ERROR, STEP_END };

/* What there is to be had now. *ret_object: the value, or the exception. */
static enum stream_step stream_try(py_stream *stream, PyObject **ret_object)
{
    enum stream_step step = STEP_NONE;
    bool has_failed;
    PY_LOCKED(stream);
    if (py_stream_is_ready(stream)) {
        *ret_object = py_stream_take(stream, &has_failed);
        step = has_failed ? STEP_ERROR : STEP_VALUE;
        if (stream->window > 0)
            py_stream_wake(stream); /* there is room again */
    } else if (stream_has_ended(stream)) {
        *ret_object = stream->error;
        step = stream->error ? STEP_ERROR : STEP_END;
        stream->error = NULL;
    }
    PY_UNLOCKED();
    if (step != STEP_NONE)
        py_stream_ensure_runner(stream);
    return step;
}

static py_pool *stream_pool(py_stream *stream)
{
    PyObject *pool;
    PY_LOCKED(stream);
    pool = Py_XNewRef((PyObject *)stream->pool);
    PY_UNLOCKED();
    return (py_pool *)pool;
}

/* Inside a task of this very pool: the items that are waited for may have no other thread to run them. */
static bool stream_help(py_stream *stream, const py_pool *pool)
{
    bool is_inside = pool && py_is_worker() && crew_current_pool() == pool->crew->pool;
    return is_inside && py_stream_run_some(stream);
}

/* False: a signal raised an exception. */
static bool stream_sleep(py_stream *stream, int64_t deadline_ns)
{
    unsigned epoch = 0;
    bool is_needed, goes_on;
    PY_LOCKED(stream);
    is_needed = !py_stream_is_ready(stream) && !stream_has_ended(stream);
    stream->waiters += is_needed;
    epoch = atomic_load(&stream->epoch);
    PY_UNLOCKED();
    if (!is_needed)
        return true;
    goes_on = py_wait_change(&stream->epoch, epoch, deadline_ns);
    PY_LOCKED(stream);
    stream->waiters--;
    PY_UNLOCKED();
    return goes_on;
}

/* 1: something has changed; 0: too late; -1: exception. */
static int stream_wait(py_stream *stream, const py_pool *pool, int64_t deadline_ns)
{
    if (deadline_ns != PY_FOREVER && (deadline_ns == 0 || py_now_ns() >= deadline_ns))
        return 0;
    if (deadline_ns == PY_FOREVER && stream_help(stream, pool))
        return 1;
    if (pool && py_crew_is_forked(pool->crew)) {
        py_raise_status(pool->crew->state, pool->crew, CREW_FORKED);
        return -1;
    }
    return stream_sleep(stream, deadline_ns) ? 1 : -1;
}

static PyObject *stream_take(PyObject *self, enum stream_step step, PyObject *object)
{
    py_state *state = step == STEP_NONE ? py_state_of(self) : NULL;
    if (step == STEP_VALUE)
        return object;
    if (step == STEP_ERROR)
        py_raise(object);
    else if (step == STEP_END)
        PyErr_SetNone(PyExc_StopIteration);
    else if (state)
        PyErr_SetNone(state->helpers[PY_POOL_TIMEOUT]);
    Py_XDECREF(object);
    return NULL;
}

static PyObject *stream_next(PyObject *self, int64_t deadline_ns)
{
    py_stream *stream = stream_of(self);
    PyObject *object = NULL;
    enum stream_step step;
    int verdict = 1;
    while ((step = stream_try(stream, &object)) == STEP_NONE) {
        py_pool *pool = stream_pool(stream);
        verdict = stream_wait(stream, pool, deadline_ns);
        Py_XDECREF(pool);
        if (verdict <= 0)
            break;
    }
    return verdict < 0 ? NULL : stream_take(self, step, object);
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
        PY_LOCKED(stream);
        py_stream_stop(stream, NULL);
        PY_UNLOCKED();
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
    Py_CLEAR(stream->pool);
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

/* ---- the list of those that a pool has to end ---- */

static void stream_list(py_stream *stream, py_pool *pool)
{
    PY_LOCKED(pool);
    stream->next = pool->streams;
    stream->prior = &pool->streams;
    if (stream->next)
        stream->next->prior = &stream->next;
    pool->streams = stream;
    Py_INCREF(stream);
    PY_UNLOCKED();
}

void py_stream_unlist(py_stream *stream, py_pool *pool)
{
    bool was_there;
    PY_LOCKED(pool);
    was_there = stream->prior != NULL;
    if (was_there) {
        *stream->prior = stream->next;
        if (stream->next)
            stream->next->prior = stream->prior;
        stream->prior = NULL;
    }
    PY_UNLOCKED();
    if (was_there)
        Py_DECREF(stream);
}

py_stream *py_stream_after(py_pool *pool, py_stream *stream)
{
    py_stream *found;
    PY_LOCKED(pool);
    found = stream && stream->prior ? stream->next : pool->streams;
    Py_XINCREF(found);
    PY_UNLOCKED();
    return found;
}

/* ---- making one ---- */

static bool source_is_simple(PyObject *items)
{
    return PyList_CheckExact(items) || PyTuple_CheckExact(items) || PyUnicode_CheckExact(items) ||
           PyBytes_CheckExact(items) || Py_IS_TYPE(items, &PyRange_Type);
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
    if (!stream->source)
        stream->error = py_fetch_exception();
    stream->pool = (py_pool *)Py_NewRef((PyObject *)pool);
    return stream;
}

/* False with an exception: there is no thread to be had. */
static bool stream_start(py_stream *stream, py_pool *pool)
{
    if (!stream->is_fed) {
        py_stream_ensure_runner(stream);
        py_stream_retire(stream);
        return true;
    }
    PyObject *feed = PyObject_GetAttrString((PyObject *)stream, "feed");
    PyObject *nothing =
        feed ? PyObject_CallFunctionObjArgs(pool->crew->state->helpers[PY_START_THREAD], feed, NULL) : NULL;
    Py_XDECREF(feed);
    Py_XDECREF(nothing);
    return nothing != NULL;
}

static void stream_give_up(py_stream *stream, py_pool *pool)
{
    bool was_fed;
    PY_LOCKED(stream);
    was_fed = stream->is_fed;
    stream->is_fed = false;
    py_stream_stop(stream, NULL);
    PY_UNLOCKED();
    if (was_fed)
        py_pool_feeder_ended(pool);
    py_stream_retire(stream);
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
    stream->is_fed = stream->source && !stream->is_simple;
    if (stream->is_fed)
        (void)atomic_fetch_add(&pool->feeders, 1);
    stream_list(stream, pool);
    PyTypeObject *type = (PyTypeObject *)pool->crew->state->helpers[is_ordered ? PY_ORDERED : PY_UNORDERED];
    py_stream_handle *handle = (py_stream_handle *)type->tp_alloc(type, 0);
    if (handle)
        handle->stream = (py_stream *)Py_NewRef((PyObject *)stream);
    if (!handle || !stream_start(stream, pool)) {
        Py_CLEAR(handle);
        stream_give_up(stream, pool);
    }
    Py_DECREF(stream);
    return (PyObject *)handle;
}
