/* SPDX-License-Identifier: MIT */
/* The iterators of one pool: the open ones, which close must reach, and the closed ones, which terminate must reach, too. */
#include "iterator.h"

static void list_remove(crew_iterator *iterator)
{
    if (iterator->list_previous)
        iterator->list_previous->list_next = iterator->list_next;
    else
        *iterator->list = iterator->list_next;
    if (iterator->list_next)
        iterator->list_next->list_previous = iterator->list_previous;
    iterator->list = NULL;
}

static void list_add(crew_iterator *iterator, crew_iterator **list)
{
    iterator->list = list;
    iterator->list_previous = NULL;
    iterator->list_next = *list;
    if (*list)
        (*list)->list_previous = iterator;
    *list = iterator;
}

static void list_move(crew_iterator *iterator, crew_iterator **list)
{
    if (iterator->list)
        list_remove(iterator);
    if (list)
        list_add(iterator, list);
}

void crewi_iterator_list(crew_iterator *iterator, crew_iterator **list)
{
    crew_pool *pool = crewi_task_pool(&iterator->task);
    crewi_lock_acquire(&pool->iterators_lock);
    list_move(iterator, list);
    crewi_lock_release(&pool->iterators_lock);
}

/* The first of a list, moved to another, with a reference; NULL: it is empty. */
static crew_iterator *list_pick(crew_pool *pool, crew_iterator **from, crew_iterator **to)
{
    crewi_lock_acquire(&pool->iterators_lock);
    crew_iterator *iterator = *from;
    if (iterator) {
        crewi_task_ref(&iterator->task);
        list_move(iterator, to);
    }
    crewi_lock_release(&pool->iterators_lock);
    return iterator;
}

void crewi_iterators_close(crew_pool *pool, bool cut)
{
    crew_iterator *iterator;
    while ((iterator = list_pick(pool, &pool->iterators_open, &pool->iterators_closed))) {
        crewi_iterator_close(iterator, pool);
        crewi_task_unref(&iterator->task);
    }
    while (cut && (iterator = list_pick(pool, &pool->iterators_closed, NULL))) {
        crewi_iterator_cut(iterator);
        crewi_task_unref(&iterator->task);
    }
}
