/* SPDX-License-Identifier: MIT */
/* Promise 7: worker_init on all workers before create ends, or lazily; its failures; worker_exit for each success. */
#define _POSIX_C_SOURCE 200809L
#include "ledger.h"

#include <pthread.h>

enum { SLOTS = 256 };

/* What each worker's hooks and jobs leave behind; plain memory, as one worker's things happen one after another. */
struct post {
    struct office *office;
    int worker;
    pthread_t thread;
    long jobs;
    bool is_open;
};

struct office {
    struct post posts[SLOTS];
    counter inits, exits, wrong;
    long fail_from, fail_until; /* the calls of worker_init, from 1, that fail */
};

static int office_init(void *user, int worker, void **ret_state)
{
    struct office *office = user;
    struct post *post = &office->posts[worker];
    long call = counter_add(&office->inits, 1);

    CHECK(worker >= 0 && worker < SLOTS);
    CHECK(!post->is_open);
    if (office->fail_from != 0 && call >= office->fail_from && call <= office->fail_until)
        return crew_fail(42, "call %ld found no decoder", call);
    *post = (struct post){.office = office, .worker = worker, .thread = pthread_self(), .is_open = true};
    *ret_state = post;
    return 0;
}

static void office_exit(void *user, int worker, void *state)
{
    struct office *office = user;
    struct post *post = state;

    CHECK(post == &office->posts[worker]);
    CHECK(post->is_open);
    CHECK(pthread_equal(post->thread, pthread_self()));
    post->is_open = false;
    counter_add(&office->exits, 1);
}

#define OFFICE(office, ...) \
    CREW_OPTIONS(.worker_init = office_init, .worker_exit = office_exit, .user = (office), __VA_ARGS__)

/* A job that finds the state of its worker, and nobody else on it. */
static int at_post_fn(const void *arg, void *result, void *context)
{
    struct post *post = crew_worker_state();

    (void)arg;
    (void)result;
    (void)context;
    CHECK(post != NULL);
    CHECK(post->is_open);
    CHECK_EQ(crew_worker_index(), post->worker);
    CHECK(pthread_equal(post->thread, pthread_self()));
    post->jobs++;
    return 0;
}

static const crew_job at_post = {at_post_fn, 0, 0, "at_post", NULL, NULL};

static unsigned initialised_at_once(void)
{
    return config->threads ? config->workers : 1;
}

CONTRACT(create_starts_and_initialises_all_workers_and_join_ends_them)
{
    struct office office = {.fail_from = 0};
    unsigned before = test_threads_alive();
    crew_pool *pool = contract_pool(OFFICE(&office, .flags = 0));

    CHECK_EQ(counter_get(&office.inits), initialised_at_once());
    CHECK(!config->threads || test_threads_alive() == before + config->workers);
    CHECK_EQ(counter_get(&office.exits), 0);
    CHECK_STATUS(crew_pool_close(pool), CREW_OK);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&office.exits), counter_get(&office.inits));
    CHECK_EQ(test_threads_alive(), before);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&office.exits), counter_get(&office.inits));
}

static void at_post_200_times(crew_pool *pool, struct office *office)
{
    long jobs = 0;

    for (int i = 0; i < 200; i++)
        CHECK_STATUS(crew_apply_async(pool, &at_post, NULL, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (int i = 0; i < SLOTS; i++) {
        CHECK(!office->posts[i].is_open);
        jobs += office->posts[i].jobs;
    }
    CHECK_EQ(jobs, 200);
}

CONTRACT(every_job_finds_the_state_that_its_worker_was_initialised_with)
{
    struct office office = {.fail_from = 0};

    at_post_200_times(contract_pool(OFFICE(&office, .flags = 0)), &office);
}

CONTRACT(a_lazy_pool_initialises_a_worker_when_there_is_work)
{
    struct office office = {.fail_from = 0};
    crew_pool *pool = contract_pool(OFFICE(&office, .flags = CREW_LAZY_INIT));

    CHECK_EQ(counter_get(&office.inits), 0);
    at_post_200_times(pool, &office);
    CHECK(counter_get(&office.inits) >= 1);
    CHECK_EQ(counter_get(&office.exits), counter_get(&office.inits));
}

CONTRACT(a_lazy_pool_without_work_initialises_nothing)
{
    struct office office = {.fail_from = 0};

    CHECK_STATUS(crew_pool_destroy(contract_pool(OFFICE(&office, .flags = CREW_LAZY_INIT))), CREW_OK);
    CHECK_EQ(counter_get(&office.inits), 0);
    CHECK_EQ(counter_get(&office.exits), 0);
}

CONTRACT(an_initializer_may_leave_the_state_alone_and_there_may_be_no_exit)
{
    struct office office = {.fail_from = 0};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_init = office_init, .user = &office));

    CHECK_STATUS(crew_apply_async(pool, &at_post, NULL, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&office.inits), initialised_at_once());
}

