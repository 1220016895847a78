/* SPDX-License-Identifier: MIT */
/* Pools as objects: the methods of ThreadPool and ThreadPoolExecutor that are worth being quick; the rest is Python. */
#include "stream.h"

/* ---- what each call checks ---- */

static void raise_not_running(py_pool *pool)
{
    bool is_executor = pool->crew && pool->crew->is_executor;
    if (!is_executor)
        PyErr_SetString(PyExc_ValueError, "Pool not running");
    else if (pool->crew->state->is_shutting_down)
        PyErr_SetString(PyExc_RuntimeError, "cannot schedule new futures after interpreter shutdown");
    else
        PyErr_SetString(PyExc_RuntimeError, "cannot schedule new futures after shutdown");
}

bool py_pool_may_submit(py_pool *pool)
{
    py_crew *crew = pool->crew;
    if (crew && pool->state == PY_RUN && !crew->broken && !(crew->waits_at_exit && crew->state->is_shutting_down))
        return true;
    if (crew && crew->broken && pool->state == PY_RUN) {
        PyObject *error = py_broken_error(crew);
        py_raise(error);
        Py_DECREF(error);
    } else {
        raise_not_running(pool);
    }
    return false;
}

PyObject *py_current_context(py_pool *pool)
{
    PyObject *context = pool->inherits_context ? PyContext_CopyCurrent() : NULL;
    if (!context)
        PyErr_Clear();
    return context;
}

static PyObject *none_is_null(PyObject *object)
{
    return object == Py_None ? NULL : object;
}

/* ---- apply ---- */

/* What is called, with arguments and keywords as they came: they are looked at where the task runs. */
static py_result *result_for(py_pool *pool, enum py_helper kind, PyObject *function, PyObject *arguments,
                             PyObject *keywords)
{
    py_result *result = py_result_new(pool, kind);
    if (!result)
        return NULL;
    bool is_empty = keywords && PyDict_CheckExact(keywords) && PyDict_GET_SIZE(keywords) == 0;
    result->function = Py_NewRef(function);
    result->arguments = Py_NewRef(arguments ? arguments : pool->crew->state->empty_tuple);
    result->keywords = is_empty ? NULL : Py_XNewRef(keywords);
    result->context = py_current_context(pool);
    return result;
}

static const py_signature apply_signature = {"apply", 3, 1, {"func", "args", "kwds"}};
static const py_signature apply_async_signature = {
    "apply_async", 5, 1, {"func", "args", "kwds", "callback", "error_callback"}};

static PyObject *pool_apply(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    py_pool *pool = (py_pool *)self;
    PyObject *found[3];
    if (!py_arguments(&apply_signature, given, count, keywords, found) || !py_pool_may_submit(pool))
        return NULL;
    py_result *result = result_for(pool, PY_ASYNC_RESULT, found[0], found[1], found[2]);
    PyObject *value = result ? py_apply(result) : NULL;
    Py_XDECREF(result);
    return value;
}

static PyObject *pool_apply_async(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    py_pool *pool = (py_pool *)self;
    PyObject *found[5];
    if (!py_arguments(&apply_async_signature, given, count, keywords, found) || !py_pool_may_submit(pool))
        return NULL;
    py_result *result = result_for(pool, PY_ASYNC_RESULT, found[0], found[1], found[2]);
    if (!result)
        return NULL;
    result->callback = Py_XNewRef(found[3] ? none_is_null(found[3]) : NULL);
    result->error_callback = Py_XNewRef(found[4] ? none_is_null(found[4]) : NULL);
    if (!py_submit(result, true))
        Py_CLEAR(result);
    return (PyObject *)result;
}

static PyObject *dict_of(PyObject *const *values, PyObject *names)
{
    PyObject *dict = PyDict_New();
    for (Py_ssize_t i = 0; dict && i < PyTuple_GET_SIZE(names); i++)
        if (PyDict_SetItem(dict, PyTuple_GET_ITEM(names, i), values[i]) < 0)
            Py_CLEAR(dict);
    return dict;
}

