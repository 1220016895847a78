/* SPDX-License-Identifier: MIT */
/* CREW_LAZY_INIT: the initializer of a worker runs when there is work for it, and may take its time then, or wait for others. */
#include "blocker.h"

struct porch {
    struct gate *came, *door;
};

static int wait_at_door(void *user, int worker, void **ret_state)
{
    struct porch *porch = user;
    (void)worker;
    *ret_state = porch;
    gate_add(porch->came);
    gate_wait(porch->door);
    return 0;
}

static crew_pool *pool_with_porch(struct porch *porch)
{
    porch->came = gate_new();
    porch->door = gate_new();
    return contract_pool(CREW_OPTIONS(.worker_init = wait_at_door, .user = porch, .flags = CREW_LAZY_INIT));
}

static void porch_free(struct porch *porch)
{
    gate_free(porch->came);
    gate_free(porch->door);
}

CREW_JOB(is_inside, int, bool)
{
    (void)arg;
    (void)context;
    *result = crew_worker_state() != NULL;
    return 0;
}

CONTRACT_THREADS(late_initializers_run_side_by_side_where_there_is_work_for_all)
{
    struct porch porch;
    crew_pool *pool = pool_with_porch(&porch);
    crew_result *results[16];

    for (unsigned i = 0; i < config->workers; i++)
        CHECK_STATUS(crew_apply_async(pool, &is_inside, &(int){0}, &results[i], NULL), CREW_OK);
    gate_wait_for(porch.came, config->workers);
    gate_open(porch.door);
    for (unsigned i = 0; i < config->workers; i++) {
        CHECK_STATUS(crew_result_wait(results[i], far_away()), CREW_OK);
        CHECK_STATUS(crew_result_status(results[i]), CREW_OK);
        crew_result_destroy(results[i]);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    porch_free(&porch);
}

CONTRACT_THREADS(one_job_calls_for_one_late_initializer)
{
    struct porch porch;
    crew_pool *pool = pool_with_porch(&porch);
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &is_inside, &(int){0}, &result, NULL), CREW_OK);
    gate_wait(porch.came);
    gate_open(porch.door);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(gate_count(porch.came), 1);
    porch_free(&porch);
}

CONTRACT_THREADS(terminate_ends_the_job_for_which_a_late_initializer_runs)
{
    struct porch porch;
    crew_pool *pool = pool_with_porch(&porch);
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &is_inside, &(int){0}, &result, NULL), CREW_OK);
    gate_wait(porch.came);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_TERMINATED);
    gate_open(porch.door);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    porch_free(&porch);
}
