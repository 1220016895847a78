/* SPDX-License-Identifier: MIT */
/* Jobs that the caller of a blocking call runs itself. */
#ifndef CREWI_HERE_H
#define CREWI_HERE_H

#include "core.h"

/* True: the job has run on this thread, or was refused; *ret_status is what crew_apply returns. False: nothing was done. */
bool crewi_apply_here(crew_pool *pool, const crew_job *job, const void *arg, void *ret_value, const crew_call *call,
                      crew_status *ret_status);

#endif
