/* SPDX-License-Identifier: MIT */
/* What goes to standard error: messages, and on a terminal a progress line that makes way for them. One thread only. */
#ifndef WORDCOUNT_NOTICE_H
#define WORDCOUNT_NOTICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Writes bytes with those that are not printable ASCII as \xHH. */
void print_escaped(FILE *stream, const void *bytes, size_t length);

/* "wordcount: …", to which a newline is added. */
void notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "wordcount: PATH: WHAT" */
void notice_about(const char *path, const char *what);

/* Is standard error a terminal? Else the next two do nothing. */
bool progress_wanted(void);

/* Rewrites the line, unless that was done less than 100 ms ago. */
void progress_show(const char *doing, uint64_t files, uint64_t bytes);
void progress_wipe(void);

#endif
