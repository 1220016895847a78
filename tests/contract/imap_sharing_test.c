/* SPDX-License-Identifier: MIT */
/* Promise 6: who waits for a stream and who pulls it: deadlines, order of arrival, consumers that share it. */
#include "counted_source.h"

/* ---- deadlines and order of arrival ---- */

struct parking {
    struct gate *go;
    counter runs;
};

/* Item 0 stays until the gate opens. */
CREW_JOB(park_first, long, long)
{
    struct parking *parking = context;

    counter_add(&parking->runs, 1);
    if (*arg == 0)
        gate_wait(parking->go);
    *result = *arg;
    return 0;
}

static crew_iterator *start_parking(imap_fn *imap, crew_pool *pool, struct counted_source *source,
                                    struct parking *parking)
{
    crew_iterator *stream;

    counted_source_init(source, 6);
    *parking = (struct parking){.go = gate_new()};
    CHECK_STATUS(imap(pool, &park_first, COUNTED(source), &stream, CREW_CALL(.context = parking, .window = 6)),
                 CREW_OK);
    return stream;
}

CONTRACT_THREADS(in_input_order_a_slow_item_holds_back_those_behind_it)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 1));
    struct counted_source source;
    struct parking parking;
    crew_iterator *stream = start_parking(crew_imap, pool, &source, &parking);
    size_t index = 99;
    long value = -1;

    gate_wait_for(source.pulled, 6);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_NOW, NULL), CREW_TIMEOUT);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, crew_after_ms(10), NULL), CREW_TIMEOUT);
    CHECK_EQ(value, -1);
    CHECK_EQ(index, 99);
    gate_open(parking.go);
    for (long i = 0; i < 6; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_OK);
        CHECK_EQ(value, i);
    }
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
    gate_free(parking.go);
}

CONTRACT_THREADS(unordered_items_come_as_they_finish)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 1));
    struct counted_source source;
    struct parking parking;
    crew_iterator *stream = start_parking(crew_imap_unordered, pool, &source, &parking);
    size_t index;
    long value;

    for (int i = 0; i < 5; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, &index, far_away(), NULL), CREW_OK);
        CHECK(index != 0);
        CHECK_EQ(value, index);
    }
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_NOW, NULL), CREW_TIMEOUT);
    gate_open(parking.go);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, far_away(), NULL), CREW_OK);
    CHECK_EQ(index, 0);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
    gate_free(parking.go);
}

CONTRACT_THREADS(a_finite_next_neither_pulls_nor_runs_on_its_own_thread)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    struct blocker blocker;
    crew_iterator *stream;
    counter runs = {0};
    long value;

    blocker_hold(&blocker, pool, config->workers);
    counted_source_init(&source, 3);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), &stream, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, crew_after_ms(20), NULL), CREW_TIMEOUT);
    CHECK_EQ(gate_count(source.pulled), 0);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_OK);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
    blocker_free(&blocker);
}

/* ---- several consumers ---- */

enum { SHARED = 600 };

struct sharing {
    crew_iterator *stream;
    crew_status end; /* what each consumer must see */
    counter seen[SHARED], taken;
};

static void consume(void *arg)
{
    struct sharing *sharing = arg;
    crew_status status;
    size_t index;
    long value;

    while ((status = crew_iterator_next(sharing->stream, &value, &index, CREW_FOREVER, NULL)) == CREW_OK) {
        CHECK_EQ(value, (long)index + 100);
        CHECK_EQ(counter_add(&sharing->seen[index], 1), 1);
        counter_add(&sharing->taken, 1);
    }
    CHECK_STATUS(status, sharing->end);
    CHECK_STATUS(crew_iterator_next(sharing->stream, &value, &index, CREW_NOW, NULL), sharing->end);
}

static void check_sharing(imap_fn *imap, size_t chunk, bool fails)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    struct sharing sharing = {.end = fails ? CREW_SOURCE_FAILED : CREW_END};
    struct test_thread *threads[4];

    counted_source_init(&source, SHARED);
    source.fails = fails;
    CHECK_STATUS(imap(pool, &plus_100, COUNTED(&source), &sharing.stream, CREW_CALL(.chunk = chunk)), CREW_OK);
    for (int i = 0; i < 4; i++)
        threads[i] = test_thread_start(consume, &sharing);
    for (int i = 0; i < 4; i++)
        test_thread_join(threads[i]);
    CHECK_EQ(counter_get(&sharing.taken), SHARED);
    crew_iterator_destroy(sharing.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
}

CONTRACT(consumers_share_a_stream_and_all_see_its_end)
{
    check_sharing(crew_imap, 1, false);
    check_sharing(crew_imap, 5, false);
    check_sharing(crew_imap_unordered, 1, false);
    check_sharing(crew_imap_unordered, 5, false);
}

CONTRACT(consumers_share_a_stream_and_all_see_its_source_fail)
{
    check_sharing(crew_imap, 1, true);
    check_sharing(crew_imap_unordered, 5, true);
}

