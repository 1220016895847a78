/* SPDX-License-Identifier: MIT */
/* The models on real threads: many times, for ThreadSanitizer; or once (MODEL_ONCE defined, and MODEL_ONLY=name), for a checker from
 * outside that tries the schedules itself. */
#include "model.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct model *models;

void model_register(struct model *model)
{
    model->next = models;
    models = model;
}

_Noreturn void model_fail(const char *file, int line, const char *what)
{
    printf("not ok - %s:%d: not so: %s\n", file, line, what);
    abort();
}

void model_settle(void)
{
    /* only a hint */
}

void *model_alloc(size_t size)
{
    return malloc(size);
}

void model_free(void *block)
{
    free(block);
}

static void *thread_main(void *run)
{
    (*(void (**)(void))run)();
    return NULL;
}

static void model_run(struct model *model)
{
    pthread_t threads[MODEL_THREADS_MAX];
    size_t count = 0;
    model->begin();
    for (; count < MODEL_THREADS_MAX && model->threads[count]; count++)
        if (pthread_create(&threads[count], NULL, thread_main, &model->threads[count]))
            abort();
    while (count > 0)
        (void)pthread_join(threads[--count], NULL);
    model->end();
}

#ifdef MODEL_ONCE
#define QUOTED(name) #name
#define TEXT(name) QUOTED(name)

int main(void)
{
    for (struct model *model = models; model; model = model->next)
        if (strcmp(model->name, TEXT(MODEL_ONLY)) == 0)
            model_run(model);
    return 0;
}
#else
int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;
    unsigned count = 0;
    for (struct model *model = models; model; model = model->next) {
        for (unsigned long round = 0; round < rounds; round++)
            model_run(model);
        printf("ok %u - %s on real threads\n", ++count, model->name);
    }
    printf("1..%u\n", count);
    return 0;
}
#endif
