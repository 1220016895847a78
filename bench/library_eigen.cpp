/* SPDX-License-Identifier: MIT */
/* Eigen's ThreadPool: Schedule for jobs, Notification and Barrier to wait for them, ThreadPoolDevice::parallelFor for
 * loops. A thread's queue holds 1024 jobs, and Schedule runs on the spot what does not fit; so there is no `pending`.
 * Waiting inside a job blocks its thread: no fib. parallelFor makes at most 4 blocks for each thread, of a size that it
 * chooses: no fanout_bulk. */
#ifndef NDEBUG
#define NDEBUG /* as in a program's release: Eigen asserts a lot */
#endif
#define EIGEN_USE_THREADS
#include <unsupported/Eigen/CXX11/Tensor>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "library.h"

namespace
{

using Eigen::Index;
using Eigen::TensorOpCost;

std::unique_ptr<Eigen::ThreadPool> pool;
std::unique_ptr<Eigen::ThreadPoolDevice> device;

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

const char *version()
{
    return TEXT(EIGEN_WORLD_VERSION) "." TEXT(EIGEN_MAJOR_VERSION) "." TEXT(EIGEN_MINOR_VERSION);
}

/* ---- jobs without handles are counted; one more stands for the drain to come ---- */

std::atomic<size_t> outstanding{1};
std::optional<Eigen::Notification> all_ended;

void one_ended()
{
    if (outstanding.fetch_sub(1, std::memory_order_acq_rel) == 1)
        all_ended->Notify();
}

void submit(bench_body *body, void *argument)
{
    outstanding.fetch_add(1, std::memory_order_relaxed);
    pool->Schedule([body, argument] {
        body(argument);
        one_ended();
    });
}

void expect_a_drain()
{
    outstanding.store(1, std::memory_order_relaxed);
    all_ended.emplace();
}

void drain()
{
    one_ended();
    all_ended->Wait();
    expect_a_drain();
}

void fanout_detached(size_t n)
{
    Eigen::Barrier ended(static_cast<unsigned>(n));
    for (size_t i = 0; i < n; i++)
        pool->Schedule([&ended] {
            bench_empty(nullptr);
            ended.Notify();
        });
    ended.Wait();
}

/* ---- jobs with handles ---- */

struct handle {
    explicit handle(size_t number) : argument(number)
    {
    }

    size_t argument, result = 0;
    Eigen::Notification done;
};

void schedule(handle *job)
{
    pool->Schedule([job] {
        bench_empty(nullptr);
        job->result = job->argument;
        job->done.Notify();
    });
}

void take(handle *job, size_t expected)
{
    job->done.Wait();
    if (job->result != expected)
        std::abort();
}

std::vector<handle *> handles; /* grows to what a fan-out needs, so that its second round finds it */

void fanout(size_t n)
{
    handles.resize(n);
    for (size_t i = 0; i < n; i++) {
        handles[i] = new handle(i);
        schedule(handles[i]);
    }
    for (size_t i = 0; i < n; i++) {
        take(handles[i], i);
        delete handles[i];
    }
}

void hand_off(bench_body *body, void *argument)
{
    Eigen::Notification done;
    pool->Schedule([body, argument, &done] {
        body(argument);
        done.Notify();
    });
    done.Wait();
}

void stream(size_t n, size_t window)
{
    std::vector<std::optional<handle>> slots(window);
    size_t at = 0;
    for (size_t i = 0; i < n + window; i++) {
        if (i >= window)
            take(&*slots[at], i - window);
        if (i < n)
            schedule(&slots[at].emplace(i));
        at = at + 1 == window ? 0 : at + 1;
    }
}

/* ---- many items: parallelFor wants to know what one of them costs, in bytes and cycles ---- */

void map_numbers(bench_number_body *body, const double *from, double *to, size_t n)
{
    const TensorOpCost cost(sizeof(double), sizeof(double), 5);
    device->parallelFor(static_cast<Index>(n), cost, [=](Index first, Index end) {
        for (Index i = first; i < end; i++)
            to[i] = body(from[i]);
    });
}

/* A program knows whether its items are worth a thread; here the empty ones are not, and all others are. */
void for_each(bench_index_body *body, void *argument, size_t n)
{
    const TensorOpCost cost(0, 0, body == bench_empty_index ? 1 : 1e6);
    device->parallelFor(static_cast<Index>(n), cost, [=](Index first, Index end) {
        for (Index i = first; i < end; i++)
            body(static_cast<size_t>(i), argument);
    });
}

/* ---- life ---- */

void start(unsigned participants)
{
    const int threads = static_cast<int>(participants);
    pool = std::make_unique<Eigen::ThreadPool>(threads);
    device = std::make_unique<Eigen::ThreadPoolDevice>(pool.get(), threads);
    expect_a_drain();
}

void stop()
{
    one_ended();
    all_ended.reset();
    device.reset();
    pool.reset();
}

/* Before C++20 there are no designated initializers. */
struct library table()
{
    struct library entries = {};
    entries.name = "eigen";
    entries.version = version;
    entries.start = start;
    entries.stop = stop;
    entries.fanout = fanout;
    entries.fanout_detached = fanout_detached;
    entries.submit = submit;
    entries.drain = drain;
    entries.call = hand_off;
    entries.hand_off = hand_off;
    entries.map_numbers = map_numbers;
    entries.for_each = for_each;
    entries.stream = stream;
    return entries;
}

} // namespace

const struct library library = table();
