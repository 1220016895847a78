/* SPDX-License-Identifier: MIT */
/* Runs a test case in its own process: fork, output through a pipe, time limit, and what its threads were doing when it passed.
 * The parent has one thread; it sleeps in ppoll until a child prints, ends, or runs out of time. */
#define _GNU_SOURCE
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_DEFAULT_S = 20, SANITIZER_FACTOR = 3, ABORT_GRACE_S = 2, ACTIVE_MAX = 256 };
#define SECOND_NS INT64_C(1000000000)

static sigset_t mask_outside; /* what was blocked before run_prepare, and is in cases and in ppoll */

unsigned run_limit_s(const struct test_case *test)
{
    unsigned limit = test->limit_s ? test->limit_s : LIMIT_DEFAULT_S;
    return test_under_sanitizer() ? limit * SANITIZER_FACTOR : limit;
}

static void on_child(int signal_number)
{
    (void)signal_number; /* only there to interrupt ppoll */
}

void run_prepare(void)
{
    struct sigaction action = {.sa_handler = on_child};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &mask_outside);
    sigdelset(&mask_outside, SIGCHLD);
    sigaction(SIGCHLD, &action, NULL);
}

/* ---- the child ---- */

static _Noreturn void run_case(const struct run *run, int output_fd)
{
    struct rlimit no_core = {0, 0};
    int nothing = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(nothing, STDIN_FILENO);
    dup2(output_fd, STDOUT_FILENO);
    dup2(output_fd, STDERR_FILENO);
    close(nothing);
    close(output_fd);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &mask_outside, NULL);

    config = &run->config;
    test_threads_baseline();
    run->test->run();
    exit(0);
}

void run_start(struct run *run)
{
    int ends[2];
    fflush(stdout);
    if (pipe2(ends, O_CLOEXEC) != 0 || (run->output = calloc(1, RUN_OUTPUT_MAX + 1)) == NULL) {
        perror("cannot start a case");
        exit(2);
    }
    run->process = fork();
    if (run->process < 0) {
        perror("fork");
        exit(2);
    }
    if (run->process == 0) {
        close(ends[0]);
        run_case(run, ends[1]);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    run->output_fd = ends[0];
    run->started_ns = test_now_ns();
    run->deadline_ns = run->started_ns + run_limit_s(run->test) * SECOND_NS;
    run->phase = RUN_ACTIVE;
}

/* ---- what it prints ---- */

/* Keeps the end of a long output, because that is where the failure is. */
static void append(struct run *run, const char *text, size_t size)
{
    if (run->output_size + size > RUN_OUTPUT_MAX) {
        size_t kept = RUN_OUTPUT_MAX / 2 < run->output_size ? RUN_OUTPUT_MAX / 2 : run->output_size;
        memmove(run->output, run->output + run->output_size - kept, kept);
        run->output_size = kept;
        run->output_cut = true;
    }
    memcpy(run->output + run->output_size, text, size);
    run->output_size += size;
    run->output[run->output_size] = '\0';
}

static void note(struct run *run, const char *format, ...) CREW_PRINTF(2, 3);
static void note(struct run *run, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    append(run, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

static void read_output(struct run *run)
{
    char buffer[4096];
    ssize_t size = 0;
    while (run->output_fd >= 0 && (size = read(run->output_fd, buffer, sizeof buffer)) > 0)
        append(run, buffer, (size_t)size);
    if (size == 0 && run->output_fd >= 0) { /* the end: ppoll must not see it again */
        close(run->output_fd);
        run->output_fd = -1;
    }
}

/* ---- its end ---- */

static void read_line(char *line, size_t line_size, pid_t process, const char *thread, const char *file)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task/%s/%s", (int)process, thread, file);
    FILE *stream = fopen(path, "re");
    if (stream == NULL || fgets(line, (int)line_size, stream) == NULL)
        snprintf(line, line_size, "?");
    line[strcspn(line, "\n")] = '\0';
    if (stream != NULL)
        fclose(stream);
}

static void describe_thread(struct run *run, const char *thread)
{
    char name[64], stat[512], place[64], call[128];
    read_line(name, sizeof name, run->process, thread, "comm");
    read_line(stat, sizeof stat, run->process, thread, "stat");
    read_line(place, sizeof place, run->process, thread, "wchan");
    read_line(call, sizeof call, run->process, thread, "syscall");
    const char *state = strrchr(stat, ')'); /* "1234 (name) S 1 …", and the name may hold anything */
    note(run, "  thread %s %s: state %c, in %s, system call %s\n", thread, name, state ? state[2] : '?', place, call);
}

static void describe_threads(struct run *run)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)run->process);
    DIR *threads = opendir(path);
    for (struct dirent *entry; threads != NULL && (entry = readdir(threads)) != NULL;)
        if (entry->d_name[0] != '.')
            describe_thread(run, entry->d_name);
    if (threads != NULL)
        closedir(threads);
}

static void enforce_limit(struct run *run)
{
    if (run->phase == RUN_ACTIVE) {
        run->timed_out = true;
        read_output(run);
        note(run, "\ntime limit of %u s passed\n", run_limit_s(run->test));
        describe_threads(run);
        kill(run->process, SIGABRT);
        run->phase = RUN_ABORTED;
        run->deadline_ns = test_now_ns() + ABORT_GRACE_S * SECOND_NS;
    } else {
        kill(-run->process, SIGKILL);
        kill(run->process, SIGKILL);
        run->deadline_ns = INT64_MAX;
    }
}

static void reap(struct run *run)
{
    if (waitpid(run->process, &run->status, WNOHANG) != run->process)
        return;
    kill(-run->process, SIGKILL); /* whatever it forked and left behind */
    read_output(run);
    if (run->output_fd >= 0)
        close(run->output_fd);
    run->ended_ns = test_now_ns();
    run->phase = RUN_FINISHED;
}

/* ---- all of them ---- */

static bool is_active(const struct run *run)
{
    return run->phase == RUN_ACTIVE || run->phase == RUN_ABORTED;
}

static void wait_for_event(struct run *runs, size_t count)
{
    struct pollfd polled[ACTIVE_MAX];
    nfds_t polled_count = 0;
    int64_t earliest_ns = INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!is_active(&runs[i]) || polled_count == ACTIVE_MAX)
            continue;
        polled[polled_count++] = (struct pollfd){.fd = runs[i].output_fd, .events = POLLIN};
        earliest_ns = runs[i].deadline_ns < earliest_ns ? runs[i].deadline_ns : earliest_ns;
    }
    int64_t left_ns = earliest_ns - test_now_ns();
    left_ns = left_ns > 0 ? left_ns : 0;
    struct timespec left = {.tv_sec = (time_t)(left_ns / SECOND_NS), .tv_nsec = (long)(left_ns % SECOND_NS)};
    ppoll(polled, polled_count, &left, &mask_outside); /* SIGCHLD comes here or nowhere */
}

void run_wait(struct run *runs, size_t count)
{
    wait_for_event(runs, count);
    int64_t now_ns = test_now_ns();
    for (size_t i = 0; i < count; i++) {
        if (is_active(&runs[i]))
            read_output(&runs[i]);
        if (is_active(&runs[i]))
            reap(&runs[i]);
        if (is_active(&runs[i]) && runs[i].deadline_ns <= now_ns)
            enforce_limit(&runs[i]);
    }
}
