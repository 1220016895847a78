/* SPDX-License-Identifier: MIT */
/* The shared library may be unloaded when its last pool is gone: nothing of it runs in memory that is no longer mapped. */
#define _GNU_SOURCE
#include "../harness/test.h"

#include "../contract/in_child.h"

#include <dlfcn.h>

static int do_nothing_fn(const void *arg, void *result, void *context)
{
    (void)arg, (void)result, (void)context;
    return 0;
}

static void *must_find(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    CHECK(symbol != NULL);
    return symbol;
}

static void use_and_unload(const char *path)
{
    static const crew_job do_nothing = {do_nothing_fn, 0, 0, "do_nothing", NULL, NULL};
    crew_status (*create)(crew_pool **, const crew_pool_options *);
    crew_status (*apply)(crew_pool *, const crew_job *, const void *, void *, const crew_call *);
    crew_status (*destroy)(crew_pool *);
    crew_pool *pool;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        test_fail(__FILE__, __LINE__, "%s", dlerror());
    *(void **)&create = must_find(library, "crew_pool_create");
    *(void **)&apply = must_find(library, "crew_apply");
    *(void **)&destroy = must_find(library, "crew_pool_destroy");
    CHECK_STATUS(create(&pool, CREW_OPTIONS(.workers = 2, .flags = CREW_WORKERS_ONLY)), CREW_OK);
    CHECK_STATUS(apply(pool, &do_nothing, NULL, NULL, NULL), CREW_OK);
    CHECK_STATUS(destroy(pool), CREW_OK);
    CHECK_EQ(dlclose(library), 0);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

TEST(a_program_forks_and_exits_after_the_library_was_unloaded)
{
    const char *path = getenv("CREWPOOL_SHARED");
    if (path == NULL || test_under_sanitizer())
        test_skip("needs the shared library, and no sanitizer in it");
    for (int round = 0; round < 3; round++) {
        use_and_unload(path);
        check_in_child(do_nothing, NULL); /* fork calls the handlers of all that are loaded */
    }
    CHECK_EQ(test_threads_alive(), 1);
}
