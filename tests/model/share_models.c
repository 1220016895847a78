/* SPDX-License-Identifier: MIT */
/* Work that several share: maps, streams, references of a task; and threads that stand in for waiting ones. */
#include <crewpool/crewpool.h>

#include "core.h"
#include "model.h"

enum { ITEMS = 3 };

static crew_pool *pool;

static void make_pool(unsigned workers, unsigned spares, unsigned flags)
{
    WANT(crew_pool_create(&pool, CREW_OPTIONS(.workers = workers, .spares_max = spares, .flags = flags)) == CREW_OK);
    model_settle();
}

static void end_pool(void)
{
    WANT(crew_pool_destroy(pool) == CREW_OK);
}

/* ---- references ---- */

static int freed;

static int written[3]; /* before the reference goes: whoever frees sees it */

static void free_task(crewi_task *freed_task)
{
    (void)freed_task;
    WANT(written[0] + written[1] + written[2] == 3);
    freed++;
}

static const struct crewi_task_kind counted_kind = {.free = free_task};
static crewi_task task;

static void references_begin(void)
{
    freed = 0;
    written[0] = written[1] = written[2] = 0;
    crewi_task_init(&task, &counted_kind, NULL, CREWI_PENDING, 3);
}

static crewi_atomic_u32 claims;

static void claim_begin(void)
{
    references_begin();
    crewi_atomic_u32_init(&claims, 0);
}

static void claim(void)
{
    if (crewi_task_claim(&task))
        (void)crewi_atomic_u32_fetch_add(&claims, 1);
}

static void claim_end(void)
{
    WANT(crewi_atomic_u32_load(&claims) == 1);
}

MODEL(a_task_has_one_claimant, claim_begin, claim_end, claim, claim, claim);

static void first_goes(void)
{
    written[0] = 1;
    crewi_task_unref(&task);
}

static void second_goes(void)
{
    written[1] = 1;
    crewi_task_unref(&task);
}

static void third_goes(void)
{
    written[2] = 1;
    crewi_task_unref(&task);
}

static void last_reference_end(void)
{
    WANT(freed == 1);
}

MODEL(the_last_reference_frees, references_begin, last_reference_end, first_goes, second_goes, third_goes);

/* ---- maps ---- */

struct table {
    size_t values[ITEMS];
    int runs[ITEMS];
};

static int item(const void *arg, void *result, void *context)
{
    struct table *table = context;
    size_t index = *(const size_t *)arg;
    WANT(table->runs[index]++ == 0);
    *(size_t *)result = index + 1;
    return 0;
}

static const crew_job item_job = {item, sizeof(size_t), sizeof(size_t), "item", NULL, NULL};

static struct table *table_new(void)
{
    struct table *table = model_alloc(sizeof *table);
    *table = (struct table){{0}, {0}};
    return table;
}

static void map_begin_helping(void)
{
    make_pool(2, CREW_NO_SPARES, CREW_CALLER_HELPS); /* a permit is left for a worker beside the caller */
}

static void map_begin(void)
{
    make_pool(1, CREW_NO_SPARES, CREW_WORKERS_ONLY);
}

/* The arrays are gone when it returns: a worker that comes late must not touch them. */
static void map_and_free(void)
{
    struct table *table = table_new();
    WANT(crew_map(pool, &item_job, NULL, ITEMS, table->values, CREW_CALL(.context = table, .chunk = 1)) == CREW_OK);
    for (size_t i = 0; i < ITEMS; i++)
        WANT(table->runs[i] == 1 && table->values[i] == i + 1);
    model_free(table);
}

MODEL(map_ends_before_a_late_worker, map_begin_helping, end_pool, map_and_free);
MODEL(map_by_a_worker_alone, map_begin, end_pool, map_and_free);
MODEL_WIDE(two_maps_of_two_callers, map_begin_helping, end_pool, map_and_free, map_and_free);

static void map_and_cancel(void)
{
    crew_result *result;
    struct table *table = table_new();
    const crew_call *call = CREW_CALL(.context = table, .chunk = 1);
    WANT(crew_map_async(pool, &item_job, NULL, ITEMS, table->values, &result, call) == CREW_OK);
    crew_result_destroy(result); /* cancels what has not started, and waits for what has */
    model_free(table);
}

MODEL(map_whose_handle_goes, map_begin, end_pool, map_and_cancel);

static void terminate_pool(void)
{
    WANT(crew_pool_terminate(pool) == CREW_OK);
}

static void map_until_terminated(void)
{
    struct table *table = table_new();
    crew_status status = crew_map(pool, &item_job, NULL, ITEMS, table->values, CREW_CALL(.context = table, .chunk = 1));
    WANT(status == CREW_OK || status == CREW_TERMINATED || status == CREW_CLOSED);
    model_free(table);
}

MODEL_WIDE(map_against_terminate, map_begin_helping, end_pool, map_until_terminated, terminate_pool);

/* ---- streams ---- */

enum { WINDOW = 2, STREAM_ITEMS = 3 };

