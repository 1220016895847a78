/* SPDX-License-Identifier: MIT */
/* The groups of workloads, a file each. */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include "driver.h"

extern const struct workload submit_workloads[];
extern const struct workload call_workloads[];
extern const struct workload map_workloads[];
extern const struct workload pool_workloads[];

#endif
