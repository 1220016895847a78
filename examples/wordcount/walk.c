/* SPDX-License-Identifier: MIT */
/* The walk: a stack of the directories from the root to where it is. A directory is read to its end first (entries are
 * handed out as they come, names of subdirectories kept), then its subdirectories are entered one by one. */
#define _DEFAULT_SOURCE
#include "walk.h"

#include <crewpool/crewpool.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "table.h"

enum { LEVELS_OPEN = 8 }; /* how many of the deepest levels keep their descriptor; any number from 2 on works */

/* An open directory, shared by the walk and by the entries found in it. */
struct directory {
    atomic_uint shares;
    DIR *stream;
    char *path;
};

struct pending {
    struct pending *next;
    char name[];
};

struct level {
    struct directory *directory; /* NULL: closed to save descriptors, opened again on the way up */
    struct pending *pending;     /* subdirectories still to be entered */
    dev_t device;
    ino_t inode;
    size_t path_length;
};

struct walk {
    char *const *roots;
    size_t roots_left;
    struct level *levels;
    size_t depth, capacity;
    bool reading;        /* the deepest level has not been read to its end */
    struct table walked; /* the directories entered, as the bytes of a struct identity */
};

struct identity {
    uint64_t device, inode;
};

/* What one step of the walk came to. */
enum step { STEP_ENTRY, STEP_ON, STEP_END, STEP_NO_MEMORY };

/* ---- directories ---- */

static char *path_join(const struct directory *directory, const char *name)
{
    const char *base = directory ? directory->path : "";
    size_t base_length = strlen(base), name_length = strlen(name);
    bool slash = base_length > 0 && name_length > 0 && base[base_length - 1] != '/';
    char *path = malloc(base_length + slash + name_length + 1);

    if (!path)
        return NULL;
    memcpy(path, base, base_length);
    if (slash)
        path[base_length] = '/';
    memcpy(path + base_length + slash, name, name_length + 1);
    return path;
}

/* Takes over `path`, which may be NULL where memory was out, and on success the descriptor. */
static struct directory *directory_new(int descriptor, char *path)
{
    struct directory *directory = malloc(sizeof *directory);
    DIR *stream = directory && path ? fdopendir(descriptor) : NULL;

    if (!stream) {
        free(path);
        free(directory);
        return NULL;
    }
    atomic_init(&directory->shares, 1);
    directory->stream = stream;
    directory->path = path;
    return directory;
}

/* NULL, with errno, when it cannot be opened. Only a root (without a parent) may be a symbolic link. */
static struct directory *directory_open(const struct directory *parent, const char *name)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (parent ? O_NOFOLLOW : 0);
    int descriptor = openat(parent ? dirfd(parent->stream) : AT_FDCWD, name, flags);
    struct directory *directory;

    if (descriptor < 0)
        return NULL;
    directory = directory_new(descriptor, path_join(parent, name));
    if (!directory)
        close(descriptor);
    return directory;
}

static struct directory *directory_share(struct directory *directory)
{
    if (directory)
        atomic_fetch_add_explicit(&directory->shares, 1, memory_order_relaxed);
    return directory;
}

static void directory_release(struct directory *directory)
{
    if (!directory || atomic_fetch_sub_explicit(&directory->shares, 1, memory_order_acq_rel) > 1)
        return;
    closedir(directory->stream);
    free(directory->path);
    free(directory);
}

/* ---- entries ---- */

static enum step found(struct entry *entry, struct directory *directory, const char *name, enum entry_kind kind)
{
    *entry = (struct entry){.name = strdup(name), .kind = kind};
    if (!entry->name)
        return STEP_NO_MEMORY;
    entry->directory = directory_share(directory);
    return STEP_ENTRY;
}

static enum step found_unreadable(struct entry *entry, struct directory *directory, const char *name, int error)
{
    enum step step = found(entry, directory, name, ENTRY_UNREADABLE);

    entry->error = error;
    return step;
}

void entry_drop(void *data, void *unused)
{
    struct entry *entry = data;

    (void)unused;
    directory_release(entry->directory);
    free(entry->name);
}

char *entry_path(const struct entry *entry)
{
    return path_join(entry->directory, entry->name);
}

