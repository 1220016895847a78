/* SPDX-License-Identifier: MIT */
/* The allocator for pools under test: counts what is alive, fails when told to, and checks on free that the block is one of its
 * own, freed once, with the size it was asked for, and that nothing was written before or behind it. */
#include "test.h"

#include <stdalign.h>
#include <stdatomic.h>

enum { FRESH = 0xa5, FREED = 0x5a, TAIL_SIZE = 16, TAIL_BYTE = 0xee };
#define ALIVE_MARK UINT64_C(0x63726577616c6976)
#define FREED_MARK UINT64_C(0x6372657766726565)

struct head { /* lies right before the block */
    uint64_t mark;
    size_t size, align;
    uint64_t mark_again;
};

static size_t offset_of_block(size_t align)
{
    size_t least = (sizeof(struct head) + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    return align > least ? align : least;
}

static bool must_fail(struct test_memory *memory, long call)
{
    long fail_at = atomic_load(&memory->fail_at);
    return fail_at > 0 ? call == fail_at : fail_at < 0 && call >= -fail_at;
}

void *test_memory_alloc(void *user, size_t size, size_t align)
{
    struct test_memory *memory = user;
    CHECK(size > 0);
    CHECK(align > 0 && (align & (align - 1)) == 0);
    if (must_fail(memory, counter_add(&memory->calls, 1)) || size > TEST_MEMORY_MAX)
        return NULL;
    size_t offset = offset_of_block(align);
    size_t unit = align > alignof(max_align_t) ? align : alignof(max_align_t);
    size_t total = (offset + size + TAIL_SIZE + unit - 1) / unit * unit;
    unsigned char *whole = aligned_alloc(unit, total);
    if (whole == NULL)
        return NULL;
    unsigned char *block = whole + offset;
    memset(whole, TAIL_BYTE, total);
    memset(block, FRESH, size);
    struct head head = {ALIVE_MARK, size, align, ALIVE_MARK};
    memcpy(block - sizeof head, &head, sizeof head);
    counter_add(&memory->live_blocks, 1);
    counter_add(&memory->live_bytes, (long)size);
    return block;
}

void test_memory_free(void *user, void *freed, size_t size)
{
    struct test_memory *memory = user;
    unsigned char *block = freed;
    struct head head;
    if (block == NULL)
        return;
    memcpy(&head, block - sizeof head, sizeof head);
    if (head.mark == FREED_MARK)
        test_fail(__FILE__, __LINE__, "a block of %zu bytes is freed twice", head.size);
    if (head.mark != ALIVE_MARK || head.mark_again != ALIVE_MARK)
        test_fail(__FILE__, __LINE__, "free of what is no block, or was written before its start");
    if (head.size != size)
        test_fail(__FILE__, __LINE__, "a block of %zu bytes is freed as %zu bytes", head.size, size);
    for (size_t i = 0; i < TAIL_SIZE; i++)
        if (block[size + i] != TAIL_BYTE)
            test_fail(__FILE__, __LINE__, "a block of %zu bytes was written behind its end", size);
    head.mark = head.mark_again = FREED_MARK;
    memcpy(block - sizeof head, &head, sizeof head);
    memset(block, FREED, size);
    counter_add(&memory->live_blocks, -1);
    counter_add(&memory->live_bytes, -(long)size);
    free(block - offset_of_block(head.align));
}
