/* SPDX-License-Identifier: MIT */
/* Promise 15: out of memory, threads or descriptors is a status; everything is unwound, and nothing that was
 * accepted is lost. */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"
#include "limited.h"

/* ---- a scenario that uses the whole interface and keeps account, whatever is refused for lack of memory ---- */
enum { ITEMS = 20 };

struct account {
    struct test_memory memory; /* first: it is the `user` of the pool's allocator and of its hooks */
    counter taken, dropped, calls_due, calls, refusals, inits, exits, pulled, releases_due, released;
};

static struct account *account;

static void drop_number(void *arg, void *context)
{
    (void)arg, (void)context;
    counter_add(&account->dropped, 1);
}

CREW_JOB_DROPS(square, long, long, drop_number, NULL)
{
    (void)context;
    *result = *arg * *arg;
    return 0;
}

CREW_JOB(square_item, long, long)
{
    (void)context;
    *result = *arg * *arg;
    return 0;
}

CREW_JOB_DROPS(fail_always, long, long, drop_number, NULL)
{
    (void)context, (void)result;
    return crew_fail(5, "number %ld", *arg);
}

static void count_call(const crew_outcome *outcome, void *user)
{
    (void)outcome, (void)user;
    counter_add(&account->calls, 1);
}

/* True where the call was accepted; a refusal must be for lack of memory. */
static bool accepted(crew_status status, crew_status expected)
{
    if (status == CREW_NO_MEMORY) {
        counter_add(&account->refusals, 1);
        return false;
    }
    CHECK_STATUS(status, expected);
    return true;
}

static void try_apply(crew_pool *pool)
{
    long value = -1;
    crew_error error = {.status = CREW_OK};
    bool done = accepted(crew_apply(pool, &square, &(long){7}, &value, CREW_CALL(.error = &error)), CREW_OK);
    counter_add(&account->taken, done);
    CHECK_EQ(value, done ? 49 : -1);
    CHECK_STATUS(error.status, done ? CREW_OK : CREW_NO_MEMORY);
    done = accepted(crew_apply(pool, &fail_always, &(long){7}, &value, CREW_CALL(.error = &error)), CREW_FAILED);
    counter_add(&account->taken, done);
    CHECK_STATUS(error.status, done ? CREW_FAILED : CREW_NO_MEMORY);
    if (done && (error.message[0] != '\0' || account->memory.fail_at == 0)) /* without memory the text may be lost */
        CHECK_STRING(error.message, "number 7");
}

static void try_apply_async(crew_pool *pool)
{
    long value = 0;
    crew_result *result = NULL;
    const crew_call *call = CREW_CALL(.on_done = count_call);
    if (accepted(crew_apply_async(pool, &square, &(long){8}, &result, call), CREW_OK)) {
        counter_add(&account->taken, 1);
        counter_add(&account->calls_due, 1);
        CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
        CHECK_EQ(value, 64);
    } else {
        CHECK(result == NULL);
    }
    crew_result_destroy(result);
    bool done = accepted(crew_apply_async(pool, &square, &(long){9}, NULL, call), CREW_OK);
    counter_add(&account->taken, done);
    counter_add(&account->calls_due, done);
}

static void try_cancel(crew_pool *pool)
{
    crew_result *result = NULL;
    if (!accepted(crew_apply_async(pool, &square, &(long){8}, &result, CREW_CALL(.on_done = count_call)), CREW_OK))
        return;
    counter_add(&account->taken, 1);
    counter_add(&account->calls_due, 1);
    CHECK(crew_result_cancel(result) != CREW_INVALID);
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_OK);
    crew_result_destroy(result);
}

static void check_squares(const long *values)
{
    for (long i = 0; i < ITEMS; i++)
        CHECK_EQ(values[i], i * i);
}

static void try_map(crew_pool *pool)
{
    long numbers[ITEMS], values[ITEMS];
    crew_result *result = NULL;
    for (long i = 0; i < ITEMS; i++)
        numbers[i] = i;
    if (accepted(crew_map(pool, &square_item, numbers, ITEMS, values, NULL), CREW_OK))
        check_squares(values);
    memset(values, 0, sizeof values);
    if (accepted(crew_map_async(pool, &square_item, numbers, ITEMS, values, &result, CREW_CALL(.on_done = count_call)),
                 CREW_OK)) {
        counter_add(&account->calls_due, 1);
        CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK);
        check_squares(values);
        crew_result_destroy(result);
    }
}

