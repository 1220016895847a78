/* SPDX-License-Identifier: MIT */
/* Messages and the progress line. */
#define _DEFAULT_SOURCE
#include "notice.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool line_is_shown;

void print_escaped(FILE *stream, const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < length; i++)
        if (byte[i] >= ' ' && byte[i] <= '~')
            putc(byte[i], stream);
        else
            fprintf(stream, "\\x%02x", byte[i]);
}

void notice(const char *format, ...)
{
    va_list arguments;

    progress_wipe();
    fputs("wordcount: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    putc('\n', stderr);
}

void notice_about(const char *path, const char *what)
{
    progress_wipe();
    fputs("wordcount: ", stderr);
    print_escaped(stderr, path, strlen(path));
    fprintf(stderr, ": %s\n", what);
}

bool progress_wanted(void)
{
    static int answer = -1;

    if (answer < 0)
        answer = isatty(STDERR_FILENO);
    return answer > 0;
}

static bool is_time(void)
{
    static int64_t shown_ms = INT64_MIN / 2;
    struct timespec now;
    int64_t now_ms;

    clock_gettime(CLOCK_MONOTONIC, &now);
    now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (now_ms - shown_ms < 100)
        return false;
    shown_ms = now_ms;
    return true;
}

void progress_show(const char *doing, uint64_t files, uint64_t bytes)
{
    if (!progress_wanted() || !is_time())
        return;
    fprintf(stderr, "\r%s: %" PRIu64 " files, %.1f MB\033[K", doing, files, (double)bytes / 1e6);
    line_is_shown = true;
}

void progress_wipe(void)
{
    if (line_is_shown)
        fputs("\r\033[K", stderr);
    line_is_shown = false;
}
