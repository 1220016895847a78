/* SPDX-License-Identifier: MIT */
/* Promise 17 and the bad arguments: NULL, sizes that overflow, numbers and flags that cannot be, structs of other
 * versions. A status and a message, outputs untouched, nothing taken. (Bad moments are in misuse_test.c.) */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"

static counter ran, dropped, called;

static void count_drop(void *arg, void *context)
{
    (void)arg, (void)context;
    counter_add(&dropped, 1);
}

CREW_JOB_DROPS(triple, int, long, count_drop, NULL)
{
    (void)context;
    counter_add(&ran, 1);
    *result = 3L * *arg;
    return 0;
}

static void count_call(const crew_outcome *outcome, void *user)
{
    (void)outcome, (void)user;
    counter_add(&called, 1);
}

/* ---- one bad call: refused, explained, without any effect ---- */

/* What a refused call could have touched; all of it is filled with a pattern first. */
static struct outputs {
    long value, values[4];
    crew_result *result;
    crew_iterator *stream;
    crew_error error;
} outputs;

static const char mark_of_untouched;
#define UNTOUCHED ((void *)(uintptr_t)&mark_of_untouched)

static const crew_call *fresh_call(void)
{
    static crew_call call;
    outputs = (struct outputs){-7, {-7, -7, -7, -7}, UNTOUCHED, UNTOUCHED, {.status = CREW_OK}};
    call = (crew_call){.struct_size = sizeof call, .error = &outputs.error, .on_done = count_call};
    return &call;
}

static const crew_call *fresh_call_without_callback(void)
{
    static crew_call call;
    call = *fresh_call();
    call.on_done = NULL;
    return &call;
}

static void check_no_effect(void)
{
    CHECK_EQ(outputs.value, -7);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(outputs.values[i], -7);
    CHECK(outputs.result == UNTOUCHED);
    CHECK(outputs.stream == UNTOUCHED);
    CHECK_EQ(counter_get(&ran) + counter_get(&dropped) + counter_get(&called), 0);
}

static void check_refused(crew_status status, crew_status expected, const char *file, int line)
{
    if (status != expected)
        test_fail(file, line, "refused with %s, not with %s", crew_status_name(status), crew_status_name(expected));
    if (outputs.error.status != expected)
        test_fail(file, line, "call->error says %s", crew_status_name(outputs.error.status));
    if (outputs.error.message[0] == '\0')
        test_fail(file, line, "call->error has no message");
    check_no_effect();
}

#define CHECK_REFUSED(call) check_refused((call), CREW_INVALID, __FILE__, __LINE__)

static const int numbers[4] = {1, 2, 3, 4};
static const crew_column column = {numbers, sizeof numbers[0], sizeof numbers[0], 0};
static const crew_source source = {.items = numbers, .count = 4};

/* The six calls, each as bad as what it is given. */
static void refuse_everywhere(crew_pool *pool, const crew_job *job)
{
    CHECK_REFUSED(crew_apply(pool, job, numbers, &outputs.value, fresh_call()));
    CHECK_REFUSED(crew_apply_async(pool, job, numbers, &outputs.result, fresh_call()));
    CHECK_REFUSED(crew_map(pool, job, numbers, 4, outputs.values, fresh_call()));
    CHECK_REFUSED(crew_map_async(pool, job, numbers, 4, outputs.values, &outputs.result, fresh_call()));
    CHECK_REFUSED(crew_starmap(pool, job, &column, 1, 4, outputs.values, fresh_call()));
    CHECK_REFUSED(crew_starmap_async(pool, job, &column, 1, 4, outputs.values, &outputs.result, fresh_call()));
    CHECK_REFUSED(crew_imap(pool, job, &source, &outputs.stream, fresh_call_without_callback()));
    CHECK_REFUSED(crew_imap_unordered(pool, job, &source, &outputs.stream, fresh_call_without_callback()));
}

