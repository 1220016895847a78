/* SPDX-License-Identifier: MIT */
/* Steps of a fuzzed program: single jobs, and all that can be done with results. */
#include "calls.h"

#include <stdatomic.h>

/* ---- apply ---- */

static void draft_body(struct draft *draft)
{
    struct page *page = draft->page;
    page->body = (enum body)choose(BODIES);
    if (page->body < BODY_APPLY || page->body > BODY_MAP)
        return;
    page->beneath = page_new(&program.book, any_size(), any_size(), page->body != BODY_MAP);
    page->beneath->body = (enum body)choose(BODY_APPLY);
    page->beneath->fails = choose(2);
    if (page->body == BODY_MAP)
        page_add_arrays(page->beneath, 1 + choose(8));
}

void result_hold(crew_result *result, struct page *page)
{
    struct held *place = program.held;
    while (place < program.held + HELD_MAX && place->result != NULL)
        place++;
    if (place < program.held + HELD_MAX) {
        *place = (struct held){result, page};
        return;
    }
    atomic_store(&page->is_cancelled, page->is_array_job);
    crew_result_destroy(result);
    atomic_store(&page->is_over, page->is_array_job);
}

static const void *argument_of(struct draft *draft, unsigned char *arg)
{
    page_write_argument(draft->page, 0, arg);
    if (choose(16) != 1)
        return arg;
    draft->is_bad |= draft->page->job.arg_size > 0;
    return NULL;
}

void do_apply_async(void)
{
    struct draft draft;
    unsigned char arg[VALUE_MAX];
    crew_result *result, *untouched;
    draft_begin(&draft, true);
    draft_body(&draft);
    bool with_handle = choose(4) != 1;
    const void *given = argument_of(&draft, arg);
    memset(&result, UNTOUCHED, sizeof result);
    untouched = result;
    crew_status status = crew_apply_async(program.pool, draft.job, given, with_handle ? &result : NULL, draft.call);
    draft_check(&draft, status, &result, with_handle ? sizeof result : 0);
    if (!draft.is_bad && page_answer(draft.page, status, false) && with_handle)
        result_hold(result, draft.page);
    CHECK((result != untouched) == (status == CREW_OK && with_handle));
}

void do_apply(void)
{
    struct draft draft;
    unsigned char arg[VALUE_MAX], value[VALUE_MAX];
    draft_begin(&draft, true);
    draft_body(&draft);
    const void *given = argument_of(&draft, arg);
    bool with_value = choose(16) != 1;
    draft.is_bad |= !with_value && draft.page->job.result_size > 0;
    memset(value, UNTOUCHED, sizeof value);
    crew_status status = crew_apply(program.pool, draft.job, given, with_value ? value : NULL, draft.call);
    draft_check(&draft, status, value, sizeof value);
    if (draft.is_bad || !page_answer_waited(draft.page, status, false))
        return;
    page_check_outcome(draft.page, status);
    if (status == CREW_OK)
        page_take(draft.page, 0, with_value ? value : NULL);
    CHECK(is_untouched(value, status == CREW_OK ? 0 : sizeof value));
}

/* ---- results ---- */

static void held_check_error(const struct held *one, crew_status outcome)
{
    crew_error error;
    memset(&error, UNTOUCHED, sizeof error);
    crew_status status = crew_result_error(one->result, &error);
    CHECK_STATUS(status, outcome == CREW_OK ? CREW_INVALID : CREW_OK);
    CHECK_STATUS(crew_result_error(one->result, NULL), CREW_INVALID);
    if (status == CREW_OK)
        check_error(&error, outcome);
    if (one->page->is_array_job)
        page_check_map(one->page, outcome, &error);
    else
        page_check_outcome(one->page, outcome);
}

static void held_get(struct held *one)
{
    unsigned char value[VALUE_MAX];
    struct page *page = one->page;
    crew_deadline deadline = any_deadline();
    bool has_value = !page->is_array_job && page->job.result_size > 0, with_value = choose(16) != 1;
    memset(value, UNTOUCHED, sizeof value);
    crew_status status = crew_result_get(one->result, with_value ? value : NULL, deadline);
    if (status == CREW_TIMEOUT || status == CREW_INVALID) {
        bool is_moved = page->job.drop_result != NULL && !page->is_array_job && counter_get(&page->gone) > 0;
        CHECK(status == CREW_TIMEOUT ? deadline.ns != CREW_FOREVER.ns : is_moved || (has_value && !with_value));
    } else {
        CHECK_STATUS(crew_result_status(one->result), status);
        held_check_error(one, status);
    }
    if (status == CREW_OK && !page->is_array_job)
        page_take(page, 0, has_value ? value : NULL);
    CHECK(is_untouched(value, status == CREW_OK && has_value ? 0 : sizeof value));
}

static void held_cancel(struct held *one)
{
    atomic_store(&one->page->is_cancelled, true);
    crew_status status = crew_result_cancel(one->result);
    CHECK(status == CREW_OK || status == CREW_BUSY || status == CREW_END);
}

/* A map that is let go of touches its arrays no more. */
void result_let_go(struct held *one)
{
    struct page *page = one->page;
    if (page->is_array_job)
        atomic_store(&page->is_cancelled, true);
    crew_result_destroy(one->result);
    if (page->is_array_job)
        atomic_store(&page->is_over, true);
    one->result = NULL;
}

void do_with_held(void)
{
    struct held *one = &program.held[choose(HELD_MAX)];
    if (one->result == NULL)
        return;
    switch (choose(6)) {
    case 1: held_cancel(one); break;
    case 2: result_let_go(one); break;
    case 3: {
        crew_deadline deadline = any_deadline();
        crew_status status = crew_result_wait(one->result, deadline);
        CHECK(status == CREW_OK || (status == CREW_TIMEOUT && deadline.ns != CREW_FOREVER.ns));
        break;
    }
    case 4: {
        crew_status status = crew_result_status(one->result);
        CHECK(status == CREW_BUSY || CREW_IS_OUTCOME(status));
        break;
    }
    default: held_get(one);
    }
}
