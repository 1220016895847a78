/* SPDX-License-Identifier: MIT */
/* A source of the numbers from 0 that checks how it is used: one pull at a time, none after its end or its release. */
#ifndef CREW_COUNTED_SOURCE_H
#define CREW_COUNTED_SOURCE_H

#include "ledger.h"

enum { ENDLESS = -1 };

struct counted_source {
    long length; /* ENDLESS, or how many items there are */
    bool fails;  /* at its end: with code -7 and a message */
    long next;   /* plain memory: each pull happens before the next, and before the release */
    bool ended, has_parcels;
    counter inside;
    struct gate *pulled, *released; /* count the items, and the releases */
};

static inline void counted_source_init(struct counted_source *source, long length)
{
    *source = (struct counted_source){.length = length, .pulled = gate_new(), .released = gate_new()};
}

/* When its iterator has gone. The release comes after the last pull, which nobody else waits for. */
static inline void counted_source_free(struct counted_source *source)
{
    gate_wait(source->released);
    CHECK_EQ(gate_count(source->released), 1);
    gate_free(source->pulled);
    gate_free(source->released);
}

static inline int counted_pull(void *user, void *ret_item)
{
    struct counted_source *source = user;

    CHECK_EQ(counter_add(&source->inside, 1), 1);
    CHECK_EQ(gate_count(source->released), 0);
    CHECK(!source->ended);
    source->ended = source->next == source->length;
    counter_add(&source->inside, -1);
    if (source->ended)
        return source->fails ? crew_fail(-7, "line %ld is torn", source->next) : 0;
    if (source->has_parcels)
        *(struct parcel *)ret_item = parcel_of(source->next++);
    else
        *(long *)ret_item = source->next++;
    gate_add(source->pulled);
    return 1;
}

static inline void counted_release(void *user)
{
    struct counted_source *source = user;

    CHECK_EQ(counter_get(&source->inside), 0);
    CHECK_EQ(gate_count(source->released), 0);
    CHECK(source->next >= 0);
    gate_add(source->released);
}

#define COUNTED(source) (&(crew_source){.pull = counted_pull, .user = (source), .release = counted_release})

/* ---- jobs over its items ---- */

CREW_JOB(plus_100, long, long)
{
    (void)context;
    *result = *arg + 100;
    return 0;
}

/* Fails for every third item, with its number as the code. */
CREW_JOB(not_thirds, long, long)
{
    (void)context;
    *result = *arg;
    return *arg % 3 != 2 ? 0 : crew_fail((int)*arg, "item %ld is a third", *arg);
}

/* crew_imap or crew_imap_unordered. */
typedef crew_status imap_fn(crew_pool *pool, const crew_job *job, const crew_source *source,
                            crew_iterator **ret_iterator, const crew_call *call);

#endif
