/* SPDX-License-Identifier: MIT */
/* The same program without threads: with CREW_SERIAL a job runs at the moment it is handed in, on the calling thread, so
 * that a debugger shows who handed it in, and every run is the same. Threads give the same values, in any order.
 *
 *     $ ./09_serial_debug
 *     handing in 3
 *     running 3
 *     done: 9
 *     handing in 4
 *     running 4
 *     done: 16
 *     sum 25
 *     $ ./09_serial_debug threads
 *     sum 25 */
#include <crewpool/crewpool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct program {
    int kind; /* CREW_SERIAL or CREW_THREADS */
    int sum;
};

/* Says something only where the order of what is said is certain. */
static void say(const struct program *program, const char *what, int number)
{
    if (program->kind == CREW_SERIAL)
        printf("%s %d\n", what, number);
}

CREW_JOB(square, int, int)
{
    say(context, "running", *arg);
    *result = *arg * *arg;
    return 0;
}

static void add(const crew_outcome *outcome, void *user)
{
    struct program *program = user;
    const int *value = outcome->value;

    if (!value)
        return;
    say(program, "done:", *value);
    program->sum += *value;
}

int main(int argc, char **argv)
{
    struct program program = {.kind = argc > 1 && strcmp(argv[1], "threads") == 0 ? CREW_THREADS : CREW_SERIAL};
    crew_pool *pool;

    if (crew_pool_create(&pool, CREW_OPTIONS(.kind = program.kind)) != CREW_OK)
        return EXIT_FAILURE;
    for (int number = 3; number <= 4; number++) {
        say(&program, "handing in", number);
        crew_apply_async(pool, &square, &number, NULL,
                         CREW_CALL(.context = &program, .on_done = add, .user = &program));
    }
    crew_pool_destroy(pool); /* all callbacks have returned */
    printf("sum %d\n", program.sum);
    return EXIT_SUCCESS;
}
