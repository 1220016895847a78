/* SPDX-License-Identifier: MIT */
/* Promise 11, user code that forks and returns in both processes: wherever it is called from, it is the last that the child runs. */
#define _GNU_SOURCE
#include "test.h"

#include "blocker.h"
#include "in_child.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum { ITEMS = 8, LEFT = 8 }; /* LEFT: what a child's own code leaves with, once a call has said CREW_FORKED */

struct forking {
    counter in_child; /* in memory that both share: what ran there afterwards */
    pid_t parent, child;
    long seen; /* in the parent */
    bool ends_thread;
};

static struct forking *forking_new(void)
{
    struct forking *forking = mmap(NULL, sizeof *forking, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(forking != MAP_FAILED);
    forking->parent = getpid();
    return forking;
}

static bool is_in_child(const struct forking *forking)
{
    return getpid() != forking->parent;
}

static void leave_at_once(void)
{
    _exit(0);
}

static void fork_here(struct forking *forking)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child > 0) {
        forking->child = child;
        return;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (forking->ends_thread) {
        CHECK_EQ(atexit(leave_at_once), 0); /* the last thread's end calls handlers, a leak checker's, say */
        pthread_exit(NULL);
    }
}

/* Called by the first of several, it forks; by the others it notes where they run. */
static void fork_at(struct forking *forking, long number)
{
    if (number == 0)
        fork_here(forking);
    else if (is_in_child(forking))
        counter_add(&forking->in_child, 1);
}

static struct forking *forking_that_ends_thread(void)
{
    if (test_under_sanitizer())
        test_skip("a sanitizer's own locks may be held by a worker that is just starting");
    struct forking *forking = forking_new();
    forking->ends_thread = true;
    return forking;
}

static void check_child(struct forking *forking, int code)
{
    int status = child_status(forking->child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), code);
    CHECK_EQ(counter_get(&forking->in_child), 0);
}

CREW_JOB(fork_at_0, long, long)
{
    fork_at(context, *arg);
    *result = *arg;
    return 0;
}

/* ---- callbacks ---- */

static void fork_at_first_call(const crew_outcome *outcome, void *user)
{
    struct forking *forking = user;
    CHECK_STATUS(outcome->status, CREW_OK);
    fork_at(forking, forking->seen);
    if (!is_in_child(forking))
        forking->seen++;
}

CREW_JOB(identity, long, long)
{
    (void)context;
    *result = *arg;
    return 0;
}

CONTRACT(a_callback_that_forks_and_returns_is_the_last_in_the_child)
{
    struct forking *forking = forking_new();
    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.on_done = fork_at_first_call, .user = forking);
    for (long i = 0; i < ITEMS; i++) {
        crew_status status = crew_apply_async(pool, &identity, &i, NULL, call);
        if (is_in_child(forking))
            _exit(0); /* a pool without threads has called back on this one */
        CHECK_STATUS(status, CREW_OK);
    }
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    check_child(forking, 0);
    CHECK_EQ(forking->seen, ITEMS);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- streams ---- */

struct forking_source {
    struct forking *forking; /* NULL: the items fork */
    long next, fork_at;
};

static int forking_pull(void *user, void *ret_item)
{
    struct forking_source *source = user;
    if (source->next == ITEMS)
        return 0;
    if (source->forking != NULL)
        fork_at(source->forking, source->next - source->fork_at);
    *(long *)ret_item = source->next++;
    return 1;
}

/* Takes all items in the parent; in the child, CREW_FORKED. */
static void take_all(crew_iterator *stream, struct forking *forking, crew_deadline deadline)
{
    for (long i = 0; i < ITEMS; i++) {
        long value = -1;
        crew_status status = crew_iterator_next(stream, &value, NULL, deadline, NULL);
        if (is_in_child(forking))
            _exit(status == CREW_FORKED ? LEFT : 1);
        CHECK_STATUS(status, CREW_OK);
        CHECK_EQ(value, i);
    }
    CHECK_STATUS(crew_iterator_next(stream, &(long){0}, NULL, deadline, NULL), CREW_END);
    crew_iterator_destroy(stream);
}

