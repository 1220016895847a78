/* SPDX-License-Identifier: MIT */
/* A worker_init that ends its thread has failed, as one that returns an error has. */
#define _POSIX_C_SOURCE 200809L
#include "blocker.h"

#include <pthread.h>

struct desk {
    counter inits, exits;
    long lost_from; /* the calls of worker_init, from 1, that end their threads */
};

static int take_desk(void *user, int worker, void **ret_state)
{
    struct desk *desk = user;
    (void)worker;
    *ret_state = desk;
    if (counter_add(&desk->inits, 1) >= desk->lost_from)
        pthread_exit(NULL);
    return 0;
}

static void leave_desk(void *user, int worker, void *state)
{
    struct desk *desk = user;
    (void)worker;
    CHECK(state == user);
    counter_add(&desk->exits, 1);
}

#define DESK(desk, ...) CREW_OPTIONS(.worker_init = take_desk, .worker_exit = leave_desk, .user = (desk), __VA_ARGS__)

CREW_JOB(twice, int, long)
{
    (void)context;
    *result = 2L * *arg;
    return 0;
}

static void check_create_fails(long lost_from)
{
    struct desk desk = {.lost_from = lost_from};
    crew_error error = {.status = CREW_OK};
    crew_pool *pool = NULL;
    unsigned before = test_threads_alive();
    crew_status status =
        crew_pool_create(&pool, DESK(&desk, .kind = config->kind, .workers = config->workers, .error = &error));
    CHECK_STATUS(status, CREW_FAILED);
    CHECK(pool == NULL);
    CHECK_STATUS(error.status, CREW_FAILED);
    CHECK_STRING(error.message, "the thread that ran it has ended");
    CHECK(error.worker >= 0 && (unsigned)error.worker < config->workers);
    CHECK_EQ(counter_get(&desk.exits), lost_from - 1);
    CHECK_EQ(test_threads_alive(), before);
}

CONTRACT_THREADS(create_fails_where_an_initializer_ends_its_thread)
{
    check_create_fails(1);
    check_create_fails(config->workers);
}

static void count_call(const crew_outcome *outcome, void *user)
{
    CHECK_STATUS(outcome->status, CREW_BROKEN);
    counter_add(user, 1);
}

/* Callbacks still have to be called, though the only thread that there is has ended. */
CONTRACT_THREADS(a_lazy_initializer_that_ends_its_thread_breaks_the_pool)
{
    struct desk desk = {.lost_from = 1};
    counter calls = {0};
    crew_pool *pool = contract_pool(DESK(&desk, .flags = CREW_LAZY_INIT));
    crew_error error = {.status = CREW_OK};
    crew_result *result;
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){21}, &result, CREW_CALL(.on_done = count_call, .user = &calls)),
                 CREW_OK);
    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_BROKEN);
    CHECK_STATUS(crew_result_error(result, &error), CREW_OK);
    CHECK(strstr(error.message, "the thread that ran it has ended") != NULL);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){21}, NULL, NULL), CREW_BROKEN);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&calls), 1);
    CHECK_EQ(counter_get(&desk.exits), 0);
    CHECK(counter_get(&desk.inits) <= config->workers);
}

/* Waits for a job that only a spare could run. */
CREW_JOB(wait_for_child, int64_t, crew_status)
{
    crew_result *child;
    (void)context;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &twice, &(int){21}, &child, NULL), CREW_OK);
    *result = crew_result_wait(child, crew_after_ns(*arg));
    crew_result_destroy(child);
    return 0;
}

CONTRACT_THREADS(a_spare_whose_initializer_ends_its_thread_is_counted_and_breaks_nothing)
{
    struct desk desk = {.lost_from = 2};
    crew_pool *pool = contract_pool(DESK(&desk, .workers = 1, .flags = CREW_WORKERS_ONLY));
    crew_pool_info info = {.struct_size = sizeof info};
    crew_status status = CREW_OK;
    long value = 0;
    CHECK_STATUS(crew_apply(pool, &wait_for_child, &(int64_t){NOT_YET_NS}, &status, NULL), CREW_OK);
    CHECK_STATUS(status, CREW_TIMEOUT);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){21}, &value, NULL), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_EQ(info.state, CREW_POOL_OPEN);
    CHECK_EQ(info.spare_failures, counter_get(&desk.inits) - 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&desk.exits), 1);
}
