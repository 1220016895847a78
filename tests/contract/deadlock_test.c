/* SPDX-License-Identifier: MIT */
/* Promise 3, the waits that can never end: CREW_DEADLOCK for every kind of cycle. */
#include "ledger.h"

/* ---- cycles of jobs ---- */

/* Jobs 0 … count - 1, each of which waits for the next, and the last for the first. */
struct knot {
    int count;
    crew_result *results[3];
    struct gate *published;
    counter deadlocks, finished;
};

static void await_in_knot(struct knot *knot, int number)
{
    crew_status status = crew_result_wait(knot->results[number % knot->count], CREW_FOREVER);

    CHECK(status == CREW_OK || status == CREW_DEADLOCK);
    counter_add(&knot->deadlocks, status == CREW_DEADLOCK);
}

static crew_fn spawn_next_fn;
static const crew_job spawn_next = {spawn_next_fn, sizeof(int), 0, "spawn_next", NULL, NULL};

/* Submits the next job itself. A handle is there before its job starts, so that the last job sees the first's. */
static int spawn_next_fn(const void *arg, void *result, void *context)
{
    struct knot *knot = context;
    int next = *(const int *)arg + 1;

    (void)result;
    if (next < knot->count)
        CHECK_STATUS(
            crew_apply_async(crew_current_pool(), &spawn_next, &next, &knot->results[next], CREW_CALL(.context = knot)),
            CREW_OK);
    await_in_knot(knot, next);
    counter_add(&knot->finished, 1);
    return 0;
}

static void check_spawned_knot(int count, unsigned spares_max)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = spares_max));
    struct knot knot = {.count = count};

    CHECK_STATUS(crew_apply_async(pool, &spawn_next, &(int){0}, &knot.results[0], CREW_CALL(.context = &knot)),
                 CREW_OK);
    CHECK_STATUS(crew_result_wait(knot.results[0], CREW_FOREVER), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&knot.deadlocks) >= 1);
    CHECK_EQ(counter_get(&knot.finished), count);
    for (int i = 0; i < count; i++)
        crew_result_destroy(knot.results[i]);
}

CONTRACT(a_job_that_waits_for_itself_is_told_of_the_deadlock)
{
    check_spawned_knot(1, 0);
}

CONTRACT(two_jobs_that_wait_for_each_other_are_told_of_the_deadlock)
{
    check_spawned_knot(2, 0);
}

CONTRACT(three_jobs_that_wait_in_a_cycle_are_told_of_the_deadlock)
{
    check_spawned_knot(3, 0);
}

CONTRACT(without_spares_a_cycle_is_told_of_likewise)
{
    check_spawned_knot(2, CREW_NO_SPARES);
    check_spawned_knot(3, CREW_NO_SPARES);
}

static int await_next_fn(const void *arg, void *result, void *context)
{
    struct knot *knot = context;

    (void)result;
    gate_wait(knot->published);
    await_in_knot(knot, *(const int *)arg + 1);
    counter_add(&knot->finished, 1);
    return 0;
}

