/* SPDX-License-Identifier: MIT */
/* One pass over the trees with a pool of its own. */
#ifndef WORDCOUNT_PASS_H
#define WORDCOUNT_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "merge.h"
#include "walk.h"

struct pass {
    char *const *roots;
    size_t roots_count;
    unsigned workers;
    bool quiet;        /* say nothing about entries: an earlier pass did */
    const char *doing; /* for the progress line */
};

struct totals {
    struct merged words;
    uint64_t entries[ENTRY_KINDS]; /* how many of each kind; ENTRY_FILE: counted to the end */
    uint64_t bytes;
    double seconds;
};

/* From now on Ctrl-C ends a pass early; a second one ends the program. */
void pass_watch_interrupt(void);
bool pass_interrupted(void);

/* Runs a pass; its words are the caller's to free in any case. False: it could not be run to its end, which was said. An
 * interrupted pass is no failure: its totals are of what was done. */
bool pass_run(const struct pass *pass, struct totals *ret_totals);

#endif
