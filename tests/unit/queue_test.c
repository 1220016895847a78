/* SPDX-License-Identifier: MIT */
/* src/base/queue.c: order, chains, and taking out what is dead. */
#include "../harness/test.h"

#include "base/queue.h"

enum { LINKS = 6 };

struct entry {
    crewi_link link;
    int number;
    bool is_dead;
};

static int number_of(const crewi_link *link)
{
    return link != NULL ? ((const struct entry *)(const void *)link)->number : -1;
}

static bool entry_is_dead(const crewi_link *link)
{
    return ((const struct entry *)(const void *)link)->is_dead;
}

static void push(crewi_queue *queue, struct entry *entries, int first, int end)
{
    for (int i = first; i < end; i++) {
        entries[i] = (struct entry){.number = i, .is_dead = i % 2 == 1};
        crewi_queue_push(queue, &entries[i].link);
    }
}

TEST(what_is_pushed_first_is_popped_first)
{
    crewi_queue queue;
    struct entry entries[LINKS];
    crewi_queue_init(&queue);
    CHECK(crewi_queue_pop(&queue) == NULL);
    push(&queue, entries, 0, 3);
    CHECK_EQ(number_of(crewi_queue_pop(&queue)), 0);
    push(&queue, entries, 3, LINKS);
    for (int i = 1; i < LINKS; i++)
        CHECK_EQ(number_of(crewi_queue_pop(&queue)), i);
    CHECK(crewi_queue_is_empty(&queue));
}

TEST(a_chain_has_no_more_than_was_asked_for)
{
    crewi_queue queue;
    struct entry entries[LINKS];
    crewi_queue_init(&queue);
    push(&queue, entries, 0, LINKS);
    crewi_link *chain = crewi_queue_pop_chain(&queue, 2);
    CHECK_EQ(number_of(chain), 0);
    CHECK_EQ(number_of(chain->next), 1);
    CHECK(chain->next->next == NULL);
    CHECK_EQ(number_of(crewi_queue_pop(&queue)), 2);
}

/* Of the list and of what came in since. */
TEST(a_filter_takes_the_dead_out_and_keeps_the_order_of_the_others)
{
    crewi_queue queue;
    struct entry entries[LINKS];
    int dead = 0;
    crewi_queue_init(&queue);
    push(&queue, entries, 0, 3);
    CHECK_EQ(number_of(crewi_queue_pop(&queue)), 0);
    push(&queue, entries, 3, LINKS);
    for (crewi_link *link = crewi_queue_filter(&queue, entry_is_dead); link != NULL; link = link->next)
        dead += 1 << number_of(link);
    CHECK_EQ(dead, (1 << 1) + (1 << 3) + (1 << 5));
    CHECK_EQ(number_of(crewi_queue_pop(&queue)), 2);
    CHECK_EQ(number_of(crewi_queue_pop(&queue)), 4);
    CHECK(crewi_queue_pop(&queue) == NULL);
}
