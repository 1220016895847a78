/* SPDX-License-Identifier: MIT */
/* A check that fails ends the process by _exit; where that is compiled as fuzz_failed, libFuzzer sees an abort, and keeps the input. */
#include <stdlib.h>

_Noreturn void fuzz_failed(int status);

_Noreturn void fuzz_failed(int status)
{
    (void)status;
    abort();
}
