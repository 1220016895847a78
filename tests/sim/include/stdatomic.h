/* SPDX-License-Identifier: MIT */
/* Stands in for the compiler's <stdatomic.h> where the library is built to run on simulated threads: found first by the include path,
 * it is the whole seam. Each operation that src/base/atomic.h is made of becomes a call of the simulation, and so a scheduling point. */
#ifndef SIM_STDATOMIC_H
#define SIM_STDATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum memory_order {
    memory_order_relaxed,
    memory_order_consume,
    memory_order_acquire,
    memory_order_release,
    memory_order_acq_rel,
    memory_order_seq_cst
} memory_order;

enum sim_rmw { SIM_ADD, SIM_SUB, SIM_OR, SIM_AND, SIM_EXCHANGE };

void sim_atomic_init(void *object, size_t size, uint64_t value);
uint64_t sim_atomic_load(const void *object, size_t size, memory_order order);
void sim_atomic_store(void *object, size_t size, uint64_t value, memory_order order);
uint64_t sim_atomic_rmw(void *object, size_t size, enum sim_rmw what, uint64_t operand, memory_order order);
bool sim_atomic_cas(void *object, size_t size, void *expected, uint64_t desired, memory_order success,
                    memory_order failure);

/* Objects are plain ones here: only the simulation touches them. */
#define _Atomic

#define SIM_WORD(value) ((uint64_t)(uintptr_t)(value))
#define SIM_VALUE(object, word) ((__typeof__(*(object)))(uintptr_t)(word))

void sim_atomic_fence(memory_order order);

/* Keeps only the compiler from moving accesses: between threads it is nothing. */
#define atomic_signal_fence(order) ((void)(order))
#define atomic_thread_fence(order) sim_atomic_fence(order)
#define atomic_init(object, value) sim_atomic_init((object), sizeof *(object), SIM_WORD(value))
#define atomic_load_explicit(object, order) SIM_VALUE(object, sim_atomic_load((object), sizeof *(object), order))
#define atomic_store_explicit(object, value, order) sim_atomic_store((object), sizeof *(object), SIM_WORD(value), order)
#define atomic_exchange_explicit(object, value, order) \
    SIM_VALUE(object, sim_atomic_rmw((object), sizeof *(object), SIM_EXCHANGE, SIM_WORD(value), order))
#define atomic_compare_exchange_strong_explicit(object, expected, desired, success, failure) \
    sim_atomic_cas((object), sizeof *(object), (expected), SIM_WORD(desired), success, failure)
#define atomic_fetch_add_explicit(object, delta, order) \
    SIM_VALUE(object, sim_atomic_rmw((object), sizeof *(object), SIM_ADD, SIM_WORD(delta), order))
#define atomic_fetch_sub_explicit(object, delta, order) \
    SIM_VALUE(object, sim_atomic_rmw((object), sizeof *(object), SIM_SUB, SIM_WORD(delta), order))
#define atomic_fetch_or_explicit(object, bits, order) \
    SIM_VALUE(object, sim_atomic_rmw((object), sizeof *(object), SIM_OR, SIM_WORD(bits), order))
#define atomic_fetch_and_explicit(object, bits, order) \
    SIM_VALUE(object, sim_atomic_rmw((object), sizeof *(object), SIM_AND, SIM_WORD(bits), order))

#endif
