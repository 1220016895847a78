/* SPDX-License-Identifier: MIT */
/* In debug builds (CREWI_DEBUG) a cell that was given back is overwritten; under AddressSanitizer nobody may touch it, and under
 * MemorySanitizer what is in a new one may not be looked at. Otherwise nothing is done. */
#ifndef CREWI_POISON_H
#define CREWI_POISON_H

#include <stddef.h>
#include <string.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define CREWI_ADDRESS_SANITIZER 1
void __asan_poison_memory_region(const volatile void *memory, size_t size);
void __asan_unpoison_memory_region(const volatile void *memory, size_t size);
#define CREWI_FORBID(memory, size) __asan_poison_memory_region((memory), (size))
#define CREWI_ALLOW(memory, size) __asan_unpoison_memory_region((memory), (size))
#else
#define CREWI_ADDRESS_SANITIZER 0
#define CREWI_FORBID(memory, size) ((void)(memory), (void)(size))
#define CREWI_ALLOW(memory, size) ((void)(memory), (void)(size))
#endif

#if defined(CREWI_DEBUG) && __has_feature(memory_sanitizer)
void __msan_allocated_memory(const volatile void *memory, size_t size);
#define CREWI_FORGET(memory, size) __msan_allocated_memory((memory), (size))
#else
#define CREWI_FORGET(memory, size) ((void)(memory), (void)(size))
#endif

enum { CREWI_POISON = 0xdb };

/* What lies in free cells may be touched again: their slab is given back, or a link is put into one. */
static inline void crewi_cell_open(void *memory, size_t size)
{
    CREWI_ALLOW(memory, size);
}

static inline void crewi_cell_born(void *cell, size_t size)
{
    CREWI_ALLOW(cell, size);
    CREWI_FORGET(cell, size);
}

/* Maybe not for the first time. */
static inline void crewi_cell_died(void *cell, size_t size)
{
#ifdef CREWI_DEBUG
    CREWI_ALLOW(cell, size);
    memset(cell, CREWI_POISON, size);
    CREWI_FORBID(cell, size);
#else
    (void)cell, (void)size;
#endif
}

#endif
