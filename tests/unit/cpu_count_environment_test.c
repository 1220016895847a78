/* SPDX-License-Identifier: MIT */
/* crew_cpu_count itself: this machine, the affinity of the thread, CREW_CPU_COUNT. (Quotas are in cpu_count_test.c.) */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../src/platform/cpu_count.h"
#include "../harness/test.h"

_Static_assert((int)CREWI_CPU_COUNT_MAX == (int)CREW_WORKERS_MAX, "the limit of CREW_CPU_COUNT is that of workers");

/* Counts, without CREW_CPU_COUNT, on this machine. */
static unsigned counted_here(void)
{
    unsigned count = 0;
    (void)unsetenv("CREW_CPU_COUNT");
    CHECK_STATUS(crew_cpu_count(&count, NULL), CREW_OK);
    return count;
}

TEST(counting_keeps_errno)
{
    errno = ETXTBSY;
    (void)counted_here();
    CHECK_EQ(errno, ETXTBSY);
}

static void *count_while_cancelled(void *count)
{
    (void)pthread_cancel(pthread_self());
    CHECK_STATUS(crew_cpu_count(count, NULL), CREW_OK);
    pthread_testcancel();
    return NULL;
}

TEST(counting_is_no_cancellation_point)
{
    unsigned count = 0;
    pthread_t thread;
    void *end = NULL;
    (void)unsetenv("CREW_CPU_COUNT");
    CHECK_EQ(pthread_create(&thread, NULL, count_while_cancelled, &count), 0);
    CHECK_EQ(pthread_join(thread, &end), 0);
    CHECK(count > 0);               /* it came back */
    CHECK(end == PTHREAD_CANCELED); /* and the cancellation is as it was */
}

/* ---- affinity ---- */

/* Leaves this thread its first CPU only; returns how many it had. */
static unsigned pin_to_one_cpu(void)
{
    cpu_set_t all, one;
    CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    size_t first = 0;
    while (!CPU_ISSET(first, &all))
        ++first;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    return (unsigned)CPU_COUNT(&all);
}

TEST(affinity_narrows_the_count)
{
    unsigned before = counted_here(), allowed = pin_to_one_cpu();
    CHECK(before >= 1 && before <= allowed);
    CHECK_EQ(counted_here(), 1);
}

/* From now on sched_getaffinity fails with `error` for masks of less than `size` bytes, as if there were more CPUs. */
static void refuse_masks_below(unsigned size, unsigned error)
{
    const unsigned low_half = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_getaffinity, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + low_half),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, size, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        test_skip("no seccomp here");
}

TEST(affinity_masks_of_any_length_are_read)
{
    (void)pin_to_one_cpu();
    refuse_masks_below(1000, EINVAL);
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) != 0); /* the usual mask does not do */
    CHECK_EQ(counted_here(), 1);
}

TEST(count_without_an_affinity_is_that_of_the_machine)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    refuse_masks_below(UINT_MAX, EPERM);
    unsigned count = counted_here();
    CHECK(count >= 1 && (long)count <= online);
}

/* ---- CREW_CPU_COUNT ---- */

TEST(environment_overrides_the_count)
{
    static const struct {
        const char *value;
        unsigned count;
    } cases[] = {{"1", 1}, {"3", 3}, {"64", 64}, {"4096", 4096}, {"007", 7}, {"000000000000000000000012", 12}};
    crew_error error, before;
    memset(&error, 0x5a, sizeof error);
    before = error;
    (void)pin_to_one_cpu();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        unsigned count = 0;
        CHECK_EQ(setenv("CREW_CPU_COUNT", cases[i].value, 1), 0);
        CHECK_STATUS(crew_cpu_count(&count, &error), CREW_OK);
        CHECK_EQ(count, cases[i].count);
    }
    CHECK(memcmp(&error, &before, sizeof error) == 0); /* nobody writes an error on success */
}

/* Every member of an error about this call, and a word that its message must have. */
static void check_invalid(const crew_error *error, const char *word)
{
    CHECK_STATUS(error->status, CREW_INVALID);
    CHECK_EQ(error->code, 0);
    CHECK_EQ(error->index, 0);
    CHECK_EQ(error->worker, -1);
    CHECK_STRING(error->job, "");
    CHECK(memchr(error->message, '\0', sizeof error->message) != NULL);
    CHECK(strstr(error->message, word) != NULL);
}

static void check_refused(const char *value)
{
    unsigned count = 77;
    crew_error error;
    memset(&error, 0x5a, sizeof error);
    CHECK_EQ(setenv("CREW_CPU_COUNT", value, 1), 0);
    if (crew_cpu_count(&count, &error) != CREW_INVALID || crew_cpu_count(&count, NULL) != CREW_INVALID)
        test_fail(__FILE__, __LINE__, "CREW_CPU_COUNT=\"%s\" is not refused", value);
    CHECK_EQ(count, 77);
    check_invalid(&error, "CREW_CPU_COUNT");
}

TEST(environment_that_is_no_count_is_refused)
{
    static const char *const values[] = {
        "",
        "0",
        "00",
        "4097",
        "x",
        "max",
        "-1",
        "+1",
        "-0",
        " 1",
        "1 ",
        "1\n",
        "\t1",
        "1x",
        "0x10",
        "1.5",
        "1e3",
        "1,2",
        "\357\274\221", /* a digit one, but no ASCII one */
        "4294967297",
        "18446744073709551616",
        "18446744073709551617",
        "99999999999999999999999999999999999",
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; ++i)
        check_refused(values[i]);
}

TEST(refusal_of_the_environment_quotes_its_value_and_cuts_a_long_one)
{
    static char value[10000];
    unsigned count = 77;
    crew_error error;
    CHECK_EQ(setenv("CREW_CPU_COUNT", "7 or so", 1), 0);
    CHECK_STATUS(crew_cpu_count(&count, &error), CREW_INVALID);
    CHECK_STRING(error.message, "CREW_CPU_COUNT is \"7 or so\", not a number from 1 to 4096");
    memset(value, '7', sizeof value - 1);
    check_refused(value);
}

TEST(count_without_a_place_for_it_is_refused)
{
    crew_error error;
    memset(&error, 0x5a, sizeof error);
    CHECK_STATUS(crew_cpu_count(NULL, &error), CREW_INVALID);
    check_invalid(&error, "ret_count");
    CHECK_STATUS(crew_cpu_count(NULL, NULL), CREW_INVALID);
}
