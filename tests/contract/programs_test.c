/* SPDX-License-Identifier: MIT */
/* Eight small programs as a user would write them, with their outcomes checked. The contract was read against these. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

/* ---- 1. checksums of files: one that cannot be read costs nothing but its own line ---- */

struct path {
    char name[64];
};

static uint32_t checksum_add(uint32_t sum, int byte)
{
    return (sum ^ (uint32_t)byte) * 16777619U;
}

CREW_JOB(checksum, struct path, uint32_t)
{
    int byte;
    (void)context;
    FILE *file = fopen(arg->name, "rb");
    if (file == NULL)
        return crew_fail(errno, "%s: %s", arg->name, strerror(errno));
    *result = 2166136261U;
    while ((byte = getc(file)) != EOF)
        *result = checksum_add(*result, byte);
    fclose(file);
    return 0;
}

enum { FILES = 12, MISSING = 5 };

/* Files without a name of their own, so that nothing is left behind whatever happens. */
static uint32_t make_file(int number, FILE **ret_file, struct path *ret_path)
{
    uint32_t sum = 2166136261U;
    *ret_file = tmpfile();
    CHECK(*ret_file != NULL);
    for (int i = 0; i < 1000 * number; i++) {
        sum = checksum_add(sum, (i * number) & 0xff);
        putc((i * number) & 0xff, *ret_file);
    }
    CHECK_EQ(fflush(*ret_file), 0);
    snprintf(ret_path->name, sizeof ret_path->name, "/proc/self/fd/%d", fileno(*ret_file));
    return sum;
}

CONTRACT(checksums_of_files_come_in_their_order_and_the_missing_one_is_named)
{
    FILE *files[FILES];
    struct path paths[FILES];
    uint32_t expected[FILES], sum;
    size_t index, seen = 0;
    crew_error error;
    crew_status status;
    crew_iterator *sums;
    for (int i = 0; i < FILES; i++)
        expected[i] = make_file(i, &files[i], &paths[i]);
    strcpy(paths[MISSING].name, "/nowhere/to/be/found");

    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_imap(pool, &checksum, &(crew_source){.items = paths, .count = FILES}, &sums, NULL), CREW_OK);
    while (status = crew_iterator_next(sums, &sum, &index, CREW_FOREVER, &error), CREW_IS_OUTCOME(status)) {
        CHECK_EQ(index, seen++);
        CHECK_STATUS(status, index == MISSING ? CREW_FAILED : CREW_OK);
        if (status == CREW_OK)
            CHECK_EQ(sum, expected[index]);
        else
            CHECK_STRING(error.message, "/nowhere/to/be/found: No such file or directory");
    }
    CHECK_STATUS(status, CREW_END);
    CHECK_EQ(seen, FILES);
    crew_iterator_destroy(sums);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    for (int i = 0; i < FILES; i++)
        fclose(files[i]);
}

/* ---- 2. rows of a matrix: the argument is the row's number, the matrices are the context ---- */

enum { ROWS = 40, INNER = 30, COLUMNS = 20 };

struct product {
    double left[ROWS][INNER], right[INNER][COLUMNS], result[ROWS][COLUMNS];
};

CREW_ACTION(multiply_row, size_t)
{
    struct product *product = context;
    for (size_t column = 0; column < COLUMNS; column++) {
        double sum = 0;
        for (size_t i = 0; i < INNER; i++)
            sum += product->left[*arg][i] * product->right[i][column];
        product->result[*arg][column] = sum;
    }
    return 0;
}

CONTRACT(the_rows_of_a_matrix_product_are_computed_side_by_side)
{
    static struct product product;
    for (int i = 0; i < INNER; i++) {
        for (int row = 0; row < ROWS; row++)
            product.left[row][i] = row + i;
        for (int column = 0; column < COLUMNS; column++)
            product.right[i][column] = column == i % COLUMNS ? 2 : 0;
    }

    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_map(pool, &multiply_row, NULL, ROWS, NULL, CREW_CALL(.context = &product)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);

    for (int row = 0; row < ROWS; row++)
        for (int column = 0; column < COLUMNS; column++) {
            int wrapped = column + COLUMNS < INNER ? 2 * (row + column + COLUMNS) : 0;
            CHECK_EQ(product.result[row][column], 2 * (row + column) + wrapped);
        }
}