/* The pool is as good as before. */
static void check_still_works(crew_pool *pool)
{
    long value = 0;
    CHECK_STATUS(crew_apply(pool, &triple, &(int){14}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- NULL ---- */

CONTRACT(a_call_without_a_pool_is_refused)
{
    refuse_everywhere(NULL, &triple);
}

CONTRACT(a_call_without_a_job_or_without_its_function_is_refused)
{
    static const crew_job without_function = {NULL, sizeof(int), sizeof(long), "nothing", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    refuse_everywhere(pool, NULL);
    refuse_everywhere(pool, &without_function);
    check_still_works(pool);
}

CONTRACT(a_call_without_a_needed_argument_or_output_is_refused)
{
    crew_pool *pool = contract_pool(NULL);
    CHECK_REFUSED(crew_apply(pool, &triple, NULL, &outputs.value, fresh_call()));
    CHECK_REFUSED(crew_apply(pool, &triple, numbers, NULL, fresh_call()));
    CHECK_REFUSED(crew_apply_async(pool, &triple, NULL, &outputs.result, fresh_call()));
    CHECK_REFUSED(crew_map(pool, &triple, numbers, 4, NULL, fresh_call()));
    CHECK_REFUSED(crew_map_async(pool, &triple, numbers, 4, NULL, &outputs.result, fresh_call()));
    CHECK_REFUSED(crew_starmap(pool, &triple, &column, 1, 4, NULL, fresh_call()));
    CHECK_REFUSED(crew_starmap_async(pool, &triple, &column, 1, 4, NULL, &outputs.result, fresh_call()));
    CHECK_REFUSED(crew_imap(pool, &triple, &source, NULL, fresh_call_without_callback()));
    CHECK_REFUSED(crew_imap_unordered(pool, &triple, &source, NULL, fresh_call_without_callback()));
    check_still_works(pool);
}

CONTRACT(a_map_without_an_array_is_refused_unless_its_job_takes_an_index)
{
    if (sizeof(int) == sizeof(size_t))
        test_skip("an int could be an index");
    crew_pool *pool = contract_pool(NULL); /* triple takes an int, which is no size_t */
    CHECK_REFUSED(crew_map(pool, &triple, NULL, 4, outputs.values, fresh_call()));
    CHECK_REFUSED(crew_map_async(pool, &triple, NULL, 4, outputs.values, &outputs.result, fresh_call()));
    check_still_works(pool);
}

CONTRACT(the_pool_calls_refuse_null)
{
    crew_pool_info info = {.struct_size = sizeof info, .workers = 77};
    CHECK_STATUS(crew_pool_create(NULL, NULL), CREW_INVALID);
    CHECK_STATUS(crew_pool_wait(NULL, CREW_FOREVER), CREW_INVALID);
    CHECK_STATUS(crew_pool_close(NULL), CREW_INVALID);
    CHECK_STATUS(crew_pool_terminate(NULL), CREW_INVALID);
    CHECK_STATUS(crew_pool_join(NULL, CREW_FOREVER), CREW_INVALID);
    CHECK_STATUS(crew_pool_query(NULL, &info), CREW_INVALID);
    CHECK_EQ(info.workers, 77);
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_pool_query(pool, NULL), CREW_INVALID);
    check_still_works(pool);
}

CONTRACT(the_result_calls_refuse_null)
{
    long value = -7;
    crew_error error = {.status = CREW_OK};
    CHECK_STATUS(crew_result_wait(NULL, CREW_FOREVER), CREW_INVALID);
    CHECK_STATUS(crew_result_get(NULL, &value, CREW_FOREVER), CREW_INVALID);
    CHECK_STATUS(crew_result_status(NULL), CREW_INVALID);
    CHECK_STATUS(crew_result_error(NULL, &error), CREW_INVALID);
    CHECK_STATUS(crew_result_cancel(NULL), CREW_INVALID);
    CHECK_EQ(value, -7);
    CHECK_STATUS(error.status, CREW_OK);
}

CONTRACT(a_result_refuses_to_give_its_value_nowhere_and_has_no_error_where_it_succeeded)
{
    long value = 0;
    crew_result *result;
    crew_error error = {.status = CREW_BUSY};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(pool, &triple, numbers, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_INVALID);
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_result_error(result, &error), CREW_INVALID);
    CHECK_STATUS(crew_result_error(result, NULL), CREW_INVALID);
    CHECK_STATUS(error.status, CREW_BUSY);
    CHECK_STATUS(crew_result_get(result, &value, CREW_NOW), CREW_OK);
    CHECK_EQ(value, 3);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(next_refuses_null_and_loses_no_item_by_it)
{
    long value = -7;
    size_t index = 77;
    crew_iterator *stream;
    crew_error error = {.status = CREW_OK, .message = ""};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_iterator_next(NULL, &value, &index, CREW_FOREVER, &error), CREW_INVALID);
    CHECK_STATUS(error.status, CREW_INVALID);
    CHECK(error.message[0] != '\0');
    CHECK(value == -7 && index == 77);
    CHECK_STATUS(crew_imap(pool, &triple, &source, &stream, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, NULL, &index, CREW_FOREVER, NULL), CREW_INVALID);
    CHECK_EQ(index, 77);
    for (int i = 0; i < 4; i++) {
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
        CHECK_EQ(value, 3 * numbers[i]);
    }
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- sources and columns ---- */

static int pull_nothing(void *user, void *ret_item)
{
    (void)user, (void)ret_item;
    return 0;
}

static void refuse_source(crew_pool *pool, const crew_source *bad)
{
    CHECK_REFUSED(crew_imap(pool, &triple, bad, &outputs.stream, fresh_call_without_callback()));
    CHECK_REFUSED(crew_imap_unordered(pool, &triple, bad, &outputs.stream, fresh_call_without_callback()));
}

CONTRACT(a_source_that_is_neither_array_nor_function_or_both_is_refused)
{
    crew_pool *pool = contract_pool(NULL);
    refuse_source(pool, NULL);
    refuse_source(pool, &(crew_source){.count = 4});
    refuse_source(pool, &(crew_source){.items = numbers, .count = 4, .pull = pull_nothing});
    refuse_source(pool, &(crew_source){.items = numbers, .count = SIZE_MAX / 2});
    check_still_works(pool);
}

CONTRACT(a_stream_refuses_a_callback_and_a_window_smaller_than_its_chunk)
{
    crew_pool *pool = contract_pool(NULL);
    crew_call call = *fresh_call();
    CHECK_REFUSED(crew_imap(pool, &triple, &source, &outputs.stream, &call));
    call = *fresh_call_without_callback();
    call.chunk = 3;
    call.window = 2;
    CHECK_REFUSED(crew_imap(pool, &triple, &source, &outputs.stream, &call));
    CHECK_REFUSED(crew_imap_unordered(pool, &triple, &source, &outputs.stream, &call));
    check_still_works(pool);
}

CONTRACT(a_window_or_chunk_beyond_what_can_be_is_refused)
{
    crew_pool *pool = contract_pool(NULL);
    crew_call call = *fresh_call_without_callback();
    call.window = SIZE_MAX;
    CHECK_REFUSED(crew_imap(pool, &triple, &source, &outputs.stream, &call));
    call.window = 0;
    call.chunk = SIZE_MAX;
    CHECK_REFUSED(crew_imap(pool, &triple, &source, &outputs.stream, &call));
    check_still_works(pool);
}

CONTRACT(a_map_s_chunk_may_be_larger_than_the_map)
{
    long values[4] = {0};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_map(pool, &triple, numbers, 4, values, CREW_CALL(.chunk = 1000)), CREW_OK);
    CHECK_EQ(values[3], 12);
    CHECK_STATUS(crew_map(pool, &triple, numbers, 4, values, CREW_CALL(.chunk = SIZE_MAX)), CREW_OK);
    CHECK_EQ(values[0] + values[3], 15);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static void refuse_columns(crew_pool *pool, const crew_job *job, const crew_column *columns, size_t count, size_t n)
{
    CHECK_REFUSED(crew_starmap(pool, job, columns, count, n, outputs.values, fresh_call()));
    CHECK_REFUSED(crew_starmap_async(pool, job, columns, count, n, outputs.values, &outputs.result, fresh_call()));
}

CONTRACT(columns_that_do_not_fit_the_argument_are_refused)
{
    crew_pool *pool = contract_pool(NULL);
    refuse_columns(pool, &triple, NULL, 1, 4);
    refuse_columns(pool, &triple, &column, 0, 4);
    refuse_columns(pool, &triple, &(crew_column){NULL, sizeof(int), sizeof(int), 0}, 1, 4);
    refuse_columns(pool, &triple, &(crew_column){numbers, 0, sizeof(int), 0}, 1, 4);
    refuse_columns(pool, &triple, &(crew_column){numbers, sizeof(int) + 1, sizeof(int), 0}, 1, 4);
    refuse_columns(pool, &triple, &(crew_column){numbers, sizeof(int), sizeof(int), 1}, 1, 4);
    refuse_columns(pool, &triple, &(crew_column){numbers, sizeof(int), sizeof(int), SIZE_MAX}, 1, 4);
    refuse_columns(pool, &triple, &(crew_column){numbers, SIZE_MAX, sizeof(int), 4}, 1, 4);
    refuse_columns(pool, &triple, &(crew_column){numbers, sizeof(int), SIZE_MAX / 2, 0}, 1, 4);
    refuse_columns(pool, &triple, &column, SIZE_MAX / 2, 4);
    check_still_works(pool);
}

CONTRACT(a_starmap_whose_argument_is_too_large_for_a_stack_is_refused)
{
    crew_job large = triple;
    crew_pool *pool = contract_pool(NULL);
    large.arg_size = CREW_ROW_SIZE_MAX + 1;
    refuse_columns(pool, &large, &column, 1, 4);
    check_still_works(pool);
}

/* ---- sizes whose sum or product overflows ---- */

CONTRACT(an_array_whose_size_overflows_is_refused)
{
    crew_pool *pool = contract_pool(NULL);
    const size_t too_many[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / sizeof(int) + 1, SIZE_MAX / sizeof(long) + 1};
    for (size_t i = 0; i < sizeof too_many / sizeof too_many[0]; i++) {
        const size_t n = too_many[i];
        CHECK_REFUSED(crew_map(pool, &triple, numbers, n, outputs.values, fresh_call()));
        CHECK_REFUSED(crew_map_async(pool, &triple, numbers, n, outputs.values, &outputs.result, fresh_call()));
        refuse_columns(pool, &triple, &column, 1, n);
    }
    check_still_works(pool);
}

CONTRACT(a_value_whose_size_overflows_is_refused)
{
    const struct {
        size_t arg, result;
    } sizes[] = {
        {SIZE_MAX, 8}, {4, SIZE_MAX}, {SIZE_MAX / 2 + 1, SIZE_MAX / 2 + 1}, {SIZE_MAX - 40, 8}, {4, SIZE_MAX - 40}};
    crew_pool *pool = contract_pool(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        crew_job huge = triple;
        huge.arg_size = sizes[i].arg;
        huge.result_size = sizes[i].result;
        CHECK_REFUSED(crew_apply(pool, &huge, numbers, &outputs.value, fresh_call()));
        CHECK_REFUSED(crew_apply_async(pool, &huge, numbers, &outputs.result, fresh_call()));
        CHECK_REFUSED(crew_imap(pool, &huge, &source, &outputs.stream, fresh_call_without_callback()));
    }
    check_still_works(pool);
}

/* ---- flags ---- */

CONTRACT(unknown_flags_of_a_call_are_refused)
{
    crew_pool *pool = contract_pool(NULL);
    for (unsigned bit = 3; bit < 32; bit++) {
        crew_call call = *fresh_call();
        call.flags = 1u << bit;
        CHECK_REFUSED(crew_apply(pool, &triple, numbers, &outputs.value, &call));
        CHECK_REFUSED(crew_apply_async(pool, &triple, numbers, &outputs.result, &call));
        CHECK_REFUSED(crew_map_async(pool, &triple, numbers, 4, outputs.values, &outputs.result, &call));
        CHECK_REFUSED(crew_starmap(pool, &triple, &column, 1, 4, outputs.values, &call));
        call.on_done = NULL;
        CHECK_REFUSED(crew_imap(pool, &triple, &source, &outputs.stream, &call));
    }
    check_still_works(pool);
}

static void refuse_options(const crew_pool_options *options)
{
    crew_error error = {.status = CREW_OK, .message = ""};
    crew_pool *pool = UNTOUCHED;
    crew_pool_options own = *options;
    own.error = &error;
    CHECK_STATUS(crew_pool_create(&pool, &own), CREW_INVALID);
    CHECK(pool == UNTOUCHED);
    CHECK_STATUS(error.status, CREW_INVALID);
    CHECK(error.message[0] != '\0');
}

TEST(options_that_cannot_be_are_refused)
{
    static struct test_memory memory;
    for (unsigned bit = 5; bit < 32; bit++)
        refuse_options(CREW_OPTIONS(.flags = 1u << bit));
    refuse_options(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY | CREW_CALLER_HELPS));
    refuse_options(CREW_OPTIONS(.flags = CREW_FULL_FAILS | CREW_FULL_RUNS));
    refuse_options(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY | CREW_FULL_RUNS));
    refuse_options(CREW_OPTIONS(.kind = 2));
    refuse_options(CREW_OPTIONS(.kind = -1));
    refuse_options(CREW_OPTIONS(.workers = CREW_WORKERS_MAX + 1));
    refuse_options(CREW_OPTIONS(.workers = UINT_MAX));
    refuse_options(CREW_OPTIONS(.alloc = test_memory_alloc, .user = &memory));
    refuse_options(CREW_OPTIONS(.free = test_memory_free, .user = &memory));
    CHECK_EQ(test_threads_alive(), 1);
}

TEST(numbers_at_the_edge_are_accepted_or_refused_but_never_trusted)
{
    const crew_pool_options *edges[] = {
        CREW_OPTIONS(.workers = 1, .spares_max = UINT_MAX - 1), CREW_OPTIONS(.workers = 1, .queue_max = SIZE_MAX),
        CREW_OPTIONS(.workers = 1, .stack_size = 1), CREW_OPTIONS(.workers = 1, .name = "")};
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        long values[4] = {0};
        crew_pool *pool = NULL;
        crew_status status = crew_pool_create(&pool, edges[i]);
        if (status == CREW_OK) {
            CHECK_STATUS(crew_map(pool, &triple, numbers, 4, values, NULL), CREW_OK);
            CHECK_EQ(values[0] + values[3], 15);
            CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        } else {
            CHECK_STATUS(status, CREW_INVALID);
        }
    }
}

