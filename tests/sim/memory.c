/* SPDX-License-Identifier: MIT */
/* The simulation's memory: one arena, of which nothing is used twice within a run. So every touch of what was freed, or of what never was
 * anybody's, is seen: by the atomic operations, and by every plain access of code that is compiled with -fsanitize=thread, whose calls
 * end up here instead of in the sanitizer's library. */
#include "sim.h"

#include <sys/mman.h>

enum { GRAIN = 16, FRESH = 0xa5, FREED = 0x5a, PAGE = 4096 };
#define ARENA_SIZE ((size_t)1 << 31)

/* Of each grain of the arena. */
enum grain { GRAIN_NOBODYS = 0, GRAIN_LIVE, GRAIN_FREED, GRAIN_FREED_CELL, GRAIN_DEAD_STACK };

struct block {
    struct block *next, **at; /* the live ones */
    size_t size;
    uint64_t padding;
};

static unsigned char *arena, *grains;
static size_t used;
static struct block *blocks;
static bool may_fail;
static unsigned long frees;

unsigned long sim_frees(void)
{
    return frees;
}

bool sim_memory_may_fail(void)
{
    return may_fail;
}

void sim_memory_let_fail(bool fail)
{
    may_fail = fail;
}

/* The same addresses in each process, if they are free: what a program does may depend on them. */
static void *reserve(size_t size, uintptr_t wanted)
{
    void *memory =
        mmap((void *)wanted, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("no address space for the simulation");
        exit(2);
    }
    return memory;
}

void sim_memory_reset(void)
{
    if (!arena) {
        arena = reserve(ARENA_SIZE, UINT64_C(0x100000000000));
        grains = reserve(ARENA_SIZE / GRAIN, 0);
    }
    memset(grains, GRAIN_NOBODYS, used / GRAIN + 1);
    used = 0;
    blocks = NULL;
}

static void mark(const void *address, size_t size, enum grain state)
{
    size_t offset = (size_t)((const unsigned char *)address - arena);
    memset(grains + offset / GRAIN, (int)state, (size + GRAIN - 1) / GRAIN);
}

/* A grain that is nobody's lies between blocks, a page before large ones: those are stacks, that may run over. */
void *sim_memory_take(size_t size, size_t align)
{
    size_t gap = align >= PAGE ? PAGE : 2 * GRAIN;
    align = align < GRAIN ? (size_t)GRAIN : align;
    size_t offset = (used + sizeof(struct block) + gap + align - 1) / align * align;
    if (offset + size + gap > ARENA_SIZE)
        sim_fail("the simulation's memory is used up");
    unsigned char *memory = arena + offset;
    struct block *block = (struct block *)(void *)(memory - sizeof *block);
    used = (offset + size + GRAIN - 1) / GRAIN * GRAIN;
    if (align < PAGE)
        memset(memory, FRESH, size);
    mark(memory, size, GRAIN_LIVE);
    block->size = size;
    block->next = blocks;
    block->at = &blocks;
    if (blocks)
        blocks->at = &block->next;
    blocks = block;
    return memory;
}

static void unlink_block(struct block *block)
{
    *block->at = block->next;
    if (block->next)
        block->next->at = block->at;
}

static bool is_ours(const void *address)
{
    return (uintptr_t)address - (uintptr_t)arena < ARENA_SIZE;
}

static enum grain grain_of(const void *address)
{
    return (enum grain)grains[((uintptr_t)address - (uintptr_t)arena) / GRAIN];
}

/* What is freed must not be used by others meanwhile. */
static void free_races(const void *memory, size_t size)
{
    enum { LOOKED_AT = 2048 }; /* of what is larger */
    if (sim_self && sim_memory_is_weak())
        sim_race_plain(memory, size < LOOKED_AT ? size : (size_t)LOOKED_AT, true, __builtin_return_address(0));
}

void sim_memory_give(void *memory)
{
    struct block *block = (struct block *)(void *)((unsigned char *)memory - sizeof *block);
    if (!is_ours(memory) || grain_of(memory) == GRAIN_NOBODYS)
        sim_fail("free of what is no block: %p", memory);
    if (grain_of(memory) == GRAIN_FREED)
        sim_fail("%p is freed twice", memory);
    free_races(memory, block->size);
    frees++;
    unlink_block(block);
    memset(memory, FREED, block->size);
    mark(memory, block->size, GRAIN_FREED);
}

