/* SPDX-License-Identifier: MIT */
/* Fuzzes the interface: an input is a pool and a sequence of calls on it, on its results and its streams, good ones and such as must be
 * refused. Every status must be one that the headers promise at that moment, every byte that comes back the right one, what is refused
 * must leave all outputs alone, and in the end each call that was accepted must have ended exactly once (book.c). */
#include "calls.h"

#include <limits.h>
#include <stdatomic.h>

enum { STEPS_MAX = 60 };

struct program program;
static struct test_memory memory;
static int init_fails_at; /* the worker that cannot start */

/* ---- the pool ---- */

static int worker_begin(void *user, int worker, void **ret_state)
{
    CHECK(worker >= 0);
    if (init_fails_at > 0 && counter_get(&program.book.inits) + 1 >= init_fails_at)
        return crew_fail(9, "worker %d", worker);
    counter_add(&program.book.inits, 1);
    *ret_state = user;
    return 0;
}

static void worker_end(void *user, int worker, void *state)
{
    CHECK(worker >= 0 && state == user);
    counter_add(&program.book.exits, 1);
}

static void worker_run(void *user, int worker, int running)
{
    (void)user;
    CHECK(worker >= 0 && (running == 0 || running == 1));
}

static void unhandled(const crew_outcome *outcome, void *user)
{
    (void)user;
    CHECK(outcome->status == CREW_FAILED || outcome->status == CREW_BROKEN || outcome->status == CREW_WORKER_LOST);
    check_error(outcome->error, outcome->status);
}

static bool both(unsigned flags, unsigned pair)
{
    return (flags & pair) == pair;
}

static void options_functions(crew_pool_options *options)
{
    unsigned what = choose(8);
    init_fails_at = 0;
    options->user = &memory;
    if (what & 1) {
        options->worker_init = worker_begin;
        options->worker_exit = worker_end;
        init_fails_at = (int)choose(4);
    }
    if (what & 2)
        options->on_unhandled = unhandled;
    if (what & 4)
        options->worker_run = worker_run;
    what = choose(8);
    options->alloc = what > 3 || what == 1 ? test_memory_alloc : NULL;
    options->free = what > 3 || what == 2 ? test_memory_free : NULL;
}

/* True: they can be. */
static bool options_choose(crew_pool_options *options)
{
    static const unsigned workers[] = {1, 2, 2, 0, CREW_WORKERS_MAX + 1, UINT_MAX};
    static const unsigned spares[] = {0, 1, 2, CREW_NO_SPARES, CREW_WORKERS_MAX + 1, UINT_MAX - 1};
    static const size_t stacks[] = {0, 256 * 1024, 0, SIZE_MAX, (size_t)PTRDIFF_MAX};
    static const size_t queues[] = {0, 0, 1, 2, 7, SIZE_MAX};
    static const char *const names[] = {NULL, "", "%s%n", "a name that is longer than any name of a thread"};
    static const int kinds[] = {CREW_THREADS, CREW_SERIAL, CREW_SERIAL, CREW_THREADS, CREW_SERIAL, 2, -1};
    options->kind = FUZZ_PICK(&program.input, kinds);
    options->workers = FUZZ_PICK(&program.input, workers);
    options->spares_max = FUZZ_PICK(&program.input, spares);
    options->stack_size = FUZZ_PICK(&program.input, stacks);
    options->queue_max = FUZZ_PICK(&program.input, queues);
    options->name = FUZZ_PICK(&program.input, names);
    options->flags = choose(4) < 3 ? choose(32) : 1u << choose(32);
    options_functions(options);
    bool has_flags = options->flags < 32 && !both(options->flags, CREW_WORKERS_ONLY | CREW_CALLER_HELPS) &&
                     !both(options->flags, CREW_FULL_FAILS | CREW_FULL_RUNS) &&
                     !both(options->flags, CREW_FULL_RUNS | CREW_WORKERS_ONLY);
    bool has_spares = options->spares_max <= CREW_WORKERS_MAX || options->spares_max == CREW_NO_SPARES;
    return has_flags && has_spares && options->workers <= CREW_WORKERS_MAX && !options->alloc == !options->free &&
           (options->kind == CREW_THREADS || options->kind == CREW_SERIAL);
}

