/* SPDX-License-Identifier: MIT */
/* A job that waits for something of its own: as long as it says so, it counts as a wait inside the library does. */
#include "backend.h"

struct block {
    crewi_frame frame; /* CREWI_FRAME_BLOCK */
    unsigned depth;    /* of its local's nest */
    int (*wait)(void *user);
    void *user;
    int code;
};

static void block_end(struct block *block)
{
    crewi_frame_leave(&block->frame);
    if (!(block->frame.notes & CREWI_NOTE_FORKED))
        crewi_frames_resume();
}

static void block_body(void *opaque)
{
    struct block *block = opaque;
    block->code = block->wait(block->user);
    block_end(block);
}

static void block_lost(void *opaque)
{
    struct block *block = opaque;
    crewi_nest_lost(block->frame.local, block->depth);
    if (block->frame.is_on_stack)
        block_end(block);
}

int crew_block(int (*wait)(void *user), void *user)
{
    const crewi_frame *top = crewi_frame_top();
    if (!wait || !top)
        return wait ? wait(user) : -1;
    struct block block = {.wait = wait, .user = user};
    crewi_frames_suspend();
    crewi_frame_enter(&block.frame, CREWI_FRAME_BLOCK, top->pool, top->task);
    block.frame.stop = top->stop;
    block.frame.has_permit = false;
    block.depth = crewi_nest_depth(block.frame.local);
    crewi_thread_guard(block_body, block_lost, &block);
    return block.code;
}
