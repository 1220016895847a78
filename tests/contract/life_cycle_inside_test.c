/* SPDX-License-Identifier: MIT */
/* Promise 2, from inside: join, wait and destroy are refused in whatever runs for the pool, by frame, not by thread. */
#include "ledger.h"

/* Closes the pool it runs in, and finds that nothing that would wait for itself is possible. */
static void check_inside(crew_pool *pool)
{
    CHECK(pool != NULL);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_DEADLOCK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_DEADLOCK);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_DEADLOCK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_DEADLOCK);
}

static int inside_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    check_inside(crew_current_pool());
    counter_add(context, 1);
    return 0;
}

static const crew_job inside = {inside_fn, 0, 0, "inside", NULL, NULL};

CONTRACT(a_job_cannot_wait_for_its_own_pool)
{
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};

    CHECK_STATUS(crew_apply_async(pool, &inside, NULL, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&runs), 1);
}

CONTRACT_THREADS(a_job_on_a_helping_caller_cannot_wait_for_its_own_pool)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 2, .flags = CREW_CALLER_HELPS));
    struct blocker blocker;
    counter runs = {0};

    blocker_hold(&blocker, pool, 1);
    CHECK_STATUS(crew_apply(pool, &inside, NULL, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    end_pool(pool, &blocker);
    CHECK_EQ(counter_get(&runs), 1);
}

static int beneath_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    return crew_map(crew_current_pool(), &inside, NULL, 1, NULL, CREW_CALL(.context = context)) != CREW_OK;
}

CONTRACT(an_item_of_a_job_cannot_wait_for_their_pool)
{
    static const crew_job beneath = {beneath_fn, 0, 0, "beneath", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};

    CHECK_STATUS(crew_apply(pool, &beneath, NULL, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&runs), 1);
}

static void inside_callback(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    check_inside(crew_current_pool());
    counter_add(user, 1);
}

CONTRACT(a_callback_cannot_wait_for_its_own_pool)
{
    crew_pool *pool = contract_pool(NULL);
    counter calls = {0};

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, NULL, CREW_CALL(.on_done = inside_callback, .user = &calls)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&calls), 1);
}

static int inside_pull(void *user, void *ret_item)
{
    (void)ret_item;
    check_inside(crew_current_pool());
    counter_add(user, 1);
    return 0;
}

CONTRACT(a_source_cannot_wait_for_its_own_pool)
{
    crew_pool *pool = contract_pool(NULL);
    crew_iterator *stream;
    crew_status status;
    counter pulls = {0};

    CHECK_STATUS(crew_imap(pool, &count_one, &(crew_source){.pull = inside_pull, .user = &pulls}, &stream, NULL),
                 CREW_OK);
    status = crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL);
    CHECK(status == CREW_END || status == CREW_CLOSED);
    crew_iterator_destroy(stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&pulls), 1);
}

static int inside_init(void *user, int worker, void **ret_state)
{
    (void)worker;
    (void)ret_state;
    check_inside(crew_current_pool());
    counter_add(user, 1);
    return 0;
}

CONTRACT(an_initializer_cannot_wait_for_its_own_pool)
{
    counter inits = {0}, runs = {0};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_init = inside_init, .user = &inits, .flags = CREW_LAZY_INIT));

    CHECK_STATUS(crew_apply_async(pool, &count_one, NULL, NULL, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&inits) >= 1);
    CHECK_EQ(counter_get(&runs), 1);
}

static int destroys_self_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    (void)context;
    return crew_pool_destroy(crew_current_pool()) == CREW_DEADLOCK ? 0 : 1;
}