/* A stack whose thread has ended, and is still running on it. */
void sim_memory_mark_dead(void *stack, size_t size)
{
    unlink_block((struct block *)(void *)((unsigned char *)stack - sizeof(struct block)));
    mark(stack, size, GRAIN_DEAD_STACK);
}

void sim_memory_check_leaks(void)
{
    size_t count = 0, bytes = 0;
    for (const struct block *block = blocks; block; block = block->next) {
        printf("# leaked: %zu bytes at %p\n", block->size, (const void *)(block + 1));
        count++;
        bytes += block->size;
    }
    if (count > 0)
        sim_fail("%zu blocks (%zu bytes) are left", count, bytes);
}

void sim_cell_born(void *cell, size_t size)
{
    if (is_ours(cell)) {
        mark(cell, size, GRAIN_LIVE);
        memset(cell, FRESH, size);
    }
}

/* Where memory may be short, the library keeps a free cell by a link inside it. */
void sim_cell_died(void *cell, size_t size)
{
    if (is_ours(cell) && !may_fail) {
        free_races(cell, size);
        frees++;
        memset(cell, FREED, size);
        mark(cell, size, GRAIN_FREED_CELL);
    }
}

void sim_memory_check(const void *address, size_t size, const char *what)
{
    static const char *const names[] = {"nobody's memory", "", "a freed block", "a freed cell",
                                        "the stack of a thread that has ended"};
    if (!is_ours(address) || size == 0)
        return;
    enum grain state = grain_of(address);
    if (state == GRAIN_LIVE)
        state = grain_of((const unsigned char *)address + size - 1);
    if (state != GRAIN_LIVE)
        sim_fail("%s touches %s at %p", what, names[state], address);
}

/* ---- plain accesses of instrumented code ---- */

static void plain(const void *address, size_t size, bool is_write, const void *where)
{
    if (!sim_self)
        return;
    if (is_ours(address) && (grain_of(address) != GRAIN_LIVE || size > GRAIN)) {
        sim_trace(is_write ? SIM_STORE : SIM_LOAD, address, 0, 0, where);
        sim_memory_check(address, size, is_write ? "a write" : "a read");
    }
    if (sim_memory_is_weak())
        sim_race_plain(address, size, is_write, where);
}

#define PLAIN(suffix, size)                                         \
    void __tsan_read##suffix(void *address);                        \
    void __tsan_read##suffix(void *address)                         \
    {                                                               \
        plain(address, (size), false, __builtin_return_address(0)); \
    }                                                               \
    void __tsan_write##suffix(void *address);                       \
    void __tsan_write##suffix(void *address)                        \
    {                                                               \
        plain(address, (size), true, __builtin_return_address(0));  \
    }                                                               \
    void __tsan_unaligned_read##suffix(void *address);              \
    void __tsan_unaligned_read##suffix(void *address)               \
    {                                                               \
        plain(address, (size), false, __builtin_return_address(0)); \
    }                                                               \
    void __tsan_unaligned_write##suffix(void *address);             \
    void __tsan_unaligned_write##suffix(void *address)              \
    {                                                               \
        plain(address, (size), true, __builtin_return_address(0));  \
    }
PLAIN(1, 1)
PLAIN(2, 2)
PLAIN(4, 4)
PLAIN(8, 8)
PLAIN(16, 16)

void __tsan_read_range(void *address, size_t size);
void __tsan_read_range(void *address, size_t size)
{
    plain(address, size, false, __builtin_return_address(0));
}

void __tsan_write_range(void *address, size_t size);
void __tsan_write_range(void *address, size_t size)
{
    plain(address, size, true, __builtin_return_address(0));
}

/* Clang's names for the functions of string.h. */
void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    plain(from, size, false, __builtin_return_address(0));
    plain(to, size, true, __builtin_return_address(0));
    return memcpy(to, from, size);
}

void *__tsan_memset(void *to, int byte, size_t size);
void *__tsan_memset(void *to, int byte, size_t size)
{
    plain(to, size, true, __builtin_return_address(0));
    return memset(to, byte, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size);
void *__tsan_memmove(void *to, const void *from, size_t size)
{
    plain(from, size, false, __builtin_return_address(0));
    plain(to, size, true, __builtin_return_address(0));
    return memmove(to, from, size);
}

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *where);
void __tsan_func_entry(void *where)
{
    (void)where;
}

void __tsan_func_exit(void *where);
void __tsan_func_exit(void *where)
{
    (void)where;
}
