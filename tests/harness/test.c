/* SPDX-License-Identifier: MIT */
/* The tests' main: registration, options, the order of the runs and the report in TAP. */
#define _GNU_SOURCE
#include "run.h"

#include <signal.h>
#include <sys/wait.h>

enum { JOBS_DEFAULT = 2, JOBS_MAX = 64, WORKERS_MAX = 8, SLOW_S = 1 };

struct selection {
    bool plain, threads, serial; /* kinds of cases and of backends */
    bool helping_on, helping_off;
    unsigned workers[WORKERS_MAX], workers_count;
    const char *only;
    unsigned jobs;
    bool list, verbose;
};

struct plan {
    struct run *runs;
    size_t count, capacity;
};

static const char usage[] = "options: --list  --only=SUBSTRING  --jobs=N  --verbose\n"
                            "         --kind=threads,serial,plain  --workers=1,2,4,16  --helping=on|off\n"
                            "TEST_SEED=N in the environment repeats a run's random choices.\n";

static struct test_case *registered;
static size_t registered_count;

void test_register(struct test_case *test)
{
    test->next = registered;
    registered = test;
    registered_count++;
}

/* ---- options ---- */

static bool parse_kinds(struct selection *selection, const char *kinds)
{
    selection->plain = strstr(kinds, "plain") != NULL;
    selection->threads = strstr(kinds, "threads") != NULL;
    selection->serial = strstr(kinds, "serial") != NULL;
    return selection->plain || selection->threads || selection->serial;
}

static bool parse_workers(struct selection *selection, const char *numbers)
{
    selection->workers_count = 0;
    for (char *end; selection->workers_count < WORKERS_MAX; numbers = end + 1) {
        unsigned long workers = strtoul(numbers, &end, 10);
        if (end == numbers || workers == 0 || workers > CREW_WORKERS_MAX)
            return false;
        selection->workers[selection->workers_count++] = (unsigned)workers;
        if (*end != ',')
            return *end == '\0';
    }
    return false;
}

static bool parse_helping(struct selection *selection, const char *word)
{
    selection->helping_on = strcmp(word, "on") == 0;
    selection->helping_off = strcmp(word, "off") == 0;
    return selection->helping_on || selection->helping_off;
}

static bool parse_jobs(struct selection *selection, const char *number)
{
    selection->jobs = (unsigned)strtoul(number, NULL, 10);
    return selection->jobs >= 1 && selection->jobs <= JOBS_MAX;
}

static bool parse_only(struct selection *selection, const char *substring)
{
    selection->only = substring;
    return true;
}

static bool parse_option(struct selection *selection, const char *option)
{
    static const struct {
        const char *prefix;
        bool (*parse)(struct selection *, const char *);
    } options[] = {{"--kind=", parse_kinds},
                   {"--workers=", parse_workers},
                   {"--helping=", parse_helping},
                   {"--jobs=", parse_jobs},
                   {"--only=", parse_only}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        size_t size = strlen(options[i].prefix);
        if (strncmp(option, options[i].prefix, size) == 0)
            return options[i].parse(selection, option + size);
    }
    selection->list |= strcmp(option, "--list") == 0;
    selection->verbose |= strcmp(option, "--verbose") == 0;
    return strcmp(option, "--list") == 0 || strcmp(option, "--verbose") == 0;
}

/* ---- the plan: cases x configurations, in order of file and name ---- */

static int by_file_and_name(const void *left, const void *right)
{
    const struct test_case *a = *(struct test_case *const *)left, *b = *(struct test_case *const *)right;
    int files = strcmp(a->file, b->file);
    return files ? files : strcmp(a->name, b->name);
}

static void *must(void *memory)
{
    if (memory == NULL) {
        perror("no memory for the list of cases");
        exit(2);
    }
    return memory;
}

static void plan_add(struct plan *plan, const struct selection *selection, const struct run *run)
{
    if (selection->only != NULL && strstr(run->name, selection->only) == NULL)
        return;
    if (plan->count == plan->capacity) {
        plan->capacity = plan->capacity ? plan->capacity * 2 : 64;
        plan->runs = must(realloc(plan->runs, plan->capacity * sizeof *plan->runs));
    }
    plan->runs[plan->count++] = *run;
}

static void plan_configuration(struct plan *plan, const struct selection *selection, const struct test_case *test,
                               struct contract configuration)
{
    struct run run = {.test = test, .config = configuration, .output_fd = -1};
    snprintf(run.name, sizeof run.name, "%s [%s %u %s]", test->name, configuration.threads ? "threads" : "serial",
             configuration.workers, configuration.helping ? "helping" : "no-helping");
    plan_add(plan, selection, &run);
}

static void plan_kind(struct plan *plan, const struct selection *selection, const struct test_case *test, int kind)
{
    for (unsigned i = 0; i < selection->workers_count; i++)
        for (int helping = 1; helping >= 0; helping--)
            if (helping ? selection->helping_on : selection->helping_off)
                plan_configuration(plan, selection, test,
                                   (struct contract){kind, selection->workers[i], helping != 0, kind == CREW_THREADS});
}