/* ---- structs that are older, newer, or not made by the macros ---- */

struct newer_call {
    crew_call call;
    long long added[2];
};

CONTRACT(a_call_without_its_size_or_too_small_is_refused)
{
    const size_t sizes[] = {0, 1, sizeof(size_t), sizeof(crew_call) - 1, SIZE_MAX};
    crew_pool *pool = contract_pool(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        crew_call call = *fresh_call();
        call.struct_size = sizes[i];
        CHECK_STATUS(crew_apply(pool, &triple, numbers, &outputs.value, &call), CREW_INVALID);
        CHECK_STATUS(crew_apply_async(pool, &triple, numbers, &outputs.result, &call), CREW_INVALID);
        CHECK_STATUS(crew_map(pool, &triple, numbers, 4, outputs.values, &call), CREW_INVALID);
        CHECK_STATUS(crew_imap(pool, &triple, &source, &outputs.stream, &call), CREW_INVALID);
        check_no_effect();
    }
    check_still_works(pool);
}

CONTRACT(a_newer_call_is_accepted_where_what_it_adds_is_zero)
{
    struct newer_call newer = {.call = *fresh_call()};
    crew_pool *pool = contract_pool(NULL);
    newer.call.struct_size = sizeof newer;
    newer.added[1] = 1;
    CHECK_STATUS(crew_apply(pool, &triple, numbers, &outputs.value, &newer.call), CREW_INVALID);
    CHECK_STATUS(crew_map_async(pool, &triple, numbers, 4, outputs.values, &outputs.result, &newer.call), CREW_INVALID);
    check_no_effect();
    newer.added[1] = 0;
    CHECK_STATUS(crew_apply(pool, &triple, numbers, &outputs.value, &newer.call), CREW_OK);
    CHECK_EQ(outputs.value, 3);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&called), 1);
}

