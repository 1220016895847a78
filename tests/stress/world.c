/* SPDX-License-Identifier: MIT */
/* A random program from its pool's making to the reckoning. */
#define _GNU_SOURCE
#include "world.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { ACTORS_MAX = 3, ACTIONS_MAX = 60 };

static void *must_have(void *memory)
{
    CHECK(memory != NULL);
    return memory;
}

/* ---- records ---- */

struct record *record_new(struct world *world, uint64_t *random, unsigned depth, bool under_callback)
{
    uint64_t own = test_random(random);
    if (atomic_load(&world->records_used) >= RECORDS_MAX)
        return NULL;
    long place = atomic_fetch_add(&world->records_used, 1);
    if (place >= RECORDS_MAX)
        return NULL;
    struct record *record = &world->records[place];
    record->world = world;
    record->random = own;
    record->depth = depth;
    record->under_callback = under_callback;
    return record;
}

struct map_record *map_record_new(struct world *world, uint64_t random, size_t count)
{
    struct map_record *map = must_have(calloc(1, sizeof *map));
    map->world = world;
    map->random = random;
    map->count = count;
    map->runs = must_have(calloc(count + 1, sizeof *map->runs));
    map->values = must_have(calloc(count + 1, sizeof *map->values));
    map->next = atomic_load(&world->maps);
    while (!atomic_compare_exchange_weak(&world->maps, &map->next, map))
        continue;
    return map;
}

struct stream_record *stream_record_new(struct world *world, uint64_t random, long count)
{
    struct stream_record *stream = must_have(calloc(1, sizeof *stream));
    stream->world = world;
    stream->random = random;
    stream->left = count;
    stream->fails = random % 5 == 0;
    stream->next = atomic_load(&world->streams);
    while (!atomic_compare_exchange_weak(&world->streams, &stream->next, stream))
        continue;
    return stream;
}

/* Half of all maps have items that fail. */
bool map_item_fails(const struct map_record *map, size_t index)
{
    return map->random % 2 == 0 && (map->random + index * 7) % 61 == 0;
}

/* ---- what a call may say ---- */

bool world_accepts(struct world *world, crew_status status, bool is_inside)
{
    bool is_shut = atomic_load(&world->is_closed) || atomic_load(&world->is_terminated);
    bool has_reason = (status == CREW_CLOSED && is_shut) || (status == CREW_FULL && world->options.queue_max > 0) ||
                      (status == CREW_TOO_DEEP && is_inside);
    if (status != CREW_OK && !has_reason)
        test_fail(__FILE__, __LINE__, "a call says %s", crew_status_name(status));
    return status == CREW_OK;
}

void record_check_outcome(struct record *record, crew_status status)
{
    bool has_run = status == CREW_OK || status == CREW_FAILED || status == CREW_WORKER_LOST;
    CHECK(CREW_IS_OUTCOME(status));
    CHECK_EQ(counter_get(&record->runs), has_run);
    CHECK_EQ(counter_get(&record->made), status == CREW_OK);
    CHECK(status != CREW_CANCELLED || atomic_load(&record->is_cancelled));
    CHECK(status != CREW_TERMINATED || atomic_load(&record->world->is_terminated));
    CHECK((status == CREW_WORKER_LOST) == atomic_load(&record->exits));
    CHECK(status != CREW_BROKEN);
}

static size_t map_lowest_failure(const struct map_record *map)
{
    size_t index = 0;
    while (index < map->count && !map_item_fails(map, index))
        index++;
    return index;
}

void map_check_outcome(struct map_record *map, crew_status status, const crew_error *error)
{
    bool is_terminated = atomic_load(&map->world->is_terminated);
    size_t lowest = map_lowest_failure(map);
    CHECK(status == CREW_OK || status == CREW_FAILED || (status == CREW_TERMINATED && is_terminated));
    for (size_t i = 0; status == CREW_OK && i < map->count; i++) {
        CHECK_EQ(counter_get(&map->runs[i]), 1);
        CHECK_EQ(map->values[i], 3 * i);
    }
    CHECK(status != CREW_OK || lowest == map->count);
    if (status != CREW_FAILED)
        return;
    CHECK(map_item_fails(map, error->index));
    CHECK_EQ(counter_get(&map->runs[error->index]), 1);
    CHECK_EQ(error->code, (int)error->index + 1);
    CHECK(error->index == lowest || map->stops || is_terminated);
}

/* ---- the reckoning: all has ended, the pool is gone ---- */

static void record_check(const struct record *record)
{
    long accepted = atomic_load(&record->is_accepted);
    CHECK_EQ(counter_get(&record->drops), accepted);
    CHECK_EQ(counter_get(&record->calls), accepted && record->has_callback);
    CHECK(counter_get(&record->runs) <= accepted);
    CHECK_EQ(counter_get(&record->made), counter_get(&record->taken) + counter_get(&record->result_drops));
}

static void maps_check(struct map_record *map)
{
    for (struct map_record *next; map != NULL; map = next) {
        next = map->next;
        CHECK_EQ(counter_get(&map->calls), map->is_accepted && map->has_callback);
        for (size_t i = 0; i < map->count; i++)
            CHECK(counter_get(&map->runs[i]) <= map->is_accepted);
        free(map->runs);
        free(map->values);
        free(map);
    }
}

static void streams_check(struct stream_record *stream)
{
    for (struct stream_record *next; stream != NULL; stream = next) {
        next = stream->next;
        CHECK_EQ(counter_get(&stream->releases), stream->is_accepted);
        free(stream);
    }
}

