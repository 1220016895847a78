/* SPDX-License-Identifier: MIT */
/* The version of the interface, at compile time and at run time; and how symbols are exported. */
#ifndef CREWPOOL_VERSION_H
#define CREWPOOL_VERSION_H

#define CREW_VERSION_MAJOR 0
#define CREW_VERSION_MINOR 1
#define CREW_VERSION_PATCH 0

/* One number that grows with every release: 0x00MMmmpp. */
#define CREW_VERSION (CREW_VERSION_MAJOR * 0x10000 + CREW_VERSION_MINOR * 0x100 + CREW_VERSION_PATCH)

#define CREW_API __attribute__((visibility("default")))
#define CREW_PRINTF(format_at, arguments_at) __attribute__((format(printf, format_at, arguments_at)))
#define CREW_MUST_USE __attribute__((warn_unused_result))

#ifdef __cplusplus
extern "C" {
#endif

/* The CREW_VERSION of the library that is running, which may be newer than the header compiled against.
 * Threads: any, at any time; does not block; also from a signal handler. */
CREW_API unsigned crew_version(void);

#ifdef __cplusplus
}
#endif
#endif
