// SPDX-License-Identifier: MIT
//! The workloads of one job at a time: many at once, one waited for, one that submits another.
use crate::bodies::{empty, fib_leaf, one, spin};
use crate::measure::*;
use crate::pool::{start, start_warm};
use crate::{Request, Workload};
use rayon::prelude::*;
use rayon::{Scope, ThreadPool};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub const WORKLOADS: &[Workload] = &[
    ("fanout", 1_000_000, fanout),
    ("fanout-detached", 1_000_000, fanout_detached),
    ("fanout-bulk", 1_000_000, fanout_bulk),
    ("depth", 1_000_000, depth),
    ("producers", 1_000_000, producers),
    ("apply-hot", 1_000_000, apply_hot),
    ("handoff-hot", 50_000, handoff_hot),
    ("apply-cold", 5000, apply_cold),
    ("handoff-cold", 5000, handoff_cold),
    ("spawn-then-work", 200, spawn_then_work),
    ("trickle", 5000, trickle),
    ("nested", 30, nested),
    ("memory", 1_000_000, memory),
];

// ---- fan-out: by `scope`, Rayon's usual one, which moves the submitting code into the pool. From outside, by
// `in_place_scope`, a job costs the same or up to a fifth more. Either way some runs take three times as long. ----

fn two_rounds(request: &Request, round: fn(&ThreadPool, usize)) {
    let pool = start_warm(request.workers);
    for metric in ["cold", "warm"] {
        report_span(metric, "ns", timed(|| round(&pool, request.n)), request.n);
    }
}

/// Rayon has no handle of one job: its scope is waited for, then each result is taken from its place. A channel for
/// each as a handle costs five times as much.
fn fanout(request: &Request) {
    two_rounds(request, |pool, n| {
        let mut results = vec![0; n];
        pool.scope(|scope| results.iter_mut().for_each(|result| scope.spawn(move |_| *result = one())));
        if results.into_iter().sum::<i64>() != n as i64 {
            fail(1, "a result is missing");
        }
    });
}

fn submit_detached(scope: &Scope, n: usize) {
    (0..n).for_each(|_| scope.spawn(|_| empty()));
}

fn fanout_detached(request: &Request) {
    two_rounds(request, |pool, n| pool.scope(|scope| submit_detached(scope, n)));
}

fn depth(request: &Request) {
    let pool = start_warm(request.workers);
    report_span("cold", "ns", timed(|| pool.scope(|scope| submit_detached(scope, request.n))), request.n);
}

fn fanout_bulk(request: &Request) {
    two_rounds(request, |pool, n| {
        pool.install(|| (0..n).into_par_iter().with_max_len(1).for_each(|_| empty()));
    });
}

const PRODUCERS: usize = 4;

/// Each thread outside has a scope of its own; all are timed from where they have met.
fn producers(request: &Request) {
    let pool = start_warm(request.workers);
    let each = (request.n + PRODUCERS - 1) / PRODUCERS;
    for metric in ["cold", "warm"] {
        let barrier = Barrier::new(PRODUCERS + 1);
        let took = thread::scope(|threads| {
            for _ in 0..PRODUCERS {
                threads.spawn(|| {
                    barrier.wait();
                    pool.in_place_scope(|scope| submit_detached(scope, each));
                    barrier.wait();
                });
            }
            timed(|| {
                barrier.wait();
                barrier.wait();
            })
        });
        report_span(metric, "ns", took, each * PRODUCERS);
    }
}

// ---- one job, waited for ----

/// Inside the pool, so that the caller helps: 130 ns, and 15 us from outside.
fn apply() {
    rayon::scope(|scope| scope.spawn(|_| empty()));
}

fn time_calls(n: usize, pause: Duration, call: impl Fn()) -> Vec<Duration> {
    let timed_call = |_| {
        if pause > Duration::ZERO {
            thread::sleep(pause);
        }
        let start = Instant::now();
        call();
        start.elapsed()
    };
    (0..n).map(timed_call).collect()
}

/// The mean of a loop without a clock in it, then percentiles of so many calls with clocks.
fn measure_hot(n: usize, clocked: usize, call: impl Fn()) {
    report_span("mean", "ns", timed(|| (0..n).for_each(|_| call())), n);
    report_percentiles("", "ns", &mut time_calls(clocked, Duration::ZERO, &call));
}

fn apply_hot(request: &Request) {
    start_warm(request.workers).install(|| measure_hot(request.n, (request.n + 4) / 5, apply));
}

fn handoff_hot(request: &Request) {
    let pool = start_warm(request.workers);
    measure_hot(request.n, (request.n * 2 + 4) / 5, || pool.install(empty));
}