static PyObject *tuple_of(PyObject *const *values, Py_ssize_t count)
{
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple && i < count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(values[i]));
    return tuple;
}

static PyObject *pool_submit(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *names)
{
    py_pool *pool = (py_pool *)self;
    if (count < 1)
        return PyErr_Format(PyExc_TypeError, "submit() missing 1 required positional argument: 'fn'");
    if (!py_pool_may_submit(pool))
        return NULL;
    PyObject *keywords = names && PyTuple_GET_SIZE(names) > 0 ? dict_of(given + count, names) : NULL;
    PyObject *arguments = count > 1 ? tuple_of(given + 1, count - 1) : NULL;
    py_result *result = PyErr_Occurred() ? NULL : result_for(pool, PY_FUTURE, given[0], arguments, keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    if (result && !py_submit(result, true))
        Py_CLEAR(result);
    return (PyObject *)result;
}

/* ---- map ---- */

static const py_signature map_signature = {"map", 3, 2, {"func", "iterable", "chunksize"}};
static const py_signature map_async_signature = {
    "map_async", 5, 2, {"func", "iterable", "chunksize", "callback", "error_callback"}};

static PyObject *map_async(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords, bool is_star)
{
    PyObject *found[5];
    if (!py_arguments(&map_async_signature, given, count, keywords, found) || !py_pool_may_submit((py_pool *)self))
        return NULL;
    PyObject *callback = found[3] ? none_is_null(found[3]) : NULL;
    PyObject *error_callback = found[4] ? none_is_null(found[4]) : NULL;
    return py_map_start((py_pool *)self, found[0], found[1], found[2], callback, error_callback, is_star);
}

static PyObject *map(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords, bool is_star)
{
    PyObject *found[3];
    if (!py_arguments(&map_signature, given, count, keywords, found) || !py_pool_may_submit((py_pool *)self))
        return NULL;
    py_result *result = (py_result *)py_map_start((py_pool *)self, found[0], found[1], found[2], NULL, NULL, is_star);
    PyObject *value = result && py_result_wait(result, PY_FOREVER) >= 0 ? py_result_take(result) : NULL;
    Py_XDECREF(result);
    return value;
}

static PyObject *pool_map(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    return map(self, given, count, keywords, false);
}

static PyObject *pool_starmap(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    return map(self, given, count, keywords, true);
}

static PyObject *pool_map_async(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    return map_async(self, given, count, keywords, false);
}

static PyObject *pool_starmap_async(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    return map_async(self, given, count, keywords, true);
}

/* ---- imap ---- */

static const py_signature imap_signature = {"imap", 4, 2, {"func", "iterable", "chunksize", "buffersize"}};

static bool buffer_size_read(PyObject *given, size_t *ret_size)
{
    *ret_size = 0;
    if (!given || given == Py_None)
        return true;
    if (!PyLong_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "buffersize must be an integer or None");
        return false;
    }
    Py_ssize_t size = PyNumber_AsSsize_t(given, NULL);
    if (size < 1)
        PyErr_SetString(PyExc_ValueError, "buffersize must be None or > 0");
    *ret_size = size < 1 ? 0 : (size_t)size;
    return size >= 1;
}

static bool chunk_size_read(PyObject *given, size_t *ret_size)
{
    Py_ssize_t size = given ? PyNumber_AsSsize_t(given, PyExc_OverflowError) : 1;
    if (size == -1 && PyErr_Occurred())
        return false;
    if (size < 1)
        PyErr_Format(PyExc_ValueError, "Chunksize must be 1+, not %zd", size);
    *ret_size = size < 1 ? 1 : (size_t)size;
    return size >= 1;
}

