//! The C contract of malloc, row by row.
//!
//! `tests/c/contract.c` is a table of named checks: what C, POSIX and glibc's manual promise of every entry point, parameter and
//! report, in errno and return value, down to what must stay untouched. It is C because the contract is: no Rust type stands
//! between a check and the symbol that a program calls.
//!
//! A table of promises can itself be wrong. So it first runs on the C library's own malloc, where every row must hold except those
//! that are newer than glibc 2.36, which it skips by name. Then all rows must hold on the library, and none may be skipped.

mod harness;

use std::collections::BTreeSet;

use harness::{Outcome, Run, compile};

/// The rows that a run reports with `word` before their name.
fn rows<'a>(outcome: &'a Outcome, word: &str) -> BTreeSet<&'a str> {
    outcome.text().lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).collect()
}

fn all_rows(outcome: &Outcome) -> BTreeSet<&str> {
    outcome.text().lines().collect()
}

#[test]
fn the_table_holds_for_the_c_library() {
    let contract = compile("contract.c");
    let listed = Run::new(&contract).args(["--list"]).run().expect_success();
    let outcome = Run::new(&contract).args(["--glibc"]).run();
    assert_eq!(rows(&outcome, "FAIL"), BTreeSet::new(), "{}", outcome.report());
    let seen: BTreeSet<&str> = &rows(&outcome, "ok") | &rows(&outcome, "skip");
    assert_eq!(seen, all_rows(&listed), "{}", outcome.report());
    outcome.expect_success();
}

#[test]
fn every_row_holds_for_the_library() {
    let contract = compile("contract.c");
    let listed = Run::new(&contract).args(["--list"]).run().expect_success();
    let outcome = Run::new(&contract).bindings().run();
    assert_eq!(rows(&outcome, "FAIL"), BTreeSet::new(), "{}", outcome.report());
    assert_eq!(rows(&outcome, "ok"), all_rows(&listed), "{}", outcome.report());
    outcome.expect_success();
}

#[test]
fn every_row_holds_without_a_thread_cache() {
    let contract = compile("contract.c");
    let listed = Run::new(&contract).args(["--list"]).run().expect_success();
    let outcome = Run::new(&contract).preloaded().env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0").run();
    assert_eq!(rows(&outcome, "FAIL"), BTreeSet::new(), "{}", outcome.report());
    assert_eq!(rows(&outcome, "ok"), all_rows(&listed), "{}", outcome.report());
    outcome.expect_success();
}
