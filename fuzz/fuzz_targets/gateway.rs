//! `gateway` of `fuzz/targets` with coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("gateway", bytes));
