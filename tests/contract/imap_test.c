/* SPDX-License-Identifier: MIT */
/* Promise 6: a stream's items in order, its errors at their place, its end for ever. */
#include "counted_source.h"

static crew_iterator *start(imap_fn *imap, crew_pool *pool, const crew_job *job, struct counted_source *source,
                            size_t chunk, size_t window)
{
    crew_iterator *stream;

    CHECK_STATUS(imap(pool, job, COUNTED(source), &stream, CREW_CALL(.chunk = chunk, .window = window)), CREW_OK);
    return stream;
}

static void check_order(crew_pool *pool, long length, size_t chunk, size_t window)
{
    struct counted_source source;
    crew_iterator *stream;
    size_t index = 0;
    long value = 0;

    counted_source_init(&source, length);
    stream = start(crew_imap, pool, &plus_100, &source, chunk, window);
    for (long i = 0; i < length; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(value, i + 100);
        CHECK_EQ(index, i);
    }
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, NULL), CREW_END);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_NOW, NULL), CREW_END);
    CHECK_EQ(value, length == 0 ? 0 : length + 99);
    crew_iterator_destroy(stream);
    counted_source_free(&source);
}

CONTRACT(imap_delivers_in_input_order_and_then_says_the_end_for_ever)
{
    static const long lengths[] = {0, 1, 2, 7, 100, 1000};
    crew_pool *pool = contract_pool(NULL);

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        check_order(pool, lengths[i], 0, 0);
        check_order(pool, lengths[i], 1, 1);
        check_order(pool, lengths[i], 3, 3);
        check_order(pool, lengths[i], 4, 10);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(imap_unordered_delivers_each_item_once_with_its_number)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *stream;
    bool seen[300] = {false};
    size_t index;
    long value;

    counted_source_init(&source, 300);
    stream = start(crew_imap_unordered, pool, &plus_100, &source, 0, 0);
    for (int i = 0; i < 300; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(value, (long)index + 100);
        CHECK(index < 300 && !seen[index]);
        seen[index] = true;
    }
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    counted_source_free(&source);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void release_once(void *user)
{
    counter_add(user, 1);
}

CONTRACT(an_array_is_a_source_and_is_given_back_once)
{
    crew_pool *pool = contract_pool(NULL);
    int *numbers = malloc(50 * sizeof *numbers);
    counter released = {0};
    crew_iterator *stream;
    long value, sum = 0;

    CHECK(numbers != NULL);
    for (int i = 0; i < 50; i++)
        numbers[i] = i;
    const crew_source source = {.items = numbers, .count = 50, .user = &released, .release = release_once};
    CHECK_STATUS(crew_imap(pool, &twice, &source, &stream, NULL), CREW_OK);
    while (crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL) == CREW_OK)
        sum += value;
    CHECK_EQ(sum, 49 * 50);
    crew_iterator_destroy(stream);
    free(numbers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&released), 1);
}

CONTRACT(an_empty_array_ends_at_once)
{
    crew_pool *pool = contract_pool(NULL);
    counter released = {0};
    crew_iterator *stream;
    const crew_source source = {.items = &released, .count = 0, .user = &released, .release = release_once};

    CHECK_STATUS(crew_imap(pool, &twice, &source, &stream, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &(long){0}, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&released), 1);
}

