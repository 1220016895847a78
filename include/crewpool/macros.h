/* SPDX-License-Identifier: MIT */
/* How CREW_CALL(.chunk = 8) and CREW_OPTIONS(.workers = 2) become a pointer to a struct that knows its size: a compound
 * literal in C; in C++11, which has no designated initializers, assignments to a temporary that lives until the end of the
 * full expression (so inside a function only). Nothing here is for direct use. */
#ifndef CREWPOOL_MACROS_H
#define CREWPOOL_MACROS_H

#ifndef __cplusplus

#define CREWI_POINTER_TO(Type, ...) (&(Type){.struct_size = sizeof(Type), __VA_ARGS__})

#else

template <typename Type> inline const Type *crewi_address_of(const Type &temporary)
{
    return &temporary;
}

#define CREWI_POINTER_TO(Type, ...)              \
    crewi_address_of([&]() -> Type {             \
        Type crewi_struct = Type();              \
        crewi_struct.struct_size = sizeof(Type); \
        CREWI_SET_ALL(__VA_ARGS__)               \
        return crewi_struct;                     \
    }())

#define CREWI_SET(assignment) CREWI_SET_(crewi_struct assignment)
#define CREWI_SET_(statement) statement;
#define CREWI_COUNT(...) CREWI_PICK(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define CREWI_PICK(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, count, ...) count
#define CREWI_JOIN(a, b) CREWI_JOIN_(a, b)
#define CREWI_JOIN_(a, b) a##b
#define CREWI_SET_ALL(...) CREWI_JOIN(CREWI_SET_, CREWI_COUNT(__VA_ARGS__))(__VA_ARGS__)
#define CREWI_SET_1(a) CREWI_SET(a)
#define CREWI_SET_2(a, ...) CREWI_SET(a) CREWI_SET_1(__VA_ARGS__)
#define CREWI_SET_3(a, ...) CREWI_SET(a) CREWI_SET_2(__VA_ARGS__)
#define CREWI_SET_4(a, ...) CREWI_SET(a) CREWI_SET_3(__VA_ARGS__)
#define CREWI_SET_5(a, ...) CREWI_SET(a) CREWI_SET_4(__VA_ARGS__)
#define CREWI_SET_6(a, ...) CREWI_SET(a) CREWI_SET_5(__VA_ARGS__)
#define CREWI_SET_7(a, ...) CREWI_SET(a) CREWI_SET_6(__VA_ARGS__)
#define CREWI_SET_8(a, ...) CREWI_SET(a) CREWI_SET_7(__VA_ARGS__)
#define CREWI_SET_9(a, ...) CREWI_SET(a) CREWI_SET_8(__VA_ARGS__)
#define CREWI_SET_10(a, ...) CREWI_SET(a) CREWI_SET_9(__VA_ARGS__)
#define CREWI_SET_11(a, ...) CREWI_SET(a) CREWI_SET_10(__VA_ARGS__)
#define CREWI_SET_12(a, ...) CREWI_SET(a) CREWI_SET_11(__VA_ARGS__)
#define CREWI_SET_13(a, ...) CREWI_SET(a) CREWI_SET_12(__VA_ARGS__)
#define CREWI_SET_14(a, ...) CREWI_SET(a) CREWI_SET_13(__VA_ARGS__)
#define CREWI_SET_15(a, ...) CREWI_SET(a) CREWI_SET_14(__VA_ARGS__)
#define CREWI_SET_16(a, ...) CREWI_SET(a) CREWI_SET_15(__VA_ARGS__)

#endif
#endif
