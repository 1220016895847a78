/* SPDX-License-Identifier: MIT */
/* The theorem of promise 3: jobs that wait for each other only through the library and through ordinary locks hang only
 * if they would hang with unlimited threads. Random webs of jobs on any number of workers, with and without spares. */
#define _POSIX_C_SOURCE 200809L
#include "ledger.h"

#include <errno.h>
#include <pthread.h>

enum { NODES = 48, BANDS = 6, PER_BAND = NODES / BANDS, EDGES = 3 };

/* How a node waits for others. */
enum way { BY_GET, BY_WAIT, BY_APPLY, BY_MAP, BY_IMAP, BY_UNORDERED, BY_PULL, WAYS };

struct edges {
    enum way way;
    size_t count, targets[EDGES];
};

/* A job: waits for `before`; then takes the lock of its band, waits for `inside`, and gives the lock back. Every edge
 * of an acyclic web leads to a higher number, and one of `inside` to a higher band: with unlimited threads nothing can
 * hang. */
struct node {
    crew_result *result; /* guarded by the web's submit lock, as whoever needs it first submits it */
    struct edges before, inside;
    uint64_t expected;
};

struct web {
    crew_pool *pool;
    bool acyclic;
    uint64_t random;
    struct node nodes[NODES];
    size_t order[NODES]; /* of the outsider's submissions */
    pthread_mutex_t submit_lock, locks[BANDS];
    long entered[BANDS]; /* plain memory under each lock */
    counter deadlocks;
};

static crew_fn node_fn;
static const crew_job node_job = {node_fn, sizeof(size_t), sizeof(uint64_t), "node", NULL, NULL};

static crew_result *node_result(struct web *web, size_t number)
{
    struct node *node = &web->nodes[number];
    crew_result *result;

    CHECK_EQ(pthread_mutex_lock(&web->submit_lock), 0);
    if (node->result == NULL)
        CHECK_STATUS(crew_apply_async(web->pool, &node_job, &number, &node->result, CREW_CALL(.context = web)),
                     CREW_OK);
    result = node->result;
    CHECK_EQ(pthread_mutex_unlock(&web->submit_lock), 0);
    return result;
}

/* In a web with cycles a wait may be refused, and then counts nothing. */
static bool refused(struct web *web, crew_status status)
{
    if (status == CREW_OK)
        return false;
    if (web->acyclic || status != CREW_TOO_DEEP)
        CHECK_STATUS(status, web->acyclic ? CREW_OK : CREW_DEADLOCK);
    counter_add(&web->deadlocks, status == CREW_DEADLOCK);
    return true;
}

static uint64_t get_node(struct web *web, size_t number)
{
    uint64_t value = 0;

    (void)refused(web, crew_result_get(node_result(web, number), &value, CREW_FOREVER));
    return value;
}

static uint64_t await_node(struct web *web, size_t number)
{
    crew_result *result = node_result(web, number);
    uint64_t value = 0;

    if (!refused(web, crew_result_wait(result, CREW_FOREVER)))
        CHECK_STATUS(crew_result_get(result, &value, CREW_NOW), CREW_OK);
    return value;
}

/* A small job on the way to a node: its value is the node's. */
CREW_JOB(ask_node, size_t, uint64_t)
{
    *result = get_node(context, *arg);
    return 0;
}

CREW_JOB(pass_on, uint64_t, uint64_t)
{
    (void)context;
    *result = *arg;
    return 0;
}

struct pulling {
    struct web *web;
    const struct edges *edges;
    size_t next;
};

static int pull_node(void *user, void *ret_item)
{
    struct pulling *pulling = user;

    if (pulling->next == pulling->edges->count)
        return 0;
    *(uint64_t *)ret_item = get_node(pulling->web, pulling->edges->targets[pulling->next++]);
    return 1;
}

static uint64_t sum_of_stream(struct web *web, crew_iterator *stream)
{
    uint64_t value, sum = 0;
    crew_status status;

    while ((status = crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL)) == CREW_OK)
        sum += value;
    if (status != CREW_END)
        (void)refused(web, status);
    crew_iterator_destroy(stream);
    return sum;
}

