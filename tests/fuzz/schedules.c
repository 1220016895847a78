/* SPDX-License-Identifier: MIT */
/* Fuzzes what simulated threads do with each other (tests/sim): an input is a seed, for the schedule and for what goes wrong meanwhile, and then
 * the program, choice by choice. The book is the simulation's. What is found is repeated by its input alone. */
#include "fuzz.h"
#include "sim/program.h"
#include "sim/sim.h"

static struct fuzz_input program;
static const struct sim_strategy *drawn;

static struct sim_thread *next(struct sim_thread *self)
{
    return drawn->next(self);
}

/* A program that has used up its input goes on as the seed says: a run of nothing but the dull choice need not end. */
static unsigned pick(enum sim_pick what, unsigned count)
{
    bool is_given = what == SIM_PICK_PROGRAM && program.at < program.end;
    return is_given ? fuzz_choose(&program, count) : drawn->pick(what, count);
}

static void describe(char *text, size_t size)
{
    (void)snprintf(text, size, "the input, which is kept: fuzz-schedules FILE");
}

/* The counters of what has been covered are written by all threads, and are no part of the game. */
extern uint8_t __start___sancov_cntrs[], __stop___sancov_cntrs[];
void __real_sim_race_plain(const void *address, size_t size, bool is_write, const void *where);
void __wrap_sim_race_plain(const void *address, size_t size, bool is_write, const void *where);

void __wrap_sim_race_plain(const void *address, size_t size, bool is_write, const void *where)
{
    const uint8_t *byte = address;
    if (byte < __start___sancov_cntrs || byte >= __stop___sancov_cntrs)
        __real_sim_race_plain(address, size, is_write, where);
}

static const struct sim_strategy strategy = {next, pick, describe};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned cpus[] = {2, 1, 4, 8};
    program = (struct fuzz_input){data, data + size};
    unsigned seed = fuzz_byte(&program); /* so few that many programs are tried with each */
    seed |= fuzz_byte(&program) << 8;
    drawn = sim_random_begin(seed);
    struct sim_options options = {
        .strategy = &strategy,
        .steps_max = 8000000, /* what is made up may let a thread look around for very long */
        .is_weak = seed % 4 == 0,
        .cpus = cpus[seed / 4 % 4],
    };
    (void)sim_run(&options, program_run, NULL);
    return 0;
}
