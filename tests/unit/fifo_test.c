/* SPDX-License-Identifier: MIT */
/* The fifo in which outsiders hand work in: order, emptiness, filtering, pushers and poppers side by side, want of memory. */
#include "base/fifo.h"

#include "../harness/test.h"

enum { MANY = 1000 }; /* several segments */

static const struct crewi_memory plenty = {NULL, NULL, NULL};
static char entries[MANY + 1]; /* their addresses are what is queued */

static void push(crewi_fifo *fifo, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        crewi_fifo_lock(fifo);
        CHECK(crewi_fifo_push_and_unlock(fifo, &entries[i]));
    }
}

/* Pops all, at most `at_once` at a time, and checks that they are first, first + step, … */
static void check_popped(crewi_fifo *fifo, size_t first, size_t end, size_t step, size_t at_once)
{
    void *popped[MANY];
    size_t next = first;
    for (size_t count; (count = crewi_fifo_pop(fifo, popped, at_once)) > 0;)
        for (size_t i = 0; i < count; i++, next += step)
            CHECK(popped[i] == &entries[next]);
    CHECK(next >= end && next < end + step);
    CHECK(crewi_fifo_is_empty(fifo));
}

TEST(what_is_pushed_comes_out_in_order)
{
    crewi_fifo fifo;
    crewi_fifo_init(&fifo, &plenty);
    CHECK(crewi_fifo_is_empty(&fifo));
    for (size_t at_once = 1; at_once < 300; at_once += 37) {
        push(&fifo, 0, MANY);
        CHECK(!crewi_fifo_is_empty(&fifo));
        check_popped(&fifo, 0, MANY, 1, at_once);
    }
    crewi_fifo_destroy(&fifo);
}

TEST(pushing_and_popping_take_turns_at_every_length)
{
    crewi_fifo fifo;
    crewi_fifo_init(&fifo, &plenty);
    for (size_t length = 1; length < 400; length++) {
        push(&fifo, 0, length);
        check_popped(&fifo, 0, length, 1, 64);
    }
    crewi_fifo_destroy(&fifo);
}

TEST(a_fifo_that_is_locked_and_unlocked_stays_as_it_was)
{
    crewi_fifo fifo;
    crewi_fifo_init(&fifo, &plenty);
    crewi_fifo_lock(&fifo);
    crewi_fifo_unlock(&fifo);
    CHECK(crewi_fifo_is_empty(&fifo));
    push(&fifo, 3, 4);
    crewi_fifo_lock(&fifo);
    crewi_fifo_unlock(&fifo);
    check_popped(&fifo, 3, 4, 1, 8);
    crewi_fifo_destroy(&fifo);
}

/* ---- filtering ---- */

static size_t dropped;

static bool is_odd(const void *entry)
{
    return ((const char *)entry - entries) % 2 == 1;
}

static bool is_any(const void *entry)
{
    return entry != NULL;
}

static void count_dropped(void *entry)
{
    CHECK(entry != NULL);
    dropped++;
}

TEST(filtering_takes_out_the_dead_and_keeps_the_order_of_the_others)
{
    crewi_fifo fifo;
    void *popped[1];
    for (size_t taken = 0; taken < 300; taken += 50) {
        crewi_fifo_init(&fifo, &plenty);
        push(&fifo, 0, MANY);
        for (size_t i = 0; i < taken; i++)
            CHECK_EQ(crewi_fifo_pop(&fifo, popped, 1), 1);
        dropped = 0;
        crewi_fifo_filter(&fifo, is_odd, count_dropped);
        CHECK_EQ(dropped, (MANY - taken) / 2);
        check_popped(&fifo, taken, MANY, 2, 33);
        crewi_fifo_destroy(&fifo);
    }
}

