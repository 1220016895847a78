/* SPDX-License-Identifier: MIT */
/* Between the engine and the platform that the library sees. */
#ifndef SIM_ENGINE_H
#define SIM_ENGINE_H

#include "sim.h"

int64_t sim_now_ns(void);
void sim_time_pass(int64_t ns);
unsigned sim_cpus(void);

struct sim_thread *sim_thread_new(void (*start)(void *), void *arg, size_t stack_size, const char *name);
void sim_thread_rouse(struct sim_thread *thread, bool timed_out);
void sim_block(void); /* the calling thread sleeps or joins: until somebody rouses it */
void sim_rest(void);  /* until somebody has done something */

#endif
