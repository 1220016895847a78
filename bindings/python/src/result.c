/* SPDX-License-Identifier: MIT */
/* A result: AsyncResult and Future in one. What only concurrent.futures' own functions need (a condition, lists) is made when
 * they ask for it. */
#include "binding.h"

#include <stddef.h>
#include <structmember.h>

/* ---- exceptions ---- */

PyObject *py_fetch_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback)
        (void)PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void py_raise(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
}

/* ---- making one ---- */

py_result *py_result_new(py_pool *pool, enum py_helper kind)
{
    PyTypeObject *type = (PyTypeObject *)pool->crew->state->helpers[kind];
    py_result *result = (py_result *)type->tp_alloc(type, 0);
    if (result)
        result->pool = (py_pool *)Py_NewRef((PyObject *)pool);
    return result;
}

py_pool *py_result_pool(py_result *result)
{
    PyObject *pool;
    PY_LOCKED(result);
    pool = Py_XNewRef((PyObject *)result->pool);
    PY_UNLOCKED();
    return (py_pool *)pool;
}

static void result_clear_work(py_result *result)
{
    Py_CLEAR(result->function);
    Py_CLEAR(result->arguments);
    Py_CLEAR(result->keywords);
    Py_CLEAR(result->context);
}

/* Nobody will see any more that it failed. */
static void result_tell_unhandled(py_result *result)
{
    PyObject *hook = result->on_unhandled, *type, *value, *traceback;
    result->on_unhandled = NULL;
    if (!hook)
        return;
    PyErr_Fetch(&type, &value, &traceback); /* of whoever lets go of it */
    PyObject *nothing =
        PY_IS_FINALIZING() ? Py_NewRef(Py_None) : PyObject_CallFunctionObjArgs(hook, result->value, NULL);
    if (!nothing)
        PyErr_WriteUnraisable(hook);
    Py_XDECREF(nothing);
    Py_DECREF(hook);
    PyErr_Restore(type, value, traceback);
}

static int result_clear(PyObject *self)
{
    py_result *result = (py_result *)self;
    result_tell_unhandled(result);
    result_clear_work(result);
    Py_CLEAR(result->callback);
    Py_CLEAR(result->error_callback);
    Py_CLEAR(result->value);
    Py_CLEAR(result->done_callbacks);
    Py_CLEAR(result->condition);
    Py_CLEAR(result->waiters);
    Py_CLEAR(result->pool);
    return 0;
}

