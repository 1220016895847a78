/* SPDX-License-Identifier: MIT */
/* map and starmap: one map of the core, whose items are chunks, whose results land in one list. */
#include "binding.h"

enum { CHUNKS_PER_WORKER = 64, CHUNK_SIZE_DEFAULT_MAX = 32 };

struct py_map {
    PyObject *items;  /* tuple */
    PyObject *values; /* list, not shown to the garbage collector before it is full */
    size_t chunk_size;
    bool is_star;
    py_result *result;
    /* under the result's GIL */
    bool has_started;
    bool is_cut;          /* the pool was terminated: what runs is all that will */
    bool has_ended;       /* somebody ends the result, once all that ran has come to its end */
    size_t running, left; /* chunks */
    /* under the pool's GIL */
    py_map *next, **prior; /* pool->maps, while it may be cut; prior NULL: not there */
};

static PyObject *item_call(PyObject *function, PyObject *item, bool is_star)
{
    if (is_star)
        return py_call(function, item, NULL);
    return PyObject_Vectorcall(function, &item, 1, NULL);
}

/* An exception ends its chunk; the first to arrive is the map's. */
static void map_keep_error(py_result *result)
{
    PyObject *exception = py_fetch_exception();
    bool is_first = false;
    PY_LOCKED(result);
    is_first = !result->value;
    if (is_first)
        result->value = exception;
    PY_UNLOCKED();
    if (!is_first)
        Py_XDECREF(exception);
}

static void chunk_run(py_result *result, size_t chunk)
{
    py_map *map = result->map;
    size_t count = (size_t)PyTuple_GET_SIZE(map->items), begin = chunk * map->chunk_size;
    size_t end = count - begin < map->chunk_size ? count : begin + map->chunk_size;
    PyObject *function = Py_NewRef(result->function);
    bool is_star = map->is_star, is_native = !PyFunction_Check(function);
    for (size_t i = begin; i < end; i++) {
        PyObject *value = item_call(function, PyTuple_GET_ITEM(map->items, i), is_star);
        if (!value) {
            map_keep_error(result);
            break;
        }
        PyList_SET_ITEM(map->values, (Py_ssize_t)i, value);
        if (is_native)
            py_yield_now_and_then();
    }
    Py_DECREF(function);
}

static void chunk_run_in_context(py_result *result, size_t chunk)
{
    PyObject *context = PyContext_Copy(result->context); /* a context runs in one thread at a time */
    if (!context || PyContext_Enter(context) < 0) {
        map_keep_error(result);
    } else {
        chunk_run(result, chunk);
        if (PyContext_Exit(context) < 0)
            map_keep_error(result);
    }
    Py_XDECREF(context);
}

/* ---- the list of those that terminate has to end ---- */

static void map_list(py_map *map, py_pool *pool)
{
    PY_LOCKED(pool);
    map->next = pool->maps;
    map->prior = &pool->maps;
    if (map->next)
        map->next->prior = &map->next;
    pool->maps = map;
    Py_INCREF(map->result);
    PY_UNLOCKED();
}

static bool map_unlink(py_map *map, py_pool *pool)
{
    bool was_there;
    PY_LOCKED(pool);
    was_there = map->prior != NULL;
    if (was_there) {
        *map->prior = map->next;
        if (map->next)
            map->next->prior = map->prior;
        map->prior = NULL;
    }
    PY_UNLOCKED();
    return was_there;
}

void py_map_unlist(py_result *result)
{
    py_pool *pool = py_result_pool(result);
    if (pool && map_unlink(result->map, pool))
        Py_DECREF(result);
    Py_XDECREF(pool);
}

/* ---- as a map of the core ---- */

static void map_end(py_result *result, crew_status status);
static void map_complete(py_result *result);

/* False: it was cancelled, or cut. */
static bool map_enter(py_result *result)
{
    py_map *map = result->map;
    bool may_run;
    PY_LOCKED(result);
    if (py_result_claim(result))
        map->has_started = true;
    may_run = map->has_started && !map->has_ended;
    map->running += may_run;
    PY_UNLOCKED();
    return may_run;
}