static struct {
    size_t pulled; /* plain: pulls happen one after the other */
    int released;
    crewi_atomic_size begun, taken;
} stream;
static crew_iterator *iterator;

/* What is being taken counts as taken: the program can say so only before. */
static int stream_pull(void *user, void *ret_item)
{
    (void)user;
    WANT(stream.released == 0);
    size_t begun = crewi_atomic_size_fetch_add(&stream.begun, 1) + 1;
    WANT(begun <= crewi_atomic_size_load(&stream.taken) + WINDOW);
    if (stream.pulled == STREAM_ITEMS)
        return 0;
    *(size_t *)ret_item = stream.pulled++;
    return 1;
}

static void stream_release(void *user)
{
    (void)user;
    WANT(stream.released++ == 0);
}

static int stream_item(const void *arg, void *result, void *context)
{
    (void)context;
    *(size_t *)result = *(const size_t *)arg + 1;
    return 0;
}

static const crew_job stream_job = {stream_item, sizeof(size_t), sizeof(size_t), "stream", NULL, NULL};

static void stream_make(bool in_order)
{
    static const crew_source source = {.pull = stream_pull, .release = stream_release};
    const crew_call *call = CREW_CALL(.window = WINDOW, .chunk = 1);
    stream.pulled = 0;
    stream.released = 0;
    crewi_atomic_size_init(&stream.begun, 0);
    crewi_atomic_size_init(&stream.taken, 0);
    WANT((in_order ? crew_imap : crew_imap_unordered)(pool, &stream_job, &source, &iterator, call) == CREW_OK);
}

static void stream_begin(void)
{
    make_pool(1, CREW_NO_SPARES, CREW_WORKERS_ONLY);
    stream_make(true);
}

static void stream_begin_helping(void)
{
    make_pool(1, CREW_NO_SPARES, CREW_CALLER_HELPS);
    stream_make(true);
}

static void stream_begin_unordered(void)
{
    make_pool(2, CREW_NO_SPARES, CREW_WORKERS_ONLY);
    stream_make(false);
}

static bool stream_take(size_t *ret_index)
{
    size_t value = 0;
    (void)crewi_atomic_size_fetch_add(&stream.taken, 1);
    crew_status status = crew_iterator_next(iterator, &value, ret_index, CREW_FOREVER, NULL);
    WANT(status == CREW_OK || status == CREW_END);
    WANT(status != CREW_OK || value == *ret_index + 1);
    return status == CREW_OK;
}

static void stream_take_all(void)
{
    size_t index, count = 0;
    while (stream_take(&index))
        WANT(index == count++);
    WANT(count == STREAM_ITEMS);
}

static void stream_take_any(void)
{
    size_t index, seen = 0, count = 0;
    while (stream_take(&index)) {
        WANT(!(seen >> index & 1));
        seen |= (size_t)1 << index;
        count++;
    }
    WANT(count == STREAM_ITEMS);
}

static void stream_end(void)
{
    crew_iterator_destroy(iterator);
    end_pool();
    WANT(stream.released == 1);
}

MODEL(stream_keeps_its_window_and_order, stream_begin, stream_end, stream_take_all);
MODEL_WIDE(stream_with_a_consumer_who_helps, stream_begin_helping, stream_end, stream_take_all);
MODEL_WIDE(unordered_stream_on_two_workers, stream_begin_unordered, stream_end, stream_take_any);

static void stream_break_off(void)
{
    size_t index;
    (void)stream_take(&index);
    crew_iterator_destroy(iterator);
    iterator = NULL;
}

static void stream_end_released(void)
{
    end_pool();
    WANT(stream.released == 1);
}

MODEL(stream_is_broken_off, stream_begin, stream_end_released, stream_break_off);

/* ---- stand-ins ---- */

static crew_status inner;

static void told(const crew_outcome *outcome, void *user)
{
    (void)outcome;
    ++*(int *)user;
}

/* Its worker waits for a callback, which a spare has to call. */
static int wait_for_callback(const void *arg, void *result, void *context)
{
    crew_result *child;
    size_t index = 0;
    struct table *table = table_new();
    int calls = 0;
    const crew_call *call =
        CREW_CALL(.context = table, .on_done = told, .user = &calls, .flags = CREW_READY_AFTER_DONE);
    (void)arg;
    (void)result;
    (void)context;
    WANT(crew_apply_async(pool, &item_job, &index, &child, call) == CREW_OK);
    inner = crew_result_wait(child, CREW_FOREVER);
    WANT(inner != CREW_OK || calls == 1);
    crew_result_destroy(child);
    model_free(table);
    return 0;
}

static const crew_job waiting_job = {wait_for_callback, 0, 0, "waiting", NULL, NULL};

static void spare_begin(void)
{
    make_pool(1, 1, CREW_WORKERS_ONLY);
}

static void apply_waiting(void)
{
    WANT(crew_apply(pool, &waiting_job, NULL, NULL, NULL) == CREW_OK);
    WANT(inner == CREW_OK);
}

MODEL(a_spare_stands_in_and_ends, spare_begin, end_pool, apply_waiting);
