/* SPDX-License-Identifier: MIT */
/* A lock's favourite, as its header says it is to be used: it and the others exclude each other; and the memory may go once it has left. Here two
 * locked visits make one the favourite. */
#include "model.h"
#include "platform/favourite.h"
#include "platform/lock.h"

struct room {
    crewi_lock lock;
    crewi_favourite favourite;
    crewi_atomic_u32 visitors; /* relaxed throughout: it must not order what it watches */
    int visits;                /* plain: guarded by the two together */
    bool is_deserted;          /* likewise */
};

static struct room *room;

static void room_begin(void)
{
    crewi_barrier_prepare();
    room = model_alloc(sizeof *room);
    crewi_lock_init(&room->lock);
    crewi_favourite_init(&room->favourite);
    crewi_atomic_u32_init(&room->visitors, 0);
    room->visits = 0;
    room->is_deserted = false;
}

static bool room_enter(void)
{
    bool is_favoured = crewi_favourite_enter(&room->favourite);
    if (!is_favoured) {
        crewi_lock_acquire(&room->lock);
        crewi_favourite_oust(&room->favourite);
    }
    WANT(crewi_atomic_u32_fetch_add_relaxed(&room->visitors, 1) == 0);
    room->visits++;
    return is_favoured;
}

static void room_leave(bool is_favoured)
{
    WANT(crewi_atomic_u32_fetch_add_relaxed(&room->visitors, UINT32_MAX) == 1);
    if (is_favoured) {
        crewi_favourite_leave(&room->favourite);
        return;
    }
    crewi_favourite_count(&room->favourite);
    crewi_lock_release(&room->lock);
}

static void visit(void)
{
    room_leave(room_enter());
}

static void visit_often(void)
{
    visit();
    visit();
    visit();
}

static void room_end(int visits)
{
    WANT(room->visits == visits);
    model_free(room);
}

static void room_end_of_four(void)
{
    room_end(4);
}

MODEL(favourite_against_another, room_begin, room_end_of_four, visit_often, visit);

static void room_end_of_five(void)
{
    room_end(5);
}

MODEL_WIDE(favourite_against_two_others, room_begin, room_end_of_five, visit_often, visit, visit);

static void room_end_of_six(void)
{
    room_end(6);
}

MODEL(favourite_ousts_favourite, room_begin, room_end_of_six, visit_often, visit_often);

/* The other frees the room as soon as it sees that the favourite comes no more. */
static void visit_and_desert(void)
{
    visit();
    visit();
    bool is_favoured = room_enter();
    room->is_deserted = true;
    room_leave(is_favoured);
}

static void visit_and_free(void)
{
    struct room *gone = room;
    bool is_favoured = room_enter(), is_deserted = gone->is_deserted;
    room_leave(is_favoured);
    if (!is_deserted)
        return;
    model_free(gone);
    room = NULL;
}

static void room_end_freed(void)
{
    if (room)
        room_end(4);
}

MODEL(favourite_leaves_nothing_behind, room_begin, room_end_freed, visit_and_desert, visit_and_free);