/* What became something else since it was found must neither block the open nor be read. */
int entry_open(const struct entry *entry)
{
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int descriptor = openat(dirfd(entry->directory->stream), entry->name, flags);
    struct stat status;

    if (descriptor < 0)
        return -1;
    if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode))
        return descriptor;
    close(descriptor);
    errno = ESTALE;
    return -1;
}

/* ---- going down and up ---- */

static bool make_room(struct walk *walk)
{
    size_t capacity = walk->capacity ? walk->capacity * 2 : 16;
    struct level *levels;

    if (walk->depth < walk->capacity)
        return true;
    levels = realloc(walk->levels, capacity * sizeof *levels);
    if (!levels)
        return false;
    walk->levels = levels;
    walk->capacity = capacity;
    return true;
}

static void close_level(struct level *level)
{
    directory_release(level->directory);
    level->directory = NULL;
}

/* Makes a directory the deepest level, to be read next. Takes it over on success. */
static bool push(struct walk *walk, struct directory *directory, const struct stat *status)
{
    if (!make_room(walk))
        return false;
    walk->levels[walk->depth++] =
        (struct level){directory, NULL, status->st_dev, status->st_ino, strlen(directory->path)};
    if (walk->depth > LEVELS_OPEN)
        close_level(&walk->levels[walk->depth - 1 - LEVELS_OPEN]);
    walk->reading = true;
    return true;
}

/* How often this directory has come by, this time included; 0: out of memory. */
static uint64_t visits(struct walk *walk, const struct stat *status)
{
    struct identity identity = {(uint64_t)status->st_dev, (uint64_t)status->st_ino};
    const struct word *word = table_add(&walk->walked, &identity, sizeof identity, 1);

    return word ? word->count : 0;
}

static enum step enter(struct walk *walk, struct directory *parent, const char *name, struct entry *entry)
{
    struct directory *directory = directory_open(parent, name);
    struct stat status;
    uint64_t visit;

    if (!directory)
        return found_unreadable(entry, parent, name, errno);
    visit = fstat(dirfd(directory->stream), &status) == 0 ? visits(walk, &status) : 0;
    if (visit == 1 && push(walk, directory, &status))
        return STEP_ON;
    directory_release(directory);
    return visit > 1 ? found(entry, parent, name, ENTRY_AGAIN) : STEP_NO_MEMORY;
}

static void forget_pending(struct level *level)
{
    for (struct pending *pending = level->pending, *next; pending; pending = next) {
        next = pending->next;
        free(pending);
    }
}

static void pop(struct walk *walk)
{
    struct level *level = &walk->levels[--walk->depth];

    close_level(level);
    forget_pending(level);
}

/* Opens a level again that was closed to save descriptors, by way of its child; false, with errno, if it cannot be, or if
 * the child has been moved to another place meanwhile. */
static bool reopen(struct level *level, const struct directory *child)
{
    int descriptor = openat(dirfd(child->stream), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat status;

    if (descriptor < 0)
        return false;
    errno = ESTALE;
    if (fstat(descriptor, &status) == 0 && status.st_dev == level->device && status.st_ino == level->inode)
        level->directory = directory_new(descriptor, strndup(child->path, level->path_length));
    if (!level->directory)
        close(descriptor);
    return level->directory != NULL;
}

/* Leaves the deepest level. Where there is no way up, the rest of this root is given up, and that is said. */
static enum step leave(struct walk *walk, struct entry *entry)
{
    struct directory *child = walk->levels[walk->depth - 1].directory;
    struct level *parent = walk->depth > 1 ? &walk->levels[walk->depth - 2] : NULL;
    enum step step = STEP_ON;

    if (parent && !parent->directory && !reopen(parent, child)) {
        step = found_unreadable(entry, child, "..", errno);
        while (walk->depth > 1)
            pop(walk);
    }
    pop(walk);
    return step;
}

/* ---- reading a directory ---- */

static enum step keep_for_later(struct level *level, const char *name)
{
    size_t size = strlen(name) + 1;
    struct pending *pending = malloc(sizeof *pending + size);

    if (!pending)
        return STEP_NO_MEMORY;
    memcpy(pending->name, name, size);
    pending->next = level->pending;
    level->pending = pending;
    return STEP_ON;
}

static bool lies_on_the_way(const struct walk *walk, const struct stat *status)
{
    for (size_t i = 0; i < walk->depth; i++)
        if (walk->levels[i].device == status->st_dev && walk->levels[i].inode == status->st_ino)
            return true;
    return false;
}

static enum entry_kind kind_of_link(const struct walk *walk, int descriptor, const char *name)
{
    struct stat target;

    if (fstatat(descriptor, name, &target, 0) != 0)
        return errno == ELOOP ? ENTRY_LOOP : errno == ENOENT || errno == ENOTDIR ? ENTRY_DANGLING : ENTRY_LINK;
    return S_ISDIR(target.st_mode) && lies_on_the_way(walk, &target) ? ENTRY_LOOP : ENTRY_LINK;
}

static enum entry_kind kind_of(const struct walk *walk, int descriptor, const char *name, mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return ENTRY_FILE;
    case S_IFLNK: return kind_of_link(walk, descriptor, name);
    case S_IFIFO: return ENTRY_FIFO;
    case S_IFSOCK: return ENTRY_SOCKET;
    default: return ENTRY_DEVICE;
    }
}

