/* SPDX-License-Identifier: MIT */
/* The whole library as one translation unit: cc -pthread app.c src/crewpool_all.c -Iinclude */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "base/cells.c"
#include "base/fifo.c"
#include "base/queue.c"
#include "platform/cpu_count.c"
#include "platform/favourite.c"
#include "platform/linux.c"
#include "platform/lock.c"

#include "apply.c"
#include "block.c"
#include "bytes.c"
#include "callbacks.c"
#include "chunk.c"
#include "desk.c"
#include "error.c"
#include "failure.c"
#include "frame.c"
#include "gate.c"
#include "graph.c"
#include "hatch.c"
#include "here.c"
#include "imap.c"
#include "iterator.c"
#include "iterators.c"
#include "line.c"
#include "map.c"
#include "map_calls.c"
#include "map_claim.c"
#include "map_run.c"
#include "options.c"
#include "pool.c"
#include "result.c"
#include "task.c"
#include "wait.c"

#include "serial/serial.c"

#include "threads/deque.c"
#include "threads/park.c"
#include "threads/permit.c"
#include "threads/threads.c"
#include "threads/worker.c"