static void try_starmap(crew_pool *pool)
{
    long numbers[ITEMS], values[ITEMS];
    crew_result *result = NULL;
    const crew_column column = {numbers, sizeof numbers[0], sizeof numbers[0], 0};
    for (long i = 0; i < ITEMS; i++)
        numbers[i] = i;
    if (accepted(crew_starmap(pool, &square_item, &column, 1, ITEMS, values, NULL), CREW_OK))
        check_squares(values);
    memset(values, 0, sizeof values);
    if (accepted(crew_starmap_async(pool, &square_item, &column, 1, ITEMS, values, &result, NULL), CREW_OK)) {
        CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK);
        check_squares(values);
        crew_result_destroy(result);
    }
}

struct numbers_source {
    long next, end;
};

static int pull_number(void *user, void *ret_item)
{
    struct numbers_source *source = user;
    if (source->next == source->end)
        return 0;
    counter_add(&account->pulled, 1);
    *(long *)ret_item = source->next++;
    return 1;
}

static void count_release(void *user)
{
    (void)user;
    counter_add(&account->released, 1);
}

/* Takes all items, or gives up where memory stays away. Each must be delivered once with its value. */
static void take_numbers(crew_iterator *stream, bool ordered)
{
    bool seen[ITEMS] = {false};
    size_t index = 0, taken = 0;
    long value = 0;
    crew_status status = CREW_NO_MEMORY;
    for (int patience = 100; patience > 0;) {
        status = crew_iterator_next(stream, &value, &index, CREW_FOREVER, NULL);
        if (status == CREW_END)
            break;
        if (!accepted(status, CREW_OK)) {
            patience--;
            continue;
        }
        CHECK(index < ITEMS && !seen[index]);
        CHECK(!ordered || index == taken);
        CHECK_EQ(value, (long)(index * index));
        seen[index] = true;
        taken++;
    }
    CHECK(status == CREW_NO_MEMORY || taken == ITEMS);
}

static void try_imap(crew_pool *pool, bool ordered)
{
    struct numbers_source numbers = {0, ITEMS};
    const crew_source source = {.pull = pull_number, .user = &numbers, .release = count_release};
    crew_iterator *stream = NULL;
    crew_status status = ordered ? crew_imap(pool, &square, &source, &stream, NULL)
                                 : crew_imap_unordered(pool, &square, &source, &stream, CREW_CALL(.window = 3));
    if (!accepted(status, CREW_OK)) {
        CHECK(stream == NULL);
        return;
    }
    counter_add(&account->releases_due, 1);
    take_numbers(stream, ordered);
    crew_iterator_destroy(stream);
}

static void try_imap_of_array(crew_pool *pool)
{
    long numbers[ITEMS];
    crew_iterator *stream = NULL;
    const crew_source source = {.items = numbers, .count = ITEMS, .release = count_release};
    for (long i = 0; i < ITEMS; i++)
        numbers[i] = i;
    if (!accepted(crew_imap(pool, &square_item, &source, &stream, NULL), CREW_OK))
        return;
    counter_add(&account->releases_due, 1);
    take_numbers(stream, true);
    crew_iterator_destroy(stream);
}

static int count_init(void *user, int worker, void **ret_state)
{
    struct account *own = user;
    (void)worker;
    *ret_state = user;
    counter_add(&own->inits, 1);
    return 0;
}

static void count_exit(void *user, int worker, void *state)
{
    struct account *own = user;
    (void)worker;
    CHECK(state == user);
    counter_add(&own->exits, 1);
}

static void check_account(void)
{
    CHECK_EQ(counter_get(&account->memory.live_blocks), 0);
    CHECK_EQ(counter_get(&account->dropped), counter_get(&account->taken) + counter_get(&account->pulled));
    CHECK_EQ(counter_get(&account->calls), counter_get(&account->calls_due));
    CHECK_EQ(counter_get(&account->released), counter_get(&account->releases_due));
    CHECK_EQ(counter_get(&account->exits), counter_get(&account->inits));
}

