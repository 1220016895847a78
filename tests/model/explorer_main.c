/* SPDX-License-Identifier: MIT */
/* Explores all models that are linked with it, and says in TAP for each how many schedules there were.
 *
 *     --only=WORD       models whose names contain it      --preemptions=N --stale=N   the bounds (2 and 2)
 *     --weak            with weak memory                   --runs=N    at most so many schedules of each (all)
 *     --chance=N        so many schedules by chance as well, beyond the bounds; SIM_SEED=N: that one alone */
#include "explorer.h"
#include "model.h"

struct arguments {
    struct explorer_options options;
    const char *only;
    unsigned long chances;
};

static struct model *models;

void model_register(struct model *model)
{
    model->next = models;
    models = model;
}

static const char *value_of(const char *argument, const char *name)
{
    size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 ? argument + length : NULL;
}

static bool argument_read(struct arguments *arguments, const char *argument)
{
    const char *value;
    if ((value = value_of(argument, "--only=")))
        arguments->only = value;
    else if ((value = value_of(argument, "--preemptions=")))
        arguments->options.most[COST_PREEMPTION] = (unsigned)strtoul(value, NULL, 0);
    else if ((value = value_of(argument, "--stale=")))
        arguments->options.most[COST_STALE] = (unsigned)strtoul(value, NULL, 0);
    else if ((value = value_of(argument, "--runs=")))
        arguments->options.runs_max = strtoul(value, NULL, 0);
    else if ((value = value_of(argument, "--chance=")))
        arguments->chances = strtoul(value, NULL, 0);
    else if (strcmp(argument, "--weak") == 0)
        arguments->options.is_weak = true;
    else
        return false;
    return true;
}

static void report(struct model *model, const struct arguments *arguments, unsigned number)
{
    const char *seed = getenv("SIM_SEED");
    struct explorer_options options = arguments->options;
    if (model->is_wide && options.most[COST_PREEMPTION] > 0)
        options.most[COST_PREEMPTION]--;
    struct explorer_result result = {.is_complete = true};
    if (seed)
        (void)explore_by_chance(model, &options, strtoull(seed, NULL, 0));
    else
        result = explore(model, &options);
    for (unsigned long chance = 1; !seed && chance <= arguments->chances; chance++)
        (void)explore_by_chance(model, &options, chance);
    printf("ok %u - %s: %s %lu schedules, %lu of them to their ends, %lu steps, begun anew %lu times\n", number,
           model->name, result.is_complete ? "all" : "the first", result.runs, result.runs - result.given_up,
           result.steps, result.restarts);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.options = {.most = {2, 2}}, .only = ""};
    unsigned count = 0;
    for (int i = 1; i < argc; i++)
        if (!argument_read(&arguments, argv[i])) {
            fprintf(stderr, "%s: cannot use %s\n", argv[0], argv[i]);
            return 2;
        }
    for (struct model *model = models; model; model = model->next)
        if (strstr(model->name, arguments.only))
            report(model, &arguments, ++count);
    printf("1..%u\n", count);
    return count == 0;
}
