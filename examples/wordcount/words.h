/* SPDX-License-Identifier: MIT */
/* What a word is: exactly what GNU `LC_ALL=C wc -w` of Debian 12 counts.
 *
 * A word is a longest run of bytes other than space, \t, \n, \v, \f and \r that has at least one printable one, '!' … '~'.
 * So "caf\xc3\xa9" is one word, and "\x01" or "\xc3\xa9" alone is none. Words that agree in their first WORD_TEXT_MAX
 * bytes are the same word: that bounds what a word can cost, however long it is. */
#ifndef WORDCOUNT_WORDS_H
#define WORDCOUNT_WORDS_H

#include "table.h"

enum { WORD_TEXT_MAX = 1024 };

/* Counts the words of a stream that comes block by block. All zero but the table is the start. */
struct word_counter {
    struct table *table;
    unsigned classes; /* of the bytes of the run that reached the end of the last block */
    size_t length;    /* of that run, as far as it is kept; 0: there is none */
    unsigned char text[WORD_TEXT_MAX];
};

/* Both return false when memory is out. */
bool words_of_block(struct word_counter *counter, const unsigned char *block, size_t size);
bool words_end(struct word_counter *counter);

#endif
