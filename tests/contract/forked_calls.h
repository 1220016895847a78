/* SPDX-License-Identifier: MIT */
/* What a fork's child is told by every call on what was made before. The including file asks for POSIX 2008 or GNU declarations. */
#ifndef CREW_TEST_FORKED_CALLS_H
#define CREW_TEST_FORKED_CALLS_H

#include "in_child.h"
#include "test.h"

CREW_JOB(plus_one, long, long)
{
    (void)context;
    *result = *arg + 1;
    return 0;
}

static inline void check_submitting_is_refused(crew_pool *pool)
{
    long numbers[2] = {1, 2}, values[2] = {7, 7}, value = 7;
    const crew_column column = {numbers, sizeof numbers[0], sizeof numbers[0], 0};
    const crew_source source = {.items = numbers, .count = 2};
    crew_result *result = NULL;
    crew_iterator *stream = NULL;
    crew_error error = {.status = CREW_OK};
    const crew_call *call = CREW_CALL(.error = &error);
    CHECK_STATUS(crew_apply(pool, &plus_one, numbers, &value, call), CREW_FORKED);
    CHECK_STATUS(error.status, CREW_FORKED);
    CHECK_STATUS(crew_apply_async(pool, &plus_one, numbers, &result, NULL), CREW_FORKED);
    CHECK_STATUS(crew_map(pool, &plus_one, numbers, 2, values, NULL), CREW_FORKED);
    CHECK_STATUS(crew_map_async(pool, &plus_one, numbers, 2, values, &result, NULL), CREW_FORKED);
    CHECK_STATUS(crew_starmap(pool, &plus_one, &column, 1, 2, values, NULL), CREW_FORKED);
    CHECK_STATUS(crew_starmap_async(pool, &plus_one, &column, 1, 2, values, &result, NULL), CREW_FORKED);
    CHECK_STATUS(crew_imap(pool, &plus_one, &source, &stream, NULL), CREW_FORKED);
    CHECK_STATUS(crew_imap_unordered(pool, &plus_one, &source, &stream, NULL), CREW_FORKED);
    CHECK(result == NULL && stream == NULL);
    CHECK_EQ(value + values[0] + values[1], 21);
}

static inline void check_pool_calls_are_refused(crew_pool *pool)
{
    crew_pool_info info = {.struct_size = sizeof info, .workers = 77};
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_FORKED);
    CHECK_STATUS(crew_pool_query(pool, &info), CREW_FORKED);
    CHECK_EQ(info.workers, 77);
    CHECK_STATUS(crew_pool_close(pool), CREW_FORKED);
    CHECK_STATUS(crew_pool_terminate(pool), CREW_FORKED);
    CHECK_STATUS(crew_pool_join(pool, CREW_FOREVER), CREW_FORKED);
    crew_pool_request_stop(pool);
}

static inline void check_result_calls_are_refused(crew_result *result)
{
    long value = 7;
    crew_error error = {.status = CREW_OK};
    CHECK_STATUS(crew_result_wait(result, CREW_FOREVER), CREW_FORKED);
    CHECK_STATUS(crew_result_get(result, &value, CREW_FOREVER), CREW_FORKED);
    CHECK_STATUS(crew_result_status(result), CREW_FORKED);
    CHECK_STATUS(crew_result_error(result, &error), CREW_FORKED);
    CHECK_STATUS(crew_result_cancel(result), CREW_FORKED);
    CHECK_EQ(value, 7);
    CHECK_STATUS(error.status, CREW_OK);
}

static inline void check_iterator_calls_are_refused(crew_iterator *stream)
{
    long value = 7;
    size_t index = 7;
    crew_error error = {.status = CREW_OK};
    CHECK_STATUS(crew_iterator_next(stream, &value, &index, CREW_FOREVER, &error), CREW_FORKED);
    CHECK_STATUS(error.status, CREW_FORKED);
    CHECK(value == 7 && index == 7);
}

#endif