/* Everything once, on a new pool whose allocator fails as `fail_at` says. Returns how often it was called. */
static long run_scenario(const crew_pool_options *options, long fail_at)
{
    struct account fresh = {.memory = {.fail_at = fail_at}};
    crew_pool_options own = *options;
    crew_error error = {.status = CREW_OK};
    crew_pool *pool = NULL;
    account = &fresh;
    own.alloc = test_memory_alloc, own.free = test_memory_free, own.user = account, own.error = &error;
    if (accepted(crew_pool_create(&pool, &own), CREW_OK)) {
        try_imap_of_array(pool);
        try_apply(pool);
        try_apply_async(pool);
        try_cancel(pool);
        try_map(pool);
        try_starmap(pool);
        try_imap(pool, true);
        try_imap(pool, false);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    } else {
        CHECK(pool == NULL);
        CHECK_STATUS(error.status, CREW_NO_MEMORY);
    }
    check_account();
    CHECK(fail_at != 0 || counter_get(&fresh.refusals) == 0);
    return counter_get(&fresh.memory.calls);
}

/* Lets the first, the second, … allocation fail, until there is none left that could. */
static void fail_each_allocation(const crew_pool_options *options)
{
    CHECK(run_scenario(options, 0) >= 3);
    for (long fail_at = 1; run_scenario(options, fail_at) >= fail_at; fail_at++)
        continue;
}

/* From the first, the second, … allocation on, there is no memory any more. */
static void fail_all_allocations_from_each(const crew_pool_options *options)
{
    long calls = run_scenario(options, 0);
    for (long fail_from = 1; fail_from <= calls; fail_from++)
        (void)run_scenario(options, -fail_from);
}

#define MEMORY_CASES(backend, ...)                                               \
    TEST(any_allocation_may_fail_in_##backend)                                   \
    {                                                                            \
        fail_each_allocation(CREW_OPTIONS(.workers = 2, __VA_ARGS__));           \
    }                                                                            \
    TEST(memory_may_run_out_at_any_point_in_##backend)                           \
    {                                                                            \
        fail_all_allocations_from_each(CREW_OPTIONS(.workers = 2, __VA_ARGS__)); \
    }

MEMORY_CASES(a_serial_pool, .kind = CREW_SERIAL)
MEMORY_CASES(a_serial_pool_with_initializer, .kind = CREW_SERIAL, .worker_init = count_init, .worker_exit = count_exit)
MEMORY_CASES(a_pool_of_threads, .kind = CREW_THREADS)
MEMORY_CASES(a_pool_of_threads_without_helping, .flags = CREW_WORKERS_ONLY)
MEMORY_CASES(a_pool_of_threads_with_initializer, .worker_init = count_init, .worker_exit = count_exit)

/* ---- an array, whose items whoever notices pulls ---- */

/* Takes items until memory is missed, and the rest when it has come back. */
static void take_from_array(crew_pool *pool, struct test_memory *memory)
{
    long numbers[ITEMS] = {0}, value, taken = 0;
    crew_iterator *stream = NULL;
    crew_status status = crew_imap(pool, &square_item, &(crew_source){.items = numbers, .count = ITEMS}, &stream, NULL);
    while (status == CREW_OK && (status = crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL)) == CREW_OK)
        taken++;
    CHECK(status == CREW_NO_MEMORY || status == CREW_END);
    memory->fail_at = 0;
    while (stream != NULL && status != CREW_END) {
        status = crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL);
        CHECK(status == CREW_OK || status == CREW_END);
        taken += status == CREW_OK;
    }
    CHECK_EQ(taken, stream != NULL ? ITEMS : 0);
    crew_iterator_destroy(stream);
}

TEST(a_stream_over_an_array_says_that_memory_is_missing_and_goes_on_when_it_is_not)
{
    for (long later = 1; later <= 6; later++) {
        struct test_memory memory = {.fail_at = 0};
        crew_pool *pool;
        CHECK_STATUS(
            crew_pool_create(&pool, CREW_OPTIONS(.workers = 2, .flags = CREW_WORKERS_ONLY, TEST_MEMORY(&memory))),
            CREW_OK);
        memory.fail_at = -(counter_get(&memory.calls) + later);
        take_from_array(pool, &memory);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(counter_get(&memory.live_blocks), 0);
    }
}

/* ---- nested waits, which may need a stand-in, under failing allocations ---- */

