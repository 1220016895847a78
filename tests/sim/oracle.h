/* SPDX-License-Identifier: MIT */
/* What a random program has asked for, and what came of it: checked at its end. Not instrumented: its own memory is no part of the game. */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include <crewpool/crewpool.h>
#include <stdbool.h>

enum { ORACLE_JOBS_MAX = 96, ORACLE_KEPT_MAX = 128, ORACLE_THREADS_GONE_MAX = 20 };

void oracle_begin(void);
bool oracle_has_room(void);      /* for one more tree of jobs */
bool oracle_thread_may_go(void); /* by a job that ends it: a simulation has so many threads only */
unsigned oracle_new(bool has_drops, bool has_callback);
void oracle_answered(unsigned id, crew_status status); /* of the submission */

void oracle_runs(unsigned id);
void oracle_argument_dropped(unsigned id);
void oracle_value_made(unsigned id);
void oracle_value_gone(unsigned id); /* dropped, or taken by a get */
void oracle_told(unsigned id, crew_status status);
void oracle_saw(unsigned id, crew_status outcome); /* by whoever waited or asked */

void oracle_worker_begins(void);
void oracle_worker_ends(void);

/* What a thread owns, in case it is lost; and what must outlive the pool. */
void oracle_keep(void *owned, void (*release)(void *owned));
void oracle_let_go(const void *owned);
void oracle_release_kept(void);

/* After the pool and all handles are gone. */
void oracle_check(void);

/* Program text finds something wrong. */
#define WANT(condition) ((condition) ? (void)0 : sim_fail("%s:%d: not so: %s", __FILE__, __LINE__, #condition))

#endif
