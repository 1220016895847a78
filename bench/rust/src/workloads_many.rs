// SPDX-License-Identifier: MIT
//! The workloads of many items, of long and sleeping jobs, and of a pool's own costs. The caller of a map stands inside
//! the pool.
use crate::bodies::{doze, empty, one, spin, square_and_one};
use crate::measure::*;
use crate::pool::{meet, start_warm, start_with_end};
use crate::{Request, Workload};
use rayon::prelude::*;
use rayon::ThreadPool;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

pub const WORKLOADS: &[Workload] = &[
    ("map-cheap", 10_000_000, map_cheap),
    ("map-20us", 1000, map_20us),
    ("map-small", 200, map_small),
    ("map-empty", 1_000_000, map_empty),
    ("map-2-long", 20, map_2_long),
    ("irregular", 2000, irregular),
    ("stream", 1_000_000, stream),
    ("blocking", 2000, blocking),
    ("start-1", 200, start_1),
    ("start-8", 200, start_8),
    ("idle", 5000, idle),
];

// ---- maps ----

const CHEAP_ROUNDS: usize = 5;

fn map_in_a_loop(from: &[f64], to: &mut [f64]) {
    from.iter().zip(to).for_each(|(number, result)| *result = square_and_one(*number));
}

fn map_by_rayon(from: &[f64], to: &mut [f64]) {
    from.par_iter().zip(to).for_each(|(number, result)| *result = square_and_one(*number));
}

/// The rounds after a first that does not count: their wall times in ascending order, and the CPU time of one.
fn time_rounds(mut round: impl FnMut()) -> (Vec<Duration>, Duration) {
    round();
    let spans: Vec<Span> = (0..CHEAP_ROUNDS).map(|_| timed(&mut round)).collect();
    let mut walls: Vec<Duration> = spans.iter().map(|span| span.wall).collect();
    walls.sort_unstable();
    (walls, spans.iter().map(|span| span.cpu).sum::<Duration>() / CHEAP_ROUNDS as u32)
}

fn map_cheap(request: &Request) {
    let from: Vec<f64> = (0..request.n).map(|index| index as f64).collect();
    let mut to = vec![-1.0; request.n];
    let (serial, _) = time_rounds(|| map_in_a_loop(&from, &mut to));
    let pool = start_warm(request.workers);
    let (walls, cpu) = pool.install(|| time_rounds(|| map_by_rayon(&from, &mut to)));
    report("region", "us", in_unit(median(&walls), "us"));
    report("region-best", "us", in_unit(walls[0], "us"));
    report("region-cpu", "us", in_unit(cpu, "us"));
    report("serial", "us", in_unit(median(&serial), "us"));
}

fn spin_each(items: usize, steps: u64) {
    (0..items).into_par_iter().for_each(|_| spin(steps));
}

fn map_20us(request: &Request) {
    let steps = (20.0 * spin_rate()) as u64;
    let took = start_warm(request.workers).install(|| timed(|| spin_each(request.n, steps)));
    report_span("region", "us", took, 1);
}

/// Wall times of n regions, each after something that is not timed.
fn time_regions(request: &Request, before: impl Fn() + Sync, region: impl Fn() + Sync) -> Vec<Duration> {
    let timed_region = |_| {
        before();
        timed(&region).wall
    };
    start_warm(request.workers).install(|| (0..request.n).map(timed_region).collect())
}

fn map_small(request: &Request) {
    let rate = spin_rate();
    let mut samples = time_regions(request, || spin((1000.0 * rate) as u64), || spin_each(100, (10.0 * rate) as u64));
    report("region-mean", "us", in_unit(mean(&samples), "us"));
    samples.sort_unstable();
    report("region", "us", in_unit(median(&samples), "us"));
    report("p99", "us", in_unit(percentile(&samples, 99), "us"));
}

fn empty_maps(n: usize) {
    (0..n).for_each(|_| (0..2).into_par_iter().for_each(|_| empty()));
}

fn map_empty(request: &Request) {
    let took = start_warm(request.workers).install(|| timed(|| empty_maps(request.n)));
    report_span("mean", "ns", took, request.n);
}

