/* SPDX-License-Identifier: MIT */
/* Faults under pools: their making and their end, initializers, lost workers, fork, the number of CPUs, values of any length. */
#define _GNU_SOURCE
#include "fault.h"

#include "contract/in_child.h"
#include "contract/ledger.h"

#include <pthread.h>

/* ---- making one ---- */

static void use_and_destroy(crew_pool *pool)
{
    crew_pool_info info = {.struct_size = sizeof info};
    long value = 0;
    if (pool == NULL)
        return;
    if (fault_granted(crew_apply(pool, &twice, &(int){21}, &value, NULL), CREW_OK))
        CHECK_EQ(value, 42);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK(info.workers >= 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

SCENARIO(a_pool_with_every_default)
{
    use_and_destroy(fault_pool(CREW_OPTIONS(.name = NULL)));
}

SCENARIO(a_pool_with_many_options)
{
    use_and_destroy(fault_pool(
        CREW_OPTIONS(.workers = 4, .name = "options", .stack_size = 256 * 1024, .queue_max = 3, .spares_max = 2)));
}

SCENARIO(a_pool_after_another)
{
    use_and_destroy(fault_pool(NULL));
    use_and_destroy(fault_pool(NULL));
}

SCENARIO(the_number_of_cpus)
{
    unsigned count = 0;
    crew_error error = {.status = CREW_OK};
    CHECK_STATUS(crew_cpu_count(&count, &error), CREW_OK);
    CHECK(count >= 1 && count <= CREW_WORKERS_MAX);
    CHECK_STATUS(error.status, CREW_OK);
}

SCENARIO(a_value_of_any_length)
{
    crew_bytes bytes = {0};
    if (fault_granted(crew_bytes_set(&bytes, "short", 6), CREW_OK)) {
        if (fault_granted(crew_bytes_set(&bytes, "rather longer", 14), CREW_OK))
            CHECK_STRING(bytes.data, "rather longer");
        else
            CHECK_STRING(bytes.data, "short");
    }
    crew_bytes_drop(&bytes, NULL);
    CHECK(bytes.data == NULL);
}

/* ---- initializers ---- */

struct hooks {
    counter inits, exits, runs;
};

static int count_init(void *user, int worker, void **ret_state)
{
    struct hooks *hooks = user;
    (void)worker;
    *ret_state = hooks;
    counter_add(&hooks->inits, 1);
    return 0;
}

static void count_exit(void *user, int worker, void *state)
{
    struct hooks *hooks = user;
    (void)worker;
    CHECK(state == hooks);
    counter_add(&hooks->exits, 1);
}

static void count_run(void *user, int worker, int running)
{
    (void)worker;
    counter_add(&((struct hooks *)user)->runs, running ? 1 : -1);
}

static void use_initializers(unsigned flags)
{
    enum { JOBS = 10 };
    struct hooks hooks = {0};
    counter ran = {0};
    long accepted = 0;
    crew_pool *pool = fault_pool(CREW_OPTIONS(.workers = 3, .worker_init = count_init, .worker_exit = count_exit,
                                              .worker_run = count_run, .user = &hooks, .flags = flags));
    if (pool != NULL) {
        CHECK((flags & CREW_LAZY_INIT) || counter_get(&hooks.inits) >= 3);
        for (int i = 0; i < JOBS; i++)
            accepted +=
                fault_granted(crew_apply_async(pool, &count_one, NULL, NULL, CREW_CALL(.context = &ran)), CREW_OK);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(counter_get(&ran), accepted);
    }
    CHECK_EQ(counter_get(&hooks.exits), counter_get(&hooks.inits));
    CHECK_EQ(counter_get(&hooks.runs), 0);
}

SCENARIO(a_pool_with_initializers)
{
    use_initializers(0);
}

SCENARIO(a_pool_with_lazy_initializers)
{
    use_initializers(CREW_LAZY_INIT);
}

static int second_fails(void *user, int worker, void **ret_state)
{
    return worker == 1 ? crew_fail(5, "no licence") : count_init(user, worker, ret_state);
}

SCENARIO(an_initializer_that_fails)
{
    struct hooks hooks = {0};
    crew_error error = {.status = CREW_OK, .message = ""};
    crew_pool *pool = NULL;
    crew_status status =
        crew_pool_create(&pool, CREW_OPTIONS(.workers = 3, .worker_init = second_fails, .worker_exit = count_exit,
                                             .user = &hooks, .error = &error));
    if (fault_granted_error(status, CREW_FAILED, &error))
        CHECK_EQ(error.code, 5);
    CHECK(pool == NULL);
    CHECK_EQ(counter_get(&hooks.exits), counter_get(&hooks.inits));
}

SCENARIO(a_lazy_initializer_that_fails)
{
    struct hooks hooks = {0};
    struct ledger ledger = {0};
    long accepted = 0;
    crew_pool *pool = fault_pool(CREW_OPTIONS(.workers = 3, .worker_init = second_fails, .worker_exit = count_exit,
                                              .user = &hooks, .flags = CREW_LAZY_INIT));
    for (long i = 0; pool != NULL && i < 20; i++) {
        crew_status status = ledger_submit(&ledger, pool, i, NULL);
        accepted += status == CREW_OK;
        CHECK(status == CREW_OK || status == CREW_BROKEN || fault_is_armed());
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&hooks.exits), counter_get(&hooks.inits));
    ledger_check(&ledger, accepted, 0);
}

/* ---- workers that are lost ---- */

static int leave_thread(const void *arg, void *result, void *context)
{
    (void)arg, (void)result, (void)context;
    pthread_exit(NULL);
}

SCENARIO(a_job_that_ends_its_thread)
{
    static const crew_job job = {leave_thread, 0, 0, "leave_thread", NULL, NULL};
    struct ledger ledger = {0};
    crew_result *lost = NULL;
    long accepted = 0;
    crew_pool *pool = fault_pool(CREW_OPTIONS(.workers = 1, .flags = CREW_WORKERS_ONLY));
    if (pool == NULL)
        return;
    for (int i = 0; i < 3; i++) {
        if (fault_granted(crew_apply_async(pool, &job, NULL, &lost, NULL), CREW_OK)) {
            CHECK_STATUS(crew_result_wait(lost, CREW_FOREVER), CREW_OK);
            (void)fault_granted(crew_result_status(lost), CREW_WORKER_LOST);
            crew_result_destroy(lost);
        }
        accepted += fault_granted(ledger_submit(&ledger, pool, i, NULL), CREW_OK);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    ledger_check(&ledger, accepted, 0);
}

/* A job that the main thread helps with, while the only worker is lost. */
struct helped {
    struct gate *begun, *go;
    counter calls;
};

static int begin_and_wait(const void *arg, void *result, void *context)
{
    struct helped *helped = context;
    (void)arg, (void)result;
    gate_open(helped->begun);
    gate_wait(helped->go);
    return 0;
}

static void count_call(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    counter_add(&((struct helped *)user)->calls, 1);
}

struct helper {
    crew_pool *pool;
    struct helped *helped;
    bool granted;
};

static void help(void *arg)
{
    static const crew_job job = {begin_and_wait, 0, 0, "begin_and_wait", NULL, NULL};
    struct helper *helper = arg;
    const crew_call *call = CREW_CALL(.context = helper->helped, .on_done = count_call, .user = helper->helped);
    helper->granted = fault_granted(crew_apply(helper->pool, &job, NULL, NULL, call), CREW_OK);
    gate_open(helper->helped->begun);
}

SCENARIO(a_callback_of_a_helper_s_job_after_the_last_worker)
{
    static const crew_job leave = {leave_thread, 0, 0, "leave_thread", NULL, NULL};
    struct helped helped = {gate_new(), gate_new(), {0}};
    crew_pool *pool = fault_pool(CREW_OPTIONS(.workers = 2, .flags = CREW_CALLER_HELPS));
    if (pool != NULL) {
        struct helper helper = {pool, &helped, false};
        struct test_thread *thread = test_thread_start(help, &helper);
        gate_wait(helped.begun);
        for (int i = 0; i < 2; i++)
            (void)crew_apply_async(pool, &leave, NULL, NULL, NULL);
        gate_open(helped.go);
        test_thread_join(thread);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(counter_get(&helped.calls), helper.granted);
    }
    gate_free(helped.begun);
    gate_free(helped.go);
}

/* ---- fork ---- */

static void use_in_child(void *opaque)
{
    crew_pool *pool = opaque;
    crew_status status = crew_apply_async(pool, &twice, &(int){1}, NULL, NULL);
    CHECK_STATUS(status, CREW_FORKED);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_FORKED);
    if (!test_under_sanitizer()) /* it allows no thread in the child of a process with threads */
        use_and_destroy(fault_pool(NULL));
}

SCENARIO(a_fork)
{
    counter ran = {0};
    long accepted = 0;
    crew_pool *pool = fault_pool(NULL);
    if (pool == NULL)
        return;
    for (int i = 0; i < 10; i++)
        accepted += fault_granted(crew_apply_async(pool, &count_one, NULL, NULL, CREW_CALL(.context = &ran)), CREW_OK);
    check_in_child(use_in_child, pool);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&ran), accepted);
    use_and_destroy(pool);
}
