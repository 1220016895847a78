/* SPDX-License-Identifier: MIT */
/* Small random programs over the whole interface: a pool, one to three threads that use it, jobs that use it, too. What they do is drawn
 * as they go, from the same seed as the schedule. */
#include "program.h"

#include "oracle.h"
#include "sim.h"

enum { USERS_MAX = 3, STEPS_OF_USER = 4, DEPTH_MAX = 2, ITEMS = 5 };

enum body {
    BODY_VALUE,
    BODY_FAIL,
    BODY_SPAWN,
    BODY_APPLY,
    BODY_WAIT,
    BODY_CANCEL,
    BODY_MAP,
    BODY_STREAM,
    BODY_LOOP,
    BODY_LOSE,
    BODY_CLOSE,
    BODY_TERMINATE,
    BODIES
};

struct order {
    unsigned id, depth;
    enum body body;
};

struct value {
    unsigned id, twice;
};

static struct {
    crew_pool *pool;
    bool may_end; /* jobs and users close and terminate */
    bool may_lose;
} world;

/* ---- jobs ---- */

static crew_fn work;

static void drop_order(void *arg, void *context)
{
    (void)context;
    oracle_argument_dropped(((struct order *)arg)->id);
}

static void drop_value(void *result, void *context)
{
    (void)context;
    oracle_value_gone(((struct value *)result)->id);
}

static const crew_job plain_job = {work, sizeof(struct order), sizeof(struct value), "plain", NULL, NULL};
static const crew_job dropping_job = {work,       sizeof(struct order), sizeof(struct value),
                                      "dropping", drop_order,           drop_value};

static void release_result(void *result)
{
    crew_result_destroy(result);
}

static enum body draw_body(unsigned depth)
{
    enum body body = (enum body)sim_choose(BODIES);
    bool is_quiet = sim_choose(4) > 0;
    if (depth >= DEPTH_MAX && body >= BODY_SPAWN && body <= BODY_STREAM)
        return BODY_VALUE;
    if (body >= BODY_CLOSE && (!world.may_end || is_quiet))
        return BODY_VALUE;
    return body == BODY_LOSE && (!world.may_lose || is_quiet) ? BODY_FAIL : body;
}

static void on_done(const crew_outcome *outcome, void *user);

struct submitted {
    crew_status status;
    crew_result *result;
    unsigned id;
    bool has_drops;
};

static struct submitted submit(unsigned depth, bool with_handle)
{
    bool has_drops = sim_choose(2), has_callback = sim_choose(2);
    struct submitted submitted = {.id = oracle_new(has_drops, has_callback), .has_drops = has_drops};
    struct order order = {submitted.id, depth, draw_body(depth)};
    crew_call call = {.struct_size = sizeof call, .user = (void *)(uintptr_t)submitted.id};
    call.on_done = has_callback ? on_done : NULL;
    call.flags = has_callback && sim_choose(4) == 0 ? (unsigned)CREW_READY_AFTER_DONE : 0;
    submitted.status = crew_apply_async(world.pool, has_drops ? &dropping_job : &plain_job, &order,
                                        with_handle ? &submitted.result : NULL, &call);
    oracle_answered(submitted.id, submitted.status);
    if (submitted.status == CREW_OK && with_handle)
        oracle_keep(submitted.result, release_result);
    return submitted;
}

static void on_done(const crew_outcome *outcome, void *user)
{
    unsigned id = (unsigned)(uintptr_t)user;
    oracle_told(id, outcome->status);
    if (outcome->status == CREW_OK)
        WANT(((const struct value *)outcome->value)->twice == 2 * id);
    if (sim_choose(8) == 0 && oracle_has_room())
        (void)submit(DEPTH_MAX, false);
}

static void look_at(const struct submitted *submitted, crew_deadline deadline)
{
    struct value value;
    crew_status status = crew_result_get(submitted->result, &value, deadline);
    if (!CREW_IS_OUTCOME(status)) {
        WANT(status == CREW_TIMEOUT || status == CREW_TOO_DEEP || status == CREW_INVALID);
        return;
    }
    oracle_saw(submitted->id, status);
    if (status != CREW_OK)
        return;
    WANT(value.id == submitted->id && value.twice == 2 * submitted->id);
    if (submitted->has_drops)
        oracle_value_gone(submitted->id);
}