static PyObject *imap(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords, bool is_ordered)
{
    PyObject *found[4];
    size_t chunk_size, buffer_size;
    if (!py_arguments(&imap_signature, given, count, keywords, found) || !py_pool_may_submit((py_pool *)self) ||
        !chunk_size_read(found[2], &chunk_size) || !buffer_size_read(found[3], &buffer_size))
        return NULL;
    size_t window = buffer_size > SIZE_MAX / chunk_size ? 0 : buffer_size * chunk_size;
    return py_stream_start((py_pool *)self, found[0], found[1], chunk_size, window, is_ordered);
}

static PyObject *pool_imap(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    return imap(self, given, count, keywords, true);
}

static PyObject *pool_imap_unordered(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    return imap(self, given, count, keywords, false);
}

/* ---- the life of a pool ---- */

/* Streams without a limit go on to their end, and the core stays open for those that a thread feeds; from the others nothing more is
 * pulled. */
static void pool_close_streams(py_pool *pool)
{
    for (py_stream *stream = py_stream_after(pool, NULL), *next; stream; stream = next) {
        PY_LOCKED(stream);
        if (stream->window > 0)
            py_stream_end(stream, NULL);
        PY_UNLOCKED();
        next = py_stream_after(pool, stream);
        Py_DECREF(stream);
    }
}

void py_pool_feeder_ended(py_pool *pool)
{
    if (atomic_fetch_sub(&pool->feeders, 1) == 1 && pool->state != PY_RUN)
        (void)crew_pool_close(pool->crew->pool);
    py_wake_all(&pool->feeders);
}

static void close_pool(py_pool *pool)
{
    unsigned running = PY_RUN;
    if (!pool->crew || !atomic_compare_exchange_strong(&pool->state, &running, PY_CLOSE))
        return;
    pool_close_streams(pool);
    if (atomic_load(&pool->feeders) == 0)
        (void)crew_pool_close(pool->crew->pool);
    py_place_tell(pool);
}

static PyObject *pool_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    close_pool((py_pool *)self);
    Py_RETURN_NONE;
}

static PyObject *terminated_error(py_pool *pool)
{
    return PyObject_CallFunction(pool->crew->state->helpers[PY_TERMINATED_ERROR], "s",
                                 "the pool was terminated before all items could run");
}

/* Ends of streams may run code of Python, which may change the list. */
static void pool_stop_streams(py_pool *pool)
{
    for (py_stream *stream; (stream = py_stream_after(pool, NULL));) {
        PyObject *error = terminated_error(pool);
        py_stream_unlist(stream, pool);
        PY_LOCKED(stream);
        py_stream_stop(stream, error);
        PY_UNLOCKED();
        py_stream_retire(stream);
        Py_DECREF(stream);
    }
}

void py_pool_terminate(py_pool *pool)
{
    pool->state = PY_TERMINATE;
    if (!pool->crew || py_crew_is_forked(pool->crew))
        return;
    Py_INCREF(pool);
    py_place_tell(pool);
    pool_stop_streams(pool);
    (void)crew_pool_terminate(pool->crew->pool);
    py_maps_cut(pool);
    Py_DECREF(pool);
}

static PyObject *pool_terminate(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_pool_terminate((py_pool *)self);
    Py_RETURN_NONE;
}

/* 1: the core is closed, or terminated; 0: too late; -1: exception. */
static int pool_wait_for_feeders(py_pool *pool, int64_t deadline_ns)
{
    unsigned count;
    while (pool->state == PY_CLOSE && (count = atomic_load(&pool->feeders)) > 0) {
        if (deadline_ns != PY_FOREVER && py_now_ns() >= deadline_ns)
            return 0;
        if (!py_wait_change(&pool->feeders, count, deadline_ns))
            return -1;
    }
    return 1;
}

int py_pool_drain(py_pool *pool)
{
    Py_INCREF(pool);
    close_pool(pool);
    int verdict = pool_wait_for_feeders(pool, PY_FOREVER);
    Py_DECREF(pool);
    return verdict;
}

static const py_signature join_signature = {"join", 1, 0, {"timeout"}};

