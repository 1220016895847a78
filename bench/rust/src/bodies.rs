// SPDX-License-Identifier: MIT
//! What the jobs do. Never inlined, and each with a piece of assembly, so that no compiler sees through a call of them.
use std::arch::asm;
use std::thread;
use std::time::Duration;

#[inline(always)]
fn opaque() {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("", options(nomem, nostack, preserves_flags)) }
}

#[inline(never)]
pub fn empty() {
    opaque();
}

#[inline(never)]
pub fn one() -> i64 {
    opaque();
    1
}

#[inline(never)]
pub fn square_and_one(number: f64) -> f64 {
    opaque();
    number * number + 1.0
}

#[inline(never)]
pub fn fib_leaf(n: usize) -> u64 {
    opaque();
    n as u64
}

/// Work of a known length: arithmetic of which each step waits for the one before.
#[inline(never)]
pub fn spin(steps: u64) {
    let mut number = steps;
    for _ in 0..steps {
        number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // SAFETY: there is no instruction in it.
        unsafe { asm!("/* {0} */", inout(reg) number, options(nomem, nostack, preserves_flags)) }
    }
}

pub fn doze(length: Duration) {
    thread::sleep(length);
}