struct newer_options {
    crew_pool_options options;
    long long added[2];
};

CONTRACT(options_without_their_size_are_refused_and_newer_ones_only_where_zero)
{
    struct newer_options newer = {.options = {.kind = config->kind, .workers = 1}};
    const size_t sizes[] = {0, 1, sizeof(size_t), sizeof(crew_pool_options) - 1, SIZE_MAX};
    crew_pool *pool = UNTOUCHED;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        newer.options.struct_size = sizes[i];
        CHECK_STATUS(crew_pool_create(&pool, &newer.options), CREW_INVALID);
    }
    newer.options.struct_size = sizeof newer;
    newer.added[0] = -1;
    CHECK_STATUS(crew_pool_create(&pool, &newer.options), CREW_INVALID);
    CHECK(pool == UNTOUCHED);
    newer.added[0] = 0;
    CHECK_STATUS(crew_pool_create(&pool, &newer.options), CREW_OK);
    check_still_works(pool);
}

struct newer_info {
    crew_pool_info info;
    long long added[2];
};

CONTRACT(a_query_into_a_struct_without_its_size_is_refused_and_into_a_newer_one_fills_what_it_knows)
{
    struct newer_info newer = {.info = {.workers = 77}, .added = {5, 5}};
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_pool_query(pool, &newer.info), CREW_INVALID);
    newer.info.struct_size = 1;
    CHECK_STATUS(crew_pool_query(pool, &newer.info), CREW_INVALID);
    CHECK_EQ(newer.info.workers, 77);
    newer.info.struct_size = sizeof newer;
    newer.added[0] = newer.added[1] = 0;
    CHECK_STATUS(crew_pool_query(pool, &newer.info), CREW_OK);
    CHECK_EQ(newer.info.struct_size, sizeof newer);
    CHECK(newer.info.workers >= 1 && newer.info.workers <= config->workers);
    CHECK_EQ(newer.added[0] + newer.added[1], 0);
    check_still_works(pool);
}