/* ---- 3. a crawler: jobs submit jobs, nobody holds a handle, the pool says when all is quiet ---- */

enum { PAGES = 400, LINKS = 3, BROKEN_PAGE = 13 };

struct crawl {
    atomic_bool seen[PAGES];
    counter fetched, broken;
};

CREW_ACTION(visit, int)
{
    struct crawl *crawl = context;
    const int links[LINKS] = {(*arg * 7 + 1) % PAGES, (*arg * 13 + 5) % PAGES, (*arg + 1) % PAGES};
    counter_add(&crawl->fetched, 1);
    if (*arg == BROKEN_PAGE)
        return crew_fail(404, "page %d is not there", *arg);
    for (int i = 0; i < LINKS; i++) {
        if (atomic_exchange(&crawl->seen[links[i]], true))
            continue;
        if (crew_apply_async(crew_current_pool(), &visit, &links[i], NULL, CREW_CALL(.context = crawl)) != CREW_OK)
            return crew_fail(1, "the crawl was ended at page %d", *arg);
    }
    return 0;
}

static void note_broken_page(const crew_outcome *outcome, void *user)
{
    CHECK_STRING(outcome->error->message, "page 13 is not there");
    counter_add(&((struct crawl *)user)->broken, 1);
}

CONTRACT(a_crawler_whose_jobs_submit_jobs_sees_every_page_once)
{
    static struct crawl crawl;
    memset(&crawl, 0, sizeof crawl);
    atomic_store(&crawl.seen[0], true);

    crew_pool *pool = contract_pool(CREW_OPTIONS(.on_unhandled = note_broken_page, .user = &crawl));
    CHECK_STATUS(crew_apply_async(pool, &visit, &(int){0}, NULL, CREW_CALL(.context = &crawl)), CREW_OK);
    CHECK_STATUS(crew_pool_wait(pool, CREW_FOREVER), CREW_OK);

    CHECK_EQ(counter_get(&crawl.fetched), PAGES);
    CHECK_EQ(counter_get(&crawl.broken), 1);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
}

/* ---- 4. thumbnails with a decoder per worker ---- */

enum { SIDE = 64, SMALL = 8, PICTURES = 60 };

struct thumbnail {
    unsigned char pixels[SMALL][SMALL];
};

/* Costly to make and not safe to share: made by each worker for itself. */
struct decoder {
    atomic_bool busy;
    unsigned char pixels[SIDE][SIDE];
};

static int make_decoder(void *user, int worker, void **ret_state)
{
    (void)worker;
    *ret_state = calloc(1, sizeof(struct decoder));
    counter_add(user, 1);
    return *ret_state != NULL ? 0 : crew_fail(ENOMEM, "no memory for a decoder");
}

static void free_decoder(void *user, int worker, void *state)
{
    (void)worker;
    counter_add(user, -1);
    free(state);
}

static unsigned char pixel(int picture, int row, int column)
{
    return (unsigned char)((picture + row / (SIDE / SMALL) * 3 + column / (SIDE / SMALL) * 5) & 0xff);
}

static void decode(struct decoder *decoder, int picture)
{
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++)
            decoder->pixels[row][column] = pixel(picture, row, column);
}

CREW_JOB(make_thumbnail, int, struct thumbnail)
{
    struct decoder *decoder = crew_worker_state();
    (void)context;
    if (decoder == NULL || atomic_exchange(&decoder->busy, true))
        return crew_fail(1, "picture %d has no decoder of its own", *arg);
    decode(decoder, *arg);
    for (int row = 0; row < SMALL; row++)
        for (int column = 0; column < SMALL; column++)
            result->pixels[row][column] = decoder->pixels[row * (SIDE / SMALL)][column * (SIDE / SMALL)];
    atomic_store(&decoder->busy, false);
    return 0;
}

