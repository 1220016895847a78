/* SPDX-License-Identifier: MIT */
/* What goes to standard output. */
#ifndef WORDCOUNT_REPORT_H
#define WORDCOUNT_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "pass.h"

/* The `top` most frequent words, ties in byte order. False: out of memory, nothing was printed. */
bool report_words(const struct merged *words, size_t top);

void report_totals(const struct totals *totals, unsigned workers);

/* How much faster `many` was than `one`, on so many CPUs. */
void report_speed_up(const struct totals *one, const struct totals *many, unsigned workers, unsigned cpus);

#endif
