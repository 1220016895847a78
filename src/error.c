/* SPDX-License-Identifier: MIT */
/* Statuses, errors, deadlines. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

const char *crew_status_name(crew_status status)
{
    switch (status) {
#define NAME(status) \
    case status: return #status
        NAME(CREW_OK);
        NAME(CREW_FAILED);
        NAME(CREW_CANCELLED);
        NAME(CREW_TERMINATED);
        NAME(CREW_BROKEN);
        NAME(CREW_WORKER_LOST);
        NAME(CREW_TIMEOUT);
        NAME(CREW_END);
        NAME(CREW_FULL);
        NAME(CREW_BUSY);
        NAME(CREW_INVALID);
        NAME(CREW_CLOSED);
        NAME(CREW_DEADLOCK);
        NAME(CREW_TOO_DEEP);
        NAME(CREW_NO_MEMORY);
        NAME(CREW_NO_RESOURCE);
        NAME(CREW_FORKED);
        NAME(CREW_SOURCE_FAILED);
#undef NAME
    }
    return "CREW_?";
}

void crewi_text_copy(char *destination, size_t size, const char *text)
{
    size_t length = text ? strlen(text) : 0;
    length = length < size ? length : size - 1;
    if (length > 0)
        memcpy(destination, text, length); /* NOLINT(bugprone-not-null-terminated-result): the next line ends it */
    memset(destination + length, 0, size - length);
}

static void error_blank(crew_error *error, crew_status status)
{
    memset(error, 0, sizeof *error);
    error->status = status;
    error->worker = -1;
}

crew_status crewi_refuse(crew_error *error, crew_status status, const char *format, ...)
{
    if (error) {
        error_blank(error, status);
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

static const char *error_default_message(crew_status status)
{
    switch (status) {
    case CREW_CANCELLED: return "cancelled before it started";
    case CREW_TERMINATED: return "the pool was terminated before it started";
    case CREW_BROKEN: return "the pool broke before it started";
    case CREW_WORKER_LOST: return "the thread that ran it has ended";
    case CREW_TIMEOUT: return "the deadline passed";
    case CREW_END: return "there are no more items";
    case CREW_DEADLOCK: return "the wait would never end: what it waits for waits for the waiter";
    case CREW_TOO_DEEP: return "the wait could not be served: no stack is left to help on, and no thread to stand in";
    case CREW_NO_MEMORY: return "out of memory";
    case CREW_FORKED: return "the pool belongs to the parent process";
    default: return "";
    }
}

void crewi_error_from_frame(crew_error *error, crew_status status, int code, const crewi_frame *frame,
                            const crew_job *job)
{
    error_blank(error, status);
    error->code = code;
    error->index = frame ? frame->index : 0;
    error->worker = frame ? frame->worker : -1;
    crewi_text_copy(error->job, sizeof error->job, job ? job->name : NULL);
    bool has_message = frame && (frame->notes & CREWI_NOTE_MESSAGE) && status == CREW_FAILED;
    crewi_text_copy(error->message, sizeof error->message,
                    has_message ? frame->message : error_default_message(status));
}

crew_deadline crew_after_ns(int64_t ns)
{
    if (ns < 0)
        return CREW_NOW;
    int64_t now = crewi_clock_now_ns();
    return (crew_deadline){ns > INT64_MAX - now ? INT64_MAX : now + ns};
}

unsigned crew_version(void)
{
    return CREW_VERSION;
}
