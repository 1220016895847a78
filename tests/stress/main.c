/* SPDX-License-Identifier: MIT */
/* Runs random programs for some time, each in a process of its own, in six weathers; or one of them again, by its seed.
 *
 *     stress [--seconds=N] [--weather=calm|signals|stops|one-cpu|policies|quota] [--seed=N] [--repeat=N]
 *
 * Prints TAP, a line for each weather. A program that fails is told with its seed. */
#define _GNU_SOURCE
#include "harness/run.h"
#include "weather.h"
#include "world.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLEARS_UP_S = 10, LIMIT_S = 30, GUST_NS_MAX = 2000000 };

/* ---- the program's process ---- */

static _Noreturn void run_program(uint64_t seed, enum weather weather)
{
    const struct rlimit no_core = {0, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core);
    test_threads_baseline(); /* starts a thread, which no signal shall find: before they are let in */
    weather_enter(weather, seed);
    world_run(seed);
    CHECK_EQ(test_threads_alive(), 1);
    exit(0);
}

/* ---- who watches it ---- */

/* Until the program ends, but no longer than some moments. True: it has. */
static bool wait_for_end(pid_t program, int *ret_status, int64_t moment_ns)
{
    struct timespec moment = {.tv_sec = (time_t)(moment_ns / 1000000000), .tv_nsec = (long)(moment_ns % 1000000000)};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)sigtimedwait(&child, NULL, &moment);
    return waitpid(program, ret_status, WNOHANG) == program;
}

static int64_t after_s(int64_t seconds)
{
    return test_now_ns() + INT64_C(1000000000) * seconds * (test_under_sanitizer() ? 4 : 1);
}

/* How the program ended, or -1 where it took too long. */
static int watch(struct storm *storm)
{
    int64_t clears_ns = after_s(CLEARS_UP_S), end_ns = after_s(LIMIT_S), now_ns;
    uint64_t random = storm->random, gust_ns_max = GUST_NS_MAX >> random % 5;
    int status = 0;
    bool is_clear = false;
    while ((now_ns = test_now_ns()) < end_ns) {
        if (!is_clear && now_ns >= clears_ns) {
            storm_clear(storm);
            is_clear = true;
        }
        int64_t rest_ns = (is_clear ? end_ns : clears_ns) - now_ns;
        bool blows = !is_clear && storm_blows(storm);
        if (wait_for_end(storm->program, &status, blows ? (int64_t)(test_random(&random) % gust_ns_max) : rest_ns))
            return status;
        if (blows)
            storm_blow(storm);
    }
    kill(storm->program, SIGKILL);
    (void)waitpid(storm->program, &status, 0);
    return -1;
}

static bool run_one(uint64_t seed, enum weather weather)
{
    fflush(NULL);
    pid_t program = fork();
    CHECK(program >= 0);
    if (program == 0)
        run_program(seed, weather);
    struct storm storm;
    storm_begin(&storm, weather, program, seed);
    int status = watch(&storm);
    if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    printf("# seed %llu in weather %s: ", (unsigned long long)seed, weather_names[weather]);
    if (status == -1)
        printf("took longer than %d s\n", LIMIT_S);
    else if (WIFSIGNALED(status))
        printf("killed by %s\n", strsignal(WTERMSIG(status)));
    else
        printf("%s\n",
               WEXITSTATUS(status) == WEATHER_STRAY_HANDLER ? "a handler ran in another thread" : "a check failed");
    printf("# again: stress --seed=%llu --weather=%s --repeat=100\n", (unsigned long long)seed, weather_names[weather]);
    return false;
}

/* ---- all of them ---- */

struct wishes {
    double seconds;
    uint64_t seed;
    long repeat;
    int weather; /* -1: each */
};

static bool run_weather(enum weather weather, const struct wishes *wishes, int number)
{
    uint64_t seeds = test_seed() + (uint64_t)weather;
    int64_t end_ns = test_now_ns() + (int64_t)(wishes->seconds * 1e9);
    long programs = 0;
    bool good = true;
    const char *missing = weather_is_missing(weather);
    if (missing != NULL)
        return printf("ok %d - weather %s # SKIP %s\n", number, weather_names[weather], missing), true;
    for (; good && (wishes->seed ? programs < wishes->repeat : test_now_ns() < end_ns); programs++)
        good = run_one(wishes->seed ? wishes->seed : test_random(&seeds), weather);
    good &= weather_end(weather, programs);
    printf("%sok %d - %ld random programs in weather %s keep all promises\n", good ? "" : "not ", number, programs,
           weather_names[weather]);
    return good;
}

static bool parse(const char *option, struct wishes *wishes)
{
    const char *value = strchr(option, '=');
    if (value++ == NULL)
        return false;
    for (int weather = 0; strncmp(option, "--weather=", 10) == 0 && weather < WEATHERS; weather++)
        if (strcmp(value, weather_names[weather]) == 0)
            return wishes->weather = weather, true;
    if (strncmp(option, "--seconds=", 10) == 0)
        return wishes->seconds = strtod(value, NULL), wishes->seconds > 0;
    if (strncmp(option, "--seed=", 7) == 0)
        return wishes->seed = strtoull(value, NULL, 0), wishes->seed != 0;
    return strncmp(option, "--repeat=", 9) == 0 && (wishes->repeat = strtol(value, NULL, 10)) > 0;
}

int main(int argc, char **argv)
{
    struct wishes wishes = {.seconds = 10, .repeat = 1, .weather = -1};
    for (int i = 1; i < argc; i++) {
        if (!parse(argv[i], &wishes)) {
            fprintf(stderr, "%s: cannot use %s\n", argv[0], argv[i]);
            return 2;
        }
    }
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    weather_prepare();
    int first = wishes.weather < 0 ? 0 : wishes.weather, last = wishes.weather < 0 ? WEATHERS - 1 : wishes.weather;
    wishes.seconds /= last - first + 1;
    bool good = true;
    printf("1..%d\n# TEST_SEED=%llu\n", last - first + 1, (unsigned long long)test_seed());
    for (int weather = first; weather <= last; weather++)
        good &= run_weather((enum weather)weather, &wishes, weather - first + 1);
    return good ? 0 : 1;
}
