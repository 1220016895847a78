/* SPDX-License-Identifier: MIT */
/* What random programs do: each action is one call or a few that belong together. */
#define _GNU_SOURCE
#include "world.h"

#include "contract/in_child.h"

#include <pthread.h>
#include <stdatomic.h>

enum { DEPTH_MAX = 3, IDLE_MAX = 3000, MAP_MAX = 150, STREAM_MAX = 40, DEADLINE_NS_MAX = 200000 };

static bool is_inside(const struct actor *actor)
{
    return actor->depth > 0 || actor->under_callback;
}

static crew_deadline any_deadline(uint64_t *random)
{
    switch (test_random(random) % 4) {
    case 0: return CREW_NOW;
    case 1: return crew_after_ns((int64_t)(test_random(random) % DEADLINE_NS_MAX));
    default: return CREW_FOREVER;
    }
}

/* ---- jobs ---- */

static void drop_order(void *arg, void *context)
{
    (void)context;
    CHECK_EQ(counter_add(&(*(struct record **)arg)->drops, 1), 1);
}

static void drop_value(void *result, void *context)
{
    struct value *value = result;
    (void)context;
    CHECK_EQ(value->number, number_of(value->record));
    CHECK_EQ(counter_add(&value->record->result_drops, 1), 1);
}

void value_take(struct record *record, const struct value *value)
{
    CHECK(value->record == record);
    CHECK_EQ(value->number, number_of(record));
    CHECK_EQ(counter_add(&record->taken, 1), 1);
}

static void act_nested(struct record *record, uint64_t random, bool under_callback)
{
    struct actor actor = {.world = record->world,
                          .random = random,
                          .depth = record->depth + 1,
                          .under_callback = record->under_callback || under_callback};
    if (record->depth < DEPTH_MAX)
        actor_act(&actor, (unsigned)(random % 3) + 1);
}

static void exit_thread(struct record *record)
{
    if (!record->may_exit || crew_worker_index() < 0)
        return;
    atomic_store(&record->exits, true);
    pthread_exit(NULL);
}

CREW_JOB_DROPS(order, struct record *, struct value, drop_order, drop_value)
{
    struct record *record = *arg;
    uint64_t random = record->random;
    CHECK_EQ(counter_add(&record->runs, 1), 1);
    CHECK_EQ(counter_get(&record->drops), 0);
    CHECK(crew_current_pool() == record->world->pool || record->world->options.kind == CREW_SERIAL);
    CHECK(crew_worker_index() < (int)record->world->slots);
    switch (test_random(&random) % 16) {
    case 0: return crew_fail(7, "record fails");
    case 1:
        if (chance(&random, 4))
            exit_thread(record);
        break;
    case 2:
    case 3:
    case 4: act_nested(record, test_random(&random), false); break;
    case 5:
        for (int turn = 0; turn < 100 && !crew_should_stop(); turn++)
            idle_around(IDLE_MAX / 10);
        break;
    default: idle_around(test_random(&random) % IDLE_MAX);
    }
    *result = (struct value){record, number_of(record)};
    counter_add(&record->made, 1);
    return 0;
}

static void order_done(const crew_outcome *outcome, void *user)
{
    struct record *record = user;
    uint64_t random = record->random ^ UINT64_C(0xca11bac4);
    CHECK_EQ(counter_add(&record->calls, 1), 1);
    record_check_outcome(record, outcome->status);
    if (outcome->status == CREW_OK)
        CHECK_EQ(((const struct value *)outcome->value)->number, number_of(record));
    if (chance(&random, 4))
        act_nested(record, test_random(&random), true);
}

/* A value is given away after its callback has returned, and callbacks wait for each other. So a callback must not wait for what has one,
 * nor, in a wait that cannot be refused, a job that may be holding the last thread. */
static void choose_call(struct actor *actor, struct record *record, bool may_have_callback, crew_call *ret_call)
{
    *ret_call = (crew_call){.struct_size = sizeof *ret_call};
    record->has_callback = chance(&actor->random, 2) && may_have_callback;
    if (record->has_callback) {
        ret_call->on_done = order_done;
        ret_call->user = record;
    }
    if (chance(&actor->random, 4))
        ret_call->flags |= CREW_NO_WAIT;
    if (chance(&actor->random, 4) && may_have_callback)
        ret_call->flags |= CREW_READY_AFTER_DONE;
}

