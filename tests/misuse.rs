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

use harness::{Outcome, Run, compile};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, iter, thread};

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

/// One line of the table.
struct Case {
    number: String,
    name: String,
    /// Outcomes that are right, one of them.
    expected: Vec<String>,
}

fn cases() -> Vec<Case> {
    let list = Run::new(compile("misuse.c")).args(["list"]).run().expect_success();
    let is_hardened = env::var_os("HEAPWRIGHT_TEST_HARDENED").is_some();
    list.text()
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [number, name, default, hardened] = fields[..] else { panic!("a line of four fields: {line}") };
            let expected = if is_hardened { hardened } else { default };
            Case {
                number: number.into(),
                name: name.into(),
                expected: expected.split(" | ").map(str::to_owned).collect(),
            }
        })
        .collect()
}

/// What became of a case: a word of the list above, or the sentence.
fn outcome(run: &Outcome) -> String {
    match (run.signal(), run.status.code()) {
        (Some(SIGABRT), _) => {
            // "heapwright: the sentence (0x7f...)\n", and nothing else.
            let said = run.stderr_text();
            let sentence = said.strip_prefix("heapwright: ").and_then(|rest| rest.strip_suffix(")\n"));
            match sentence.and_then(|rest| rest.rsplit_once(" (0x")) {
                Some((sentence, _)) if said.lines().count() == 1 => sentence.to_owned(),
                _ => format!("SIGABRT, but said {said:?}"),
            }
        }
        (Some(SIGSEGV), _) => "SIGSEGV".to_owned(),
        (None, Some(0)) => "let through".to_owned(),
        (None, Some(3)) => "exploitable".to_owned(),
        _ => run.report(),
    }
}

fn is_as_expected(case: &Case, got: &str) -> bool {
    case.expected.iter().any(|want| want == got || want == "harmless" && got == "let through")
}

#[test]
fn every_misuse_ends_as_the_table_says() {
    let cases = cases();
    let program = compile("misuse.c");
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(2, |n| n.get().min(8));
    let mut results: Vec<(usize, String)> = thread::scope(|scope| {
        let work = || {
            let claimed = iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|&at| at < cases.len());
            claimed
                .map(|at| (at, outcome(&Run::new(&program).args([&cases[at].number]).preloaded().run())))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a worker ends")).collect()
    });
    results.sort();

    let mut counts = BTreeMap::<&str, usize>::new();
    let (mut table, mut wrong) = (String::new(), String::new());
    for (case, got) in results.iter().map(|(at, got)| (&cases[*at], got)) {
        let kind = match &**got {
            "let through" if case.expected.iter().any(|want| want == "harmless") => "harmless",
            "let through" | "exploitable" | "SIGSEGV" => got,
            _ => "caught",
        };
        *counts.entry(kind).or_default() += 1;
        let _ = writeln!(table, "{kind:12} {:45} {got}", case.name);
        if !is_as_expected(case, got) {
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
