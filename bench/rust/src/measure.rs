// SPDX-License-Identifier: MIT
//! Clocks, percentiles, the spin's calibration, printing, and what Linux says of this process.
use crate::bodies::spin;
use std::mem::{size_of, zeroed};
use std::time::{Duration, Instant};
use std::{fs, process};

/// Ends the program: 77 where Rayon has nothing of the kind, 1 for a failure, 2 for a wrong command.
pub fn fail(status: i32, message: &str) -> ! {
    eprintln!("bench-rayon: {message}");
    process::exit(status)
}

// ---- time ----

/// Wall time, and CPU time of all threads of the process.
pub struct Span {
    pub wall: Duration,
    pub cpu: Duration,
}

fn cpu_time() -> Duration {
    // SAFETY: the call fills the time in.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub fn timed(body: impl FnOnce()) -> Span {
    let cpu_before = cpu_time();
    let start = Instant::now();
    body();
    let wall = start.elapsed();
    Span { wall, cpu: cpu_time() - cpu_before }
}

pub fn pause_until(instant: Instant) {
    std::thread::sleep(instant.saturating_duration_since(Instant::now()));
}

// ---- printing ----

pub fn report(metric: &str, unit: &str, value: f64) {
    println!("{metric}\t{unit}\t{value:.3}");
}

/// A length in "ns", "us" or "ms".
pub fn in_unit(length: Duration, unit: &str) -> f64 {
    let divisor = match unit {
        "ms" => 1e6,
        "us" => 1e3,
        _ => 1.0,
    };
    length.as_nanos() as f64 / divisor
}

/// Wall and CPU time of one of so many operations.
pub fn report_span(metric: &str, unit: &str, took: Span, operations: usize) {
    report(metric, unit, in_unit(took.wall, unit) / operations as f64);
    report(&format!("{metric}-cpu"), unit, in_unit(took.cpu, unit) / operations as f64);
}

// ---- samples ----

pub fn mean(samples: &[Duration]) -> Duration {
    samples.iter().sum::<Duration>() / samples.len() as u32
}

/// Of samples in ascending order.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Of samples in ascending order.
pub fn median(sorted: &[Duration]) -> Duration {
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2
}

/// Sorts the samples and prints p50 and p99.
pub fn report_percentiles(prefix: &str, unit: &str, samples: &mut [Duration]) {
    samples.sort_unstable();
    report(&format!("{prefix}p50"), unit, in_unit(percentile(samples, 50), unit));
    report(&format!("{prefix}p99"), unit, in_unit(percentile(samples, 99), unit));
}

/// Steps of `spin` in a microsecond: of many short runs the fastest.
pub fn spin_rate() -> f64 {
    const STEPS: u64 = 100_000;
    const RUNS: usize = 100;
    let best = (0..RUNS).map(|_| timed(|| spin(STEPS)).wall).min().unwrap_or_default();
    STEPS as f64 / in_unit(best, "us")
}

// ---- the process ----

pub fn resident_bytes() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    match statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()) {
        // SAFETY: it only asks.
        Some(pages) => pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as f64,
        None => fail(1, "cannot read /proc/self/statm"),
    }
}

/// The processors that this process may use.
pub fn usable_cpus() -> Vec<usize> {
    // SAFETY: the call fills the set in, and the macro only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Pins the calling thread, and those that it will create.
pub fn pin(cpu: usize) {
    // SAFETY: the set is this function's own.
    let status = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if status != 0 {
        fail(1, "cannot pin a thread");
    }
}

/// Runs the body in a process of its own, before this one has threads.
pub fn in_a_child(body: impl FnOnce()) {
    let mut status = 0;
    // SAFETY: there is one thread only.
    let ended = unsafe {
        match libc::fork() {
            0 => {
                body();
                process::exit(0)
            }
            child => child > 0 && libc::waitpid(child, &mut status, 0) == child,
        }
    };
    if !ended || status != 0 {
        fail(1, "a process of its own failed");
    }
}