static void let_go(const struct submitted *submitted)
{
    oracle_let_go(submitted->result);
    crew_result_destroy(submitted->result);
}

static void submit_and_wait(unsigned depth)
{
    struct submitted submitted = submit(depth, true);
    if (submitted.status != CREW_OK)
        return;
    look_at(&submitted, sim_choose(3) == 0 ? crew_after_ms(1) : CREW_FOREVER);
    let_go(&submitted);
}

static void submit_and_cancel(unsigned depth)
{
    struct submitted submitted = submit(depth, true);
    if (submitted.status != CREW_OK)
        return;
    crew_status status = crew_result_cancel(submitted.result);
    WANT(status == CREW_OK || status == CREW_BUSY || status == CREW_END);
    if (status == CREW_OK)
        oracle_saw(submitted.id, CREW_CANCELLED);
    if (sim_choose(2))
        look_at(&submitted, CREW_FOREVER);
    let_go(&submitted);
}

static void apply_and_check(unsigned depth)
{
    struct value value;
    bool has_drops = sim_choose(2);
    unsigned id = oracle_new(has_drops, false);
    struct order order = {id, depth, draw_body(depth)};
    crew_status status = crew_apply(world.pool, has_drops ? &dropping_job : &plain_job, &order, &value, NULL);
    if (status != CREW_BROKEN) /* which says that it was refused, or how it ended */
        oracle_answered(id, CREW_IS_OUTCOME(status) ? CREW_OK : status);
    if (CREW_IS_OUTCOME(status))
        oracle_saw(id, status);
    if (status != CREW_OK)
        return;
    WANT(value.id == id && value.twice == 2 * id);
    if (has_drops)
        oracle_value_gone(id);
}

static void lose_thread(void)
{
    if (sim_thread_id() != 0 && oracle_thread_may_go())
        sim_thread_exit();
}

/* ---- maps: their arrays are gone as soon as they may be ---- */

struct table {
    size_t args[ITEMS], values[ITEMS], runs[ITEMS];
};

static int square(const void *arg, void *result, void *context)
{
    struct table *table = context;
    size_t index = *(const size_t *)arg;
    sim_note("an item runs");
    WANT(table->runs[index]++ == 0);
    if (sim_thread_id() != 0 && sim_choose(16) == 0)
        lose_thread();
    *(size_t *)result = index * index;
    return 0;
}

static const crew_job square_job = {square, sizeof(size_t), sizeof(size_t), "square", NULL, NULL};

static void release_table(void *table)
{
    sim_memory_give(table);
}

static void table_init(struct table *table)
{
    for (size_t i = 0; i < ITEMS; i++) {
        table->args[i] = i;
        table->runs[i] = table->values[i] = 0;
    }
}

static struct table *table_new(void)
{
    struct table *table = sim_memory_take(sizeof *table, 16);
    table_init(table);
    oracle_keep(table, release_table);
    return table;
}

static void table_check(const struct table *table, crew_status status)
{
    for (size_t i = 0; i < ITEMS && status == CREW_OK; i++)
        WANT(table->runs[i] == 1 && table->values[i] == i * i);
    for (size_t i = 0; i < ITEMS; i++)
        WANT(table->runs[i] <= 1);
}

static void table_free(struct table *table)
{
    oracle_let_go(table);
    sim_memory_give(table);
}

/* The table is gone with this thread's stack, should one of the items end it. */
static void map_and_check(void)
{
    struct table table;
    table_init(&table);
    const crew_call *call = CREW_CALL(.context = &table, .chunk = sim_choose(3));
    table_check(&table, crew_map(world.pool, &square_job, table.args, ITEMS, table.values, call));
}

