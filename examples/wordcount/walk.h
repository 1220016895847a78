/* SPDX-License-Identifier: MIT */
/* A lazy walk of directory trees: every call of walk_next finds one more entry, and nothing is read ahead.
 *
 * At most a dozen descriptors are open on behalf of the walk, however deep the tree (those of entries that are not dropped
 * yet come on top), and no path is ever handed to the system whole, so that none can be too long. Symbolic links are not
 * followed, but in the roots. A directory that comes by again (a bind mount, a root inside another) is not walked again. */
#ifndef WORDCOUNT_WALK_H
#define WORDCOUNT_WALK_H

#include <stddef.h>

enum entry_kind {
    ENTRY_FILE,     /* a regular file: the only kind that can be opened */
    ENTRY_LINK,     /* a symbolic link that leads somewhere */
    ENTRY_DANGLING, /* one that leads nowhere */
    ENTRY_LOOP,     /* one that leads back to itself, or up to a directory that it lies in */
    ENTRY_AGAIN,    /* a directory that was walked before */
    ENTRY_FIFO,
    ENTRY_SOCKET,
    ENTRY_DEVICE,
    ENTRY_UNREADABLE, /* a directory that cannot be opened or read on */
    ENTRY_KINDS
};

/* What the walk found. It owns its name and a share of its directory: entry_drop lets go of both. */
struct entry {
    struct directory *directory; /* NULL for a root */
    char *name;                  /* in there; "" for the directory itself */
    enum entry_kind kind;
    int error; /* errno of what is unreadable */
};

struct walk;

/* `roots` is borrowed. NULL: out of memory. walk_free leaves entries alone: they outlive their walk. */
struct walk *walk_new(char *const *roots, size_t count);
void walk_free(struct walk *walk);

/* A crew_source's pull: writes a struct entry. */
int walk_next(void *walk, void *ret_entry);

/* Opens a regular file for reading; -1, with errno: it cannot be opened, or is no regular file any more. Any thread. */
int entry_open(const struct entry *entry);

/* Its path, to be freed; NULL: out of memory. */
char *entry_path(const struct entry *entry);

/* A crew_job's drop_arg. Any thread. */
void entry_drop(void *entry, void *unused);

#endif
