/* SPDX-License-Identifier: MIT */
/* Promise 6, large windows: items wait in line for whoever comes, none is held up by another, and the line grows no longer than it
 * must. */
#include "counted_source.h"

/* ---- who holds up whom ---- */

enum { LINE = 200 };

struct crossing {
    struct gate *passed; /* counts the items that did not wait */
    unsigned blocking;   /* the first so many items wait for all others */
};

CREW_JOB(cross, long, long)
{
    struct crossing *crossing = context;

    if (*arg < (long)crossing->blocking)
        gate_wait_for(crossing->passed, LINE - crossing->blocking);
    else
        gate_add(crossing->passed);
    *result = *arg;
    return 0;
}

/* All but one of the workers hang in the first items, which were pulled together with those that they wait for. */
static void check_crossing(imap_fn *imap)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 1, .flags = CREW_WORKERS_ONLY));
    struct crossing crossing = {.passed = gate_new(), .blocking = config->workers};
    struct counted_source source;
    crew_iterator *stream;
    bool seen[LINE] = {false};
    size_t index;
    long value;

    counted_source_init(&source, LINE);
    CHECK_STATUS(imap(pool, &cross, COUNTED(&source), &stream, CREW_CALL(.context = &crossing, .window = LINE)),
                 CREW_OK);
    for (int i = 0; i < LINE; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, &index, far_away(), NULL), CREW_OK);
        CHECK_EQ(value, index);
        CHECK(!seen[index]);
        seen[index] = true;
    }
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
    gate_free(crossing.passed);
}

CONTRACT_THREADS(an_item_that_blocks_holds_up_none_of_those_pulled_with_it)
{
    check_crossing(crew_imap);
    check_crossing(crew_imap_unordered);
}

struct feedback {
    struct gate *ran;
    unsigned given;
};

enum { GIVEN_AT_ONCE = 5 };

/* Gives some items and then waits until they have run. */
static int feedback_pull(void *user, void *ret_item)
{
    struct feedback *feedback = user;

    if (feedback->given % GIVEN_AT_ONCE == 0)
        gate_wait_for(feedback->ran, feedback->given);
    *(long *)ret_item = feedback->given++;
    return feedback->given <= 4 * GIVEN_AT_ONCE;
}

CREW_ACTION(run_for_feedback, long)
{
    (void)arg;
    gate_add(((struct feedback *)context)->ran);
    return 0;
}

CONTRACT(a_source_may_wait_for_what_it_gave_though_nobody_asks_for_it)
{
    crew_pool *pool = contract_pool(NULL);
    struct feedback feedback = {.ran = gate_new()};
    crew_iterator *stream;

    CHECK_STATUS(crew_imap(pool, &run_for_feedback, &(crew_source){.pull = feedback_pull, .user = &feedback}, &stream,
                           CREW_CALL(.context = &feedback, .window = 100)),
                 CREW_OK);
    gate_wait_for(feedback.ran, 4 * GIVEN_AT_ONCE);
    for (int i = 0; i < 4 * GIVEN_AT_ONCE; i++)
        CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(feedback.ran);
}

/* ---- every item once, whatever the window ---- */

enum { MANY = 6000 };

struct taking {
    struct counted_source source;
    crew_iterator *stream;
    size_t window;
    counter seen[MANY], asked, taken;
};

static int taking_pull(void *user, void *ret_item)
{
    struct taking *taking = user;

    CHECK(taking->source.next < counter_get(&taking->asked) + (long)taking->window || taking->source.next == MANY);
    return counted_pull(&taking->source, ret_item);
}

static void taking_release(void *user)
{
    counted_release(&((struct taking *)user)->source);
}

static void take_all(void *arg)
{
    struct taking *taking = arg;
    crew_status status;
    size_t index, last = 0;
    long value;

    while (counter_add(&taking->asked, 1),
           (status = crew_iterator_next(taking->stream, &value, &index, CREW_FOREVER, NULL)) == CREW_OK) {
        CHECK_EQ(value, (long)index + 100);
        CHECK_EQ(counter_add(&taking->seen[index], 1), 1);
        counter_add(&taking->taken, 1);
        last = index;
    }
    CHECK_STATUS(status, CREW_END);
    CHECK(last < MANY);
}

static void check_taking(imap_fn *imap, int consumers, size_t chunk, size_t window)
{
    static struct taking taking;
    crew_pool *pool = contract_pool(NULL);
    struct test_thread *threads[3];

    taking = (struct taking){.window = window};
    counted_source_init(&taking.source, MANY);
    CHECK_STATUS(imap(pool, &plus_100, &(crew_source){.pull = taking_pull, .user = &taking, .release = taking_release},
                      &taking.stream, CREW_CALL(.chunk = chunk, .window = window)),
                 CREW_OK);
    for (int i = 0; i < consumers; i++)
        threads[i] = test_thread_start(take_all, &taking);
    for (int i = 0; i < consumers; i++)
        test_thread_join(threads[i]);
    CHECK_EQ(counter_get(&taking.taken), MANY);
    crew_iterator_destroy(taking.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&taking.source);
}

