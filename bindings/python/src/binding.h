/* SPDX-License-Identifier: MIT */
/* The extension module's nouns: what the module keeps, crews and their workers, pools, results, streams.
 *
 * A job of the core holds one reference to a Python object. Workers run jobs with the interpreter's lock (the GIL) held, and keep it
 * from one job to the next: the core's worker_run says where a run of jobs begins and ends. Whoever releases the GIL in this module
 * does so by py_release, which notes it for this thread: so what the core calls on any thread knows whether to take it (py_borrow).
 *
 * What is said to be under the GIL is, in a build without it, under the critical section of its object (PY_LOCKED), which may be let go where
 * code of Python runs in it, as the GIL may. The list of crews is under the module's mutex, under which no code of Python runs. What several
 * threads may touch besides is atomic.
 *
 * Lifetimes: a pool object has a crew, the C side, which lives until its threads are gone. A result or stream holds its pool until
 * it has ended, so that a pool that only its results refer to works on. */
#ifndef CREWPOOL_PYTHON_BINDING_H
#define CREWPOOL_PYTHON_BINDING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <crewpool/crewpool.h>
#include <stdatomic.h>
#include <stdbool.h>

/* ---- what differs between the versions of CPython ---- */

#if PY_VERSION_HEX >= 0x030D0000
#define PY_IS_FINALIZING() Py_IsFinalizing()
#else
#define PY_IS_FINALIZING() _Py_IsFinalizing()
#endif

