/* SPDX-License-Identifier: MIT */
/* Promise 6, streams that end before their source: broken off, closed, terminated; all is freed, and released once. */
#include "counted_source.h"

/* ---- breaking off ---- */

/* Takes `taken` items of an endless stream of parcels and lets go of the rest. */
static void check_break_off(imap_fn *imap, long taken, size_t chunk)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *stream;
    struct parcel value;
    size_t index;

    counted_source_init(&source, ENDLESS);
    source.has_parcels = true;
    CHECK_STATUS(imap(pool, &double_parcel, COUNTED(&source), &stream, CREW_CALL(.context = &ledger, .chunk = chunk)),
                 CREW_OK);
    for (long i = 0; i < taken; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(parcel_open(value), 2 * (long)index);
    }
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(source.next >= taken);
    CHECK_EQ(counter_get(&ledger.args_dropped), source.next);
    CHECK_EQ(counter_get(&ledger.results_dropped), counter_get(&ledger.results_made) - taken);
    counted_source_free(&source);
}

CONTRACT(breaking_off_early_drops_every_item_and_every_value_once)
{
    for (int round = 0; round < 10; round++) {
        check_break_off(crew_imap, 0, 1);
        check_break_off(crew_imap, 7, 1);
        check_break_off(crew_imap, 7, 4);
        check_break_off(crew_imap_unordered, 0, 1);
        check_break_off(crew_imap_unordered, 7, 1);
        check_break_off(crew_imap_unordered, 7, 4);
    }
}

CONTRACT(a_stream_taken_to_its_end_drops_every_item_and_no_value)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *stream;
    struct parcel value;

    counted_source_init(&source, 30);
    source.has_parcels = true;
    CHECK_STATUS(crew_imap(pool, &double_parcel, COUNTED(&source), &stream, CREW_CALL(.context = &ledger)), CREW_OK);
    for (long i = 0; i < 30; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(parcel_open(value), 2 * i);
    }
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.args_dropped), 30);
    CHECK_EQ(counter_get(&ledger.results_dropped), 0);
    counted_source_free(&source);
}

CONTRACT(the_items_of_an_array_are_never_dropped)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    struct parcel parcels[10], value;
    crew_iterator *stream;

    for (int i = 0; i < 10; i++)
        parcels[i] = parcel_of(i);
    CHECK_STATUS(crew_imap(pool, &double_parcel, &(crew_source){.items = parcels, .count = 10}, &stream,
                           CREW_CALL(.context = &ledger)),
                 CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_EQ(parcel_open(value), 0);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(parcel_open(parcels[i]), i);
    CHECK_EQ(counter_get(&ledger.args_dropped), 0);
    CHECK_EQ(counter_get(&ledger.results_dropped), counter_get(&ledger.results_made) - 1);
}

struct staying {
    struct gate *started, *never;
    counter inside, runs;
};

/* Stays until it is told to stop. */
CREW_JOB(stay_until_told, long, long)
{
    struct staying *staying = context;

    counter_add(&staying->inside, 1);
    counter_add(&staying->runs, 1);
    gate_add(staying->started);
    while (!crew_should_stop())
        (void)gate_wait_until(staying->never, 1, 1000000);
    *result = *arg;
    counter_add(&staying->inside, -1);
    return 0;
}

static crew_iterator *start_staying(struct staying *staying, crew_pool *pool, struct counted_source *source)
{
    crew_iterator *stream;

    *staying = (struct staying){.started = gate_new(), .never = gate_new()};
    counted_source_init(source, ENDLESS);
    CHECK_STATUS(crew_imap(pool, &stay_until_told, COUNTED(source), &stream, CREW_CALL(.context = staying)), CREW_OK);
    gate_wait(staying->started);
    return stream;
}

static void staying_free(struct staying *staying)
{
    gate_free(staying->started);
    gate_free(staying->never);
}

CONTRACT_THREADS(destroying_a_stream_tells_its_running_items_to_stop_and_waits_for_them)
{
    crew_pool *pool = contract_pool(NULL);
    struct staying staying;
    struct counted_source source;
    crew_iterator *stream = start_staying(&staying, pool, &source);
    long runs;

    crew_iterator_destroy(stream);
    CHECK_EQ(counter_get(&staying.inside), 0);
    runs = counter_get(&staying.runs);
    CHECK(runs >= 1 && runs <= config->workers);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&staying.runs), runs);
    counted_source_free(&source);
    staying_free(&staying);
}