/* ---- bytes ---- */

TEST(bytes_refuse_null_and_keep_what_they_held)
{
    crew_bytes bytes = {NULL, 0};
    CHECK_STATUS(crew_bytes_set(NULL, "text", 4), CREW_INVALID);
    CHECK_STATUS(crew_bytes_set(&bytes, "text", 4), CREW_OK);
    CHECK_STATUS(crew_bytes_set(&bytes, NULL, 1), CREW_INVALID);
    CHECK(bytes.size == 4 && memcmp(bytes.data, "text", 4) == 0);
    CHECK_STATUS(crew_bytes_set(&bytes, NULL, 0), CREW_OK);
    CHECK_EQ(bytes.size, 0);
    crew_bytes_drop(&bytes, NULL);
    CHECK(bytes.data == NULL);
}

TEST(bytes_can_be_set_to_a_part_of_themselves)
{
    crew_bytes bytes = {NULL, 0};
    CHECK_STATUS(crew_bytes_set(&bytes, "0123456789", 10), CREW_OK);
    CHECK_STATUS(crew_bytes_set(&bytes, (char *)bytes.data + 3, 4), CREW_OK);
    CHECK(bytes.size == 4 && memcmp(bytes.data, "3456", 4) == 0);
    crew_bytes_drop(&bytes, NULL);
    crew_bytes_drop(&bytes, NULL);
    CHECK(bytes.data == NULL && bytes.size == 0);
}

