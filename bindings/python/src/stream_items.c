/* SPDX-License-Identifier: MIT */
/* The ring of a stream's items. No function here runs code of Python, but for the finalizers of what it drops. */
#include "stream.h"

enum { CAPACITY_MIN = 16 };

static py_item *item_at(const py_stream *stream, size_t index)
{
    return &stream->items[index & (stream->capacity - 1)];
}

static bool stream_grow(py_stream *stream)
{
    size_t capacity = stream->capacity ? 2 * stream->capacity : CAPACITY_MIN;
    py_item *items = PyMem_Calloc(capacity, sizeof *items);
    if (!items)
        return false;
    for (size_t i = stream->taken; i < stream->pulled; i++)
        items[i & (capacity - 1)] = *item_at(stream, i);
    PyMem_Free(stream->items);
    stream->items = items;
    stream->capacity = capacity;
    return true;
}

void py_stream_wake(py_stream *stream)
{
    if (stream->waiters == 0)
        return;
    (void)atomic_fetch_add(&stream->epoch, 1);
    py_wake_all(&stream->epoch);
}

bool py_stream_push(py_stream *stream, PyObject *object)
{
    bool is_pushed = stream->pulled - stream->taken < stream->capacity || stream_grow(stream);
    if (is_pushed) {
        *item_at(stream, stream->pulled++) = (py_item){object, PY_ITEM_WAITS};
        return true;
    }
    Py_DECREF(object);
    PyErr_NoMemory();
    py_stream_stop(stream, py_fetch_exception());
    return false;
}

bool py_stream_has_room(const py_stream *stream)
{
    return stream->window == 0 || stream->pulled - stream->taken < stream->window;
}

bool py_stream_is_ready(const py_stream *stream)
{
    return stream->taken < stream->pulled && item_at(stream, stream->taken)->state >= PY_ITEM_VALUE;
}

bool py_stream_has_work(const py_stream *stream)
{
    if (stream->is_stopped)
        return false;
    return stream->claimed < stream->pulled || (stream->is_simple && stream->source && py_stream_has_room(stream));
}

void py_stream_pull(py_stream *stream, size_t count)
{
    for (size_t i = 0; i < count && stream->source && py_stream_has_room(stream); i++) {
        PyObject *object = PyIter_Next(stream->source);
        if (!object)
            py_stream_end(stream, PyErr_Occurred() ? py_fetch_exception() : NULL);
        else if (!py_stream_push(stream, object))
            return;
    }
}

size_t py_stream_claim(py_stream *stream, PyObject **ret_objects, size_t *ret_first)
{
    size_t count = stream->pulled - stream->claimed;
    if (stream->is_simple && count < stream->chunk_size)
        py_stream_pull(stream, stream->chunk_size - count);
    count = stream->is_stopped ? 0 : stream->pulled - stream->claimed;
    if (count > stream->chunk_size)
        count = stream->chunk_size;
    *ret_first = stream->claimed;
    for (size_t i = 0; i < count; i++) {
        py_item *item = item_at(stream, stream->claimed++);
        ret_objects[i] = item->object;
        *item = (py_item){NULL, PY_ITEM_RUNS};
    }
    return count;
}

void py_stream_finish(py_stream *stream, size_t index, PyObject *object, bool has_failed)
{
    if (!stream->is_ordered)
        index = stream->finished;
    stream->finished++;
    *item_at(stream, index) = (py_item){object, has_failed ? PY_ITEM_ERROR : PY_ITEM_VALUE};
    if (index == stream->taken)
        py_stream_wake(stream);
}

PyObject *py_stream_take(py_stream *stream, bool *ret_failed)
{
    py_item *item = item_at(stream, stream->taken++);
    PyObject *object = item->object;
    *ret_failed = item->state == PY_ITEM_ERROR;
    item->object = NULL;
    return object;
}

void py_stream_end(py_stream *stream, PyObject *error)
{
    if (!stream->error)
        stream->error = error;
    else
        Py_XDECREF(error);
    Py_CLEAR(stream->source);
    py_stream_wake(stream);
}

void py_stream_stop(py_stream *stream, PyObject *error)
{
    bool has_lost = stream->source || stream->claimed < stream->pulled;
    stream->is_stopped = true;
    while (stream->pulled > stream->claimed) {
        PyObject *object = item_at(stream, --stream->pulled)->object;
        Py_XDECREF(object);
    }
    if (!has_lost)
        Py_CLEAR(error);
    py_stream_end(stream, error);
}
