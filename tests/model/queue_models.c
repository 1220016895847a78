/* SPDX-License-Identifier: MIT */
/* What tasks lie in: deque, fifo (hatches), queue (injector and lane); and the lock. Each entry comes out exactly once, with what was written into
 * it before. */
#include "model.h"

#include "threads/deque.h"

enum { ENTRIES = 4 };

struct entry {
    crewi_task task;
    int content; /* plain: written before it is pushed, read when it comes out */
    int taken;   /* likewise */
};

static struct entry entries[ENTRIES];

static void *entry_new(int number)
{
    entries[number].content = 100 + number;
    entries[number].taken = 0;
    return &entries[number];
}

static void take(void *task)
{
    struct entry *entry = task;
    if (!entry)
        return;
    WANT(entry->content == 100 + (int)(entry - entries));
    WANT(entry->taken++ == 0);
}

static void all_were_taken(int count)
{
    for (int i = 0; i < count; i++)
        WANT(entries[i].taken == 1);
}

static void forget_entries(void)
{
    for (int i = 0; i < ENTRIES; i++)
        entries[i] = (struct entry){.taken = 0};
}

/* ---- deque ---- */

static crewi_deque deque;
static crewi_atomic_u32 claims; /* that succeeded */
static struct entry filler[CREWI_DEQUE_SIZE];

static void deque_begin(void)
{
    forget_entries();
    crewi_deque_init(&deque);
}

static void deque_drain(void)
{
    while (!crewi_deque_is_empty(&deque))
        take(crewi_deque_pop(&deque));
}

static void deque_steal_once(void)
{
    take(crewi_deque_steal(&deque));
}

static void deque_owner(void)
{
    WANT(crewi_deque_push(&deque, entry_new(0)));
    WANT(crewi_deque_push(&deque, entry_new(1)));
    take(crewi_deque_pop(&deque));
    WANT(crewi_deque_push(&deque, entry_new(2)));
    take(crewi_deque_pop(&deque));
}

static void deque_end(void)
{
    deque_drain();
    all_were_taken(3);
}

MODEL(deque_owner_against_two_thieves, deque_begin, deque_end, deque_owner, deque_steal_once, deque_steal_once);

static void deque_owner_of_one(void)
{
    crewi_task *task = entry_new(0);
    crewi_task_init(task, NULL, NULL, CREWI_PENDING | CREWI_HANDLE, 1);
    WANT(crewi_deque_push(&deque, task));
    bool has_entry, is_claimed = crewi_deque_claim(&deque, &entries[0].task, &has_entry);
    WANT(is_claimed); /* thieves do not claim here */
    if (has_entry)
        take(&entries[0]);
    WANT(crewi_deque_push(&deque, entry_new(1)));
}

static void deque_end_of_two(void)
{
    deque_drain();
    all_were_taken(2);
}

static void deque_fill_two(void)
{
    void *two[] = {entry_new(0), entry_new(1)};
    crewi_deque_fill(&deque, two, 2);
}

MODEL(deque_filled_at_once, deque_begin, deque_end_of_two, deque_fill_two, deque_steal_once, deque_steal_once);

/* A waiter takes the newest of two back, while thieves go for both. */
static void deque_waiter(void)
{
    bool has_entry;
    crewi_task *task = entry_new(1);
    crewi_task_init(task, NULL, NULL, CREWI_PENDING | CREWI_HANDLE, 1);
    WANT(crewi_deque_push(&deque, entry_new(0)));
    WANT(crewi_deque_push(&deque, task));
    WANT(crewi_deque_claim(&deque, task, &has_entry));
    if (has_entry)
        take(task);
}

MODEL(deque_last_entry_has_one_taker, deque_begin, deque_end_of_two, deque_owner_of_one, deque_steal_once,
      deque_steal_once);

MODEL(deque_waiter_takes_its_entry_back, deque_begin, deque_end_of_two, deque_waiter, deque_steal_once,
      deque_steal_once);

/* A job that waits for its newest child claims it while the entry is still there: one claims, and one has the entry, which need
 * not be the same. */
static void claim(crewi_task *task)
{
    if (crewi_task_claim(task))
        (void)crewi_atomic_u32_fetch_add(&claims, 1);
}

