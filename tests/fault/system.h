/* SPDX-License-Identifier: MIT */
/* The system's functions that the library calls, as it sees them under test: each counts, fails when told to, else does its work. */
#ifndef CREW_TEST_FAULT_SYSTEM_H
#define CREW_TEST_FAULT_SYSTEM_H

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

void *fault_malloc(size_t size);
int fault_posix_memalign(void **ret_block, size_t align, size_t size);
void fault_free(void *block);
cpu_set_t *fault_cpualloc(size_t count);

int fault_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int fault_pthread_attr_init(pthread_attr_t *attributes);
int fault_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size);
int fault_pthread_attr_setinheritsched(pthread_attr_t *attributes, int inherit);
int fault_pthread_setname_np(pthread_t thread, const char *name);
int fault_pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes);
int fault_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int fault_sched_getaffinity(pid_t process, size_t size, cpu_set_t *set);
long fault_sysconf(int name);

long fault_syscall(long number, ...); /* SYS_futex, SYS_membarrier, SYS_sched_getscheduler and SYS_exit */
int fault_clock_gettime(clockid_t clock, struct timespec *ret_now);

FILE *fault_fopen(const char *path, const char *mode);
int fault_fclose(FILE *file);
char *fault_fgets(char *text, int size, FILE *file);
ssize_t fault_getline(char **line, size_t *size, FILE *file);

#endif
