/* SPDX-License-Identifier: MIT */
/* A lock's favourite: who becomes it, that it and the others exclude each other, and that it is waited for. */
#include "platform/favourite.h"

#include <pthread.h>
#include <stdatomic.h>

#include "../harness/test.h"
#include "platform/lock.h"

enum { OFTEN = 20000, THREADS = 3 }; /* more than it takes to become the favourite */

struct guarded {
    crewi_lock lock;
    crewi_favourite favourite;
    bool is_favoured;
    unsigned long count; /* what is guarded: not atomic */
    unsigned long favoured;
};

static void guarded_init(struct guarded *guarded)
{
    *guarded = (struct guarded){.count = 0};
    crewi_lock_init(&guarded->lock);
    crewi_favourite_init(&guarded->favourite);
}

static void guarded_enter(struct guarded *guarded)
{
    bool is_favoured = crewi_favourite_enter(&guarded->favourite);
    if (!is_favoured) {
        crewi_lock_acquire(&guarded->lock);
        crewi_favourite_oust(&guarded->favourite);
    }
    guarded->is_favoured = is_favoured;
}

static void guarded_leave(struct guarded *guarded)
{
    if (guarded->is_favoured) {
        guarded->favoured++;
        crewi_favourite_leave(&guarded->favourite);
        return;
    }
    crewi_favourite_count(&guarded->favourite);
    crewi_lock_release(&guarded->lock);
}

static void guarded_count(struct guarded *guarded, unsigned long times)
{
    for (unsigned long i = 0; i < times; i++) {
        guarded_enter(guarded);
        guarded->count++;
        guarded_leave(guarded);
    }
}

static void *count_often(void *opaque)
{
    guarded_count(opaque, OFTEN);
    return NULL;
}

TEST(who_comes_often_becomes_the_favourite_where_the_barrier_is_to_be_had)
{
    crewi_barrier_prepare();
    struct guarded guarded;
    guarded_init(&guarded);
    guarded_count(&guarded, 2);
    CHECK(guarded.favoured == 0);
    guarded_count(&guarded, OFTEN);
    CHECK((guarded.favoured > 0) == crewi_barrier_is_there());
    CHECK(guarded.count == OFTEN + 2);
}

TEST(without_the_barrier_nobody_becomes_the_favourite)
{
    struct guarded guarded;
    guarded_init(&guarded);
    guarded_count(&guarded, OFTEN);
    CHECK(!crewi_barrier_is_there());
    CHECK(guarded.favoured == 0);
}

static void count_often_elsewhere(struct guarded *guarded)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, count_often, guarded) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

TEST(another_thread_ousts_the_favourite_and_may_become_it_once_that_one_has_had_the_lock)
{
    crewi_barrier_prepare();
    struct guarded guarded;
    guarded_init(&guarded);
    guarded_count(&guarded, OFTEN);
    unsigned long before = guarded.favoured;
    count_often_elsewhere(&guarded);
    CHECK(guarded.favoured == before); /* this thread may not have noticed yet */
    guarded_count(&guarded, 1);
    CHECK(guarded.favoured == before);
    count_often_elsewhere(&guarded);
    CHECK((guarded.favoured > before) == crewi_barrier_is_there());
    CHECK(guarded.count == 3 * OFTEN + 1);
    CHECK(!crewi_favourite_enter(&guarded.favourite)); /* it is not this thread any more */
}

struct visit {
    struct guarded guarded;
    atomic_bool is_inside, was_inside_together;
};

static void *oust_while_inside(void *opaque)
{
    struct visit *visit = opaque;
    guarded_enter(&visit->guarded);
    atomic_store(&visit->was_inside_together, atomic_load(&visit->is_inside));
    guarded_leave(&visit->guarded);
    return NULL;
}

TEST(a_favourite_that_is_inside_is_waited_for)
{
    crewi_barrier_prepare();
    struct visit visit;
    atomic_init(&visit.is_inside, false);
    atomic_init(&visit.was_inside_together, true);
    guarded_init(&visit.guarded);
    guarded_count(&visit.guarded, OFTEN);
    guarded_enter(&visit.guarded);
    atomic_store(&visit.is_inside, true);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, oust_while_inside, &visit) == 0);
    for (unsigned i = 0; i < 1000000; i++) /* gives it the chance to go wrong */
        visit.guarded.count++;
    atomic_store(&visit.is_inside, false);
    guarded_leave(&visit.guarded);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(!atomic_load(&visit.was_inside_together));
}

TEST(favourites_that_oust_each_other_exclude_each_other)
{
    crewi_barrier_prepare();
    struct guarded guarded;
    guarded_init(&guarded);
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, count_often, &guarded) == 0);
    guarded_count(&guarded, OFTEN);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(guarded.count == (THREADS + 1) * OFTEN);
}
