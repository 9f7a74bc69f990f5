//! Several arenas over the fake system, whose n-th call is refused: the model's own operations, drawn by libFuzzer.
//!
//! After each operation every arena is walked and every invariant checked; in the end everything must go back. The
//! script's bytes are read by src/model/script.rs, and `cargo test` replays the seeds.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| heapwright::fuzzing::replay(script));
