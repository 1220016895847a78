/* SPDX-License-Identifier: MIT */
/* Runs random programs for some time, each in a process of its own, in four weathers; or one of them again, by its seed.
 *
 *     stress [--seconds=N] [--weather=calm|signals|stops|one-cpu] [--seed=N] [--repeat=N]
 *
 * Prints TAP, a line for each weather. A program that fails is told with its seed. */
#define _GNU_SOURCE
#include "harness/run.h"
#include "world.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 30, GUST_NS_MAX = 2000000 };

enum weather { CALM, SIGNALS, STOPS, ONE_CPU, WEATHERS };
static const char *const weather_names[WEATHERS] = {"calm", "signals", "stops", "one-cpu"};

/* ---- the program's process ---- */

static void on_signal(int number)
{
    (void)number;
    if (syscall(SYS_gettid) != getpid())
        _exit(3);
}

static void stay_on_one_cpu(void)
{
    cpu_set_t set, one;
    CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    CPU_ZERO(&one);
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    CPU_SET(cpu, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
}

static _Noreturn void run_program(uint64_t seed, enum weather weather)
{
    const struct rlimit no_core = {0, 0};
    sigset_t none;
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: system calls return early */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core);
    test_threads_baseline(); /* starts a thread, which no signal shall find: before they are let in */
    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (weather == ONE_CPU)
        stay_on_one_cpu();
    world_run(seed);
    CHECK_EQ(test_threads_alive(), 1);
    exit(0);
}

/* ---- the weather ---- */

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

static void blow(pid_t program, enum weather weather, bool *is_stopped)
{
    if (weather == SIGNALS)
        kill(program, SIGUSR1);
    if (weather != STOPS)
        return;
    *is_stopped = !*is_stopped;
    kill(program, *is_stopped ? SIGSTOP : SIGCONT);
}

/* How the program ended, or -1 where it took too long. */
static int watch(pid_t program, enum weather weather, uint64_t random)
{
    int64_t end_ns = test_now_ns() + INT64_C(1000000000) * LIMIT_S * (test_under_sanitizer() ? 4 : 1);
    int status = 0;
    bool is_stopped = false, storms = weather == SIGNALS || weather == STOPS;
    for (;;) {
        int64_t moment_ns = storms ? (int64_t)(test_random(&random) % GUST_NS_MAX) : end_ns - test_now_ns();
        if (wait_for_end(program, &status, moment_ns > 0 ? moment_ns : 0))
            return status;
        if (test_now_ns() >= end_ns)
            break;
        blow(program, weather, &is_stopped);
    }
    kill(program, SIGKILL);
    (void)waitpid(program, &status, 0);
    return -1;
}

static bool run_one(uint64_t seed, enum weather weather)
{
    fflush(NULL);
    pid_t program = fork();
    CHECK(program >= 0);
    if (program == 0)
        run_program(seed, weather);
    int status = watch(program, weather, seed);
    if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    printf("# seed %llu in weather %s: ", (unsigned long long)seed, weather_names[weather]);
    if (status == -1)
        printf("took longer than %d s\n", LIMIT_S);
    else if (WIFSIGNALED(status))
        printf("killed by %s\n", strsignal(WTERMSIG(status)));
    else
        printf("%s\n", WEXITSTATUS(status) == 3 ? "a handler ran in another thread" : "a check failed");
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
    for (; good && (wishes->seed ? programs < wishes->repeat : test_now_ns() < end_ns); programs++)
        good = run_one(wishes->seed ? wishes->seed : test_random(&seeds), weather);
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
    sigset_t held; /* SIGUSR1 until a program has its handler */
    sigemptyset(&held);
    sigaddset(&held, SIGCHLD);
    sigaddset(&held, SIGUSR1);
    sigprocmask(SIG_BLOCK, &held, NULL);
    int first = wishes.weather < 0 ? 0 : wishes.weather, last = wishes.weather < 0 ? WEATHERS - 1 : wishes.weather;
    wishes.seconds /= last - first + 1;
    bool good = true;
    printf("1..%d\n# TEST_SEED=%llu\n", last - first + 1, (unsigned long long)test_seed());
    for (int weather = first; weather <= last; weather++)
        good &= run_weather((enum weather)weather, &wishes, weather - first + 1);
    return good ? 0 : 1;
}