static int result_traverse(PyObject *self, visitproc visit, void *arg)
{
    py_result *result = (py_result *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(result->pool);
    Py_VISIT(result->function);
    Py_VISIT(result->arguments);
    Py_VISIT(result->keywords);
    Py_VISIT(result->context);
    Py_VISIT(result->callback);
    Py_VISIT(result->error_callback);
    Py_VISIT(result->value);
    Py_VISIT(result->on_unhandled);
    Py_VISIT(result->done_callbacks);
    Py_VISIT(result->condition);
    Py_VISIT(result->waiters);
    return result->map ? py_map_visit(result->map, visit, arg) : 0;
}

static void result_dealloc(PyObject *self)
{
    py_result *result = (py_result *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)result_clear(self);
    crew_result_destroy(result->handle);
    crew_result_destroy(result->told);
    if (result->map)
        py_map_free(result->map);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- ending ---- */

bool py_result_claim(py_result *result)
{
    unsigned state = atomic_load(&result->state);
    do {
        if ((state & PY_PHASE) != PY_PENDING)
            return false;
    } while (!atomic_compare_exchange_weak(&result->state, &state, state | PY_RUNNING));
    py_place_give(result);
    return true;
}

/* False: it has been observed meanwhile, or ended. */
static bool result_publish(py_result *result, enum py_phase phase, bool may_be_observed)
{
    unsigned state = atomic_load(&result->state), next;
    do {
        if ((state & PY_PHASE) >= PY_FINISHED || ((state & PY_OBSERVED) && !may_be_observed))
            return false;
        next = (state & PY_OBSERVED) | phase;
    } while (!atomic_compare_exchange_weak(&result->state, &state, next));
    if (state & PY_WAITERS)
        py_wake_all(&result->state);
    return true;
}

static void report(PyObject *nothing, py_result *result)
{
    if (!nothing)
        PyErr_WriteUnraisable((PyObject *)result);
    Py_XDECREF(nothing);
}

static void result_notify(py_result *result)
{
    PyObject *notify = result->pool->crew->state->helpers[PY_NOTIFY], *waiters;
    PY_LOCKED(result);
    waiters = Py_NewRef(result->waiters ? result->waiters : Py_None);
    PY_UNLOCKED();
    report(PyObject_CallFunctionObjArgs(notify, result, result->condition, waiters, NULL), result);
    Py_DECREF(waiters);
}

/* As concurrent.futures does it: with the condition held. */
static void result_publish_observed(py_result *result, enum py_phase phase)
{
    report(PyObject_CallMethod(result->condition, "acquire", NULL), result);
    if (result_publish(result, phase, true))
        result_notify(result);
    report(PyObject_CallMethod(result->condition, "release", NULL), result);
}

static void callback_call(py_state *state, py_result *result, PyObject *callback)
{
    PyObject *nothing = PyObject_CallFunctionObjArgs(callback, result, NULL);
    if (nothing) {
        Py_DECREF(nothing);
        return;
    }
    PyObject *exception = py_fetch_exception();
    report(PyObject_CallFunctionObjArgs(state->helpers[PY_LOG_CALLBACK], result, exception, NULL), result);
    Py_XDECREF(exception);
}

/* It has ended: who adds one from now on sees that, and who has not yet has added it. */
static void result_call_done_callbacks(py_result *result, py_state *state)
{
    PyObject *callbacks, *callback;
    PY_LOCKED(result);
    callbacks = result->done_callbacks;
    result->done_callbacks = NULL;
    PY_UNLOCKED();
    for (Py_ssize_t i = 0; callbacks && i < PyList_GET_SIZE(callbacks); i++) {
        callback = PyList_GetItemRef(callbacks, i);
        if (callback)
            callback_call(state, result, callback);
        else
            PyErr_Clear(); /* somebody has changed the list */
        Py_XDECREF(callback);
    }
    Py_XDECREF(callbacks);
}

void py_result_settle(py_result *result, enum py_phase phase, PyObject *value, bool has_failed)
{
    py_pool *pool = result->pool;
    py_state *state = pool->crew->state;
    result->value = value;
    result->has_failed = has_failed;
    if (has_failed && phase == PY_FINISHED && !result->error_callback)
        result->on_unhandled = Py_XNewRef(pool->crew->on_unhandled);
    result_clear_work(result);
    Py_CLEAR(result->callback);
    Py_CLEAR(result->error_callback);
    if (!result_publish(result, phase, false))
        result_publish_observed(result, phase);
    result_call_done_callbacks(result, state);
    PY_LOCKED(result);
    result->pool = NULL;
    PY_UNLOCKED();
    Py_DECREF(pool);
}

static void result_end_claimed(py_result *result)
{
    py_crew *crew = result->pool->crew;
    PyObject *error = NULL;
    if (crew->broken) {
        Py_CLEAR(result->error_callback); /* which is told of tasks that ran */
        py_result_settle(result, PY_FINISHED, py_broken_error(crew), true);
        return;
    }
    if (!crew->is_executor)
        error = PyObject_CallFunction(crew->state->helpers[PY_TERMINATED_ERROR], "s",
                                      "the pool was terminated before this could run");
    if (!error)
        PyErr_Clear();
    py_result_settle(result, PY_CANCELLED, error, true);
}

void py_result_end_unrun(py_result *result)
{
    if (py_result_claim(result))
        result_end_claimed(result);
}

/* The callback's exception becomes the outcome; one of the error callback keeps the first as the end of its contexts. */
static PyObject *outcome_replace(PyObject *value, bool has_failed)
{
    PyObject *exception = py_fetch_exception(), *last = exception, *context;
    if (!has_failed) {
        Py_DECREF(value);
        return exception;
    }
    while (last != value && (context = PyException_GetContext(last))) {
        Py_DECREF(context); /* `last` holds it */
        last = context;
    }
    if (last != value)
        PyException_SetContext(last, value);
    else
        Py_DECREF(value);
    return exception;
}

void py_result_tell(py_result *result, PyObject *value, bool has_failed)
{
    PyObject *callback = has_failed ? result->error_callback : result->callback;
    int is_wanted = callback ? PyObject_IsTrue(callback) : 0;
    PyObject *nothing = is_wanted > 0 ? PyObject_CallFunctionObjArgs(callback, value, NULL) : NULL;
    Py_XDECREF(nothing);
    if (is_wanted < 0 || (is_wanted && !nothing)) {
        if (!has_failed)
            Py_CLEAR(result->error_callback); /* which is told of what the task raised */
        value = outcome_replace(value, has_failed);
        has_failed = true;
    }
    py_result_settle(result, PY_FINISHED, value, has_failed);
}

/* ---- waiting ---- */

/* Inside a task: the core knows of this wait, and lets another thread stand in, or runs what is awaited here. */
static bool result_wait_inside(py_result *result, int64_t deadline_ns)
{
    py_pool *pool = py_result_pool(result);
    crew_result *told = result->told;
    if (!pool)
        return true;
    py_release();
    crew_status status = crew_result_wait(told ? told : result->handle, (crew_deadline){deadline_ns});
    py_retake();
    bool is_over = status == CREW_OK || status == CREW_TIMEOUT;
    if (!is_over)
        py_raise_status(pool->crew->state, pool->crew, status);
    Py_DECREF(pool);
    return is_over;
}

static bool result_wait_outside(py_result *result, int64_t deadline_ns)
{
    py_pool *pool = py_result_pool(result); /* whose crew is looked at */
    if (!pool)
        return true;
    bool is_forked = py_crew_is_forked(pool->crew);
    bool goes_on = !is_forked &&
                   py_wait_state(&result->state, PY_PHASE, PY_FINISHED, PY_WAITERS, deadline_ns, &pool->crew->attached);
    if (is_forked)
        py_raise_status(pool->crew->state, pool->crew, CREW_FORKED);
    Py_DECREF(pool);
    return goes_on;
}

int py_result_wait(py_result *result, int64_t deadline_ns)
{
    bool is_inside = result->handle && py_is_worker() && crew_current_pool();
    crew_result *told = NULL;
    while (!py_is_done(result)) {
        if (deadline_ns != PY_FOREVER && (deadline_ns == 0 || py_now_ns() >= deadline_ns))
            return 0;
        if (!(is_inside ? result_wait_inside(result, deadline_ns) : result_wait_outside(result, deadline_ns)))
            return -1;
        is_inside = is_inside && result->told != told; /* else what is left is the last step of who ends it */
        told = result->told;
    }
    return 1;
}

/* False with an exception. */
static bool result_await(py_result *result, PyObject *timeout, enum py_helper too_late)
{
    int64_t deadline_ns;
    if (py_is_done(result))
        return true;
    if (!py_deadline(timeout, &deadline_ns))
        return false;
    py_state *state = py_state_of((PyObject *)result);
    int verdict = state ? py_result_wait(result, deadline_ns) : -1;
    if (verdict == 0)
        PyErr_SetNone(state->helpers[too_late]);
    return verdict > 0;
}

static void raise_cancelled(py_result *result)
{
    py_state *state = py_state_of((PyObject *)result);
    if (result->value)
        py_raise(result->value);
    else if (state)
        PyErr_SetNone(state->helpers[PY_CANCELLED_ERROR]);
}

/* Somebody sees how it has ended. */
static void result_note_seen(py_result *result)
{
    PyObject *hook;
    PY_LOCKED(result);
    hook = result->on_unhandled;
    result->on_unhandled = NULL;
    PY_UNLOCKED();
    Py_XDECREF(hook);
}

PyObject *py_result_take(py_result *result)
{
    result_note_seen(result);
    if (py_phase(result) == PY_CANCELLED)
        raise_cancelled(result);
    else if (result->has_failed)
        py_raise(result->value);
    else
        return Py_NewRef(result->value);
    return NULL;
}

/* ---- the methods of AsyncResult ---- */

static const py_signature get_signature = {"get", 1, 0, {"timeout"}};
static const py_signature wait_signature = {"wait", 1, 0, {"timeout"}};
static const py_signature result_signature = {"result", 1, 0, {"timeout"}};
static const py_signature exception_signature = {"exception", 1, 0, {"timeout"}};

static PyObject *result_get(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    PyObject *timeout[1] = {NULL};
    if ((count || keywords) && !py_arguments(&get_signature, given, count, keywords, timeout))
        return NULL;
    if (!result_await((py_result *)self, timeout[0], PY_POOL_TIMEOUT))
        return NULL;
    return py_result_take((py_result *)self);
}

static PyObject *result_wait(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    PyObject *timeout[1];
    int64_t deadline_ns;
    if (!py_arguments(&wait_signature, given, count, keywords, timeout) || !py_deadline(timeout[0], &deadline_ns) ||
        py_result_wait((py_result *)self, deadline_ns) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *result_ready(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(py_is_done((py_result *)self));
}

static PyObject *result_successful(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_result *result = (py_result *)self;
    if (!py_is_done(result))
        return PyErr_Format(PyExc_ValueError, "%R not ready", self);
    result_note_seen(result);
    return PyBool_FromLong(!result->has_failed);
}

/* ---- the methods of Future ---- */

static PyObject *result_result(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    PyObject *timeout[1] = {NULL};
    if ((count || keywords) && !py_arguments(&result_signature, given, count, keywords, timeout))
        return NULL;
    if (!result_await((py_result *)self, timeout[0], PY_FUTURE_TIMEOUT))
        return NULL;
    return py_result_take((py_result *)self);
}

static PyObject *result_exception(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    PyObject *timeout[1];
    py_result *result = (py_result *)self;
    if (!py_arguments(&exception_signature, given, count, keywords, timeout) ||
        !result_await(result, timeout[0], PY_FUTURE_TIMEOUT))
        return NULL;
    if (py_phase(result) == PY_CANCELLED)
        return py_result_take(result);
    result_note_seen(result);
    return Py_NewRef(result->has_failed ? result->value : Py_None);
}

static PyObject *result_cancel(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_result *result = (py_result *)self;
    if (py_phase(result) == PY_CANCELLED)
        Py_RETURN_TRUE;
    if (!py_result_claim(result))
        Py_RETURN_FALSE;
    Py_INCREF(self);
    if (result->map)
        py_map_unlist(result);
    py_result_settle(result, PY_CANCELLED, NULL, true);
    if (result->handle)
        (void)crew_result_cancel(result->handle);
    Py_DECREF(self);
    Py_RETURN_TRUE;
}

static PyObject *result_cancelled(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(py_phase((py_result *)self) == PY_CANCELLED);
}

static PyObject *result_running(PyObject *self, PyObject *unused)
{
    (void)unused;
    unsigned phase = py_phase((py_result *)self);
    return PyBool_FromLong(phase == PY_RUNNING || phase == PY_STORED);
}

/* 1: it will be called; 0: the result is done; -1: no memory. */
static int result_add_callback(py_result *result, PyObject *callback)
{
    int verdict = 0;
    PY_LOCKED(result);
    if (!py_is_done(result)) {
        if (!result->done_callbacks)
            result->done_callbacks = PyList_New(0);
        verdict = result->done_callbacks && PyList_Append(result->done_callbacks, callback) == 0 ? 1 : -1;
    }
    PY_UNLOCKED();
    return verdict;
}

static PyObject *result_add_done_callback(PyObject *self, PyObject *callback)
{
    py_result *result = (py_result *)self;
    py_state *state = py_state_of(self);
    int verdict = state ? result_add_callback(result, callback) : -1;
    if (verdict < 0)
        return NULL;
    if (verdict == 0)
        callback_call(state, result, callback);
    Py_RETURN_NONE;
}

/* The result is the pool's to give. */
static PyObject *result_refuse(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_state *state = py_state_of(self);
    return state ? PyErr_Format(state->helpers[PY_INVALID_STATE_ERROR], "%R gets its result from its pool", self)
                 : NULL;
}

/* ---- what is private in the originals, and read all the same ---- */

static PyObject *result_get_state(PyObject *self, void *unused)
{
    (void)unused;
    py_state *state = py_state_of(self);
    unsigned phase = py_phase((py_result *)self);
    return state ? Py_NewRef(state->state_names[phase]) : NULL;
}

/* The result's, which is `made`, which may be NULL, if it has none: a new reference, or NULL. */
static PyObject *condition_of(py_result *result, PyObject *made)
{
    PyObject *condition;
    PY_LOCKED(result);
    if (!result->condition)
        result->condition = Py_XNewRef(made);
    condition = Py_XNewRef(result->condition);
    PY_UNLOCKED();
    return condition;
}

/* From here on the result ends with the condition held. */
static PyObject *result_get_condition(PyObject *self, void *unused)
{
    (void)unused;
    py_result *result = (py_result *)self;
    PyObject *condition = condition_of(result, NULL);
    if (!condition) {
        py_state *state = py_state_of(self);
        PyObject *made = state ? PyObject_CallNoArgs(state->helpers[PY_NEW_CONDITION]) : NULL;
        if (!made)
            return NULL;
        condition = condition_of(result, made);
        Py_DECREF(made);
    }
    (void)atomic_fetch_or(&result->state, PY_OBSERVED);
    return condition;
}

static PyObject *list_of(PyObject *self, PyObject **list)
{
    PyObject *found;
    (void)self;
    PY_LOCKED(self);
    if (!*list)
        *list = PyList_New(0);
    found = Py_XNewRef(*list);
    PY_UNLOCKED();
    return found;
}

static PyObject *result_get_waiters(PyObject *self, void *unused)
{
    (void)unused;
    return list_of(self, &((py_result *)self)->waiters);
}

static PyObject *result_get_done_callbacks(PyObject *self, void *unused)
{
    (void)unused;
    return list_of(self, &((py_result *)self)->done_callbacks);
}

static PyObject *none_or(PyObject *object)
{
    return Py_NewRef(object ? object : Py_None);
}

static PyObject *result_get_result(PyObject *self, void *unused)
{
    (void)unused;
    py_result *result = (py_result *)self;
    return none_or(py_is_done(result) && !result->has_failed ? result->value : NULL);
}

static PyObject *result_get_exception(PyObject *self, void *unused)
{
    (void)unused;
    py_result *result = (py_result *)self;
    result_note_seen(result);
    return none_or(py_phase(result) == PY_FINISHED && result->has_failed ? result->value : NULL);
}

static PyObject *result_get_value(PyObject *self, void *unused)
{
    (void)unused;
    py_result *result = (py_result *)self;
    result_note_seen(result);
    return none_or(py_is_done(result) ? result->value : NULL);
}

static PyObject *result_get_success(PyObject *self, void *unused)
{
    (void)unused;
    py_result *result = (py_result *)self;
    return PyBool_FromLong(py_is_done(result) && !result->has_failed);
}

static PyObject *result_get_pool(PyObject *self, void *unused)
{
    (void)unused;
    py_pool *pool = py_result_pool((py_result *)self);
    return pool ? (PyObject *)pool : Py_NewRef(Py_None);
}

static PyMethodDef result_methods[] = {
    {"get", PY_FAST(result_get),
     "get(timeout=None)\n--\n\nWaits for the result, and returns it or raises what the task raised."},
    {"wait", PY_FAST(result_wait), "wait(timeout=None)\n--\n\nWaits until the result is ready, or the time is over."},
    {"ready", result_ready, METH_NOARGS, "ready()\n--\n\nWhether the task has ended, and its callback returned."},
    {"successful", result_successful, METH_NOARGS,
     "successful()\n--\n\nWhether the task ended without an exception. ValueError: it is not ready."},
    {"result", PY_FAST(result_result),
     "result(timeout=None)\n--\n\nAs get(); too late is concurrent.futures.TimeoutError."},
    {"exception", PY_FAST(result_exception),
     "exception(timeout=None)\n--\n\nWaits, and returns what the task raised, or None."},
    {"cancel", result_cancel, METH_NOARGS,
     "cancel()\n--\n\nTakes the task back if it has not started. True: it will never run."},
    {"cancelled", result_cancelled, METH_NOARGS, "cancelled()\n--\n\nWhether the task was cancelled."},
    {"running", result_running, METH_NOARGS, "running()\n--\n\nWhether the task has started and not ended."},
    {"done", result_ready, METH_NOARGS, "done()\n--\n\nThe same as ready()."},
    {"add_done_callback", result_add_done_callback, METH_O,
     "add_done_callback(fn)\n--\n\nCalls fn(self) when the task has ended; now, if it has."},
    {"set_result", result_refuse, METH_O, NULL},
    {"set_exception", result_refuse, METH_O, NULL},
    {"set_running_or_notify_cancel", result_refuse, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef result_properties[] = {
    {"_state", result_get_state, NULL, NULL, NULL},
    {"_condition", result_get_condition, NULL, NULL, NULL},
    {"_waiters", result_get_waiters, NULL, NULL, NULL},
    {"_done_callbacks", result_get_done_callbacks, NULL, NULL, NULL},
    {"_result", result_get_result, NULL, NULL, NULL},
    {"_exception", result_get_exception, NULL, NULL, NULL},
    {"_value", result_get_value, NULL, NULL, NULL},
    {"_success", result_get_success, NULL, NULL, NULL},
    {"_pool", result_get_pool, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot result_slots[] = {
    {Py_tp_doc, "The result of a task: an AsyncResult and a Future in one."},
    {Py_tp_new, PY_SLOT(py_refuse_new)},
    {Py_tp_dealloc, PY_SLOT(result_dealloc)},
    {Py_tp_traverse, PY_SLOT(result_traverse)},
    {Py_tp_clear, PY_SLOT(result_clear)},
    {Py_tp_methods, result_methods},
    {Py_tp_getset, result_properties},
    {0, NULL},
};

PyType_Spec py_result_spec = {
    .name = "crewpool._core.Result",
    .basicsize = sizeof(py_result),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = result_slots,
};