CONTRACT(thumbnails_are_made_with_one_decoder_per_worker)
{
    static struct thumbnail thumbnails[PICTURES];
    counter decoders = {0};
    crew_error error = {0};
    int pictures[PICTURES];
    for (int i = 0; i < PICTURES; i++)
        pictures[i] = i;

    crew_pool *pool = contract_pool(CREW_OPTIONS(.worker_init = make_decoder, .worker_exit = free_decoder,
                                                 .user = &decoders, .flags = CREW_WORKERS_ONLY));
    CHECK(counter_get(&decoders) >= 1);
    CHECK_STATUS(crew_map(pool, &make_thumbnail, pictures, PICTURES, thumbnails, CREW_CALL(.error = &error)), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);

    CHECK_EQ(counter_get(&decoders), 0);
    for (int i = 0; i < PICTURES; i++)
        for (int row = 0; row < SMALL; row++)
            for (int column = 0; column < SMALL; column++)
                CHECK_EQ(thumbnails[i].pixels[row][column], (i + row * 3 + column * 5) & 0xff);
}

/* ---- 5. nested quicksort: a job maps itself over its two halves ---- */

enum { NUMBERS = 20000, SHORT_ENOUGH = 64 };

struct range {
    int *first;
    size_t count;
};

static int compare_ints(const void *a, const void *b)
{
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

/* Everything before the returned place is at most what is from there on; neither side is empty. */
static size_t split(int *numbers, size_t count)
{
    int pivot = numbers[(count - 1) / 2];
    size_t low = 0, high = count - 1;
    for (;; low++, high--) {
        while (numbers[low] < pivot)
            low++;
        while (numbers[high] > pivot)
            high--;
        if (low >= high)
            return high + 1;
        int swap = numbers[low];
        numbers[low] = numbers[high];
        numbers[high] = swap;
    }
}

CREW_ACTION(quicksort, struct range)
{
    if (arg->count > SHORT_ENOUGH) {
        size_t middle = split(arg->first, arg->count);
        const struct range halves[] = {{arg->first, middle}, {arg->first + middle, arg->count - middle}};
        crew_status status = crew_map(crew_current_pool(), &quicksort, halves, 2, NULL, CREW_CALL(.context = context));
        if (status != CREW_TOO_DEEP)
            return status == CREW_OK ? 0 : crew_fail(1, "a half was not sorted: %s", crew_status_name(status));
    }
    qsort(arg->first, arg->count, sizeof *arg->first, compare_ints);
    return 0;
}

CONTRACT(a_nested_quicksort_sorts)
{
    static int numbers[NUMBERS], expected[NUMBERS];
    uint64_t random = test_seed();
    for (size_t i = 0; i < NUMBERS; i++)
        numbers[i] = expected[i] = (int)(test_random(&random) % NUMBERS);
    qsort(expected, NUMBERS, sizeof *expected, compare_ints);

    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(crew_apply(pool, &quicksort, &(struct range){numbers, NUMBERS}, NULL, NULL), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);

    CHECK(memcmp(numbers, expected, sizeof numbers) == 0);
}

/* ---- 6. lines of standard input, of any length ---- */

static int next_line(void *user, void *ret_item)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t length = getline(&text, &room, user);
    if (length < 0) {
        free(text);
        return ferror((FILE *)user) ? crew_fail(-1, "standard input cannot be read") : 0;
    }
    *(crew_bytes *)ret_item = (crew_bytes){text, (size_t)length};
    return 1;
}

CREW_JOB_DROPS(reverse_line, crew_bytes, crew_bytes, crew_bytes_drop, crew_bytes_drop)
{
    const char *from = arg->data;
    (void)context;
    *result = (crew_bytes){0};
    if (crew_bytes_set(result, arg->data, arg->size) != CREW_OK)
        return crew_fail(ENOMEM, "a line of %zu bytes is too long", arg->size);
    char *to = result->data;
    size_t length = arg->size - (arg->size > 0 && from[arg->size - 1] == '\n');
    for (size_t i = 0; i < length; i++)
        to[i] = from[length - 1 - i];
    return 0;
}

