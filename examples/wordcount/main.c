/* SPDX-License-Identifier: MIT */
/* wordcount: counts the words of every regular file under the directories given, on all CPUs.
 *
 *     wordcount [--workers=N] [--top=N] [--no-compare] DIRECTORY...
 *
 *            44117  *
 *            29303  the
 *              ...
 *
 *             1722  files
 *           712046  words
 *              ...
 *            0.031  seconds with 2 workers
 *
 *            0.050  seconds with 1 worker, warm cache
 *            0.027  seconds with 2 workers, warm cache
 *             1.85  times as fast on 2 CPUs
 *
 * It shows crew_imap_unordered over a lazy source with results that own memory, crew_map_async to merge them, and Ctrl-C by
 * crew_pool_request_stop.
 * Words are those of `LC_ALL=C wc -w` (words.h). Read pass.c first, then count.c, merge.c and walk.h. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <crewpool/crewpool.h>

#include "notice.h"
#include "pass.h"
#include "report.h"

enum { EXIT_UNREADABLE = 1, EXIT_TROUBLE = 2, EXIT_INTERRUPTED = 130 };

static const char usage[] =
    "Usage: wordcount [--workers=N] [--top=N] [--no-compare] DIRECTORY...\n"
    "Counts the words of every regular file under the directories, as `LC_ALL=C wc -w` does.\n"
    "\n"
    "  --workers=N    threads that count; default: one per usable CPU\n"
    "  --top=N        how many of the most frequent words to show; default: 20\n"
    "  --no-compare   do not measure the speed-up against one worker (two more passes)\n"
    "  --help         this text\n"
    "\n"
    "Bytes of a word that are not printable ASCII are shown as \\xHH. Words that agree in their first 1024 bytes are\n"
    "one word. Symbolic links, fifos, sockets and devices are skipped and counted. Exit status: 0; 1 if something\n"
    "could not be read; 2 for wrong usage or other trouble; 130 when interrupted (the totals are then partial).\n";

struct options {
    unsigned workers, cpus;
    size_t top;
    bool compare;
    struct pass pass;
};

/* ---- options ---- */

static bool parse_number(const char *name, const char *text, unsigned long most, unsigned long *ret_number)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number > most) {
        notice("--%s: not a number from 0 to %lu: %s", name, most, text);
        return false;
    }
    *ret_number = number;
    return true;
}

static bool set_option(struct options *options, int letter)
{
    unsigned long number = 0;
    bool good = true;

    switch (letter) {
    case 'w':
        good = parse_number("workers", optarg, CREW_WORKERS_MAX, &number);
        options->workers = (unsigned)number;
        return good;
    case 't':
        good = parse_number("top", optarg, 1000000, &number);
        options->top = number;
        return good;
    case 'n': options->compare = false; return true;
    case 'h': fputs(usage, stdout); exit(EXIT_SUCCESS);
    default: return false;
    }
}

static bool parse_options(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {{"workers", required_argument, NULL, 'w'},
                                          {"top", required_argument, NULL, 't'},
                                          {"no-compare", no_argument, NULL, 'n'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int letter;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1)
        if (!set_option(options, letter))
            return false;
    if (optind == argc)
        notice("which directory?");
    options->pass.roots = argv + optind;
    options->pass.roots_count = (size_t)(argc - optind);
    return optind < argc;
}

static bool count_cpus(struct options *options)
{
    crew_error error;

    if (crew_cpu_count(&options->cpus, &error) != CREW_OK) {
        notice("%s", error.message);
        return false;
    }
    if (options->workers == 0)
        options->workers = options->cpus;
    return true;
}

/* ---- the passes ---- */

static bool measure(const struct options *options, unsigned workers, struct totals *ret_totals)
{
    struct pass pass = options->pass;

    pass.workers = workers;
    pass.quiet = true;
    pass.doing = workers == 1 ? "again, 1 worker" : "again, all workers";
    return pass_run(&pass, ret_totals) && !pass_interrupted();
}

static bool agree(const struct totals *a, const struct totals *b)
{
    return a->bytes == b->bytes && merged_total(&a->words) == merged_total(&b->words) &&
           merged_different(&a->words) == merged_different(&b->words) &&
           memcmp(a->entries, b->entries, sizeof a->entries) == 0;
}

static void compare_measured(const struct options *options, const struct totals *first, const struct totals *one,
                             const struct totals *many)
{
    if (agree(first, one) && agree(first, many))
        report_speed_up(one, many, options->workers, options->cpus);
    else
        notice("the files changed between the passes: no comparison");
}

/* The first pass has warmed the cache. */
static int compare(const struct options *options, const struct totals *first)
{
    struct totals one = {.bytes = 0}, many = {.bytes = 0};
    bool good = measure(options, 1, &one) && measure(options, options->workers, &many);

    if (good)
        compare_measured(options, first, &one, &many);
    else if (pass_interrupted())
        notice("interrupted: no comparison");
    merged_free(&one.words);
    merged_free(&many.words);
    return good || pass_interrupted() ? EXIT_SUCCESS : EXIT_TROUBLE;
}

static int report(const struct options *options, const struct totals *totals)
{
    if (pass_interrupted())
        notice("interrupted: the totals are of what was counted until then");
    if (!report_words(&totals->words, options->top)) {
        notice("out of memory");
        return EXIT_TROUBLE;
    }
    report_totals(totals, options->workers);
    fflush(stdout);
    if (pass_interrupted() || !options->compare)
        return EXIT_SUCCESS;
    if (options->workers > 1)
        return compare(options, totals);
    printf("\nOne worker on %u CPU%s: no speed-up to measure.\n", options->cpus, options->cpus == 1 ? "" : "s");
    return EXIT_SUCCESS;
}

static int count_and_report(const struct options *options)
{
    struct totals totals;
    bool complete = pass_run(&options->pass, &totals);
    int exit_status = complete ? report(options, &totals) : EXIT_TROUBLE;

    if (exit_status == EXIT_SUCCESS && totals.entries[ENTRY_UNREADABLE] > 0)
        exit_status = EXIT_UNREADABLE;
    merged_free(&totals.words);
    return pass_interrupted() ? EXIT_INTERRUPTED : exit_status;
}

int main(int argc, char **argv)
{
    struct options options = {.top = 20, .compare = true, .pass = {.doing = "counting"}};
    int exit_status;

    if (!parse_options(&options, argc, argv)) {
        fputs("Try: wordcount --help\n", stderr);
        return EXIT_TROUBLE;
    }
    if (!count_cpus(&options))
        return EXIT_TROUBLE;
    options.pass.workers = options.workers;
    pass_watch_interrupt();
    exit_status = count_and_report(&options);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        notice("standard output: %s", strerror(errno));
        return EXIT_TROUBLE;
    }
    return exit_status;
}