static void survivors_check(struct world *world)
{
    for (long i = 0; i < atomic_load(&world->survivors_used); i++) {
        struct record *record = world->survivor_records[i];
        struct value value = {NULL, 0};
        crew_status status = crew_result_get(world->survivors[i], &value, i % 2 ? CREW_FOREVER : CREW_NOW);
        record_check_outcome(record, status);
        if (status == CREW_OK)
            value_take(record, &value);
        crew_result_destroy(world->survivors[i]);
    }
}

static void world_check(struct world *world)
{
    long used = atomic_load(&world->records_used);
    survivors_check(world);
    for (long i = 0; i < used && i < RECORDS_MAX; i++)
        record_check(&world->records[i]);
    maps_check(atomic_load(&world->maps));
    streams_check(atomic_load(&world->streams));
    CHECK_EQ(counter_get(&world->inits), counter_get(&world->exits));
    CHECK_EQ(counter_get(&world->memory.live_blocks), 0);
}

/* ---- its pool ---- */

static int count_init(void *user, int worker, void **ret_state)
{
    (void)worker;
    *ret_state = user;
    counter_add(user, 1);
    return 0;
}

static void count_exit(void *user, int worker, void *state)
{
    (void)worker;
    CHECK(state == user);
    counter_add((counter *)user + 1, 1);
}

static void world_choose_options(struct world *world, uint64_t *random)
{
    static const unsigned workers[] = {1, 1, 2, 2, 2, 3, 4, 8, 16, 64};
    static const unsigned helping[] = {0, CREW_WORKERS_ONLY, CREW_CALLER_HELPS};
    crew_pool_options *options = &world->options;
    *options = (crew_pool_options){.struct_size = sizeof *options};
    options->workers = workers[test_random(random) % (sizeof workers / sizeof workers[0])];
    options->kind = chance(random, 10) ? CREW_SERIAL : CREW_THREADS;
    options->flags = helping[test_random(random) % 3];
    options->spares_max = chance(random, 4) ? CREW_NO_SPARES : chance(random, 4) ? 1 : 0;
    options->stack_size = chance(random, 4) ? 256 * 1024 : 0;
    if (chance(random, 4)) {
        options->queue_max = test_random(random) % 8 + 1;
        options->flags |= chance(random, 3) ? CREW_FULL_FAILS : 0;
    }
    if (chance(random, 4)) {
        options->worker_init = count_init;
        options->worker_exit = count_exit;
        options->flags |= chance(random, 2) ? CREW_LAZY_INIT : 0;
        options->user = &world->inits;
    } else if (chance(random, 2)) {
        options->alloc = test_memory_alloc;
        options->free = test_memory_free;
        options->user = &world->memory;
    }
}

static void world_open(struct world *world, uint64_t *random)
{
    crew_pool_info info = {.struct_size = sizeof info};
    world_choose_options(world, random);
    world->records = must_have(calloc(RECORDS_MAX, sizeof *world->records));
    world->survivors = must_have(calloc(RECORDS_MAX, sizeof(crew_result *)));
    world->survivor_records = must_have(calloc(RECORDS_MAX, sizeof(struct record *)));
    world->forks = !test_under_sanitizer(); /* it locks its memory in the child */
    CHECK_STATUS(crew_pool_create(&world->pool, &world->options), CREW_OK);
    CHECK_STATUS(crew_pool_query(world->pool, &info), CREW_OK);
    world->slots = info.slots;
}

static void world_close(struct world *world, uint64_t *random)
{
    if (chance(random, 3))
        CHECK_STATUS(crew_pool_wait(world->pool, CREW_FOREVER), CREW_OK);
    if (chance(random, 3)) {
        atomic_store(&world->is_terminated, true);
        CHECK_STATUS(crew_pool_terminate(world->pool), CREW_OK);
    }
    if (chance(random, 3)) {
        atomic_store(&world->is_closed, true);
        CHECK_STATUS(crew_pool_close(world->pool), CREW_OK);
        CHECK_STATUS(crew_pool_join(world->pool, CREW_FOREVER), CREW_OK);
    }
    atomic_store(&world->is_closed, true); /* what callbacks submit from now on may be refused */
    CHECK_STATUS(crew_pool_destroy(world->pool), CREW_OK);
}

/* ---- its actors ---- */

static void act(void *opaque)
{
    struct actor *actor = opaque;
    actor_act(actor, (unsigned)(test_random(&actor->random) % ACTIONS_MAX) + 1);
}

/* Handlers of signals shall run in the main thread only. */
static struct test_thread *act_elsewhere(struct actor *actor)
{
    sigset_t all, kept;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &kept); /* a thread starts with it */
    struct test_thread *thread = test_thread_start(act, actor);
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
    return thread;
}

void world_run(uint64_t seed)
{
    struct world world = {0};
    struct actor actors[ACTORS_MAX] = {{0}};
    struct test_thread *threads[ACTORS_MAX] = {NULL};
    uint64_t random = seed;
    world_open(&world, &random);
    unsigned count = (unsigned)(test_random(&random) % ACTORS_MAX) + 1;
    for (unsigned i = 0; i < count; i++) {
        actors[i] = (struct actor){.world = &world, .random = test_random(&random)};
        threads[i] = i > 0 ? act_elsewhere(&actors[i]) : NULL;
    }
    act(&actors[0]);
    for (unsigned i = 1; i < count; i++)
        test_thread_join(threads[i]);
    world_close(&world, &random);
    world_check(&world);
    free(world.records);
    free(world.survivors);
    free(world.survivor_records);
}
