/* SPDX-License-Identifier: MIT */
/* Linked into the tests by scripts/coverage, for processes that end without exit handlers: by _exit, and by the library's own way out of
 * a fork's child. They say what they have run before they end. */
#include <stdarg.h>
#include <sys/syscall.h>

void __gcov_dump(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

long __wrap_syscall(long number, ...)
{
    long arguments[6];
    va_list given;
    if (number == SYS_exit)
        __gcov_dump();
    va_start(given, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(given, long);
    va_end(given);
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
