/* SPDX-License-Identifier: MIT */
/* What threads that end leave behind of chunks that they had begun: who runs it, and what ends it. */
#define _POSIX_C_SOURCE 200809L
#include "counted_source.h"

#include <pthread.h>

static void wait_until_blocked(crew_pool *pool, unsigned threads)
{
    crew_pool_info info = {.struct_size = sizeof info};
    do
        CHECK_STATUS(crew_pool_query(pool, &info), CREW_OK);
    while (info.blocked < threads);
}

/* ---- streams ---- */

/* Two chunks; the first item of each waits for its gate, and ends its thread. */
struct two_chunks {
    struct gate *begun, *go[2];
};

CREW_JOB(first_of_four_ends_thread, long, long)
{
    struct two_chunks *chunks = context;
    if (*arg % 4 == 0) {
        gate_add(chunks->begun);
        gate_wait(chunks->go[*arg / 4]);
        pthread_exit(NULL);
    }
    *result = *arg + 100;
    return 0;
}

/* Both workers' successors are in sources that are stuck, so that only the consumer can run the rests: and wants the older one first. */
CONTRACT_THREADS(a_consumer_runs_the_rests_that_two_lost_threads_left_of_their_chunks_in_order)
{
    struct two_chunks chunks = {gate_new(), {gate_new(), gate_new()}};
    struct stuck_source stuck[2];
    const long numbers[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    const crew_source source = {.items = numbers, .count = 8};
    crew_iterator *stream;
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 2, .spares_max = CREW_NO_SPARES, .flags = CREW_CALLER_HELPS));
    CHECK_STATUS(
        crew_imap(pool, &first_of_four_ends_thread, &source, &stream, CREW_CALL(.context = &chunks, .chunk = 4)),
        CREW_OK);
    gate_wait_for(chunks.begun, 2);
    for (int i = 0; i < 2; i++) {
        stuck[i] = (struct stuck_source){gate_new(), gate_new(), gate_new(), NULL};
        const crew_source holding = {.pull = stuck_pull, .user = &stuck[i], .release = stuck_release};
        CHECK_STATUS(crew_imap(pool, &never_pulled, &holding, &stuck[i].stream, NULL), CREW_OK);
    }
    gate_open(chunks.go[0]);
    CHECK_STATUS(crew_iterator_next(stream, &(long){0}, NULL, far_away(), NULL), CREW_WORKER_LOST);
    gate_open(chunks.go[1]);
    wait_until_blocked(pool, 2);
    for (long i = 1; i < 8; i++) {
        long value = 0;
        CHECK_STATUS(crew_iterator_next(stream, &value, NULL, CREW_FOREVER, NULL), i == 4 ? CREW_WORKER_LOST : CREW_OK);
        CHECK_EQ(value, i == 4 ? 0 : i + 100);
    }
    crew_iterator_destroy(stream);
    for (int i = 0; i < 2; i++)
        stuck_source_let_go(&stuck[i]);
    for (int i = 0; i < 2; i++)
        stuck_source_free(&stuck[i]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (int i = 0; i < 2; i++)
        gate_free(chunks.go[i]);
    gate_free(chunks.begun);
}

struct leaving {
    struct ledger ledger;
    struct gate *begun, *never;
};

/* `context` is a ledger's, since drops want that. */
CREW_JOB_DROPS(end_thread_when_told_to_stop, struct parcel, long, parcel_drop_arg, NULL)
{
    struct leaving *leaving = context;
    counter_add(&leaving->ledger.runs, 1);
    gate_add(leaving->begun);
    while (!crew_should_stop())
        (void)gate_wait_until(leaving->never, 1, 1000000);
    pthread_exit(NULL);
}

CONTRACT_THREADS(an_item_that_ends_its_thread_while_its_stream_is_destroyed_takes_the_rest_of_its_chunk_along)
{
    struct leaving leaving = {.begun = gate_new(), .never = gate_new()};
    struct counted_source source;
    crew_iterator *stream;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    counted_source_init(&source, 4);
    source.has_parcels = true;
    CHECK_STATUS(crew_imap(pool, &end_thread_when_told_to_stop, COUNTED(&source), &stream,
                           CREW_CALL(.context = &leaving, .chunk = 4)),
                 CREW_OK);
    gate_wait(leaving.begun);
    crew_iterator_destroy(stream);
    CHECK_EQ(counter_get(&leaving.ledger.runs), 1);
    CHECK_EQ(counter_get(&leaving.ledger.args_dropped), 4);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    counted_source_free(&source);
    gate_free(leaving.begun);
    gate_free(leaving.never);
}

static int leave_when_let_go(void *user, void *ret_item)
{
    struct stuck_source *source = user;
    (void)ret_item;
    gate_add(source->pulled);
    gate_wait(source->go);
    pthread_exit(NULL);
}

