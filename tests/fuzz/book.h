/* SPDX-License-Identifier: MIT */
/* The book that calls.c keeps: every call has a page, with a job of its own whose sizes are the input's choice. Arguments and values are
 * patterns that follow from page and item, so that each byte can be told to be right. */
#ifndef CREW_TEST_FUZZ_BOOK_H
#define CREW_TEST_FUZZ_BOOK_H

#include "fuzz.h"
#include "harness/test.h"

enum { ITEMS_MAX = 40, FAILS_EVERY = 5 };

enum body {
    BODY_VALUE,
    BODY_FAIL,
    BODY_APPLY, /* these three: a page of its own, beneath */
    BODY_SUBMIT,
    BODY_MAP,
    BODY_CLOSE,
    BODY_TERMINATE,
    BODY_STOP,
    BODY_MISUSE,
    BODY_LOSE,
    BODIES
};

struct book {
    struct page *pages; /* the main thread's; pages beneath hang on theirs */
    unsigned pages_count;
    bool may_break; /* initializers, threads or memory fail */
    bool may_lack;  /* memory does */
    bool has_limit; /* queue_max */
    bool is_serial;
    _Atomic bool is_closed, is_terminated; /* somebody has begun to */
    counter inits, exits;
};

struct page {
    struct page *next, *beneath;
    struct book *book;
    unsigned number;
    crew_job job;
    enum body body;    /* of apply's job, which is item 0 */
    bool is_array_job; /* of a map or a stream: item FAILS_EVERY - 1 and so on fail, if `fails` */
    bool fails, stops; /* stops: CREW_STOP_ON_ERROR */
    bool by_index;     /* the argument is a size_t, the item's number */
    bool has_callback;
    size_t count; /* items */
    unsigned char *args, *values;
    bool is_stream, source_fails, is_borrowed; /* borrowed: items of an array */
    bool is_unsure; /* CREW_BROKEN was said by a blocking call: refused, or that is how it ended */
    size_t pulled;  /* the source's, whose calls do not overlap */
    _Atomic bool is_accepted, is_cancelled, is_over; /* is_over: the arrays are the caller's again */
    counter runs[ITEMS_MAX], anonymous_runs, drops, made, gone, calls, releases;
};

/* A page with a job of these sizes; never fails. */
struct page *page_new(struct book *book, size_t arg_size, size_t result_size, bool has_drops);
void page_add_arrays(struct page *page, size_t count);
void page_free(struct page *page);

/* Patterns. */
void page_write_argument(const struct page *page, size_t item, void *arg);
void page_write_value(const struct page *page, size_t item, void *value);
void page_check_argument(const struct page *page, size_t item, const void *arg);
void page_check_value(const struct page *page, size_t item, const void *value);
bool page_item_fails(const struct page *page, size_t item);

/* Somebody has this value now: it is his to count. */
void page_take(struct page *page, size_t item, const void *value);

/* What a call said: true, it was accepted. A refusal must have a reason. */
bool page_answer(struct page *page, crew_status status, bool is_inside);
/* The same for a blocking call. */
bool page_answer_waited(struct page *page, crew_status status, bool is_inside);
/* Whether this is how it may have ended. */
void page_check_outcome(struct page *page, crew_status status);
void page_check_map(struct page *page, crew_status status, const crew_error *error);
void page_check_item(struct page *page, size_t item, crew_status status);
/* An error that was filled: whole, and terminated. */
void check_error(const crew_error *error, crew_status status);

/* What pages need of calls.c: what jobs do. */
int page_run(const void *arg, void *result, void *context);
void page_done(const crew_outcome *outcome, void *user);

/* At the end, when all is gone. */
void book_check(struct book *book);

#endif
