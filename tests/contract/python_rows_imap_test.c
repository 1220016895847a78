/* SPDX-License-Identifier: MIT */
/* Where Python's imap swallows its input, loses results or hangs, or its queue has no end: what crewpool does. */
#include <pthread.h>

#include "python_rows_stage.h"

typedef crew_status imap_function(crew_pool *pool, const crew_job *job, const crew_source *source,
                                  crew_iterator **ret_iterator, const crew_call *call);

static imap_function *const both_imaps[] = {crew_imap, crew_imap_unordered};
enum { BOTH = 2, ENDLESS = -1 };

/* The numbers from 0, with an end, an error, or neither. */
struct numbers {
    int next, end, fail_at;
    struct gate *pulled;
    counter released;
};

static int pull_number(void *user, void *ret_item)
{
    struct numbers *numbers = user;
    if (numbers->fail_at >= 0 && numbers->next == numbers->fail_at)
        return crew_fail(-3, "line %d is torn", numbers->next);
    if (numbers->next == numbers->end)
        return 0;
    *(int *)ret_item = numbers->next++;
    gate_add(numbers->pulled);
    return 1;
}

static void release_numbers(void *user)
{
    counter_add(&((struct numbers *)user)->released, 1);
}

static struct numbers numbers_new(int end, int fail_at)
{
    return (struct numbers){.end = end, .fail_at = fail_at, .pulled = gate_new()};
}

static crew_source numbers_source(struct numbers *numbers)
{
    return (crew_source){.pull = pull_number, .user = numbers, .release = release_numbers};
}

/* Frees a source whose iterator and pool are gone, after checking that it was let go of once. */
static void numbers_free(struct numbers *numbers)
{
    CHECK_EQ(counter_get(&numbers->released), 1);
    gate_free(numbers->pulled);
}

/* ---- bounded memory ---- */

/* gh-64192, gh-84291, gh-101586 (row 11), gh-74028 (row 14): imap and map swallow their input, even an endless one;
 * gh-131466 (row 15): a buffersize is exceeded by one */
CONTRACT(imap_of_an_endless_source_is_never_more_than_its_window_ahead)
{
    enum { WINDOW = 4, TAKEN = 100, A_MOMENT_NS = 20000000 };
    for (int i = 0; i < BOTH; i++) {
        struct numbers numbers = numbers_new(ENDLESS, -1);
        crew_source source = numbers_source(&numbers);
        crew_iterator *iterator;
        crew_pool *pool = contract_pool(NULL);
        CHECK_STATUS(both_imaps[i](pool, &twice, &source, &iterator, CREW_CALL(.window = WINDOW)), CREW_OK);
        for (unsigned taken = 0; taken < TAKEN; taken++) {
            if (config->threads)
                gate_wait_for(numbers.pulled, taken + WINDOW);
            CHECK(gate_count(numbers.pulled) <= taken + WINDOW);
            CHECK_STATUS(crew_iterator_next(iterator, &(long){0}, NULL, CREW_FOREVER, NULL), CREW_OK);
        }
        CHECK(!gate_wait_until(numbers.pulled, TAKEN + WINDOW + 1, A_MOMENT_NS));
        crew_iterator_destroy(iterator);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        numbers_free(&numbers);
    }
}

struct census {
    counter living, most;
};

static void bury(void *value, void *context)
{
    (void)value;
    counter_add(&((struct census *)context)->living, -1);
}

CREW_JOB_DROPS(give_birth, int, int, NULL, bury)
{
    struct census *census = context;
    *result = *arg;
    counter_max(&census->most, counter_add(&census->living, 1));
    return 0;
}

