/* SPDX-License-Identifier: MIT */
/* One pass: the walk is the source of an unordered imap, whose tables this thread hands on to be merged. Only workers
 * count; this thread stays free to take results, so that the window never fills up behind one large file. */
#define _DEFAULT_SOURCE
#include "pass.h"

#include <crewpool/crewpool.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "count.h"
#include "merge.h"
#include "notice.h"

/* Entries pulled and not taken yet: enough for all workers to go on, few enough to keep descriptors and memory small. */
enum { WINDOW_PER_WORKER = 16, WINDOW_MAX = 256, PROGRESS_MS = 100 };

struct running {
    const struct pass *pass;
    struct totals *totals;
    struct walk *walk;
    struct merge merge;
    struct count_shared shared; /* outlives the pool */
};

/* ---- Ctrl-C ---- */

static atomic_bool interrupted;
static _Atomic(crew_pool *) current_pool; /* pools are destroyed only where the handler cannot see them any more */

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    atomic_store(&interrupted, true);
    crew_pool_request_stop(atomic_load(&current_pool));
}

void pass_watch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)(SA_RESTART | SA_RESETHAND)};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

bool pass_interrupted(void)
{
    return atomic_load(&interrupted);
}

/* Workers block signals, so the handler runs on this thread: what is stored here is what it sees. */
static void watch_pool(crew_pool *pool)
{
    atomic_store(&current_pool, pool);
    if (pass_interrupted())
        crew_pool_request_stop(pool);
}

/* ---- taking results ---- */

static const char *what_it_is(const struct count *count)
{
    static const char *const names[ENTRY_KINDS] = {
        [ENTRY_LOOP] = "a loop of links, skipped", [ENTRY_AGAIN] = "a directory that was walked already, skipped",
        [ENTRY_FIFO] = "a fifo, skipped",          [ENTRY_SOCKET] = "a socket, skipped",
        [ENTRY_DEVICE] = "a device, skipped",
    };

    return count->kind == ENTRY_UNREADABLE ? strerror(count->error) : names[count->kind];
}

static bool take(struct running *running, struct count *count)
{
    struct totals *totals = running->totals;

    totals->entries[count->kind]++;
    totals->bytes += count->bytes;
    if (count->path && !running->pass->quiet)
        notice_about(count->path, what_it_is(count));
    free(count->path);
    if (count->words.used == 0 || merge_add(&running->merge, &count->words))
        return true;
    notice("out of memory");
    return false;
}

static bool refuse(const char *what, crew_status status, const crew_error *error)
{
    notice("%s: %s: %s", what, crew_status_name(status), error->message);
    return false;
}

/* False when the pass cannot go on. */
static bool take_next(struct running *running, crew_iterator *counts, bool *ret_more)
{
    /* Without a progress line there is nothing to do but wait. */
    crew_deadline patience = progress_wanted() ? crew_after_ms(PROGRESS_MS) : CREW_FOREVER;
    struct count count;
    crew_error error;
    crew_status status = crew_iterator_next(counts, &count, NULL, patience, &error);

    *ret_more = status != CREW_END;
    if (status == CREW_OK)
        return take(running, &count);
    return status == CREW_TIMEOUT || status == CREW_END || pass_interrupted() || refuse("counting", status, &error);
}

static bool take_all(struct running *running, crew_iterator *counts)
{
    bool good = true, more = true;

    while (good && more && !pass_interrupted()) {
        good = take_next(running, counts, &more);
        progress_show(running->pass->doing, running->totals->entries[ENTRY_FILE],
                      atomic_load(&running->shared.bytes_read));
    }
    progress_wipe();
    return good;
}

/* ---- the pool and the stream ---- */

static size_t window_for(unsigned workers)
{
    size_t window = (size_t)workers * WINDOW_PER_WORKER;

    return window < WINDOW_MAX ? window : WINDOW_MAX;
}

static bool with_pool(struct running *running, crew_pool *pool)
{
    crew_source source = {.pull = walk_next, .user = running->walk};
    size_t window = window_for(running->pass->workers);
    crew_iterator *counts;
    crew_error error;
    crew_status status;
    bool good;

    status = crew_imap_unordered(pool, count_job, &source, &counts,
                                 CREW_CALL(.context = &running->shared, .window = window, .error = &error));
    if (status != CREW_OK)
        return refuse("no stream", status, &error);
    good = take_all(running, counts);
    crew_iterator_destroy(counts);
    return good;
}

static bool with_walk(struct running *running)
{
    crew_pool *pool;
    crew_error error;
    crew_status status;
    bool good;

    status = crew_pool_create(&pool, CREW_OPTIONS(.workers = running->pass->workers, .flags = CREW_WORKERS_ONLY,
                                                  .name = "wordcount", .error = &error));
    if (status != CREW_OK)
        return refuse("no pool", status, &error);
    watch_pool(pool);
    merge_start(&running->merge, pool, running->pass->workers, &running->totals->words);
    good = with_pool(running, pool);
    good = merge_end(&running->merge) && good;
    watch_pool(NULL);
    crew_pool_destroy(pool);
    return good;
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

bool pass_run(const struct pass *pass, struct totals *ret_totals)
{
    struct running running = {.pass = pass, .totals = ret_totals, .walk = walk_new(pass->roots, pass->roots_count)};
    double start = seconds_now();
    bool good;

    *ret_totals = (struct totals){.bytes = 0};
    if (!running.walk)
        notice("out of memory");
    good = running.walk && with_walk(&running);
    ret_totals->seconds = seconds_now() - start;
    walk_free(running.walk);
    return good;
}
