/* SPDX-License-Identifier: MIT */
/* oneTBB: tbb::task_group for single jobs, the implicit arena of the calling thread, which helps in wait(); parallel_for with its default
 * partitioner; parallel_pipeline. Where the threads must be the library's own, enqueue into an arena without a place for the caller. */
#include <tbb/tbb.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "library.h"

namespace
{

/* Before anything is pinned: TBB asks for the affinity mask once, and the implicit arena has as many places. */
const unsigned cpus = static_cast<unsigned>(tbb::info::default_concurrency());

std::unique_ptr<tbb::task_scheduler_handle> scheduler;
std::unique_ptr<tbb::global_control> control;
std::unique_ptr<tbb::task_arena> arena;  /* NULL: the implicit one serves */
std::unique_ptr<tbb::task_arena> single; /* for one job at a time on a thread of the library's own */
std::unique_ptr<tbb::task_group> group;
unsigned pool_workers;
bool workers_only;

const char *version()
{
    static char text[64];
    std::snprintf(text, sizeof text, "%d.%d.%d", TBB_VERSION_MAJOR, TBB_VERSION_MINOR, TBB_VERSION_PATCH);
    return text;
}

/* ---- life ---- */

void start_threads(unsigned participants, unsigned own, unsigned reserved)
{
    pool_workers = participants;
    scheduler.reset(new tbb::task_scheduler_handle(tbb::attach()));
    control.reset(new tbb::global_control(tbb::global_control::max_allowed_parallelism, own + 1));
    if (workers_only || participants > cpus)
        arena.reset(new tbb::task_arena(static_cast<int>(participants), reserved));
    if (workers_only)
        single.reset(new tbb::task_arena(1, 0));
    group.reset(new tbb::task_group);
}

void start(unsigned participants)
{
    workers_only = false;
    start_threads(participants, participants - 1, 1);
}

void start_workers(unsigned count)
{
    workers_only = true;
    start_threads(count, count, 0);
}

void stop()
{
    group.reset();
    arena.reset();
    single.reset();
    control.reset();
    tbb::finalize(*scheduler, std::nothrow); /* joins the threads */
    scheduler.reset();
}

template <typename Work> void in_arena(const Work &work)
{
    if (arena)
        arena->execute(work);
    else
        work();
}

/* ---- one job at a time ---- */

/* TBB has no handle of one task: the group is waited for. */
void fanout(size_t n)
{
    in_arena([n] {
        for (size_t i = 0; i < n; i++)
            group->run([] {
                bench_empty(nullptr);
            });
        group->wait();
    });
}

void fanout_bulk(size_t n)
{
    in_arena([n] {
        tbb::parallel_for(
            tbb::blocked_range<size_t>(0, n, 1),
            [](const tbb::blocked_range<size_t> &range) {
                for (size_t i = range.begin(); i != range.end(); ++i)
                    bench_empty_index(i, nullptr);
            },
            tbb::simple_partitioner());
    });
}

/* run, then wait: the other thread may take the job meanwhile. The group's run_and_wait never offers it to anyone, it calls the body
 * where it stands: rows of `tbb-direct`. */
const bool direct = std::getenv("BENCH_TBB_DIRECT") != nullptr;

void call(bench_body *body, void *argument)
{
    in_arena([=] {
        if (direct) {
            group->run_and_wait([=] {
                body(argument);
            });
        } else {
            group->run([=] {
                body(argument);
            });
            group->wait();
        }
    });
}

/* ---- threads of its own: enqueue is the way that does not wait for the submitter to help ---- */

std::mutex lock;
std::condition_variable changed;
std::atomic<size_t> unfinished{0};

void finish_one()
{
    if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> guard(lock);
        changed.notify_all();
    }
}

void submit(bench_body *body, void *argument)
{
    if (workers_only) {
        unfinished.fetch_add(1, std::memory_order_relaxed);
        arena->enqueue([=] {
            body(argument);
            finish_one();
        });
    } else {
        in_arena([=] {
            group->run([=] {
                body(argument);
            });
        });
    }
}

