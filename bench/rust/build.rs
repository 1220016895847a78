// SPDX-License-Identifier: MIT
//! Finds out for `bench-rayon version` which Rayon and which compiler it is built with.
use std::{env, fs, process::Command};

fn compiler() -> String {
    let program = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(program).arg("--version").output().map(|output| output.stdout);
    String::from_utf8_lossy(&output.unwrap_or_default()).trim().to_string()
}

/// The line after `name = "rayon"` is `version = "…"`.
fn version_of_rayon() -> String {
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let after = lock.split("name = \"rayon\"\nversion = \"").nth(1).unwrap_or("unknown\"");
    after.split('"').next().unwrap_or_default().to_string()
}

fn main() {
    println!("cargo:rustc-env=BENCH_VERSION=rayon {} ({})", version_of_rayon(), compiler());
    println!("cargo:rerun-if-changed=Cargo.lock");
}
