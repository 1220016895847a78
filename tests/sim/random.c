/* SPDX-License-Identifier: MIT */
/* Strategies by seed: who goes on is drawn, step by step or by priorities that change now and then (Burckhardt and others, "A Randomized
 * Scheduler with Probabilistic Guarantees of Finding Bugs"). */
#include "sim.h"

enum { CHANGES_MAX = 16 };

static struct {
    uint64_t seed, state;
    struct sim_random_options options;
    unsigned switch_shift; /* another thread goes on with a probability of 1 / 2^this */
    unsigned rare_shift;   /* what is not the usual course is taken with a probability of 1 / 2^this */
    bool by_priority;
    unsigned changes;
    unsigned long change_at[CHANGES_MAX];
    uint64_t priorities[SIM_THREADS_MAX];
} chance;

uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool draw(unsigned shift)
{
    return (sim_random(&chance.state) >> 32 & ((UINT64_C(1) << shift) - 1)) == 0;
}

static unsigned draw_below(size_t count)
{
    return (unsigned)(sim_random(&chance.state) % count);
}

static bool is_among(const struct sim_candidates *candidates, const struct sim_thread *thread)
{
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->threads[i] == thread)
            return true;
    return false;
}

static struct sim_thread *next_by_chance(struct sim_thread *self)
{
    struct sim_candidates candidates;
    bool can_stay = self->state == SIM_READY && !self->is_resting;
    if (can_stay && !draw(chance.switch_shift))
        return self;
    sim_candidates(&candidates);
    size_t ready = candidates.count - candidates.has_sleeper;
    if (ready == 0 || (candidates.has_sleeper && chance.options.may_time_out && draw(chance.rare_shift)))
        return candidates.threads[candidates.count - 1];
    return candidates.threads[draw_below(ready)];
}

static struct sim_thread *next_by_priority(struct sim_thread *self)
{
    struct sim_candidates candidates;
    for (unsigned i = 0; i < chance.changes; i++)
        if (chance.change_at[i] == sim_steps())
            chance.priorities[self->id] = i; /* below all that were drawn */
    sim_candidates(&candidates);
    size_t ready = candidates.count - candidates.has_sleeper;
    struct sim_thread *best = candidates.threads[0];
    for (size_t i = 1; i < ready; i++)
        if (chance.priorities[candidates.threads[i]->id] > chance.priorities[best->id])
            best = candidates.threads[i];
    if (candidates.has_sleeper && chance.options.may_time_out && draw(chance.rare_shift))
        best = candidates.threads[candidates.count - 1];
    return is_among(&candidates, best) ? best : NULL;
}

static struct sim_thread *next(struct sim_thread *self)
{
    return chance.by_priority ? next_by_priority(self) : next_by_chance(self);
}

static unsigned pick(enum sim_pick what, unsigned count)
{
    const struct sim_random_options *options = &chance.options;
    bool allowed[] = {
        [SIM_PICK_SPURIOUS] = options->may_wake,
        [SIM_PICK_MEMORY] = options->may_fail_memory,
        [SIM_PICK_THREAD] = options->may_fail_threads,
        [SIM_PICK_TIME] = options->may_jump,
        [SIM_PICK_STALE] = options->may_be_stale,
        [SIM_PICK_PROGRAM] = true,
        [SIM_PICK_RESTLESS] = true,
    };
    if (what == SIM_PICK_PROGRAM)
        return draw_below(count);
    if (what == SIM_PICK_RESTLESS)
        return options->is_restless;
    return allowed[what] && draw(what == SIM_PICK_STALE ? 2 : chance.rare_shift) ? draw_below(count) : 0;
}

static void describe(char *text, size_t size)
{
    (void)snprintf(text, size, "SIM_SEED=%llu", (unsigned long long)chance.seed);
}

static const struct sim_strategy strategy = {next, pick, describe};

const struct sim_strategy *sim_random_begin_with(uint64_t seed, struct sim_random_options options)
{
    chance.seed = chance.state = seed;
    chance.options = options;
    chance.by_priority = draw(2);
    chance.switch_shift = 1 + draw_below(5);
    chance.rare_shift = 3 + draw_below(5);
    chance.changes = draw_below(CHANGES_MAX);
    unsigned long steps = UINT64_C(1) << (8 + draw_below(8));
    for (unsigned i = 0; i < chance.changes; i++)
        chance.change_at[i] = draw_below(steps);
    for (unsigned i = 0; i < SIM_THREADS_MAX; i++)
        chance.priorities[i] = CHANGES_MAX + (sim_random(&chance.state) >> 1);
    sim_memory_let_fail(options.may_fail_memory);
    return &strategy;
}

const struct sim_strategy *sim_priorities_begin(uint64_t seed, unsigned changes, unsigned long steps)
{
    (void)sim_random_begin_with(
        seed, (struct sim_random_options){.may_be_stale = true, .may_time_out = true, .is_restless = seed % 4 == 0});
    chance.by_priority = true;
    chance.changes = changes < CHANGES_MAX ? changes : (unsigned)CHANGES_MAX;
    for (unsigned i = 0; i < chance.changes; i++)
        chance.change_at[i] = draw_below(steps + 1);
    return &strategy;
}

const struct sim_strategy *sim_random_begin(uint64_t seed)
{
    uint64_t state = ~seed, bits = sim_random(&state);
    return sim_random_begin_with(seed, (struct sim_random_options){
                                           .may_wake = (bits & 3) == 0,
                                           .may_time_out = (bits >> 2 & 1) == 0,
                                           .may_jump = (bits >> 3 & 3) == 0,
                                           .may_fail_memory = (bits >> 5 & 7) == 0,
                                           .may_fail_threads = (bits >> 8 & 7) == 0,
                                           .may_be_stale = true,
                                           .is_restless = (bits >> 11 & 3) == 0,
                                       });
}
