/* SPDX-License-Identifier: MIT */
/* What the jobs and callbacks of a fuzzed program do: also calls of their own, on pages beneath theirs. */
#define _GNU_SOURCE
#include "calls.h"

#include <pthread.h>
#include <stdatomic.h>

/* What can never be done from inside. */
static void misuse(void)
{
    crew_pool *own = crew_current_pool();
    CHECK_STATUS(crew_pool_wait(own, CREW_FOREVER), CREW_DEADLOCK);
    CHECK_STATUS(crew_pool_join(own, CREW_FOREVER), CREW_DEADLOCK);
    CHECK_STATUS(crew_pool_destroy(own), CREW_DEADLOCK);
}

static void apply_beneath(struct page *beneath)
{
    unsigned char arg[VALUE_MAX], value[VALUE_MAX];
    page_write_argument(beneath, 0, arg);
    crew_status status = crew_apply(crew_current_pool(), &beneath->job, arg, value, CREW_CALL(.context = beneath));
    if (!page_answer_waited(beneath, status, true))
        return;
    page_check_outcome(beneath, status);
    if (status == CREW_OK)
        page_take(beneath, 0, value);
}

static void submit_beneath(struct page *beneath)
{
    unsigned char arg[VALUE_MAX];
    page_write_argument(beneath, 0, arg);
    const crew_call *call = CREW_CALL(.context = beneath);
    (void)page_answer(beneath, crew_apply_async(crew_current_pool(), &beneath->job, arg, NULL, call), true);
}

static void map_beneath(struct page *beneath)
{
    crew_error error;
    const crew_call *call = CREW_CALL(.context = beneath, .error = &error);
    crew_status status =
        crew_map(crew_current_pool(), &beneath->job, beneath->args, beneath->count, beneath->values, call);
    atomic_store(&beneath->is_over, true);
    if (page_answer_waited(beneath, status, true))
        page_check_map(beneath, status, &error);
}

static int act(struct page *page)
{
    switch (page->body) {
    case BODY_FAIL: return crew_fail(7, "page %u", page->number);
    case BODY_APPLY: apply_beneath(page->beneath); break;
    case BODY_SUBMIT: submit_beneath(page->beneath); break;
    case BODY_MAP: map_beneath(page->beneath); break;
    case BODY_CLOSE:
        atomic_store(&program.book.is_closed, true);
        CHECK_STATUS(crew_pool_close(crew_current_pool()), CREW_OK);
        break;
    case BODY_TERMINATE:
        atomic_store(&program.book.is_terminated, true);
        CHECK_STATUS(crew_pool_terminate(crew_current_pool()), CREW_OK);
        CHECK(crew_should_stop());
        break;
    case BODY_STOP:
        crew_pool_request_stop(crew_current_pool());
        CHECK(crew_should_stop());
        break;
    case BODY_MISUSE: misuse(); break;
    case BODY_LOSE:
        if (!program.book.is_serial && crew_worker_index() >= 0)
            pthread_exit(NULL);
        break;
    default: break;
    }
    return 0;
}

/* Part of a value is written by those that fail, too: nobody must get to see it. */
int page_run(const void *arg, void *result, void *context)
{
    struct page *page = context;
    bool is_known = !page->is_array_job || page->job.arg_size > 0;
    size_t item = !page->is_array_job || !is_known ? 0 : page->by_index ? *(const size_t *)arg : *(const uint8_t *)arg;
    CHECK(item < page->count);
    CHECK(!atomic_load(&page->is_over));
    CHECK((result != NULL) == (page->job.result_size > 0));
    page_check_argument(page, item, arg);
    CHECK_EQ(counter_add(is_known ? &page->runs[item] : &page->anonymous_runs, 1) > (is_known ? 1 : (long)page->count),
             0);
    page_write_value(page, item, result);
    int code = page->is_array_job ? 0 : act(page);
    if (code != 0 || (page->is_array_job && page_item_fails(page, item)))
        return code != 0 ? code : crew_fail((int)item + 1, "item %zu", item);
    counter_add(&page->made, 1);
    return 0;
}

void page_done(const crew_outcome *outcome, void *user)
{
    struct page *page = user;
    CHECK_EQ(counter_add(&page->calls, 1), 1);
    CHECK((outcome->error == NULL) == (outcome->status == CREW_OK));
    if (outcome->error != NULL)
        check_error(outcome->error, outcome->status);
    if (page->is_array_job)
        return;
    page_check_outcome(page, outcome->status);
    if (outcome->status == CREW_OK && page->job.result_size > 0)
        page_check_value(page, 0, outcome->value);
    misuse();
}
