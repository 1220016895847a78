/* SPDX-License-Identifier: MIT */
/* Steps of a fuzzed program: map and starmap, blocking and not. */
#include "calls.h"

#include <stdatomic.h>

static const size_t chunks[] = {0, 1, 2, 7, 1000, SIZE_MAX};

enum { COLUMNS_MAX = 3 };

struct map_draft {
    struct draft draft;
    const void *args;
    void *values;
    size_t count, columns_count;
    crew_column columns[COLUMNS_MAX];
    const crew_column *given_columns;
};

/* Columns that are the bytes of the arguments, in up to three parts; or such that cannot be. */
static void map_columns(struct map_draft *map)
{
    const struct page *page = map->draft.page;
    size_t size = page->job.arg_size, parts = 1 + choose(COLUMNS_MAX), each = size / parts;
    map->columns_count = parts;
    map->given_columns = map->columns;
    for (size_t i = 0; i < parts; i++) {
        size_t length = i + 1 < parts ? each : size - i * each;
        map->columns[i] = (crew_column){page->args + i * each, length, size, i * each};
        map->draft.is_bad |= length == 0;
    }
    crew_column *last = &map->columns[parts - 1];
    unsigned fault = choose(16);
    switch (fault) {
    case 1: map->given_columns = NULL; break;
    case 2: map->columns_count = choose(2) ? SIZE_MAX / 2 : 0; break;
    case 3: last->size = choose(2) ? SIZE_MAX : size + 1; break;
    case 4: last->offset = choose(2) ? SIZE_MAX : size; break;
    case 5: last->data = NULL; break;
    case 6: last->stride = choose(2) ? SIZE_MAX : PTRDIFF_MAX; break;
    default: return;
    }
    size_t rows_harmless = fault == 6 && last->stride == PTRDIFF_MAX ? 1 : 0; /* whose data may be as wrong */
    map->draft.is_bad |= fault < 5 || map->count > rows_harmless;
}

static void map_begin(struct map_draft *map, bool by_columns)
{
    static const size_t too_many[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)PTRDIFF_MAX + 1};
    struct draft *draft = &map->draft;
    draft_begin(draft, true);
    struct page *page = draft->page;
    page_add_arrays(page, choose(ITEMS_MAX + 1));
    page->fails = choose(2);
    draft->newer.call.chunk = FUZZ_PICK(&program.input, chunks);
    map->args = page->args;
    map->values = page->values;
    map->count = page->count;
    map->given_columns = NULL;
    if (by_columns) {
        map_columns(map);
    } else if (choose(8) == 1) {
        map->args = NULL;
        page->by_index = page->job.arg_size == sizeof(size_t);
        draft->is_bad |= map->count > 0 && page->job.arg_size > 0 && !page->by_index;
    }
    if (choose(16) == 1) {
        map->values = NULL;
        draft->is_bad |= map->count > 0 && page->job.result_size > 0;
    }
    bool may_overflow = page->job.arg_size > 1 || page->job.result_size > 1;
    if (choose(16) == 1 && may_overflow) {
        map->count = FUZZ_PICK(&program.input, too_many);
        draft->is_bad = true;
    }
}

void do_map(void)
{
    struct map_draft map;
    bool by_columns = choose(2);
    map_begin(&map, by_columns);
    struct draft *draft = &map.draft;
    crew_status status = by_columns ? crew_starmap(program.pool, draft->job, map.given_columns, map.columns_count,
                                                   map.count, map.values, draft->call)
                                    : crew_map(program.pool, draft->job, map.args, map.count, map.values, draft->call);
    atomic_store(&draft->page->is_over, true);
    draft_check(draft, status, NULL, 0);
    if (!draft->is_bad && page_answer_waited(draft->page, status, false))
        page_check_map(draft->page, status, &draft->error);
}

void do_map_async(void)
{
    struct map_draft map;
    bool by_columns = choose(2), with_handle = choose(4) != 1;
    crew_result *result;
    map_begin(&map, by_columns);
    struct draft *draft = &map.draft;
    memset(&result, UNTOUCHED, sizeof result);
    crew_result **ret_result = with_handle ? &result : NULL;
    crew_status status =
        by_columns ? crew_starmap_async(program.pool, draft->job, map.given_columns, map.columns_count, map.count,
                                        map.values, ret_result, draft->call)
                   : crew_map_async(program.pool, draft->job, map.args, map.count, map.values, ret_result, draft->call);
    draft_check(draft, status, &result, with_handle ? sizeof result : 0);
    if (!draft->is_bad && page_answer(draft->page, status, false) && with_handle)
        result_hold(result, draft->page);
}