static void actor_keep(struct actor *actor, struct record *record, crew_result *result)
{
    unsigned place = 0;
    while (place < KEPT_MAX && actor->kept[place] != NULL)
        place++;
    if (place == KEPT_MAX) {
        crew_result_destroy(result);
        return;
    }
    actor->kept[place] = result;
    actor->kept_records[place] = record;
}

static void do_submit(struct actor *actor)
{
    bool keeps = !chance(&actor->random, 4);
    struct record *record = record_new(actor->world, &actor->random, actor->depth, actor->under_callback);
    crew_result *result = NULL;
    crew_call call;
    if (record == NULL)
        return;
    record->may_exit = !is_inside(actor) && actor->world->options.kind == CREW_THREADS;
    choose_call(actor, record, !(keeps && actor->under_callback), &call);
    crew_status status = crew_apply_async(actor->world->pool, &order, &record, keeps ? &result : NULL, &call);
    atomic_store(&record->is_accepted, world_accepts(actor->world, status, is_inside(actor)));
    CHECK((result != NULL) == (status == CREW_OK && keeps));
    if (result != NULL)
        actor_keep(actor, record, result);
}

static void do_apply(struct actor *actor)
{
    struct record *record = record_new(actor->world, &actor->random, actor->depth, actor->under_callback);
    struct value value = {NULL, 0};
    crew_call call;
    if (record == NULL)
        return;
    choose_call(actor, record, !is_inside(actor), &call);
    crew_status status = crew_apply(actor->world->pool, &order, &record, &value, &call);
    atomic_store(&record->is_accepted,
                 CREW_IS_OUTCOME(status) || world_accepts(actor->world, status, is_inside(actor)));
    if (!CREW_IS_OUTCOME(status))
        return;
    record_check_outcome(record, status);
    if (status == CREW_OK)
        value_take(record, &value);
}

/* ---- results that were kept ---- */

static void kept_get(struct actor *actor, unsigned place, crew_deadline deadline)
{
    struct record *record = actor->kept_records[place];
    struct value value = {NULL, 0};
    crew_status status = crew_result_get(actor->kept[place], &value, deadline);
    if (status == CREW_TIMEOUT && deadline.ns != CREW_FOREVER.ns)
        return;
    if (status == CREW_TOO_DEEP || status == CREW_DEADLOCK) { /* the latter: no thread will ever call its callback */
        CHECK(is_inside(actor) && (status == CREW_TOO_DEEP || record->has_callback));
    } else {
        record_check_outcome(record, status);
        CHECK_STATUS(crew_result_status(actor->kept[place]), status);
    }
    if (status == CREW_OK)
        value_take(record, &value);
    crew_result_destroy(actor->kept[place]);
    actor->kept[place] = NULL;
}

static void kept_cancel(struct actor *actor, unsigned place)
{
    atomic_store(&actor->kept_records[place]->is_cancelled, true);
    crew_status status = crew_result_cancel(actor->kept[place]);
    CHECK(status == CREW_OK || status == CREW_BUSY || status == CREW_END);
}

static void do_with_kept(struct actor *actor)
{
    unsigned place = (unsigned)(test_random(&actor->random) % KEPT_MAX);
    crew_error error;
    if (actor->kept[place] == NULL)
        return;
    switch (test_random(&actor->random) % 4) {
    case 0: kept_cancel(actor, place); break;
    case 1: (void)crew_result_error(actor->kept[place], &error); break;
    default: kept_get(actor, place, any_deadline(&actor->random));
    }
}

/* Some outlive their pool. */
static void let_go_of_all(struct actor *actor)
{
    struct world *world = actor->world;
    for (unsigned place = 0; place < KEPT_MAX; place++) {
        if (actor->kept[place] != NULL && chance(&actor->random, 2))
            kept_get(actor, place, any_deadline(&actor->random));
        if (actor->kept[place] == NULL)
            continue;
        if (chance(&actor->random, 2)) {
            crew_result_destroy(actor->kept[place]);
            continue;
        }
        long survivor = atomic_fetch_add(&world->survivors_used, 1);
        world->survivors[survivor] = actor->kept[place];
        world->survivor_records[survivor] = actor->kept_records[place];
    }
}

/* ---- maps ---- */

