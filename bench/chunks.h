/* SPDX-License-Identifier: MIT */
/* How many items a chunk has where a library has no loop of its own: 4 chunks per worker, as in Python's Pool.map. */
#ifndef BENCH_CHUNKS_H
#define BENCH_CHUNKS_H

#include <stddef.h>

static inline size_t chunk_length(size_t n, unsigned workers)
{
    size_t chunks = 4 * (size_t)workers;
    return n > chunks ? (n + chunks - 1) / chunks : 1;
}

#endif
