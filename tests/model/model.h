/* SPDX-License-Identifier: MIT */
/* Small programs of at most three threads over the library's real code, to be tried in every order. What tries them is a back end: explorer.c (on
 * simulated threads, every schedule up to a bound, with weak memory), pthreads.c (real threads, for ThreadSanitizer), or a checker
 * from outside (README.md).
 *
 *     MODEL(name, begin, end, thread, …)    begin runs first, alone; then the threads, at once; then, when they have ended, end
 *
 * MODEL_WIDE is one with so many threads at work that the bound must be lower. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>

enum { MODEL_THREADS_MAX = 3 };

struct model {
    const char *name;
    void (*begin)(void), (*end)(void);
    void (*threads[MODEL_THREADS_MAX])(void);
    bool is_wide;
    struct model *next;
};

void model_register(struct model *model);

#define MODEL_DEFINE(model_name, wide, begin, end, ...)                                  \
    __attribute__((constructor)) static void model_name##_register(void)                 \
    {                                                                                    \
        static struct model self = {#model_name, begin, end, {__VA_ARGS__}, wide, NULL}; \
        model_register(&self);                                                           \
    }                                                                                    \
    struct model /* a semicolon follows */
#define MODEL(name, ...) MODEL_DEFINE(name, false, __VA_ARGS__)
#define MODEL_WIDE(name, ...) MODEL_DEFINE(name, true, __VA_ARGS__)

/* Ends the process. */
_Noreturn void model_fail(const char *file, int line, const char *what);
#define WANT(condition) ((condition) ? (void)0 : model_fail(__FILE__, __LINE__, #condition))

/* In begin: lets the threads that the library has started run until they sleep. */
void model_settle(void);

/* Memory whose end matters. */
void *model_alloc(size_t size);
void model_free(void *block);

#endif