TEST(bytes_larger_than_memory_leave_what_was_held)
{
    if (test_under_sanitizer())
        test_skip("its allocator ends the process");
    crew_bytes bytes = {NULL, 0};
    CHECK_STATUS(crew_bytes_set(&bytes, "text", 4), CREW_OK);
    CHECK_STATUS(crew_bytes_set(&bytes, "text", SIZE_MAX / 2), CREW_NO_MEMORY);
    CHECK(bytes.size == 4 && memcmp(bytes.data, "text", 4) == 0);
    crew_bytes_drop(&bytes, NULL);
}

/* ---- names, versions, the environment ---- */

TEST(every_status_has_its_name_and_no_other_number_has)
{
    CHECK_STRING(crew_status_name(CREW_OK), "CREW_OK");
    CHECK_STRING(crew_status_name(CREW_WORKER_LOST), "CREW_WORKER_LOST");
    CHECK_STRING(crew_status_name(CREW_BUSY), "CREW_BUSY");
    CHECK_STRING(crew_status_name(CREW_INVALID), "CREW_INVALID");
    CHECK_STRING(crew_status_name(CREW_SOURCE_FAILED), "CREW_SOURCE_FAILED");
    for (int status = -3; status < 100; status++) {
        bool known = (status >= 0 && status <= 5) || (status >= 16 && status <= 19) || (status >= 32 && status <= 39);
        CHECK_EQ(strcmp(crew_status_name((crew_status)status), "CREW_?") != 0, known);
    }
}

