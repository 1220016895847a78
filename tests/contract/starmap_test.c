/* SPDX-License-Identifier: MIT */
/* Promise 5 for starmap: columns gathered into the job's argument struct; everything else as map. */
#include "ledger.h"

struct area {
    double width;
    unsigned char scale;
    double height;
};

CREW_JOB(area_of, struct area, double)
{
    (void)context;
    *result = arg->width * arg->height * arg->scale;
    return 0;
}

CONTRACT(starmap_gathers_a_column_per_member)
{
    crew_pool *pool = contract_pool(NULL);
    double widths[100], heights[100], areas[100];
    unsigned char scales[100];
    crew_column columns[] = {CREW_COLUMN(struct area, width, widths), CREW_COLUMN(struct area, height, heights),
                             CREW_COLUMN(struct area, scale, scales)};

    for (int i = 0; i < 100; i++) {
        widths[i] = i;
        heights[i] = i + 1;
        scales[i] = (unsigned char)(i % 3);
    }
    CHECK_STATUS(crew_starmap(pool, &area_of, columns, 3, 100, areas, NULL), CREW_OK);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(areas[i], i * (i + 1) * (i % 3));
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_constant_column_is_the_same_for_all_rows)
{
    crew_pool *pool = contract_pool(NULL);
    double widths[50], height = 3, areas[50];
    unsigned char scale = 2;
    crew_column columns[] = {CREW_COLUMN(struct area, width, widths), CREW_CONSTANT(struct area, height, &height),
                             CREW_CONSTANT(struct area, scale, &scale)};

    for (int i = 0; i < 50; i++)
        widths[i] = i;
    CHECK_STATUS(crew_starmap(pool, &area_of, columns, 3, 50, areas, CREW_CALL(.chunk = 7)), CREW_OK);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(areas[i], 6 * i);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

struct sparse {
    int first, missing, last;
    char tail[40];
};

CREW_JOB(is_gathered, struct sparse, int)
{
    (void)context;
    *result = arg->first + 10 * arg->missing + 100 * arg->last;
    for (size_t i = 0; i < sizeof arg->tail; i++)
        *result += 1000 * arg->tail[i];
    return 0;
}

CONTRACT(members_without_a_column_are_zero)
{
    crew_pool *pool = contract_pool(NULL);
    int firsts[30], lasts[30], gathered[30];
    crew_column columns[] = {CREW_COLUMN(struct sparse, first, firsts), CREW_COLUMN(struct sparse, last, lasts)};

    for (int i = 0; i < 30; i++) {
        firsts[i] = i;
        lasts[i] = 2 * i;
    }
    CHECK_STATUS(crew_starmap(pool, &is_gathered, columns, 2, 30, gathered, NULL), CREW_OK);
    for (int i = 0; i < 30; i++)
        CHECK_EQ(gathered[i], i + 200 * i);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_column_may_be_a_member_of_an_array_of_structs)
{
    crew_pool *pool = contract_pool(NULL);
    struct area areas[20];
    double values[20], one = 1;
    unsigned char scale = 1;
    crew_column columns[] = {{&areas[0].height, sizeof(double), sizeof(struct area), offsetof(struct area, width)},
                             CREW_CONSTANT(struct area, height, &one),
                             CREW_CONSTANT(struct area, scale, &scale)};

    for (int i = 0; i < 20; i++)
        areas[i].height = 5 * i;
    CHECK_STATUS(crew_starmap(pool, &area_of, columns, 3, 20, values, NULL), CREW_OK);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(values[i], 5 * i);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(the_columns_themselves_are_copied_and_only_their_arrays_are_borrowed)
{
    crew_pool *pool = contract_pool(NULL);
    int firsts[200], lasts[200], gathered[200];
    crew_column columns[] = {CREW_COLUMN(struct sparse, first, firsts), CREW_COLUMN(struct sparse, last, lasts)};
    crew_result *result;

    for (int i = 0; i < 200; i++) {
        firsts[i] = 1;
        lasts[i] = i;
    }
    CHECK_STATUS(crew_starmap_async(pool, &is_gathered, columns, 2, 200, gathered, &result, CREW_CALL(.chunk = 1)),
                 CREW_OK);
    memset(columns, 0xff, sizeof columns);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_OK);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(gathered[i], 1 + 100 * i);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

CONTRACT(a_starmap_reports_the_lowest_row_that_failed)
{
    crew_pool *pool = contract_pool(NULL);
    int codes[20] = {0};
    const crew_column column = {codes, sizeof(int), sizeof(int), 0};
    struct ledger ledger = {0};
    crew_error error = {0};
    crew_result *result;

    codes[11] = 110;
    codes[17] = 170;
    CHECK_STATUS(crew_starmap(pool, &fail_with, &column, 1, 20, NULL, CREW_CALL(.error = &error)), CREW_FAILED);
    CHECK_EQ(error.index, 11);
    CHECK_EQ(error.code, 110);
    CHECK_STATUS(crew_starmap_async(pool, &fail_with, &column, 1, 20, NULL, &result, LEDGER_CALL(&ledger)), CREW_OK);
    CHECK_STATUS(crew_result_get(result, NULL, CREW_FOREVER), CREW_FAILED);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.by_status[CREW_FAILED]), 1);
    CHECK_EQ(counter_get(&ledger.callbacks), 1);
}