TEST(a_fifo_of_which_all_was_filtered_out_goes_on)
{
    crewi_fifo fifo;
    crewi_fifo_init(&fifo, &plenty);
    crewi_fifo_filter(&fifo, is_any, count_dropped);
    for (size_t length = 100; length <= MANY; length += 100) {
        push(&fifo, 0, length);
        dropped = 0;
        crewi_fifo_filter(&fifo, is_any, count_dropped);
        CHECK_EQ(dropped, length);
        CHECK(crewi_fifo_is_empty(&fifo));
    }
    push(&fifo, 0, MANY);
    check_popped(&fifo, 0, MANY, 1, 50);
    crewi_fifo_destroy(&fifo);
}

/* ---- side by side ---- */

enum { THREADS = 3, EACH = 20000 };

struct shared {
    crewi_fifo fifo;
    counter pushers;              /* that are through */
    counter seen[THREADS * EACH]; /* how often each entry came out */
};

struct pusher {
    struct shared *shared;
    size_t first;
};

static void push_each(void *arg)
{
    struct pusher *pusher = arg;
    for (size_t i = 0; i < EACH; i++) {
        crewi_fifo_lock(&pusher->shared->fifo);
        CHECK(crewi_fifo_push_and_unlock(&pusher->shared->fifo, &pusher->shared->seen[pusher->first + i]));
    }
    counter_add(&pusher->shared->pushers, 1);
}

/* Each pusher's entries come out in its order; the last look is after the last push. */
static void pop_all(void *arg)
{
    struct shared *shared = arg;
    void *popped[16], *last[THREADS] = {NULL};
    for (bool is_over = false; !is_over;) {
        is_over = counter_get(&shared->pushers) == THREADS;
        for (size_t count; (count = crewi_fifo_pop(&shared->fifo, popped, 16)) > 0;)
            for (size_t i = 0; i < count; i++) {
                size_t pusher = (size_t)((counter *)popped[i] - shared->seen) / EACH;
                CHECK(!last[pusher] || popped[i] > last[pusher]);
                last[pusher] = popped[i];
                counter_add(popped[i], 1);
            }
    }
}

TEST(every_entry_comes_out_once_and_in_its_pusher_s_order)
{
    struct shared *shared = calloc(1, sizeof *shared);
    struct pusher pushers[THREADS];
    struct test_thread *threads[THREADS + 2];
    CHECK(shared != NULL);
    crewi_fifo_init(&shared->fifo, &plenty);
    for (size_t i = 0; i < THREADS; i++) {
        pushers[i] = (struct pusher){shared, i * EACH};
        threads[i] = test_thread_start(push_each, &pushers[i]);
    }
    for (size_t i = THREADS; i < THREADS + 2; i++)
        threads[i] = test_thread_start(pop_all, shared);
    for (size_t i = 0; i < THREADS + 2; i++)
        test_thread_join(threads[i]);
    for (size_t i = 0; i < THREADS * EACH; i++)
        CHECK_EQ(counter_get(&shared->seen[i]), 1);
    crewi_fifo_destroy(&shared->fifo);
    free(shared);
}

/* ---- memory ---- */

static void *no_memory(void *user, size_t size, size_t align)
{
    (void)size, (void)align;
    return *(bool *)user ? aligned_alloc(64, 1024) : NULL;
}

static void give_back(void *user, void *block, size_t size)
{
    (void)user;
    CHECK_EQ(size, 1024);
    free(block);
}

TEST(without_memory_a_push_says_so_and_loses_nothing)
{
    bool is_there = false;
    const struct crewi_memory scarce = {no_memory, give_back, &is_there};
    crewi_fifo fifo;
    crewi_fifo_init(&fifo, &scarce);
    crewi_fifo_lock(&fifo);
    CHECK(!crewi_fifo_push_and_unlock(&fifo, &entries[0]));
    CHECK(crewi_fifo_is_empty(&fifo));
    is_there = true;
    push(&fifo, 0, 10);
    is_there = false;
    check_popped(&fifo, 0, 10, 1, 4);
    crewi_fifo_destroy(&fifo);
}