/* ---- a queue ---- */

unsigned held;
bool holding;

void hold(void *)
{
    std::unique_lock<std::mutex> guard(lock);
    held++;
    changed.notify_all();
    changed.wait(guard, [] {
        return !holding;
    });
}

void copy_number(void *argument)
{
    uint64_t *result = static_cast<uint64_t *>(argument);
    *result = *result + 1;
}

/* A task has no result: the argument says where to put it. */
size_t pending(size_t n)
{
    holding = true;
    held = 0;
    for (unsigned i = 0; i < pool_workers; i++)
        submit(hold, nullptr);
    {
        std::unique_lock<std::mutex> guard(lock);
        changed.wait(guard, [] {
            return held == pool_workers;
        });
    }
    for (size_t i = 0; i < n; i++)
        submit(copy_number, &bench_handles[i]);
    return n;
}

void drain()
{
    {
        std::lock_guard<std::mutex> guard(lock);
        holding = false;
        changed.notify_all();
    }
    if (workers_only) {
        std::unique_lock<std::mutex> guard(lock);
        changed.wait(guard, [] {
            return unfinished.load(std::memory_order_acquire) == 0;
        });
    } else {
        in_arena([] {
            group->wait();
        });
    }
}

/* One job at a time needs one thread: an arena of one place disturbs no others. */
void hand_off(bench_body *body, void *argument)
{
    unfinished.store(1, std::memory_order_relaxed);
    single->enqueue([=] {
        body(argument);
        finish_one();
    });
    drain();
}

/* ---- many items ---- */

void map_numbers(bench_number_body *body, const double *from, double *to, size_t n)
{
    in_arena([=] {
        tbb::parallel_for(tbb::blocked_range<size_t>(0, n), [=](const tbb::blocked_range<size_t> &range) {
            for (size_t i = range.begin(); i != range.end(); ++i)
                to[i] = body(from[i]);
        });
    });
}

void for_each(bench_index_body *body, void *argument, size_t n)
{
    in_arena([=] {
        tbb::parallel_for(size_t(0), n, [=](size_t i) {
            body(i, argument);
        });
    });
}

void stream(size_t n, size_t window)
{
    size_t produced = 0, taken = 0;
    in_arena([&] {
        tbb::parallel_pipeline(window,
                               tbb::make_filter<void, size_t>(tbb::filter_mode::serial_in_order,
                                                              [&](tbb::flow_control &control_of_flow) -> size_t {
                                                                  if (produced == n)
                                                                      control_of_flow.stop();
                                                                  return produced++;
                                                              }) &
                                   tbb::make_filter<size_t, size_t>(tbb::filter_mode::parallel,
                                                                    [](size_t i) {
                                                                        bench_empty_index(i, nullptr);
                                                                        return i;
                                                                    }) &
                                   tbb::make_filter<size_t, void>(tbb::filter_mode::serial_in_order, [&](size_t) {
                                       taken++;
                                   }));
    });
    if (taken != n)
        std::abort();
}

/* ---- jobs that submit jobs ---- */

long fib_job(int n)
{
    if (n < 2)
        return bench_fib_leaf(n);
    long left, right;
    tbb::task_group calls;
    calls.run([&] {
        left = fib_job(n - 1);
    });
    right = fib_job(n - 2);
    calls.wait();
    return left + right;
}

long fib(int n)
{
    long result = 0;
    in_arena([&] {
        result = fib_job(n);
    });
    return result;
}

} // namespace

/* In the order of library.h: C++ has no designated initializers before C++20. */
const struct library library = {
    "tbb",  version, start, start_workers, stop,    nullptr,     fanout,   fanout, fanout_bulk,
    submit, drain,   call,  hand_off,      pending, map_numbers, for_each, stream, fib,
};
