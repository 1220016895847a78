/* SPDX-License-Identifier: MIT */
/* All workloads that a library is asked for. */
#include "workloads.h"

const struct workload *const workloads[] = {submit_workloads, call_workloads, map_workloads, pool_workloads, NULL};