/* gh-85754 (row 41): executor.map keeps every result until the end */
CONTRACT(imap_keeps_no_value_that_was_taken_and_drops_those_that_were_not)
{
    enum { WINDOW = 8, ITEMS = 500 };
    for (int i = 0; i < BOTH; i++) {
        struct census census = {0};
        struct numbers numbers = numbers_new(2 * ITEMS, -1);
        crew_source source = numbers_source(&numbers);
        crew_iterator *iterator;
        crew_pool *pool = contract_pool(NULL);
        const crew_call *call = CREW_CALL(.window = WINDOW, .context = &census);
        CHECK_STATUS(both_imaps[i](pool, &give_birth, &source, &iterator, call), CREW_OK);
        for (int taken = 0; taken < ITEMS; taken++) {
            int value;
            CHECK_STATUS(crew_iterator_next(iterator, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
            bury(&value, &census);
        }
        crew_iterator_destroy(iterator);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(counter_get(&census.living), 0);
        CHECK(counter_get(&census.most) <= WINDOW + 1);
        numbers_free(&numbers);
    }
}

/* ---- the end of the pool ---- */

/* Takes what is left, all of it good; the number of items. */
static unsigned drain(crew_iterator *iterator, crew_status *ret_end)
{
    unsigned items = 0;
    size_t index;
    long value;
    while ((*ret_end = crew_iterator_next(iterator, &value, &index, CREW_FOREVER, NULL)) == CREW_OK) {
        CHECK_EQ(value, 2 * index);
        items++;
    }
    return items;
}

/* gh-155477 (row 12): close() and join() of a pool with a full imap buffer deadlock;
 * gh-146392 (row 15): after a shutdown the rest is cut off or lost */
CONTRACT(close_with_a_full_window_lets_join_return_and_loses_nothing_that_was_pulled)
{
    enum { WINDOW = 4 };
    for (int i = 0; i < BOTH; i++) {
        struct numbers numbers = numbers_new(ENDLESS, -1);
        crew_source source = numbers_source(&numbers);
        crew_iterator *iterator;
        crew_status end;
        crew_pool *pool = contract_pool(NULL);
        CHECK_STATUS(both_imaps[i](pool, &twice, &source, &iterator, CREW_CALL(.window = WINDOW)), CREW_OK);
        if (config->threads)
            gate_wait_for(numbers.pulled, WINDOW);
        CHECK_STATUS(crew_pool_close(pool), CREW_OK);
        CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
        CHECK_EQ(drain(iterator, &end), gate_count(numbers.pulled));
        CHECK_STATUS(end, CREW_CLOSED);
        CHECK_EQ(drain(iterator, &end), 0);
        CHECK_STATUS(end, CREW_CLOSED);
        crew_iterator_destroy(iterator);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        numbers_free(&numbers);
    }
}

/* gh-83541, gh-79810 (row 28): an imap whose pool is gone hangs */
CONTRACT(an_iterator_outlives_its_pool_with_all_that_was_pulled)
{
    enum { WINDOW = 6 };
    for (int i = 0; i < BOTH; i++) {
        struct numbers numbers = numbers_new(ENDLESS, -1);
        crew_source source = numbers_source(&numbers);
        crew_iterator *iterator;
        crew_status end;
        crew_pool *pool = contract_pool(NULL);
        CHECK_STATUS(both_imaps[i](pool, &twice, &source, &iterator, CREW_CALL(.window = WINDOW)), CREW_OK);
        CHECK_STATUS(crew_iterator_next(iterator, &(long){0}, NULL, CREW_FOREVER, NULL), CREW_OK);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(drain(iterator, &end), gate_count(numbers.pulled) - 1);
        CHECK_STATUS(end, CREW_CLOSED);
        crew_iterator_destroy(iterator);
        numbers_free(&numbers);
    }
}

/* ---- errors ---- */

CREW_JOB(fail_at_3_of_7, int, long)
{
    (void)context;
    *result = 2L * *arg;
    return *arg % 7 == 3 ? crew_fail(*arg, "record %d", *arg) : 0;
}

static void check_item(crew_status status, size_t index, long value, const crew_error *error)
{
    if (index % 7 != 3) {
        CHECK_STATUS(status, CREW_OK);
        CHECK_EQ(value, 2 * index);
        return;
    }
    CHECK_STATUS(status, CREW_FAILED);
    CHECK_EQ(error->index, index);
    CHECK_EQ(error->code, index);
}

static void check_errors_in_their_places(crew_pool *pool, bool ordered, size_t chunk)
{
    enum { ITEMS = 30 };
    int items[ITEMS];
    bool seen[ITEMS] = {false};
    size_t index, count = 0;
    long value = 0;
    crew_error error = {0};
    crew_iterator *iterator;
    crew_status status;
    for (int i = 0; i < ITEMS; i++)
        items[i] = i;
    CHECK_STATUS(both_imaps[!ordered](pool, &fail_at_3_of_7, &(crew_source){.items = items, .count = ITEMS}, &iterator,
                                      CREW_CALL(.chunk = chunk)),
                 CREW_OK);
    while (status = crew_iterator_next(iterator, &value, &index, CREW_FOREVER, &error), CREW_IS_OUTCOME(status)) {
        CHECK(index < ITEMS && !seen[index] && (!ordered || index == count));
        check_item(status, index, value, &error);
        seen[index] = true;
        count++;
    }
    CHECK_STATUS(status, CREW_END);
    CHECK_EQ(count, ITEMS);
    CHECK_STATUS(crew_iterator_next(iterator, &value, NULL, CREW_NOW, NULL), CREW_END);
    crew_iterator_destroy(iterator);
}

/* row 46: with chunksize > 1 an item's error ends the generator, the remaining results are lost silently */
CONTRACT(an_error_of_imap_comes_in_its_place_and_costs_no_other_item_whatever_the_chunk)
{
    static const size_t chunks[] = {1, 2, 3, 8, 30, 100};
    crew_pool *pool = contract_pool(NULL);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        check_errors_in_their_places(pool, true, chunks[i]);
        check_errors_in_their_places(pool, false, chunks[i]);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* row 46: with chunksize > 1 there is no next(timeout) */
CONTRACT_THREADS(next_takes_a_deadline_whatever_the_chunk_and_loses_nothing_by_it)
{
    int items[] = {0, 1, 2, 3, 4, 5, 6};
    crew_pool *pool = contract_pool(NULL);
    for (size_t chunk = 1; chunk < 6; chunk += 2) {
        struct stage stage = stage_new();
        const crew_source source = {.items = items, .count = 7};
        crew_iterator *iterator;
        int value = -1;
        CHECK_STATUS(crew_imap(pool, &hold, &source, &iterator, CREW_CALL(.context = &stage, .chunk = chunk)), CREW_OK);
        CHECK_STATUS(crew_iterator_next(iterator, &value, NULL, CREW_NOW, NULL), CREW_TIMEOUT);
        CHECK_STATUS(crew_iterator_next(iterator, &value, NULL, crew_after_ms(1), NULL), CREW_TIMEOUT);
        gate_open(stage.go);
        for (int i = 0; i < 7; i++) {
            CHECK_STATUS(crew_iterator_next(iterator, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
            CHECK_EQ(value, i);
        }
        CHECK_STATUS(crew_iterator_next(iterator, &value, NULL, CREW_FOREVER, NULL), CREW_END);
        crew_iterator_destroy(iterator);
        stage_free(&stage);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* row 45: an input that raises in the middle hangs map, and costs imap the chunk that it falls in */
CONTRACT(a_source_that_fails_is_told_after_all_that_it_gave_and_for_ever)
{
    enum { GOOD = 5 };
    for (size_t chunk = 1; chunk <= GOOD + 1; chunk++) {
        struct numbers numbers = numbers_new(ENDLESS, GOOD);
        crew_source source = numbers_source(&numbers);
        crew_iterator *iterator;
        crew_status end;
        crew_error error = {0};
        crew_pool *pool = contract_pool(NULL);
        CHECK_STATUS(crew_imap(pool, &twice, &source, &iterator, CREW_CALL(.chunk = chunk)), CREW_OK);
        CHECK_EQ(drain(iterator, &end), GOOD);
        CHECK_STATUS(end, CREW_SOURCE_FAILED);
        CHECK_STATUS(crew_iterator_next(iterator, &(long){0}, NULL, CREW_NOW, &error), CREW_SOURCE_FAILED);
        CHECK_EQ(error.code, -3);
        CHECK_STRING(error.message, "line 5 is torn");
        crew_iterator_destroy(iterator);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        numbers_free(&numbers);
    }
}

/* ---- sources and consumers ---- */

static int pull_when_told(void *user, void *ret_item)
{
    struct stage *stage = user;
    gate_add(stage->started);
    gate_wait(stage->go);
    *(int *)ret_item = 1;
    return 1;
}

static void note_release(void *user)
{
    gate_add(((struct stage *)user)->started);
}

/* row 47, §1.1: an input that blocks stops every later call of the whole pool, and terminate() hangs */
CONTRACT_THREADS(a_stuck_source_stops_no_other_call_of_its_pool_and_not_terminate)
{
    struct stage stage = stage_new();
    crew_source source = {.pull = pull_when_told, .user = &stage, .release = note_release};
    crew_iterator *iterator;
    long value = 0;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_imap(pool, &twice, &source, &iterator, NULL), CREW_OK);
    gate_wait(stage.started);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){21}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_iterator_next(iterator, &value, NULL, CREW_FOREVER, NULL), CREW_CLOSED);
    crew_iterator_destroy(iterator);
    gate_open(stage.go);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(gate_count(stage.started), 2);
    stage_free(&stage);
}

struct consumer {
    crew_iterator *iterator;
    counter *seen;
    crew_status end;
};

static void consume(void *arg)
{
    struct consumer *consumer = arg;
    size_t index;
    long value;
    while ((consumer->end = crew_iterator_next(consumer->iterator, &value, &index, CREW_FOREVER, NULL)) == CREW_OK)
        counter_add(&consumer->seen[index], value == 2 * (long)index);
}

/* row 48: several consumers of one imap iterator get spurious TimeoutErrors, without having given a timeout */
CONTRACT(several_consumers_share_an_iterator_and_each_item_goes_to_one_of_them)
{
    enum { CONSUMERS = 4, ITEMS = 1000 };
    for (int i = 0; i < BOTH; i++) {
        static counter seen[BOTH][ITEMS];
        struct numbers numbers = numbers_new(ITEMS, -1);
        crew_source source = numbers_source(&numbers);
        struct consumer consumers[CONSUMERS];
        struct test_thread *threads[CONSUMERS];
        crew_iterator *iterator;
        crew_pool *pool = contract_pool(NULL);
        CHECK_STATUS(both_imaps[i](pool, &twice, &source, &iterator, NULL), CREW_OK);
        for (int c = 0; c < CONSUMERS; c++) {
            consumers[c] = (struct consumer){.iterator = iterator, .seen = seen[i]};
            threads[c] = test_thread_start(consume, &consumers[c]);
        }
        for (int c = 0; c < CONSUMERS; c++) {
            test_thread_join(threads[c]);
            CHECK_STATUS(consumers[c].end, CREW_END);
        }
        for (int item = 0; item < ITEMS; item++)
            CHECK_EQ(counter_get(&seen[i][item]), 1);
        crew_iterator_destroy(iterator);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        numbers_free(&numbers);
    }
}

/* ---- a queue with an end: gh-73781, PR 143 (row 13): the queue of a pool has no limit and no back-pressure ---- */

enum { LIMIT = 2 };

/* A pool whose workers are all held and whose queue is full. */
static crew_pool *full_pool(unsigned flags, struct stage *stage, crew_result **ret_held)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.queue_max = LIMIT, .flags = flags));
    stage_hold(stage, pool, config->workers, ret_held);
    for (int i = 0; i < LIMIT; i++)
        CHECK_STATUS(crew_apply_async(pool, &twice, &i, NULL, NULL), CREW_OK);
    return pool;
}

/* gh-73781 (row 13) */
CONTRACT_THREADS(a_full_queue_refuses_a_call_where_the_pool_or_the_call_says_so)
{
    static const unsigned pool_flags[] = {CREW_FULL_FAILS, 0}, call_flags[] = {0, CREW_NO_WAIT};
    for (int i = 0; i < 2; i++) {
        struct stage stage = stage_new();
        crew_result *held[WORKERS_MOST];
        crew_pool *pool = full_pool(pool_flags[i], &stage, held);
        crew_error error = {0};
        const crew_call *call = CREW_CALL(.flags = call_flags[i], .error = &error);
        CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, NULL, call), CREW_FULL);
        CHECK_STATUS(error.status, CREW_FULL);
        stage_release(&stage, config->workers, held);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, NULL, call), CREW_OK);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        stage_free(&stage);
    }
}

