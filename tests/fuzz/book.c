/* SPDX-License-Identifier: MIT */
/* The book of calls.c: pages, patterns, and what must be true of them. */
#include "book.h"

#include <stdatomic.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if __has_feature(memory_sanitizer)
void __msan_check_mem_is_initialized(const volatile void *bytes, size_t size);
#define CHECK_WRITTEN(bytes, size) __msan_check_mem_is_initialized((bytes), (size))
#else
#define CHECK_WRITTEN(bytes, size) ((void)(bytes), (void)(size))
#endif

/* ---- patterns: the first byte of an argument is the item's number ---- */

static unsigned char argument_byte(const struct page *page, size_t item, size_t place)
{
    return (unsigned char)(place == 0 ? item : page->number * 31 + item * 7 + place);
}

static unsigned char value_byte(const struct page *page, size_t item, size_t place)
{
    size_t known = page->job.arg_size > 0 ? item : 0; /* a job without an argument knows no number */
    return (unsigned char)(page->number * 5 + known * 11 + place * 3 + 1);
}

void page_write_argument(const struct page *page, size_t item, void *arg)
{
    unsigned char *bytes = arg;
    for (size_t i = 0; i < page->job.arg_size; i++)
        bytes[i] = argument_byte(page, item, i);
}

void page_write_value(const struct page *page, size_t item, void *value)
{
    unsigned char *bytes = value;
    for (size_t i = 0; i < page->job.result_size; i++)
        bytes[i] = value_byte(page, item, i);
}

void page_check_argument(const struct page *page, size_t item, const void *arg)
{
    const unsigned char *bytes = arg;
    CHECK((arg != NULL) == (page->job.arg_size > 0));
    CHECK_WRITTEN(arg, page->job.arg_size);
    if (page->by_index)
        return;
    for (size_t i = 0; i < page->job.arg_size; i++)
        CHECK_EQ(bytes[i], argument_byte(page, item, i));
}

void page_check_value(const struct page *page, size_t item, const void *value)
{
    const unsigned char *bytes = value;
    CHECK_WRITTEN(value, page->job.result_size);
    for (size_t i = 0; i < page->job.result_size; i++)
        CHECK_EQ(bytes[i], value_byte(page, item, i));
}

void check_error(const crew_error *error, crew_status status)
{
    CHECK_STATUS(error->status, status);
    CHECK_WRITTEN(error, offsetof(crew_error, message) + sizeof error->message);
    CHECK(memchr(error->job, '\0', sizeof error->job) != NULL);
    CHECK(memchr(error->message, '\0', sizeof error->message) != NULL);
    CHECK(error->worker >= -1);
}

/* ---- pages ---- */

static size_t page_item_of(const struct page *page, const void *arg)
{
    return page->job.arg_size > 0 && page->is_array_job ? *(const unsigned char *)arg : 0;
}

static void drop_argument(void *arg, void *context)
{
    struct page *page = context;
    page_check_argument(page, page_item_of(page, arg), arg);
    CHECK(counter_add(&page->drops, 1) <= (long)page->count);
}

void page_take(struct page *page, size_t item, const void *value)
{
    page_check_value(page, item, value);
    counter_add(&page->gone, 1);
}

/* Which item it is of cannot be known here, unless it is the only one. */
static void drop_value(void *value, void *context)
{
    struct page *page = context;
    if (!page->is_array_job)
        page_check_value(page, 0, value);
    CHECK_WRITTEN(value, page->job.result_size);
    counter_add(&page->gone, 1);
}

struct page *page_new(struct book *book, size_t arg_size, size_t result_size, bool has_drops)
{
    struct page *page = calloc(1, sizeof *page);
    CHECK(page != NULL);
    page->book = book;
    page->number = ++book->pages_count;
    page->job = (crew_job){page_run, arg_size, result_size, "page", NULL, NULL};
    page->count = 1;
    if (has_drops) {
        page->job.drop_arg = drop_argument;
        page->job.drop_result = drop_value;
    }
    return page;
}

/* As large as they must be, so that a byte beyond is seen. */
void page_add_arrays(struct page *page, size_t count)
{
    page->is_array_job = true;
    page->count = count;
    page->args = malloc(count * page->job.arg_size);
    page->values = malloc(count * page->job.result_size);
    CHECK(page->args != NULL && page->values != NULL);
    for (size_t i = 0; i < count; i++)
        page_write_argument(page, i, page->args + i * page->job.arg_size);
}

void page_free(struct page *page)
{
    if (page->beneath != NULL)
        page_free(page->beneath);
    free(page->args);
    free(page->values);
    free(page);
}