static void map_leave(py_result *result)
{
    py_map *map = result->map;
    bool is_complete, is_last;
    PY_LOCKED(result);
    map->running--;
    map->left--;
    is_complete = map->left == 0;
    is_last = map->running == 0 && (is_complete || map->is_cut);
    map->has_ended |= is_last;
    PY_UNLOCKED();
    if (is_last && is_complete)
        map_complete(result);
    else if (is_last)
        map_end(result, CREW_TERMINATED);
}

static int map_run(const void *arg, void *ret_value, void *context)
{
    (void)ret_value;
    py_result *result = context;
    bool taken;
    if (!py_borrow(&taken) || !map_enter(result))
        return 0;
    if (result->context)
        chunk_run_in_context(result, *(const size_t *)arg);
    else
        chunk_run(result, *(const size_t *)arg);
    map_leave(result);
    py_yield_now_and_then();
    return 0;
}

static PyObject *map_take_values(py_map *map)
{
    PyObject *values = map->values;
    map->values = NULL;
    PyObject_GC_Track(values);
    return values;
}

/* All chunks have run, or the rest never will. */
static void map_end(py_result *result, crew_status status)
{
    PyObject *exception = result->value;
    result->value = NULL;
    py_map_unlist(result);
    Py_CLEAR(result->map->items);
    if (exception) {
        py_result_tell(result, exception, true);
    } else if (status == CREW_OK) {
        py_result_tell(result, map_take_values(result->map), false);
    } else {
        PyObject *error = PyObject_CallFunction(result->pool->crew->state->helpers[PY_TERMINATED_ERROR], "s",
                                                "the pool was terminated before all of this could run");
        py_result_settle(result, PY_CANCELLED, error ? error : py_fetch_exception(), true);
    }
}

/* At once, or when the chunks that run have ended: the core's own word for it waits for a free worker. */
static void map_cut(py_result *result)
{
    py_map *map = result->map;
    bool is_last;
    PY_LOCKED(result);
    map->is_cut = true;
    is_last = map->has_started && map->running == 0 && !map->has_ended;
    map->has_ended |= is_last;
    PY_UNLOCKED();
    if (is_last)
        map_end(result, CREW_TERMINATED);
    else
        py_result_end_unrun(result); /* if it has not started */
}

static py_result *maps_first(py_pool *pool)
{
    py_result *result = NULL;
    PY_LOCKED(pool);
    if (pool->maps)
        result = (py_result *)Py_NewRef((PyObject *)pool->maps->result);
    PY_UNLOCKED();
    return result;
}

void py_maps_cut(py_pool *pool)
{
    for (py_result *result; (result = maps_first(pool));) {
        if (map_unlink(result->map, pool)) {
            map_cut(result);
            Py_DECREF(result); /* the list's */
        }
        Py_DECREF(result);
    }
}

/* ---- telling: a task that does nothing, for the sake of its callback, which waits for its turn as others do ---- */

static int tell_run(const void *arg, void *ret_value, void *context)
{
    (void)arg;
    (void)ret_value;
    (void)context;
    return 0;
}

static void tell_done(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    py_result *result = user;
    bool taken;
    if (!py_borrow(&taken))
        return;
    map_end(result, CREW_OK);
    Py_DECREF(result);
    py_return(taken);
}

static const crew_job job_tell = {tell_run, 0, 0, "callback", NULL, NULL};

/* All chunks have run. */
static void map_complete(py_result *result)
{
    crew_call call = {.struct_size = sizeof call, .on_done = tell_done, .user = result, .flags = CREW_READY_AFTER_DONE};
    crew_result *told;
    py_map_unlist(result);
    if (!result->callback && !result->error_callback) {
        map_end(result, CREW_OK);
        return;
    }
    (void)atomic_fetch_add(&result->state, PY_STORED - PY_RUNNING);
    Py_INCREF(result);
    if (crew_apply_async(result->pool->crew->pool, &job_tell, NULL, &told, &call) == CREW_OK) {
        result->told = told;
        return;
    }
    map_end(result, CREW_OK); /* the pool was terminated meanwhile */
    Py_DECREF(result);
}

static bool map_ends_now(py_result *result)
{
    py_map *map = result->map;
    bool is_first;
    PY_LOCKED(result);
    is_first = map->has_started && !map->has_ended;
    map->has_ended |= is_first;
    PY_UNLOCKED();
    return is_first;
}

