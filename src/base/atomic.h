/* SPDX-License-Identifier: MIT */
/* Every shared access of the library goes through these verbs: the order is in the name, so a reader (and a tool that runs the library
 * on simulated threads) finds each of them. The only file that may use <stdatomic.h>.
 *
 * Unless a comment at the call says otherwise operations are sequentially consistent: the default verbs carry no suffix.
 * `_acquire` and `_release` name their partner at the call; `_relaxed` says why it is enough. */
#ifndef CREWI_ATOMIC_H
#define CREWI_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    _Atomic uint32_t value;
} crewi_atomic_u32;

typedef struct {
    _Atomic uint64_t value;
} crewi_atomic_u64;

typedef struct {
    _Atomic size_t value;
} crewi_atomic_size;

typedef struct {
    void *_Atomic value;
} crewi_atomic_ptr;

/* Keeps the compiler, and nothing else, from moving accesses across: for the quick side of what crewi_barrier_everywhere is the slow side of. */
static inline void crewi_atomic_compiler_barrier(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

#define CREWI_ATOMIC_VERBS(short_name, Box, Type)                                                            \
    static inline void crewi_atomic_##short_name##_init(Box *box, Type value)                                \
    {                                                                                                        \
        atomic_init(&box->value, value);                                                                     \
    }                                                                                                        \
    static inline Type crewi_atomic_##short_name##_load(const Box *box)                                      \
    {                                                                                                        \
        return atomic_load_explicit(&((Box *)(uintptr_t)box)->value, memory_order_seq_cst);                  \
    }                                                                                                        \
    static inline Type crewi_atomic_##short_name##_load_acquire(const Box *box)                              \
    {                                                                                                        \
        return atomic_load_explicit(&((Box *)(uintptr_t)box)->value, memory_order_acquire);                  \
    }                                                                                                        \
    static inline Type crewi_atomic_##short_name##_load_relaxed(const Box *box)                              \
    {                                                                                                        \
        return atomic_load_explicit(&((Box *)(uintptr_t)box)->value, memory_order_relaxed);                  \
    }                                                                                                        \
    static inline void crewi_atomic_##short_name##_store(Box *box, Type value)                               \
    {                                                                                                        \
        atomic_store_explicit(&box->value, value, memory_order_seq_cst);                                     \
    }                                                                                                        \
    static inline void crewi_atomic_##short_name##_store_release(Box *box, Type value)                       \
    {                                                                                                        \
        atomic_store_explicit(&box->value, value, memory_order_release);                                     \
    }                                                                                                        \
    static inline void crewi_atomic_##short_name##_store_relaxed(Box *box, Type value)                       \
    {                                                                                                        \
        atomic_store_explicit(&box->value, value, memory_order_relaxed);                                     \
    }                                                                                                        \
    static inline Type crewi_atomic_##short_name##_exchange(Box *box, Type value)                            \
    {                                                                                                        \
        return atomic_exchange_explicit(&box->value, value, memory_order_seq_cst);                           \
    }                                                                                                        \
    /* On failure *expected becomes the value found. */                                                      \
    static inline bool crewi_atomic_##short_name##_cas(Box *box, Type *expected, Type desired)               \
    {                                                                                                        \
        return atomic_compare_exchange_strong_explicit(&box->value, expected, desired, memory_order_seq_cst, \
                                                       memory_order_seq_cst);                                \
    }

#define CREWI_ATOMIC_SUMS(short_name, Box, Type)                                           \
    static inline Type crewi_atomic_##short_name##_fetch_add(Box *box, Type delta)         \
    {                                                                                      \
        return atomic_fetch_add_explicit(&box->value, delta, memory_order_seq_cst);        \
    }                                                                                      \
    static inline Type crewi_atomic_##short_name##_fetch_sub(Box *box, Type delta)         \
    {                                                                                      \
        return atomic_fetch_sub_explicit(&box->value, delta, memory_order_seq_cst);        \
    }                                                                                      \
    static inline Type crewi_atomic_##short_name##_fetch_add_relaxed(Box *box, Type delta) \
    {                                                                                      \
        return atomic_fetch_add_explicit(&box->value, delta, memory_order_relaxed);        \
    }                                                                                      \
    static inline Type crewi_atomic_##short_name##_fetch_or(Box *box, Type bits)           \
    {                                                                                      \
        return atomic_fetch_or_explicit(&box->value, bits, memory_order_seq_cst);          \
    }                                                                                      \
    static inline Type crewi_atomic_##short_name##_fetch_and(Box *box, Type bits)          \
    {                                                                                      \
        return atomic_fetch_and_explicit(&box->value, bits, memory_order_seq_cst);         \
    }

CREWI_ATOMIC_VERBS(u32, crewi_atomic_u32, uint32_t)
CREWI_ATOMIC_SUMS(u32, crewi_atomic_u32, uint32_t)
CREWI_ATOMIC_VERBS(u64, crewi_atomic_u64, uint64_t)
CREWI_ATOMIC_SUMS(u64, crewi_atomic_u64, uint64_t)
CREWI_ATOMIC_VERBS(size, crewi_atomic_size, size_t)
CREWI_ATOMIC_SUMS(size, crewi_atomic_size, size_t)
CREWI_ATOMIC_VERBS(ptr, crewi_atomic_ptr, void *)

/* Like _cas; and, whether it succeeds or not, what the caller has stored before, be it relaxed, is seen by others before the caller
 * reads anything afterwards. */
static inline bool crewi_atomic_u32_cas_fenced(crewi_atomic_u32 *box, uint32_t *expected, uint32_t desired)
{
    bool is_done = crewi_atomic_u32_cas(box, expected, desired);
#if defined(__x86_64__) || defined(__i386__)
    atomic_signal_fence(
        memory_order_seq_cst); /* a locked instruction is a full fence: only the compiler has to be told */
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
    return is_done;
}

#undef CREWI_ATOMIC_VERBS
#undef CREWI_ATOMIC_SUMS

#endif