bool page_item_fails(const struct page *page, size_t item)
{
    return page->fails && page->job.arg_size > 0 && item % FAILS_EVERY == FAILS_EVERY - 1;
}

/* ---- answers and outcomes ---- */

bool page_answer(struct page *page, crew_status status, bool is_inside)
{
    const struct book *book = page->book;
    bool is_shut = atomic_load(&book->is_closed) || atomic_load(&book->is_terminated);
    bool has_reason = status == CREW_OK || (status == CREW_CLOSED && is_shut) ||
                      (status == CREW_FULL && book->has_limit) || (status == CREW_BROKEN && book->may_break) ||
                      (status == CREW_NO_MEMORY && book->may_lack) || (status == CREW_TOO_DEEP && is_inside);
    if (!has_reason)
        test_fail(__FILE__, __LINE__, "a call says %s", crew_status_name(status));
    atomic_store(&page->is_accepted, status == CREW_OK);
    return status == CREW_OK;
}

bool page_answer_waited(struct page *page, crew_status status, bool is_inside)
{
    page->is_unsure = status == CREW_BROKEN;
    return page_answer(page, CREW_IS_OUTCOME(status) && !page->is_unsure ? CREW_OK : status, is_inside);
}

/* What the outcome of anything that did not run, or whose thread went, must have as its reason. */
static void check_reason(const struct page *page, crew_status status)
{
    CHECK(CREW_IS_OUTCOME(status));
    CHECK(status != CREW_CANCELLED || atomic_load(&page->is_cancelled));
    CHECK(status != CREW_TERMINATED || atomic_load(&page->book->is_terminated));
    CHECK(status != CREW_BROKEN || page->book->may_break);
    CHECK(status != CREW_WORKER_LOST || (page->body == BODY_LOSE && !page->is_array_job));
}

void page_check_outcome(struct page *page, crew_status status)
{
    bool has_run = status == CREW_OK || status == CREW_FAILED || status == CREW_WORKER_LOST;
    check_reason(page, status);
    CHECK_EQ(counter_get(&page->runs[0]), has_run);
    CHECK_EQ(counter_get(&page->made), status == CREW_OK);
    CHECK(status != CREW_FAILED || page->body == BODY_FAIL);
    CHECK(status != CREW_OK || page->body != BODY_FAIL);
}

void page_check_item(struct page *page, size_t item, crew_status status)
{
    bool has_run = status == CREW_OK || status == CREW_FAILED;
    check_reason(page, status);
    if (page->job.arg_size > 0)
        CHECK_EQ(counter_get(&page->runs[item]), has_run);
    CHECK(status != CREW_FAILED || page_item_fails(page, item));
    CHECK(status != CREW_OK || !page_item_fails(page, item));
}

void page_check_map(struct page *page, crew_status status, const crew_error *error)
{
    check_reason(page, status);
    for (size_t i = 0; status == CREW_OK && i < page->count; i++) {
        page_check_item(page, i, CREW_OK);
        page_check_value(page, i, page->values + i * page->job.result_size);
    }
    if (status != CREW_FAILED)
        return;
    check_error(error, CREW_FAILED);
    CHECK(error->index < page->count && error->code == (int)error->index + 1);
    page_check_item(page, error->index, CREW_FAILED);
    CHECK(error->index == FAILS_EVERY - 1 || page->stops || atomic_load(&page->book->is_terminated));
}

/* ---- the reckoning ---- */

static void page_check(const struct page *page)
{
    bool is_accepted = atomic_load(&page->is_accepted);
    if (page->is_unsure)
        return;
    bool is_map = page->is_array_job && !page->is_stream;
    long taken_in = page->is_stream ? (long)page->pulled : is_accepted;
    for (size_t i = 0; i < ITEMS_MAX; i++)
        CHECK(counter_get(&page->runs[i]) <= is_accepted);
    CHECK(counter_get(&page->anonymous_runs) <= (is_accepted ? (long)page->count : 0));
    CHECK_EQ(counter_get(&page->drops), page->job.drop_arg != NULL && !is_map ? taken_in : 0);
    CHECK_EQ(counter_get(&page->calls), is_accepted && page->has_callback);
    CHECK_EQ(counter_get(&page->releases), is_accepted && page->is_stream);
    if (page->job.drop_result != NULL)
        CHECK_EQ(counter_get(&page->gone), is_map ? 0 : counter_get(&page->made));
    if (page->beneath != NULL)
        page_check(page->beneath);
}

void book_check(struct book *book)
{
    for (struct page *page = book->pages, *next; page != NULL; page = next) {
        next = page->next;
        page_check(page);
        page_free(page);
    }
    CHECK_EQ(counter_get(&book->inits), counter_get(&book->exits));
}