static uint64_t follow_by_imap(struct web *web, const struct edges *edges)
{
    const crew_source source = {.items = edges->targets, .count = edges->count};
    const crew_call *call = CREW_CALL(.context = web, .window = 2);
    crew_iterator *stream;

    CHECK_STATUS(edges->way == BY_IMAP ? crew_imap(web->pool, &ask_node, &source, &stream, call)
                                       : crew_imap_unordered(web->pool, &ask_node, &source, &stream, call),
                 CREW_OK);
    return sum_of_stream(web, stream);
}

/* A pull may go on after its stream was destroyed, so that what it needs lives until the release. */
static uint64_t follow_by_pull(struct web *web, const struct edges *edges)
{
    struct pulling *pulling = malloc(sizeof *pulling);
    crew_iterator *stream;

    CHECK(pulling != NULL);
    *pulling = (struct pulling){web, edges, 0};
    CHECK_STATUS(crew_imap(web->pool, &pass_on, &(crew_source){.pull = pull_node, .user = pulling, .release = free},
                           &stream, NULL),
                 CREW_OK);
    return sum_of_stream(web, stream);
}

static uint64_t follow_by_map(struct web *web, const struct edges *edges)
{
    uint64_t values[EDGES] = {0};

    CHECK_STATUS(
        crew_map(web->pool, &ask_node, edges->targets, edges->count, values, CREW_CALL(.context = web, .chunk = 1)),
        CREW_OK);
    return values[0] + values[1] + values[2];
}

static uint64_t follow_one(struct web *web, enum way way, size_t number)
{
    uint64_t value = 0;

    if (way == BY_GET)
        return get_node(web, number);
    if (way == BY_WAIT)
        return await_node(web, number);
    (void)refused(web, crew_apply(web->pool, &ask_node, &number, &value, CREW_CALL(.context = web)));
    return value;
}

/* Waits for all targets; the sum of their values. */
static uint64_t follow(struct web *web, const struct edges *edges)
{
    uint64_t sum = 0;

    switch (edges->way) {
    case BY_MAP: return follow_by_map(web, edges);
    case BY_IMAP:
    case BY_UNORDERED: return follow_by_imap(web, edges);
    case BY_PULL: return follow_by_pull(web, edges);
    default:
        for (size_t i = 0; i < edges->count; i++)
            sum += follow_one(web, edges->way, edges->targets[i]);
        return sum;
    }
}

static int node_fn(const void *arg, void *result, void *context)
{
    struct web *web = context;
    size_t number = *(const size_t *)arg, band = number / PER_BAND;
    const struct node *node = &web->nodes[number];
    uint64_t sum = 1 + follow(web, &node->before);

    CHECK_EQ(pthread_mutex_lock(&web->locks[band]), 0);
    sum += follow(web, &node->inside);
    web->entered[band]++;
    CHECK_EQ(pthread_mutex_unlock(&web->locks[band]), 0);
    *(uint64_t *)result = sum;
    return 0;
}

/* ---- building and judging a web ---- */

/* Up to EDGES targets of the numbers first … NODES - 1. */
static void choose_edges(struct web *web, struct edges *edges, size_t first)
{
    edges->way = (enum way)(test_random(&web->random) % WAYS);
    edges->count = first < NODES ? test_random(&web->random) % (EDGES + 1) : 0;
    for (size_t i = 0; i < edges->count; i++)
        edges->targets[i] = first + test_random(&web->random) % (NODES - first);
}

static uint64_t expected_of(const struct web *web, const struct edges *edges)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < edges->count; i++)
        sum += web->nodes[edges->targets[i]].expected;
    return sum;
}

static void shuffle(struct web *web)
{
    for (size_t i = 0; i < NODES; i++) {
        size_t other = test_random(&web->random) % (i + 1);

        web->order[i] = web->order[other];
        web->order[other] = i;
    }
}

