/* SPDX-License-Identifier: MIT */
/* All schedules of a model up to a bound; and schedules by chance beyond. */
#ifndef MODEL_EXPLORER_H
#define MODEL_EXPLORER_H

#include "../sim/sim.h"

struct model;

enum explorer_cost { COST_PREEMPTION, COST_STALE, COSTS };

struct explorer_options {
    unsigned most[COSTS]; /* preemptions, and loads that find old values, in one run */
    bool is_weak;
    unsigned long runs_max;
};

struct explorer_result {
    unsigned long runs, given_up, steps, restarts;
    bool is_complete;
};

struct explorer_result explore(struct model *model, const struct explorer_options *options);

/* One run by priorities. Returns how many steps it took. */
unsigned long explore_by_chance(struct model *model, const struct explorer_options *options, uint64_t seed);

#endif
