/* SPDX-License-Identifier: MIT */
/* The GIL, as workers and waiters hold it, and the life of a worker's thread in Python. */
#include "binding.h"

#include <time.h>

enum { HOLD_NS_MAX = 5000000 }; /* the interpreter's own switch interval */

/* Of this thread, in whatever interpreter it is at the moment. */
static _Thread_local struct {
    PyThreadState *released; /* not NULL: py_release was called last */
    int64_t held_since_ns;   /* by the coarse clock: when py_take was called last */
    py_worker *worker;
    bool is_stranger; /* a worker's thread that Python does not know, or no more: it may only end */
} here;

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t py_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t py_coarse_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

/* ---- the GIL ---- */

void py_release(void)
{
    here.released = PyEval_SaveThread();
    if (here.worker) /* release: whoever sees it finds the GIL free */
        atomic_fetch_sub_explicit(&here.worker->crew->attached, 1, memory_order_release);
}

void py_take(void)
{
    PyThreadState *thread_state = here.released;
    if (here.worker)
        atomic_fetch_add_explicit(&here.worker->crew->attached, 1, memory_order_relaxed);
    PyEval_RestoreThread(thread_state);
    here.released = NULL;
    here.held_since_ns = py_coarse_now_ns();
}

void py_retake(void)
{
    if (here.released)
        py_take();
}

/* An interpreter that is going ends a worker's thread where its task wants the GIL back: then nobody has it here, whatever was noted. */
bool py_borrow(bool *ret_taken)
{
    *ret_taken = here.released != NULL;
    if (here.is_stranger || ((*ret_taken || here.worker) && PY_IS_FINALIZING()))
        return false;
    py_retake();
    return true;
}

void py_return(bool taken)
{
    if (taken)
        py_release();
}

void py_yield_now_and_then(void)
{
    if (py_coarse_now_ns() - here.held_since_ns < HOLD_NS_MAX)
        return;
    py_release();
    py_take();
}

bool py_is_worker(void)
{
    return here.worker != NULL;
}

/* ---- a worker's life ---- */

static PyObject *worker_name(py_crew *crew)
{
    return PyUnicode_FromFormat("%U_%u", crew->name, atomic_fetch_add(&crew->threads_begun, 1));
}

static void worker_register(py_worker *worker)
{
    py_crew *crew = worker->crew;
    worker->is_registered = true;
    PyObject *name = worker_name(crew);
    if (name)
        worker->thread = PyObject_CallFunctionObjArgs(crew->state->helpers[PY_THREAD_BEGIN], name,
                                                      crew->waits_at_exit ? Py_False : Py_True, NULL);
    Py_XDECREF(name);
    if (!worker->thread || PyList_Append(crew->threads, worker->thread) < 0)
        PyErr_WriteUnraisable(crew->name);
}

/* Nothing runs any more: what is pending ends with an error that names this one. */
static void worker_initializer_failed(py_crew *crew)
{
    PyObject *exception = py_fetch_exception();
    PyObject *message = PyObject_CallFunctionObjArgs(crew->state->helpers[PY_INITIALIZER_FAILED], exception,
                                                     crew->is_executor ? Py_True : Py_False, NULL);
    if (!message)
        PyErr_WriteUnraisable(crew->initializer);
    if (!atomic_exchange(&crew->is_breaking, true)) {
        crew->broken_message = message ? message : PyUnicode_FromString("");
        crew->broken = exception;
        crew_pool_terminate(crew->pool);
        return;
    }
    Py_XDECREF(message);
    Py_DECREF(exception);
}

/* False: the pool object is gone, so that there is no more work, and nothing to use. */
static bool crew_ref_python(py_crew *crew)
{
    size_t refs = crew->python_refs;
    while (refs > 0)
        if (atomic_compare_exchange_weak(&crew->python_refs, &refs, refs + 1))
            return true;
    return false;
}

static void worker_begin(py_worker *worker)
{
    py_crew *crew = worker->crew;
    if (!crew_ref_python(crew))
        return;
    worker->has_begun = true;
    if (!crew->initializer)
        return;
    worker_register(worker);
    PyObject *nothing = PyObject_Call(crew->initializer, crew->initargs, NULL);
    if (!nothing)
        worker_initializer_failed(crew);
    Py_XDECREF(nothing);
}

/* One that was started or woken in vain, and has no initializer to run, is nobody whom Python knows, and never waits for the GIL. */
void py_hook_worker_run(void *user, int index, int running)
{
    (void)user;
    (void)index;
    if (!here.worker || PY_IS_FINALIZING())
        return;
    if (running && here.released)
        py_take();
    else if (!running && !here.released)
        py_release();
    if (running && !here.worker->has_begun)
        worker_begin(here.worker);
    if (running && here.worker->has_begun && !here.worker->is_registered)
        worker_register(here.worker);
}

static py_worker *worker_new(py_crew *crew)
{
    py_worker *worker = PY_IS_FINALIZING() ? NULL : calloc(1, sizeof *worker);
    if (!worker)
        return NULL;
    worker->crew = crew;
    worker->thread_state = PyThreadState_New(crew->interpreter);
    if (worker->thread_state)
        return worker;
    free(worker);
    return NULL;
}

int py_hook_worker_init(void *user, int index, void **ret_state)
{
    (void)index;
    py_crew *crew = user;
    py_worker *worker = worker_new(crew);
    here.is_stranger = !worker;
    if (!worker)
        return -1;
    here.released = worker->thread_state;
    here.worker = worker;
    *ret_state = worker;
    if (!crew->has_initializer)
        return 0;
    py_take();
    worker_begin(worker);
    py_release();
    return 0;
}

static void worker_end(py_worker *worker)
{
    py_crew *crew = worker->crew;
    if (!worker->thread)
        return;
    PyObject *nothing = PyObject_CallFunctionObjArgs(crew->state->helpers[PY_THREAD_END], worker->thread, NULL);
    if (!nothing)
        PyErr_WriteUnraisable(worker->thread);
    Py_XDECREF(nothing);
    Py_CLEAR(worker->thread);
}

void py_hook_worker_exit(void *user, int index, void *state)
{
    (void)user;
    (void)index;
    py_worker *worker = state;
    if (PY_IS_FINALIZING()) /* the interpreter frees what is its own */
        return;
    if (here.released)
        py_take();
    worker_end(worker);
    if (worker->has_begun)
        py_crew_unref_python(worker->crew);
    PyThreadState_Clear(worker->thread_state);
    here.worker = NULL;
    here.released = NULL;
    here.is_stranger = true;
    PyThreadState_DeleteCurrent();
    atomic_fetch_sub(&worker->crew->attached, 1);
    free(worker);
}
