/* SPDX-License-Identifier: MIT */
/* bench-<library>: one sample of one workload of one library.
 *
 *     bench-LIB version                  the library's version, and the compiler's
 *     bench-LIB WORKLOAD WORKERS [N=…]   lines `metric<TAB>unit<TAB>value`
 *
 * Exit status: 77 where the library has nothing of the kind (standard error says what), 1 for a failure, 2 for a wrong command. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#ifdef __clang__
#define COMPILER "clang"
#else
#define COMPILER "gcc"
#endif

enum { NOTHING_OF_THE_KIND = 77 };

void report(const char *metric, const char *unit, double value)
{
    printf("%s\t%s\t%.6g\n", metric, unit, value);
}

static double nanoseconds_of(const char *unit)
{
    return strcmp(unit, "ms") == 0 ? 1e6 : strcmp(unit, "us") == 0 ? 1e3 : 1;
}

void report_span(const char *metric, const char *unit, struct span took, size_t count)
{
    char metric_cpu[64];
    snprintf(metric_cpu, sizeof metric_cpu, "%s-cpu", metric);
    double divisor = nanoseconds_of(unit) * (double)count;
    report(metric, unit, (double)took.wall / divisor);
    report(metric_cpu, unit, (double)took.cpu / divisor);
}

void need(bool has, const char *what)
{
    if (has)
        return;
    fprintf(stderr, "%s has no %s\n", library.name, what);
    exit(NOTHING_OF_THE_KIND);
}

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "bench-%s: ", library.name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

int64_t time_limit(void)
{
    return measure_now() + 500000000;
}

bool time_is_over(int64_t limit)
{
    return measure_now() > limit;
}

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        fail("no memory");
    return memory;
}

static const struct workload *find(const char *name)
{
    for (const struct workload *const *group = workloads; *group; group++)
        for (const struct workload *workload = *group; workload->name; workload++)
            if (strcmp(workload->name, name) == 0)
                return workload;
    need(false, name);
    return NULL;
}

static size_t number(const char *text)
{
    char *end;
    double value = strtod(text, &end); /* so that 1e6 is one */
    if (end == text || *end != '\0' || !(value >= 1 && value <= 1e15)) {
        fprintf(stderr, "bench-%s: not a number: %s\n", library.name, text);
        exit(2);
    }
    return (size_t)value;
}

static void print_version(void)
{
    printf("%s (%s %s)\n", library.version(), COMPILER, __VERSION__);
}

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "version") == 0) {
        print_version();
        return 0;
    }
    if (count < 3 || count > 4 || (count == 4 && strncmp(arguments[3], "N=", 2) != 0)) {
        fprintf(stderr, "usage: bench-%s version | WORKLOAD WORKERS [N=…]\n", library.name);
        return 2;
    }
    const struct workload *workload = find(arguments[1]);
    struct request request = {(unsigned)number(arguments[2]), workload->n};
    if (count == 4)
        request.n = number(arguments[3] + 2);
    workload->run(&request);
    return 0;
}