static PyObject *pool_join(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    py_pool *pool = (py_pool *)self;
    PyObject *timeout[1];
    int64_t deadline_ns;
    if (!py_arguments(&join_signature, given, count, keywords, timeout) || !py_deadline(timeout[0], &deadline_ns))
        return NULL;
    if (!pool->crew || pool->state == PY_RUN)
        return PyErr_Format(PyExc_ValueError, pool->crew ? "Pool is still running" : "Pool not running");
    int verdict = pool_wait_for_feeders(pool, deadline_ns);
    if (verdict > 0)
        verdict = py_crew_join(pool->crew, deadline_ns);
    return verdict < 0 ? NULL : PyBool_FromLong(verdict);
}

static PyObject *pool_phase(PyObject *self, PyObject *unused)
{
    (void)unused;
    static const char *const names[] = {[PY_RUN] = "RUN", [PY_CLOSE] = "CLOSE", [PY_TERMINATE] = "TERMINATE"};
    return PyUnicode_FromString(names[((py_pool *)self)->state]);
}

/* ---- looking ---- */

/* (threads so far, tasks queued, tasks running, why it broke or None) */
static PyObject *pool_look(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_crew *crew = ((py_pool *)self)->crew;
    crew_pool_info info = {.struct_size = sizeof info};
    if (!crew)
        return PyErr_Format(PyExc_ValueError, "Pool not running");
    (void)crew_pool_query(crew->pool, &info);
    PyObject *broken = crew->broken;
    return Py_BuildValue("(OnnO)", crew->threads, (Py_ssize_t)info.queued, (Py_ssize_t)info.running,
                         broken ? broken : Py_None);
}

/* ---- the object ---- */

static bool pool_make_crew(py_pool *pool, py_state *state, py_crew_options *options, PyObject *initargs)
{
    options->initargs = PySequence_Tuple(initargs);
    if (!options->initargs)
        return false;
    options->is_executor = PyObject_TypeCheck((PyObject *)pool, state->executor_type);
    options->owner = PyWeakref_NewRef((PyObject *)pool, NULL);
    pool->crew = options->owner ? py_crew_new(state, options) : NULL;
    Py_XDECREF(options->owner);
    Py_DECREF(options->initargs);
    return pool->crew != NULL;
}

/* open(workers, initializer, initargs, name, thread_name, stack_size, inherit_context, wait_at_exit, queue_max, full_fails, on_unhandled) */
static PyObject *pool_open(PyObject *self, PyObject *args)
{
    py_pool *pool = (py_pool *)self;
    py_state *state = py_state_of(self);
    py_crew_options options = {0};
    int inherits_context, waits_at_exit, full_fails;
    Py_ssize_t stack_size, queue_max;
    PyObject *initargs;
    if (!state || !PyArg_ParseTuple(args, "IOOUsnppnpO", &options.workers, &options.initializer, &initargs,
                                    &options.name, &options.thread_name, &stack_size, &inherits_context, &waits_at_exit,
                                    &queue_max, &full_fails, &options.on_unhandled))
        return NULL;
    if (pool->crew)
        return PyErr_Format(PyExc_RuntimeError, "a pool is initialised once");
    options.initializer = none_is_null(options.initializer);
    options.on_unhandled = none_is_null(options.on_unhandled);
    options.stack_size = (size_t)stack_size;
    options.waits_at_exit = waits_at_exit != 0;
    pool->inherits_context = inherits_context != 0;
    pool->queue_max = (size_t)queue_max;
    pool->full_fails = full_fails != 0;
    if (!pool_make_crew(pool, state, &options, initargs))
        return NULL;
    Py_RETURN_NONE;
}

static int pool_traverse(PyObject *self, visitproc visit, void *arg)
{
    py_crew *crew = ((py_pool *)self)->crew;
    Py_VISIT(Py_TYPE(self));
    if (!crew)
        return 0;
    PyObject *broken = crew->broken;
    Py_VISIT(crew->initializer);
    Py_VISIT(crew->initargs);
    Py_VISIT(crew->on_unhandled);
    Py_VISIT(broken);
    return 0;
}

