/* SPDX-License-Identifier: MIT */
/* The C side of a pool: made with it, joined by a thread of its own if need be, freed when its threads are gone. Until then it is in its
 * interpreter's list, which may not end before. */
#include "binding.h"

#include <pthread.h>
#include <unistd.h>

enum { JOIN_DIRECTLY_NS = 2000000 }; /* a wait for no longer than this need not be interruptible */

/* ---- references ---- */

bool py_crew_is_forked(const py_crew *crew)
{
    return crew->pid != (long)getpid();
}

static void crew_unref(py_crew *crew)
{
    if (atomic_fetch_sub(&crew->refs, 1) > 1)
        return;
    (void)crew_pool_destroy(crew->pool); /* its threads are gone, or it is a fork's child */
    free(crew);
}

static void crew_list(py_crew *crew)
{
    py_state *state = crew->state;
    atomic_fetch_add(&crew->refs, 1);
    py_mutex_lock(&state->lock);
    crew->next = state->crews;
    crew->prior = &state->crews;
    if (crew->next)
        crew->next->prior = &crew->next;
    state->crews = crew;
    py_mutex_unlock(&state->lock);
}

static void crew_unlink(py_crew *crew)
{
    *crew->prior = crew->next;
    if (crew->next)
        crew->next->prior = crew->prior;
}

/* With the module: all of them are abandoned. */
void py_crews_forget(py_state *state)
{
    while (state->crews) {
        py_crew *crew = state->crews;
        state->crews = crew->next;
        crew_unref(crew);
    }
}

/* Those that nobody uses any more, and whose threads are gone. */
static void crews_sweep(py_state *state)
{
    py_crew *gone = NULL, *next;
    py_mutex_lock(&state->lock);
    for (py_crew *crew = state->crews; crew; crew = next) {
        next = crew->next;
        if (!crew->is_abandoned || !(atomic_load(&crew->is_gone) || py_crew_is_forked(crew)))
            continue;
        crew_unlink(crew);
        crew->next = gone;
        gone = crew;
    }
    py_mutex_unlock(&state->lock);
    for (; gone; gone = next) {
        next = gone->next;
        crew_unref(gone);
    }
}

void py_crew_unref_python(py_crew *crew)
{
    if (atomic_fetch_sub(&crew->python_refs, 1) > 1)
        return;
    Py_CLEAR(crew->initializer);
    Py_CLEAR(crew->initargs);
    Py_CLEAR(crew->name);
    Py_CLEAR(crew->on_unhandled);
    Py_CLEAR(crew->threads);
    Py_XDECREF(atomic_exchange(&crew->broken, NULL));
    Py_CLEAR(crew->broken_message);
    Py_CLEAR(crew->keeper);
}

static void crew_forget_owner(py_crew *crew)
{
    py_mutex_lock(&crew->state->lock);
    PyObject *owner = crew->owner;
    crew->owner = NULL;
    py_mutex_unlock(&crew->state->lock);
    Py_XDECREF(owner);
}

/* ---- making one ---- */

static crew_status crew_open(py_crew *crew, size_t stack_size)
{
    crew_pool_options options = {
        .struct_size = sizeof options,
        .workers = crew->workers,
        .name = crew->thread_name,
        .stack_size = stack_size,
        .worker_init = py_hook_worker_init,
        .worker_exit = py_hook_worker_exit,
        .worker_run = py_hook_worker_run,
        .user = crew,
        .flags = CREW_WORKERS_ONLY | CREW_LAZY_INIT,
    };
    py_release();
    crew_status status = crew_pool_create(&crew->pool, &options);
    py_take();
    return status;
}

/* A reference to all of Python that it needs. False: no memory. */
static bool crew_fill(py_crew *crew, py_state *state, const py_crew_options *options)
{
    crew->interpreter = PyThreadState_Get()->interp;
    crew->state = state;
    crew->pid = (long)getpid();
    crew->workers = options->workers;
    crew->is_executor = options->is_executor;
    crew->waits_at_exit = options->waits_at_exit;
    atomic_init(&crew->python_refs, 1);
    crew->has_initializer = options->initializer != NULL;
    crew->initializer = Py_XNewRef(options->initializer);
    crew->initargs = Py_XNewRef(options->initargs);
    crew->name = Py_NewRef(options->name);
    crew->owner = Py_NewRef(options->owner);
    crew->on_unhandled = Py_XNewRef(options->on_unhandled);
    crew->threads = PyList_New(0);
    crew->keeper = Py_NewRef((PyObject *)state->pool_type);
    (void)snprintf(crew->thread_name, sizeof crew->thread_name, "%s", options->thread_name);
    atomic_init(&crew->refs, 1);
    return crew->threads != NULL;
}

