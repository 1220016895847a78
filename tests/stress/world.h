/* SPDX-License-Identifier: MIT */
/* A random program over the whole interface, and the book that is kept of it. The same seed gives the same program, though not the
 * same order of things. Every job, map and stream has a record; at the end each that was accepted must have ended exactly once. */
#ifndef CREW_TEST_STRESS_WORLD_H
#define CREW_TEST_STRESS_WORLD_H

#include "harness/test.h"

enum { RECORDS_MAX = 4000, KEPT_MAX = 6 };

/* One job, or one item of a stream. */
struct record {
    struct world *world;
    uint64_t random; /* what it does */
    unsigned depth;  /* 0: submitted from outside */
    bool under_callback, may_exit, has_callback;
    _Atomic bool is_accepted, is_cancelled, exits;
    counter runs, drops, calls, made, result_drops, taken;
};

struct map_record {
    struct map_record *next;
    struct world *world;
    uint64_t random;
    size_t count;
    counter *runs;
    long *values;
    bool has_callback, is_accepted, stops;
    _Atomic bool is_over; /* the arrays are the caller's again */
    counter calls;
};

struct stream_record {
    struct stream_record *next;
    struct world *world;
    uint64_t random;
    long left, pulled;
    bool fails, has_ended, is_accepted;
    counter inside, releases;
};

struct world {
    crew_pool *pool;
    crew_pool_options options;
    struct test_memory memory; /* used where options.alloc is set */
    unsigned slots;
    bool forks;
    _Atomic bool is_closed, is_terminated;
    struct record *records;
    _Atomic long records_used, survivors_used;
    crew_result **survivors; /* of jobs; looked at when the pool is gone, beside survivor_records */
    struct record **survivor_records;
    struct map_record *_Atomic maps;
    struct stream_record *_Atomic streams;
    counter inits, exits;
};

/* Runs the program of a seed; a check that fails ends the process. */
void world_run(uint64_t seed);

/* ---- world.c: the book ---- */
struct record *record_new(struct world *world, uint64_t *random, unsigned depth,
                          bool under_callback); /* NULL: enough */
struct map_record *map_record_new(struct world *world, uint64_t random, size_t count);
struct stream_record *stream_record_new(struct world *world, uint64_t random, long count);
bool map_item_fails(const struct map_record *map, size_t index);

/* True: accepted. A refusal must have a reason. */
bool world_accepts(struct world *world, crew_status status, bool is_inside);

/* Whether this is how it may have ended. */
void record_check_outcome(struct record *record, crew_status status);
void map_check_outcome(struct map_record *map, crew_status status, const crew_error *error);

/* ---- actor.c: who does random things ---- */
struct actor {
    struct world *world;
    uint64_t random;
    unsigned depth;
    bool under_callback;
    crew_result *kept[KEPT_MAX];
    struct record *kept_records[KEPT_MAX];
};

void actor_act(struct actor *actor, unsigned actions); /* and lets go of all that it kept */

/* The value of a job: its record and a number that follows from it. */
struct value {
    struct record *record;
    uint64_t number;
};
void value_take(struct record *record, const struct value *value);

static inline uint64_t number_of(const struct record *record)
{
    return record->random * 3 + 1;
}

static inline bool chance(uint64_t *random, unsigned one_in)
{
    return test_random(random) % one_in == 0;
}

static inline void idle_around(uint64_t turns)
{
    for (volatile uint64_t left = turns; left > 0; left--)
        continue;
}

#endif
