/* SPDX-License-Identifier: MIT */
/* The weathers, one after the other. What needs a privilege is left out where that is missing, and told of. */
#define _GNU_SOURCE
#include "weather.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    MANY_PROGRAMS = 100,
    STORM_SIGNALS = 4,
    THREADS_MAX = 512,
    CLEARING_TRIES = 2000,
    RT_SECONDS_MAX = 10,
    PERIOD_US = 10000,
    QUOTA_US_MIN = 1000
};

const char *const weather_names[WEATHERS] = {"calm", "signals", "stops", "one-cpu", "policies", "quota"};

static counter *events; /* shared with the programs: what has happened in this weather */
static bool may_real_time;

/* ---- signals ---- */

static void storm_signals(int numbers[STORM_SIGNALS])
{
    numbers[0] = SIGUSR1;
    numbers[1] = SIGUSR2;
    numbers[2] = SIGWINCH;
    numbers[3] = SIGRTMAX;
}

static void on_signal(int number)
{
    (void)number;
    if (syscall(SYS_gettid) != getpid())
        _exit(WEATHER_STRAY_HANDLER);
    counter_add(events, 1);
}

static void hold_signals(void)
{
    int numbers[STORM_SIGNALS];
    sigset_t held;
    storm_signals(numbers);
    sigemptyset(&held);
    for (int i = 0; i < STORM_SIGNALS; i++)
        sigaddset(&held, numbers[i]);
    sigprocmask(SIG_BLOCK, &held, NULL);
}

static void let_signals_in(void)
{
    const struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: system calls return early */
    int numbers[STORM_SIGNALS];
    sigset_t none;
    storm_signals(numbers);
    for (int i = 0; i < STORM_SIGNALS; i++)
        sigaction(numbers[i], &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Some thread of the program, or 0. */
static pid_t odd_thread(struct storm *storm)
{
    char path[64];
    pid_t threads[THREADS_MAX];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)storm->program);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && count < THREADS_MAX && (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            threads[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
    if (directory)
        closedir(directory);
    return count > 0 ? threads[test_random(&storm->random) % count] : 0;
}

/* Half of them to one thread: the kernel gives what is meant for all to the main thread, as long as that takes it. */
static void blow_signal(struct storm *storm)
{
    int numbers[STORM_SIGNALS];
    storm_signals(numbers);
    int number = numbers[test_random(&storm->random) % STORM_SIGNALS];
    if (test_random(&storm->random) % 2)
        kill(storm->program, number);
    else
        (void)syscall(SYS_tgkill, storm->program, odd_thread(storm), number);
}

/* ---- stops ---- */

static void blow_stop(struct storm *storm)
{
    storm->is_stopped = !storm->is_stopped;
    kill(storm->program, storm->is_stopped ? SIGSTOP : SIGCONT);
    counter_add(events, storm->is_stopped);
}

/* ---- few CPUs ---- */

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

static bool has_other_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1;
}

/* ---- policies ---- */

/* Not by libc: musl has only functions that refuse. */
static bool give_policy(pid_t thread, long policy, int priority)
{
    const struct sched_param param = {.sched_priority = priority};
    return syscall(SYS_sched_setscheduler, thread, policy, &param) == 0;
}

/* Each thread its own, a moment long. Real-time programs have one CPU, so that there is another for whoever watches them. */
static void blow_policy(struct storm *storm)
{
    static const int policies[] = {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR};
    pid_t thread = odd_thread(storm);
    size_t which = test_random(&storm->random) % (storm->is_real_time ? 5 : 3);
    int priority = which < 3 ? 0 : (int)(test_random(&storm->random) % 3) + 1;
    if (thread != 0)
        counter_add(events, give_policy(thread, policies[which], priority));
}

static void clear_policies(struct storm *storm)
{
    pid_t thread;
    for (int tries = 0; tries < CLEARING_TRIES && (thread = odd_thread(storm)) != 0; tries++)
        (void)give_policy(thread, SCHED_OTHER, 0);
}

/* A sanitizer's own locks turn in circles until their holder goes on. */
static void find_out_about_real_time(void)
{
    struct sched_param param;
    long policy = syscall(SYS_sched_getscheduler, 0);
    CHECK_EQ(syscall(SYS_sched_getparam, 0, &param), 0);
    may_real_time = !test_under_sanitizer() && has_other_cpus() && give_policy(0, SCHED_FIFO, 1);
    if (may_real_time)
        CHECK(give_policy(0, policy, param.sched_priority));
}

static bool is_real_time_program(uint64_t seed)
{
    return may_real_time && seed % 2 == 0;
}

static void enter_policies(uint64_t seed)
{
    const struct rlimit no_longer = {RT_SECONDS_MAX * 1000000, RT_SECONDS_MAX * 1000000}; /* without ever sleeping */
    static const int policies[] = {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE};
    if (is_real_time_program(seed)) {
        setrlimit(RLIMIT_RTTIME, &no_longer);
        stay_on_one_cpu();
    }
    (void)give_policy(0, policies[seed / 2 % 3], 0); /* not permitted where the storm was faster */
}

/* ---- a quota ---- */

/* A group of its own at the root, by version 2, or 1. It may be another's, who tries the same. */
static const char *const groups[] = {"/sys/fs/cgroup/crewpool-stress", "/sys/fs/cgroup/cpu/crewpool-stress",
                                     "/sys/fs/cgroup/cpu,cpuacct/crewpool-stress"};

static bool group_write(const char *group, const char *file, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", group, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return is_written;
}

static bool group_limit(const char *group, long quota_us)
{
    char quota[32], period[32], both[64];
    snprintf(quota, sizeof quota, "%ld", quota_us);
    snprintf(period, sizeof period, "%d", PERIOD_US);
    snprintf(both, sizeof both, "%s %s", quota, period);
    return group_write(group, "cpu.max", both) ||
           (group_write(group, "cpu.cfs_period_us", period) && group_write(group, "cpu.cfs_quota_us", quota));
}

/* Which is limited now, or NULL. */
static const char *limited_group(long quota_us)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        (void)mkdir(groups[i], 0755);
        if (group_limit(groups[i], quota_us))
            return groups[i];
        (void)rmdir(groups[i]);
    }
    return NULL;
}

