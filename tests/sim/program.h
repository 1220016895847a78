/* SPDX-License-Identifier: MIT */
/* A random program, to be run by sim_run. */
#ifndef SIM_PROGRAM_H
#define SIM_PROGRAM_H

void program_run(void *arg);

#endif
