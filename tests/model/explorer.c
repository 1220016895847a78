/* SPDX-License-Identifier: MIT */
/* Tries every schedule of a model up to a bound of preemptions, depth first, by running it again and again: each run repeats the choices of the
 * last one up to the last that has an alternative left. With weak memory what a load finds is a choice, too, up to a bound of old values.
 *
 * A run is given up where a thread that was preempted before a step goes on though nobody has touched the same word meanwhile: then it could have
 * been preempted after that step as well, at the same cost, and that was or will be tried.
 *
 * A preemption costs, going on with another thread where one cannot go on itself costs nothing, nor does a pause. A thread is preempted only
 * before it touches a word that several threads touch and one writes, while the model's threads run: anywhere else it makes no difference. Which
 * words those are is learnt; if one is found late, all begins anew. */
#include "explorer.h"

#include "core.h"
#include "model.h"

enum { CHOICES_MAX = 1 << 16, WORDS = 1 << 14 };

struct choice {
    uint16_t taken, count;
    bool costs_first; /* of the kind `cost`; the first alternative is free in any case */
    enum explorer_cost cost;
};

static struct {
    struct explorer_options options;
    struct choice choices[CHOICES_MAX];
    size_t made, known; /* in this run; recorded by the last one, and to be repeated */
    unsigned spent[COSTS];
    bool is_open; /* the model's threads run */
    bool is_settling;
    bool is_restless; /* nobody pauses any more: a thread that was preempted gets no turn until the others sleep */
    const struct sim_strategy *chance; /* decides instead, while they run; or NULL */
    const struct model *model;
    unsigned long given_up;
    struct preempted {
        bool is_waiting, has_met; /* before its step; and somebody has touched its word */
        unsigned long frees;
    } preempted[SIM_THREADS_MAX];
} tree;

/* ---- the words that matter ---- */

static struct word {
    const void *address;
    unsigned thread;
    bool has_several, is_written;
    bool matters; /* both, and that was known before this run */
} words[WORDS];
static bool has_learnt;

static struct word *word_of(const void *address)
{
    size_t slot = (size_t)((uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15) >> 48) % WORDS;
    while (words[slot].address && words[slot].address != address)
        slot = (slot + 1) % WORDS;
    return &words[slot];
}

static bool word_is_shared(const struct word *word)
{
    return word->has_several && word->is_written;
}

static void words_have_been_learnt(void)
{
    for (size_t i = 0; i < WORDS; i++)
        words[i].matters = word_is_shared(&words[i]);
    has_learnt = false;
}

static void word_note(const struct sim_step *step, unsigned thread)
{
    struct word *word = word_of(step->address);
    if (!word->address)
        *word = (struct word){.address = step->address, .thread = thread};
    word->has_several |= word->thread != thread;
    word->is_written |= step->kind == SIM_STORE || step->kind == SIM_RMW || step->kind == SIM_CAS;
    has_learnt |= !word->matters && word_is_shared(word);
}

/* The thread's next step is one before which others may come. */
static bool step_matters(const struct sim_thread *self)
{
    const struct sim_step *step = &self->step;
    if (step->kind == SIM_FENCE)
        return sim_memory_is_weak();
    if (!step->address || step->kind > SIM_WAKE)
        return false;
    word_note(step, self->id);
    return word_of(step->address)->matters;
}

/* ---- choices ---- */

static unsigned choose(unsigned count, enum explorer_cost cost, bool costs_first)
{
    if (count < 2)
        return 0;
    if (tree.made == CHOICES_MAX)
        sim_fail("more than %d choices", CHOICES_MAX);
    struct choice *choice = &tree.choices[tree.made++];
    if (tree.made > tree.known)
        *choice = (struct choice){.taken = 0, .count = (uint16_t)count, .cost = cost, .costs_first = costs_first};
    else if (choice->count != count)
        sim_fail("the model is not deterministic: %u alternatives where there were %u", count, choice->count);
    tree.spent[cost] += choice->taken > 0 && choice->costs_first;
    return choice->taken;
}

static bool can_afford(enum explorer_cost cost)
{
    return tree.spent[cost] < tree.options.most[cost];
}