/* ---- failures ---- */

/* The options of the configuration for a create that shall fail. */
static crew_pool_options failing_options(struct office *office, crew_error *error)
{
    return (crew_pool_options){.struct_size = sizeof(crew_pool_options),
                               .kind = config->kind,
                               .workers = config->workers,
                               .worker_init = office_init,
                               .worker_exit = office_exit,
                               .user = office,
                               .error = error};
}

static void check_create_fails(long fail_from)
{
    struct office office = {.fail_from = fail_from, .fail_until = fail_from};
    crew_error error = {0};
    crew_pool_options options = failing_options(&office, &error);
    crew_pool *const untouched = (crew_pool *)&office, *pool = untouched;
    unsigned before = test_threads_alive();
    char message[64];

    (void)snprintf(message, sizeof message, "call %ld found no decoder", fail_from);
    CHECK_STATUS(crew_pool_create(&pool, &options), CREW_FAILED);
    CHECK(pool == untouched);
    CHECK_STATUS(error.status, CREW_FAILED);
    CHECK_EQ(error.code, 42);
    CHECK(error.worker >= 0 && (unsigned)error.worker < config->workers);
    CHECK(!office.posts[error.worker].is_open);
    CHECK_STRING(error.message, message);
    CHECK_EQ(test_threads_alive(), before);
    CHECK_EQ(counter_get(&office.exits), counter_get(&office.inits) - 1);
}

CONTRACT(create_fails_with_the_reason_of_the_initializer_that_failed)
{
    check_create_fails(1);
}

CONTRACT_THREADS(an_initializer_that_fails_later_unwinds_those_that_succeeded)
{
    for (long call = 2; call <= (long)config->workers; call++)
        check_create_fails(call);
}

static int silent_init(void *user, int worker, void **ret_state)
{
    (void)user;
    (void)worker;
    (void)ret_state;
    return 9;
}

CONTRACT(an_initializer_that_fails_without_a_word_leaves_its_code)
{
    crew_error error = {0};
    crew_pool_options options = failing_options(NULL, &error);
    crew_pool *pool = NULL;

    options.worker_init = silent_init;
    options.worker_exit = NULL;
    CHECK_STATUS(crew_pool_create(&pool, &options), CREW_FAILED);
    CHECK(pool == NULL);
    CHECK_EQ(error.code, 9);
}

static void check_broken(crew_pool *pool, const char *reason)
{
    crew_pool_info info = {.struct_size = sizeof info};
    crew_error error = {0};
    crew_result *untouched = (crew_result *)&info, *result = untouched;

    CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, CREW_CALL(.error = &error)), CREW_BROKEN);
    CHECK_STATUS(error.status, CREW_BROKEN);
    CHECK(strstr(error.message, reason) != NULL);
    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &result, NULL), CREW_BROKEN);
    CHECK(result == untouched);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    CHECK_EQ(info.state, CREW_POOL_BROKEN);
}

CONTRACT(a_lazy_initializer_that_fails_breaks_the_pool_for_pending_and_later_calls)
{
    struct office office = {.fail_from = 1, .fail_until = 1000};
    crew_pool *pool = contract_pool(OFFICE(&office, .flags = CREW_LAZY_INIT));
    crew_result *result;
    crew_error error;

    CHECK_STATUS(crew_apply_async(pool, &at_post, NULL, &result, NULL), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_BROKEN);
    CHECK_STATUS(crew_result_error(result, &error), CREW_OK);
    CHECK_STATUS(error.status, CREW_BROKEN);
    CHECK_EQ(error.code, 42);
    CHECK(strstr(error.message, "found no decoder") != NULL);
    check_broken(pool, "found no decoder");
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    crew_result_destroy(result);
    CHECK_EQ(counter_get(&office.exits), 0);
}

