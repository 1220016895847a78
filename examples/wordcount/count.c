/* SPDX-License-Identifier: MIT */
/* Counts the words of one file, read block by block. What cannot be read is a result like any other: it carries its path
 * and its reason to the consumer, so that one thread says it all. */
#define _DEFAULT_SOURCE
#include "count.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "words.h"

enum { BLOCK_SIZE = 64 * 1024 };

void count_drop(void *data, void *unused)
{
    struct count *count = data;

    (void)unused;
    free(count->path);
    table_free(&count->words);
}

static ssize_t read_block(int descriptor, unsigned char *block)
{
    ssize_t size;

    do
        size = read(descriptor, block, BLOCK_SIZE);
    while (size < 0 && errno == EINTR);
    return size;
}

/* 0, or the errno of what went wrong: ENOMEM and ECANCELED are not the file's fault. */
static int count_blocks(int descriptor, struct count *count, struct count_shared *shared)
{
    unsigned char block[BLOCK_SIZE];
    struct word_counter counter = {.table = &count->words};
    ssize_t size;

    while ((size = read_block(descriptor, block)) > 0) {
        if (crew_should_stop())
            return ECANCELED;
        if (!words_of_block(&counter, block, (size_t)size))
            return ENOMEM;
        count->bytes += (uint64_t)size;
        atomic_fetch_add_explicit(&shared->bytes_read, (uint64_t)size, memory_order_relaxed);
    }
    if (size < 0)
        return errno;
    return words_end(&counter) ? 0 : ENOMEM;
}

static int count_file(const struct entry *entry, struct count *count, struct count_shared *shared)
{
    int descriptor = entry_open(entry), error;

    if (descriptor < 0)
        return errno;
    error = count_blocks(descriptor, count, shared);
    close(descriptor);
    return error;
}

static void make_unreadable(struct count *count, int error)
{
    table_free(&count->words);
    count->kind = ENTRY_UNREADABLE;
    count->error = error;
    count->bytes = 0;
}

static bool is_worth_a_message(enum entry_kind kind)
{
    return kind != ENTRY_FILE && kind != ENTRY_LINK && kind != ENTRY_DANGLING;
}

CREW_JOB_DROPS(count_entry, struct entry, struct count, entry_drop, count_drop)
{
    int error = 0;

    *result = (struct count){.kind = arg->kind, .error = arg->error};
    if (arg->kind == ENTRY_FILE && crew_should_stop())
        return crew_fail(ECANCELED, "interrupted");
    if (arg->kind == ENTRY_FILE)
        error = count_file(arg, result, context);
    if (error != 0)
        make_unreadable(result, error);
    if (error == ECANCELED)
        return crew_fail(error, "interrupted");
    if (error == ENOMEM || (is_worth_a_message(result->kind) && !(result->path = entry_path(arg))))
        return crew_fail(ENOMEM, "%s: out of memory", arg->name);
    return 0;
}

const crew_job *const count_job = &count_entry;
