/* SPDX-License-Identifier: MIT */
/* What a random program is exposed to while it runs: signals, stops, few CPUs, policies of the scheduler, a quota. Some weathers are
 * a matter of how its process begins, in others the process that watches it does something every moment. */
#ifndef CREW_TEST_STRESS_WEATHER_H
#define CREW_TEST_STRESS_WEATHER_H

#include "harness/test.h"

#include <sys/types.h>

enum weather { CALM, SIGNALS, STOPS, ONE_CPU, POLICIES, QUOTA, WEATHERS };
extern const char *const weather_names[WEATHERS];

/* How a program ends whose thread has run a handler that is the main thread's. */
enum { WEATHER_STRAY_HANDLER = 3 };

/* Before the first program: blocks the signals of storms, until a program has its handlers, and finds out what is permitted. */
void weather_prepare(void);

/* Why there is none such here, or NULL. */
const char *weather_is_missing(enum weather weather);

/* By the program's process, before anything else: lets the signals in, and all that lasts for its whole life. */
void weather_enter(enum weather weather, uint64_t seed);

/* By whoever watches one program. */
struct storm {
    enum weather weather;
    pid_t program;
    uint64_t random;
    bool is_real_time, is_stopped;
};
void storm_begin(struct storm *storm, enum weather weather, pid_t program, uint64_t seed);
bool storm_blows(const struct storm *storm); /* there is something to do every moment */
void storm_blow(struct storm *storm);
void storm_clear(struct storm *storm); /* for good: what is still slow now has no excuse */

/* After the last program: what it was like, as comments. False: nothing happened, so nothing was tried. */
bool weather_end(enum weather weather, long programs);

#endif