/* From one to the other no return. What is declared in between is gone after it. */
#ifdef Py_GIL_DISABLED
#define PY_LOCKED(object) Py_BEGIN_CRITICAL_SECTION(object)
#define PY_UNLOCKED() Py_END_CRITICAL_SECTION()
typedef PyMutex py_mutex;
#define py_mutex_lock(mutex) PyMutex_Lock(mutex)
#define py_mutex_unlock(mutex) PyMutex_Unlock(mutex)
#else /* the GIL is lock enough where no Python code runs in between */
#define PY_LOCKED(object) \
    {                     \
        (void)(object);
#define PY_UNLOCKED() }
typedef char py_mutex;
#define py_mutex_lock(mutex) ((void)(mutex))
#define py_mutex_unlock(mutex) ((void)(mutex))
#endif

#if PY_VERSION_HEX < 0x030D0000
/* A new reference to what a weak one refers to, or NULL. */
static inline int PyWeakref_GetRef(PyObject *weak, PyObject **ret_object)
{
    PyObject *object = PyWeakref_GetObject(weak);
    *ret_object = object == Py_None ? NULL : object;
    Py_XINCREF(*ret_object);
    return *ret_object != NULL;
}

static inline PyObject *PyList_GetItemRef(PyObject *list, Py_ssize_t i)
{
    PyObject *item = PyList_GetItem(list, i);
    Py_XINCREF(item);
    return item;
}
#endif

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *Py_NewRef(PyObject *object)
{
    Py_INCREF(object);
    return object;
}

static inline PyObject *Py_XNewRef(PyObject *object)
{
    Py_XINCREF(object);
    return object;
}
#endif

/* A function as a type's or module's slot. */
#define PY_SLOT(function) __extension__((void *)(function))
#define PY_FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

/* ---- module.c: what the module keeps for its interpreter ---- */

typedef struct py_crew py_crew;
typedef struct py_pool py_pool;

/* What the Python layer provides, by _core.configure(names…): see _results.py. */
enum py_helper {
    PY_ASYNC_RESULT, /* classes derived from _core.Result */
    PY_MAP_RESULT,
    PY_FUTURE,
    PY_ORDERED, /* classes derived from _core.Stream */
    PY_UNORDERED,
    PY_NEW_CONDITION,      /* () -> Condition */
    PY_NOTIFY,             /* (waiters, future): tells those that concurrent.futures has put there */
    PY_LOG_CALLBACK,       /* (future, exception): a done-callback raised it */
    PY_THREAD_BEGIN,       /* (name, daemon) -> the Thread object of the worker that calls */
    PY_THREAD_END,         /* (thread) */
    PY_INITIALIZER_FAILED, /* (exception, is_executor) */
    PY_START_THREAD,       /* (function): on a daemon thread */
    PY_POOL_TIMEOUT,       /* multiprocessing.TimeoutError */
    PY_FUTURE_TIMEOUT,     /* concurrent.futures.TimeoutError */
    PY_CANCELLED_ERROR,
    PY_TERMINATED_ERROR,
    PY_BROKEN_ERROR,
    PY_DEADLOCK_ERROR,
    PY_INVALID_STATE_ERROR,
    PY_FORKED_ERROR,
    PY_FULL_ERROR,
    PY_HELPERS
};

/* Names of a future's state, in the order of enum py_phase. */
enum { PY_STATE_NAMES = 5 };

typedef struct {
    PyTypeObject *pool_type, *executor_type, *result_type, *stream_type, *stream_handle_type;
    PyObject *helpers[PY_HELPERS];
    PyObject *state_names[PY_STATE_NAMES];
    PyObject *empty_tuple;
    py_mutex lock;                /* of the list */
    py_crew *crews;               /* all that have threads, or may have */
    atomic_bool is_shutting_down; /* executors take no more work */
    atomic_bool has_ended;        /* no thread may start any more */
} py_state;

py_state *py_state_of(PyObject *object);
/* tp_new of what only pools make. */
PyObject *py_refuse_new(PyTypeObject *type, PyObject *args, PyObject *keywords);

/* ---- thread.c: the GIL, workers, and who holds what on this thread ---- */

/* A thread of a crew. */
typedef struct py_worker {
    py_crew *crew;
    PyThreadState *thread_state;
    PyObject *thread; /* its threading.Thread */
    bool has_begun;   /* it holds one of crew->python_refs */
    bool is_registered;
} py_worker;

void py_release(void);
void py_take(void);
/* After a call of the core that may wait, inside of which the hooks may have taken it. */
void py_retake(void);
/* Makes sure that this thread has the GIL; *ret_taken goes to py_return. False: the interpreter is going, keep off. */
bool py_borrow(bool *ret_taken);
void py_return(bool taken);
/* Lets others have the GIL if this thread has had it for long: what calls no function of Python would never do so. */
void py_yield_now_and_then(void);
bool py_is_worker(void);

int64_t py_coarse_now_ns(void);
int64_t py_now_ns(void);

int py_hook_worker_init(void *user, int index, void **ret_state);
void py_hook_worker_exit(void *user, int index, void *state);
void py_hook_worker_run(void *user, int index, int running);

/* ---- wait.c: waiting that a signal can interrupt ---- */

typedef atomic_uint py_word;

/* An argument `timeout`, in seconds, as a deadline; false with an exception. None: PY_FOREVER. */
#define PY_FOREVER INT64_MAX
bool py_deadline(PyObject *timeout, int64_t *ret_deadline_ns);
/* One round of waiting, without the GIL, until (*word & mask) >= until: looks around for as long as that pays (until also nobody of the crew
 * is about to give the GIL back: `attached` is 0), then sets `waiters` in the word and sleeps. False: a signal raised an exception. */
bool py_wait_state(py_word *word, unsigned mask, unsigned until, unsigned waiters, int64_t deadline_ns,
                   const atomic_int *attached);
/* Sleeps, without the GIL, while *word is `expected`. False: a signal raised an exception. */
bool py_wait_change(py_word *word, unsigned expected, int64_t deadline_ns);
void py_wake_all(py_word *word);
/* The looking alone, by a thread that has released the GIL. */
void py_look(const py_word *word, unsigned mask, unsigned until, const atomic_int *attached);

/* ---- crew.c ---- */

struct py_crew {
    crew_pool *pool;
    PyInterpreterState *interpreter;
    py_state *state;
    atomic_size_t refs;  /* the pool object, the list, and the thread that joins */
    atomic_int attached; /* workers that hold the GIL or are about to give it back */
    py_word is_gone;     /* 1: no thread is left */
    long pid;
    unsigned workers;
    bool is_executor;
    bool has_initializer;
    bool waits_at_exit;       /* its threads are no daemons */
    char thread_name[16];     /* for the system, which cuts it */
    atomic_bool is_joining;   /* by a thread of its own */
    atomic_bool is_breaking;  /* somebody sets `broken` */
    atomic_bool is_abandoned; /* the pool object is gone */

    /* under state->lock */
    bool has_exited;        /* the interpreter's end has told it */
    py_crew *next, **prior; /* state->crews */
    PyObject *owner;        /* a weak reference to the pool object; NULL when that is gone */

    atomic_size_t python_refs; /* the pool object, and each worker: who may use what follows */
    PyObject *initializer, *initargs, *name;
    PyObject *on_unhandled;     /* NULL: none */
    PyObject *threads;          /* list */
    PyObject *broken_message;   /* set before `broken` */
    _Atomic(PyObject *) broken; /* the exception of the first initializer that failed */
    PyObject *keeper;           /* of the module: a type */
    atomic_uint threads_begun;
};

/* How to make one; the objects are borrowed, and NULL where there is none. */
typedef struct {
    unsigned workers;
    bool is_executor, waits_at_exit;
    PyObject *initializer, *initargs, *name, *on_unhandled;
    PyObject *owner; /* a weak reference to the pool object */
    size_t stack_size;
    const char *thread_name; /* for the system */
} py_crew_options;

py_crew *py_crew_new(py_state *state, const py_crew_options *options);
void py_crew_unref_python(py_crew *crew);
void py_crew_abandon(py_crew *crew);                  /* the pool object is gone */
int py_crew_join(py_crew *crew, int64_t deadline_ns); /* 1, 0: too late, -1: exception */
/* At the interpreter's end: those whose work is waited for, or the others. 1, or -1 with an exception. */
int py_crews_end(py_state *state, bool waited_for);
bool py_is_main_interpreter(void);
void py_crews_forget(py_state *state);
bool py_crew_is_forked(const py_crew *crew);
/* Raises what a refusing status means. */
void py_raise_status(py_state *state, py_crew *crew, crew_status status);
PyObject *py_broken_error(py_crew *crew);

/* ---- pool.c ---- */

enum py_pool_state { PY_RUN, PY_CLOSE, PY_TERMINATE };

typedef struct py_stream py_stream;
typedef struct py_map py_map;

struct py_pool {
    PyObject_HEAD py_crew *crew; /* NULL: not initialised */
    py_stream *streams;          /* that have not ended; under the GIL. The list has a reference to each */
    py_map *maps;                /* likewise; to the result of each */
    py_word feeders;             /* threads that feed them, and for which the core is kept open */
    atomic_uint state;           /* enum py_pool_state */
    bool inherits_context;
    bool full_fails;
    size_t queue_max; /* 0: no limit */
    atomic_size_t places_taken;
    py_word room_epoch; /* +1 when there may be room again, or never will */
    atomic_uint room_waiters;
};

extern PyType_Spec py_pool_spec, py_executor_spec;

bool py_pool_may_submit(py_pool *pool);
PyObject *py_current_context(py_pool *pool); /* a new reference, or NULL without an exception: none wanted */
void py_pool_terminate(py_pool *pool);
void py_pool_feeder_ended(py_pool *pool);
/* Closes it, and waits until its streams have been fed. 1, or -1 with an exception. */
int py_pool_drain(py_pool *pool);

/* ---- arguments.c ---- */

/* Arguments of a call by METH_FASTCALL | METH_KEYWORDS, by their names: borrowed references into `found`, NULL where absent. */
typedef struct {
    const char *function;
    int positional_max, required;
    const char *names[7];
} py_signature;

bool py_arguments(const py_signature *signature, PyObject *const *given, Py_ssize_t count, PyObject *keywords,
                  PyObject **found);

/* ---- result.c ---- */

/* py_result.state, one word: bits 0-2 the phase, one way; bit 3 WAITERS: somebody sleeps on it; bit 4 OBSERVED: it has a
 * condition, and ends with that held. */
enum py_phase { PY_PENDING = 0, PY_RUNNING = 1, PY_STORED = 2, PY_FINISHED = 3, PY_CANCELLED = 4 };
enum { PY_PHASE = 7, PY_WAITERS = 8, PY_OBSERVED = 16 };

typedef struct {
    PyObject_HEAD py_word state;
    bool has_failed;
    bool has_place;     /* in the queue of a pool with a limit */
    py_pool *pool;      /* until it has ended: others than who ends it ask py_result_pool */
    PyObject *function; /* until it has run, with what it is given */
    PyObject *arguments, *keywords, *context;
    PyObject *callback, *error_callback;
    PyObject *value;        /* or the exception */
    PyObject *on_unhandled; /* who is told if nobody ever sees that it failed */
    PyObject *done_callbacks, *condition, *waiters;
    crew_result *handle;         /* for waits inside tasks, and to cancel it */
    _Atomic(crew_result *) told; /* of a map: of what calls its callback */
    py_map *map;
} py_result;

extern PyType_Spec py_result_spec;

static inline unsigned py_phase(py_result *result)
{
    return atomic_load(&result->state) & PY_PHASE;
}

static inline bool py_is_done(py_result *result)
{
    return py_phase(result) >= PY_FINISHED;
}

py_result *py_result_new(py_pool *pool, enum py_helper kind);
py_pool *py_result_pool(py_result *result); /* a new reference, or NULL: it has ended */
bool py_result_claim(py_result *result);
/* Steals `value`. */
void py_result_settle(py_result *result, enum py_phase phase, PyObject *value, bool has_failed);
void py_result_end_unrun(py_result *result); /* its pool ends before it has started */
/* Calls callback or error_callback, which may change the outcome; then settles. */
void py_result_tell(py_result *result, PyObject *value, bool has_failed);
int py_result_wait(py_result *result, int64_t deadline_ns); /* 1, 0: too late, -1: exception */
PyObject *py_result_take(py_result *result);                /* of one that is done: its value, or raises */
PyObject *py_fetch_exception(void);                         /* the current one, normalised, with its traceback */
void py_raise(PyObject *exception);

/* ---- place.c ---- */

/* Before a result's task is submitted. False with an exception: there is no room, or the pool takes no more. */
bool py_place_take(py_result *result);
void py_place_give(py_result *result); /* the one it has, if any */
void py_place_tell(py_pool *pool);     /* who waits for room is to look again */

/* ---- apply.c ---- */

bool py_submit(py_result *result, bool with_handle);
/* The core did not take its task. True: nor any other, since the pool is broken, and so ends the result; else there is an exception. */
bool py_submit_failed(py_result *result, crew_status status);
PyObject *py_call(PyObject *function, PyObject *arguments, PyObject *keywords);
PyObject *py_apply(py_result *result);

/* ---- map.c ---- */

PyObject *py_map_start(py_pool *pool, PyObject *function, PyObject *items, PyObject *chunk_size, PyObject *callback,
                       PyObject *error_callback, bool is_star);
void py_maps_cut(py_pool *pool);       /* it is being terminated */
void py_map_unlist(py_result *result); /* by whoever ends it, first */
void py_map_free(py_map *map);
int py_map_visit(py_map *map, visitproc visit, void *arg);

/* ---- stream.c ---- */

PyObject *py_stream_start(py_pool *pool, PyObject *function, PyObject *items, size_t chunk_size, size_t window,
                          bool is_ordered);

extern PyType_Spec py_stream_spec, py_stream_handle_spec;

#endif
