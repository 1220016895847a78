/* SPDX-License-Identifier: MIT */
/* crew_bytes: values of any length, copied in by crew_bytes_set, freed by crew_bytes_drop. (Leaks show under ASan.) */
#include "../harness/test.h"

static void check_holds(const crew_bytes *bytes, const void *data, size_t size)
{
    CHECK_EQ(bytes->size, size);
    CHECK(bytes->data != NULL);
    CHECK(memcmp(bytes->data, data, size) == 0);
}

static void check_empty(const crew_bytes *bytes)
{
    CHECK_EQ(bytes->size, 0);
    CHECK(bytes->data == NULL);
}

TEST(bytes_set_copies)
{
    char text[] = "one\0two"; /* a zero is a byte like any other */
    crew_bytes bytes = {0};
    CHECK_STATUS(crew_bytes_set(&bytes, text, sizeof text), CREW_OK);
    CHECK(bytes.data != text);
    memset(text, 'x', sizeof text);
    check_holds(&bytes, "one\0two", sizeof text);
    crew_bytes_drop(&bytes, NULL);
}

TEST(bytes_set_replaces_by_longer_and_by_shorter)
{
    static char megabyte[1 << 20];
    crew_bytes bytes = {0};
    memset(megabyte, 'm', sizeof megabyte);
    CHECK_STATUS(crew_bytes_set(&bytes, "short", 5), CREW_OK);
    CHECK_STATUS(crew_bytes_set(&bytes, megabyte, sizeof megabyte), CREW_OK);
    check_holds(&bytes, megabyte, sizeof megabyte);
    CHECK_STATUS(crew_bytes_set(&bytes, "end", 3), CREW_OK);
    check_holds(&bytes, "end", 3);
    crew_bytes_drop(&bytes, NULL);
}

TEST(bytes_set_takes_any_part_of_what_it_holds)
{
    static const char digits[] = "0123456789";
    for (size_t start = 0; start < 10; ++start) {
        for (size_t size = 1; start + size <= 10; ++size) {
            crew_bytes bytes = {0};
            CHECK_STATUS(crew_bytes_set(&bytes, digits, 10), CREW_OK);
            CHECK_STATUS(crew_bytes_set(&bytes, (char *)bytes.data + start, size), CREW_OK);
            check_holds(&bytes, digits + start, size);
            crew_bytes_drop(&bytes, NULL);
        }
    }
}

TEST(bytes_set_to_size_0_empties)
{
    crew_bytes bytes = {0};
    CHECK_STATUS(crew_bytes_set(&bytes, NULL, 0), CREW_OK);
    check_empty(&bytes);
    CHECK_STATUS(crew_bytes_set(&bytes, "data", 4), CREW_OK);
    CHECK_STATUS(crew_bytes_set(&bytes, bytes.data, 0), CREW_OK);
    check_empty(&bytes);
    CHECK_STATUS(crew_bytes_set(&bytes, "data", 4), CREW_OK);
    CHECK_STATUS(crew_bytes_set(&bytes, NULL, 0), CREW_OK);
    check_empty(&bytes);
}

TEST(bytes_set_without_bytes_or_data_is_refused_and_changes_nothing)
{
    crew_bytes bytes = {0};
    CHECK_STATUS(crew_bytes_set(NULL, "data", 4), CREW_INVALID);
    CHECK_STATUS(crew_bytes_set(NULL, NULL, 0), CREW_INVALID);
    CHECK_STATUS(crew_bytes_set(&bytes, NULL, 1), CREW_INVALID);
    check_empty(&bytes);
    CHECK_STATUS(crew_bytes_set(&bytes, "data", 4), CREW_OK);
    const void *held = bytes.data;
    CHECK_STATUS(crew_bytes_set(&bytes, NULL, 4), CREW_INVALID);
    CHECK(bytes.data == held);
    check_holds(&bytes, "data", 4);
    crew_bytes_drop(&bytes, NULL);
}

TEST(bytes_set_of_more_than_there_is_memory_changes_nothing)
{
    if (test_under_sanitizer())
        test_skip("a sanitizer's malloc ends the process at such sizes");
    crew_bytes bytes = {0};
    CHECK_STATUS(crew_bytes_set(&bytes, "data", SIZE_MAX), CREW_NO_MEMORY);
    check_empty(&bytes);
    CHECK_STATUS(crew_bytes_set(&bytes, "data", 4), CREW_OK);
    const void *held = bytes.data;
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1, PTRDIFF_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
        CHECK_STATUS(crew_bytes_set(&bytes, bytes.data, sizes[i]), CREW_NO_MEMORY);
    CHECK(bytes.data == held);
    check_holds(&bytes, "data", 4);
    crew_bytes_drop(&bytes, NULL);
}

TEST(bytes_hold_malloc_s_memory_in_both_directions)
{
    crew_bytes bytes = {malloc(4), 4};
    CHECK(bytes.data != NULL);
    CHECK_STATUS(crew_bytes_set(&bytes, "given", 5), CREW_OK); /* frees the caller's block */
    check_holds(&bytes, "given", 5);
    free(bytes.data); /* and the caller may free the library's */
}

TEST(bytes_drop_empties_and_may_be_repeated)
{
    crew_bytes bytes = {0};
    crew_bytes_drop(&bytes, NULL);
    check_empty(&bytes);
    CHECK_STATUS(crew_bytes_set(&bytes, "data", 4), CREW_OK);
    crew_bytes_drop(&bytes, NULL);
    check_empty(&bytes);
    crew_bytes_drop(&bytes, NULL);
    check_empty(&bytes);
    crew_bytes_drop(NULL, NULL);
}

TEST(bytes_drop_fits_a_job_and_ignores_its_context)
{
    const crew_job job = {.drop_arg = crew_bytes_drop, .drop_result = crew_bytes_drop};
    crew_bytes argument = {0}, result = {0};
    int context = 5;
    CHECK_STATUS(crew_bytes_set(&argument, "argument", 8), CREW_OK);
    CHECK_STATUS(crew_bytes_set(&result, "result", 6), CREW_OK);
    job.drop_arg(&argument, &context);
    job.drop_result(&result, &context);
    check_empty(&argument);
    check_empty(&result);
    CHECK_EQ(context, 5);
}

TEST(bytes_are_usable_again_after_a_drop)
{
    crew_bytes bytes = {0};
    for (int round = 0; round < 3; ++round) {
        CHECK_STATUS(crew_bytes_set(&bytes, &round, sizeof round), CREW_OK);
        check_holds(&bytes, &round, sizeof round);
        crew_bytes_drop(&bytes, NULL);
    }
}