CREW_JOB(sum_below, long, long)
{
    long parts[2] = {*arg - 1, *arg - 2}, sums[2] = {0, 0};
    (void)context;
    *result = *arg;
    if (*arg < 2)
        return 0;
    crew_status status = crew_map(crew_current_pool(), &sum_below, parts, 2, sums, NULL);
    if (status == CREW_FAILED || status == CREW_NO_MEMORY)
        return crew_fail(1, "below %ld", *arg);
    CHECK_STATUS(status, CREW_OK);
    *result = sums[0] + sums[1];
    return 0;
}

static long run_nested_scenario(long fail_at)
{
    struct test_memory memory = {.fail_at = fail_at};
    crew_pool *pool = NULL;
    long sum = 0;
    crew_status status = crew_pool_create(&pool, CREW_OPTIONS(.workers = 2, TEST_MEMORY(&memory)));
    if (status == CREW_OK) {
        status = crew_apply(pool, &sum_below, &(long){8}, &sum, NULL);
        CHECK(status == CREW_OK || status == CREW_FAILED || status == CREW_NO_MEMORY);
        CHECK_EQ(sum, status == CREW_OK ? 21 : 0);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    } else {
        CHECK_STATUS(status, CREW_NO_MEMORY);
    }
    CHECK(fail_at != 0 || status == CREW_OK);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
    return counter_get(&memory.calls);
}

TEST(any_allocation_may_fail_below_nested_waits)
{
    CHECK(run_nested_scenario(0) >= 3);
    for (long fail_at = 1; run_nested_scenario(fail_at) >= fail_at; fail_at++)
        continue;
}

/* ---- no memory for large values ---- */

static int never_run(const void *arg, void *result, void *context)
{
    (void)arg, (void)result, (void)context;
    test_fail(__FILE__, __LINE__, "a job for which there was no memory has run");
}

CONTRACT(a_value_for_which_there_is_no_memory_is_refused)
{
    static const crew_job huge_arg = {.fn = never_run, .arg_size = TEST_MEMORY_MAX};
    static const crew_job huge_result = {.fn = never_run, .result_size = TEST_MEMORY_MAX};
    static struct test_memory memory;
    crew_result *result = NULL;
    crew_error error = {.status = CREW_OK, .message = ""};
    crew_pool *pool = contract_pool(CREW_OPTIONS(TEST_MEMORY(&memory)));
    CHECK_STATUS(crew_apply_async(pool, &huge_arg, &memory, &result, CREW_CALL(.error = &error)), CREW_NO_MEMORY);
    CHECK_STATUS(error.status, CREW_NO_MEMORY);
    CHECK(error.message[0] != '\0');
    CHECK_STATUS(crew_apply_async(pool, &huge_result, NULL, &result, NULL), CREW_NO_MEMORY);
    CHECK(result == NULL);
    CHECK_STATUS(crew_apply(pool, &square_item, &(long){3}, &(long){0}, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
}

/* ---- no threads ---- */

TEST(a_pool_that_gets_no_thread_is_not_made)
{
    static struct test_memory memory;
    const size_t more_than_all = SIZE_MAX > UINT32_MAX ? SIZE_MAX >> 17 : SIZE_MAX / 4 * 3; /* of stack for each */
    crew_error error = {.status = CREW_OK, .message = ""};
    crew_pool *pool = NULL;
    unsigned before = test_threads_alive();
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = 2, .stack_size = more_than_all, .error = &error,
                                                      TEST_MEMORY(&memory))),
                 CREW_NO_RESOURCE);
    CHECK(pool == NULL);
    CHECK_STATUS(error.status, CREW_NO_RESOURCE);
    CHECK(error.message[0] != '\0');
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
    CHECK_EQ(test_threads_alive(), before);
}

static void make_pool_with_too_few_threads_for_init(void *arg)
{
    static struct account fresh;
    crew_error error = {.status = CREW_OK, .message = ""};
    crew_pool *pool = NULL;
    (void)arg;
    account = &fresh;
    limit_threads(5);
    CHECK_STATUS(
        crew_pool_create(&pool, CREW_OPTIONS(.workers = 16, .worker_init = count_init, .worker_exit = count_exit,
                                             .error = &error, TEST_MEMORY(account))),
        CREW_NO_RESOURCE);
    CHECK(pool == NULL);
    CHECK_STATUS(error.status, CREW_NO_RESOURCE);
    CHECK_EQ(test_threads_alive(), 1);
    CHECK(counter_get(&fresh.inits) < 16);
    check_account();
}

TEST(a_pool_with_initializer_that_gets_fewer_threads_than_asked_for_is_unwound)
{
    check_with_limited_threads(make_pool_with_too_few_threads_for_init, NULL);
}