TEST(the_library_has_the_version_of_its_header)
{
    CHECK_EQ(crew_version(), CREW_VERSION);
}

TEST(a_bad_number_of_cpus_in_the_environment_is_refused)
{
    const char *bad[] = {"x", "0", "-1", "4097", "3x", "1.5", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        unsigned count = 77;
        crew_error error = {.status = CREW_OK, .message = ""};
        CHECK_EQ(setenv("CREW_CPU_COUNT", bad[i], 1), 0);
        CHECK_STATUS(crew_cpu_count(&count, &error), CREW_INVALID);
        CHECK_STATUS(error.status, CREW_INVALID);
        CHECK(strstr(error.message, "CREW_CPU_COUNT") != NULL);
        CHECK_STATUS(crew_cpu_count(&count, NULL), CREW_INVALID);
        CHECK_EQ(count, 77);
        refuse_options(CREW_OPTIONS(.name = "environment"));
    }
}

TEST(a_good_number_of_cpus_in_the_environment_is_the_number_of_workers)
{
    const unsigned good[] = {1, 3, 40};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char text[16];
        unsigned count = 0;
        crew_pool *pool;
        crew_pool_info info = {.struct_size = sizeof info};
        snprintf(text, sizeof text, "%u", good[i]);
        CHECK_EQ(setenv("CREW_CPU_COUNT", text, 1), 0);
        CHECK_STATUS(crew_cpu_count(&count, NULL), CREW_OK);
        CHECK_EQ(count, good[i]);
        CHECK_STATUS(crew_pool_create(&pool, NULL), CREW_OK);
        CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
        CHECK_EQ(info.workers, good[i]);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    }
    CHECK_STATUS(crew_cpu_count(NULL, NULL), CREW_INVALID);
}
