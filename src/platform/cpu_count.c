/* SPDX-License-Identifier: MIT */
/* How many CPUs this process may use: its affinity, its cgroups' quotas (v1 and v2), and CREW_CPU_COUNT over both. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

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

#include "cpu_count.h"

/* ---- quotas: limits are in whole CPUs, UINT64_MAX where there is none ---- */

/* A directory of a cgroup file system: <root><mount><the first `length` bytes of `below`>. */
struct cgroup_directory {
    const char *root, *mount, *below;
    size_t length;
};

/* Reads the first line of a file in `directory`. A path too long for the buffer is too long for the kernel, too. */
static bool cgroup_read(const struct cgroup_directory *directory, const char *name, char *text, int size)
{
    char path[PATH_MAX];
    if (directory->length >= sizeof path)
        return false;
    int length = snprintf(path, sizeof path, "%s%s%.*s/%s", directory->root, directory->mount, (int)directory->length,
                          directory->below, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return false;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool complete = fgets(text, size, file) != NULL;
    (void)fclose(file);
    return complete;
}

/* The positive decimal number at *text, which moves behind it and the byte `end` that must follow it.
 * 0: there is no such number, or it does not fit. */
static uint64_t cpu_count_number(const char **text, char end)
{
    uint64_t number = 0;
    for (; **text >= '0' && **text <= '9'; ++*text) {
        uint64_t digit = (uint64_t)(**text - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return 0;
        number = number * 10 + digit;
    }
    if (**text != end)
        return 0;
    ++*text;
    return number;
}

static uint64_t cgroup_round_up(uint64_t quota, uint64_t period)
{
    return quota == 0 || period == 0 ? UINT64_MAX : quota / period + (quota % period != 0);
}

/* cpu.max is "<quota or max> <period>". */
static uint64_t cgroup_limit_v2(const struct cgroup_directory *directory)
{
    char text[64];
    if (!cgroup_read(directory, "cpu.max", text, sizeof text))
        return UINT64_MAX;
    const char *at = text;
    uint64_t quota = cpu_count_number(&at, ' ');
    return cgroup_round_up(quota, cpu_count_number(&at, '\n'));
}

static uint64_t cgroup_read_number(const struct cgroup_directory *directory, const char *name)
{
    char text[64];
    const char *at = text;
    return cgroup_read(directory, name, text, sizeof text) ? cpu_count_number(&at, '\n') : 0;
}

/* A quota of -1 is none, and no positive number either. */
static uint64_t cgroup_limit_v1(const struct cgroup_directory *directory)
{
    return cgroup_round_up(cgroup_read_number(directory, "cpu.cfs_quota_us"),
                           cgroup_read_number(directory, "cpu.cfs_period_us"));
}

/* The tightest limit from `directory` up to the mount point: each level's quota bounds all that is below it. */
static uint64_t cgroup_limit_upwards(struct cgroup_directory directory, bool unified)
{
    uint64_t tightest = UINT64_MAX;
    for (;;) {
        uint64_t limit = unified ? cgroup_limit_v2(&directory) : cgroup_limit_v1(&directory);
        if (limit < tightest)
            tightest = limit;
        if (directory.length == 0)
            return tightest;
        do
            --directory.length;
        while (directory.length > 0 && directory.below[directory.length] != '/');
    }
}

/* ---- where quotas are: /proc/self/cgroup names the cgroups, /proc/self/mountinfo tells where they can be seen ---- */

/* One of the process's cgroups, and the tightest limit found for any of them. */
struct cgroup_search {
    const char *root;
    const char *path; /* from the root of the cgroup namespace; begins with "/.." where it lies outside of it */
    bool unified;     /* v2 */
    uint64_t limit;
};

/* Calls `visit` with each line of a file, without its newline. A file that cannot be read has none. */
static void cpu_count_each_line(const char *root, const char *name, void (*visit)(char *line, struct cgroup_search *),
                                struct cgroup_search *search)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s%s", root, name);
    FILE *file = length < 0 || (size_t)length >= sizeof path ? NULL : fopen(path, "re");
    if (!file)
        return;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        visit(line, search);
    }
    free(line);
    (void)fclose(file);
}

/* Whether `word` is in a list separated by commas; takes the list apart. */
static bool cgroup_list_has(char *list, const char *word)
{
    const char *item;
    do
        item = strsep(&list, ",");
    while (item && strcmp(item, word) != 0);
    return item != NULL;
}

static bool cgroup_is_octal(const char *text)
{
    return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' && text[2] >= '0' && text[2] <= '7';
}

