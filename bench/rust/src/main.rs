// SPDX-License-Identifier: MIT
//! bench-rayon measures Rayon by the workloads of bench/: `bench-rayon version`, or `bench-rayon WORKLOAD WORKERS
//! [N=…]`, which prints one sample as lines `metric<TAB>unit<TAB>value`; status 77 and a reason where Rayon has
//! nothing of the kind.
//!
//! Build, where librust-rayon-dev is installed, in a copy of this folder, as Cargo writes a lock file into it:
//! cargo build --release
mod bodies;
mod measure;
mod pool;
mod workloads_many;
mod workloads_one;

use measure::fail;
use std::env;

/// What one run is asked for.
pub struct Request {
    /// The threads that run jobs, a helping caller included.
    pub workers: usize,
    /// How many operations; what that means is the workload's.
    pub n: usize,
}

/// Its name, its default size, and what measures it.
pub type Workload = (&'static str, usize, fn(&Request));

fn number(text: &str) -> usize {
    match text.parse::<f64>() {
        Ok(value) if (1.0..=1e15).contains(&value) => value as usize,
        _ => fail(2, &format!("not a count: {text}")),
    }
}

fn find(name: &str) -> &'static Workload {
    let mut all = workloads_one::WORKLOADS.iter().chain(workloads_many::WORKLOADS);
    all.find(|workload| workload.0 == name).unwrap_or_else(|| fail(77, &format!("no workload {name}")))
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["version"] => println!("{}", env!("BENCH_VERSION")),
        [name, workers] => run(name, workers, None),
        [name, workers, size] if size.starts_with("N=") => run(name, workers, Some(&size[2..])),
        _ => fail(2, "usage: bench-rayon version | WORKLOAD WORKERS [N=COUNT]"),
    }
}

fn run(name: &str, workers: &str, size: Option<&str>) {
    let (_, default, measure) = find(name);
    measure(&Request { workers: number(workers), n: size.map_or(*default, number) });
}
