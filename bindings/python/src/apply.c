/* SPDX-License-Identifier: MIT */
/* One call of a function: as a job of the core, whose argument is a reference to the result. */
#include "binding.h"

/* ---- running ---- */

static PyObject *call_tuple(PyObject *function, PyObject *arguments, PyObject *keywords)
{
    if (keywords)
        return PyObject_Call(function, arguments, keywords);
    return PyObject_Vectorcall(function, &PyTuple_GET_ITEM(arguments, 0), (size_t)PyTuple_GET_SIZE(arguments), NULL);
}

/* As func(*arguments, **keywords) would: arguments may be any iterable, keywords any mapping. */
static PyObject *call_any(PyObject *function, PyObject *arguments, PyObject *keywords)
{
    PyObject *tuple = PySequence_Tuple(arguments), *dict = NULL, *value = NULL;
    if (tuple && keywords) {
        dict = PyDict_New();
        if (!dict || PyDict_Update(dict, keywords) < 0)
            Py_CLEAR(tuple);
    }
    if (tuple)
        value = call_tuple(function, tuple, dict);
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    return value;
}

PyObject *py_call(PyObject *function, PyObject *arguments, PyObject *keywords)
{
    if (PyTuple_CheckExact(arguments) && (!keywords || PyDict_CheckExact(keywords)))
        return call_tuple(function, arguments, keywords);
    return call_any(function, arguments, keywords);
}

static PyObject *result_call(py_result *result)
{
    PyObject *context = result->context;
    if (context && PyContext_Enter(context) < 0)
        return NULL;
    PyObject *value = py_call(result->function, result->arguments, result->keywords);
    if (context && PyContext_Exit(context) < 0)
        Py_CLEAR(value);
    return value;
}

static void result_run(py_result *result)
{
    PyObject *value = result_call(result);
    bool has_failed = !value;
    if (has_failed)
        value = py_fetch_exception();
    if (!result->callback && !result->error_callback) {
        py_result_settle(result, PY_FINISHED, value, has_failed);
        return;
    }
    result->value = value; /* until its callback's turn */
    result->has_failed = has_failed;
    (void)atomic_fetch_add(&result->state, PY_STORED - PY_RUNNING);
}

/* ---- as jobs of the core ---- */

static int job_run(const void *arg, void *ret_value, void *context)
{
    (void)ret_value;
    (void)context;
    py_result *result = *(py_result *const *)arg;
    bool taken;
    if (!py_borrow(&taken) || !py_result_claim(result))
        return 0;
    result_run(result);
    py_yield_now_and_then();
    return 0;
}

/* Once for each job, whether it ran or not. */
static void job_drop(void *arg, void *context)
{
    (void)context;
    py_result *result = *(py_result **)arg;
    bool taken;
    if (!py_borrow(&taken))
        return;
    if (py_phase(result) == PY_PENDING)
        py_result_end_unrun(result);
    Py_DECREF(result);
    py_return(taken);
}

/* On the lane of callbacks, one at a time. */
static void job_done(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    py_result *result = user;
    bool taken;
    if (!py_borrow(&taken))
        return;
    if (py_phase(result) == PY_STORED) {
        PyObject *value = result->value;
        result->value = NULL;
        py_result_tell(result, value, result->has_failed);
    }
    Py_DECREF(result);
    py_return(taken);
}

static const crew_job job_apply = {job_run, sizeof(py_result *), 0, "task", job_drop, NULL};

/* ---- submitting ---- */

bool py_submit_failed(py_result *result, crew_status status)
{
    py_crew *crew = result->pool->crew;
    bool is_broken = crew->broken != NULL;
    py_place_give(result);
    if (is_broken)
        py_result_end_unrun(result);
    else
        py_raise_status(crew->state, crew, status);
    return is_broken;
}

/* Consumes nothing: the job has references of its own. False with an exception. */
bool py_submit(py_result *result, bool with_handle)
{
    py_crew *crew = result->pool->crew;
    bool is_told = result->callback || result->error_callback;
    crew_call call = {.struct_size = sizeof call};
    if (!py_place_take(result))
        return false;
    if (is_told) {
        call.on_done = job_done;
        call.user = result;
        call.flags = CREW_READY_AFTER_DONE;
        Py_INCREF(result);
    }
    Py_INCREF(result);
    crew_status status = crew_apply_async(crew->pool, &job_apply, &result, with_handle ? &result->handle : NULL, &call);
    if (status == CREW_OK)
        return true;
    Py_DECREF(result);
    if (is_told)
        Py_DECREF(result);
    return py_submit_failed(result, status);
}

/* ---- waiting for it at once ---- */

/* Handed over without the GIL, so that the worker need not wait for it. */
static crew_status apply_outside(py_result *result)
{
    py_crew *crew = result->pool->crew;
    Py_INCREF(result);
    py_release();
    crew_status status = crew_apply_async(crew->pool, &job_apply, &result, NULL, NULL);
    if (status == CREW_OK)
        py_look(&result->state, PY_PHASE, PY_FINISHED, &crew->attached);
    py_take();
    if (status != CREW_OK)
        Py_DECREF(result);
    return status;
}

static bool apply_start(py_result *result)
{
    if (py_is_worker())
        return py_submit(result, true);
    if (!py_place_take(result))
        return false;
    py_pool *pool = (py_pool *)Py_NewRef((PyObject *)result->pool); /* the result may be done by then */
    crew_status status = apply_outside(result);
    bool goes_on = status == CREW_OK || py_submit_failed(result, status);
    Py_DECREF(pool);
    return goes_on;
}

PyObject *py_apply(py_result *result)
{
    if (!apply_start(result) || py_result_wait(result, PY_FOREVER) < 0)
        return NULL;
    return py_result_take(result);
}
