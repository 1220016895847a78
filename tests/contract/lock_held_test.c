/* SPDX-License-Identifier: MIT */
/* Promise 3, waits of a job that holds a lock: no stranger runs on top of it, and what it waits for comes. */
#define _POSIX_C_SOURCE 200809L
#include "ledger.h"

#include <errno.h>
#include <pthread.h>

/* ---- never a stranger: help follows wait edges, not spawn edges ---- */

struct lock_holder {
    pthread_mutex_t lock;
    crew_result *slow;
    struct gate *locked, *surrounded;
    counter strangers, deadlocks;
    bool spawns;
};

/* Needs the lock; if it runs on top of the holder, an error-checking mutex says so. */
static int stranger_fn(const void *arg, void *result, void *context)
{
    struct lock_holder *holder = context;
    int error = pthread_mutex_lock(&holder->lock);

    (void)arg;
    (void)result;
    counter_add(error == EDEADLK ? &holder->deadlocks : &holder->strangers, 1);
    if (error == 0)
        (void)pthread_mutex_unlock(&holder->lock);
    return 0;
}

static const crew_job stranger = {stranger_fn, 0, 0, "stranger", NULL, NULL};

static void submit_strangers(struct lock_holder *holder, crew_pool *pool)
{
    for (int i = 0; i < 20; i++)
        CHECK_STATUS(crew_apply_async(pool, &stranger, NULL, NULL, CREW_CALL(.context = holder)), CREW_OK);
}

static int holder_fn(const void *arg, void *result, void *context)
{
    struct lock_holder *holder = context;

    (void)arg;
    (void)result;
    CHECK_EQ(pthread_mutex_lock(&holder->lock), 0);
    if (holder->spawns)
        submit_strangers(holder, crew_current_pool());
    gate_open(holder->locked);
    gate_wait(holder->surrounded);
    CHECK_STATUS(crew_result_wait(holder->slow, CREW_FOREVER), CREW_OK);
    CHECK_EQ(pthread_mutex_unlock(&holder->lock), 0);
    return 0;
}

static void lock_holder_init(struct lock_holder *holder, bool spawns)
{
    pthread_mutexattr_t checking;

    *holder = (struct lock_holder){.locked = gate_new(), .surrounded = gate_new(), .spawns = spawns};
    CHECK_EQ(pthread_mutexattr_init(&checking), 0);
    CHECK_EQ(pthread_mutexattr_settype(&checking, PTHREAD_MUTEX_ERRORCHECK), 0);
    CHECK_EQ(pthread_mutex_init(&holder->lock, &checking), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&checking), 0);
}

/* The holder waits for a long job that runs elsewhere while jobs that need its lock are queued. The time that it is
 * given can only make the case miss a bug. */
static void holder_meets_strangers(bool spawns, unsigned spares_max)
{
    static const crew_job holder_job = {holder_fn, 0, 0, "holder", NULL, NULL};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 1, .spares_max = spares_max));
    struct lock_holder holder;
    struct blocker blocker, *argument = &blocker;
    crew_result *done;

    lock_holder_init(&holder, spawns);
    blocker_hold(&blocker, pool, 0);
    CHECK_STATUS(crew_apply_async(pool, &hold_worker, &argument, &holder.slow, NULL), CREW_OK);
    gate_wait(blocker.started);
    CHECK_STATUS(crew_apply_async(pool, &holder_job, NULL, &done, CREW_CALL(.context = &holder)), CREW_OK);
    gate_wait(holder.locked);
    if (!spawns)
        submit_strangers(&holder, pool);
    gate_open(holder.surrounded);
    CHECK_STATUS(crew_result_wait(done, crew_after_ns(NOT_YET_NS)), CREW_TIMEOUT);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_wait(done, far_away()), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&holder.deadlocks), 0);
    CHECK_EQ(counter_get(&holder.strangers), 20);
    crew_result_destroy(done);
    crew_result_destroy(holder.slow);
    CHECK_EQ(pthread_mutex_destroy(&holder.lock), 0);
    gate_free(holder.locked);
    gate_free(holder.surrounded);
    blocker_free(&blocker);
}

CONTRACT_THREADS(a_waiting_job_never_runs_a_stranger_that_needs_its_lock)
{
    holder_meets_strangers(false, 0);
}

CONTRACT_THREADS(a_waiting_job_never_runs_its_own_child_that_it_does_not_wait_for)
{
    holder_meets_strangers(true, 0);
}

CONTRACT_THREADS(without_spares_a_waiting_job_runs_no_stranger_either)
{
    holder_meets_strangers(true, CREW_NO_SPARES);
}