static void deque_begin_claim(void)
{
    deque_begin();
    crewi_atomic_u32_init(&claims, 0);
    for (int i = 0; i < 2; i++) {
        entry_new(i);
        crewi_task_init(&entries[i].task, NULL, NULL, CREWI_PENDING | CREWI_HANDLE, 1);
    }
}

static void deque_claim_newest(int number)
{
    bool has_entry;
    if (crewi_deque_claim(&deque, &entries[number].task, &has_entry))
        (void)crewi_atomic_u32_fetch_add(&claims, 1);
    if (has_entry)
        take(&entries[number]);
}

static void deque_owner_who_claims(void)
{
    WANT(crewi_deque_push(&deque, &entries[0].task));
    WANT(crewi_deque_push(&deque, &entries[1].task));
    deque_claim_newest(1);
}

static void deque_steal_and_claim(void)
{
    crewi_task *task = crewi_deque_steal(&deque);
    if (task)
        claim(task);
    take(task);
}

static void deque_end_claim(void)
{
    while (!crewi_deque_is_empty(&deque))
        deque_steal_and_claim();
    all_were_taken(2);
    WANT(crewi_atomic_u32_load(&claims) == 2);
}

MODEL(deque_newest_is_claimed_against_thieves, deque_begin_claim, deque_end_claim, deque_owner_who_claims,
      deque_steal_and_claim, deque_steal_and_claim);

/* The same for the last entry; and others may claim the task who want no entry. */
static void deque_owner_who_claims_the_last(void)
{
    WANT(crewi_deque_push(&deque, &entries[0].task));
    deque_claim_newest(0);
    WANT(crewi_deque_push(&deque, &entries[1].task));
}

static void claim_first(void)
{
    claim(&entries[0].task);
}

MODEL(deque_last_entry_is_claimed_against_a_thief, deque_begin_claim, deque_end_claim, deque_owner_who_claims_the_last,
      deque_steal_and_claim, claim_first);

/* A ring whose places are all in use: a new entry goes where the oldest was. */
static void deque_begin_full(void)
{
    deque_begin();
    crewi_atomic_size_init(&deque.bottom, CREWI_DEQUE_SIZE);
    for (size_t i = 1; i < CREWI_DEQUE_SIZE; i++)
        crewi_atomic_ptr_init(&deque.ring[i], &filler[i]);
    crewi_atomic_ptr_init(&deque.ring[0], entry_new(0));
}

static void deque_push_onto_full(void)
{
    entry_new(1);
    if (!crewi_deque_push(&deque, &entries[1].task))
        take(&entries[1]);
}

static void deque_steal_oldest(void)
{
    crewi_task *task = crewi_deque_steal(&deque);
    WANT(!task || task == &entries[0].task || task == &filler[1].task);
    if (task == &entries[0].task)
        take(task);
}

static void deque_end_full(void)
{
    crewi_task *newest = crewi_deque_pop(&deque);
    WANT(entries[1].taken == 1 ? newest == &filler[CREWI_DEQUE_SIZE - 1].task : newest == &entries[1].task);
    if (entries[0].taken == 0)
        take(crewi_deque_steal(&deque));
    WANT(entries[0].taken == 1);
}

MODEL(deque_place_is_used_again, deque_begin_full, deque_end_full, deque_push_onto_full, deque_steal_oldest,
      deque_steal_oldest);

/* ---- fifo ---- */

static const struct crewi_memory plain_memory;
static crewi_fifo fifo;
static int last_taken;

static void fifo_push(int number)
{
    void *entry = entry_new(number);
    crewi_fifo_lock(&fifo);
    WANT(crewi_fifo_push_and_unlock(&fifo, entry));
}

static void fifo_begin(void)
{
    forget_entries();
    last_taken = 0;
    crewi_fifo_init(&fifo, &plain_memory);
}

static void fifo_push_two(void)
{
    fifo_push(0);
    fifo_push(1);
}

static void fifo_push_third(void)
{
    fifo_push(2);
}

static void fifo_pop_some(void)
{
    void *out[2];
    size_t count = crewi_fifo_pop(&fifo, out, 2);
    for (size_t i = 0; i < count; i++)
        take(out[i]);
}

static void fifo_pop_twice(void)
{
    fifo_pop_some();
    fifo_pop_some();
}

static void fifo_end(void)
{
    while (!crewi_fifo_is_empty(&fifo))
        fifo_pop_some();
    all_were_taken(3);
    crewi_fifo_destroy(&fifo);
}