static void web_init(struct web *web, crew_pool *pool, bool acyclic, uint64_t seed)
{
    pthread_mutexattr_t checking;

    *web = (struct web){.pool = pool, .acyclic = acyclic, .random = seed};
    for (size_t i = NODES; i-- > 0;) {
        struct node *node = &web->nodes[i];

        choose_edges(web, &node->before, acyclic ? i + 1 : 0);
        if (acyclic)
            choose_edges(web, &node->inside, (i / PER_BAND + 1) * PER_BAND);
        node->expected = 1 + expected_of(web, &node->before) + expected_of(web, &node->inside);
    }
    shuffle(web);
    CHECK_EQ(pthread_mutexattr_init(&checking), 0);
    CHECK_EQ(pthread_mutexattr_settype(&checking, PTHREAD_MUTEX_ERRORCHECK), 0);
    CHECK_EQ(pthread_mutex_init(&web->submit_lock, &checking), 0);
    for (int i = 0; i < BANDS; i++)
        CHECK_EQ(pthread_mutex_init(&web->locks[i], &checking), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&checking), 0);
}

static void web_free(struct web *web)
{
    for (int i = 0; i < NODES; i++)
        crew_result_destroy(web->nodes[i].result);
    for (int i = 0; i < BANDS; i++)
        CHECK_EQ(pthread_mutex_destroy(&web->locks[i]), 0);
    CHECK_EQ(pthread_mutex_destroy(&web->submit_lock), 0);
}

/* A second outsider, who begins at the other end. */
static void get_backwards(void *arg)
{
    struct web *web = arg;

    for (size_t i = NODES; i-- > 0;)
        (void)get_node(web, web->order[i]);
}

/* Submits some nodes at once, the others as they are needed; the values tell whether every wait was a true one. */
static void web_run(struct web *web)
{
    size_t at_once = test_random(&web->random) % NODES;
    struct test_thread *other;

    for (size_t i = 0; i < at_once; i++)
        (void)node_result(web, web->order[i]);
    other = test_thread_start(get_backwards, web);
    for (size_t i = 0; i < NODES; i++) {
        uint64_t value = get_node(web, web->order[i]);

        CHECK(!web->acyclic || value == web->nodes[web->order[i]].expected);
    }
    test_thread_join(other);
    CHECK_STATUS(crew_pool_wait(web->pool, CREW_FOREVER), CREW_OK);
    for (int i = 0; i < BANDS; i++)
        CHECK_EQ(web->entered[i], PER_BAND);
}

/* Returns how many waits were told of a deadlock. */
static long run_webs(bool acyclic, unsigned spares_max)
{
    unsigned webs = test_under_sanitizer() ? 5 : 25;
    uint64_t seeds = test_seed();
    crew_pool *pool = contract_pool(CREW_OPTIONS(.spares_max = spares_max));
    struct web *web = malloc(sizeof *web);
    long deadlocks = 0;

    CHECK(web != NULL);
    for (unsigned i = 0; i < webs; i++) {
        web_init(web, pool, acyclic, test_random(&seeds));
        web_run(web);
        deadlocks += counter_get(&web->deadlocks);
        web_free(web);
    }
    free(web);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    return deadlocks;
}

CONTRACT_THREADS(jobs_that_wait_without_a_cycle_always_finish_with_spares)
{
    CHECK_EQ(run_webs(true, 0), 0);
}

CONTRACT_THREADS(jobs_that_wait_without_a_cycle_always_finish_without_spares)
{
    CHECK_EQ(run_webs(true, CREW_NO_SPARES), 0);
}

CONTRACT_THREADS(jobs_that_wait_in_cycles_are_refused_and_never_hang_with_spares)
{
    CHECK(run_webs(false, 0) > 0);
}

CONTRACT_THREADS(jobs_that_wait_in_cycles_are_refused_and_never_hang_without_spares)
{
    CHECK(run_webs(false, CREW_NO_SPARES) > 0);
}
