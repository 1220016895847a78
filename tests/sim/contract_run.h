/* SPDX-License-Identifier: MIT */
/* Cases of the contract on simulated threads: between what runs them and what they use. */
#ifndef SIM_CONTRACT_RUN_H
#define SIM_CONTRACT_RUN_H

#include "sim.h"
#include "test.h"

enum { CONTRACT_PASSED = 0, CONTRACT_SKIPPED = 77, CONTRACT_CUT = 78 };

uint64_t contract_seed(void);

/* Ends the case's process. */
_Noreturn void contract_end(int status);

#endif