static int map_item(const void *arg, void *result, void *context)
{
    size_t index = *(const size_t *)arg;
    struct map_record *map = context;
    CHECK(index < map->count);
    CHECK_EQ(counter_add(&map->runs[index], 1), 1);
    idle_around((map->random + index) % 300);
    CHECK(!atomic_load(&map->is_over));
    if (map_item_fails(map, index))
        return crew_fail((int)index + 1, "item %zu fails", index);
    *(long *)result = (long)index * 3;
    return 0;
}

static const crew_job map_job = {map_item, sizeof(size_t), sizeof(long), "map_item", NULL, NULL};

static void map_done(const crew_outcome *outcome, void *user)
{
    struct map_record *map = user;
    (void)outcome;
    CHECK_EQ(counter_add(&map->calls, 1), 1);
}

static void map_sync(struct actor *actor, struct map_record *map, crew_call *call)
{
    crew_error error = {.status = CREW_OK};
    call->error = &error;
    crew_status status = crew_map(actor->world->pool, &map_job, NULL, map->count, map->values, call);
    atomic_store(&map->is_over, true);
    map->is_accepted = CREW_IS_OUTCOME(status) || world_accepts(actor->world, status, is_inside(actor));
    if (CREW_IS_OUTCOME(status))
        map_check_outcome(map, status, &error);
}

static void map_async(struct actor *actor, struct map_record *map, crew_call *call)
{
    crew_result *result = NULL;
    crew_error error = {.status = CREW_OK};
    crew_status status = crew_map_async(actor->world->pool, &map_job, NULL, map->count, map->values, &result, call);
    map->is_accepted = world_accepts(actor->world, status, is_inside(actor));
    if (!map->is_accepted)
        return;
    idle_around(test_random(&actor->random) % IDLE_MAX);
    status = chance(&actor->random, 2) ? crew_result_get(result, NULL, any_deadline(&actor->random)) : CREW_TIMEOUT;
    if (CREW_IS_OUTCOME(status)) {
        CHECK_STATUS(crew_result_error(result, &error), status == CREW_OK ? CREW_INVALID : CREW_OK);
        map_check_outcome(map, status, &error);
    } else {
        CHECK(status == CREW_TIMEOUT || (status == CREW_TOO_DEEP && is_inside(actor)));
    }
    crew_result_destroy(result);
    atomic_store(&map->is_over, true);
}

static void do_map(struct actor *actor)
{
    size_t count = test_random(&actor->random) % MAP_MAX;
    struct map_record *map = map_record_new(actor->world, test_random(&actor->random), count);
    crew_call call = {.struct_size = sizeof call, .context = map, .chunk = test_random(&actor->random) % 4};
    map->has_callback = chance(&actor->random, 2) && !actor->under_callback;
    map->stops = chance(&actor->random, 4);
    call.flags = map->stops ? CREW_STOP_ON_ERROR : 0;
    if (map->has_callback) {
        call.on_done = map_done;
        call.user = map;
    }
    (chance(&actor->random, 2) ? map_sync : map_async)(actor, map, &call);
}

/* ---- streams ---- */

static int stream_pull(void *user, void *ret_item)
{
    struct stream_record *stream = user;
    CHECK_EQ(counter_add(&stream->inside, 1), 1);
    CHECK(!stream->has_ended && counter_get(&stream->releases) == 0);
    struct record *record = stream->left-- > 0 ? record_new(stream->world, &stream->random, DEPTH_MAX, false) : NULL;
    stream->has_ended = record == NULL;
    counter_add(&stream->inside, -1);
    if (record == NULL)
        return stream->fails ? crew_fail(-3, "the source is broken") : 0;
    stream->pulled++;
    atomic_store(&record->is_accepted, true);
    *(struct record **)ret_item = record;
    return 1;
}

static void stream_release(void *user)
{
    struct stream_record *stream = user;
    CHECK_EQ(counter_get(&stream->inside), 0);
    CHECK_EQ(counter_add(&stream->releases, 1), 1);
}

