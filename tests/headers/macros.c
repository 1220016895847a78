/* SPDX-License-Identifier: MIT */
/* Uses every macro of the interface in the language that C and C++ share, and checks what comes out. macros.cpp is this file as C++. */
#include <crewpool/crewpool.h>
#include <stdio.h>
#include <string.h>

struct area {
    double width, height;
};

static unsigned failures, checks;

static void check(int holds, const char *what)
{
    failures += !holds;
    printf("%sok %u - %s\n", holds ? "" : "not ", ++checks, what);
}

#define CHECK(condition) check((condition) != 0, #condition)

/* ---- jobs ---- */

CREW_JOB(twice, int, long)
{
    (void)context;
    *result = 2L * *arg;
    return 0;
}

CREW_JOB_DROPS(copy_of_bytes, crew_bytes, crew_bytes, crew_bytes_drop, crew_bytes_drop)
{
    (void)context;
    return crew_bytes_set(result, arg->data, arg->size) == CREW_OK ? 0 : 1;
}

CREW_ACTION(add_to, int)
{
    *(int *)context += *arg;
    return 0;
}

CREW_ACTION_DROPS(count_bytes, crew_bytes, crew_bytes_drop)
{
    *(size_t *)context += arg->size;
    return 0;
}

static void check_jobs(void)
{
    int seven = 7, sum = 1;
    long fourteen = 0;
    CHECK(twice.arg_size == sizeof(int) && twice.result_size == sizeof(long));
    CHECK(strcmp(twice.name, "twice") == 0 && twice.drop_arg == NULL && twice.drop_result == NULL);
    CHECK(twice.fn(&seven, &fourteen, NULL) == 0 && fourteen == 14);
    CHECK(copy_of_bytes.drop_arg == crew_bytes_drop && copy_of_bytes.drop_result == crew_bytes_drop);
    CHECK(add_to.arg_size == sizeof(int) && add_to.result_size == 0);
    CHECK(add_to.fn(&seven, NULL, &sum) == 0 && sum == 8);
    CHECK(count_bytes.drop_arg == crew_bytes_drop && count_bytes.drop_result == NULL);
}

/* ---- structs made in passing ---- */

static int call_is_empty(const crew_call *call)
{
    return call->struct_size == sizeof(crew_call) && call->context == NULL && call->on_done == NULL && call->flags == 0;
}

static int call_is(const crew_call *call, size_t chunk, size_t window, unsigned flags)
{
    return call->struct_size == sizeof(crew_call) && call->chunk == chunk && call->window == window &&
           call->flags == flags && call->user == NULL;
}

static int options_are(const crew_pool_options *options, unsigned workers, const char *name)
{
    return options->struct_size == sizeof(crew_pool_options) && options->workers == workers &&
           options->spares_max == CREW_NO_SPARES && strcmp(options->name, name) == 0 && options->queue_max == 0;
}

static void check_structs(void)
{
    int context = 0;
    CHECK(call_is_empty(CREW_CALL(.context = NULL)));
    CHECK(call_is(CREW_CALL(.chunk = 8), 8, 0, 0));
    CHECK(call_is(CREW_CALL(.context = &context, .chunk = 8, .window = 32, .flags = CREW_STOP_ON_ERROR | CREW_NO_WAIT),
                  8, 32, CREW_STOP_ON_ERROR | CREW_NO_WAIT));
    CHECK(options_are(CREW_OPTIONS(.workers = 2, .spares_max = CREW_NO_SPARES, .name = "crew"), 2, "crew"));
}

static void check_columns(void)
{
    double widths[] = {1, 2, 3}, height = 4;
    crew_column columns[] = {CREW_COLUMN(struct area, width, widths), CREW_CONSTANT(struct area, height, &height)};
    CHECK(columns[0].data == widths && columns[0].size == sizeof(double) && columns[0].offset == 0);
    CHECK(columns[0].stride == sizeof(double) && columns[1].stride == 0);
    CHECK(columns[1].data == &height && columns[1].offset == offsetof(struct area, height));
}

/* ---- the rest ---- */

static int report(const char *format, ...) CREW_PRINTF(1, 2);
static int report(const char *format, ...)
{
    return format != NULL;
}

CREW_MUST_USE static int answer(void)
{
    return 42;
}

static void check_values(void)
{
    crew_deadline forever = CREW_FOREVER, now = CREW_NOW;
    CHECK(forever.ns == INT64_MAX && now.ns == 0);
    CHECK(crew_after_ms(INT64_MAX).ns == forever.ns && crew_after_ms(-5).ns == now.ns);
    CHECK(CREW_IS_OUTCOME(CREW_WORKER_LOST) && !CREW_IS_OUTCOME(CREW_TIMEOUT) && !CREW_IS_OUTCOME(CREW_INVALID));
    CHECK(CREW_VERSION == CREW_VERSION_MAJOR * 65536 + CREW_VERSION_MINOR * 256 + CREW_VERSION_PATCH);
    CHECK(crew_version() == CREW_VERSION);
    CHECK(report("%d", answer()) == 1);
}

static void check_scope(void)
{
    CREW_AUTO_POOL(pool);
    CHECK(pool == NULL);
    CHECK(crew_pool_create(&pool, CREW_OPTIONS(.kind = CREW_SERIAL, .workers = 1)) == CREW_OK);
}

int main(void)
{
    check_jobs();
    check_structs();
    check_columns();
    check_values();
    check_scope();
    printf("1..%u\n", checks);
    return failures > 0;
}
