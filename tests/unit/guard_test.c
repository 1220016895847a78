/* SPDX-License-Identifier: MIT */
/* What crewi_thread_guard of the platform promises of a thread that ends in the midst of it. */
#include <pthread.h>
#include <string.h>

#include "../harness/test.h"
#include "platform/platform.h"

enum { DEEP = 64 * 1024, FRAME = 200 };

/* Frames with buffers, about which an address sanitizer keeps marks, until the thread ends in the deepest. */
static int cancel_beneath(int frames)
{
    volatile char buffer[FRAME] = {0};
    if (frames > 0)
        return cancel_beneath(frames - 1) + buffer[0];
    (void)pthread_cancel(pthread_self());
    pthread_testcancel();
    return buffer[0];
}

static void cancelled_body(void *unused)
{
    (void)unused;
    (void)cancel_beneath(DEEP / FRAME);
}

/* A frame that no sanitizer lays out, as those of a C library are: it is one with whatever marks are there. */
__attribute__((noinline, no_sanitize_address)) static void use_the_stack(void)
{
    char buffer[DEEP];
    memset(buffer, 1, sizeof buffer);
    CHECK_EQ(buffer[DEEP / 2], 1);
}

static void lost_uses_the_stack(void *is_lost)
{
    use_the_stack();
    *(bool *)is_lost = true;
}

static void run_guarded(void *is_lost)
{
    crewi_thread_guard(cancelled_body, lost_uses_the_stack, is_lost);
}

TEST(a_cancelled_thread_may_use_the_stack_again_where_its_frames_were)
{
    bool is_lost = false;
    test_thread_join(test_thread_start(run_guarded, &is_lost));
    CHECK(is_lost);
}