/* How `next` ended for good, or CREW_OK where it may go on. */
static crew_status stream_take(struct actor *actor, crew_iterator *iterator, long *taken)
{
    struct value value = {NULL, 0};
    crew_deadline deadline = any_deadline(&actor->random);
    crew_status status = crew_iterator_next(iterator, &value, NULL, deadline, NULL);
    if (status == CREW_TIMEOUT) {
        CHECK(deadline.ns != CREW_FOREVER.ns);
        return CREW_OK;
    }
    if (status == CREW_OK)
        value_take(value.record, &value);
    *taken += CREW_IS_OUTCOME(status);
    return CREW_IS_OUTCOME(status) ? CREW_OK : status;
}

static void stream_check_end(const struct actor *actor, const struct stream_record *stream, crew_status status,
                             long taken)
{
    bool is_shut = atomic_load(&actor->world->is_closed) || atomic_load(&actor->world->is_terminated);
    if (status == CREW_END || status == CREW_SOURCE_FAILED) {
        CHECK_STATUS(status, stream->fails ? CREW_SOURCE_FAILED : CREW_END);
        CHECK_EQ(taken, stream->pulled);
        CHECK_EQ(counter_get(&stream->releases), 1);
    } else if (status != CREW_OK) {
        CHECK((status == CREW_CLOSED && is_shut) || (status == CREW_TOO_DEEP && is_inside(actor)));
    }
}

static void do_stream(struct actor *actor)
{
    struct stream_record *stream =
        stream_record_new(actor->world, test_random(&actor->random), (long)(test_random(&actor->random) % STREAM_MAX));
    const crew_source source = {.pull = stream_pull, .user = stream, .release = stream_release};
    size_t chunk = chance(&actor->random, 2) ? 1 : 4;
    const crew_call *call = CREW_CALL(.chunk = chunk, .window = chunk + test_random(&actor->random) % 16);
    crew_iterator *iterator = NULL;
    bool is_ordered = chance(&actor->random, 2);
    crew_status status =
        (is_ordered ? crew_imap : crew_imap_unordered)(actor->world->pool, &order, &source, &iterator, call);
    stream->is_accepted = world_accepts(actor->world, status, is_inside(actor));
    if (!stream->is_accepted)
        return;
    long taken = 0, tries = (long)(test_random(&actor->random) % (3 * STREAM_MAX));
    while (tries-- > 0 && status == CREW_OK)
        status = stream_take(actor, iterator, &taken);
    stream_check_end(actor, stream, status, taken);
    crew_iterator_destroy(iterator);
}

/* ---- the pool ---- */

static void forked_child(void *opaque)
{
    struct actor *actor = opaque;
    crew_pool *pool = actor->world->pool;
    CHECK_STATUS(crew_apply_async(pool, &map_job, &(size_t){0}, NULL, NULL), CREW_FORKED);
    for (unsigned place = 0; place < KEPT_MAX; place++)
        crew_result_destroy(actor->kept[place]);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_FORKED);
}

static void do_with_pool(struct actor *actor)
{
    struct world *world = actor->world;
    crew_pool_info info = {.struct_size = sizeof info};
    crew_deadline deadline = crew_after_ns((int64_t)(test_random(&actor->random) % DEADLINE_NS_MAX));
    switch (test_random(&actor->random) % 32) {
    case 0:
        atomic_store(&world->is_closed, true);
        CHECK_STATUS(crew_pool_close(world->pool), CREW_OK);
        break;
    case 1:
        atomic_store(&world->is_terminated, true);
        CHECK_STATUS(crew_pool_terminate(world->pool), CREW_OK);
        break;
    case 2: crew_pool_request_stop(world->pool); break;
    case 3:
        if (!is_inside(actor) && world->forks)
            check_in_child(forked_child, actor);
        break;
    default:
        CHECK_STATUS(crew_pool_query(world->pool, &info), CREW_OK);
        CHECK(info.slots == world->slots);
        crew_status status = crew_pool_wait(world->pool, deadline);
        CHECK(is_inside(actor) ? status == CREW_DEADLOCK : status == CREW_OK || status == CREW_TIMEOUT);
    }
}

void actor_act(struct actor *actor, unsigned actions)
{
    static void (*const all[])(struct actor *) = {do_submit,    do_submit,    do_submit, do_submit, do_apply,
                                                  do_with_kept, do_with_kept, do_map,    do_stream, do_with_pool};
    for (; actions > 0; actions--)
        all[test_random(&actor->random) % (sizeof all / sizeof all[0])](actor);
    let_go_of_all(actor);
}
