//! Misuse: one bug a process, and whether the allocator says the right sentence about it.
//!
//! Each case of `tests/c/misuse.c` makes one mistake and goes on as a program would. Its outcome is one of
//!
//! ```text
//!   a sentence           stopped by SIGABRT after this one line on stderr
//!   SIGSEGV              the process died without a word
//!   harmless             nothing came of it
//!   let through          not noticed; the program's own data may be wrong, the heap hands out nothing twice
//!   exploitable          not noticed, and two blocks overlapped, or a block lay where an attacker wanted it
//! ```
//!
//! The table in `tests/c/misuse_cases.h` says what is expected of each, in the default build and in one with the feature
//! `hardened`; `HEAPWRIGHT_TEST_LIBRARY` and `HEAPWRIGHT_TEST_HARDENED=1` choose the latter. A case may end in one of two
//! ways where a secret decides which check comes first. The test prints the counts of each outcome; run it with
//! `--nocapture` to see them, and `HEAPWRIGHT_TEST_TABLE=1` to see every case.

mod harness;

use harness::{library, matrix};
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;

#[test]
fn every_misuse_ends_as_the_table_says() {
    let cases = matrix::cases(env::var_os("HEAPWRIGHT_TEST_HARDENED").is_some());
    let outcomes = matrix::outcomes(&cases, library());

    let mut counts = BTreeMap::<&str, usize>::new();
    let (mut table, mut wrong) = (String::new(), String::new());
    for (case, got) in cases.iter().zip(&outcomes) {
        let kind = match &**got {
            "let through" if case.expected.iter().any(|want| want == "harmless") => "harmless",
            "let through" | "exploitable" | "SIGSEGV" => got,
            _ => "caught",
        };
        *counts.entry(kind).or_default() += 1;
        let _ = writeln!(table, "{kind:12} {:45} {got}", case.name);
        if !case.is_as_expected(got) {
            let _ = writeln!(wrong, "{} ({}): expected {:?}, got {got:?}", case.name, case.number, case.expected);
        }
    }
    if env::var_os("HEAPWRIGHT_TEST_TABLE").is_some() {
        println!("{table}");
    }
    println!("of {} cases: {counts:?}", cases.len());
    assert!(wrong.is_empty(), "{wrong}");
    assert!(counts.get("exploitable").copied().unwrap_or(0) <= 6, "{counts:?}");
}