CONTRACT_THREADS(running_jobs_of_a_pool_that_breaks_keep_their_results)
{
    struct office office = {.fail_from = 2, .fail_until = 1000};
    crew_pool *pool = contract_pool(OFFICE(&office, .workers = config->workers + 1, .flags = CREW_LAZY_INIT));
    struct blocker blocker, *argument = &blocker;
    crew_result *running, *pending;

    blocker_hold(&blocker, pool, 0);
    CHECK_STATUS(crew_apply_async(pool, &hold_worker, &argument, &running, NULL), CREW_OK);
    gate_wait(blocker.started);
    if (crew_apply_async(pool, &at_post, NULL, &pending, NULL) == CREW_OK) {
        CHECK_STATUS(crew_result_wait(pending, far_away()), CREW_OK);
        CHECK_STATUS(crew_result_status(pending), CREW_BROKEN);
        crew_result_destroy(pending);
    }
    check_broken(pool, "found no decoder");
    CHECK_STATUS(crew_result_status(running), CREW_BUSY);
    blocker_let_go(&blocker);
    CHECK_STATUS(crew_result_get(running, NULL, far_away()), CREW_OK);
    crew_result_destroy(running);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&office.exits), 1);
    blocker_free(&blocker);
}

CONTRACT(whoever_waits_for_a_pool_that_breaks_is_told)
{
    struct office office = {.fail_from = 1, .fail_until = 1000};
    crew_pool *pool = contract_pool(OFFICE(&office, .flags = CREW_LAZY_INIT | CREW_WORKERS_ONLY));
    int numbers[30] = {0};
    long doubled[30], value;
    crew_iterator *stream;
    crew_status status;

    status = crew_imap(pool, &twice, &(crew_source){.items = numbers, .count = 30}, &stream, NULL);
    CHECK(status == CREW_OK || status == CREW_BROKEN);
    if (status == CREW_OK) {
        for (int i = 0; CREW_IS_OUTCOME(status = crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL)); i++)
            CHECK(i < 30 && status == CREW_BROKEN);
        crew_iterator_destroy(stream);
    }
    CHECK_STATUS(crew_map(pool, &twice, numbers, 30, doubled, NULL), CREW_BROKEN);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- spares ---- */

CREW_JOB(waits_for_child, int64_t, crew_status)
{
    crew_result *child;

    CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_one, NULL, &child, CREW_CALL(.context = context)),
                 CREW_OK);
    *result = crew_result_wait(child, crew_after_ns(*arg));
    crew_result_destroy(child);
    return 0;
}

static crew_status wait_for_child(crew_pool *pool, counter *runs, int64_t patience_ns)
{
    crew_status status = CREW_FULL;
    crew_result *result;

    CHECK_STATUS(crew_apply_async(pool, &waits_for_child, &patience_ns, &result, CREW_CALL(.context = runs)), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &status, far_away()), CREW_OK);
    crew_result_destroy(result);
    return status;
}

CONTRACT_THREADS(a_spare_is_initialised_and_ended_as_a_worker_is)
{
    struct office office = {.fail_from = 0};
    crew_pool *pool = contract_pool(OFFICE(&office, .workers = 1));
    counter runs = {0};

    CHECK_STATUS(wait_for_child(pool, &runs, INT64_C(3600000000000)), CREW_OK);
    CHECK_EQ(counter_get(&office.inits), 2);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&office.exits), 2);
    CHECK_EQ(counter_get(&runs), 1);
}

CONTRACT_THREADS(a_spare_that_cannot_be_initialised_is_counted_and_breaks_nothing)
{
    struct office office = {.fail_from = 2, .fail_until = 1000};
    crew_pool *pool = contract_pool(OFFICE(&office, .workers = 1));
    crew_pool_info info = {.struct_size = sizeof info};
    counter runs = {0};
    long waits = 0;

    /* In this time the spare is tried, or in the next; however short it is, the wait ends as it must. */
    do {
        CHECK_STATUS(wait_for_child(pool, &runs, NOT_YET_NS), CREW_TIMEOUT);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK_STATUS(crew_apply(pool, &twice, &(int){1}, &(long){0}, NULL), CREW_OK);
        CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
        waits++;
    } while (info.spare_failures == 0);
    CHECK_EQ(info.state, CREW_POOL_OPEN);
    CHECK(info.spare_failures <= (uint64_t)counter_get(&office.inits) - 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&office.exits), 1);
    CHECK_EQ(counter_get(&runs), waits);
}

