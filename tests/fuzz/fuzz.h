/* SPDX-License-Identifier: MIT */
/* What the fuzzers share: bytes as a source of decisions, and how a fuzzer fails. See README.md. */
#ifndef CREW_TEST_FUZZ_H
#define CREW_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What libFuzzer calls with each input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The decisions that are left of an input. When it is used up, each is 0: so 0 is always the dull choice. */
struct fuzz_input {
    const uint8_t *at, *end;
};

static inline unsigned fuzz_byte(struct fuzz_input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static inline unsigned fuzz_choose(struct fuzz_input *input, unsigned count)
{
    return fuzz_byte(input) % count;
}

/* One of an array. */
#define FUZZ_PICK(input, array) ((array)[fuzz_choose((input), (unsigned)(sizeof(array) / sizeof(array)[0]))])

#endif
