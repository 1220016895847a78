/* SPDX-License-Identifier: MIT */
/* Invariants of the library itself. A broken one is a bug here, never in the caller: those get a status in every build.
 * Checked in debug builds (CREWI_DEBUG); otherwise the condition is not evaluated. */
#ifndef CREWI_ASSERT_H
#define CREWI_ASSERT_H

#ifdef CREWI_DEBUG
#define CREWI_ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#else
#define CREWI_ASSERT(condition) ((void)sizeof(condition))
#endif

/* For a function that is one way of several: kept whole, so that the usual way stays short; or put into each of its callers. */
#define CREWI_RARE __attribute__((noinline, cold))
#define CREWI_USUAL inline __attribute__((always_inline))

#define CREWI_CONTAINER_OF(pointer, Type, member) ((Type *)(void *)((char *)(pointer)-offsetof(Type, member)))

#endif
