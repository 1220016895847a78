/* SPDX-License-Identifier: MIT */
/* Finds the words in blocks of bytes; a run that a block's end cuts is carried over to the next block. */
#include "words.h"

#include <string.h>

enum { O = 0, P = 1, S = 2 }; /* any other byte, printable, space */

static const unsigned char class_of[256] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, /* \t \n \v \f \r */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* */
    S, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, /* space ! … / */
    P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, /* 0 … ? */
    P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, /* @ … O */
    P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, /* P … _ */
    P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, /* ` … o */
    P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, O, /* p … ~ */
};

static const unsigned char *skip_spaces(const unsigned char *at, const unsigned char *end)
{
    while (at < end && class_of[*at] == S)
        at++;
    return at;
}

static const unsigned char *skip_run(const unsigned char *at, const unsigned char *end, unsigned *classes)
{
    unsigned seen = 0;

    for (unsigned class; at < end && (class = class_of[*at]) != S; at++)
        seen |= class;
    *classes |= seen;
    return at;
}

static bool add_run(struct table *table, const unsigned char *text, size_t length, unsigned classes)
{
    if (!(classes & P))
        return true;
    return table_add(table, text, length < WORD_TEXT_MAX ? length : WORD_TEXT_MAX, 1) != NULL;
}

static void carry(struct word_counter *counter, const unsigned char *from, const unsigned char *end)
{
    size_t length = (size_t)(end - from), room = WORD_TEXT_MAX - counter->length;

    if (length > room)
        length = room;
    memcpy(counter->text + counter->length, from, length);
    counter->length += length;
}

bool words_end(struct word_counter *counter)
{
    bool added = add_run(counter->table, counter->text, counter->length, counter->classes);

    counter->length = 0;
    counter->classes = 0;
    return added;
}

bool words_of_block(struct word_counter *counter, const unsigned char *block, size_t size)
{
    const unsigned char *at = block, *end = block + size;

    if (counter->length > 0) {
        at = skip_run(block, end, &counter->classes);
        carry(counter, block, at);
        if (at < end && !words_end(counter))
            return false;
    }
    while ((at = skip_spaces(at, end)) < end) {
        const unsigned char *start = at;
        unsigned classes = 0;

        at = skip_run(at, end, &classes);
        if (at == end) {
            carry(counter, start, end);
            counter->classes = classes;
        } else if (!add_run(counter->table, start, (size_t)(at - start), classes)) {
            return false;
        }
    }
    return true;
}