CONTRACT(a_large_window_is_kept_and_loses_no_item)
{
    check_taking(crew_imap, 1, 1, 1000);
    check_taking(crew_imap, 3, 1, 64);
    check_taking(crew_imap, 3, 7, 1000);
    check_taking(crew_imap_unordered, 1, 1, 1000);
    check_taking(crew_imap_unordered, 3, 7, 500);
}

CONTRACT(the_items_of_an_array_come_once_whatever_the_window)
{
    static int numbers[MANY];
    crew_pool *pool = contract_pool(NULL);
    long value;

    for (int i = 0; i < MANY; i++)
        numbers[i] = i;
    for (size_t window = 10; window < 3 * MANY; window *= 10) {
        crew_iterator *stream;

        CHECK_STATUS(crew_imap(pool, &twice, &(crew_source){.items = numbers, .count = MANY}, &stream,
                               CREW_CALL(.window = window)),
                     CREW_OK);
        for (int i = 0; i < MANY; i++) {
            CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
            CHECK_EQ(value, 2 * i);
        }
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
        crew_iterator_destroy(stream);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- what a line costs ---- */

static struct test_memory memory;

CONTRACT(a_window_without_limit_costs_what_is_pulled)
{
    enum { LITTLE = 64 * 1024 };
    crew_pool *pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    long before = counter_get(&memory.live_bytes);
    struct counted_source source;
    crew_iterator *stream;
    long value;

    counted_source_init(&source, 10);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), &stream, CREW_CALL(.window = PTRDIFF_MAX)), CREW_OK);
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
    if (!config->threads || config->workers < 4) /* threads that start meanwhile cost, too */
        CHECK(counter_get(&memory.live_bytes) < before + LITTLE);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&memory.live_bytes), 0);
    counted_source_free(&source);
}

/* Item 0 waits for the gate; the others pass it by. */
CREW_JOB(hold_first, long, long)
{
    if (*arg == 0)
        gate_wait(context);
    *result = *arg;
    return 0;
}

CONTRACT_THREADS(items_that_pass_one_by_that_hangs_pile_up_nowhere)
{
    enum { SLACK = 64 * 1024 };
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 1, TEST_MEMORY(&memory)));
    struct gate *go = gate_new();
    struct counted_source source;
    crew_iterator *stream;
    long value, level = 0;
    size_t index;

    counted_source_init(&source, MANY);
    CHECK_STATUS(
        crew_imap_unordered(pool, &hold_first, COUNTED(&source), &stream, CREW_CALL(.context = go, .window = 100)),
        CREW_OK);
    for (int i = 1; i < MANY; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, &index, far_away(), NULL), CREW_OK);
        CHECK(index != 0);
        if (i == MANY / 2)
            level = counter_get(&memory.live_bytes);
    }
    CHECK(counter_get(&memory.live_bytes) < level + SLACK);
    gate_open(go);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, far_away(), NULL), CREW_OK);
    CHECK_EQ(index, 0);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, far_away(), NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
    gate_free(go);
}

/* ---- a chunk that is not full ---- */

struct stalling {
    struct gate *stalled, *go, *released;
    long next;
};

/* Gives two items and stays in the third pull. */
static int stalling_pull(void *user, void *ret_item)
{
    struct stalling *stalling = user;

    if (stalling->next == 2) {
        gate_add(stalling->stalled);
        gate_wait(stalling->go);
    }
    *(long *)ret_item = stalling->next++;
    return 1;
}

static void stalling_release(void *user)
{
    gate_add(((struct stalling *)user)->released);
}

CONTRACT_THREADS(terminate_ends_a_chunk_that_its_source_has_not_filled)
{
    crew_pool *pool = contract_pool(NULL);
    struct stalling stalling = {gate_new(), gate_new(), gate_new(), 0};
    const crew_source source = {.pull = stalling_pull, .user = &stalling, .release = stalling_release};
    crew_iterator *stream;
    size_t index;
    long value;

    CHECK_STATUS(crew_imap(pool, &plus_100, &source, &stream, CREW_CALL(.chunk = 4, .window = 100)), CREW_OK);
    gate_wait(stalling.stalled);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_NOW, NULL), CREW_TIMEOUT);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    for (size_t i = 0; i < 2; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, &index, far_away(), NULL), CREW_TERMINATED);
        CHECK_EQ(index, i);
    }
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_CLOSED);
    gate_open(stalling.go);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_CLOSED);
    crew_iterator_destroy(stream);
    CHECK_EQ(gate_count(stalling.released), 1);
    gate_free(stalling.stalled);
    gate_free(stalling.go);
    gate_free(stalling.released);
}