CONTRACT_THREADS(a_source_that_ends_its_thread_after_its_stream_was_destroyed_is_released_once)
{
    struct stuck_source stuck = {gate_new(), gate_new(), gate_new(), NULL};
    const crew_source source = {.pull = leave_when_let_go, .user = &stuck, .release = stuck_release};
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    CHECK_STATUS(crew_imap(pool, &never_pulled, &source, &stuck.stream, NULL), CREW_OK);
    gate_wait(stuck.pulled);
    crew_iterator_destroy(stuck.stream);
    CHECK_EQ(gate_count(stuck.released), 0);
    gate_open(stuck.go);
    gate_wait(stuck.released);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(gate_count(stuck.pulled), 1);
    stuck.stream = NULL;
    stuck_source_free(&stuck);
}

/* ---- maps ---- */

CREW_ACTION(terminate_and_end_thread, size_t)
{
    counter_add(context, 1);
    if (*arg == 0)
        CHECK_STATUS(crew_pool_terminate(crew_current_pool()), CREW_OK);
    pthread_exit(NULL);
}

CONTRACT_THREADS(an_item_that_terminates_its_pool_and_ends_its_thread_takes_the_rest_of_its_map_along)
{
    counter runs = {0};
    crew_result *result;
    crew_pool *pool = contract_pool(CREW_OPTIONS(.flags = CREW_WORKERS_ONLY));
    const crew_call *call = CREW_CALL(.context = &runs, .chunk = 4);
    CHECK_STATUS(crew_map_async(pool, &terminate_and_end_thread, NULL, 4, NULL, &result, call), CREW_OK);
    CHECK_STATUS(crew_result_wait(result, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_TERMINATED);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&runs), 1);
}

/* The only worker waits, with a deadline, for what only it could run: so others may help meanwhile. */
struct waiting {
    struct gate *begun, *go;
    crew_result *awaited, *map;
};

CREW_ACTION(wait_for_awaited, struct waiting *)
{
    (void)context;
    gate_open((*arg)->begun);
    gate_wait((*arg)->go);
    CHECK_STATUS(crew_result_wait((*arg)->awaited, far_away()), CREW_OK);
    return 0;
}

CREW_JOB(first_ends_thread, size_t, long)
{
    (void)context;
    if (*arg == 0)
        pthread_exit(NULL);
    *result = (long)*arg + 100;
    return 0;
}

static void help_with_map(void *arg)
{
    (void)crew_result_wait(((struct waiting *)arg)->map, CREW_FOREVER);
}

static crew_result *submit_plus_100(crew_pool *pool)
{
    crew_result *result;
    CHECK_STATUS(crew_apply_async(pool, &plus_100, &(long){0}, &result, NULL), CREW_OK);
    return result;
}

/* So many that the queues are compacted, where dead entries go. */
static void cancel_many(crew_pool *pool)
{
    for (int i = 0; i < 4000; i++) {
        crew_result *result = submit_plus_100(pool);
        CHECK_STATUS(crew_result_cancel(result), CREW_OK);
        crew_result_destroy(result);
    }
}

CONTRACT_THREADS(what_a_lost_helper_left_of_a_map_stays_in_the_queue_among_thousands_of_cancelled_jobs)
{
    struct waiting waiting = {.begun = gate_new(), .go = gate_new()}, *argument = &waiting;
    long values[4] = {0};
    crew_pool *pool =
        contract_pool(CREW_OPTIONS(.workers = 1, .spares_max = CREW_NO_SPARES, .flags = CREW_CALLER_HELPS));
    CHECK_STATUS(crew_apply_async(pool, &wait_for_awaited, &argument, NULL, NULL), CREW_OK);
    gate_wait(waiting.begun);
    waiting.awaited = submit_plus_100(pool);
    gate_open(waiting.go);
    wait_until_blocked(pool, 1);
    CHECK_STATUS(crew_map_async(pool, &first_ends_thread, NULL, 4, values, &waiting.map, CREW_CALL(.chunk = 4)),
                 CREW_OK);
    test_thread_join(test_thread_start(help_with_map, &waiting));
    cancel_many(pool);
    CHECK_STATUS(crew_result_cancel(waiting.awaited), CREW_OK);
    CHECK_STATUS(crew_result_wait(waiting.map, far_away()), CREW_OK);
    CHECK_STATUS(crew_result_status(waiting.map), CREW_WORKER_LOST);
    for (long i = 1; i < 4; i++)
        CHECK_EQ(values[i], i + 100);
    crew_result_destroy(waiting.map);
    crew_result_destroy(waiting.awaited);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    gate_free(waiting.begun);
    gate_free(waiting.go);
}
