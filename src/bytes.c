/* SPDX-License-Identifier: MIT */
/* Values of any length. */
#include <stdlib.h>
#include <string.h>

#include <crewpool/job.h>

crew_status crew_bytes_set(crew_bytes *bytes, const void *data, size_t size)
{
    if (!bytes || (!data && size > 0))
        return CREW_INVALID;
    void *copy = NULL;
    if (size > 0) {
        copy = malloc(size);
        if (!copy)
            return CREW_NO_MEMORY;
        memcpy(copy, data, size);
    }
    free(bytes->data);
    *bytes = (crew_bytes){copy, size};
    return CREW_OK;
}

void crew_bytes_drop(void *bytes, void *unused)
{
    (void)unused;
    crew_bytes *held = bytes;
    if (!held)
        return;
    free(held->data);
    *held = (crew_bytes){NULL, 0};
}
