/* SPDX-License-Identifier: MIT */
/* Faults under maps and streams. */
#include "fault.h"

#include "contract/counted_source.h"

enum { ITEMS = 200 };

/* ---- maps ---- */

CREW_JOB(square, size_t, long)
{
    (void)context;
    *result = (long)(*arg * *arg);
    return 0;
}

static void check_squares(const long *values)
{
    for (long i = 0; i < ITEMS; i++)
        CHECK_EQ(values[i], i * i);
}

static void try_map(crew_pool *pool, size_t chunk)
{
    static long values[ITEMS];
    crew_error error = {.status = CREW_OK, .message = ""};
    memset(values, 0, sizeof values);
    crew_status status = crew_map(pool, &square, NULL, ITEMS, values, CREW_CALL(.chunk = chunk, .error = &error));
    if (fault_granted_error(status, CREW_OK, &error))
        check_squares(values);
}

static void try_map_async(crew_pool *pool)
{
    static long values[ITEMS];
    struct ledger ledger = {0};
    crew_result *result = NULL;
    memset(values, 0, sizeof values);
    const crew_call *call = CREW_CALL(.chunk = 1, .on_done = ledger_done, .user = &ledger);
    bool granted = fault_granted(crew_map_async(pool, &square, NULL, ITEMS, values, &result, call), CREW_OK);
    CHECK(granted == (result != NULL));
    if (granted && fault_granted(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK))
        check_squares(values);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&ledger.callbacks), granted);
}