fn report_cold(prefix: &str, n: usize, call: impl Fn()) {
    let mut samples = time_calls(n, Duration::from_millis(1), call);
    report(&format!("{prefix}mean"), "ns", in_unit(mean(&samples), "ns"));
    report_percentiles(prefix, "ns", &mut samples);
}

/// Wherever the kernel likes, all threads on one processor, and the caller apart from the others. Each placement has a
/// process; `measure` is given the prefix of its metrics, the pool, and the processor that the caller then moves to.
fn each_placement(request: &Request, measure: fn(&Request, &str, &ThreadPool, Option<usize>)) {
    in_a_child(|| measure(request, "", &start_warm(request.workers), None));
    if let [first, second, ..] = usable_cpus()[..] {
        for (prefix, callers) in [("same-", second), ("apart-", first)] {
            in_a_child(|| {
                pin(second);
                measure(request, prefix, &start_warm(request.workers), Some(callers));
            });
        }
    }
}

fn apply_cold(request: &Request) {
    each_placement(request, |request, prefix, pool, cpu| {
        pool.install(|| {
            cpu.into_iter().for_each(pin);
            report_cold(prefix, request.n, apply);
        });
    });
}

fn handoff_cold(request: &Request) {
    each_placement(request, |request, prefix, pool, cpu| {
        cpu.into_iter().for_each(pin);
        report_cold(prefix, request.n, || pool.install(empty));
    });
}

// ---- submit to start ----

fn spawn_then_work(request: &Request) {
    let steps = (5000.0 * spin_rate()) as u64;
    let pool = start_warm(request.workers);
    let mut samples = vec![Duration::ZERO; request.n];
    for sample in &mut samples {
        pool.in_place_scope(|scope| {
            scope.spawn(move |scope| {
                let submitted = Instant::now();
                scope.spawn(move |_| *sample = submitted.elapsed());
                spin(steps);
            });
        });
    }
    report_percentiles("", "us", &mut samples);
}

/// A thousand jobs a second. The CPU time is told for 5 s, however many there are.
fn trickle(request: &Request) {
    let pool = start_warm(request.workers);
    let mut samples = vec![Duration::ZERO; request.n];
    let took = timed(|| submit_each_millisecond(&pool, &mut samples));
    report("cpu", "ms", in_unit(took.cpu, "ms") * 5000.0 / request.n as f64);
    report("mean", "ns", in_unit(mean(&samples), "ns"));
    report_percentiles("", "ns", &mut samples);
}

fn submit_each_millisecond(pool: &ThreadPool, samples: &mut [Duration]) {
    let start = Instant::now();
    pool.in_place_scope(|scope| {
        for (index, sample) in samples.iter_mut().enumerate() {
            pause_until(start + Duration::from_millis(index as u64 + 1));
            let submitted = Instant::now();
            scope.spawn(move |_| *sample = submitted.elapsed());
        }
    });
}

// ---- nested ----

/// Rayon's typed fork and join: jobs lie on the stack, and the second call of two is not a job unless it is stolen.
fn fib(n: usize) -> u64 {
    if n < 2 {
        return fib_leaf(n);
    }
    let (left, right) = rayon::join(|| fib(n - 1), || fib(n - 2));
    left + right
}

fn fibonacci(n: usize) -> u64 {
    (0..n).fold((0, 1), |(number, next), _| (next, number + next)).0
}

/// Per join, as for every library: fib(n + 1) - 1 of them.
fn nested(request: &Request) {
    let n = request.n.min(45);
    let pool = start_warm(request.workers);
    let mut result = 0;
    let took = timed(|| result = pool.install(|| fib(n)));
    report_span("spawn", "ns", took, (fibonacci(n + 1) - 1) as usize);
    if result != fibonacci(n) {
        fail(1, "fib is wrong");
    }
}

// ---- memory ----

/// What fanout uses, while a gate holds the workers.
fn memory(request: &Request) {
    let pool = start(request.workers);
    let gate = Mutex::new(());
    let held = Barrier::new(request.workers + 1);
    pool.in_place_scope(|scope| {
        let closed = gate.lock();
        for _ in 0..request.workers {
            scope.spawn(|_| {
                held.wait();
                drop(gate.lock());
            });
        }
        held.wait();
        let before = resident_bytes();
        let mut results = vec![0; request.n];
        pool.in_place_scope(|scope| {
            for (argument, result) in results.iter_mut().enumerate() {
                scope.spawn(move |_| *result = argument);
            }
            report("bytes", "bytes", (resident_bytes() - before) / request.n as f64);
            drop(closed);
        });
    });
}
