/* SPDX-License-Identifier: MIT */
/* crew_imap as a pipeline: lines of standard input, of any length, are percent-encoded (as in URLs) by all CPUs and come
 * out in order. At most 256 lines are in memory at any time, so the input may be endless.
 *
 *     $ printf 'a b\n100 %%\ncaf\303\251\n' | ./03_imap_pipeline
 *     a%20b
 *     100%20%25
 *     caf%C3%A9
 *
 * Lines travel as crew_bytes: the source's malloc is the job's argument, the job's malloc is the consumer's result, and
 * crew_bytes_drop frees whatever is left when the program breaks off. */
#define _POSIX_C_SOURCE 200809L
#include <crewpool/crewpool.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 256 };

/* The source. Its calls never overlap, so that it may use the stream without a lock. */
static int next_line(void *stream, void *ret_item)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    errno = 0;
    length = getline(&line, &room, stream);
    if (length >= 0) {
        *(crew_bytes *)ret_item = (crew_bytes){line, (size_t)length};
        return 1;
    }
    free(line);
    return feof(stream) ? 0 : crew_fail(-1, "standard input: %s", strerror(errno));
}

static char *encode(char *to, unsigned char byte)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~\n";
    static const char digits[] = "0123456789ABCDEF";

    if (byte != '\0' && strchr(plain, byte)) {
        *to++ = (char)byte;
    } else {
        *to++ = '%';
        *to++ = digits[byte / 16];
        *to++ = digits[byte % 16];
    }
    return to;
}

CREW_JOB_DROPS(percent_encode, crew_bytes, crew_bytes, crew_bytes_drop, crew_bytes_drop)
{
    const unsigned char *from = arg->data;
    char *encoded = malloc(3 * arg->size), *end = encoded;

    if (!encoded)
        return crew_fail(1, "out of memory for a line of %zu bytes", arg->size);
    for (size_t i = 0; i < arg->size; i++)
        end = encode(end, from[i]);
    *result = (crew_bytes){encoded, (size_t)(end - encoded)};
    return 0;
}

/* Ends at the end of input, at an error of it, at the first line that failed, or where nobody reads on. */
static crew_status print_all(crew_iterator *lines, crew_error *error)
{
    crew_status status = CREW_OK;
    crew_bytes line;

    while (!ferror(stdout) && (status = crew_iterator_next(lines, &line, NULL, CREW_FOREVER, error)) == CREW_OK) {
        fwrite(line.data, 1, line.size, stdout);
        crew_bytes_drop(&line, NULL);
    }
    return status == CREW_END ? CREW_OK : status;
}

int main(void)
{
    const crew_source source = {.pull = next_line, .user = stdin};
    crew_iterator *lines;
    crew_error error = {.message = "no pool"};
    crew_status status;

    CREW_AUTO_POOL(pool);
    status = crew_pool_create(&pool, NULL);
    if (status == CREW_OK)
        status = crew_imap(pool, &percent_encode, &source, &lines, CREW_CALL(.window = WINDOW, .error = &error));
    if (status == CREW_OK) {
        status = print_all(lines, &error);
        crew_iterator_destroy(lines);
    }
    if (status == CREW_OK && fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_SUCCESS;
    fprintf(stderr, "%s\n", status == CREW_OK ? "standard output cannot be written" : error.message);
    return EXIT_FAILURE;
}
