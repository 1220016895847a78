/* SPDX-License-Identifier: MIT */
/* Promise 5: results by index, every item runs, the error of the lowest index, arrays that are borrowed. */
#include "ledger.h"

/* ---- results ---- */

CREW_JOB(square, size_t, size_t)
{
    (void)context;
    *result = *arg * *arg;
    return 0;
}

static void check_squares(crew_pool *pool, size_t n, size_t chunk)
{
    size_t *squares = calloc(n + 1, sizeof *squares);

    CHECK(squares != NULL);
    squares[n] = 77;
    CHECK_STATUS(crew_map(pool, &square, NULL, n, squares, CREW_CALL(.chunk = chunk)), CREW_OK);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(squares[i], i * i);
    CHECK_EQ(squares[n], 77);
    free(squares);
}

CONTRACT(results_lie_at_the_index_of_their_item_for_any_size_and_chunk)
{
    static const size_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 100, 1001};
    static const size_t chunks[] = {0, 1, 2, 3, 16, 1000, 100000};
    crew_pool *pool = contract_pool(NULL);

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof chunks / sizeof *chunks; j++)
            check_squares(pool, sizes[i], chunks[j]);
    check_squares(pool, 200000, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_map_over_an_array_gives_each_job_its_item)
{
    crew_pool *pool = contract_pool(NULL);
    int numbers[500];
    long doubled[500];

    for (int i = 0; i < 500; i++)
        numbers[i] = 1000 - i;
    CHECK_STATUS(crew_map(pool, &twice, numbers, 500, doubled, NULL), CREW_OK);
    for (int i = 0; i < 500; i++)
        CHECK_EQ(doubled[i], 2L * (1000 - i));
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct triple {
    unsigned char bytes[3];
};

CREW_JOB(rotate, struct triple, struct triple)
{
    (void)context;
    *result = (struct triple){{arg->bytes[1], arg->bytes[2], arg->bytes[0]}};
    return 0;
}

CONTRACT(items_of_any_size_are_packed_as_in_an_array)
{
    crew_pool *pool = contract_pool(NULL);
    struct triple items[100], rotated[100];

    for (unsigned char i = 0; i < 100; i++)
        items[i] = (struct triple){{i, (unsigned char)(i + 1), (unsigned char)(i + 2)}};
    CHECK_STATUS(crew_map(pool, &rotate, items, 100, rotated, NULL), CREW_OK);
    for (unsigned char i = 0; i < 100; i++)
        CHECK(rotated[i].bytes[0] == i + 1 && rotated[i].bytes[1] == i + 2 && rotated[i].bytes[2] == i);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_job_without_argument_and_result_can_be_mapped)
{
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};

    CHECK_STATUS(crew_map(pool, &count_one, NULL, 123, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_EQ(counter_get(&runs), 123);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(an_empty_map_is_ready_at_once)
{
    crew_pool *pool = contract_pool(NULL);
    struct blocker blocker;
    crew_result *result;

    blocker_hold(&blocker, pool, config->threads ? config->workers : 0);
    CHECK_STATUS(crew_map(pool, &twice, NULL, 0, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_map_async(pool, &twice, NULL, 0, NULL, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_NOW), CREW_OK);
    CHECK_STATUS(crew_result_cancel(result), CREW_END);
    crew_result_destroy(result);
    end_pool(pool, &blocker);
}

CONTRACT(what_items_wrote_is_seen_by_whoever_has_the_maps_result)
{
    crew_pool *pool = contract_pool(NULL);
    size_t squares[300];
    crew_result *result;

    CHECK_STATUS(crew_map_async(pool, &square, NULL, 300, squares, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK);
    for (size_t i = 0; i < 300; i++)
        CHECK_EQ(squares[i], i * i);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_NOW), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void map_squares(void *pool)
{
    for (size_t round = 0; round < 20; round++)
        check_squares(pool, 50 + round, 1 + round % 4);
}

CONTRACT(several_threads_may_map_in_the_same_pool)
{
    crew_pool *pool = contract_pool(NULL);
    struct test_thread *threads[3];

    for (int i = 0; i < 3; i++)
        threads[i] = test_thread_start(map_squares, pool);
    for (int i = 0; i < 3; i++)
        test_thread_join(threads[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* Opens the gate, and waits until as many others have come. */
static int meet_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    gate_add(context);
    gate_wait_for(context, config->workers);
    return 0;
}

CONTRACT_THREADS(a_map_with_chunk_1_spreads_over_all_workers)
{
    static const crew_job meet = {meet_fn, 0, 0, "meet", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    struct gate *together = gate_new();

    CHECK_STATUS(crew_map(pool, &meet, NULL, config->workers, NULL, CREW_CALL(.context = together, .chunk = 1)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(together);
}

/* ---- errors ---- */

/* Counts its runs in `context`; its argument is the code to fail with, or 0. */
CREW_ACTION(counted_fail, int)
{
    counter_add(context, 1);
    return *arg == 0 ? 0 : crew_fail(*arg, "item says %d", *arg);
}

static void check_lowest_error(crew_pool *pool, size_t chunk)
{
    int codes[60] = {0};
    counter runs = {0};
    crew_error error = {0};

    codes[13] = 130;
    codes[14] = 140;
    codes[59] = 590;
    CHECK_STATUS(
        crew_map(pool, &counted_fail, codes, 60, NULL, CREW_CALL(.context = &runs, .error = &error, .chunk = chunk)),
        CREW_FAILED);
    CHECK_EQ(counter_get(&runs), 60);
    CHECK_STATUS(error.status, CREW_FAILED);
    CHECK_EQ(error.index, 13);
    CHECK_EQ(error.code, 130);
    CHECK(error.worker >= -1);
    CHECK_STRING(error.job, "counted_fail");
    CHECK_STRING(error.message, "item says 130");
}

/* The first says something and succeeds; the second fails and says nothing. */
CREW_ACTION(say_then_fail, size_t)
{
    (void)context;
    if (*arg == 0)
        (void)crew_fail(1, "not told");
    return *arg == 1 ? 5 : 0;
}

CONTRACT(what_an_item_said_is_not_told_of_the_next)
{
    crew_pool *pool = contract_pool(NULL);
    crew_error error = {0};
    CHECK_STATUS(crew_map(pool, &say_then_fail, NULL, 3, NULL, CREW_CALL(.error = &error, .chunk = 3)), CREW_FAILED);
    CHECK_EQ(error.index, 1);
    CHECK_EQ(error.code, 5);
    CHECK_STRING(error.message, "");
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(every_item_runs_and_the_error_of_a_map_is_that_of_the_lowest_index)
{
    crew_pool *pool = contract_pool(NULL);

    for (int round = 0; round < 30; round++) {
        check_lowest_error(pool, 0);
        check_lowest_error(pool, 1);
        check_lowest_error(pool, 7);
        check_lowest_error(pool, 60);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(the_error_of_an_async_map_is_in_its_result)
{
    crew_pool *pool = contract_pool(NULL);
    int codes[9] = {0, 0, 0, 4, 5, 6, 0, 0, 0};
    counter runs = {0};
    crew_result *result;
    crew_error error;

    CHECK_STATUS(crew_map_async(pool, &counted_fail, codes, 9, NULL, &result, CREW_CALL(.context = &runs, .chunk = 1)),
                 CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_FAILED);
    CHECK_STATUS(crew_result_status(result), CREW_FAILED);
    CHECK_STATUS(crew_result_error(result, &error), CREW_OK);
    CHECK_EQ(error.index, 3);
    CHECK_EQ(error.code, 4);
    CHECK_EQ(counter_get(&runs), 9);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_successful_map_leaves_the_error_untouched)
{
    crew_pool *pool = contract_pool(NULL);
    crew_error error = {.code = 99};
    long doubled[2];
    crew_result *result;

    CHECK_STATUS(crew_map(pool, &twice, (const int[]){1, 2}, 2, doubled, CREW_CALL(.error = &error)), CREW_OK);
    CHECK_EQ(error.code, 99);
    CHECK_STATUS(crew_map_async(pool, &twice, (const int[]){1, 2}, 2, doubled, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_result_error(result, &error), CREW_INVALID);
    CHECK_EQ(error.code, 99);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct stopping {
    counter runs;
    struct gate *started, *fail_now, *go;
};

/* The first item to start fails once every worker holds one; the others stay until they may go. */
static int stopping_fn(const void *arg, void *result, void *context)
{
    struct stopping *stopping = context;
    long number = counter_add(&stopping->runs, 1);

    (void)arg;
    (void)result;
    gate_add(stopping->started);
    gate_wait(number == 1 ? stopping->fail_now : stopping->go);
    return number == 1 ? crew_fail(1, "first") : 0;
}

CONTRACT_THREADS(with_stop_on_error_no_item_starts_after_a_failure)
{
    static const crew_job stopping_job = {stopping_fn, 0, 0, "stopping", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    struct stopping stopping = {{0}, gate_new(), gate_new(), gate_new()};
    crew_result *map, *probe;

    CHECK_STATUS(crew_map_async(pool, &stopping_job, NULL, 1000, NULL, &map,
                                CREW_CALL(.context = &stopping, .chunk = 1, .flags = CREW_STOP_ON_ERROR)),
                 CREW_OK);
    gate_wait_for(stopping.started, config->workers);
    gate_open(stopping.fail_now);
    /* Only the worker of the failed item can run this; so it is through with that. */
    CHECK_STATUS(crew_apply_async(pool, &fail_with, &(int){0}, &probe, NULL), CREW_OK);
    CHECK_STATUS(crew_result_wait(probe, far_away()), CREW_OK);
    gate_open(stopping.go);
    CHECK_STATUS(crew_result_get(map, NULL, CREW_FOREVER), CREW_FAILED);
    CHECK_EQ(counter_get(&stopping.runs), config->workers);
    crew_result_destroy(map);
    crew_result_destroy(probe);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(stopping.started);
    gate_free(stopping.fail_now);
    gate_free(stopping.go);
}

struct first_failure {
    bool has_failed; /* plain memory: one thread */
    size_t ran_before, ran_after;
};

CREW_ACTION(fail_at_7, size_t)
{
    struct first_failure *failure = context;

    if (failure->has_failed)
        failure->ran_after++;
    else
        failure->ran_before++;
    failure->has_failed = failure->has_failed || *arg == 7;
    return *arg == 7 ? crew_fail(77, "seven") : 0;
}

CONTRACT(with_stop_on_error_and_one_thread_nothing_runs_after_the_failure)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    struct first_failure failure = {.has_failed = false};
    crew_error error = {0};

    CHECK_STATUS(crew_map(pool, &fail_at_7, NULL, 40, NULL,
                          CREW_CALL(.context = &failure, .error = &error, .chunk = 1, .flags = CREW_STOP_ON_ERROR)),
                 CREW_FAILED);
    CHECK_EQ(error.index, 7);
    CHECK_EQ(error.code, 77);
    CHECK(failure.ran_before >= 1);
    CHECK_EQ(failure.ran_after, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- arguments are borrowed, results are the caller's ---- */

CONTRACT(a_map_drops_neither_arguments_nor_results)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    struct parcel parcels[20], doubled[20];

    for (int i = 0; i < 20; i++)
        parcels[i] = parcel_of(i);
    CHECK_STATUS(crew_map(pool, &double_parcel, parcels, 20, doubled, LEDGER_CALL(&ledger)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(parcel_open(parcels[i]), i);
        CHECK_EQ(parcel_open(doubled[i]), 2 * i);
    }
    CHECK_EQ(counter_get(&ledger.args_dropped), 0);
    CHECK_EQ(counter_get(&ledger.results_dropped), 0);
    CHECK_EQ(counter_get(&ledger.callbacks), 1);
}

CONTRACT(the_values_of_the_items_that_succeeded_are_the_callers_also_when_one_failed)
{
    struct ledger ledger = {0};
    crew_pool *pool = contract_pool(NULL);
    struct parcel parcels[3] = {parcel_of(1), parcel_of(-2), parcel_of(3)}, doubled[3];

    CHECK_STATUS(crew_map(pool, &double_parcel, parcels, 3, doubled, LEDGER_CALL(&ledger)), CREW_FAILED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(parcel_open(doubled[0]), 2);
    CHECK_EQ(parcel_open(doubled[2]), 6);
    for (int i = 0; i < 3; i++)
        (void)parcel_open(parcels[i]);
    CHECK_EQ(counter_get(&ledger.results_made), 2);
    CHECK_EQ(counter_get(&ledger.results_dropped), 0);
}
