/* SPDX-License-Identifier: MIT */
/* Weak memory, after C11, but for release sequences, which are those of C++20: each location keeps its last stores, in modification order, which is the order in which they were made. A load
 * may find any of them that is not hidden by what happens before it: a later store, or a load that found a later one. A load that acquires,
 * of a store that released, learns all that happened before that store; read-modify-writes find the last store, and pass on what it
 * released. A seq_cst load finds nothing older than any seq_cst operation on the same location has found or stored: their total order is
 * the order in which they were made. A seq_cst fence is a seq_cst operation on every location: what the thread knows, later ones know.
 * Not modelled: a load that finds a store of the future, a store that goes before others in modification order, and what fences
 * make of relaxed loads and stores beside them, but for that order.
 *
 * Older stores than the last few are forgotten, and what was known of them becomes common knowledge: some behaviours are lost thereby, none is
 * invented. */
#include "sim.h"

#include <stdatomic.h>

enum { STORES = 16, SEEN = 32, TABLE = 1 << 16, LOCATIONS = 1 << 14, MESSAGES = 1 << 19 };

struct store {
    uint64_t value;
    const struct sim_clocks *message; /* what a load that acquires learns; NULL: nothing */
};

/* That a thread, at this point of its own past, knew of this store. */
struct seen {
    uint32_t thread, epoch, index;
};

struct location {
    const void *address;
    size_t size;
    uint32_t count;           /* stores ever made: the last has this index less 1 */
    uint32_t floor, sc_floor; /* nobody finds an older one; no seq_cst operation does */
    uint32_t seen_count;
    struct store stores[STORES];
    struct seen seen[SEEN];
};

static struct {
    uint32_t generation[TABLE], place[TABLE];
    uint32_t now; /* generation of this run */
    struct location *locations;
    uint32_t locations_count;
    struct sim_clocks *messages;
    uint32_t messages_count;
} memory;

void sim_weak_reset(void)
{
    if (!memory.locations) {
        memory.locations = calloc(LOCATIONS, sizeof *memory.locations);
        memory.messages = calloc(MESSAGES, sizeof *memory.messages);
    }
    memory.now++;
    memory.locations_count = memory.messages_count = 0;
}

static void clocks_join(struct sim_clocks *clocks, const struct sim_clocks *others)
{
    for (unsigned i = 0; i < SIM_THREADS_MAX; i++)
        clocks->of[i] = clocks->of[i] > others->of[i] ? clocks->of[i] : others->of[i];
}

void sim_weak_join(struct sim_thread *thread, const struct sim_clocks *past)
{
    clocks_join(&thread->past, past);
}

void sim_weak_fork(struct sim_thread *child, struct sim_thread *parent)
{
    memset(&child->past, 0, sizeof child->past);
    if (parent) {
        child->past = parent->past;
        parent->past.of[parent->id]++;
    }
    child->past.of[child->id] = 1;
}

/* ---- locations ---- */

static uint64_t value_there(const void *object, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, object, size);
    return value;
}

/* One store, that everybody knows. */
static void location_begin(struct location *location, const void *object, size_t size, uint64_t value)
{
    location->address = object;
    location->size = size;
    location->count = 1;
    location->floor = location->sc_floor = location->seen_count = 0;
    location->stores[0] = (struct store){value, NULL};
}

static struct store *store_at(struct location *location, uint32_t index)
{
    return &location->stores[index % STORES];
}

static struct store *store_last(struct location *location)
{
    return store_at(location, location->count - 1);
}

static struct location *location_find(const void *object, bool *ret_is_new)
{
    uint32_t slot = (uint32_t)(((uintptr_t)object >> 2) * UINT64_C(0x9e3779b97f4a7c15) >> 48) % TABLE;
    for (; memory.generation[slot] == memory.now; slot = (slot + 1) % TABLE)
        if (memory.locations[memory.place[slot]].address == object)
            return *ret_is_new = false, &memory.locations[memory.place[slot]];
    if (memory.locations_count == LOCATIONS)
        sim_fail("more than %d locations", LOCATIONS);
    memory.generation[slot] = memory.now;
    memory.place[slot] = memory.locations_count;
    return *ret_is_new = true, &memory.locations[memory.locations_count++];
}

/* One that was written plainly since (a record that was set up anew) begins again. */
static struct location *location_of(const void *object, size_t size)
{
    bool is_new;
    struct location *location = location_find(object, &is_new);
    uint64_t value = value_there(object, size);
    if (is_new || location->size != size || store_last(location)->value != value)
        location_begin(location, object, size, value);
    return location;
}