static crew_status reverse_lines(crew_pool *pool, FILE *input, FILE *output)
{
    crew_iterator *lines;
    crew_bytes line;
    crew_status status = crew_imap(pool, &reverse_line, &(crew_source){.pull = next_line, .user = input}, &lines, NULL);
    if (status != CREW_OK)
        return status;
    while ((status = crew_iterator_next(lines, &line, NULL, CREW_FOREVER, NULL)) == CREW_OK) {
        fwrite(line.data, 1, line.size, output);
        crew_bytes_drop(&line, NULL);
    }
    crew_iterator_destroy(lines);
    return status == CREW_END ? CREW_OK : status;
}

/* Line i has i * i letters, one that is a byte of 0, and one is huge; the last has no end. */
static void write_lines(FILE *output, bool backwards)
{
    enum { LINES = 60, ZERO_LINE = 9, HUGE_LINE = 30, HUGE_LENGTH = 1000003 };
    for (int i = 0; i < LINES; i++) {
        int length = i == HUGE_LINE ? HUGE_LENGTH : i * i;
        for (int j = 0; j < length; j++) {
            int place = backwards ? length - 1 - j : j;
            putc(i == ZERO_LINE && place == 1 ? 0 : 'a' + place % 26, output);
        }
        if (i + 1 < LINES)
            putc('\n', output);
    }
}

static void check_same_content(FILE *actual, FILE *expected)
{
    int byte;
    rewind(actual);
    rewind(expected);
    do {
        byte = getc(expected);
        CHECK_EQ(getc(actual), byte);
    } while (byte != EOF);
}

CONTRACT(lines_of_any_length_pass_through_a_pipeline_in_order)
{
    FILE *input = tmpfile(), *output = tmpfile(), *expected = tmpfile();
    CHECK(input != NULL && output != NULL && expected != NULL);
    write_lines(input, false);
    write_lines(expected, true);
    rewind(input);

    crew_pool *pool = contract_pool(NULL);
    CHECK_STATUS(reverse_lines(pool, input, output), CREW_OK);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);

    check_same_content(output, expected);
    fclose(input);
    fclose(output);
    fclose(expected);
}

/* ---- 7. the first hit cancels the rest ---- */

enum { BLOCK = 500, WINDOW = 40 };

struct search {
    uint64_t next_block;
    counter started, ended, released;
};

struct hit {
    bool found;
    uint64_t number;
};

static bool is_hit(uint64_t number)
{
    uint64_t state = number;
    return test_random(&state) % 20000 == 0;
}

static int next_block(void *user, void *ret_item)
{
    *(uint64_t *)ret_item = ((struct search *)user)->next_block++ * BLOCK;
    return 1;
}

static void release_search(void *user)
{
    counter_add(&((struct search *)user)->released, 1);
}

CREW_JOB(search_block, uint64_t, struct hit)
{
    struct search *search = context;
    *result = (struct hit){false, 0};
    counter_add(&search->started, 1);
    for (uint64_t number = *arg; number < *arg + BLOCK && !result->found && !crew_should_stop(); number++)
        *result = (struct hit){is_hit(number), number};
    counter_add(&search->ended, 1);
    return 0;
}

CONTRACT(the_first_hit_of_an_endless_search_cancels_the_rest)
{
    struct search search = {0};
    struct hit hit = {0};
    crew_iterator *hits;
    long taken = 0;
    crew_source source = {.pull = next_block, .user = &search, .release = release_search};

    crew_pool *pool = contract_pool(NULL);
    const crew_call *call = CREW_CALL(.context = &search, .window = WINDOW);
    CHECK_STATUS(crew_imap_unordered(pool, &search_block, &source, &hits, call), CREW_OK);
    for (; !hit.found; taken++)
        CHECK_STATUS(crew_iterator_next(hits, &hit, NULL, CREW_FOREVER, NULL), CREW_OK);
    crew_iterator_destroy(hits);

    long started = counter_get(&search.started);
    CHECK(is_hit(hit.number));
    CHECK(started <= taken + WINDOW);
    CHECK_EQ(counter_get(&search.ended), started);
    CHECK_STATUS(crew_pool_destroy(pool), CREW_OK);
    CHECK_EQ(counter_get(&search.started), started);
    CHECK_EQ(counter_get(&search.released), 1);
}

/* ---- 8. an event-loop server: callbacks write to a pipe that the loop polls beside its sockets ---- */