/* With a deadline the consumer runs nothing itself: a worker forks. */
static void check_stream_on_worker(struct forking *forking, struct forking_source source, size_t chunk)
{
    crew_iterator *stream;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_imap(pool, &fork_at_0, &(crew_source){.pull = forking_pull, .user = &source}, &stream,
                           CREW_CALL(.context = forking, .chunk = chunk)),
                 CREW_OK);
    take_all(stream, forking, far_away());
    check_child(forking, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(an_item_of_an_imap_that_forks_and_returns_is_the_last_in_the_child)
{
    for (size_t chunk = 1; chunk <= 4; chunk += 3)
        check_stream_on_worker(forking_new(), (struct forking_source){NULL, 0, 0}, chunk);
}

/* What forks in the source must not fork in the items. */
static void check_source_on_worker(long fork_at, size_t chunk)
{
    struct forking *forking = forking_new();
    struct forking_source source = {forking, 0, fork_at};
    crew_iterator *stream;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_imap(pool, &identity, &(crew_source){.pull = forking_pull, .user = &source}, &stream,
                           CREW_CALL(.chunk = chunk)),
                 CREW_OK);
    take_all(stream, forking, far_away());
    check_child(forking, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT_THREADS(a_source_that_forks_and_returns_is_the_last_in_the_child)
{
    for (size_t chunk = 1; chunk <= 4; chunk += 3)
        for (long fork_at = 0; fork_at < 2; fork_at++)
            check_source_on_worker(fork_at, chunk);
}

/* The only worker's job takes the items, so it pulls and runs them itself. */
struct consumption {
    struct forking *forking;
    struct forking_source source;
    const crew_job *job;
};

CREW_ACTION(consume, struct consumption *)
{
    struct consumption *all = *arg;
    crew_iterator *stream;
    (void)context;
    const crew_source source = {.pull = forking_pull, .user = &all->source};
    CHECK_STATUS(crew_imap(crew_current_pool(), all->job, &source, &stream, CREW_CALL(.context = all->forking)),
                 CREW_OK);
    take_all(stream, all->forking, CREW_FOREVER);
    return 0;
}

static void check_consumer(struct consumption all)
{
    struct consumption *argument = &all;
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
    CHECK_STATUS(crew_apply(pool, &consume, &argument, NULL, NULL), CREW_OK);
    check_child(all.forking, LEFT);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_consumer_whose_item_forks_and_returns_is_told_so_in_the_child)
{
    struct forking *forking = forking_new();
    check_consumer((struct consumption){forking, {NULL, 0, 0}, &fork_at_0});
}

CONTRACT(a_consumer_whose_source_forks_and_returns_is_told_so_in_the_child)
{
    struct forking *forking = forking_new();
    check_consumer((struct consumption){forking, {forking, 0, 0}, &identity});
}

/* A lock of the stream may be another consumer's at that instant, and so for ever in the child. */
enum { FORKS = 100 };

struct sharing {
    crew_iterator *stream;
    struct gate *begun;
    struct forking *forking;
    counter taken;
};

CREW_JOB(fork_and_wait_for_child, long, long)
{
    struct forking *forking = context;
    fork_here(forking);
    if (is_in_child(forking))
        (void)alarm(10);
    else
        check_child(forking, LEFT);
    *result = *arg;
    return 0;
}

/* The only worker's: so all items run here. */
CREW_ACTION(take_beside_another, struct sharing *)
{
    struct sharing *sharing = *arg;
    long numbers[FORKS] = {0}, value;
    const crew_source source = {.items = numbers, .count = FORKS};
    const crew_call *call = CREW_CALL(.context = sharing->forking);
    crew_status status;
    (void)context;
    CHECK_STATUS(crew_imap_unordered(crew_current_pool(), &fork_and_wait_for_child, &source, &sharing->stream, call),
                 CREW_OK);
    gate_open(sharing->begun);
    while ((status = crew_iterator_next(sharing->stream, &value, NULL, CREW_FOREVER, NULL)) == CREW_OK)
        counter_add(&sharing->taken, 1);
    if (is_in_child(sharing->forking))
        _exit(status == CREW_FORKED ? LEFT : 1);
    CHECK_STATUS(status, CREW_END);
    return 0;
}

CONTRACT_THREADS(a_fork_while_another_consumer_looks_at_the_stream_hangs_no_child)
{
    struct sharing sharing = {.begun = gate_new(), .forking = forking_new()}, *argument = &sharing;
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_WORKERS_ONLY));
    long value;
    crew_status status;
    CHECK_STATUS(crew_apply_async(pool, &take_beside_another, &argument, NULL, NULL), CREW_OK);
    gate_wait(sharing.begun);
    while ((status = crew_iterator_next(sharing.stream, &value, NULL, CREW_NOW, NULL)) != CREW_END)
        counter_add(&sharing.taken, status == CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);
    CHECK_EQ(counter_get(&sharing.taken), FORKS);
    crew_iterator_destroy(sharing.stream);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(sharing.begun);
}

/* ---- maps ---- */

