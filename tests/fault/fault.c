/* SPDX-License-Identifier: MIT */
/* Which call fails, and what must hold nevertheless: a scenario is counted first, then run once for every call that can fail. */
#define _GNU_SOURCE
#include "fault.h"

#include "contract/in_child.h"

#include <dirent.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum {
    COUNTING_RUNS = 3, /* threads race, so one run may see more than another */
    EACH = 100         /* calls of one kind that fail in turn; of more than that only some do, all with FAULT_ROUNDS */
};

static const char *const kind_names[FAULT_KINDS] = {"memory", "thread", "futex", "timeout", "clock", "file", "system"};

/* Shared by all processes of a case. */
struct plan {
    _Atomic long calls[FAULT_KINDS]; /* so far in this run */
    bool is_armed, is_limited;
    enum fault_kind kind;
    enum fault_mode mode;
    long nth; /* from 1 */
};

static struct plan *plan;

bool fault_strikes(enum fault_kind kind)
{
    if (plan == NULL)
        return false;
    long call = atomic_fetch_add(&plan->calls[kind], 1) + 1;
    if (!plan->is_armed || plan->kind != kind)
        return false;
    return plan->mode == FAULT_ONCE ? call == plan->nth : call >= plan->nth;
}

bool fault_is_armed(void)
{
    return plan->is_armed || plan->is_limited;
}

/* ---- what a call may say ---- */

/* Which refusals a fault explains. */
static bool is_explained(crew_status status)
{
    bool no_thread = status == CREW_NO_RESOURCE || status == CREW_TOO_DEEP || status == CREW_BROKEN;
    if (plan->is_limited)
        return no_thread || status == CREW_NO_MEMORY;
    if (!plan->is_armed)
        return false;
    switch (plan->kind) {
    case FAULT_MEMORY:
    case FAULT_SYSTEM: return no_thread || status == CREW_NO_MEMORY;
    case FAULT_THREAD: return no_thread;
    case FAULT_TIMEOUT:
    case FAULT_CLOCK: return status == CREW_TIMEOUT;
    default: return false;
    }
}

bool fault_granted(crew_status status, crew_status expected)
{
    if (status == expected)
        return true;
    if (!is_explained(status))
        CHECK_STATUS(status, expected);
    return false;
}

bool fault_granted_error(crew_status status, crew_status expected, const crew_error *error)
{
    if (status != CREW_OK)
        CHECK_STATUS(error->status, status);
    if (status >= CREW_INVALID)
        CHECK(error->message[0] != '\0');
    return fault_granted(status, expected);
}

crew_pool *fault_pool(const crew_pool_options *options)
{
    crew_error error = {.status = CREW_OK, .message = ""};
    crew_pool_options own = options != NULL ? *options : (crew_pool_options){.struct_size = sizeof own, .workers = 2};
    crew_pool *pool = NULL;
    own.error = &error;
    bool made = fault_granted_error(crew_pool_create(&pool, &own), CREW_OK, &error);
    CHECK(made == (pool != NULL));
    return pool;
}

/* ---- one run ---- */

static long descriptors_open(void)
{
    long open = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        open++;
    closedir(directory);
    return open;
}

/* Afterwards everything is as it was. */
static void check_nothing_is_left(long descriptors, unsigned threads)
{
    CHECK_EQ(fault_live_blocks(), 0);
    CHECK_EQ(fault_live_files(), 0);
    CHECK_EQ(descriptors_open(), descriptors);
    CHECK_EQ(test_threads_alive(), threads);
}

static void run_checked(void *opaque)
{
    void (*const *scenario)(void) = opaque;
    long descriptors = descriptors_open();
    unsigned threads = test_threads_alive();
    (*scenario)();
    check_nothing_is_left(descriptors, threads);
}

void fault_run_limited(void (*scenario)(void), int resource, rlim_t value)
{
    static struct plan own = {.is_limited = true};
    struct rlimit limit;
    long descriptors = descriptors_open();
    unsigned threads = test_threads_alive();
    plan = &own;
    CHECK_EQ(getrlimit((__rlimit_resource_t)resource, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = value;
    CHECK_EQ(setrlimit((__rlimit_resource_t)resource, &limit), 0);
    scenario();
    limit.rlim_cur = before; /* what the checks need is not rationed */
    CHECK_EQ(setrlimit((__rlimit_resource_t)resource, &limit), 0);
    check_nothing_is_left(descriptors, threads);
}

static void must_succeed(int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    const char *how =
        WIFSIGNALED(status) ? WTERMSIG(status) == SIGALRM ? "hangs" : strsignal(WTERMSIG(status)) : "fails";
    if (!plan->is_armed)
        test_fail(__FILE__, __LINE__, "%s without any fault", how);
    test_fail(__FILE__, __LINE__, "%s where call %ld fails%s: repeat with FAULT=%s:%ld", how, plan->nth,
              plan->mode == FAULT_ONCE ? "" : " and all after it", kind_names[plan->kind], plan->nth);
}

static void run_once(void (*scenario)(void))
{
    for (int kind = 0; kind < FAULT_KINDS; kind++)
        atomic_store(&plan->calls[kind], 0);
    must_succeed(run_in_child(run_checked, &scenario));
}

/* ---- all runs ---- */

static void count_calls(void (*scenario)(void), long counts[FAULT_KINDS])
{
    memset(counts, 0, FAULT_KINDS * sizeof *counts);
    for (int run = 0; run < COUNTING_RUNS; run++) {
        run_once(scenario);
        for (int kind = 0; kind < FAULT_KINDS; kind++)
            if (atomic_load(&plan->calls[kind]) > counts[kind])
                counts[kind] = atomic_load(&plan->calls[kind]);
    }
}

static void strike(void (*scenario)(void), enum fault_kind kind, long nth)
{
    plan->is_armed = true;
    plan->kind = kind;
    plan->nth = nth;
    run_once(scenario);
    plan->is_armed = false;
}

static void strike_each(void (*scenario)(void), enum fault_kind kind, long count, bool all)
{
    long step = all || count <= EACH ? 1 : (count + EACH - 1) / EACH;
    for (long nth = 1; nth <= count; nth += nth < EACH / 2 ? 1 : step) /* the first ones are those that differ */
        strike(scenario, kind, nth);
}

/* FAULT=memory:7. False: nothing is asked for. */
static bool strike_as_asked(void (*scenario)(void))
{
    const char *wish = getenv("FAULT");
    for (int kind = 0; wish != NULL && kind < FAULT_KINDS; kind++) {
        size_t size = strlen(kind_names[kind]);
        if (strncmp(wish, kind_names[kind], size) == 0 && wish[size] == ':')
            strike(scenario, (enum fault_kind)kind, strtol(wish + size + 1, NULL, 10));
    }
    return wish != NULL;
}

void fault_each(void (*scenario)(void), enum fault_mode mode)
{
    const char *rounds = getenv("FAULT_ROUNDS");
    long counts[FAULT_KINDS];
    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(plan != MAP_FAILED);
    plan->mode = mode;
    if (strike_as_asked(scenario))
        return;
    count_calls(scenario, counts);
    for (int kind = 0; kind < FAULT_KINDS; kind++)
        printf("%s: %ld calls\n", kind_names[kind], counts[kind]);
    for (long round = rounds != NULL ? strtol(rounds, NULL, 10) : 1; round > 0; round--)
        for (int kind = 0; kind < FAULT_KINDS; kind++)
            strike_each(scenario, (enum fault_kind)kind, counts[kind], rounds != NULL);
}
