/* SPDX-License-Identifier: MIT */
/* What the calls of a fuzzed program share: its pool, its handles, and drafts: calls as they are made, with what is known of them. */
#ifndef CREW_TEST_FUZZ_CALLS_H
#define CREW_TEST_FUZZ_CALLS_H

#include "book.h"

enum { HELD_MAX = 6, STREAMS_MAX = 3, VALUE_MAX = 3000, UNTOUCHED = 0x5c };

struct program {
    struct fuzz_input input;
    struct book book;
    crew_pool *pool; /* NULL: it could not be made, or is gone */
    struct held {
        crew_result *result;
        struct page *page;
    } held[HELD_MAX];
    struct stream {
        crew_iterator *iterator;
        struct page *page;
        bool is_ordered;
        uint64_t seen;
        size_t taken;
        crew_status ended; /* for good; CREW_OK: not yet */
    } streams[STREAMS_MAX];
};

extern struct program program;

static inline unsigned choose(unsigned count)
{
    return fuzz_choose(&program.input, count);
}

size_t any_size(void);
crew_deadline any_deadline(void);
bool is_untouched(const void *bytes, size_t size);

/* A page of the book, and a call that may be as it should be, or not. */
struct draft {
    struct {
        crew_call call;
        unsigned char added[64];
    } newer;
    const crew_call *call;
    const crew_job *job;
    crew_job bad_job;
    struct page *page;
    crew_error error;
    bool is_bad;      /* it must be refused with CREW_INVALID */
    bool is_readable; /* as far as its `error` at least */
};

void draft_begin(struct draft *draft, bool may_have_callback);
/* What must be true of any call's status and error; `outputs` are those that a refusal leaves alone. */
void draft_check(const struct draft *draft, crew_status status, const void *outputs, size_t size);

/* The steps of a program. */
void do_apply(void);
void do_apply_async(void);
void do_map(void);
void do_map_async(void);
void do_stream(void);
void do_with_held(void);
void do_with_stream(void);

void result_hold(crew_result *result, struct page *page);
void result_let_go(struct held *one);
void stream_let_go(struct stream *stream);

#endif