CONTRACT_THREADS(a_row_that_forks_and_returns_is_the_last_of_its_map_in_the_child)
{
    struct forking *forking = forking_new();
    long numbers[ITEMS], values[ITEMS];
    const crew_column column = {numbers, sizeof numbers[0], sizeof numbers[0], 0};
    crew_pool *pool = contract_pool(NULL);
    for (long i = 0; i < ITEMS; i++)
        numbers[i] = i;
    crew_status status =
        crew_starmap(pool, &fork_at_0, &column, 1, ITEMS, values, CREW_CALL(.context = forking, .chunk = ITEMS));
    if (is_in_child(forking))
        _exit(status == CREW_FORKED ? 0 : 1); /* the caller has run it */
    CHECK_STATUS(status, CREW_OK);
    for (long i = 0; i < ITEMS; i++)
        CHECK_EQ(values[i], i);
    check_child(forking, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- a full queue's submitter ---- */

/* All workers are held, and the queue is full: what is submitted runs here. */
static crew_pool *full_pool(struct blocker *blocker)
{
    crew_pool *pool = contract_pool(CREW_OPTIONS(.queue_max = 1, .flags = CREW_FULL_RUNS | CREW_CALLER_HELPS));
    blocker_hold(blocker, pool, config->workers);
    CHECK_STATUS(crew_apply_async(pool, &identity, &(long){1}, NULL, NULL), CREW_OK);
    return pool;
}

static void end_full_pool(crew_pool *pool, struct blocker *blocker)
{
    blocker_let_go(blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(blocker);
}

CONTRACT_THREADS(a_job_that_forks_and_returns_where_it_was_submitted_is_the_child_s_last)
{
    struct forking *forking = forking_new();
    struct blocker blocker;
    crew_result *result;
    long value = -1;
    crew_pool *pool = full_pool(&blocker);
    crew_status status = crew_apply_async(pool, &fork_at_0, &(long){0}, &result, CREW_CALL(.context = forking));
    if (is_in_child(forking))
        _exit(crew_result_status(result) == CREW_FORKED ? LEFT : 1);
    CHECK_STATUS(status, CREW_OK);
    CHECK_STATUS(crew_result_get(result, &value, CREW_NOW), CREW_OK);
    CHECK_EQ(value, 0);
    crew_result_destroy(result);
    check_child(forking, LEFT);
    end_full_pool(pool, &blocker);
}

CONTRACT_THREADS(a_map_that_forks_and_returns_where_it_was_submitted_is_the_child_s_last)
{
    struct forking *forking = forking_new();
    struct blocker blocker;
    crew_result *result;
    long numbers[ITEMS] = {0}, values[ITEMS] = {0};
    crew_pool *pool = full_pool(&blocker);
    for (long i = 0; i < ITEMS; i++)
        numbers[i] = i;
    crew_status status =
        crew_map_async(pool, &fork_at_0, numbers, ITEMS, values, &result, CREW_CALL(.context = forking));
    if (is_in_child(forking))
        _exit(crew_result_status(result) == CREW_FORKED ? LEFT : 1);
    CHECK_STATUS(status, CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_NOW), CREW_OK);
    for (long i = 0; i < ITEMS; i++)
        CHECK_EQ(values[i], i);
    crew_result_destroy(result);
    check_child(forking, LEFT);
    end_full_pool(pool, &blocker);
}

/* ---- the child's thread ends ---- */

CONTRACT_THREADS(a_job_that_forks_and_ends_its_thread_in_the_child_ends_the_child)
{
    struct forking *forking = forking_that_ends_thread();
    crew_result *result;
    long value = -1;
    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply_async(pool, &fork_at_0, &(long){0}, &result, CREW_CALL(.context = forking)), CREW_OK);
    CHECK_STATUS(crew_result_get(result, &value, far_away()), CREW_OK);
    CHECK_EQ(value, 0);
    crew_result_destroy(result);
    check_child(forking, 0);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* More than a call keeps on its stack: its caller helps with a record of the pool's. */
struct large {
    char bytes[1000];
};

CREW_ACTION(fork_with_much, struct large)
{
    (void)arg;
    fork_here(context);
    return 0;
}

struct caller {
    crew_pool *pool;
    struct forking *forking;
};

static void call_with_much(void *arg)
{
    const struct caller *caller = arg;
    static const struct large large;
    CHECK_STATUS(crew_apply(caller->pool, &fork_with_much, &large, NULL, CREW_CALL(.context = caller->forking)),
                 CREW_OK);
    check_child(caller->forking, 0);
}

CONTRACT(a_call_whose_job_forks_and_ends_its_thread_in_the_child_ends_the_child)
{
    struct caller caller = {contract_pool(NULL), forking_that_ends_thread()};
    test_thread_join(test_thread_start(call_with_much, &caller));
    CHECK_STATUS(crew_pool_destroy(caller.pool), CREW_OK);
}
