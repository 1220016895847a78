/* SPDX-License-Identifier: MIT */
/* The library as one unit, as crewpool_all.c makes it, with its calls of the system replaced by those of system.c. The system's own
 * headers come first, so that only what the library says is replaced (fields named `free` are, too, all of them alike). */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

#define malloc fault_malloc
#define posix_memalign fault_posix_memalign
#define free fault_free
#define __sched_cpualloc fault_cpualloc /* behind CPU_ALLOC */
#define __sched_cpufree fault_free
#define pthread_create fault_pthread_create
#define pthread_attr_init fault_pthread_attr_init
#define pthread_attr_setstacksize fault_pthread_attr_setstacksize
#define pthread_attr_setinheritsched fault_pthread_attr_setinheritsched
#define pthread_setname_np fault_pthread_setname_np
#define pthread_getattr_np fault_pthread_getattr_np
#define pthread_atfork fault_pthread_atfork
#define sched_getaffinity fault_sched_getaffinity
#define sysconf fault_sysconf
#define syscall fault_syscall
#define clock_gettime fault_clock_gettime
#define fopen fault_fopen
#define fclose fault_fclose
#define fgets fault_fgets
#define getline fault_getline

/* Two threads that submit in turn oust each other, which asks the system for a barrier. */
#define CREWI_FAVOURITE_STREAK 4

#include "../../src/crewpool_all.c"