py_crew *py_crew_new(py_state *state, const py_crew_options *options)
{
    crews_sweep(state);
    if (state->has_ended) {
        PyErr_SetString(PyExc_RuntimeError, "can't create new thread at interpreter shutdown");
        return NULL;
    }
    py_crew *crew = calloc(1, sizeof *crew);
    if (!crew)
        return (py_crew *)PyErr_NoMemory();
    bool is_filled = crew_fill(crew, state, options);
    crew_status status = is_filled ? crew_open(crew, options->stack_size) : CREW_NO_MEMORY;
    if (status == CREW_OK) {
        crew_list(crew);
        return crew;
    }
    crew_forget_owner(crew);
    py_crew_unref_python(crew);
    free(crew);
    if (is_filled)
        PyErr_Format(PyExc_RuntimeError, "can't start new thread (%s)", crew_status_name(status));
    return NULL;
}

/* ---- its end ---- */

static void crew_is_gone(py_crew *crew)
{
    atomic_store(&crew->is_gone, 1);
    py_wake_all(&crew->is_gone);
}

static void *joiner_main(void *opaque)
{
    py_crew *crew = opaque;
    (void)crew_pool_join(crew->pool, CREW_FOREVER);
    crew_is_gone(crew);
    crew_unref(crew);
    return NULL;
}

/* A thread that joins the crew. Where there is none to be had, the crew stays. */
static bool joiner_start(py_crew *crew)
{
    pthread_t thread;
    pthread_attr_t attributes;
    if (atomic_exchange(&crew->is_joining, true))
        return true;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, 256 * 1024);
    atomic_fetch_add(&crew->refs, 1);
    bool is_joining = pthread_create(&thread, &attributes, joiner_main, crew) == 0;
    (void)pthread_attr_destroy(&attributes);
    if (is_joining)
        return true;
    atomic_fetch_sub(&crew->refs, 1);
    atomic_store(&crew->is_joining, false);
    return false;
}

/* 1: gone; 0: not yet; -1: exception. */
static int crew_join_directly(py_crew *crew, int64_t ns)
{
    py_release();
    crew_status status = crew_pool_join(crew->pool, crew_after_ns(ns));
    py_take();
    if (status == CREW_OK)
        crew_is_gone(crew);
    if (status == CREW_OK || status == CREW_TIMEOUT)
        return status == CREW_OK;
    if (status == CREW_DEADLOCK)
        PyErr_SetString(PyExc_RuntimeError, "cannot join current thread");
    else
        py_raise_status(crew->state, crew, status);
    return -1;
}

int py_crew_join(py_crew *crew, int64_t deadline_ns)
{
    if (atomic_load(&crew->is_gone) || py_crew_is_forked(crew))
        return 1;
    int64_t left_ns = deadline_ns == PY_FOREVER ? JOIN_DIRECTLY_NS : deadline_ns - py_now_ns();
    int verdict = crew_join_directly(crew, left_ns < JOIN_DIRECTLY_NS ? left_ns : JOIN_DIRECTLY_NS);
    if (verdict != 0)
        return verdict;
    if (!joiner_start(crew)) {
        PyErr_SetString(PyExc_RuntimeError, "can't start new thread");
        return -1;
    }
    while (!atomic_load(&crew->is_gone)) {
        if (deadline_ns != PY_FOREVER && py_now_ns() >= deadline_ns)
            return 0;
        if (!py_wait_change(&crew->is_gone, 0, deadline_ns))
            return -1;
    }
    return 1;
}

/* A new reference, or NULL: it is gone. */
static py_pool *crew_owner(py_crew *crew)
{
    PyObject *pool = NULL;
    py_mutex_lock(&crew->state->lock);
    if (crew->owner)
        (void)PyWeakref_GetRef(crew->owner, &pool);
    py_mutex_unlock(&crew->state->lock);
    return (py_pool *)pool;
}