struct self_destroying {
    crew_iterator *stream;
    struct gate *published;
    counter runs;
};

CREW_JOB(destroys_own_stream, long, long)
{
    struct self_destroying *self = context;

    counter_add(&self->runs, 1);
    gate_wait(self->published);
    if (*arg == 0) {
        crew_iterator_destroy(self->stream);
        CHECK_EQ(crew_should_stop(), 1);
    }
    *result = *arg;
    return 0;
}

CONTRACT_THREADS(an_item_may_let_go_of_its_own_stream_without_waiting_for_itself)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1));
    struct self_destroying self = {.published = gate_new()};
    struct counted_source source;

    counted_source_init(&source, ENDLESS);
    CHECK_STATUS(crew_imap(pool, &destroys_own_stream, COUNTED(&source), &self.stream, CREW_CALL(.context = &self)),
                 CREW_OK);
    gate_open(self.published);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&self.runs) >= 1);
    counted_source_free(&source);
    gate_free(self.published);
}

/* ---- a pull that is under way ---- */

struct slow_source {
    struct gate *pulled, *go;
    counter released;
};

/* Yields one parcel, slowly; there is no second pull. */
static int slow_pull(void *user, void *ret_item)
{
    struct slow_source *source = user;

    CHECK_EQ(counter_get(&source->released), 0);
    gate_add(source->pulled);
    CHECK_EQ(gate_count(source->pulled), 1);
    gate_wait(source->go);
    *(struct parcel *)ret_item = parcel_of(1);
    return 1;
}

static void slow_release(void *user)
{
    struct slow_source *source = user;

    CHECK_EQ(gate_count(source->go), 1);
    counter_add(&source->released, 1);
}

static crew_iterator *start_slow(struct slow_source *source, crew_pool *pool, struct ledger *ledger)
{
    crew_iterator *stream;

    *source = (struct slow_source){.pulled = gate_new(), .go = gate_new()};
    CHECK_STATUS(crew_imap(pool, &double_parcel,
                           &(crew_source){.pull = slow_pull, .user = source, .release = slow_release}, &stream,
                           CREW_CALL(.context = ledger)),
                 CREW_OK);
    gate_wait(source->pulled);
    return stream;
}

/* What the pull brings is dropped, and the source released after it. */
static void finish_slow(struct slow_source *source, crew_pool *pool, const struct ledger *ledger)
{
    CHECK_EQ(counter_get(&source->released), 0);
    gate_open(source->go);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&source->released), 1);
    CHECK_EQ(counter_get(&ledger->args_dropped), 1);
    CHECK_EQ(counter_get(&ledger->runs), 0);
    gate_free(source->pulled);
    gate_free(source->go);
}

CONTRACT_THREADS(destroying_a_stream_does_not_wait_for_its_pull)
{
    crew_pool *pool = contract_pool(NULL);
    struct ledger ledger = {0};
    struct slow_source source;
    crew_iterator *stream = start_slow(&source, pool, &ledger);

    crew_iterator_destroy(stream);
    finish_slow(&source, pool, &ledger);
}

CONTRACT_THREADS(the_source_is_released_exactly_once_after_its_last_pull)
{
    crew_pool *pool = contract_pool(NULL);
    struct ledger ledger = {0};
    struct slow_source source;
    crew_iterator *stream = start_slow(&source, pool, &ledger);

    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    crew_iterator_destroy(stream);
    finish_slow(&source, pool, &ledger);
}

CONTRACT_THREADS(after_terminate_next_does_not_wait_for_a_stuck_source)
{
    crew_pool *pool = contract_pool(NULL);
    struct ledger ledger = {0};
    struct slow_source source;
    crew_iterator *stream = start_slow(&source, pool, &ledger);
    struct parcel value;

    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_CLOSED);
    crew_iterator_destroy(stream);
    finish_slow(&source, pool, &ledger);
}

/* ---- close and terminate ---- */

/* Closes the pool under a stream that is at rest: what was pulled can still be had, then it is closed for ever. */
static void check_close(imap_fn *imap, bool join_first)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *stream;
    crew_status status;
    unsigned pulled, taken = 0;
    long value;

    counted_source_init(&source, ENDLESS);
    CHECK_STATUS(imap(pool, &plus_100, COUNTED(&source), &stream, CREW_CALL(.window = 5)), CREW_OK);
    if (config->threads)
        gate_wait_for(source.pulled, 5);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    pulled = gate_count(source.pulled);
    if (join_first)
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    while ((status = crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL)) == CREW_OK)
        taken++;
    CHECK_STATUS(status, CREW_CLOSED);
    CHECK_EQ(taken, pulled);
    CHECK_EQ(gate_count(source.pulled), pulled);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_NOW, NULL), CREW_CLOSED);
    crew_iterator_destroy(stream);
    if (!join_first)
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
}

