/* SPDX-License-Identifier: MIT */
/* The memory of a pool: cells of every size lie inside their slabs, come back, go home, and outlive the pool while they are used. */
#include "base/cells.h"

#include "../harness/test.h"

/* An allocator that knows what it gave: a guard behind each block is checked when it comes back. */
enum { GUARD = 64, GUARD_BYTE = 0x5A };

static long live_blocks;

static void *guarded_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    CHECK(align <= 64);
    unsigned char *block = aligned_alloc(64, (size + GUARD + 63) / 64 * 64);
    CHECK(block != NULL);
    memset(block + size, GUARD_BYTE, GUARD);
    live_blocks++;
    return block;
}

static void guarded_free(void *user, void *opaque, size_t size)
{
    (void)user;
    const unsigned char *block = opaque;
    for (size_t i = 0; i < GUARD; i++)
        CHECK_EQ(block[size + i], GUARD_BYTE);
    live_blocks--;
    free(opaque);
}

static const struct crewi_memory guarded = {guarded_alloc, guarded_free, NULL};

static void *filled_cell(crewi_cells *cells, crewi_cache *cache, size_t size, crewi_shard **ret_shard)
{
    void *cell = crewi_cells_alloc(cells, cache, 0, size, ret_shard);
    CHECK(cell != NULL);
    CHECK_EQ((uintptr_t)cell % _Alignof(max_align_t), 0);
    memset(cell, 0xC3, size);
    return cell;
}

static void end(crewi_cells *cells)
{
    crewi_cells_orphan(cells);
    CHECK_EQ(live_blocks, 0);
}

TEST(the_first_cell_of_any_size_lies_inside_its_slab)
{
    for (size_t size = 1; size <= CREWI_CELL_SIZE_MAX + 1; size++) {
        crewi_shard *shard;
        crewi_cells *cells = crewi_cells_new(&guarded, NULL);
        void *cell = filled_cell(cells, NULL, size, &shard);
        crewi_cells_free(shard, NULL, cell, size, false);
        end(cells);
    }
}

TEST(cells_of_whole_cache_lines_begin_with_one)
{
    crewi_shard *shard;
    crewi_cells *cells = crewi_cells_new(&guarded, NULL);
    for (int i = 0; i < 100; i++) {
        void *odd = filled_cell(cells, NULL, 16, &shard);
        void *line = filled_cell(cells, NULL, 64, &shard);
        CHECK_EQ((uintptr_t)line % 64, 0);
        (void)odd;
    }
    crewi_cells_abandon(cells); /* with all that is still in use, as in a fork's child */
    CHECK_EQ(live_blocks, 0);
}

enum { CELLS = 500 };

struct lot {
    void *cell[CELLS];
    crewi_shard *shard[CELLS];
};

static void lot_take(struct lot *lot, crewi_cells *cells, crewi_cache *cache, size_t size)
{
    for (size_t i = 0; i < CELLS; i++)
        lot->cell[i] = filled_cell(cells, cache, size, &lot->shard[i]);
    for (size_t i = 1; i < CELLS; i++)
        CHECK(lot->cell[i] != lot->cell[i - 1]);
}

static void lot_give(struct lot *lot, crewi_cache *cache, size_t size)
{
    for (size_t i = 0; i < CELLS; i++)
        crewi_cells_free(lot->shard[i], cache, lot->cell[i], size, false);
}

/* Blocks in use after some rounds are enough for ever: through caches, without, and from one to the other. */
TEST(cells_are_used_again_whoever_gives_them_back)
{
    static struct lot lot;
    crewi_cells *cells = crewi_cells_new(&guarded, NULL);
    crewi_cache one, other;
    crewi_cache *caches[] = {&one, &other, NULL};
    crewi_cache_open(&one, cells, 0);
    crewi_cache_open(&other, cells, 1);
    for (int taker = 0; taker < 3; taker++)
        for (int giver = 0; giver < 3; giver++) {
            long enough = 0;
            for (int round = 0; round < 50; round++) {
                lot_take(&lot, cells, caches[taker], 100);
                lot_give(&lot, caches[giver], 100);
                enough = round < 25 ? live_blocks : enough;
            }
            CHECK(live_blocks <= enough);
        }
    crewi_cache_close(&one);
    crewi_cache_close(&other);
    end(cells);
}

TEST(cells_that_outlive_the_pool_take_its_memory_with_them)
{
    static struct lot lot;
    crewi_cells *cells = crewi_cells_new(&guarded, NULL);
    crewi_cache cache;
    crewi_cache_open(&cache, cells, 3);
    lot_take(&lot, cells, &cache, 64);
    crewi_cache_close(&cache);
    crewi_cells_orphan(cells);
    CHECK(live_blocks > 0);
    lot_give(&lot, NULL, 64);
    CHECK_EQ(live_blocks, 0);
}

TEST(a_child_s_memory_goes_with_its_last_handle)
{
    crewi_shard *shard;
    crewi_cells *cells = crewi_cells_new(&guarded, NULL);
    crewi_cache cache;
    crewi_cache_open(&cache, cells, 0);
    for (int i = 0; i < 3; i++) {
        (void)filled_cell(cells, &cache, 64, &shard);
        crewi_cells_count_handle(shard, i == 0 ? NULL : &cache);
    }
    crewi_cells_discount_handle(shard, NULL);
    crewi_cache_abandon(&cache, true);
    crewi_cells_abandon(cells);
    crewi_cells_forget_handle(shard);
    CHECK(live_blocks > 0);
    crewi_cells_forget_handle(shard);
    CHECK_EQ(live_blocks, 0);
}

#ifdef CREWI_DEBUG
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
int __asan_address_is_poisoned(const volatile void *address);

static bool is_poisoned(const unsigned char *byte)
{
    return __asan_address_is_poisoned(byte);
}
#else
static bool is_poisoned(const unsigned char *byte)
{
    return *byte == CREWI_POISON;
}
#endif
#endif

TEST(in_debug_builds_nothing_is_left_to_be_read_in_a_cell_that_was_given_back)
{
#ifdef CREWI_DEBUG
    for (size_t size = 8; size <= CREWI_CELL_SIZE_MAX; size += 8) {
        crewi_shard *shard;
        crewi_cells *cells = crewi_cells_new(&guarded, NULL);
        unsigned char *first = filled_cell(cells, NULL, size, &shard), *second = filled_cell(cells, NULL, size, &shard);
        crewi_cells_free(shard, NULL, first, size, false);
        CHECK(is_poisoned(first) && is_poisoned(first + size - 1));
        CHECK(second[0] == 0xC3 && second[size - 1] == 0xC3);
        CHECK(filled_cell(cells, NULL, size, &shard) == first); /* and may be written to again */
        crewi_cells_free(shard, NULL, first, size, false);
        crewi_cells_free(shard, NULL, second, size, false);
        end(cells);
    }
#else
    test_skip("only in debug builds");
#endif
}