CREW_ACTION(consumer_job, size_t)
{
    (void)arg;
    consume(context);
    return 0;
}

static void check_consumer_jobs(imap_fn *imap)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    struct sharing sharing = {.end = CREW_END};

    counted_source_init(&source, SHARED);
    CHECK_STATUS(imap(pool, &plus_100, COUNTED(&source), &sharing.stream, NULL), CREW_OK);
    CHECK_STATUS(crew_map(pool, &consumer_job, NULL, 5, NULL, CREW_CALL(.context = &sharing, .chunk = 1)), CREW_OK);
    CHECK_EQ(counter_get(&sharing.taken), SHARED);
    crew_iterator_destroy(sharing.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
}

CONTRACT(jobs_of_the_same_pool_may_share_a_stream)
{
    check_consumer_jobs(crew_imap);
    check_consumer_jobs(crew_imap_unordered);
}

/* Every consumer gives up after a moment, again and again, while items come slowly: none may be lost in between. */
static void nibble(void *arg)
{
    struct sharing *sharing = arg;
    crew_status status;
    size_t index;
    long value;

    do {
        status = crew_iterator_next(sharing->stream, &value, &index, crew_after_ns(20000), NULL);
        if (status == CREW_OK) {
            CHECK_EQ(counter_add(&sharing->seen[index], 1), 1);
            counter_add(&sharing->taken, 1);
        }
    } while (status == CREW_OK || status == CREW_TIMEOUT);
    CHECK_STATUS(status, CREW_END);
}

CONTRACT_THREADS(no_item_is_lost_by_consumers_that_give_up_and_come_back)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    struct sharing sharing = {.end = CREW_END};
    struct test_thread *threads[3];

    counted_source_init(&source, SHARED);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), &sharing.stream, CREW_CALL(.window = 2)), CREW_OK);
    for (int i = 0; i < 3; i++)
        threads[i] = test_thread_start(nibble, &sharing);
    for (int i = 0; i < 3; i++)
        test_thread_join(threads[i]);
    CHECK_EQ(counter_get(&sharing.taken), SHARED);
    crew_iterator_destroy(sharing.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
}

/* ---- the source and the pool ---- */

struct caller_source {
    crew_pool *pool;
    counter left;
};

/* Pulls run under no lock: this one uses the pool in every way. */
static int calling_pull(void *user, void *ret_item)
{
    struct caller_source *source = user;
    crew_pool_info info = {.struct_size = sizeof info};
    const int number = 4;
    crew_iterator *inner;
    long value;

    if (counter_add(&source->left, -1) < 0)
        return 0;
    CHECK(crew_current_pool() == source->pool);
    CHECK_STATUS(crew_pool_query(source->pool, &info), CREW_OK);
    CHECK_STATUS(crew_apply(source->pool, &twice, &number, &value, NULL), CREW_OK);
    CHECK_EQ(value, 8);
    CHECK_STATUS(crew_imap(source->pool, &twice, &(crew_source){.items = &number, .count = 1}, &inner, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(inner, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    crew_iterator_destroy(inner);
    *(long *)ret_item = value;
    return 1;
}

CONTRACT(a_pull_runs_under_no_lock)
{
    crew_pool *pool = contract_pool(NULL);
    struct caller_source source = {pool, {10}};
    crew_iterator *stream;
    long value, count = 0;

    CHECK_STATUS(crew_imap(pool, &plus_100, &(crew_source){.pull = calling_pull, .user = &source}, &stream, NULL),
                 CREW_OK);
    while (crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL) == CREW_OK) {
        CHECK_EQ(value, 108);
        count++;
    }
    CHECK_EQ(count, 10);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(a_stuck_source_stalls_no_other_call)
{
    crew_pool *pool = contract_pool(NULL);
    struct stuck_source stuck;
    struct counted_source source;
    crew_iterator *stream;
    crew_result *result;
    int numbers[20] = {0};
    long doubled[20], value;

    stuck_source_start(&stuck, pool);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){21}, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &value, far_away()), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_map(pool, &twice, numbers, 20, doubled, NULL), CREW_OK);
    counted_source_init(&source, 50);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), &stream, NULL), CREW_OK);
    for (int i = 0; i < 50; i++)
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, far_away(), NULL), CREW_OK);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_iterator_next(stuck.stream, NULL, NULL, CREW_NOW, NULL), CREW_TIMEOUT);
    stuck_source_let_go(&stuck);
    CHECK_STATUS(crew_iterator_next(stuck.stream, NULL, NULL, CREW_FOREVER, NULL), CREW_END);
    stuck_source_free(&stuck);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(result);
    counted_source_free(&source);
}

CONTRACT_THREADS(a_stuck_source_leaves_all_workers_to_the_jobs)
{
    crew_pool *pool = contract_pool(NULL);
    struct stuck_source stuck;
    struct blocker blocker;

    stuck_source_start(&stuck, pool);
    blocker_hold(&blocker, pool, config->workers);
    stuck_source_let_go(&stuck);
    stuck_source_free(&stuck);
    end_pool(pool, &blocker);
}