static void use_pool_with_few_threads(void *arg)
{
    enum { COUNT = 500 };
    static long numbers[COUNT], values[COUNT];
    crew_pool_info info = {.struct_size = sizeof info};
    crew_pool *pool;
    (void)arg;
    limit_threads(4);
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = 16)), CREW_OK);
    for (long i = 0; i < COUNT; i++) {
        numbers[i] = i;
        CHECK_STATUS(crew_apply_async(pool, &square_item, &i, NULL, NULL), CREW_OK);
    }
    CHECK_STATUS(crew_map(pool, &square_item, numbers, COUNT, values, CREW_CALL(.chunk = 1)), CREW_OK);
    for (long i = 0; i < COUNT; i++)
        CHECK_EQ(values[i], i * i);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK(info.threads >= 1 && info.threads <= 3);
    CHECK(info.done >= COUNT + 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

TEST(a_pool_that_gets_fewer_threads_than_asked_for_still_runs_everything)
{
    check_with_limited_threads(use_pool_with_few_threads, NULL);
}

static void let_so_many_threads_be(rlim_t threads)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NPROC, &limit), 0);
    limit.rlim_cur = threads;
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
}

static int lets_more_threads_be_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    gate_wait(context); /* the others have been submitted */
    let_so_many_threads_be(10);
    return 0;
}

static int meets_another_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    gate_add(context);
    gate_wait_for(context, 2);
    return 0;
}

static void meet_after_a_shortage(void *arg)
{
    static const crew_job lets_more_threads_be = {lets_more_threads_be_fn, 0, 0, "lets_more_threads_be", NULL, NULL};
    static const crew_job meets_another = {meets_another_fn, 0, 0, "meets_another", NULL, NULL};
    struct gate *go = gate_new(), *meeting = gate_new();
    crew_pool *pool;
    (void)arg;
    limit_threads(10);
    let_so_many_threads_be(2);
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = 2, .flags = CREW_WORKERS_ONLY)), CREW_OK);
    CHECK_STATUS(crew_apply_async(pool, &lets_more_threads_be, NULL, NULL, CREW_CALL(.context = go)), CREW_OK);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(crew_apply_async(pool, &meets_another, NULL, NULL, CREW_CALL(.context = meeting)), CREW_OK);
    gate_open(go);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(meeting);
    gate_free(go);
}

TEST(a_busy_worker_starts_another_as_soon_as_threads_can_be_had_again)
{
    check_with_limited_threads(meet_after_a_shortage, NULL);
}

static void nest_without_stand_ins(void *arg)
{
    crew_pool *pool;
    long sum = 0;
    (void)arg;
    limit_threads(3);
    CHECK_STATUS(crew_pool_create(&pool, CREW_OPTIONS(.workers = 2)), CREW_OK);
    for (int i = 0; i < 20; i++) {
        CHECK_STATUS(crew_apply(pool, &sum_below, &(long){8}, &sum, NULL), CREW_OK);
        CHECK_EQ(sum, 21);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

TEST(nested_waits_end_where_no_stand_in_can_be_started)
{
    check_with_limited_threads(nest_without_stand_ins, NULL);
}

/* ---- no descriptors ---- */

/* The soft limit: afterwards the process (and a leak checker at its end) gets back what it had. */
static rlim_t set_descriptors(rlim_t count)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = count;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

static void use_pool(crew_pool *pool)
{
    long numbers[4] = {1, 2, 3, 4};
    CHECK_STATUS(crew_map(pool, &square_item, numbers, 4, numbers, NULL), CREW_OK);
    CHECK_EQ(numbers[3], 16);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_pool_needs_no_descriptor)
{
    rlim_t before = set_descriptors(3);
    use_pool(contract_pool(NULL));
    set_descriptors(before);
}

TEST(without_descriptors_the_default_number_of_workers_is_still_found_or_refused)
{
    crew_pool *pool = NULL;
    unsigned count = 0;
    rlim_t before = set_descriptors(3);
    crew_status status = crew_cpu_count(&count, NULL);
    CHECK(status == CREW_OK ? count >= 1 : status >= CREW_INVALID && count == 0);
    CHECK_STATUS(crew_pool_create(&pool, NULL), status);
    if (status == CREW_OK)
        use_pool(pool);
    set_descriptors(before);
}
