/* SPDX-License-Identifier: MIT */
/* Runs random programs, one for each seed, half of them with weak memory. SIM_SEED=N in the environment runs that one alone. */
#include "program.h"
#include "sim.h"

enum { WEAK_EVERY = 4 }; /* it takes some times as long */

static unsigned long run_seed(uint64_t seed)
{
    static const unsigned cpus[] = {2, 1, 4, 8};
    struct sim_options options = {
        .strategy = sim_random_begin(seed), .is_weak = seed % WEAK_EVERY == 0, .cpus = cpus[seed / WEAK_EVERY % 4]};
    return sim_run(&options, program_run, NULL);
}

int main(int argc, char **argv)
{
    const char *one = getenv("SIM_SEED");
    uint64_t first = one ? strtoull(one, NULL, 0) : 1, count = argc > 1 && !one ? strtoull(argv[1], NULL, 0) : 1;
    unsigned long steps = 0;
    if (argc > 2 && !one)
        first = strtoull(argv[2], NULL, 0);
    printf("1..1\n# seeds from %llu\n", (unsigned long long)first);
    for (uint64_t seed = first; seed < first + count; seed++)
        steps += run_seed(seed);
    printf("# %lu steps; favourites went in %lu times, and %lu times one was ousted\n", steps, sim_favoured(),
           sim_barriers());
    printf("ok 1 - %llu random programs keep every promise\n", (unsigned long long)count);
    return 0;
}
