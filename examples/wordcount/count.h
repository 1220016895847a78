/* SPDX-License-Identifier: MIT */
/* The job: one entry of the walk in, what it holds out. */
#ifndef WORDCOUNT_COUNT_H
#define WORDCOUNT_COUNT_H

#include <crewpool/crewpool.h>
#include <stdatomic.h>
#include <stdint.h>

#include "table.h"
#include "walk.h"

/* What became of an entry. It owns its path and its table: count_drop frees them. */
struct count {
    enum entry_kind kind; /* ENTRY_UNREADABLE also for a file that cannot be opened or read to its end */
    int error;            /* errno of what is unreadable */
    char *path;           /* of what is worth a message, else NULL */
    uint64_t bytes;
    struct table words;
};

/* The job's context: what all jobs of a pass share. */
struct count_shared {
    atomic_uint_least64_t bytes_read; /* for the progress line */
};

/* Takes a struct entry, gives a struct count. Fails only when memory is out or the pool is told to stop. */
extern const crew_job *const count_job;

void count_drop(void *count, void *unused);

#endif
