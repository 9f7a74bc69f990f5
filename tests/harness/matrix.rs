//! The misuse matrix: runs every case of `tests/c/misuse.c` under a library, and tells what became of each.

use super::{Outcome, Run, compile};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{iter, thread};

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

/// One line of the table in `tests/c/misuse_cases.h`.
pub(crate) struct Case {
    pub(crate) number: String,
    pub(crate) name: String,
    /// Outcomes that are right, one of them.
    pub(crate) expected: Vec<String>,
}

impl Case {
    pub(crate) fn is_as_expected(&self, got: &str) -> bool {
        self.expected.iter().any(|want| want == got || want == "harmless" && got == "let through")
    }
}

/// The table, with what is expected of the default build or of a hardened one.
pub(crate) fn cases(is_hardened: bool) -> Vec<Case> {
    let list = Run::new(compile("misuse.c")).args(["list"]).run().expect_success();
    let case = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [number, name, default, hardened] = fields[..] else { panic!("a line of four fields: {line}") };
        let expected = if is_hardened { hardened } else { default };
        Case { number: number.into(), name: name.into(), expected: expected.split(" | ").map(str::to_owned).collect() }
    };
    list.text().lines().map(case).collect()
}

/// The outcome of every case under `library`, in their order.
pub(crate) fn outcomes(cases: &[Case], library: &Path) -> Vec<String> {
    let program = compile("misuse.c");
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(2, |n| n.get().min(8));
    let run = |case: &Case| outcome(&Run::new(&program).args([&case.number]).env("LD_PRELOAD", library).run());
    let mut results: Vec<(usize, String)> = thread::scope(|scope| {
        let work = || {
            let claimed = iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|&at| at < cases.len());
            claimed.map(|at| (at, run(&cases[at]))).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a worker ends")).collect()
    });
    results.sort();
    results.into_iter().map(|(_, outcome)| outcome).collect()
}

/// What became of a case: one of the words, or the sentence.
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
