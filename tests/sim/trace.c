/* SPDX-License-Identifier: MIT */
/* The last steps of a run, and where in the sources they were made. */
#include "sim.h"

#include <unistd.h>

enum { KEPT = 1 << 14, PRINTED = 120 };

struct entry {
    enum sim_kind kind;
    unsigned thread;
    unsigned long number;
    const void *address, *where;
    uint64_t before, after;
};

static struct entry entries[KEPT];
static unsigned long count;

static const char *const kind_names[] = {"load", "store", "rmw",  "cas", "sleep", "wake", "fence", "clock",
                                         "rest", "start", "join", "end", "alloc", "free", "note"};

void sim_trace_reset(void)
{
    count = 0;
}

void sim_trace(enum sim_kind kind, const void *address, uint64_t before, uint64_t after, const void *where)
{
    entries[count++ % KEPT] = (struct entry){kind, sim_self->id, sim_steps(), address, where, before, after};
}

extern const char __executable_start[];

/* The place as addr2line says it, which may not be there. */
static void place_print(const void *where)
{
    char command[200], line[400] = "", program[128] = "";
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (!where || length <= 0)
        return;
    size_t offset = (size_t)((const char *)where - __executable_start) - 1;
    (void)snprintf(command, sizeof command, "addr2line -s -i -f -p -e %s 0x%zx 2>/dev/null", program, offset);
    FILE *stream = popen(command, "r");
    while (stream && fgets(line, sizeof line, stream)) {
        line[strcspn(line, "\n")] = '\0';
        if (!strstr(line, "atomic.h"))
            printf("  %s", line);
    }
    if (stream)
        (void)pclose(stream);
}

static void entry_print(const struct entry *entry)
{
    if (entry->kind == SIM_NOTE) {
        printf("# %6lu  thread %u: %s\n", entry->number, entry->thread, (const char *)entry->address);
        return;
    }
    printf("# %6lu  thread %u: %-5s %p %llx -> %llx", entry->number, entry->thread, kind_names[entry->kind],
           entry->address, (unsigned long long)entry->before, (unsigned long long)entry->after);
    place_print(entry->where);
    printf("\n");
}

void sim_trace_print(void)
{
    const char *wanted = getenv("SIM_TRACE"); /* how many steps */
    unsigned long most = wanted ? strtoul(wanted, NULL, 0) : PRINTED;
    most = most > KEPT ? (unsigned long)KEPT : most;
    for (unsigned long i = count > most ? count - most : 0; i < count; i++)
        entry_print(&entries[i % KEPT]);
}