CREW_ACTION(note_thread, int)
{
    (void)arg;
    *(pthread_t *)context = pthread_self();
    return 0;
}

/* gh-73781 (row 13) */
CONTRACT_THREADS(a_full_queue_makes_the_submitter_run_its_job_where_the_pool_says_so)
{
    struct stage stage = stage_new();
    crew_result *held[WORKERS_MOST], *result;
    pthread_t ran_on;
    crew_pool *pool = full_pool(CREW_FULL_RUNS | CREW_CALLER_HELPS, &stage, held);
    CHECK_STATUS(crew_apply_async(pool, &note_thread, &(int){0}, &result, CREW_CALL(.context = &ran_on)), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    CHECK(pthread_equal(ran_on, pthread_self()));
    crew_result_destroy(result);
    stage_release(&stage, config->workers, held);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    stage_free(&stage);
}

struct submitter {
    crew_pool *pool;
    struct gate *submitted;
    crew_status status;
};

static void submit_one(void *arg)
{
    struct submitter *submitter = arg;
    submitter->status = crew_apply_async(submitter->pool, &twice, &(int){1}, NULL, NULL);
    gate_open(submitter->submitted);
}

/* gh-73781 (row 13) */
CONTRACT_THREADS(a_full_queue_makes_the_submitter_wait_until_there_is_room)
{
    enum { A_MOMENT_NS = 20000000 };
    struct stage stage = stage_new();
    crew_result *held[WORKERS_MOST];
    struct submitter submitter = {full_pool(0, &stage, held), gate_new(), CREW_INVALID};
    struct test_thread *thread = test_thread_start(submit_one, &submitter);
    CHECK(!gate_wait_until(submitter.submitted, 1, A_MOMENT_NS));
    stage_release(&stage, config->workers, held);
    test_thread_join(thread);
    CHECK_STATUS(submitter.status, CREW_OK);
    CHECK_STATUS(crew_pool_destroy(submitter.pool), CREW_OK);
    gate_free(submitter.submitted);
    stage_free(&stage);
}
