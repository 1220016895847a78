/* SPDX-License-Identifier: MIT */
/* Reads the caller's structs, of whatever version they are: a struct without its size, with unknown flags, or longer than ours with
 * something in the unknown part is refused. */
#include <string.h>

#include "core.h"

enum {
    OPTION_FLAGS = CREW_WORKERS_ONLY | CREW_CALLER_HELPS | CREW_FULL_FAILS | CREW_FULL_RUNS | CREW_LAZY_INIT,
    SPARES_DEFAULT = 64,
    STRUCT_SIZE_MAX = 64 * 1024 /* beyond this a struct_size is garbage, and reading that far would fault */
};

static bool tail_is_zero(const void *given, size_t known, size_t given_size)
{
    const unsigned char *bytes = given;
    for (size_t i = known; i < given_size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Whether `known` bytes of a struct that begins with its size are there, and are all that it says. */
static bool struct_can_be_read(const void *given, size_t known)
{
    size_t given_size;
    memcpy(&given_size, given, sizeof given_size);
    return given_size == known ||
           (given_size > known && given_size <= STRUCT_SIZE_MAX && tail_is_zero(given, known, given_size));
}

static bool both(unsigned flags, unsigned pair)
{
    return (flags & pair) == pair;
}

static const char *options_fault(const crew_pool_options *options)
{
    if (options->kind != CREW_THREADS && options->kind != CREW_SERIAL)
        return "options.kind is unknown";
    if (options->flags & ~(unsigned)OPTION_FLAGS)
        return "options.flags has unknown bits";
    if (both(options->flags, CREW_WORKERS_ONLY | CREW_CALLER_HELPS))
        return "CREW_WORKERS_ONLY and CREW_CALLER_HELPS exclude each other";
    if (both(options->flags, CREW_FULL_FAILS | CREW_FULL_RUNS))
        return "CREW_FULL_FAILS and CREW_FULL_RUNS exclude each other";
    if (both(options->flags, CREW_FULL_RUNS | CREW_WORKERS_ONLY))
        return "CREW_FULL_RUNS needs a caller that may run jobs, CREW_WORKERS_ONLY forbids it";
    if (!options->alloc != !options->free)
        return "options.alloc and options.free must be given together";
    if (options->workers > CREW_WORKERS_MAX)
        return "options.workers is beyond CREW_WORKERS_MAX";
    if (options->spares_max > CREW_WORKERS_MAX && options->spares_max != CREW_NO_SPARES)
        return "options.spares_max is beyond CREW_WORKERS_MAX";
    return NULL;
}

crew_status crewi_options_read(const crew_pool_options *given, crew_pool_options *ret_options)
{
    memset(ret_options, 0, sizeof *ret_options);
    if (given && !struct_can_be_read(given, sizeof *ret_options))
        return CREW_INVALID; /* where its `error` would be cannot be known */
    if (given)
        *ret_options = *given;
    ret_options->struct_size = sizeof *ret_options;
    const char *fault = options_fault(ret_options);
    if (fault)
        return crewi_refuse(ret_options->error, CREW_INVALID, "%s", fault);
    if (ret_options->workers == 0) {
        crew_status status = crew_cpu_count(&ret_options->workers, ret_options->error);
        if (status != CREW_OK)
            return status;
        if (ret_options->workers > CREW_WORKERS_MAX)
            ret_options->workers = CREW_WORKERS_MAX;
    }
    if (ret_options->spares_max == 0)
        ret_options->spares_max = SPARES_DEFAULT;
    else if (ret_options->spares_max == CREW_NO_SPARES)
        ret_options->spares_max = 0;
    return CREW_OK;
}

static crew_status call_refuse(const crew_pool *pool, const crew_job *job, const crew_call *call)
{
    crew_error *error = call->error;
    if (!pool)
        return crewi_refuse(error, CREW_INVALID, "pool is NULL");
    if (crewi_pool_is_forked(pool))
        return crewi_refuse(error, CREW_FORKED, "the pool belongs to the parent process");
    if (!job || !job->fn)
        return crewi_refuse(error, CREW_INVALID, job ? "job->fn is NULL" : "job is NULL");
    if (call->flags & ~(unsigned)CREWI_CALL_FLAGS)
        return crewi_refuse(error, CREW_INVALID, "call->flags has unknown bits");
    return crewi_refuse(error, CREW_INVALID, "the job's sizes are beyond what memory can hold");
}

const crew_call crewi_call_defaults = {.struct_size = sizeof crewi_call_defaults};

crew_status crewi_call_check_slowly(const crew_pool *pool, const crew_job *job, const crew_call **call)
{
    const crew_call *given = *call ? *call : &crewi_call_defaults;
    if (!struct_can_be_read(given, sizeof *given))
        return CREW_INVALID;
    *call = given;
    return crewi_call_is_fine(pool, job, given) ? CREW_OK : call_refuse(pool, job, given);
}
