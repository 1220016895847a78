/* SPDX-License-Identifier: MIT */
/* Promise 9, "awake means awake", at its narrowest: work that comes in the instant in which a worker lies down to sleep. */
#include "ledger.h"

enum { ROUNDS_MAX = 60000, ROUNDS_MS = 700, SPINS_MAX = 5000, PAUSE_MAX = 1500 };

/* Seen by spinning, so that the next submit comes while the worker is still on its way to sleep; by the gate where that
 * takes too long, as on a single CPU. */
struct answers {
    counter given;
    struct gate *gate;
};

static int give_answer_fn(const void *arg, void *result, void *context)
{
    struct answers *answers = context;

    (void)arg;
    (void)result;
    counter_add(&answers->given, 1);
    gate_add(answers->gate);
    return 0;
}

static const crew_job give_answer = {give_answer_fn, 0, 0, "give_answer", NULL, NULL};

static void await_answer(struct answers *answers, unsigned count)
{
    for (int spins = 0; spins < SPINS_MAX; spins++)
        if (counter_get(&answers->given) >= (long)count)
            return;
    gate_wait_for(answers->gate, count);
}

struct asker {
    crew_pool *pool;
    uint64_t random;
};

/* One question after the other, each a little later or earlier after the last answer. */
static void ask(void *arg)
{
    struct asker *asker = arg;
    struct answers answers = {{0}, gate_new()};
    int64_t end_ns = test_now_ns() + ROUNDS_MS * INT64_C(1000000);

    for (unsigned round = 1; round <= ROUNDS_MAX && test_now_ns() < end_ns; round++) {
        CHECK_STATUS(crew_apply_async(asker->pool, &give_answer, NULL, NULL, CREW_CALL(.context = &answers)), CREW_OK);
        await_answer(&answers, round);
        for (volatile uint64_t left = test_random(&asker->random) % PAUSE_MAX; left > 0; left--)
            ;
    }
    CHECK_STATUS(crew_pool_wait(asker->pool, CREW_FOREVER), CREW_OK);
    gate_free(answers.gate);
}

CONTRACT_THREADS(a_submit_in_the_instant_in_which_a_worker_lies_down_wakes_it)
{
    crew_pool *pool = contract_pool(NULL);
    struct asker asker = {pool, test_seed()};

    ask(&asker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(two_submitters_that_meet_a_worker_lying_down_are_both_heard)
{
    crew_pool *pool = contract_pool(NULL);
    struct asker askers[2] = {{pool, test_seed()}, {pool, test_seed() + 1}};
    struct test_thread *thread = test_thread_start(ask, &askers[0]);

    ask(&askers[1]);
    test_thread_join(thread);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
