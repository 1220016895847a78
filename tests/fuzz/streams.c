/* SPDX-License-Identifier: MIT */
/* Steps of a fuzzed program: streams over arrays and over sources. */
#include "calls.h"

#include <stdatomic.h>

/* ---- sources ---- */

static int source_pull(void *user, void *ret_item)
{
    struct page *page = user;
    CHECK_EQ(counter_get(&page->releases), 0);
    if (page->pulled == page->count)
        return page->source_fails ? crew_fail(-3, "the source of page %u", page->number) : 0;
    page_write_argument(page, page->pulled++, ret_item);
    return 1;
}

static void source_release(void *user)
{
    CHECK_EQ(counter_add(&((struct page *)user)->releases, 1), 1);
}

/* ---- starting ---- */

static const size_t chunks[] = {0, 1, 2, 7, 1000, PTRDIFF_MAX / 1024, SIZE_MAX};
static const size_t windows[] = {0, 1, 2, 8, 1000, PTRDIFF_MAX, SIZE_MAX};

static void stream_measures(struct draft *draft)
{
    crew_call *call = &draft->newer.call;
    call->chunk = FUZZ_PICK(&program.input, chunks);
    call->window = FUZZ_PICK(&program.input, windows);
    size_t chunk = call->chunk > 0 ? call->chunk : 1;
    draft->is_bad |= (call->window > 0 && call->window < chunk) || call->window > PTRDIFF_MAX ||
                     chunk > PTRDIFF_MAX / (2 * (size_t)CREW_WORKERS_MAX);
}

static void stream_source(struct draft *draft, crew_source *ret_source)
{
    struct page *page = draft->page;
    bool is_array = choose(3) == 1;
    *ret_source = (crew_source){.user = page, .release = source_release};
    page->is_borrowed = is_array;
    if (is_array) {
        ret_source->items = page->args;
        ret_source->count = page->count;
    } else {
        ret_source->pull = source_pull;
        page->source_fails = choose(3) == 1;
    }
    switch (choose(24)) {
    case 1:
        ret_source->items = NULL;
        ret_source->pull = NULL;
        break;
    case 2:
        ret_source->items = page->args;
        ret_source->pull = source_pull;
        break;
    case 3:
        if (!is_array || page->job.arg_size < 2)
            return;
        ret_source->count = choose(2) ? SIZE_MAX : (size_t)PTRDIFF_MAX;
        break;
    default: return;
    }
    draft->is_bad = true;
}

static struct stream *stream_place(void)
{
    struct stream *place = &program.streams[choose(STREAMS_MAX)];
    if (place->iterator != NULL)
        stream_let_go(place);
    return place;
}

void do_stream(void)
{
    struct draft draft;
    crew_source source;
    crew_iterator *iterator;
    bool is_ordered = choose(2), has_callback = choose(16) == 1;
    struct stream *place = stream_place();
    draft_begin(&draft, false);
    page_add_arrays(draft.page, choose(ITEMS_MAX + 1));
    draft.page->is_stream = true;
    draft.page->fails = choose(2);
    stream_measures(&draft);
    stream_source(&draft, &source);
    if (has_callback) {
        draft.newer.call.on_done = page_done;
        draft.is_bad = true;
    }
    memset(&iterator, UNTOUCHED, sizeof iterator);
    crew_status status =
        (is_ordered ? crew_imap : crew_imap_unordered)(program.pool, draft.job, &source, &iterator, draft.call);
    draft_check(&draft, status, &iterator, sizeof iterator);
    if (!draft.is_bad && page_answer(draft.page, status, false))
        *place = (struct stream){.iterator = iterator, .page = draft.page, .is_ordered = is_ordered};
}

/* ---- taking ---- */

static void stream_check_item(struct stream *stream, crew_status status, size_t index, const void *value,
                              const crew_error *error)
{
    struct page *page = stream->page;
    CHECK(index < page->count && !(stream->seen >> index & 1));
    CHECK(!stream->is_ordered || index == stream->taken);
    CHECK_STATUS(stream->ended, CREW_OK);
    stream->seen |= UINT64_C(1) << index;
    stream->taken++;
    page_check_item(page, index, status);
    if (status == CREW_OK) {
        page_take(page, index, value);
        return;
    }
    check_error(error, status);
    CHECK_EQ(error->index, index);
    CHECK(status != CREW_FAILED || error->code == (int)index + 1);
}

/* No more items, for good, and for a reason. */
static void stream_check_end(struct stream *stream, crew_status status)
{
    const struct page *page = stream->page;
    const struct book *book = page->book;
    if (status == CREW_CLOSED) {
        CHECK(atomic_load(&book->is_closed) || atomic_load(&book->is_terminated) || book->may_break);
    } else {
        CHECK_STATUS(status, page->source_fails ? CREW_SOURCE_FAILED : CREW_END);
        CHECK_EQ(stream->taken, page->count);
        CHECK_EQ(counter_get(&page->releases), !page->is_borrowed); /* an array is, until the stream is destroyed */
    }
    CHECK(stream->ended == CREW_OK || stream->ended == status);
    stream->ended = status;
}

static void stream_next(struct stream *stream)
{
    struct page *page = stream->page;
    unsigned char value[VALUE_MAX];
    size_t index = 77;
    crew_error error;
    crew_deadline deadline = any_deadline();
    bool is_bad = choose(16) == 1 && page->job.result_size > 0;
    memset(value, UNTOUCHED, sizeof value);
    memset(&error, UNTOUCHED, sizeof error);
    crew_status status = crew_iterator_next(stream->iterator, is_bad ? NULL : value, &index, deadline, &error);
    if (CREW_IS_OUTCOME(status))
        stream_check_item(stream, status, index, value, &error);
    else
        check_error(&error, status);
    CHECK(is_untouched(value, status == CREW_OK ? 0 : sizeof value));
    CHECK(CREW_IS_OUTCOME(status) || index == 77);
    CHECK((status == CREW_INVALID) == is_bad);
    CHECK(status != CREW_TIMEOUT || deadline.ns != CREW_FOREVER.ns);
    CHECK(status != CREW_NO_MEMORY || page->book->may_lack);
    if (status == CREW_END || status == CREW_SOURCE_FAILED || status == CREW_CLOSED)
        stream_check_end(stream, status);
    else
        CHECK(CREW_IS_OUTCOME(status) || status == CREW_TIMEOUT || status == CREW_NO_MEMORY || is_bad);
}

void stream_let_go(struct stream *stream)
{
    atomic_store(&stream->page->is_cancelled, true);
    crew_iterator_destroy(stream->iterator);
    stream->iterator = NULL;
}

void do_with_stream(void)
{
    struct stream *stream = &program.streams[choose(STREAMS_MAX)];
    if (stream->iterator == NULL)
        return;
    unsigned times = choose(48);
    if (times == 47)
        stream_let_go(stream);
    for (unsigned i = 0; times < 47 && i <= times; i++)
        stream_next(stream);
}
