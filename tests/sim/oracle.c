/* SPDX-License-Identifier: MIT */
/* The book of a random program's jobs: every accepted job ends exactly once, and what is dropped is dropped once. */
#include "oracle.h"

#include "sim.h"

struct entry {
    bool has_drops, has_callback, is_accepted, is_refused, is_seen;
    unsigned runs, arguments_dropped, values_made, values_gone, told;
    crew_status outcome;
};

static struct entry entries[ORACLE_JOBS_MAX];
static unsigned count, workers, threads_gone;

static struct {
    void *owned;
    void (*release)(void *owned);
} kept[ORACLE_KEPT_MAX];

void oracle_begin(void)
{
    memset(entries, 0, sizeof entries);
    memset(kept, 0, sizeof kept);
    count = workers = threads_gone = 0;
}

bool oracle_has_room(void)
{
    return count + 8 < ORACLE_JOBS_MAX;
}

bool oracle_thread_may_go(void)
{
    return threads_gone++ < ORACLE_THREADS_GONE_MAX;
}

unsigned oracle_new(bool has_drops, bool has_callback)
{
    WANT(count < ORACLE_JOBS_MAX);
    entries[count] = (struct entry){.has_drops = has_drops, .has_callback = has_callback};
    return count++;
}

void oracle_answered(unsigned id, crew_status status)
{
    entries[id].is_accepted = status == CREW_OK;
    entries[id].is_refused = status != CREW_OK;
}

void oracle_runs(unsigned id)
{
    WANT(entries[id].runs == 0);
    WANT(!entries[id].is_refused);
    entries[id].runs++;
}

void oracle_argument_dropped(unsigned id)
{
    WANT(entries[id].has_drops);
    WANT(entries[id].arguments_dropped == 0);
    entries[id].arguments_dropped++;
}

void oracle_value_made(unsigned id)
{
    entries[id].values_made++;
}

void oracle_value_gone(unsigned id)
{
    WANT(entries[id].values_made == 1);
    WANT(entries[id].values_gone == 0);
    entries[id].values_gone++;
}

void oracle_saw(unsigned id, crew_status outcome)
{
    struct entry *entry = &entries[id];
    if (entry->is_seen && entry->outcome != outcome)
        sim_fail("job %u ended as %s, and as %s", id, crew_status_name(entry->outcome), crew_status_name(outcome));
    WANT(CREW_IS_OUTCOME(outcome));
    WANT(entry->runs == (outcome == CREW_OK || outcome == CREW_FAILED || outcome == CREW_WORKER_LOST));
    entry->is_seen = true;
    entry->outcome = outcome;
}

void oracle_told(unsigned id, crew_status status)
{
    WANT(entries[id].has_callback);
    WANT(entries[id].told == 0);
    oracle_saw(id, status);
    entries[id].told++;
}

void oracle_worker_begins(void)
{
    workers++;
}

void oracle_worker_ends(void)
{
    WANT(workers > 0);
    workers--;
}

void oracle_keep(void *owned, void (*release)(void *owned))
{
    for (unsigned i = 0; i < ORACLE_KEPT_MAX; i++)
        if (!kept[i].owned) {
            kept[i].owned = owned;
            kept[i].release = release;
            return;
        }
    sim_fail("the program owns too much");
}

void oracle_let_go(const void *owned)
{
    for (unsigned i = 0; i < ORACLE_KEPT_MAX; i++)
        if (kept[i].owned == owned)
            kept[i].owned = NULL;
}

void oracle_release_kept(void)
{
    for (unsigned i = 0; i < ORACLE_KEPT_MAX; i++) {
        void *owned = kept[i].owned;
        kept[i].owned = NULL;
        if (owned)
            kept[i].release(owned);
    }
}

static void entry_check(unsigned id)
{
    const struct entry *entry = &entries[id];
    unsigned once = entry->is_accepted;
    if (!entry->is_accepted && !entry->is_refused)
        return; /* whoever submitted it was lost before it knew */
    if (entry->arguments_dropped != (entry->has_drops ? once : 0))
        sim_fail("job %u: %u arguments dropped; it %s, ran %u times, ended as %s", id, entry->arguments_dropped,
                 entry->is_accepted ? "was accepted" : "was refused", entry->runs, crew_status_name(entry->outcome));
    if (entry->told != (entry->has_callback ? once : 0))
        sim_fail("job %u: %u callbacks", id, entry->told);
    if (entry->has_drops && entry->values_made != entry->values_gone)
        sim_fail("job %u: %u values made, %u gone", id, entry->values_made, entry->values_gone);
    if (!entry->is_accepted && entry->runs > 0)
        sim_fail("job %u was refused, and ran", id);
}

void oracle_check(void)
{
    WANT(workers == 0);
    for (unsigned id = 0; id < count; id++)
        entry_check(id);
}