/* ---- what a wait needs it gets, also where all other threads want the waiter's lock ---- */

/* How the job that holds the lock waits. */
enum need { NEED_APPLY, NEED_GET, NEED_MAP, NEED_IMAP, NEED_UNORDERED, NEED_PULL, NEEDS };

struct contested {
    pthread_mutex_t lock;
    struct gate *locked, *surrounded;
    enum need need;
    counter entered;
};

static int contender_fn(const void *arg, void *result, void *context)
{
    struct contested *contested = context;

    (void)arg;
    (void)result;
    CHECK_EQ(pthread_mutex_lock(&contested->lock), 0);
    counter_add(&contested->entered, 1);
    CHECK_EQ(pthread_mutex_unlock(&contested->lock), 0);
    return 0;
}

static int pull_once(void *user, void *ret_item)
{
    *(int *)ret_item = 21;
    return counter_add(user, 1) == 1;
}

static long need_stream(crew_pool *pool, enum need need)
{
    const int number = 21;
    counter pulls = {0};
    crew_source source = {.items = &number, .count = 1};
    crew_iterator *stream;
    long value = 0;

    if (need == NEED_PULL)
        source = (crew_source){.pull = pull_once, .user = &pulls};
    if (need == NEED_UNORDERED)
        CHECK_STATUS(crew_imap_unordered(pool, &twice, &source, &stream, NULL), CREW_OK);
    else
        CHECK_STATUS(crew_imap(pool, &twice, &source, &stream, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), CREW_END);
    crew_iterator_destroy(stream);
    return value;
}

static long need_result(crew_pool *pool, enum need need)
{
    const int number = 21;
    crew_result *result;
    long value = 0;

    if (need == NEED_APPLY) {
        CHECK_STATUS(crew_apply(pool, &twice, &number, &value, NULL), CREW_OK);
    } else if (need == NEED_MAP) {
        CHECK_STATUS(crew_map(pool, &twice, &number, 1, &value, NULL), CREW_OK);
    } else {
        CHECK_STATUS(crew_apply_async(pool, &twice, &number, &result, NULL), CREW_OK);
        CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_OK);
        crew_result_destroy(result);
    }
    return value;
}

/* Takes the lock, lets itself be surrounded by jobs that want it, and then waits for work of its own. */
static int besieged_fn(const void *arg, void *result, void *context)
{
    struct contested *contested = context;
    crew_pool *pool = crew_current_pool();
    long value;

    (void)arg;
    (void)result;
    CHECK_EQ(pthread_mutex_lock(&contested->lock), 0);
    gate_open(contested->locked);
    gate_wait(contested->surrounded);
    value = contested->need < NEED_IMAP ? need_result(pool, contested->need) : need_stream(pool, contested->need);
    CHECK_EQ(pthread_mutex_unlock(&contested->lock), 0);
    CHECK_EQ(value, 42);
    return 0;
}

static void besiege(enum need need, unsigned spares_max)
{
    static const crew_job besieged = {besieged_fn, 0, 0, "besieged", NULL, NULL};
    static const crew_job contender = {contender_fn, 0, 0, "contender", NULL, NULL};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = spares_max));
    struct contested contested = {.locked = gate_new(), .surrounded = gate_new(), .need = need};
    long contenders = 4 * (long)config->workers + 20;

    CHECK_EQ(pthread_mutex_init(&contested.lock, NULL), 0);
    CHECK_STATUS(crew_apply_async(pool, &besieged, NULL, NULL, CREW_CALL(.context = &contested)), CREW_OK);
    gate_wait(contested.locked);
    for (long i = 0; i < contenders; i++)
        CHECK_STATUS(crew_apply_async(pool, &contender, NULL, NULL, CREW_CALL(.context = &contested)), CREW_OK);
    gate_open(contested.surrounded);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&contested.entered), contenders);
    CHECK_EQ(pthread_mutex_destroy(&contested.lock), 0);
    gate_free(contested.locked);
    gate_free(contested.surrounded);
}

CONTRACT_THREADS(a_job_that_holds_a_lock_gets_what_it_waits_for_while_all_others_want_the_lock)
{
    for (enum need need = NEED_APPLY; need < NEEDS; need++)
        besiege(need, 0);
}

CONTRACT_THREADS(without_spares_a_job_that_holds_a_lock_gets_what_it_waits_for_likewise)
{
    for (enum need need = NEED_APPLY; need < NEEDS; need++)
        besiege(need, CREW_NO_SPARES);
}