static void plan_case(struct plan *plan, const struct selection *selection, const struct test_case *test)
{
    if (test->kind == TEST_PLAIN && selection->plain) {
        struct run run = {.test = test, .config = {CREW_THREADS, 2, true, true}, .output_fd = -1};
        snprintf(run.name, sizeof run.name, "%s", test->name);
        plan_add(plan, selection, &run);
    }
    if (test->kind == TEST_CONTRACT && selection->serial)
        plan_kind(plan, selection, test, CREW_SERIAL);
    if (test->kind != TEST_PLAIN && selection->threads)
        plan_kind(plan, selection, test, CREW_THREADS);
}

static struct plan make_plan(const struct selection *selection)
{
    struct plan plan = {NULL, 0, 0};
    struct test_case **cases = must(calloc(registered_count + 1, sizeof(struct test_case *)));
    size_t count = 0;
    for (struct test_case *test = registered; test != NULL; test = test->next)
        cases[count++] = test;
    qsort(cases, count, sizeof *cases, by_file_and_name);
    for (size_t i = 0; i < count; i++)
        plan_case(&plan, selection, cases[i]);
    free(cases);
    return plan;
}

/* ---- the report ---- */

struct tally {
    size_t passed, failed, skipped;
};

static void print_comment(const char *text)
{
    while (*text != '\0') {
        size_t size = strcspn(text, "\n");
        if (size > 0)
            printf("# %.*s\n", (int)size, text);
        text += size + (text[size] == '\n');
    }
}

static const char *skip_reason(struct run *run)
{
    char *last = NULL;
    for (char *mark = run->output; (mark = strstr(mark, RUN_SKIP_MARK)) != NULL; mark++)
        last = mark;
    if (last == NULL)
        return "no reason given";
    last[strcspn(last, "\n")] = '\0';
    return last + strlen(RUN_SKIP_MARK);
}

static void report_failure(const struct run *run, size_t number)
{
    printf("not ok %zu - %s\n", number, run->name);
    if (run->output_cut)
        printf("# (the beginning of its output was dropped)\n");
    print_comment(run->output);
    if (WIFSIGNALED(run->status) && !run->timed_out)
        printf("# killed by signal %d (%s)\n", WTERMSIG(run->status), strsignal(WTERMSIG(run->status)));
    if (WIFEXITED(run->status) && WEXITSTATUS(run->status) > 1)
        printf("# exit status %d\n", WEXITSTATUS(run->status));
    printf("# %s: repeat with TEST_SEED=%llu and --only='%s'\n", run->test->file, (unsigned long long)test_seed(),
           run->name);
}

static void report(struct run *run, size_t number, const struct selection *selection, struct tally *tally)
{
    int status = run->timed_out || !WIFEXITED(run->status) ? -1 : WEXITSTATUS(run->status);
    if (status == 0) {
        tally->passed++;
        printf("ok %zu - %s\n", number, run->name);
        if (selection->verbose)
            print_comment(run->output);
    } else if (status == RUN_SKIPPED) {
        tally->skipped++;
        printf("ok %zu - %s # SKIP %s\n", number, run->name, skip_reason(run));
    } else {
        tally->failed++;
        report_failure(run, number);
    }
    double seconds = (double)(run->ended_ns - run->started_ns) / 1e9;
    if (seconds >= SLOW_S)
        printf("# took %.1f s\n", seconds);
    fflush(stdout);
    free(run->output);
}

/* Starts in order, reports in order, keeps `jobs` going in between. */
static struct tally run_plan(const struct plan *plan, const struct selection *selection)
{
    struct tally tally = {0, 0, 0};
    size_t started = 0, reported = 0;
    while (reported < plan->count) {
        size_t active = 0;
        for (size_t i = reported; i < started; i++)
            active += plan->runs[i].phase != RUN_FINISHED;
        for (; active < selection->jobs && started < plan->count; active++)
            run_start(&plan->runs[started++]);
        run_wait(plan->runs + reported, started - reported);
        for (; reported < started && plan->runs[reported].phase == RUN_FINISHED; reported++)
            report(&plan->runs[reported], reported + 1, selection, &tally);
    }
    return tally;
}

static int list_plan(const struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        printf("%s\n", plan->runs[i].name);
    return 0;
}

int main(int argc, char **argv)
{
    struct selection selection = {true, true, true, true, true, {1, 2, 4, 16}, 4, NULL, JOBS_DEFAULT, false, false};
    for (int i = 1; i < argc; i++) {
        if (!parse_option(&selection, argv[i])) {
            fprintf(stderr, "%s: cannot use %s\n%s", argv[0], argv[i], usage);
            return 2;
        }
    }
    struct plan plan = make_plan(&selection);
    if (selection.list)
        return list_plan(&plan);
    if (plan.count == 0) {
        printf("1..0 # SKIP no case fits the options\n");
        return selection.only != NULL;
    }
    run_prepare();
    printf("1..%zu\n# TEST_SEED=%llu\n", plan.count, (unsigned long long)test_seed());
    struct tally tally = run_plan(&plan, &selection);
    printf("# %zu passed, %zu failed, %zu skipped\n", tally.passed, tally.failed, tally.skipped);
    free(plan.runs);
    return tally.failed > 0;
}