/* True: the struct can be read. */
static bool options_size(crew_pool_options *options, unsigned char *added, size_t added_size)
{
    static const size_t bad[] = {0, 1, sizeof *options - 1, SIZE_MAX};
    unsigned what = choose(16);
    options->struct_size = what == 1 ? FUZZ_PICK(&program.input, bad) : sizeof *options;
    if (what == 2 || what == 3)
        options->struct_size = sizeof *options + added_size;
    if (what == 3)
        added[choose((unsigned)added_size)] = 1;
    return what != 1 && what != 3;
}

static bool may_break(const crew_pool_options *options)
{
    return init_fails_at > 0 || options->stack_size > UINT_MAX || program.book.may_lack;
}

static void do_create(void)
{
    struct {
        crew_pool_options options;
        unsigned char added[32];
    } newer = {.options = {.struct_size = 0}};
    crew_pool_options *options = &newer.options;
    crew_error error;
    crew_pool *pool, *untouched;
    bool is_good = options_choose(options), is_readable = options_size(options, newer.added, sizeof newer.added);
    memset(&pool, UNTOUCHED, sizeof pool);
    memset(&error, UNTOUCHED, sizeof error);
    untouched = pool;
    options->error = &error;
    program.book.may_break = may_break(options);
    program.book.has_limit = options->queue_max > 0;
    program.book.is_serial = options->kind == CREW_SERIAL;
    crew_status status = crew_pool_create(choose(32) == 1 ? NULL : &pool, options);
    CHECK((pool != untouched) == (status == CREW_OK));
    if (status == CREW_OK) {
        CHECK(is_good && is_readable && is_untouched(&error, sizeof error));
        program.pool = pool;
        return;
    }
    CHECK(status == CREW_INVALID || program.book.may_break);
    CHECK(status == CREW_INVALID || (status == CREW_FAILED && init_fails_at > 0) || status == CREW_NO_RESOURCE ||
          (status == CREW_NO_MEMORY && program.book.may_lack));
    if (is_readable)
        check_error(&error, status);
}

static void pool_query(void)
{
    static const size_t query_sizes[] = {sizeof(crew_pool_info), 0, 1, sizeof(crew_pool_info) - 1, SIZE_MAX};
    crew_pool_info info;
    memset(&info, UNTOUCHED, sizeof info);
    info.struct_size = FUZZ_PICK(&program.input, query_sizes);
    bool is_bad = program.pool == NULL || info.struct_size < sizeof info;
    CHECK_STATUS(crew_pool_query(program.pool, &info), is_bad ? CREW_INVALID : CREW_OK);
    if (is_bad)
        CHECK(is_untouched((char *)&info + sizeof info.struct_size, sizeof info - sizeof info.struct_size));
    else
        CHECK(info.state >= CREW_POOL_OPEN && info.state <= CREW_POOL_JOINED && info.workers <= CREW_WORKERS_MAX &&
              info.workers <= info.slots);
}

static void pool_join(void)
{
    crew_deadline deadline = any_deadline();
    bool is_shut = atomic_load(&program.book.is_closed) || atomic_load(&program.book.is_terminated);
    crew_status status = crew_pool_join(program.pool, deadline);
    CHECK(program.pool != NULL || status == CREW_INVALID);
    CHECK(status != CREW_OK || is_shut || atomic_load(&program.book.is_closed) ||
          atomic_load(&program.book.is_terminated));
    CHECK(status != CREW_TIMEOUT || deadline.ns != CREW_FOREVER.ns);
    CHECK(status == CREW_OK || status == CREW_TIMEOUT || status == CREW_INVALID);
}

/* What it has left, goes on. */
static void pool_destroy(void)
{
    atomic_store(&program.book.is_closed, true);
    CHECK_STATUS(crew_pool_destroy(program.pool), CREW_OK);
    program.pool = NULL;
}

