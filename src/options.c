/* SPDX-License-Identifier: MIT */
/* Reads the caller's structs, of whatever version they are: a struct without its size, with unknown flags, or longer than ours with
 * something in the unknown part is refused. */
#include <string.h>

#include "core.h"

enum {
    OPTION_FLAGS = CREW_WORKERS_ONLY | CREW_CALLER_HELPS | CREW_FULL_FAILS | CREW_FULL_RUNS | CREW_LAZY_INIT,
    CALL_FLAGS = CREW_STOP_ON_ERROR | CREW_NO_WAIT | CREW_READY_AFTER_DONE,
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

/* Copies `known` bytes of a struct that begins with its size. False: it cannot be understood. */
static bool struct_read(const void *given, size_t known, void *ret_copy)
{
    size_t given_size;
    memcpy(&given_size, given, sizeof given_size);
    if (given_size < known || given_size > STRUCT_SIZE_MAX || !tail_is_zero(given, known, given_size))
        return false;
    memcpy(ret_copy, given, known);
    return true;
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
    if (given && !struct_read(given, sizeof *ret_options, ret_options))
        return CREW_INVALID; /* where its `error` would be cannot be known */
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

crew_status crewi_call_read(const crew_pool *pool, const crew_job *job, const crew_call *given, crew_call *ret_call)
{
    memset(ret_call, 0, sizeof *ret_call);
    if (given && !struct_read(given, sizeof *ret_call, ret_call))
        return CREW_INVALID;
    crew_error *error = ret_call->error;
    if (!pool)
        return crewi_refuse(error, CREW_INVALID, "pool is NULL");
    if (crewi_pool_is_forked(pool))
        return crewi_refuse(error, CREW_FORKED, "the pool belongs to the parent process");
    if (!job || !job->fn)
        return crewi_refuse(error, CREW_INVALID, job ? "job->fn is NULL" : "job is NULL");
    if (job->arg_size > PTRDIFF_MAX / 4 || job->result_size > PTRDIFF_MAX / 4)
        return crewi_refuse(error, CREW_INVALID, "the job's sizes are beyond what memory can hold");
    if (ret_call->flags & ~(unsigned)CALL_FLAGS)
        return crewi_refuse(error, CREW_INVALID, "call->flags has unknown bits");
    return CREW_OK;
}