CONTRACT(close_stops_the_pulling_and_leaves_what_was_pulled_readable)
{
    check_close(crew_imap, false);
    check_close(crew_imap_unordered, false);
}

CONTRACT(a_stream_outlives_its_pool)
{
    check_close(crew_imap, true);
    check_close(crew_imap_unordered, true);
}

CONTRACT(a_stream_whose_source_ended_before_the_close_says_the_end)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *stream;
    long value;

    counted_source_init(&source, 3);
    CHECK_STATUS(crew_imap(pool, &plus_100, COUNTED(&source), &stream, NULL), CREW_OK);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    counted_source_free(&source);
}

/* Terminates a pool with a stream at rest behind a busy worker. Items that had not started come as terminated. */
CONTRACT_THREADS(terminate_ends_the_items_that_have_not_started)
{
    struct ledger ledger = {0};
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
    struct counted_source source;
    struct blocker blocker;
    crew_iterator *stream;
    struct parcel value;
    crew_status status;
    long counts[CREW_WORKER_LOST + 1] = {0};

    counted_source_init(&source, ENDLESS);
    source.has_parcels = true;
    CHECK_STATUS(crew_imap(pool, &double_parcel, COUNTED(&source), &stream, CREW_CALL(.context = &ledger, .window = 8)),
                 CREW_OK);
    gate_wait_for(source.pulled, 1);
    blocker_hold(&blocker, pool, 1);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    while (CREW_IS_OUTCOME(status = crew_iterator_next(stream, &value, NULL, far_away(), NULL))) {
        counts[status]++;
        if (status == CREW_OK)
            (void)parcel_open(value);
    }
    CHECK_STATUS(status, CREW_CLOSED);
    CHECK_EQ(counts[CREW_OK] + counts[CREW_TERMINATED], gate_count(source.pulled));
    CHECK_EQ(counts[CREW_OK], counter_get(&ledger.runs));
    crew_iterator_destroy(stream);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&ledger.args_dropped), gate_count(source.pulled));
    CHECK_EQ(counter_get(&ledger.results_dropped), 0);
    counted_source_free(&source);
}

CONTRACT(terminate_in_the_middle_loses_nothing)
{
    for (int round = 1; round <= 30; round++) {
        struct ledger ledger = {0};
        crew_pool *pool = contract_pool(NULL);
        struct counted_source source;
        crew_iterator *stream;
        struct parcel value;
        crew_status status;
        long taken = 0;

        counted_source_init(&source, ENDLESS);
        source.has_parcels = true;
        CHECK_STATUS(crew_imap(pool, &double_parcel, COUNTED(&source), &stream, CREW_CALL(.context = &ledger)),
                     CREW_OK);
        while (CREW_IS_OUTCOME(status = crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL))) {
            if (status == CREW_OK)
                (void)parcel_open(value);
            if (status == CREW_OK && ++taken == round)
                CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
        }
        crew_iterator_destroy(stream);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(counter_get(&ledger.args_dropped), source.next);
        CHECK_EQ(counter_get(&ledger.results_dropped), counter_get(&ledger.results_made) - taken);
        counted_source_free(&source);
    }
}

static int terminating_pull(void *user, void *ret_item)
{
    struct counted_source *source = user;

    if (source->next == 3)
        CHECK_STATUS(crew_pool_terminate(crew_current_pool()), CREW_OK);
    return counted_pull(user, ret_item);
}

CONTRACT(a_source_may_terminate_its_pool)
{
    crew_pool *pool = contract_pool(NULL);
    struct counted_source source;
    crew_iterator *stream;
    crew_status status;
    long value;

    counted_source_init(&source, ENDLESS);
    CHECK_STATUS(crew_imap(pool, &plus_100,
                           &(crew_source){.pull = terminating_pull, .user = &source, .release = counted_release},
                           &stream, NULL),
                 CREW_OK);
    while (CREW_IS_OUTCOME(status = crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL)))
        CHECK(status == CREW_OK || status == CREW_TERMINATED);
    CHECK_STATUS(status, CREW_CLOSED);
    crew_iterator_destroy(stream);
    gate_wait(source.released);
    CHECK_EQ(source.next, 4);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
}
