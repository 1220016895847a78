/* SPDX-License-Identifier: MIT */
/* Drafts of calls: sizes, flags and jobs as they should be, or such as must be refused. */
#include "calls.h"

#include <limits.h>

crew_deadline any_deadline(void)
{
    switch (choose(6)) {
    case 1: return CREW_NOW;
    case 2: return (crew_deadline){-1};
    case 3: return (crew_deadline){INT64_MIN};
    case 4: return crew_after_ns(50000);
    case 5: return crew_after_ms(INT64_MIN);
    default: return CREW_FOREVER;
    }
}

static const size_t sizes[] = {8, 0, 1, 4, 16, 17, 64, 255, 257, 900, 1500, VALUE_MAX};

size_t any_size(void)
{
    return FUZZ_PICK(&program.input, sizes);
}

/* ---- drafts: how a call is made, and whether it can be ---- */

static void draft_sizes(struct draft *draft)
{
    crew_call *call = &draft->newer.call;
    static const size_t bad[] = {0, 1, sizeof(crew_call) - 1, SIZE_MAX, SIZE_MAX / 2, 64 * 1024 + 8};
    switch (choose(16)) {
    case 1:
        call->struct_size = FUZZ_PICK(&program.input, bad);
        draft->is_readable = false;
        break;
    case 2: call->struct_size = sizeof draft->newer; break;
    case 3:
        call->struct_size = sizeof draft->newer;
        draft->newer.added[choose(sizeof draft->newer.added)] = 1;
        draft->is_readable = false;
        break;
    case 4:
        call->flags |= 8u << choose(29);
        draft->is_bad = true;
        break;
    default: break;
    }
    draft->is_bad |= !draft->is_readable;
}

static void draft_job(struct draft *draft)
{
    static const size_t bad[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 8 + 1, (size_t)PTRDIFF_MAX + 1};
    unsigned what = choose(32);
    draft->bad_job = draft->page->job;
    draft->job = what == 1 ? NULL : what < 5 && what > 1 ? &draft->bad_job : &draft->page->job;
    if (what == 2)
        draft->bad_job.fn = NULL;
    if (what == 3)
        draft->bad_job.arg_size = FUZZ_PICK(&program.input, bad);
    if (what == 4)
        draft->bad_job.result_size = FUZZ_PICK(&program.input, bad);
    draft->is_bad |= draft->job != &draft->page->job;
}

void draft_begin(struct draft *draft, bool may_have_callback)
{
    static const unsigned flags[] = {0, 0, CREW_NO_WAIT, CREW_READY_AFTER_DONE, CREW_STOP_ON_ERROR, 7};
    size_t arg_size = any_size(), result_size = any_size();
    struct page *page = page_new(&program.book, arg_size, result_size, choose(2));
    page->next = program.book.pages;
    program.book.pages = page;
    *draft = (struct draft){.newer.call = {.struct_size = sizeof(crew_call)}, .page = page, .is_readable = true};
    memset(&draft->error, UNTOUCHED, sizeof draft->error);
    crew_call *call = &draft->newer.call;
    call->context = page;
    call->error = &draft->error;
    call->flags = FUZZ_PICK(&program.input, flags);
    page->stops = (call->flags & CREW_STOP_ON_ERROR) != 0;
    page->has_callback = may_have_callback && choose(3) == 1;
    if (page->has_callback) {
        call->on_done = page_done;
        call->user = page;
    }
    draft_sizes(draft);
    draft_job(draft);
    draft->is_bad |= program.pool == NULL;
    draft->call = call;
}

bool is_untouched(const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < size; i++)
        if (byte[i] != UNTOUCHED)
            return false;
    return true;
}

void draft_check(const struct draft *draft, crew_status status, const void *outputs, size_t size)
{
    if (draft->is_bad)
        CHECK_STATUS(status, CREW_INVALID);
    else
        CHECK(status != CREW_INVALID);
    if (status == CREW_OK || !draft->is_readable)
        CHECK(is_untouched(&draft->error, sizeof draft->error));
    else
        check_error(&draft->error, status);
    if (status >= CREW_TIMEOUT) {
        CHECK(!draft->is_readable || draft->error.message[0] != '\0');
        CHECK(is_untouched(outputs, size));
    }
}