static void map_and_leave(void)
{
    crew_result *result;
    struct table *table = table_new();
    const crew_call *call = CREW_CALL(.context = table, .chunk = sim_choose(3));
    crew_status status = crew_map_async(world.pool, &square_job, table->args, ITEMS, table->values, &result, call);
    if (status == CREW_OK) {
        oracle_keep(result, release_result);
        if (sim_choose(2))
            status = crew_result_wait(result, sim_choose(2) ? CREW_FOREVER : crew_after_ms(1));
        if (sim_choose(3) == 0)
            (void)crew_result_cancel(result);
        status = crew_result_status(result);
        if (status != CREW_BUSY)
            table_check(table, status);
        oracle_let_go(result);
        crew_result_destroy(result);
    }
    table_check(table, CREW_BUSY);
    table_free(table);
}

/* ---- streams ---- */

struct stream {
    size_t pulled, taken, window, count;
    unsigned released;
};

static int stream_pull(void *user, void *ret_item)
{
    struct stream *stream = user;
    WANT(stream->released == 0);
    if (stream->pulled == stream->count)
        return 0;
    sim_note("a source is asked");
    *(size_t *)ret_item = stream->pulled++;
    return 1;
}

static void stream_release(void *user)
{
    WANT(((struct stream *)user)->released++ == 0);
}

static int stream_item(const void *arg, void *result, void *context)
{
    (void)context;
    sim_note("an item of a stream runs");
    *(size_t *)result = *(const size_t *)arg + 1;
    return *(const size_t *)arg == 2 ? crew_fail(3, "item 2") : 0;
}

static const crew_job stream_job = {stream_item, sizeof(size_t), sizeof(size_t), "stream", NULL, NULL};

static void release_iterator(void *iterator)
{
    crew_iterator_destroy(iterator);
}

static void stream_take(crew_iterator *iterator, bool in_order, size_t most)
{
    size_t value, index, expected = 0;
    unsigned seen = 0;
    for (size_t taken = 0; taken < most; taken++) {
        crew_status status = crew_iterator_next(iterator, &value, &index, CREW_FOREVER, NULL);
        if (!CREW_IS_OUTCOME(status))
            return;
        WANT(!in_order || index == expected);
        WANT(!(seen >> index & 1));
        WANT(status != CREW_OK || value == index + 1);
        seen |= 1u << index;
        expected++;
    }
}

static void stream_and_check(void)
{
    struct stream *stream = sim_memory_take(sizeof *stream, 16); /* released with the program: a pull may be late */
    crew_iterator *iterator;
    bool in_order = sim_choose(2);
    *stream = (struct stream){.count = sim_choose(7)};
    oracle_keep(stream, release_table);
    crew_source source = {.pull = stream_pull, .user = stream, .release = stream_release};
    const crew_call *call = CREW_CALL(.window = sim_choose(4), .chunk = 1);
    crew_status status = in_order ? crew_imap(world.pool, &stream_job, &source, &iterator, call)
                                  : crew_imap_unordered(world.pool, &stream_job, &source, &iterator, call);
    if (status != CREW_OK)
        return;
    oracle_keep(iterator, release_iterator);
    stream_take(iterator, in_order, sim_choose(2) ? sim_choose(5) : 20);
    oracle_let_go(iterator);
    crew_iterator_destroy(iterator);
}

/* ---- what a job does ---- */

static int body_loop(void)
{
    for (unsigned turn = 0; turn < 20 && !crew_should_stop(); turn++)
        sim_note("a job goes on");
    return 0;
}

static int body_run(const struct order *order)
{
    if (!oracle_has_room())
        return 0;
    switch (order->body) {
    case BODY_FAIL: return crew_fail(7, "job %u", order->id);
    case BODY_SPAWN: return (void)submit(order->depth + 1, false), 0;
    case BODY_APPLY: return apply_and_check(order->depth + 1), 0;
    case BODY_WAIT: return submit_and_wait(order->depth + 1), 0;
    case BODY_CANCEL: return submit_and_cancel(order->depth + 1), 0;
    case BODY_MAP: return map_and_check(), 0;
    case BODY_STREAM: return stream_and_check(), 0;
    case BODY_LOOP: return body_loop();
    case BODY_LOSE: return lose_thread(), 8;
    case BODY_CLOSE: return crew_pool_close(world.pool) != CREW_OK;
    case BODY_TERMINATE: return crew_pool_terminate(world.pool) != CREW_OK;
    default: return 0;
    }
}