static void candidates_put_first(struct sim_candidates *candidates, const struct sim_thread *first)
{
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->threads[i] == first) {
            struct sim_thread *other = candidates->threads[0];
            candidates->threads[0] = candidates->threads[i];
            candidates->threads[i] = other;
        }
}

/* ---- preemptions that make no difference ---- */

static bool steps_meet(const struct sim_step *one, const struct sim_step *other)
{
    if (one->kind == SIM_FENCE || other->kind == SIM_FENCE)
        return true;
    return one->address == other->address && (one->kind != SIM_LOAD || other->kind != SIM_LOAD);
}

static void step_is_taken_by(const struct sim_thread *next)
{
    struct preempted *mine = &tree.preempted[next->id];
    if (mine->is_waiting && !mine->has_met && mine->frees == sim_frees()) {
        tree.given_up++;
        sim_abandon();
    }
    mine->is_waiting = false;
    const struct sim_thread *other;
    for (unsigned id = 0; (other = sim_thread_at(id)); id++)
        if (tree.preempted[id].is_waiting && steps_meet(&next->step, &other->step))
            tree.preempted[id].has_met = true;
}

static void step_is_put_off(const struct sim_thread *self)
{
    tree.preempted[self->id] = (struct preempted){.is_waiting = true, .frees = sim_frees()};
}

static bool somebody_waits(void)
{
    bool waits = false;
    for (unsigned id = 0; id < SIM_THREADS_MAX; id++)
        waits |= tree.preempted[id].is_waiting;
    return waits;
}

/* Alone: whoever can go on does; while settling, everybody but the main thread comes first. */
static struct sim_thread *next_quietly(const struct sim_candidates *candidates, struct sim_thread *self)
{
    size_t ready = candidates->count - candidates->has_sleeper;
    if (tree.is_settling && candidates->threads[0]->id == 0 && candidates->count > 1)
        return candidates->threads[1]; /* the sleeper with the first deadline, too */
    for (size_t i = 0; i < ready && !(tree.is_settling && self->id == 0); i++)
        if (candidates->threads[i] == self)
            return self;
    return candidates->threads[0];
}

/* All that can go on are pausing, and look again in turn: in which order makes no difference. */
static struct sim_thread *next_in_turn(const struct sim_candidates *candidates, const struct sim_thread *self)
{
    size_t ready = candidates->count - candidates->has_sleeper;
    for (size_t i = 0; i < ready; i++)
        if (candidates->threads[i]->id > self->id)
            return candidates->threads[i];
    return candidates->threads[0];
}

static struct sim_thread *next_of_tree(struct sim_thread *self)
{
    struct sim_candidates candidates;
    bool can_stay = self->state == SIM_READY && !self->is_resting;
    bool matters = tree.is_open && (!can_stay || step_matters(self));
    if (can_stay && !tree.is_settling && (!matters || !can_afford(COST_PREEMPTION)))
        return self;
    sim_candidates(&candidates);
    if (!tree.is_open)
        return next_quietly(&candidates, self);
    if (self->step.kind == SIM_RELAX && self->state == SIM_READY && !self->is_resting)
        return next_in_turn(&candidates, self);
    if (can_stay)
        candidates_put_first(&candidates, self);
    size_t count = candidates.count;
    if (count > 1 && candidates.has_sleeper && !can_afford(COST_PREEMPTION))
        count--; /* a deadline that passes while others can go on costs, too */
    unsigned taken = choose((unsigned)count, COST_PREEMPTION, can_stay);
    bool is_sleeper = taken + 1 == candidates.count && candidates.has_sleeper && taken > 0;
    tree.spent[COST_PREEMPTION] += is_sleeper && !can_stay;
    return candidates.threads[taken];
}

static struct sim_thread *next(struct sim_thread *self)
{
    if (tree.is_open && tree.chance)
        return tree.chance->next(self);
    struct sim_thread *next = next_of_tree(self);
    bool is_preempted = next != self && self->state == SIM_READY && !self->is_resting;
    if (tree.is_open && is_preempted)
        step_is_put_off(self);
    if (tree.is_open)
        step_is_taken_by(next);
    return next;
}