/* The type bits of a name's mode, from the directory itself where the file system keeps them there; 0, with errno. */
static mode_t type_of(int descriptor, const struct dirent *item)
{
    struct stat status;

    if (item->d_type != DT_UNKNOWN)
        return (mode_t)DTTOIF(item->d_type);
    return fstatat(descriptor, item->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_mode & S_IFMT : 0;
}

static enum step classify(struct walk *walk, struct level *level, const struct dirent *item, struct entry *entry)
{
    int descriptor = dirfd(level->directory->stream);
    mode_t type = type_of(descriptor, item);

    if (type == 0)
        return found_unreadable(entry, level->directory, item->d_name, errno);
    if (S_ISDIR(type))
        return keep_for_later(level, item->d_name);
    return found(entry, level->directory, item->d_name, kind_of(walk, descriptor, item->d_name, type));
}

static enum step read_on(struct walk *walk, struct entry *entry)
{
    struct level *level = &walk->levels[walk->depth - 1];
    const struct dirent *item;

    errno = 0;
    item = readdir(level->directory->stream);
    if (item) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            return STEP_ON;
        return classify(walk, level, item, entry);
    }
    walk->reading = false;
    return errno == 0 ? STEP_ON : found_unreadable(entry, level->directory, "", errno);
}

/* ---- the walk itself ---- */

static enum step enter_pending(struct walk *walk, struct entry *entry)
{
    struct level *level = &walk->levels[walk->depth - 1];
    struct pending *pending = level->pending;
    enum step step;

    level->pending = pending->next;
    step = enter(walk, level->directory, pending->name, entry);
    free(pending);
    return step;
}

static enum step next_root(struct walk *walk, struct entry *entry)
{
    if (walk->roots_left == 0)
        return STEP_END;
    walk->roots_left--;
    return enter(walk, NULL, *walk->roots++, entry);
}

static enum step advance(struct walk *walk, struct entry *entry)
{
    if (walk->depth == 0)
        return next_root(walk, entry);
    if (walk->reading)
        return read_on(walk, entry);
    if (walk->levels[walk->depth - 1].pending)
        return enter_pending(walk, entry);
    return leave(walk, entry);
}

int walk_next(void *walk, void *ret_entry)
{
    enum step step;

    while ((step = advance(walk, ret_entry)) == STEP_ON)
        if (crew_should_stop())
            return 0;
    return step == STEP_ENTRY ? 1 : step == STEP_END ? 0 : crew_fail(-1, "out of memory in the walk");
}

struct walk *walk_new(char *const *roots, size_t count)
{
    struct walk *walk = calloc(1, sizeof *walk);

    if (!walk)
        return NULL;
    walk->roots = roots;
    walk->roots_left = count;
    return walk;
}

void walk_free(struct walk *walk)
{
    if (!walk)
        return;
    while (walk->depth > 0)
        pop(walk);
    free(walk->levels);
    table_free(&walk->walked);
    free(walk);
}