/* An executor's work goes on, and the interpreter waits for it at exit; a thread pool's is dropped. */
void py_crew_abandon(py_crew *crew)
{
    bool is_forked = py_crew_is_forked(crew);
    crew_forget_owner(crew);
    if (!is_forked && crew->is_executor)
        (void)crew_pool_close(crew->pool);
    else if (!is_forked)
        (void)crew_pool_terminate(crew->pool);
    bool goes_on = !is_forked && !atomic_load(&crew->is_gone);
    if (goes_on && !joiner_start(crew))
        atomic_fetch_add(&crew->refs, 1);
    py_crew_unref_python(crew);
    py_state *state = crew->state;
    crew->is_abandoned = true;
    crew_unref(crew);
    crews_sweep(state);
}

/* ---- the interpreter's end ---- */

bool py_is_main_interpreter(void)
{
    return PyThreadState_Get()->interp == PyInterpreterState_Main();
}

/* Other interpreters than the main one may not end before their threads. */
static int crew_end(py_crew *crew)
{
    py_pool *owner = crew_owner(crew);
    int verdict = 1;
    if (owner && !crew->waits_at_exit)
        py_pool_terminate(owner);
    else if (!crew->waits_at_exit)
        (void)crew_pool_terminate(crew->pool);
    else if (owner)
        verdict = py_pool_drain(owner);
    if (crew->waits_at_exit && verdict >= 0)
        (void)crew_pool_close(crew->pool);
    Py_XDECREF(owner);
    if (verdict < 0)
        return verdict;
    return crew->waits_at_exit || !py_is_main_interpreter() ? py_crew_join(crew, PY_FOREVER) : 1;
}

/* The first of the list that has to be ended, with a reference; meanwhile others may come and go. */
static py_crew *crew_left(py_state *state, bool waited_for)
{
    py_mutex_lock(&state->lock);
    py_crew *crew = state->crews;
    while (crew && (crew->waits_at_exit != waited_for || crew->has_exited || py_crew_is_forked(crew)))
        crew = crew->next;
    if (crew) {
        crew->has_exited = true;
        atomic_fetch_add(&crew->refs, 1);
    }
    py_mutex_unlock(&state->lock);
    return crew;
}

int py_crews_end(py_state *state, bool waited_for)
{
    int verdict = 1;
    state->has_ended = !waited_for && !py_is_main_interpreter();
    for (py_crew *crew; verdict >= 0 && (crew = crew_left(state, waited_for)) != NULL;) {
        verdict = crew_end(crew);
        crew_unref(crew);
    }
    return verdict;
}

/* ---- what a refusal means ---- */

PyObject *py_broken_error(py_crew *crew)
{
    PyObject *error = PyObject_CallFunctionObjArgs(crew->state->helpers[PY_BROKEN_ERROR], crew->broken_message, NULL);
    if (!error)
        return py_fetch_exception();
    PyObject *cause = crew->broken;
    if (cause)
        PyException_SetCause(error, Py_NewRef(cause));
    return error;
}

void py_raise_status(py_state *state, py_crew *crew, crew_status status)
{
    switch (status) {
    case CREW_NO_MEMORY: PyErr_NoMemory(); break;
    case CREW_FORKED:
        PyErr_SetString(state->helpers[PY_FORKED_ERROR], "the pool's threads are in the parent of this process");
        break;
    case CREW_DEADLOCK:
        PyErr_SetString(state->helpers[PY_DEADLOCK_ERROR], "this task would wait for itself, so it would never end");
        break;
    case CREW_TOO_DEEP:
        PyErr_SetString(state->helpers[PY_DEADLOCK_ERROR], "no stack and no thread is left to run what is waited for");
        break;
    case CREW_CLOSED:
        PyErr_SetString(crew->is_executor ? PyExc_RuntimeError : PyExc_ValueError,
                        crew->is_executor ? "cannot schedule new futures after shutdown" : "Pool not running");
        break;
    default: PyErr_Format(PyExc_RuntimeError, "the pool says %s", crew_status_name(status));
    }
}
