// SPDX-License-Identifier: MIT
//! Pools of Rayon. What is natural depends on where the caller stands: one outside submits by `in_place_scope` and
//! waits asleep; one inside, where a program puts its main part by `install`, is one of the pool's threads and helps.
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Barrier, Mutex};

pub fn start(workers: usize) -> ThreadPool {
    builder(workers).build().expect("a pool")
}

fn builder(workers: usize) -> ThreadPoolBuilder {
    ThreadPoolBuilder::new().num_threads(workers)
}

/// A pool all of whose threads have met in a job of theirs.
pub fn start_warm(workers: usize) -> ThreadPool {
    let pool = start(workers);
    meet(&pool);
    pool
}

pub fn meet(pool: &ThreadPool) {
    let barrier = Barrier::new(pool.current_num_threads());
    pool.broadcast(|_| barrier.wait());
}

/// A pool that can be waited for: dropping one only tells its threads to end. Nothing comes out of the receiver, but it
/// ends when the last thread has run its exit handler.
pub fn start_with_end(workers: usize) -> (ThreadPool, Receiver<()>) {
    let (exit, end) = channel::<()>();
    let exits = Mutex::new(vec![exit; workers]);
    let leave = move |_| drop(exits.lock().unwrap().pop());
    (builder(workers).exit_handler(leave).build().expect("a pool"), end)
}