static void ignore_outcome(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    (void)user;
}

/* Its only worker's thread waits for a callback, which only another thread could call. */
static int waits_for_callback_fn(const void *arg, void *result, void *context)
{
    crew_result *child;
    const crew_call *call = CREW_CALL(.context = context, .on_done = ignore_outcome, .flags = CREW_READY_AFTER_DONE);

    (void)arg;
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &count_one, NULL, &child, call), CREW_OK);
    *(crew_status *)result = crew_result_wait(child, CREW_FOREVER);
    crew_result_destroy(child);
    return 0;
}

static const crew_job waits_for_callback = {waits_for_callback_fn, 0, sizeof(crew_status), NULL, NULL, NULL};

CONTRACT_THREADS(a_wait_that_only_a_spare_could_serve_is_refused_where_none_can_be_initialised)
{
    static const unsigned flags[] = {CREW_WORKERS_ONLY, CREW_WORKERS_ONLY | CREW_LAZY_INIT};

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        struct office office = {.fail_from = 2, .fail_until = 1000};
        crew_pool *pool = contract_pool(OFFICE(&office, .workers = 1, .spares_max = 1, .flags = flags[i]));
        crew_status status = CREW_OK;
        counter runs = {0};

        CHECK_STATUS(crew_apply(pool, &waits_for_callback, NULL, &status, CREW_CALL(.context = &runs)), CREW_OK);
        CHECK_STATUS(status, CREW_TOO_DEEP);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(counter_get(&office.exits), 1);
        CHECK_EQ(counter_get(&runs), 1);
    }
}

static int ends_thread_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    (void)context;
    pthread_exit(NULL);
}

/* Each of the two may count on the other's successor, which is still there, but will not do. */
CONTRACT_THREADS(lost_workers_whose_successors_cannot_be_initialised_leave_no_job_waiting)
{
    static const crew_job ends_thread = {ends_thread_fn, 0, 0, "ends_thread", NULL, NULL};
    struct office office = {.fail_from = 3, .fail_until = 1000};
    crew_pool *pool = contract_pool(OFFICE(&office, .workers = 2, .flags = CREW_WORKERS_ONLY));
    struct ledger ledger = {0};
    long accepted = 0;

    for (int i = 0; i < 2; i++)
        CHECK_STATUS(crew_apply_async(pool, &ends_thread, NULL, NULL, NULL), CREW_OK);
    for (long i = 0; i < 4; i++)
        accepted += ledger_submit(&ledger, pool, i, NULL) == CREW_OK;
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    ledger_check(&ledger, accepted, 0);
    CHECK_EQ(counter_get(&office.exits), 2);
}

/* ---- worker_run ---- */

struct shifts {
    _Atomic int running[SLOTS];
    counter begun, ended;
};

static void shift_changes(void *user, int worker, int running)
{
    struct shifts *shifts = user;

    CHECK(worker >= 0 && worker < SLOTS);
    CHECK(running == 0 || running == 1);
    CHECK_EQ(shifts->running[worker], !running);
    shifts->running[worker] = running;
    counter_add(running ? &shifts->begun : &shifts->ended, 1);
}

/* Finds its worker running, before and after a wait. */
static int in_shift_fn(const void *arg, void *result, void *context)
{
    const struct shifts *shifts = context;
    long value;

    (void)arg;
    (void)result;
    CHECK_EQ(shifts->running[crew_worker_index()], 1);
    CHECK_STATUS(crew_apply(crew_current_pool(), &twice, &(int){1}, &value, NULL), CREW_OK);
    CHECK_EQ(shifts->running[crew_worker_index()], 1);
    return 0;
}

CONTRACT(worker_run_is_called_around_every_run_of_jobs)
{
    static const crew_job in_shift = {in_shift_fn, 0, 0, "in_shift", NULL, NULL};
    struct shifts shifts = {.begun = {0}};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_run = shift_changes, .user = &shifts));

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 20; i++)
            CHECK_STATUS(crew_apply_async(pool, &in_shift, NULL, NULL, CREW_CALL(.context = &shifts)), CREW_OK);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&shifts.begun) >= 1);
    CHECK_EQ(counter_get(&shifts.begun), counter_get(&shifts.ended));
}
