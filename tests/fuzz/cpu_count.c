/* SPDX-License-Identifier: MIT */
/* Fuzzes all text that the library reads: CREW_CPU_COUNT, and the files of /proc and of the cgroup file system. An input is a tree of files
 * like those in tests/unit/cpu_count, which are its corpus: "== path", then the lines of that file. The path CREW_CPU_COUNT is the
 * variable. The library's calls of stdio are led to these files, which stay in memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "harness/test.h"

static FILE *tree_fopen(const char *path, const char *mode);
static int tree_fclose(FILE *file);

#define fopen tree_fopen
#define fclose tree_fclose
#include "crewpool_all.c"
#undef fopen
#undef fclose

/* ---- the tree ---- */

enum { FILES_MAX = 64 };

struct file {
    const char *path; /* without slashes at its front */
    char *text;
    size_t size;
};

static struct {
    struct file files[FILES_MAX];
    size_t count;
    const char *in_front; /* of /proc/self/cgroup: more lines */
    char *joined;
    int open;
} tree;

/* The system takes any number of slashes for one. */
static bool path_is(const char *path, const char *name)
{
    while (*path == '/')
        path++;
    for (; *path != '\0' && *path == *name; name++) {
        bool is_slash = *path == '/';
        path++;
        while (is_slash && *path == '/')
            path++;
    }
    return *path == *name;
}

static const struct file *tree_find(const char *path)
{
    for (size_t i = 0; i < tree.count; i++)
        if (path_is(path, tree.files[i].path))
            return &tree.files[i];
    return NULL;
}

static FILE *tree_fopen(const char *path, const char *mode)
{
    CHECK_STRING(mode, "re");
    const struct file *file = tree_find(path);
    if (file == NULL) {
        errno = ENOENT;
        return NULL;
    }
    struct file found = *file;
    if (tree.in_front != NULL && strcmp(found.path, "proc/self/cgroup") == 0) {
        size_t length = strlen(tree.in_front);
        tree.joined = realloc(tree.joined, length + found.size + 1);
        memcpy(tree.joined, tree.in_front, length);
        memcpy(tree.joined + length, found.text, found.size);
        found.text = tree.joined;
        found.size += length;
    }
    FILE *stream = fmemopen(found.text, found.size, "r");
    tree.open += stream != NULL;
    return stream;
}

static int tree_fclose(FILE *file)
{
    tree.open--;
    return fclose(file);
}

/* Takes the text apart, in place. */
static void tree_read(char *text, char *end)
{
    tree.count = 0;
    for (char *line = text; line < end;) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        char *next = newline != NULL ? newline + 1 : end;
        if (newline != NULL && newline - line > 3 && memcmp(line, "== ", 3) == 0 && tree.count < FILES_MAX) {
            *newline = '\0';
            tree.files[tree.count++] = (struct file){line + 3, next, 0};
        } else if (tree.count > 0) {
            tree.files[tree.count - 1].size += (size_t)(next - line);
        }
        line = next;
    }
}

/* ---- what must be true of the answers ---- */

static void check_quotas(void)
{
    unsigned limit = crewi_cpu_count_from("", UINT_MAX);
    const unsigned affinities[] = {0, 1, 2, 8, CREW_WORKERS_MAX};
    CHECK(limit >= 1);
    for (size_t i = 0; i < sizeof affinities / sizeof affinities[0]; i++) {
        unsigned least = affinities[i] < limit ? affinities[i] : limit;
        CHECK_EQ(crewi_cpu_count_from("", affinities[i]), least > 0 ? least : 1);
    }
    tree.in_front = "99:memory:/\n99:cpuset,cpuacct:/..\nnothing\n"; /* nothing of it is about CPU time */
    CHECK_EQ(crewi_cpu_count_from("", UINT_MAX), limit);
    tree.in_front = NULL;
    CHECK_EQ(tree.open, 0);
}

static void check_system(void)
{
    unsigned count = 0, again = 0, affinity = cpu_count_affinity();
    CHECK_EQ(unsetenv("CREW_CPU_COUNT"), 0);
    errno = EXDEV;
    CHECK_STATUS(crew_cpu_count(&count, NULL), CREW_OK);
    CHECK_STATUS(crew_cpu_count(&again, NULL), CREW_OK);
    CHECK_EQ(errno, EXDEV);
    CHECK(count >= 1 && count <= affinity);
    CHECK_EQ(again, count);
    CHECK_EQ(tree.open, 0);
}

/* Told in another way than the library does; 0: to be refused. */
static unsigned wish_expected(const char *wish)
{
    size_t length = strlen(wish);
    if (length == 0 || strspn(wish, "0123456789") != length)
        return 0;
    while (*wish == '0')
        wish++;
    unsigned long number = strlen(wish) <= 4 ? strtoul(wish, NULL, 10) : 0;
    return number <= CREW_WORKERS_MAX ? (unsigned)number : 0;
}

static void check_wish(const struct file *file)
{
    char *wish = strndup(file->text, file->size);
    unsigned count = 77, expected = wish_expected(wish);
    crew_error error = {.status = CREW_OK};
    CHECK_EQ(setenv("CREW_CPU_COUNT", wish, 1), 0);
    crew_status status = crew_cpu_count(&count, &error);
    CHECK_STATUS(status, expected > 0 ? CREW_OK : CREW_INVALID);
    CHECK_EQ(count, expected > 0 ? expected : 77);
    CHECK_STATUS(error.status, status);
    if (status != CREW_OK)
        CHECK(memchr(error.message, '\0', sizeof error.message) != NULL && strstr(error.message, "CREW_CPU_COUNT"));
    free(wish);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* of its own, so that a byte too far is seen */
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    tree_read(text, text + size);
    check_quotas();
    check_system();
    const struct file *wish = tree_find("CREW_CPU_COUNT");
    if (wish != NULL)
        check_wish(wish);
    free(tree.joined);
    tree.joined = NULL;
    free(text);
    return 0;
}
