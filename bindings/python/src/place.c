/* SPDX-License-Identifier: MIT */
/* A limit to what is queued. Who submits from outside takes a place, and gets it back when the task starts, or is known never to. The core
 * could count them, too, but its wait for room could not be interrupted. */
#include "binding.h"

/* Whose own submissions always find room: what runs may wait for them. */
static bool is_inside(py_pool *pool)
{
    return py_is_worker() && crew_current_pool() == pool->crew->pool;
}

static bool place_try(py_pool *pool)
{
    size_t taken = atomic_load(&pool->places_taken);
    while (taken < pool->queue_max)
        if (atomic_compare_exchange_weak(&pool->places_taken, &taken, taken + 1))
            return true;
    return false;
}

/* False with an exception. Whoever gives a place back looks for waiters after that, and a waiter looks for a place after it counts as one. */
static bool place_wait(py_pool *pool)
{
    bool goes_on = true;
    (void)atomic_fetch_add(&pool->room_waiters, 1);
    unsigned epoch = atomic_load(&pool->room_epoch);
    if (atomic_load(&pool->places_taken) >= pool->queue_max && py_pool_may_submit(pool))
        goes_on = py_wait_change(&pool->room_epoch, epoch, PY_FOREVER);
    (void)atomic_fetch_sub(&pool->room_waiters, 1);
    return goes_on && py_pool_may_submit(pool);
}

void py_place_tell(py_pool *pool)
{
    if (atomic_load(&pool->room_waiters) == 0)
        return;
    (void)atomic_fetch_add(&pool->room_epoch, 1);
    py_wake_all(&pool->room_epoch);
}

bool py_place_take(py_result *result)
{
    py_pool *pool = result->pool;
    if (pool->queue_max == 0 || is_inside(pool))
        return true;
    while (!place_try(pool)) {
        if (pool->full_fails)
            PyErr_Format(pool->crew->state->helpers[PY_FULL_ERROR], "%zu tasks are queued", pool->queue_max);
        if (pool->full_fails || !place_wait(pool))
            return false;
    }
    result->has_place = true;
    return true;
}

void py_place_give(py_result *result)
{
    if (!result->has_place)
        return;
    result->has_place = false;
    (void)atomic_fetch_sub(&result->pool->places_taken, 1);
    py_place_tell(result->pool);
}