/* The jobs come from outside and, with enough workers, close the cycle at the same moment. */
static void check_submitted_knot(int count)
{
    static const crew_job await_next = {await_next_fn, sizeof(int), 0, "await_next", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);

    for (int round = 0; round < 50; round++) {
        struct knot knot = {.count = count, .published = gate_new()};

        for (int i = 0; i < count; i++)
            CHECK_STATUS(crew_apply_async(pool, &await_next, &i, &knot.results[i], CREW_CALL(.context = &knot)),
                         CREW_OK);
        gate_open(knot.published);
        CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
        CHECK(counter_get(&knot.deadlocks) >= 1);
        CHECK_EQ(counter_get(&knot.finished), count);
        for (int i = 0; i < count; i++)
            crew_result_destroy(knot.results[i]);
        gate_free(knot.published);
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(two_jobs_from_outside_that_wait_for_each_other_always_end)
{
    check_submitted_knot(2);
}

CONTRACT_THREADS(three_jobs_from_outside_that_wait_in_a_cycle_always_end)
{
    check_submitted_knot(3);
}

/* ---- cycles through maps ---- */

/* Item 1 waits for the result that `context` points to; the item's value is the status of that. */
CREW_JOB(item_awaits, size_t, crew_status)
{
    *result = *arg == 1 ? crew_result_wait(*(crew_result **)context, CREW_FOREVER) : CREW_OK;
    return 0;
}

CONTRACT(an_item_that_waits_for_its_own_map_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);
    crew_status seen[3] = {CREW_FULL, CREW_FULL, CREW_FULL};
    crew_result *map = NULL;

    CHECK_STATUS(crew_map_async(pool, &item_awaits, NULL, 3, seen, &map, CREW_CALL(.context = &map)), CREW_OK);
    CHECK_STATUS(crew_result_get(map, NULL, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(seen[0], CREW_OK);
    CHECK_STATUS(seen[1], CREW_DEADLOCK);
    CHECK_STATUS(seen[2], CREW_OK);
    crew_result_destroy(map);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static int maps_over_waiters_fn(const void *arg, void *result, void *context)
{
    crew_status seen[3];

    (void)arg;
    CHECK_STATUS(crew_map(crew_current_pool(), &item_awaits, NULL, 3, seen, CREW_CALL(.context = context, .chunk = 1)),
                 CREW_OK);
    *(crew_status *)result = seen[1];
    return 0;
}

/* The map cannot be refused, as its arrays are borrowed: it has to be the item. */
CONTRACT(an_item_that_waits_for_the_job_whose_map_it_is_of_is_told_of_the_deadlock)
{
    static const crew_job maps_over_waiters = {maps_over_waiters_fn, 0, sizeof(crew_status), "maps", NULL, NULL};
    crew_pool *pool = contract_pool(NULL);
    crew_status seen = CREW_OK;
    crew_result *job = NULL;

    CHECK_STATUS(crew_apply_async(pool, &maps_over_waiters, NULL, &job, CREW_CALL(.context = &job)), CREW_OK);
    CHECK_STATUS(crew_result_get(job, &seen, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(seen, CREW_DEADLOCK);
    crew_result_destroy(job);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- several cycles at once: who cannot be refused must not be left behind by the last of them ---- */

/* Job 0 waits for job 1, and that for items, each of which waits for one of the two. */
struct crowd {
    crew_result *jobs[2];
    const crew_job *inner;
    struct gate *started, *never;
    unsigned count;
    counter deadlocks;
};

/* Waits for one of the jobs, once all items have started. The pauses here and below let the others be parked before the
 * job that they wait for is; too short, they can only make the case miss a bug. */
CREW_ACTION(crowd_item, size_t)
{
    struct crowd *crowd = context;
    crew_status status;

    gate_add(crowd->started);
    gate_wait_for(crowd->started, crowd->count);
    if (*arg == 0)
        (void)gate_wait_until(crowd->never, 1, NOT_YET_NS);
    status = crew_result_wait(crowd->jobs[*arg % 2], CREW_FOREVER);
    CHECK(status == CREW_OK || status == CREW_DEADLOCK);
    counter_add(&crowd->deadlocks, status == CREW_DEADLOCK);
    return 0;
}

static int crowd_maps_fn(const void *arg, void *result, void *context)
{
    const struct crowd *crowd = context;

    (void)arg;
    (void)result;
    CHECK_STATUS(
        crew_map(crew_current_pool(), &crowd_item, NULL, crowd->count, NULL, CREW_CALL(.context = context, .chunk = 1)),
        CREW_OK);
    return 0;
}

/* Lets go of the stream while all its items run: that has to wait for them. */
static int crowd_destroys_fn(const void *arg, void *result, void *context)
{
    const struct crowd *crowd = context;
    const size_t numbers[3] = {1, 2, 3};
    crew_iterator *stream;

    (void)arg;
    (void)result;
    CHECK_STATUS(crew_imap(crew_current_pool(), &crowd_item, &(crew_source){.items = numbers, .count = crowd->count},
                           &stream, CREW_CALL(.context = context)),
                 CREW_OK);
    gate_wait_for(crowd->started, crowd->count);
    (void)gate_wait_until(crowd->never, 1, NOT_YET_NS);
    crew_iterator_destroy(stream);
    return 0;
}

/* Waits for whichever item comes first, and none can. */
static int crowd_takes_fn(const void *arg, void *result, void *context)
{
    struct crowd *crowd = context;
    const size_t numbers[3] = {1, 2, 3};
    crew_iterator *stream;
    crew_status status;

    (void)arg;
    (void)result;
    CHECK_STATUS(crew_imap_unordered(crew_current_pool(), &crowd_item,
                                     &(crew_source){.items = numbers, .count = crowd->count}, &stream,
                                     CREW_CALL(.context = context)),
                 CREW_OK);
    gate_wait_for(crowd->started, crowd->count);
    (void)gate_wait_until(crowd->never, 1, NOT_YET_NS);
    status = crew_iterator_next(stream, NULL, NULL, CREW_FOREVER, NULL);
    CHECK(status == CREW_OK || status == CREW_DEADLOCK);
    counter_add(&crowd->deadlocks, status == CREW_DEADLOCK);
    crew_iterator_destroy(stream);
    return 0;
}

static int crowd_outer_fn(const void *arg, void *result, void *context)
{
    struct crowd *crowd = context;
    crew_status status;

    (void)arg;
    (void)result;
    CHECK_STATUS(
        crew_apply_async(crew_current_pool(), crowd->inner, NULL, &crowd->jobs[1], CREW_CALL(.context = crowd)),
        CREW_OK);
    status = crew_result_wait(crowd->jobs[1], CREW_FOREVER);
    CHECK(status == CREW_OK || status == CREW_DEADLOCK);
    counter_add(&crowd->deadlocks, status == CREW_DEADLOCK);
    return 0;
}

/* Three items on three threads; all that they wait for ends, whoever is told. */
static void check_crowd(crew_fn *body)
{
    static const crew_job outer = {crowd_outer_fn, 0, 0, "crowd_outer", NULL, NULL};
    const crew_job inner = {body, 0, 0, "crowd_inner", NULL, NULL};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = config->workers + 3));
    struct crowd crowd = {.inner = &inner, .count = 3, .started = gate_new(), .never = gate_new()};

    CHECK_STATUS(crew_apply_async(pool, &outer, NULL, &crowd.jobs[0], CREW_CALL(.context = &crowd)), CREW_OK);
    CHECK_STATUS(crew_result_wait(crowd.jobs[0], far_away()), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK(counter_get(&crowd.deadlocks) >= 1);
    crew_result_destroy(crowd.jobs[0]);
    crew_result_destroy(crowd.jobs[1]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(crowd.started);
    gate_free(crowd.never);
}

CONTRACT_THREADS(items_that_all_wait_for_the_job_that_maps_them_are_all_told_of_the_deadlock)
{
    check_crowd(crowd_maps_fn);
}

CONTRACT_THREADS(items_that_all_wait_for_the_job_that_destroys_their_stream_are_all_told_of_the_deadlock)
{
    check_crowd(crowd_destroys_fn);
}

CONTRACT_THREADS(a_job_that_waits_for_any_of_the_items_that_wait_for_it_always_ends)
{
    check_crowd(crowd_takes_fn);
}

/* ---- cycles through callbacks ---- */

struct late {
    crew_result *result, *later;
    crew_status own, behind;
    counter calls;
};

static void count_call(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    counter_add(user, 1);
}

/* Waits for its own result, and for one whose callback is queued behind this one. */
static void wait_behind(const crew_outcome *outcome, void *user)
{
    struct late *late = user;
    long value = -1;

    (void)outcome;
    late->own = crew_result_get(late->result, &value, CREW_FOREVER);
    CHECK_STATUS(
        crew_apply_async(crew_current_pool(), &twice, &(int){2}, &late->later,
                         CREW_CALL(.on_done = count_call, .user = &late->calls, .flags = CREW_READY_AFTER_DONE)),
        CREW_OK);
    late->behind = crew_result_get(late->later, &value, CREW_FOREVER);
    CHECK_EQ(value, -1);
}

CONTRACT(a_callback_that_waits_for_what_is_ready_only_after_it_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);
    struct late late = {0};

    CHECK_STATUS(crew_apply_async(pool, &twice, &(int){1}, &late.result,
                                  CREW_CALL(.on_done = wait_behind, .user = &late, .flags = CREW_READY_AFTER_DONE)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_STATUS(late.own, CREW_DEADLOCK);
    CHECK_STATUS(late.behind, CREW_DEADLOCK);
    CHECK_EQ(counter_get(&late.calls), 1);
    CHECK_STATUS(crew_result_get(late.later, &(long){0}, CREW_NOW), CREW_OK);
    crew_result_destroy(late.result);
    crew_result_destroy(late.later);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- cycles through streams ---- */

struct loop {
    crew_iterator *stream;
    struct gate *published;
    counter deadlocks, others;
    int left;
};

/* Where the stream's handle is known yet (a serial pool may pull before), asks its own stream for an item. */
static void next_of_own(struct loop *loop)
{
    int value = -1;
    crew_status status;
    crew_error error = {.status = CREW_OK, .message = ""};

    if (config->threads)
        gate_wait(loop->published);
    if (loop->stream == NULL)
        return;
    status = crew_iterator_next(loop->stream, &value, NULL, CREW_FOREVER, &error);
    CHECK_STATUS(error.status, status);
    CHECK(error.message[0] != '\0');
    counter_add(status == CREW_DEADLOCK ? &loop->deadlocks : &loop->others, 1);
}

static int loop_pull(void *user, void *ret_item)
{
    struct loop *loop = user;

    if (loop->left == 0)
        return 0;
    if (loop->left == 1)
        next_of_own(loop);
    *(int *)ret_item = loop->left--;
    return 1;
}

CREW_JOB(same, int, int)
{
    (void)context;
    *result = *arg;
    return 0;
}

CONTRACT(next_inside_its_own_source_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);
    struct loop loop = {.published = gate_new(), .left = 4};
    int value, sum = 0;

    CHECK_STATUS(
        crew_imap(pool, &same, &(crew_source){.pull = loop_pull, .user = &loop}, &loop.stream, CREW_CALL(.window = 1)),
        CREW_OK);
    gate_open(loop.published);
    while (crew_iterator_next(loop.stream, &value, NULL, CREW_FOREVER, NULL) == CREW_OK)
        sum += value;
    CHECK_EQ(sum, 10);
    crew_iterator_destroy(loop.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&loop.deadlocks), 1);
    CHECK_EQ(counter_get(&loop.others), 0);
    gate_free(loop.published);
}

CREW_JOB(asks_own_stream, int, int)
{
    next_of_own(context);
    *result = *arg;
    return 0;
}

CONTRACT_THREADS(an_item_that_asks_its_stream_for_itself_is_told_of_the_deadlock)
{
    crew_pool *pool = contract_pool(NULL);
    struct loop loop = {.published = gate_new()};
    const int item = 5;
    int value = 0;

    CHECK_STATUS(crew_imap(pool, &asks_own_stream, &(crew_source){.items = &item, .count = 1}, &loop.stream,
                           CREW_CALL(.context = &loop)),
                 CREW_OK);
    gate_open(loop.published);
    CHECK_STATUS(crew_iterator_next(loop.stream, &value, NULL, CREW_FOREVER, NULL), CREW_OK);
    CHECK_EQ(value, 5);
    CHECK_EQ(counter_get(&loop.deadlocks), 1);
    CHECK_EQ(counter_get(&loop.others), 0);
    crew_iterator_destroy(loop.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(loop.published);
}

/* ---- jobs that wait for callbacks ---- */

static int do_nothing_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    (void)context;
    return 0;
}

static const crew_job do_nothing = {do_nothing_fn, 0, 0, "do_nothing", NULL, NULL};

static void ignore_outcome(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    (void)user;
}

/* Each of the two jobs is on a worker before one of them waits. */
static int waits_for_callback_fn(const void *arg, void *result, void *context)
{
    crew_result *child;
    const crew_call *call = CREW_CALL(.on_done = ignore_outcome, .flags = CREW_READY_AFTER_DONE);

    (void)arg;
    gate_add(context);
    gate_wait_for(context, 2);
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &do_nothing, NULL, &child, call), CREW_OK);
    *(crew_status *)result = crew_result_wait(child, CREW_FOREVER);
    crew_result_destroy(child);
    return 0;
}

static const crew_job waits_for_callback = {waits_for_callback_fn, 0, sizeof(crew_status), NULL, NULL, NULL};

CONTRACT_THREADS(of_two_jobs_that_wait_for_callbacks_on_the_only_threads_one_is_refused)
{
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 2, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
    struct gate *both = gate_new();
    crew_result *results[2];
    crew_status statuses[2];

    for (int i = 0; i < 2; i++)
        CHECK_STATUS(crew_apply_async(pool, &waits_for_callback, NULL, &results[i], CREW_CALL(.context = both)),
                     CREW_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(crew_result_get(results[i], &statuses[i], CREW_FOREVER), CREW_OK);
        crew_result_destroy(results[i]);
    }
    CHECK_EQ((statuses[0] == CREW_TOO_DEEP) + (statuses[1] == CREW_TOO_DEEP), 1);
    CHECK_EQ((statuses[0] == CREW_OK) + (statuses[1] == CREW_OK), 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(both);
}

/* ---- jobs that all wait for callbacks, which no thread is left to call ---- */

struct meeting {
    struct gate *occupied, *begun;
    counter refused, called;
};

static int meet(const void *arg, void *result, void *context)
{
    struct meeting *meeting = context;

    (void)arg;
    (void)result;
    gate_add(meeting->begun);
    gate_wait_for(meeting->begun, config->workers);
    return 0;
}

static void count_called(const crew_outcome *outcome, void *user)
{
    CHECK_STATUS(outcome->status, CREW_OK);
    counter_add(&((struct meeting *)user)->called, 1);
}

static int wait_for_own_callback(const void *arg, void *result, void *context)
{
    static const crew_job meet_job = {meet, 0, 0, "meet", NULL, NULL};
    struct meeting *meeting = context;
    crew_result *met;

    (void)arg;
    (void)result;
    gate_add(meeting->occupied);
    gate_wait_for(meeting->occupied, config->workers); /* so that no idle worker takes what is submitted now */
    CHECK_STATUS(crew_apply_async(crew_current_pool(), &meet_job, NULL, &met,
                                  CREW_CALL(.context = meeting, .on_done = count_called, .user = meeting,
                                            .flags = CREW_READY_AFTER_DONE)),
                 CREW_OK);
    crew_status status = crew_result_wait(met, CREW_FOREVER);
    CHECK(status == CREW_OK || status == CREW_TOO_DEEP || status == CREW_DEADLOCK);
    counter_add(&meeting->refused, status != CREW_OK);
    crew_result_destroy(met);
    return 0;
}

CONTRACT_THREADS(jobs_that_all_wait_for_callbacks_are_told_where_no_thread_is_left_to_call_them)
{
    static const crew_job job = {wait_for_own_callback, 0, 0, "wait_for_own_callback", NULL, NULL};
    struct meeting meeting = {.occupied = gate_new(), .begun = gate_new()};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));

    for (unsigned i = 0; i < config->workers; i++)
        CHECK_STATUS(crew_apply_async(pool, &job, NULL, NULL, CREW_CALL(.context = &meeting)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK(counter_get(&meeting.refused) >= 1);
    CHECK_EQ(counter_get(&meeting.called), config->workers);
    gate_free(meeting.occupied);
    gate_free(meeting.begun);
}

/* ---- blocking calls that would be ready only after their callbacks ---- */

struct blocking {
    unsigned workers; /* that all meet in their items before they wait; 0: nothing may run */
    bool is_map, is_owned;
    struct gate *occupied, *begun;
    counter refused, ended, called, dropped;
};

static int meet_at_gate(const void *arg, void *result, void *context)
{
    struct blocking *blocking = context;

    (void)arg;
    CHECK(blocking->workers > 0);
    gate_add(blocking->begun);
    gate_wait_for(blocking->begun, blocking->workers);
    *(long *)result = 7;
    return 0;
}

static void drop_seven(void *result, void *context)
{
    struct blocking *blocking = context;

    CHECK_EQ(*(long *)result, 7);
    counter_add(&blocking->dropped, 1);
}

static void count_seven(const crew_outcome *outcome, void *user)
{
    struct blocking *blocking = user;

    CHECK_STATUS(outcome->status, CREW_OK);
    CHECK(blocking->is_map || *(const long *)outcome->value == 7);
    counter_add(&blocking->called, 1);
}

static void call_blocking(crew_pool *pool, struct blocking *blocking)
{
    static const crew_job plain = {meet_at_gate, 0, sizeof(long), "meet_at_gate", NULL, NULL};
    static const crew_job owned = {meet_at_gate, 0, sizeof(long), "meet_at_gate", NULL, drop_seven};
    long value = 0;
    crew_error error;
    const crew_call *call = CREW_CALL(.context = blocking, .on_done = count_seven, .user = blocking, .error = &error,
                                      .flags = blocking->is_owned ? 0 : CREW_READY_AFTER_DONE);
    crew_status status = blocking->is_map ? crew_map(pool, &plain, NULL, 1, &value, call)
                                          : crew_apply(pool, blocking->is_owned ? &owned : &plain, NULL, &value, call);

    CHECK(status == CREW_OK || status == CREW_TOO_DEEP || status == CREW_DEADLOCK);
    CHECK_STATUS(status == CREW_OK ? CREW_OK : error.status, status);
    CHECK_EQ(value, status == CREW_OK ? 7 : 0);
    counter_add(status == CREW_OK ? &blocking->ended : &blocking->refused, 1);
}

CREW_ACTION(calls_blocking, struct blocking *)
{
    struct blocking *blocking = *arg;

    (void)context;
    gate_add(blocking->occupied);
    gate_wait_for(blocking->occupied, blocking->workers);
    call_blocking(crew_current_pool(), blocking);
    return 0;
}

static void calls_blocking_back(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    call_blocking(crew_current_pool(), user);
}

/* Each of the three that would be ready only after its callback. */
static struct blocking blocking_kind(int kind, unsigned workers)
{
    return (struct blocking){
        .workers = workers, .is_map = kind == 0, .is_owned = kind == 1, .occupied = gate_new(), .begun = gate_new()};
}

static void blocking_free(struct blocking *blocking)
{
    gate_free(blocking->occupied);
    gate_free(blocking->begun);
}

static void check_refused(crew_pool *pool, int kind, crew_done_fn *on_done)
{
    static const crew_job nothing = {do_nothing_fn, 0, 0, "nothing", NULL, NULL};
    struct blocking blocking = blocking_kind(kind, 0), *address = &blocking;

    CHECK_STATUS(crew_apply_async(pool, on_done ? &nothing : &calls_blocking, &address, NULL,
                                  CREW_CALL(.on_done = on_done, .user = &blocking)),
                 CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&blocking.refused), 1);
    CHECK_EQ(counter_get(&blocking.called), 0);
    blocking_free(&blocking);
}

CONTRACT(a_blocking_call_whose_callback_nobody_could_call_is_refused_before_anything_runs)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES));

    for (int kind = 0; kind < 3; kind++)
        check_refused(pool, kind, NULL);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_blocking_call_in_a_callback_that_would_be_ready_after_its_own_is_refused_before_anything_runs)
{
    crew_pool *pool = contract_pool(NULL);

    for (int kind = 0; kind < 3; kind++)
        check_refused(pool, kind, calls_blocking_back);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* All have run by then. Whoever cannot be served goes on, with the value unless the callback has to see that first. */
CONTRACT_THREADS(blocking_calls_that_all_need_a_callback_end_where_no_thread_is_left_to_call_it)
{
    for (int kind = 0; kind < 3; kind++) {
        crew_pool *pool =
            contract_pool(CREW_OPTIONS(.workers = 4, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
        struct blocking blocking = blocking_kind(kind, 4), *address = &blocking;

        for (unsigned i = 0; i < 4; i++)
            CHECK_STATUS(crew_apply_async(pool, &calls_blocking, &address, NULL, NULL), CREW_OK);
        CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
        CHECK_EQ(counter_get(&blocking.called), 4);
        CHECK_EQ(counter_get(&blocking.ended) + counter_get(&blocking.refused), 4);
        CHECK(blocking.is_owned ? counter_get(&blocking.refused) >= 1 : counter_get(&blocking.refused) == 0);
        CHECK_EQ(counter_get(&blocking.dropped), counter_get(&blocking.refused));
        blocking_free(&blocking);
    }
}
