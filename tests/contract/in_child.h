/* SPDX-License-Identifier: MIT */
/* Running a part of a test in a forked child. The including file asks for POSIX 2008 or GNU declarations. */
#ifndef CREW_TEST_IN_CHILD_H
#define CREW_TEST_IN_CHILD_H

#include "test.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

/* The wait status of a child. */
static inline int child_status(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) != child)
        CHECK_EQ(errno, EINTR);
    return status;
}

/* Runs `body` in a child that ends with 0 where body returns; gives its wait status. The alarm turns a hang of the
 * child into its death, so that no child is left behind. */
static inline int run_in_child(void (*body)(void *arg), void *arg)
{
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)alarm(test_under_sanitizer() ? 50 : 15);
        body(arg);
        _exit(0);
    }
    return child_status(child);
}

/* The same where every check inside must hold. */
static inline void check_in_child(void (*body)(void *arg), void *arg)
{
    int status = run_in_child(body, arg);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

#endif