/* The core's last word. What has not run never will. */
static void map_done(const crew_outcome *outcome, void *user)
{
    py_result *result = user;
    bool taken;
    if (!py_borrow(&taken))
        return;
    py_map_unlist(result);
    if (map_ends_now(result))
        map_end(result, outcome->status);
    else
        py_result_end_unrun(result); /* if it has not started */
    Py_DECREF(result);
    py_return(taken);
}

static const crew_job job_map = {map_run, sizeof(size_t), 0, "map", NULL, NULL};

/* ---- what the result keeps ---- */

void py_map_free(py_map *map)
{
    Py_XDECREF(map->items);
    if (map->values)
        PyObject_GC_Track(map->values);
    Py_XDECREF(map->values);
    PyMem_Free(map);
}

int py_map_visit(py_map *map, visitproc visit, void *arg)
{
    Py_VISIT(map->items);
    return 0; /* of `values` nobody else knows before it is full */
}

/* ---- starting ---- */

/* What is asked for, or small: so many items that what a chunk costs is hardly seen. What has not started is there for whoever is free. */
static bool chunk_size_read(PyObject *given, size_t items, unsigned workers, size_t *ret_size)
{
    size_t size_fair = items / (CHUNKS_PER_WORKER * (size_t)workers) + 1;
    *ret_size = size_fair < CHUNK_SIZE_DEFAULT_MAX ? size_fair : CHUNK_SIZE_DEFAULT_MAX;
    if (!given || given == Py_None)
        return true;
    Py_ssize_t size = PyNumber_AsSsize_t(given, PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred())
        return false;
    if (size < 1) {
        PyErr_Format(PyExc_ValueError, "Chunksize must be 1+, not %zd", size);
        return false;
    }
    *ret_size = (size_t)size;
    return true;
}

static py_map *map_new(PyObject *items, bool is_star, PyObject *chunk_size, unsigned workers)
{
    py_map *map = PyMem_Calloc(1, sizeof *map);
    if (!map)
        return (py_map *)PyErr_NoMemory();
    map->is_star = is_star;
    map->items = PySequence_Tuple(items);
    if (map->items && chunk_size_read(chunk_size, (size_t)PyTuple_GET_SIZE(map->items), workers, &map->chunk_size))
        map->values = PyList_New(PyTuple_GET_SIZE(map->items));
    if (map->values) {
        PyObject_GC_UnTrack(map->values);
        return map;
    }
    py_map_free(map);
    return NULL;
}

static bool map_submit(py_result *result)
{
    py_crew *crew = result->pool->crew;
    py_map *map = result->map;
    size_t count = (size_t)PyTuple_GET_SIZE(map->items);
    crew_call call = {
        .struct_size = sizeof call,
        .context = result,
        .on_done = map_done,
        .user = result,
        .chunk = 1,
    };
    if (!py_place_take(result))
        return false;
    Py_INCREF(result);
    map->left = (count - 1) / map->chunk_size + 1;
    map_list(map, result->pool);
    crew_status status = crew_map_async(crew->pool, &job_map, NULL, map->left, NULL, &result->handle, &call);
    if (status == CREW_OK)
        return true;
    py_map_unlist(result);
    Py_DECREF(result);
    return py_submit_failed(result, status);
}

PyObject *py_map_start(py_pool *pool, PyObject *function, PyObject *items, PyObject *chunk_size, PyObject *callback,
                       PyObject *error_callback, bool is_star)
{
    py_map *map = map_new(items, is_star, chunk_size, pool->crew->workers);
    py_result *result = map ? py_result_new(pool, PY_MAP_RESULT) : NULL;
    if (!result) {
        if (map)
            py_map_free(map);
        return NULL;
    }
    result->map = map;
    map->result = result;
    result->function = Py_NewRef(function);
    result->callback = Py_XNewRef(callback);
    result->error_callback = Py_XNewRef(error_callback);
    result->context = py_current_context(pool);
    if (PyTuple_GET_SIZE(map->items) == 0)
        py_result_settle(result, PY_FINISHED, map_take_values(map), false);
    else if (!map_submit(result))
        Py_CLEAR(result);
    return (PyObject *)result;
}