CONTRACT(a_job_without_a_result_needs_no_place_for_it)
{
    crew_pool *pool = contract_pool(NULL);
    const int codes[3] = {0, 0, 0};
    crew_iterator *stream;

    CHECK_STATUS(crew_imap(pool, &fail_with, &(crew_source){.items = codes, .count = 3}, &stream, NULL), CREW_OK);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- errors ---- */

static void check_errors(crew_pool *pool, size_t chunk)
{
    struct counted_source source;
    crew_iterator *stream;

    counted_source_init(&source, 20);
    stream = start(crew_imap, pool, &not_thirds, &source, chunk, 0);
    for (long i = 0; i < 20; i++) {
        crew_error error = {0};
        size_t index = 99;
        long value = -1;
        crew_status status = crew_iterator_next(stream, &value, &index, CREW_FOREVER, &error);

        CHECK_STATUS(status, i % 3 == 2 ? CREW_FAILED : CREW_OK);
        CHECK_EQ(value, i % 3 == 2 ? -1 : i);
        CHECK_EQ(index, i);
        CHECK_STATUS(error.status, status);
        CHECK_EQ(error.code, i % 3 == 2 ? i : 0);
        CHECK_EQ(error.index, i % 3 == 2 ? i : 0);
        CHECK_STRING(error.job, i % 3 == 2 ? "not_thirds" : "");
    }
    CHECK_STATUS(crew_iterator_next(stream, &(long){0}, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    counted_source_free(&source);
}

CONTRACT(the_error_of_an_item_comes_at_its_place_and_the_iteration_goes_on)
{
    crew_pool *pool = contract_pool(NULL);

    check_errors(pool, 0);
    check_errors(pool, 1);
    check_errors(pool, 4);
    check_errors(pool, 50);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void check_source_failure(imap_fn *imap, crew_pool *pool, size_t chunk)
{
    struct counted_source source;
    crew_iterator *stream;
    crew_error error = {0};
    long value;

    counted_source_init(&source, 10);
    source.fails = true;
    stream = start(imap, pool, &plus_100, &source, chunk, 0);
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    for (int i = 0; i < 3; i++) {
        error = (crew_error){0};
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, &error), CREW_SOURCE_FAILED);
        CHECK_STATUS(error.status, CREW_SOURCE_FAILED);
        CHECK_EQ(error.code, -7);
        CHECK_STRING(error.message, "line 10 is torn");
    }
    crew_iterator_destroy(stream);
    counted_source_free(&source);
}

CONTRACT(the_failure_of_a_source_comes_after_all_its_items_and_stays)
{
    crew_pool *pool = contract_pool(NULL);

    check_source_failure(crew_imap, pool, 1);
    check_source_failure(crew_imap, pool, 4);
    check_source_failure(crew_imap_unordered, pool, 1);
    check_source_failure(crew_imap_unordered, pool, 4);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- the window ---- */

struct watched {
    struct counted_source source;
    size_t window;
    counter asked; /* next calls begun: at least as many as items taken */
};

static int watched_pull(void *user, void *ret_item)
{
    struct watched *watched = user;
    int got = counted_pull(&watched->source, ret_item);

    CHECK(watched->source.next <= counter_get(&watched->asked) + (long)watched->window);
    return got;
}

static void watched_release(void *user)
{
    counted_release(&((struct watched *)user)->source);
}

/* At rest, as many items are pulled as the window allows and no more: not before the first is taken, nor later. */
static void check_window(imap_fn *imap, crew_pool *pool, size_t chunk, size_t window)
{
    struct watched watched = {.window = window};
    crew_iterator *stream;

    counted_source_init(&watched.source, ENDLESS);
    CHECK_STATUS(imap(pool, &plus_100,
                      &(crew_source){.pull = watched_pull, .user = &watched, .release = watched_release}, &stream,
                      CREW_CALL(.chunk = chunk, .window = window)),
                 CREW_OK);
    for (unsigned taken = 0; taken < 40; taken++) {
        if (config->threads)
            gate_wait_for(watched.source.pulled, (unsigned)(taken / chunk * chunk + window / chunk * chunk));
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK(gate_count(watched.source.pulled) <= taken + window);
        counter_add(&watched.asked, 1);
        CHECK_STATUS(crew_iterator_next(stream, &(long){0}, NULL, CREW_FOREVER, NULL), CREW_OK);
    }
    crew_iterator_destroy(stream);
    counted_source_free(&watched.source);
}

CONTRACT(imap_pulls_ahead_but_never_more_than_its_window)
{
    crew_pool *pool = contract_pool(NULL);

    for (size_t window = 1; window <= 9; window += 2) {
        check_window(crew_imap, pool, 1, window);
        check_window(crew_imap_unordered, pool, 1, window);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(the_window_counts_items_also_where_they_go_in_chunks)
{
    crew_pool *pool = contract_pool(NULL);

    check_window(crew_imap, pool, 2, 2);
    check_window(crew_imap, pool, 2, 4);
    check_window(crew_imap, pool, 3, 6);
    check_window(crew_imap, pool, 3, 8);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(the_default_window_is_twice_the_workers_times_the_chunk)
{
    crew_pool *pool = contract_pool(NULL);
    crew_pool_info info = {.struct_size = sizeof info};

    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    for (size_t chunk = 1; chunk <= 3; chunk += 2) {
        struct counted_source source;
        crew_iterator *stream;

        counted_source_init(&source, ENDLESS);
        stream = start(crew_imap, pool, &plus_100, &source, chunk, 0);
        if (config->threads)
            gate_wait_for(source.pulled, 2 * info.workers * (unsigned)chunk);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK(gate_count(source.pulled) <= 2 * info.workers * chunk);
        crew_iterator_destroy(stream);
        counted_source_free(&source);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(an_endless_source_can_be_used_for_as_long_as_one_likes)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *stream;
    long value;

    counted_source_init(&source, ENDLESS);
    stream = start(crew_imap, pool, &plus_100, &source, 0, 0);
    for (long i = 0; i < 5000; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(value, i + 100);
    }
    crew_iterator_destroy(stream);
    counted_source_free(&source);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- what imap refuses ---- */

static void ignore_outcome(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    (void)user;
}

CONTRACT(a_stream_that_cannot_be_is_refused_and_its_source_not_released)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *const untouched = (crew_iterator *)&source, *stream = untouched;
    crew_source both = {
        .items = &source, .count = 1, .pull = counted_pull, .user = &source, .release = counted_release};
    crew_source neither = {.user = &source, .release = counted_release};

    counted_source_init(&source, 3);
    CHECK_STATUS(crew_imap(NULL, &plus_100, COUNTED(&source), &stream, NULL), CREW_INVALID);
    CHECK_STATUS(crew_imap(pool, NULL, COUNTED(&source), &stream, NULL), CREW_INVALID);
    CHECK_STATUS(crew_imap(pool, &plus_100, NULL, &stream, NULL), CREW_INVALID);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), NULL, NULL), CREW_INVALID);
    CHECK_STATUS(crew_imap(pool, &plus_100, &both, &stream, NULL), CREW_INVALID);
    CHECK_STATUS(crew_imap(pool, &plus_100, &neither, &stream, NULL), CREW_INVALID);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), &stream, CREW_CALL(.on_done = ignore_outcome)),
                 CREW_INVALID);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), &stream, CREW_CALL(.chunk = 4, .window = 3)),
                 CREW_INVALID);
    CHECK_STATUS(crew_imap_unordered(pool, &plus_100, COUNTED(&source), &stream, CREW_CALL(.chunk = SIZE_MAX)),
                 CREW_INVALID);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), &stream, NULL), CREW_CLOSED);
    CHECK(stream == untouched);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(gate_count(source.pulled), 0);
    CHECK_EQ(gate_count(source.released), 0);
    gate_free(source.pulled);
    gate_free(source.released);
}

