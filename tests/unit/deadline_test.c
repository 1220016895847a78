/* SPDX-License-Identifier: MIT */
/* The small things of error.h and version.h: deadlines, the numbers, names and ranges of statuses, the version. */
#include <limits.h>

#include "../harness/test.h"

/* ---- deadlines ---- */

static const int64_t hour_ns = INT64_C(3600) * 1000000000;

/* That `deadline` was made between `before` and now, `after_ns` from then. */
static void check_from_now(crew_deadline deadline, int64_t before, int64_t after_ns)
{
    CHECK(deadline.ns >= before + after_ns);
    CHECK(deadline.ns <= test_now_ns() + after_ns);
}

TEST(forever_and_now_are_the_ends_of_time)
{
    CHECK_EQ(CREW_FOREVER.ns, INT64_MAX);
    CHECK_EQ(CREW_NOW.ns, 0);
    CHECK(test_now_ns() > CREW_NOW.ns);
}

TEST(after_ns_counts_from_now_on_the_monotonic_clock)
{
    static const int64_t durations[] = {0, 1, 999, 1000000000, INT64_C(86400) * 1000000000};
    for (size_t i = 0; i < sizeof durations / sizeof *durations; ++i) {
        int64_t before = test_now_ns();
        check_from_now(crew_after_ns(durations[i]), before, durations[i]);
    }
}

TEST(after_ns_saturates_at_forever)
{
    CHECK_EQ(crew_after_ns(INT64_MAX).ns, INT64_MAX);
    CHECK_EQ(crew_after_ns(INT64_MAX - 1).ns, INT64_MAX);
    CHECK_EQ(crew_after_ns(INT64_MAX - test_now_ns()).ns, INT64_MAX);
    CHECK_EQ(crew_after_ns(INT64_MAX - test_now_ns() / 2).ns, INT64_MAX);
}

TEST(after_ns_does_not_saturate_before_it_must)
{
    int64_t before = test_now_ns(), longest = INT64_MAX - before - hour_ns;
    crew_deadline deadline = crew_after_ns(longest);
    check_from_now(deadline, before, longest);
    CHECK(deadline.ns < INT64_MAX);
}

TEST(after_a_negative_duration_is_now)
{
    CHECK_EQ(crew_after_ns(-1).ns, 0);
    CHECK_EQ(crew_after_ns(-hour_ns).ns, 0);
    CHECK_EQ(crew_after_ns(INT64_MIN).ns, 0);
    CHECK_EQ(crew_after_ms(-1).ns, 0);
    CHECK_EQ(crew_after_ms(INT64_MIN / 1000000 - 1).ns, 0);
    CHECK_EQ(crew_after_ms(INT64_MIN).ns, 0);
}

TEST(after_ms_counts_in_milliseconds)
{
    static const int64_t durations[] = {0, 1, 1000, INT64_C(86400000)};
    for (size_t i = 0; i < sizeof durations / sizeof *durations; ++i) {
        int64_t before = test_now_ns();
        check_from_now(crew_after_ms(durations[i]), before, durations[i] * 1000000);
    }
}

TEST(after_ms_saturates_at_forever)
{
    CHECK_EQ(crew_after_ms(INT64_MAX).ns, INT64_MAX);
    CHECK_EQ(crew_after_ms(INT64_MAX / 1000000 + 1).ns, INT64_MAX);
    CHECK_EQ(crew_after_ms(INT64_MAX / 1000000).ns, INT64_MAX); /* fits in nanoseconds, but not from now on */
}

/* ---- statuses ---- */

/* The numbers are part of the binary interface: this table may only grow. */
static const struct {
    crew_status status;
    int number;
    const char *name;
} statuses[] = {
    {CREW_OK, 0, "CREW_OK"},
    {CREW_FAILED, 1, "CREW_FAILED"},
    {CREW_CANCELLED, 2, "CREW_CANCELLED"},
    {CREW_TERMINATED, 3, "CREW_TERMINATED"},
    {CREW_BROKEN, 4, "CREW_BROKEN"},
    {CREW_WORKER_LOST, 5, "CREW_WORKER_LOST"},
    {CREW_TIMEOUT, 16, "CREW_TIMEOUT"},
    {CREW_END, 17, "CREW_END"},
    {CREW_FULL, 18, "CREW_FULL"},
    {CREW_BUSY, 19, "CREW_BUSY"},
    {CREW_INVALID, 32, "CREW_INVALID"},
    {CREW_CLOSED, 33, "CREW_CLOSED"},
    {CREW_DEADLOCK, 34, "CREW_DEADLOCK"},
    {CREW_TOO_DEEP, 35, "CREW_TOO_DEEP"},
    {CREW_NO_MEMORY, 36, "CREW_NO_MEMORY"},
    {CREW_NO_RESOURCE, 37, "CREW_NO_RESOURCE"},
    {CREW_FORKED, 38, "CREW_FORKED"},
    {CREW_SOURCE_FAILED, 39, "CREW_SOURCE_FAILED"},
};
enum { STATUSES = sizeof statuses / sizeof *statuses };

TEST(statuses_have_their_numbers_and_names)
{
    for (size_t i = 0; i < STATUSES; ++i) {
        CHECK_EQ(statuses[i].status, statuses[i].number);
        CHECK_STRING(crew_status_name(statuses[i].status), statuses[i].name);
    }
}

static bool is_status(int number)
{
    for (size_t i = 0; i < STATUSES; ++i)
        if (statuses[i].number == number)
            return true;
    return false;
}

TEST(numbers_that_are_no_status_have_a_name_too)
{
    for (int number = -100; number < 1000; ++number)
        if (!is_status(number))
            CHECK_STRING(crew_status_name((crew_status)number), "CREW_?");
    CHECK_STRING(crew_status_name((crew_status)INT_MAX), "CREW_?");
    CHECK_STRING(crew_status_name((crew_status)INT_MIN), "CREW_?");
}

TEST(outcomes_are_the_statuses_below_16)
{
    for (size_t i = 0; i < STATUSES; ++i)
        CHECK_EQ(CREW_IS_OUTCOME(statuses[i].status), statuses[i].number < 16);
    CHECK(CREW_IS_OUTCOME(CREW_WORKER_LOST)); /* the last there is, */
    CHECK(CREW_IS_OUTCOME((crew_status)15));  /* the last there can be, */
    CHECK(!CREW_IS_OUTCOME(CREW_TIMEOUT));    /* and what comes then */
}

/* ---- version ---- */

TEST(library_and_headers_are_of_the_same_version)
{
    CHECK_EQ(crew_version(), CREW_VERSION);
    CHECK_EQ(crew_version() >> 16, CREW_VERSION_MAJOR);
    CHECK_EQ(crew_version() >> 8 & 0xff, CREW_VERSION_MINOR);
    CHECK_EQ(crew_version() & 0xff, CREW_VERSION_PATCH);
}