CONTRACT(an_empty_starmap_is_ready_at_once)
{
    crew_pool *pool = contract_pool(NULL);
    const crew_column column = {&(int){0}, sizeof(int), 0, 0};
    struct ledger ledger = {0};
    crew_result *result;

    CHECK_STATUS(crew_starmap_async(pool, &fail_with, &column, 1, 0, NULL, &result, LEDGER_CALL(&ledger)), CREW_OK);
    CHECK_STATUS(crew_result_status(result), CREW_OK);
    crew_result_destroy(result);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&ledger.callbacks), 1);
}

CONTRACT(columns_that_cannot_be_are_refused)
{
    crew_pool *pool = contract_pool(NULL);
    const int codes[2] = {0, 0};
    const crew_column bad[] = {
        {NULL, sizeof(int), sizeof(int), 0},  {codes, 0, sizeof(int), 0},
        {codes, sizeof(int), sizeof(int), 1}, {codes, sizeof(int) + 1, sizeof(int) + 1, 0},
        {codes, sizeof(int), 0, SIZE_MAX},    {codes, SIZE_MAX, sizeof(int), 2},
    };

    CHECK_STATUS(crew_starmap(pool, &fail_with, NULL, 1, 2, NULL, NULL), CREW_INVALID);
    CHECK_STATUS(crew_starmap(pool, &fail_with, &bad[0], 0, 2, NULL, NULL), CREW_INVALID);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        crew_error error = {0};

        CHECK_STATUS(crew_starmap(pool, &fail_with, &bad[i], 1, 2, NULL, CREW_CALL(.error = &error)), CREW_INVALID);
        CHECK(error.message[0] != '\0');
    }
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

static int sum_row_fn(const void *arg, void *result, void *context)
{
    const unsigned char *bytes = arg;

    *(long *)result = 0;
    for (size_t i = 0; i < *(const size_t *)context; i++)
        *(long *)result += bytes[i];
    return 0;
}

CONTRACT(a_row_may_be_as_large_as_the_limit_and_no_larger)
{
    static const crew_job fits = {sum_row_fn, CREW_ROW_SIZE_MAX, sizeof(long), "fits", NULL, NULL};
    static const crew_job too_large = {sum_row_fn, CREW_ROW_SIZE_MAX + 1, sizeof(long), "too_large", NULL, NULL};
    static unsigned char rows[3][CREW_ROW_SIZE_MAX];
    crew_pool *pool = contract_pool(NULL);
    const crew_column column = {rows, CREW_ROW_SIZE_MAX, CREW_ROW_SIZE_MAX, 0};
    size_t size = CREW_ROW_SIZE_MAX;
    long sums[3] = {0};

    memset(rows[1], 1, sizeof rows[1]);
    memset(rows[2], 2, sizeof rows[2]);
    CHECK_STATUS(crew_starmap(pool, &fits, &column, 1, 3, sums, CREW_CALL(.context = &size)), CREW_OK);
    CHECK(sums[0] == 0 && sums[1] == CREW_ROW_SIZE_MAX && sums[2] == 2 * CREW_ROW_SIZE_MAX);
    CHECK_STATUS(crew_starmap(pool, &too_large, &column, 1, 3, sums, CREW_CALL(.context = &size)), CREW_INVALID);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}