CONTRACT(a_destroy_that_is_refused_does_nothing)
{
    static const crew_job destroys_self = {destroys_self_fn, 0, 0, "destroys_self", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    crew_pool_info info = {.struct_size = sizeof info};

    CHECK_STATUS(crew_apply(pool, &destroys_self, NULL, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_EQ(info.state, CREW_POOL_OPEN);
    CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* Uses another pool from its creation to its end. */
static int host_fn(const void *arg, void *result, void *context)
{
    crew_pool *guest = contract_pool(NULL), *own = crew_current_pool();

    (void)arg;
    CHECK(own != guest);
    CHECK_STATUS(crew_apply(guest, &twice, &(int){21}, result, NULL), CREW_OK);
    CHECK_STATUS(crew_apply_async(guest, &count_one, NULL, NULL, CREW_CALL(.context = context)), CREW_OK);
    CHECK_STATUS(crew_pool_wait(guest, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_close(guest), CREW_OK);
    CHECK_STATUS(crew_pool_join(guest, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(guest), CREW_OK);
    CHECK(crew_current_pool() == own);
    return 0;
}

CONTRACT(a_job_may_wait_for_join_and_destroy_another_pool)
{
    static const crew_job host = {host_fn, 0, sizeof(long), "host", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    counter runs = {0};
    long value = 0;

    CHECK_STATUS(crew_apply(pool, &host, NULL, &value, CREW_CALL(.context = &runs)), CREW_OK);
    CHECK_EQ(value, 42);
    CHECK_EQ(counter_get(&runs), 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static int joins_outer_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    CHECK_STATUS(crew_pool_wait(context, CREW_FOREVER), CREW_DEADLOCK);
    CHECK_STATUS(crew_pool_destroy(context), CREW_DEADLOCK);
    return 0;
}

/* Applies a job to the pool `context`; where the caller helps, that job runs on top of this one. */
static int through_fn(const void *arg, void *result, void *context)
{
    static const crew_job joins_outer = {joins_outer_fn, 0, 0, "joins_outer", NULL, NULL};

    (void)arg;
    (void)result;
    return crew_apply(context, &joins_outer, NULL, NULL, CREW_CALL(.context = crew_current_pool())) != CREW_OK;
}

CONTRACT(a_job_on_top_of_another_pools_job_cannot_wait_for_that_pool)
{
    static const crew_job through = {through_fn, 0, 0, "through", NULL, NULL};
    crew_pool_options serial = {.struct_size = sizeof serial, .kind = CREW_SERIAL};
    crew_pool *pool = contract_pool(NULL), *inner;

    CHECK_STATUS(crew_pool_create(&inner, &serial), CREW_OK);
    CHECK_STATUS(crew_apply(pool, &through, NULL, NULL, CREW_CALL(.context = inner)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(inner), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- what a frame may ask, and what there is outside of all ---- */

CONTRACT(outside_of_all_jobs_a_thread_has_no_pool_worker_or_state)
{
    CHECK(crew_current_pool() == NULL);
    CHECK_EQ(crew_worker_index(), -1);
    CHECK(crew_worker_state() == NULL);
    CHECK_EQ(crew_should_stop(), 0);
    CHECK_EQ(crew_fail(3, "nobody listens"), 3);
    CHECK_EQ(crew_fail(0, "nobody listens"), -1);
}

static int sees_pool_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)context;
    *(crew_pool **)result = crew_current_pool();
    return 0;
}

static void callback_sees_pool(const crew_outcome *outcome, void *user)
{
    CHECK(crew_current_pool() == *(crew_pool *const *)outcome->value);
    counter_add(user, 1);
}

CONTRACT(jobs_and_callbacks_know_their_pool)
{
    static const crew_job sees_pool = {sees_pool_fn, 0, sizeof(crew_pool *), "sees_pool", NULL, NULL};
    crew_pool *pool = contract_pool(NULL), *seen = NULL;
    counter calls = {0};

    CHECK_STATUS(crew_apply(pool, &sees_pool, NULL, &seen, CREW_CALL(.on_done = callback_sees_pool, .user = &calls)),
                 CREW_OK);
    CHECK(seen == pool);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&calls), 1);
}
