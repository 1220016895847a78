/* SPDX-License-Identifier: MIT */
/* Owned values and callbacks that are counted: what the contract's cases use to prove "exactly once". */
#ifndef CREW_LEDGER_H
#define CREW_LEDGER_H

#include "blocker.h"
#include "test.h"

/* Everything that happened to the calls made with LEDGER_CALL. */
struct ledger {
    counter runs, results_made, args_dropped, results_dropped;
    counter callbacks, by_status[CREW_WORKER_LOST + 1];
};

/* A value that owns memory: dropped twice or never, a sanitizer sees it, and the ledger in any build. */
struct parcel {
    long *number;
};

static inline struct parcel parcel_of(long number)
{
    struct parcel parcel = {malloc(sizeof(long))};

    CHECK(parcel.number != NULL);
    *parcel.number = number;
    return parcel;
}

/* What is inside; the parcel is gone afterwards. */
static inline long parcel_open(struct parcel parcel)
{
    long number = *parcel.number;

    free(parcel.number);
    return number;
}

static inline void parcel_drop_arg(void *arg, void *context)
{
    struct ledger *ledger = context;

    (void)parcel_open(*(struct parcel *)arg);
    counter_add(&ledger->args_dropped, 1);
}

static inline void parcel_drop_result(void *result, void *context)
{
    struct ledger *ledger = context;

    (void)parcel_open(*(struct parcel *)result);
    counter_add(&ledger->results_dropped, 1);
}

/* Doubles what is in the parcel; a negative number fails with that code. */
CREW_JOB_DROPS(double_parcel, struct parcel, struct parcel, parcel_drop_arg, parcel_drop_result)
{
    struct ledger *ledger = context;
    long number = *arg->number;

    counter_add(&ledger->runs, 1);
    if (number < 0)
        return crew_fail((int)number, "%ld is negative", number);
    *result = parcel_of(2 * number);
    counter_add(&ledger->results_made, 1);
    return 0;
}

static inline void ledger_done(const crew_outcome *outcome, void *user)
{
    struct ledger *ledger = user;

    CHECK(outcome->status >= CREW_OK && outcome->status <= CREW_WORKER_LOST);
    CHECK((outcome->status == CREW_OK) == (outcome->error == NULL));
    counter_add(&ledger->by_status[outcome->status], 1);
    counter_add(&ledger->callbacks, 1);
}

#define LEDGER_CALL(ledger) CREW_CALL(.context = (ledger), .on_done = ledger_done, .user = (ledger))

/* Submits a parcel; the argument goes back to the caller when it is refused. */
static inline crew_status ledger_submit(struct ledger *ledger, crew_pool *pool, long number, crew_result **ret_result)
{
    struct parcel parcel = parcel_of(number);
    crew_status status = crew_apply_async(pool, &double_parcel, &parcel, ret_result, LEDGER_CALL(ledger));

    if (status != CREW_OK)
        (void)parcel_open(parcel);
    return status;
}

/* After the pool has gone: of `accepted` calls every callback and every argument's drop came once, `taken` values were
 * taken by get or next, and the others were dropped. */
static inline void ledger_check(const struct ledger *ledger, long accepted, long taken)
{
    CHECK_EQ(counter_get(&ledger->callbacks), accepted);
    CHECK_EQ(counter_get(&ledger->args_dropped), accepted);
    CHECK_EQ(counter_get(&ledger->results_dropped), counter_get(&ledger->results_made) - taken);
    CHECK(counter_get(&ledger->runs) <= accepted);
}

/* ---- jobs that own nothing ---- */

CREW_JOB(twice, int, long)
{
    (void)context;
    *result = 2L * *arg;
    return 0;
}

/* Fails with its argument as the code; 0 succeeds. */
CREW_ACTION(fail_with, int)
{
    (void)context;
    return *arg == 0 ? 0 : crew_fail(*arg, "asked to fail with %d", *arg);
}

/* Adds 1 to the counter that `context` points to. */
static inline int count_fn(const void *arg, void *result, void *context)
{
    (void)arg;
    (void)result;
    counter_add(context, 1);
    return 0;
}
static const crew_job count_one = {count_fn, 0, 0, "count_one", NULL, NULL};

/* Lets a blocker go and the pool with it: everything that is queued runs before this returns. */
static inline void end_pool(crew_pool *pool, struct blocker *blocker)
{
    blocker_let_go(blocker);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    blocker_free(blocker);
}

#endif