static unsigned pick(enum sim_pick what, unsigned count)
{
    if (!tree.is_open)
        return 0;
    if (tree.chance)
        return tree.chance->pick(what, count);
    if (what == SIM_PICK_STALE)
        return can_afford(COST_STALE) ? choose(count, COST_STALE, true) : 0;
    if (what == SIM_PICK_RESTLESS && !tree.is_restless && can_afford(COST_PREEMPTION) && somebody_waits())
        tree.is_restless = choose(2, COST_PREEMPTION, true) == 1;
    if (what == SIM_PICK_RESTLESS)
        return tree.is_restless;
    return what == SIM_PICK_PROGRAM ? choose(count, COST_PREEMPTION, false) : 0;
}

/* The next alternative of the last choice that has one which can be paid for. */
static bool tree_advance(void)
{
    while (tree.made > 0) {
        struct choice *choice = &tree.choices[tree.made - 1];
        if (choice->taken + 1 < choice->count) {
            choice->taken++;
            tree.known = tree.made;
            return true;
        }
        tree.made--;
    }
    return false;
}

static void describe(char *text, size_t size)
{
    char seed[64] = "";
    if (tree.chance)
        tree.chance->describe(seed, sizeof seed);
    (void)snprintf(text, size, "%s --only=%s --preemptions=%u --stale=%u%s (%zu choices)", seed, tree.model->name,
                   tree.options.most[COST_PREEMPTION], tree.options.most[COST_STALE],
                   tree.options.is_weak ? " --weak" : "", tree.made);
}

static const struct sim_strategy depth_first = {next, pick, describe};

/* ---- a run ---- */

static void thread_main(void *run)
{
    (*(void (**)(void))run)();
}

static void model_run(void *arg)
{
    struct model *model = arg;
    struct sim_thread *threads[MODEL_THREADS_MAX];
    size_t count = 0;
    model->begin();
    for (; count < MODEL_THREADS_MAX && model->threads[count]; count++)
        threads[count] = sim_thread_start(thread_main, &model->threads[count]);
    tree.is_open = true;
    for (size_t i = 0; i < count; i++)
        sim_thread_join(threads[i]);
    tree.is_open = false;
    model->end();
}

static unsigned long run_once(struct model *model)
{
    tree.model = model;
    tree.made = 0;
    tree.spent[COST_PREEMPTION] = tree.spent[COST_STALE] = 0;
    tree.is_open = tree.is_settling = tree.is_restless = false;
    memset(tree.preempted, 0, sizeof tree.preempted);
    crewi_graph_reset(); /* what a run that was given up has left */
    struct sim_options options = {.strategy = &depth_first, .is_weak = tree.options.is_weak, .steps_max = 200000};
    return sim_run(&options, model_run, model);
}

struct explorer_result explore(struct model *model, const struct explorer_options *options)
{
    struct explorer_result result = {.is_complete = true};
    tree.options = *options;
    tree.chance = NULL;
    memset(words, 0, sizeof words);
    tree.known = 0;
    tree.given_up = 0;
    for (bool goes_on = true; goes_on; result.runs++) {
        result.steps += run_once(model);
        goes_on = tree_advance();
        if (has_learnt) { /* what is found late was no choice before */
            words_have_been_learnt();
            tree.known = 0;
            goes_on = true;
            result.restarts++;
        }
        if (result.runs + 1 == options->runs_max)
            result.is_complete = goes_on = false;
    }
    result.given_up = tree.given_up;
    return result;
}

unsigned long explore_by_chance(struct model *model, const struct explorer_options *options, uint64_t seed)
{
    enum { CHANGES_MAX = 6, STEPS_USUAL = 500 };
    tree.options = *options;
    tree.chance = sim_priorities_begin(seed, (unsigned)(seed % CHANGES_MAX), STEPS_USUAL);
    return run_once(model);
}

/* ---- what models use ---- */

_Noreturn void model_fail(const char *file, int line, const char *what)
{
    sim_fail("%s:%d: not so: %s", file, line, what);
}

void model_settle(void)
{
    tree.is_settling = true;
    sim_note("the others settle");
    tree.is_settling = false;
}

void *model_alloc(size_t size)
{
    return sim_memory_take(size, 16);
}

void model_free(void *block)
{
    sim_memory_give(block);
}