fn map_2_long(request: &Request) {
    let steps = (5000.0 * spin_rate()) as u64;
    let mut samples = time_regions(request, || empty_maps(10_000), || spin_each(2, steps));
    samples.sort_unstable();
    report("region", "us", in_unit(median(&samples), "us"));
    report("region-max", "us", in_unit(percentile(&samples, 100), "us"));
}

// ---- jobs of very different lengths, jobs that sleep ----

/// Lengths by Pareto's distribution with exponent 2, of a fixed seed: the same jobs in every program.
fn pareto(n: usize) -> Vec<f64> {
    let next = |state: &u64| Some(state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407));
    let states = std::iter::successors(next(&965), next).take(n);
    states.map(|state| 1.0 / (((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64).sqrt()).collect()
}

/// Steps for each job; a millisecond is the mean.
fn irregular_steps(n: usize, rate: f64) -> Vec<u64> {
    let lengths = pareto(n);
    let total: f64 = lengths.iter().sum();
    lengths.iter().map(|length| (length / total * 1000.0 * n as f64 * rate) as u64).collect()
}

fn irregular(request: &Request) {
    let rate = spin_rate();
    let all_steps = irregular_steps(request.n, rate);
    let pool = start_warm(request.workers);
    let took = timed(|| {
        pool.in_place_scope(|scope| all_steps.iter().for_each(|steps| scope.spawn(|_| spin(*steps))));
    });
    let parallel = request.workers.min(usable_cpus().len());
    let ideal = all_steps.iter().sum::<u64>() as f64 / rate.max(spin_rate()) / parallel as f64;
    report("efficiency", "ratio", ideal / in_unit(took.wall, "us"));
}

fn blocking(request: &Request) {
    let pool = start_warm(request.workers);
    let took = timed(|| {
        let sleeping = || doze(Duration::from_millis(1));
        pool.in_place_scope(|scope| (0..request.n).for_each(|_| scope.spawn(move |_| sleeping())));
    });
    report_span("total", "us", took, 1);
}

// ---- a stream ----

const WINDOW: usize = 1000;

/// A ring of channels, one for each place in the window, used again and again (250 ns an item; a new channel for each:
/// 450). Rayon's own way is to collect one block of items after the other (8 ns), but then no window slides.
fn consume(pool: &ThreadPool, n: usize) -> i64 {
    let ring: Vec<_> = (0..WINDOW).map(|_| sync_channel(1)).collect();
    let take = |index: usize| ring[index % WINDOW].1.recv().expect("a result");
    let mut sum = 0;
    for index in 0..n {
        if index >= WINDOW {
            sum += take(index);
        }
        let result = ring[index % WINDOW].0.clone();
        pool.spawn_fifo(move || result.send(one()).expect("a place"));
    }
    sum + (n.saturating_sub(WINDOW)..n).map(take).sum::<i64>()
}

fn stream(request: &Request) {
    let pool = start_warm(request.workers);
    let mut sum = 0;
    report_span("item", "ns", timed(|| sum = consume(&pool, request.n)), request.n);
    if sum != request.n as i64 {
        fail(1, "an item is missing");
    }
}

// ---- a pool's own costs ----

const LIFE_WORKERS: usize = 8;

fn report_cycles(n: usize, work: impl Fn(&ThreadPool)) {
    let cycle = |_| {
        let life = || {
            let (pool, end) = start_with_end(LIFE_WORKERS);
            work(&pool);
            drop(pool);
            end.recv().unwrap_err();
        };
        timed(life).wall
    };
    let mut samples: Vec<Duration> = (0..n).map(cycle).collect();
    samples.sort_unstable();
    report("cycle", "us", in_unit(median(&samples), "us"));
}

fn start_1(request: &Request) {
    report_cycles(request.n, |pool| pool.install(empty));
}

fn start_8(request: &Request) {
    report_cycles(request.n, meet);
}

/// `n` is milliseconds; the CPU time is told for 5 s.
fn idle(request: &Request) {
    let _pool = start_warm(LIFE_WORKERS);
    let took = timed(|| doze(Duration::from_millis(request.n as u64)));
    report("cpu", "ms", in_unit(took.cpu, "ms") * 5000.0 / request.n as f64);
}