enum { CLIENTS = 3, REQUESTS = 40, GOOD_BYE = 0, NO_ANSWER = -1 };

struct server {
    crew_pool *pool;
    struct pollfd polled[CLIENTS + 1]; /* the clients' sockets, and the end of the pipe that is read */
    int done;                          /* the end that callbacks write to */
    int clients, pending;
};

struct request {
    struct server *server;
    int client;
};

struct reply {
    int client;
    long answer;
};

CREW_JOB(answer, int, long)
{
    (void)context;
    *result = 3L * *arg;
    return *arg < 0 ? crew_fail(400, "bad request %d", *arg) : 0;
}

static void post_reply(const crew_outcome *outcome, void *user)
{
    struct request *request = user;
    struct reply reply = {request->client, outcome->status == CREW_OK ? *(const long *)outcome->value : NO_ANSWER};
    CHECK_EQ(write(request->server->done, &reply, sizeof reply), sizeof reply);
    free(request);
}

static void take_request(struct server *server, int client)
{
    int number;
    CHECK_EQ(recv(server->polled[client].fd, &number, sizeof number, 0), sizeof number);
    if (number == GOOD_BYE) {
        server->clients--;
        return;
    }
    struct request *request = malloc(sizeof *request);
    CHECK(request != NULL);
    *request = (struct request){server, client};
    const crew_call *call = CREW_CALL(.on_done = post_reply, .user = request);
    CHECK_STATUS(crew_apply_async(server->pool, &answer, &number, NULL, call), CREW_OK);
    server->pending++;
}

static void send_reply(struct server *server)
{
    struct reply reply;
    CHECK_EQ(read(server->polled[CLIENTS].fd, &reply, sizeof reply), sizeof reply);
    CHECK_EQ(send(server->polled[reply.client].fd, &reply.answer, sizeof reply.answer, 0), sizeof reply.answer);
    server->pending--;
}

static void serve(struct server *server)
{
    while (server->clients > 0 || server->pending > 0) {
        CHECK(poll(server->polled, CLIENTS + 1, -1) > 0);
        for (int i = 0; i < CLIENTS; i++)
            if (server->polled[i].revents & POLLIN)
                take_request(server, i);
        if (server->polled[CLIENTS].revents & POLLIN)
            send_reply(server);
    }
}

struct client {
    int socket;
    long sum, refused;
};

static void run_client(void *user)
{
    struct client *client = user;
    for (int i = 1; i <= REQUESTS; i++) {
        int number = i % 10 == 0 ? -i : i;
        CHECK_EQ(send(client->socket, &number, sizeof number, 0), sizeof number);
    }
    for (int i = 0; i < REQUESTS; i++) {
        long value;
        CHECK_EQ(recv(client->socket, &value, sizeof value, 0), sizeof value);
        client->refused += value == NO_ANSWER;
        client->sum += value == NO_ANSWER ? 0 : value;
    }
    CHECK_EQ(send(client->socket, &(int){GOOD_BYE}, sizeof(int), 0), sizeof(int));
}

CONTRACT(an_event_loop_server_answers_every_request_without_ever_waiting_for_the_pool)
{
    struct server server = {.pool = contract_pool(NULL), .clients = CLIENTS};
    struct client clients[CLIENTS] = {{0}};
    struct test_thread *threads[CLIENTS];
    int pipe_ends[2], pair[2];
    CHECK_EQ(pipe(pipe_ends), 0);
    server.done = pipe_ends[1];
    server.polled[CLIENTS] = (struct pollfd){.fd = pipe_ends[0], .events = POLLIN};
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
        server.polled[i] = (struct pollfd){.fd = pair[0], .events = POLLIN};
        clients[i].socket = pair[1];
        threads[i] = test_thread_start(run_client, &clients[i]);
    }

    serve(&server);
    CHECK_STATUS(crew_pool_destroy(server.pool), CREW_OK);

    for (int i = 0; i < CLIENTS; i++) {
        test_thread_join(threads[i]);
        CHECK_EQ(clients[i].refused, REQUESTS / 10);
        CHECK_EQ(clients[i].sum, 3 * (REQUESTS * (REQUESTS + 1) / 2 - 10 * (1 + 2 + 3 + 4)));
    }
}
