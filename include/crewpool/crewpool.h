/* SPDX-License-Identifier: MIT */
/* crewpool: a pool of workers for C, with the interface of Python's multiprocessing.pool.ThreadPool.
 *
 *     #include <crewpool/crewpool.h>
 *
 *     CREW_JOB(collatz, uint64_t, uint32_t)
 *     {
 *         uint64_t n = *arg;
 *         for (*result = 0; n != 1; ++*result)
 *             n = n % 2 ? 3 * n + 1 : n / 2;
 *         return 0;
 *     }
 *
 *     crew_pool *pool;
 *     crew_pool_create(&pool, NULL);
 *     crew_map(pool, &collatz, numbers, count, steps, NULL);
 *     crew_pool_destroy(pool);
 *
 * Read pool.h first, then job.h and call.h, then result.h and iterator.h. */
#ifndef CREWPOOL_CREWPOOL_H
#define CREWPOOL_CREWPOOL_H

#include "call.h"
#include "error.h"
#include "iterator.h"
#include "job.h"
#include "pool.h"
#include "result.h"
#include "version.h"

#endif