CONTRACT(next_refuses_what_cannot_be_and_takes_nothing)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *stream;
    size_t index = 99;
    long value;

    counted_source_init(&source, 1);
    stream = start(crew_imap, pool, &plus_100, &source, 0, 0);
    CHECK_STATUS(crew_iterator_next(NULL, &value, &index, CREW_FOREVER, NULL), CREW_INVALID);
    CHECK_STATUS(crew_iterator_next(stream, NULL, &index, CREW_FOREVER, NULL), CREW_INVALID);
    CHECK_EQ(index, 99);
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, NULL), CREW_OK);
    CHECK_EQ(value, 100);
    crew_iterator_destroy(stream);
    crew_iterator_destroy(NULL);
    counted_source_free(&source);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- items of every shape ---- */

static int three_pulls(void *user, void *ret_item)
{
    (void)ret_item; /* there is none */
    return counter_add(user, 1) <= 3;
}

static int count_without_argument_fn(const void *arg, void *result, void *context)
{
    CHECK(arg == NULL);
    *(long *)result = counter_add(context, 1);
    return 0;
}

CONTRACT(a_job_without_an_argument_runs_once_for_each_item_of_its_source)
{
    static const crew_job job = {count_without_argument_fn, 0, sizeof(long), "count", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    counter pulls = {0}, runs = {0};
    const crew_source source = {.pull = three_pulls, .user = &pulls};
    crew_iterator *stream;
    long value, sum = 0;

    CHECK_STATUS(crew_imap(pool, &job, &source, &stream, CREW_CALL(.context = &runs)), CREW_OK);
    while (crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL) == CREW_OK)
        sum += value;
    CHECK_EQ(sum, 1 + 2 + 3);
    CHECK_EQ(counter_get(&pulls), 4);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct page {
    unsigned char bytes[5000];
};

CREW_JOB(fill_page, unsigned char, struct page)
{
    (void)context;
    memset(result->bytes, *arg, sizeof result->bytes);
    return 0;
}

CONTRACT(items_may_be_larger_than_a_page)
{
    crew_pool *pool = contract_pool(NULL);
    const unsigned char numbers[3] = {7, 8, 9};
    const crew_source source = {.items = numbers, .count = 3};
    crew_iterator *stream;
    struct page page;

    CHECK_STATUS(crew_imap(pool, &fill_page, &source, &stream, NULL), CREW_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &page, NULL, CREW_FOREVER, NULL), CREW_OK);
        for (size_t at = 0; at < sizeof page.bytes; at++)
            CHECK_EQ(page.bytes[at], numbers[i]);
    }
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_chunk_may_be_as_large_as_memory)
{
    enum { LARGEST_SHIFT = sizeof(size_t) > 4 ? 40 : 16 };
    crew_pool *pool = contract_pool(NULL);
    const long numbers[3] = {1, 2, 3};
    const crew_source source = {.items = numbers, .count = 3};
    crew_iterator *stream;
    long value = 0;

    CHECK_STATUS(crew_imap(pool, &plus_100, &source, &stream, CREW_CALL(.chunk = (size_t)1 << LARGEST_SHIFT)), CREW_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(value, 101 + i);
    }
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static int pull_two_at_once(void *user, void *ret_item)
{
    (void)user, (void)ret_item;
    return 2;
}

CONTRACT(a_source_that_returns_what_means_nothing_has_failed)
{
    crew_pool *pool = contract_pool(NULL);
    crew_iterator *stream;
    crew_error error = {.status = CREW_OK};
    long value;

    CHECK_STATUS(crew_imap(pool, &plus_100, &(crew_source){.pull = pull_two_at_once}, &stream, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, &error), CREW_SOURCE_FAILED);
    CHECK_EQ(error.code, 2);
    CHECK_STRING(error.message, "the source returned neither 1, nor 0, nor an error");
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
