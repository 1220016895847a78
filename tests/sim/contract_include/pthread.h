/* SPDX-License-Identifier: MIT */
/* Stands in for the system's <pthread.h> where tests of the contract run on simulated threads: as much of it as they use. */
#ifndef SIM_PTHREAD_H
#define SIM_PTHREAD_H

#include <sys/types.h>

typedef struct sim_mutex {
    unsigned owner, depth; /* the owner's number + 1; 0: free */
    int kind;
} sim_mutex;

#define pthread_t unsigned
#define pthread_mutex_t sim_mutex
#define pthread_mutexattr_t int
#undef PTHREAD_MUTEX_RECURSIVE
#undef PTHREAD_MUTEX_ERRORCHECK
enum { PTHREAD_MUTEX_RECURSIVE = 1, PTHREAD_MUTEX_ERRORCHECK = 2 };

unsigned sim_thread_id(void);
_Noreturn void sim_thread_exit(void);
int sim_mutex_lock(sim_mutex *mutex);
int sim_mutex_unlock(sim_mutex *mutex);
int sim_pthread_create(unsigned *ret_thread, void *(*run)(void *), void *arg);
int sim_pthread_join(unsigned thread);

#define pthread_self() sim_thread_id()
#define pthread_equal(one, other) ((one) == (other))
#define pthread_exit(value) sim_thread_exit()
#define pthread_create(thread, attributes, run, arg) sim_pthread_create(thread, run, arg)
#define pthread_join(thread, ret_value) sim_pthread_join(thread)
#define pthread_mutexattr_init(kind) (*(kind) = 0)
#define pthread_mutexattr_settype(kind, type) (*(kind) = (type), 0)
#define pthread_mutexattr_destroy(kind) ((void)(kind), 0)
#define pthread_mutex_init(mutex, attribute) sim_mutex_init(mutex, attribute)
#define pthread_mutex_lock(mutex) sim_mutex_lock(mutex)
#define pthread_mutex_unlock(mutex) sim_mutex_unlock(mutex)
#define pthread_mutex_destroy(mutex) ((void)(mutex), 0)

static inline int sim_mutex_init(sim_mutex *mutex, const int *kind)
{
    *mutex = (sim_mutex){0, 0, kind ? *kind : 0};
    return 0;
}

#endif