MODEL(fifo_gives_what_was_pushed, fifo_begin, fifo_end, fifo_push_two, fifo_push_third, fifo_pop_twice);

/* The next entry needs a new segment, and the first is given back. */
static void fifo_begin_at_edge(void)
{
    enum { SEGMENT = 127 };
    fifo_begin();
    for (int i = 0; i < SEGMENT; i++)
        fifo_push(3);
    void *out[SEGMENT];
    WANT(crewi_fifo_pop(&fifo, out, SEGMENT) == SEGMENT);
}

MODEL(fifo_goes_on_in_a_new_segment, fifo_begin_at_edge, fifo_end, fifo_push_two, fifo_push_third, fifo_pop_twice);

static bool entry_is_dead(const void *entry)
{
    return ((const struct entry *)entry)->content == 101;
}

static void fifo_compact(void)
{
    crewi_fifo_filter(&fifo, entry_is_dead, take);
}

static void fifo_begin_with_two(void)
{
    fifo_begin();
    fifo_push_two();
}

MODEL(fifo_compaction_loses_nothing, fifo_begin_with_two, fifo_end, fifo_push_third, fifo_compact, fifo_pop_some);

/* ---- queue ---- */

static crewi_queue queue;

static void queue_begin(void)
{
    forget_entries();
    crewi_queue_init(&queue);
}

static void queue_push(int number)
{
    struct entry *entry = entry_new(number);
    crewi_queue_push(&queue, &entry->task.link);
}

static void queue_push_two(void)
{
    queue_push(0);
    queue_push(1);
}

static void queue_push_third(void)
{
    queue_push(2);
}

static void queue_take_chain(crewi_link *link)
{
    for (crewi_link *next; link; link = next) {
        next = link->next;
        take(crewi_task_of_link(link));
    }
}

static void queue_pop_twice(void)
{
    queue_take_chain(crewi_queue_pop(&queue));
    queue_take_chain(crewi_queue_pop_chain(&queue, 2));
}

static void queue_end(void)
{
    queue_take_chain(crewi_queue_pop_chain(&queue, ENTRIES));
    WANT(crewi_queue_is_empty(&queue));
    all_were_taken(3);
}

MODEL(queue_gives_what_was_pushed, queue_begin, queue_end, queue_push_two, queue_push_third, queue_pop_twice);

static bool link_is_dead(const crewi_link *link)
{
    return CREWI_CONTAINER_OF(link, const struct entry, task.link)->content == 101;
}

static void queue_compact(void)
{
    queue_take_chain(crewi_queue_filter(&queue, link_is_dead));
}

static void queue_begin_with_two(void)
{
    queue_begin();
    queue_push_two();
}

static void queue_pop_one(void)
{
    queue_take_chain(crewi_queue_pop(&queue));
}

MODEL(queue_compaction_loses_nothing, queue_begin_with_two, queue_end, queue_push_third, queue_compact, queue_pop_one);

/* Whoever knows that something was pushed, and that it was not taken, never finds the queue empty. */
static void queue_push_and_look(void)
{
    queue_push_third();
    WANT(!crewi_queue_is_empty(&queue));
}

static void queue_end_of_one(void)
{
    queue_take_chain(crewi_queue_pop(&queue));
    queue_take_chain(crewi_queue_pop(&queue));
    WANT(entries[2].taken == 1);
}

static bool no_link_is_dead(const crewi_link *link)
{
    (void)link;
    return false;
}

static void queue_move_on(void)
{
    WANT(!crewi_queue_filter(&queue, no_link_is_dead));
}

MODEL(queue_is_not_empty_while_something_is_in_it, queue_begin, queue_end_of_one, queue_push_and_look, queue_move_on);

/* ---- the lock ---- */

static crewi_lock lock;
static int counted;

static void lock_begin(void)
{
    crewi_lock_init(&lock);
    counted = 0;
}

static void lock_and_count(void)
{
    crewi_lock_acquire(&lock);
    counted++;
    crewi_lock_release(&lock);
}

static void lock_end(void)
{
    WANT(counted == 3);
}

MODEL(lock_lets_one_in_and_wakes_the_next, lock_begin, lock_end, lock_and_count, lock_and_count, lock_and_count);
