/* SPDX-License-Identifier: MIT */
/* Counting the CPUs that this process may use. */
#ifndef CREWI_CPU_COUNT_H
#define CREWI_CPU_COUNT_H

#include <crewpool/error.h>

/* The largest CREW_CPU_COUNT. It is CREW_WORKERS_MAX of pool.h, which is above this layer; a test compares the two. */
enum { CREWI_CPU_COUNT_MAX = 4096 };

/* The public function, declared once more because its header, pool.h, is above this layer. */
CREW_API crew_status crew_cpu_count(unsigned *ret_count, crew_error *ret_error);

/* `affinity`, or the tightest CPU quota of the process's cgroups where that is less; at least 1. The files are those
 * below `root`: "" for the system's own. What is missing, unreadable or makes no sense limits nothing. */
unsigned crewi_cpu_count_from(const char *root, unsigned affinity);

#endif
