/* SPDX-License-Identifier: MIT */
/* Processes that may have a few threads only. */
#ifndef CREW_TEST_LIMITED_H
#define CREW_TEST_LIMITED_H

#include "in_child.h"

#include <sys/resource.h>

/* Becomes a user whose every thread is counted, `threads` of them at most; only for a child, as there is no way back. */
static inline void limit_threads(rlim_t threads)
{
    enum { ANYONE = 61234 };
    const struct rlimit limit = {threads, threads};
    CHECK_EQ(setgid(ANYONE), 0);
    CHECK_EQ(setuid(ANYONE), 0);
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
}

/* Runs `body` in a child that may do that. */
static inline void check_with_limited_threads(void (*body)(void *), void *arg)
{
    if (geteuid() != 0)
        test_skip("only root can become a user without other threads");
    if (test_under_sanitizer())
        test_skip("a sanitizer needs threads of its own");
    check_in_child(body, arg);
}

#endif