static void use_maps(const crew_pool_options *options)
{
    crew_pool *pool = fault_pool(options);
    if (pool == NULL)
        return;
    try_map(pool, 0);
    try_map(pool, 1);
    try_map_async(pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

SCENARIO(a_map)
{
    use_maps(NULL);
}

SCENARIO(a_map_without_helping)
{
    use_maps(CREW_OPTIONS(.workers = 2, .flags = CREW_WORKERS_ONLY));
}

SCENARIO(a_map_in_a_serial_pool)
{
    use_maps(CREW_OPTIONS(.kind = CREW_SERIAL));
}

CREW_JOB(odd_ones_fail, size_t, long)
{
    (void)context;
    *result = (long)*arg;
    return *arg % 2 == 0 ? 0 : crew_fail(3, "item %zu is odd", *arg);
}

SCENARIO(a_map_that_fails)
{
    long values[ITEMS];
    crew_pool *pool = fault_pool(NULL);
    if (pool == NULL)
        return;
    for (unsigned flags = 0; flags <= CREW_STOP_ON_ERROR; flags += CREW_STOP_ON_ERROR) {
        crew_error error = {.status = CREW_OK, .message = ""};
        const crew_call *call = CREW_CALL(.flags = flags, .error = &error, .chunk = 1);
        if (!fault_granted_error(crew_map(pool, &odd_ones_fail, NULL, ITEMS, values, call), CREW_FAILED, &error))
            continue;
        CHECK_EQ(error.code, 3);
        CHECK(error.index % 2 == 1);
        CHECK(flags != 0 || error.index == 1);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

SCENARIO(a_map_that_is_let_go_of)
{
    static long values[ITEMS];
    crew_result *result = NULL;
    crew_pool *pool = fault_pool(NULL);
    if (pool == NULL)
        return;
    (void)fault_granted(crew_map_async(pool, &square, NULL, ITEMS, values, &result, CREW_CALL(.chunk = 1)), CREW_OK);
    crew_result_destroy(result);
    memset(values, 0, sizeof values); /* nobody else touches them any more */
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct pair {
    long left, right;
};

CREW_JOB(product, struct pair, long)
{
    (void)context;
    *result = arg->left * arg->right;
    return 0;
}

SCENARIO(a_starmap)
{
    static long numbers[ITEMS], values[ITEMS], three = 3;
    const crew_column columns[] = {CREW_COLUMN(struct pair, left, numbers), CREW_CONSTANT(struct pair, right, &three)};
    crew_result *result = NULL;
    crew_pool *pool = fault_pool(NULL);
    if (pool == NULL)
        return;
    for (long i = 0; i < ITEMS; i++)
        numbers[i] = i;
    if (fault_granted(crew_starmap(pool, &product, columns, 2, ITEMS, values, NULL), CREW_OK))
        CHECK_EQ(values[ITEMS - 1], 3 * (ITEMS - 1));
    memset(values, 0, sizeof values);
    if (fault_granted(crew_starmap_async(pool, &product, columns, 2, ITEMS, values, &result, NULL), CREW_OK) &&
        fault_granted(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK))
        CHECK_EQ(values[ITEMS - 1], 3 * (ITEMS - 1));
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- streams ---- */

enum { STREAM = 40, PATIENCE = 60 };

struct taken {
    long values, failures;
    bool has_seen[STREAM];
};

/* Takes up to `most` items; each comes once with its value. A call that found no memory may be repeated, but not for ever. */
static crew_status take_items(crew_iterator *stream, long most, struct taken *taken)
{
    crew_status status = CREW_OK;
    for (int patience = PATIENCE; taken->values + taken->failures < most && patience > 0;) {
        struct parcel value = {NULL};
        size_t index = STREAM;
        crew_error error = {.status = CREW_OK, .message = ""};
        status = crew_iterator_next(stream, &value, &index, CREW_FOREVER, &error);
        if (status == CREW_END || status == CREW_CLOSED)
            return status;
        if (!CREW_IS_OUTCOME(status)) {
            (void)fault_granted_error(status, CREW_OK, &error);
            patience--;
            continue;
        }
        CHECK(index < STREAM && !taken->has_seen[index]);
        taken->has_seen[index] = true;
        if (!fault_granted_error(status, CREW_OK, &error)) {
            taken->failures++;
            continue;
        }
        CHECK_EQ(parcel_open(value), 2 * (long)index);
        taken->values++;
    }
    return status;
}

static void use_stream(imap_fn *imap, const crew_pool_options *options, const crew_call *base, long most)
{
    struct ledger ledger = {0};
    struct counted_source source;
    struct taken taken = {0};
    crew_iterator *stream = NULL;
    crew_pool *pool = fault_pool(options);
    if (pool == NULL)
        return;
    counted_source_init(&source, STREAM);
    source.has_parcels = true;
    crew_call call = *base;
    call.context = &ledger;
    bool granted = fault_granted(imap(pool, &double_parcel, COUNTED(&source), &stream, &call), CREW_OK);
    CHECK(granted == (stream != NULL));
    if (granted) {
        crew_status status = take_items(stream, most, &taken);
        CHECK(fault_is_armed() || (most > STREAM ? status == CREW_END : taken.values == most));
        CHECK(status != CREW_END || taken.values + taken.failures == STREAM);
        crew_iterator_destroy(stream);
        gate_wait(source.released);
    } else {
        gate_open(source.released);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.args_dropped), source.next);
    CHECK_EQ(counter_get(&ledger.results_dropped), counter_get(&ledger.results_made) - taken.values);
    counted_source_free(&source);
}

SCENARIO(a_stream)
{
    use_stream(crew_imap, CREW_OPTIONS(.workers = 2), CREW_CALL(.window = 8), STREAM + 1);
}

SCENARIO(a_stream_in_chunks)
{
    use_stream(crew_imap, CREW_OPTIONS(.workers = 2), CREW_CALL(.window = 32, .chunk = 4), STREAM + 1);
}

SCENARIO(an_unordered_stream)
{
    use_stream(crew_imap_unordered, CREW_OPTIONS(.workers = 2), CREW_CALL(.window = 8), STREAM + 1);
}

SCENARIO(a_stream_without_helping)
{
    use_stream(crew_imap, CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY), CREW_CALL(.window = 4), STREAM + 1);
}

SCENARIO(a_stream_that_is_broken_off)
{
    use_stream(crew_imap, CREW_OPTIONS(.workers = 2), CREW_CALL(.window = 8), 5);
}

SCENARIO(a_stream_in_a_serial_pool)
{
    use_stream(crew_imap, CREW_OPTIONS(.kind = CREW_SERIAL), CREW_CALL(.window = 8), STREAM + 1);
}

SCENARIO(a_stream_with_deadlines)
{
    enum { MOMENT_MS = 5 };
    static const long numbers[STREAM] = {[3] = 3};
    crew_iterator *stream = NULL;
    long value = 0, sum = 0;
    crew_pool *pool = fault_pool(NULL);
    if (pool == NULL)
        return;
    const crew_source source = {.items = numbers, .count = STREAM};
    if (fault_granted(crew_imap(pool, &plus_100, &source, &stream, NULL), CREW_OK)) {
        crew_status status = CREW_OK;
        for (int patience = PATIENCE; status != CREW_END && patience > 0; patience -= fault_is_armed())
            if ((status = crew_iterator_next(stream, &value, NULL, crew_after_ms(MOMENT_MS), NULL)) == CREW_OK)
                sum += value;
        CHECK(status == CREW_END || fault_is_armed());
        CHECK(status != CREW_END || sum == 100 * STREAM + 3);
    }
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