static int work(const void *arg, void *result, void *context)
{
    const struct order *order = arg;
    (void)context;
    oracle_runs(order->id);
    sim_note("a job runs");
    int code = body_run(order);
    if (code != 0)
        return code;
    *(struct value *)result = (struct value){order->id, 2 * order->id};
    oracle_value_made(order->id);
    return 0;
}

/* ---- users ---- */

static void user_step(void)
{
    enum { ENDINGS = 3u };
    switch (sim_choose(world.may_end ? 10 + ENDINGS : 10)) {
    case 0: (void)submit(0, false); break;
    case 1:
    case 2: submit_and_wait(0); break;
    case 3: submit_and_cancel(0); break;
    case 4: apply_and_check(0); break;
    case 5: map_and_check(); break;
    case 6: map_and_leave(); break;
    case 7:
    case 8: stream_and_check(); break;
    case 9: (void)crew_pool_wait(world.pool, sim_choose(2) ? CREW_FOREVER : crew_after_ms(1)); break;
    case 10: WANT(crew_pool_close(world.pool) == CREW_OK); break;
    case 11: WANT(crew_pool_terminate(world.pool) == CREW_OK); break;
    default: crew_pool_request_stop(world.pool);
    }
}

static void user(void *arg)
{
    (void)arg;
    for (unsigned steps = 1 + sim_choose(STEPS_OF_USER); steps > 0 && oracle_has_room(); steps--)
        user_step();
}

/* ---- the program ---- */

static int begin_worker(void *context, int worker, void **ret_state)
{
    (void)context;
    (void)worker;
    *ret_state = &world;
    if (sim_choose(16) == 0)
        return crew_fail(9, "no worker");
    oracle_worker_begins();
    return 0;
}

static void end_worker(void *context, int worker, void *state)
{
    (void)context;
    (void)worker;
    WANT(state == &world);
    oracle_worker_ends();
}

static bool make_pool(void)
{
    static const unsigned helping[] = {0, CREW_WORKERS_ONLY, CREW_CALLER_HELPS};
    crew_pool_options options = {.struct_size = sizeof options, .workers = 1 + sim_choose(3)};
    options.spares_max = sim_choose(4) == 0 ? CREW_NO_SPARES : 1 + sim_choose(3);
    options.flags = helping[sim_choose(3)];
    options.queue_max = sim_choose(4) == 0 ? 1 + sim_choose(2) : 0;
    if (sim_choose(4) == 0) {
        options.worker_init = begin_worker;
        options.worker_exit = end_worker;
        options.flags |= sim_choose(2) ? (unsigned)CREW_LAZY_INIT : 0;
    }
    return crew_pool_create(&world.pool, &options) == CREW_OK;
}

static void end_pool(void)
{
    if (sim_choose(4) == 0)
        WANT(crew_pool_terminate(world.pool) == CREW_OK);
    if (sim_choose(4) == 0) {
        WANT(crew_pool_close(world.pool) == CREW_OK);
        WANT(crew_pool_join(world.pool, CREW_FOREVER) == CREW_OK);
    }
    WANT(crew_pool_destroy(world.pool) == CREW_OK);
}

void program_run(void *arg)
{
    struct sim_thread *users[USERS_MAX];
    (void)arg;
    oracle_begin();
    world.may_end = sim_choose(2) == 0;
    world.may_lose = sim_choose(4) == 0;
    if (!make_pool())
        return;
    unsigned count = sim_choose(USERS_MAX + 1);
    for (unsigned i = 0; i < count; i++)
        users[i] = sim_thread_start(user, NULL);
    user(NULL);
    for (unsigned i = 0; i < count; i++)
        sim_thread_join(users[i]);
    end_pool();
    oracle_release_kept();
    oracle_check();
}