void sim_weak_init(void *object, size_t size, uint64_t value)
{
    bool is_new;
    location_begin(location_find(object, &is_new), object, size, value);
}

/* ---- what a thread may find ---- */

static uint32_t location_bound(const struct location *location, bool is_sc)
{
    const struct sim_clocks *past = &sim_self->past;
    uint32_t oldest = location->count > STORES ? location->count - STORES : 0;
    uint32_t bound = location->floor > oldest ? location->floor : oldest;
    if (is_sc && location->sc_floor > bound)
        bound = location->sc_floor;
    for (uint32_t i = 0; i < location->seen_count && bound + 1 < location->count; i++) {
        const struct seen *seen = &location->seen[i];
        if (seen->index > bound && seen->epoch <= past->of[seen->thread])
            bound = seen->index;
    }
    return bound;
}

/* The place of an older entry of the same thread is taken where nothing is lost by it; else the oldest becomes common knowledge. */
static void location_note(struct location *location, uint32_t index, bool is_sc)
{
    struct seen now = {sim_self->id, sim_self->past.of[sim_self->id], index};
    if (is_sc && index > location->sc_floor)
        location->sc_floor = index;
    for (uint32_t i = 0; i < location->seen_count; i++)
        if (location->seen[i].thread == now.thread && location->seen[i].epoch == now.epoch) {
            location->seen[i].index = location->seen[i].index > index ? location->seen[i].index : index;
            return;
        }
    if (location->seen_count == SEEN) {
        if (location->seen[0].index > location->floor)
            location->floor = location->seen[0].index;
        memmove(location->seen, location->seen + 1, --location->seen_count * sizeof now);
    }
    location->seen[location->seen_count++] = now;
}

static bool acquires(int order)
{
    return order != memory_order_relaxed && order != memory_order_release;
}

static bool releases(int order)
{
    return order == memory_order_release || order == memory_order_acq_rel || order == memory_order_seq_cst;
}

static uint64_t store_find(struct location *location, uint32_t index, int order)
{
    const struct store *store = store_at(location, index);
    if (acquires(order) && store->message)
        clocks_join(&sim_self->past, store->message);
    location_note(location, index, order == memory_order_seq_cst);
    return store->value;
}

uint64_t sim_weak_load(const void *object, size_t size, int order)
{
    struct location *location = location_of(object, size);
    uint32_t bound = location_bound(location, order == memory_order_seq_cst), last = location->count - 1;
    uint32_t back = last > bound ? sim_pick(SIM_PICK_STALE, last - bound + 1) : 0;
    return store_find(location, last - back, order);
}

uint64_t sim_weak_latest(const void *object, size_t size, int order)
{
    struct location *location = location_of(object, size);
    return store_find(location, location->count - 1, order);
}

/* ---- fences ---- */

void sim_weak_fence(void)
{
    for (uint32_t i = 0; i < memory.locations_count; i++) {
        struct location *location = &memory.locations[i];
        if (location->count > 1)
            location_note(location, location_bound(location, true), true);
    }
}

void sim_weak_barrier_everywhere(void)
{
    for (uint32_t i = 0; i < memory.locations_count; i++)
        memory.locations[i].floor = memory.locations[i].count - 1;
}

/* ---- storing ---- */

/* `passed_on`: what the sequence has released so far. */
static const struct sim_clocks *message_new(int order, const struct sim_clocks *passed_on)
{
    if (!releases(order))
        return passed_on;
    if (memory.messages_count == MESSAGES)
        sim_fail("more than %d releases", MESSAGES);
    struct sim_clocks *message = &memory.messages[memory.messages_count++];
    *message = sim_self->past;
    if (passed_on)
        clocks_join(message, passed_on);
    return message;
}

/* A release sequence goes on with read-modify-writes, and with nothing else: C11 has the later stores of the thread that began it, too, but
 * compilers go by the standards that have dropped these. */
static void location_store(struct location *location, uint64_t value, int order, bool is_update)
{
    const struct store *before = store_last(location);
    const struct sim_clocks *message = message_new(order, is_update ? before->message : NULL);
    uint32_t index = location->count++;
    uint64_t mask = location->size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * location->size) - 1;
    *store_at(location, index) = (struct store){value & mask, message};
    location_note(location, index, order == memory_order_seq_cst);
    if (releases(order))
        sim_self->past.of[sim_self->id]++;
}

void sim_weak_store(void *object, size_t size, uint64_t value, int order)
{
    location_store(location_of(object, size), value, order, false);
}

void sim_weak_update(void *object, size_t size, uint64_t value, int order)
{
    location_store(location_of(object, size), value, order, true);
}
