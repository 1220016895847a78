/* SPDX-License-Identifier: MIT */
/* Runs cases of the contract on simulated threads: each in a process of its own, for several seeds and numbers of workers.
 *
 *     sim-contract SEEDS [FIRST]     --only=NAME as the first argument: those cases whose names contain it; SIM_SEED=N: that seed alone */
#include "contract_run.h"

#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS_KINDS = 3, LIMIT_S = 60, STEPS_MAX = 300000 };

const struct contract *config;
static struct test_case *cases;
static uint64_t seed_now;

static struct {
    unsigned long passed, failed, skipped, cut;
} tally;

void test_register(struct test_case *test)
{
    test->next = cases;
    cases = test;
}

uint64_t contract_seed(void)
{
    return seed_now;
}

_Noreturn void contract_end(int status)
{
    fflush(stdout);
    _exit(status);
}

/* What tests do with thread-local variables of their own they cannot do here: all threads are one. */
static const char *const left_out[] = {
    "a_worker_tells_when_it_begins_to_run_jobs_and_when_it_stops",
    "a_job_s_own_submissions_",
    "a_callback_never_runs_on_top_of_a_job_that_waits",
};

static bool is_left_out(const struct test_case *test)
{
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (strncmp(test->name, left_out[i], strlen(left_out[i])) == 0)
            return true;
    return false;
}

/* Some go on for very many rounds: so far they were right. */
static void end_cut(void)
{
    contract_end(CONTRACT_CUT);
}

static void run_case(void *test)
{
    ((struct test_case *)test)->run();
}

/* Memory and threads are never short, and no deadline passes early: tests may count on that. */
static _Noreturn void child_run(struct test_case *test, const struct contract *contract, uint64_t seed)
{
    struct sim_random_options chances = {.may_wake = seed % 4 == 0, .is_restless = seed % 4 == 1};
    struct sim_options options = {
        .strategy = sim_random_begin_with(seed, chances), .steps_max = STEPS_MAX, .cpus = 4, .on_limit = end_cut};
    config = contract;
    seed_now = seed;
    alarm(LIMIT_S);
    (void)sim_run(&options, run_case, test);
    contract_end(CONTRACT_PASSED);
}

static void run_once(struct test_case *test, const struct contract *contract, uint64_t seed)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        child_run(test, contract, seed);
    (void)waitpid(child, &status, 0);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    bool has_failed = code != CONTRACT_PASSED && code != CONTRACT_SKIPPED && code != CONTRACT_CUT;
    tally.passed += code == CONTRACT_PASSED;
    tally.skipped += code == CONTRACT_SKIPPED;
    tally.cut += code == CONTRACT_CUT;
    tally.failed += has_failed;
    if (has_failed)
        printf("not ok - %s [%u %s] SIM_SEED=%llu (status %x)\n", test->name, contract->workers,
               contract->helping ? "helping" : "no-helping", (unsigned long long)seed, (unsigned)status);
}

/* A seed stands for a number of workers and for helping, too; a plain case knows neither. */
static void run_seed(struct test_case *test, uint64_t seed)
{
    static const unsigned workers[WORKERS_KINDS] = {2, 1, 4};
    struct contract contract = {CREW_THREADS, workers[seed % WORKERS_KINDS], seed / WORKERS_KINDS % 2 == 0, true};
    if (test->kind == TEST_PLAIN)
        contract = (struct contract){CREW_THREADS, 2, true, true};
    run_once(test, &contract, seed);
}

int main(int argc, char **argv)
{
    const char *only = "", *one = getenv("SIM_SEED");
    int at = 1;
    if (argc > at && strncmp(argv[at], "--only=", 7) == 0)
        only = argv[at++] + 7;
    uint64_t seeds = argc > at ? strtoull(argv[at++], NULL, 0) : 1, first = argc > at ? strtoull(argv[at], NULL, 0) : 0;
    if (one) {
        first = strtoull(one, NULL, 0);
        seeds = 1;
    }
    for (struct test_case *test = cases; test; test = test->next)
        for (uint64_t seed = first; !is_left_out(test) && strstr(test->name, only) && seed < first + seeds; seed++)
            run_seed(test, seed);
    printf("# %lu runs passed, %lu failed, %lu were cut short, %lu skipped\n", tally.passed, tally.failed, tally.cut,
           tally.skipped);
    printf("%s 1 - cases of the contract on simulated threads\n1..1\n", tally.failed ? "not ok" : "ok");
    return tally.failed > 0;
}