static void do_with_pool(void)
{
    crew_status expected = program.pool != NULL ? CREW_OK : CREW_INVALID;
    crew_deadline deadline;
    switch (choose(16)) {
    case 1:
        atomic_store(&program.book.is_closed, true);
        CHECK_STATUS(crew_pool_close(program.pool), expected);
        break;
    case 2:
        atomic_store(&program.book.is_terminated, true);
        CHECK_STATUS(crew_pool_terminate(program.pool), expected);
        break;
    case 3: pool_join(); break;
    case 4: pool_destroy(); break;
    case 5: crew_pool_request_stop(program.pool); break;
    case 6:
    case 7: pool_query(); break;
    default:
        deadline = any_deadline();
        crew_status status = crew_pool_wait(program.pool, deadline);
        CHECK(status == expected || (status == CREW_TIMEOUT && deadline.ns != CREW_FOREVER.ns));
    }
}

/* ---- what can be said to nothing ---- */

static void do_with_nothing(void)
{
    crew_error error;
    CHECK_STATUS(crew_result_wait(NULL, any_deadline()), CREW_INVALID);
    CHECK_STATUS(crew_result_get(NULL, NULL, any_deadline()), CREW_INVALID);
    CHECK_STATUS(crew_result_status(NULL), CREW_INVALID);
    CHECK_STATUS(crew_result_error(NULL, &error), CREW_INVALID);
    CHECK_STATUS(crew_result_cancel(NULL), CREW_INVALID);
    CHECK_STATUS(crew_iterator_next(NULL, NULL, NULL, any_deadline(), &error), CREW_INVALID);
    check_error(&error, CREW_INVALID);
    crew_result_destroy(NULL);
    crew_iterator_destroy(NULL);
    crew_bytes_drop(NULL, NULL);
    crew_bytes bytes = {NULL, 0};
    CHECK_STATUS(crew_bytes_set(choose(2) ? &bytes : NULL, NULL, 1), CREW_INVALID);
    CHECK_EQ(crew_fail(0, "outside of any job"), -1);
    CHECK_EQ(crew_fail(3, NULL), 3);
    CHECK(crew_current_pool() == NULL && crew_worker_state() == NULL && !crew_should_stop());
    CHECK_EQ(crew_worker_index(), -1);
}

/* Allocations fail from now on, or soon, or no more. */
static void do_with_memory(void)
{
    long after = (long)choose(16);
    long fails_at = counter_get(&memory.calls) + after;
    program.book.may_lack = program.book.may_break = true;
    atomic_store(&memory.fail_at, after == 0 ? 0 : choose(2) ? -fails_at : fails_at);
}

/* ---- the whole program ---- */

static void let_go_of_all(void)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (program.streams[i].iterator != NULL)
            stream_let_go(&program.streams[i]);
    for (size_t i = 0; i < HELD_MAX; i++)
        if (program.held[i].result != NULL)
            result_let_go(&program.held[i]);
}

static void act(void)
{
    static void (*const steps[])(void) = {do_with_pool,    do_apply_async, do_apply,       do_map,
                                          do_map_async,    do_stream,      do_with_stream, do_with_held,
                                          do_with_nothing, do_with_stream, do_with_held,   do_apply_async};
    for (unsigned left = STEPS_MAX; left > 0 && program.input.at < program.input.end; left--) {
        unsigned step = fuzz_byte(&program.input);
        if (step == 255)
            do_with_memory();
        else
            steps[step % (sizeof steps / sizeof steps[0])]();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    program = (struct program){.input = {data, data + size}};
    memory = (struct test_memory){0};
    do_create();
    act();
    bool is_pool_first = choose(2);
    if (is_pool_first)
        pool_destroy();
    let_go_of_all();
    if (!is_pool_first)
        pool_destroy();
    book_check(&program.book);
    CHECK_EQ(counter_get(&memory.live_blocks), 0);
    return 0;
}