static int pool_clear(PyObject *self)
{
    py_pool *pool = (py_pool *)self;
    py_crew *crew = pool->crew;
    pool->crew = NULL;
    if (crew)
        py_crew_abandon(crew);
    return 0;
}

static void pool_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)pool_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef pool_methods[] = {
    {"apply", PY_FAST(pool_apply),
     "apply(func, args=(), kwds={})\n--\n\nCalls func(*args, **kwds) on a worker, and waits."},
    {"apply_async", PY_FAST(pool_apply_async),
     "apply_async(func, args=(), kwds={}, callback=None, error_callback=None)\n--\n\n"
     "The same without waiting: returns an AsyncResult, which is a future, too."},
    {"map", PY_FAST(pool_map),
     "map(func, iterable, chunksize=None)\n--\n\nThe list of func(item) for all items, in order."},
    {"map_async", PY_FAST(pool_map_async),
     "map_async(func, iterable, chunksize=None, callback=None, error_callback=None)\n--\n\nThe same without waiting."},
    {"starmap", PY_FAST(pool_starmap), "starmap(func, iterable, chunksize=None)\n--\n\nAs map, with func(*item)."},
    {"starmap_async", PY_FAST(pool_starmap_async),
     "starmap_async(func, iterable, chunksize=None, callback=None, error_callback=None)\n--\n\nThe same without waiting."},
    {"imap", PY_FAST(pool_imap),
     "imap(func, iterable, chunksize=1, buffersize=None)\n--\n\n"
     "An iterator over func(item), in order; with a buffersize no more than that many chunks ahead of its consumer."},
    {"imap_unordered", PY_FAST(pool_imap_unordered),
     "imap_unordered(func, iterable, chunksize=1, buffersize=None)\n--\n\nAs imap, in the order of completion."},
    {"close", pool_close, METH_NOARGS, "close()\n--\n\nTakes no more work; what is queued will run."},
    {"terminate", pool_terminate, METH_NOARGS,
     "terminate()\n--\n\nTakes no more work, and ends what has not started: its results raise TerminatedError."},
    {"join", PY_FAST(pool_join),
     "join(timeout=None)\n--\n\nWaits, after close() or terminate(), until all threads have ended. False: not in time."},
    {"_open", pool_open, METH_VARARGS, NULL},
    {"_phase", pool_phase, METH_NOARGS, NULL},
    {"_look", pool_look, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef executor_methods[] = {
    {"submit", PY_FAST(pool_submit), "submit(fn, /, *args, **kwargs)\n--\n\nCalls fn on a worker; returns a Future."},
    {"_close", pool_close, METH_NOARGS, NULL},
    {"_terminate", pool_terminate, METH_NOARGS, NULL},
    {"_join", PY_FAST(pool_join), NULL},
    {"_open", pool_open, METH_VARARGS, NULL},
    {"_phase", pool_phase, METH_NOARGS, NULL},
    {"_look", pool_look, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, "What ThreadPool is made of."},
    {Py_tp_dealloc, PY_SLOT(pool_dealloc)},
    {Py_tp_traverse, PY_SLOT(pool_traverse)},
    {Py_tp_clear, PY_SLOT(pool_clear)},
    {Py_tp_methods, pool_methods},
    {0, NULL},
};

static PyType_Slot executor_slots[] = {
    {Py_tp_doc, "What ThreadPoolExecutor is made of."},
    {Py_tp_dealloc, PY_SLOT(pool_dealloc)},
    {Py_tp_traverse, PY_SLOT(pool_traverse)},
    {Py_tp_clear, PY_SLOT(pool_clear)},
    {Py_tp_methods, executor_methods},
    {0, NULL},
};

PyType_Spec py_pool_spec = {
    .name = "crewpool._core.Pool",
    .basicsize = sizeof(py_pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pool_slots,
};

PyType_Spec py_executor_spec = {
    .name = "crewpool._core.Executor",
    .basicsize = sizeof(py_pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = executor_slots,
};
