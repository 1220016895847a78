/* SPDX-License-Identifier: MIT */
/* The thread in reserve: there before it is needed, and last to be woken, so that a pool whose jobs come one by one uses, and
 * initialises, one worker only. */
#include "threads/threads.h"

#include "test.h"

enum { ROUNDS = 50, JOBS = 5, WORKERS = 2 };

static int count_init(void *user, int worker, void **ret_state)
{
    (void)worker;
    (void)ret_state;
    counter_add(user, 1);
    return 0;
}

CREW_JOB(double_it, int, int)
{
    (void)context;
    *result = *arg * 2;
    return 0;
}

/* Nobody looks around any more: what comes next is what a wake does. */
static void wait_until_all_sleep(crewi_engine *engine)
{
    while (crewi_atomic_u32_load(&engine->idle_count) < WORKERS || crewi_atomic_u32_load(&engine->dozers) > 0)
        crewi_cpu_relax();
}

static void run_on_a_worker(crew_pool *pool, int number)
{
    crew_result *result;
    int doubled = 0;
    CHECK_STATUS(crew_apply_async(pool, &double_it, &number, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &doubled, crew_after_ms(60000)), CREW_OK);
    CHECK_EQ(doubled, number * 2);
    crew_result_destroy(result);
}

TEST(jobs_one_by_one_wake_the_worker_that_has_run_before_and_not_the_one_in_reserve)
{
    int rounds_with_one = 0;
    for (int round = 0; round < ROUNDS; round++) {
        counter initialised = {0};
        crew_pool *pool;
        const crew_pool_options *options =
            CREW_OPTIONS(.workers = WORKERS, .worker_init = count_init, .user = &initialised,
                         .flags = CREW_LAZY_INIT | CREW_WORKERS_ONLY);
        CHECK_STATUS(crew_pool_create(&pool, options), CREW_OK);
        for (int job = 0; job < JOBS; job++) {
            run_on_a_worker(pool, job);
            wait_until_all_sleep(crewi_engine_of(pool));
        }
        rounds_with_one += counter_get(&initialised) == 1;
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    }
    CHECK(rounds_with_one > ROUNDS / 2); /* one on its way to sleep may see the job in its last look: not often */
}