/* Turns mountinfo's \040 and its like back into the bytes they stand for, in place. */
static void cgroup_unescape(char *text)
{
    char *to = text;
    while (*text != '\0') {
        if (*text == '\\' && cgroup_is_octal(text + 1)) {
            *to++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
            text += 4;
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

/* The length of the "/.." at the front of a path, all together. */
static size_t cgroup_climb(const char *path)
{
    size_t length = 0;
    while (strncmp(path + length, "/..", 3) == 0 && (path[length + 3] == '/' || path[length + 3] == '\0'))
        length += 3;
    return length;
}

/* The rest of `path` below the cgroup that is a mount's root; NULL where it is not below it. */
static const char *cgroup_below(const char *path, const char *mount_root)
{
    size_t length = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    if (strncmp(path, mount_root, length) == 0 && (path[length] == '/' || path[length] == '\0'))
        return cgroup_climb(path + length) == 0 ? path + length : NULL;
    /* A root like "/../.." is an ancestor of all that is less far up. The names in between cannot be known: of that way
     * only the upper end can be read. */
    size_t climb = cgroup_climb(mount_root);
    return mount_root[climb] == '\0' && climb > cgroup_climb(path) ? "" : NULL;
}

/* A line of mountinfo: id, parent, device, root, mount point, options, any tags, "-", type, source, options. */
struct cgroup_mount {
    char *root, *point, *options;
    const char *type;
};

/* Takes a line apart; false where that is not possible. */
static bool cgroup_parse_mount(char *line, struct cgroup_mount *ret_mount)
{
    for (int skipped = 0; skipped < 3; ++skipped)
        (void)strsep(&line, " ");
    ret_mount->root = strsep(&line, " ");
    ret_mount->point = strsep(&line, " ");
    const char *tag;
    do
        tag = strsep(&line, " ");
    while (tag && strcmp(tag, "-") != 0);
    ret_mount->type = strsep(&line, " ");
    (void)strsep(&line, " ");
    ret_mount->options = strsep(&line, " ");
    return ret_mount->options != NULL;
}

/* Whether this is the hierarchy that rations CPU time: the unified one, or that of v1's controller "cpu". */
static bool cgroup_mount_matters(const struct cgroup_mount *mount, bool unified)
{
    if (unified)
        return strcmp(mount->type, "cgroup2") == 0;
    return strcmp(mount->type, "cgroup") == 0 && cgroup_list_has(mount->options, "cpu");
}

static void cgroup_visit_mount(char *line, struct cgroup_search *search)
{
    struct cgroup_mount mount;
    if (!cgroup_parse_mount(line, &mount) || !cgroup_mount_matters(&mount, search->unified))
        return;
    cgroup_unescape(mount.root);
    cgroup_unescape(mount.point);
    const char *below = cgroup_below(search->path, mount.root);
    if (!below)
        return;
    struct cgroup_directory directory = {search->root, mount.point, below, strlen(below)};
    uint64_t limit = cgroup_limit_upwards(directory, search->unified);
    if (limit < search->limit)
        search->limit = limit;
}

/* A line of /proc/self/cgroup: "<id>:<controllers>:<path>", for v2 "0::<path>". */
static void cgroup_visit_membership(char *line, struct cgroup_search *search)
{
    const char *id = strsep(&line, ":");
    char *controllers = strsep(&line, ":");
    if (!line)
        return;
    search->unified = strcmp(id, "0") == 0 && *controllers == '\0';
    search->path = line;
    if (search->unified || cgroup_list_has(controllers, "cpu"))
        cpu_count_each_line(search->root, "/proc/self/mountinfo", cgroup_visit_mount, search);
}

unsigned crewi_cpu_count_from(const char *root, unsigned affinity)
{
    struct cgroup_search search = {root, NULL, false, UINT64_MAX};
    cpu_count_each_line(root, "/proc/self/cgroup", cgroup_visit_membership, &search);
    unsigned count = search.limit < affinity ? (unsigned)search.limit : affinity;
    return count > 0 ? count : 1;
}

/* ---- affinity ---- */

/* 0: the kernel's masks are longer than that, or it does not tell. */
static unsigned cpu_count_affinity_among(int cpus)
{
    cpu_set_t *set = CPU_ALLOC((size_t)cpus);
    size_t size = CPU_ALLOC_SIZE((size_t)cpus);
    unsigned count = 0;
    if (set && sched_getaffinity(0, size, set) == 0)
        count = (unsigned)CPU_COUNT_S(size, set);
    CPU_FREE(set);
    return count;
}

/* Of the calling thread: the one whose affinity new threads inherit. */
static unsigned cpu_count_affinity(void)
{
    for (int cpus = CPU_SETSIZE; cpus <= 1024 * CPU_SETSIZE; cpus *= 2) {
        unsigned count = cpu_count_affinity_among(cpus);
        if (count > 0)
            return count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

/* ---- the public function ---- */

/* Reading files is a cancellation point, which no function of this library may be, and changes errno, the user's. */
static unsigned cpu_count_usable(void)
{
    int cancel_state, kept = errno;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    unsigned count = crewi_cpu_count_from("", cpu_count_affinity());
    (void)pthread_setcancelstate(cancel_state, NULL);
    errno = kept;
    return count;
}

static CREW_PRINTF(2, 3) crew_status cpu_count_refuse(crew_error *ret_error, const char *format, ...)
{
    if (!ret_error)
        return CREW_INVALID;
    *ret_error = (crew_error){.status = CREW_INVALID, .worker = -1};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(ret_error->message, sizeof ret_error->message, format, arguments);
    va_end(arguments);
    return CREW_INVALID;
}

crew_status crew_cpu_count(unsigned *ret_count, crew_error *ret_error)
{
    if (!ret_count)
        return cpu_count_refuse(ret_error, "ret_count is NULL");
    /* As everywhere, nobody may change the environment meanwhile. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    const char *wish = getenv("CREW_CPU_COUNT");
    if (!wish) {
        *ret_count = cpu_count_usable();
        return CREW_OK;
    }
    const char *at = wish;
    uint64_t count = cpu_count_number(&at, '\0');
    if (count == 0 || count > CREWI_CPU_COUNT_MAX)
        return cpu_count_refuse(ret_error, "CREW_CPU_COUNT is \"%.64s\", not a number from 1 to %d", wish,
                                CREWI_CPU_COUNT_MAX);
    *ret_count = (unsigned)count;
    return CREW_OK;
}