static void remove_groups(void)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        (void)rmdir(groups[i]);
}

/* From a tenth of a CPU to all but a tenth. Tried again, because another's end may remove the group just now. */
static void enter_quota(uint64_t seed)
{
    long quota_us = QUOTA_US_MIN * (1 + (long)(seed % 9));
    bool is_in = false;
    for (int tries = 0; !is_in && tries < 100; tries++) {
        const char *group = limited_group(quota_us);
        is_in = group != NULL && group_write(group, "cgroup.procs", "0");
    }
    CHECK(is_in);
}

/* ---- all of them ---- */

void weather_prepare(void)
{
    void *memory = mmap(NULL, sizeof *events, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    events = memory;
    hold_signals();
    find_out_about_real_time();
}

const char *weather_is_missing(enum weather weather)
{
    if (weather != QUOTA)
        return NULL;
    bool is_there = limited_group(QUOTA_US_MIN) != NULL;
    remove_groups();
    return is_there ? NULL : "no group with a quota can be made here";
}

void weather_enter(enum weather weather, uint64_t seed)
{
    let_signals_in();
    if (weather == ONE_CPU)
        stay_on_one_cpu();
    if (weather == POLICIES)
        enter_policies(seed);
    if (weather == QUOTA)
        enter_quota(seed);
}

void storm_begin(struct storm *storm, enum weather weather, pid_t program, uint64_t seed)
{
    *storm = (struct storm){.weather = weather,
                            .program = program,
                            .random = seed,
                            .is_real_time = weather == POLICIES && is_real_time_program(seed)};
}

bool storm_blows(const struct storm *storm)
{
    return storm->weather == SIGNALS || storm->weather == STOPS || storm->weather == POLICIES;
}

void storm_blow(struct storm *storm)
{
    switch (storm->weather) {
    case SIGNALS: blow_signal(storm); break;
    case STOPS: blow_stop(storm); break;
    case POLICIES: blow_policy(storm); break;
    default: break;
    }
}

void storm_clear(struct storm *storm)
{
    kill(storm->program, SIGCONT);
    storm->is_stopped = false;
    if (storm->weather == POLICIES)
        clear_policies(storm);
    if (storm->weather == QUOTA)
        (void)limited_group(PERIOD_US * 1000);
}

bool weather_end(enum weather weather, long programs)
{
    static const char *const names[WEATHERS] = {[SIGNALS] = "signals were handled, all by main threads",
                                                [STOPS] = "stops",
                                                [POLICIES] = "changes of a thread's policy"};
    long happened = counter_add(events, 0);
    counter_add(events, -happened);
    if (weather == QUOTA)
        remove_groups();
    if (weather == POLICIES && !may_real_time)
        printf("# no real-time policies: not permitted, one CPU only, or under a sanitizer\n");
    if (names[weather] == NULL)
        return true;
    printf("# %ld %s\n", happened, names[weather]);
    return happened > 0 || programs < MANY_PROGRAMS;
}
