//! Counted figures: instructions of single operations, page faults of processes. They hardly depend on what else a
//! machine does, so they can be guarded.
//!
//! An operation's figure is the difference of two runs of a driver under callgrind, of 20,000 and of 10,000 operations,
//! over 10,000: what a process does once is in both and falls out. The drivers are `drivers/ops.c`, run under each
//! preloaded malloc (callgrind, unlike memcheck, replaces none), and the binary `direct`, which calls `GlobalAlloc`.
//!
//! ```text
//!   ops NAME 10000  ──callgrind, inside measured_* only──>  summary: A
//!   ops NAME 20000  ────────────────────────────────────>  summary: B      (B - A) / 10000
//! ```
//!
//! heapwright's purge goes by the clock, and under callgrind time passes slowly: it is switched off, so that a figure is
//! the same each time.
//!
//! Page faults are minor ones, the median of a few runs: python, sort, and a driver that grows by 64 MiB.

mod baseline;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::allocators::{Allocator, HEAPWRIGHT, SYSTEM, cargo};
use crate::measure::{Call, Outcome};
use crate::place::Place;
use crate::programs;
use crate::progress::Progress;
use crate::rounds::{Contestant, Job, ResultOf, Subject, empty};
use crate::summary::Spread;

pub(crate) use baseline::{Verdict, accept, compare, made_by};

/// Operations in the longer run; the shorter one has half of them.
const OPERATIONS: u64 = 20_000;
/// What makes heapwright's figures the same each time; other allocators know nothing of it.
const BY_NO_CLOCK: (&str, &str) = ("HEAPWRIGHT_DIRTY_DECAY_MS", "-1");
/// Runs of a process whose page faults are counted.
const FAULT_RUNS: usize = 5;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Instructions,
    MinorFaults,
}

/// A figure of one allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) unit: Unit,
    /// The driver of an operation, or `process`.
    pub(crate) of: String,
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) allocator: String,
    pub(crate) value: f64,
}

/// An operation of a driver, as its `--list` has it.
struct Operation {
    name: String,
    what: String,
}

fn operations(driver: &Path, folder: &Path) -> Result<Vec<Operation>> {
    let list = Call::new(driver).args(["--list"]).output(folder)?;
    list.lines()
        .map(|line| {
            let (name, what) = line.split_once('\t').with_context(|| format!("{line:?} has no tab"))?;
            Ok(Operation { name: name.into(), what: what.into() })
        })
        .collect()
}

/// All figures under all the allocators.
pub(crate) fn measure(
    place: &Place,
    allocators: &[Allocator],
    limit: Duration,
    notes: &mut Vec<String>,
) -> Result<Vec<Count>> {
    ensure!(
        Command::new("valgrind").arg("--version").output().is_ok_and(|out| out.status.success()),
        "valgrind is not installed (Debian: valgrind)"
    );
    let folder = place.run_folder();
    empty(&folder)?;
    let ops = compile(place, "ops.c")?;
    let grow = compile(place, "grow.c")?;
    let direct = build_direct(place)?;
    let c = operations(&ops, &folder)?;
    let rust = operations(&direct, &folder)?;
    let own_malloc = [HEAPWRIGHT, SYSTEM].into_iter().filter(|name| allocators.iter().any(|a| a.name == *name));
    let own_malloc: Vec<&str> = own_malloc.collect();

    let mut subjects =
        programs::prepare(place, allocators, &["python".to_owned(), "sort".to_owned()], limit, notes)?.subjects;
    subjects.push(Subject {
        name: "grow".into(),
        contestants: allocators
            .iter()
            .map(|a| Contestant {
                allocator: a.name.clone(),
                build: a.build.clone(),
                job: Job { call: a.call(&grow), clients: None, result: ResultOf::Bytes(Vec::new()) },
            })
            .collect(),
    });

    let steps = c.len() * allocators.len()
        + rust.len() * own_malloc.len()
        + subjects.iter().map(|s| s.contestants.len()).sum::<usize>();
    let progress = Progress::new(steps);
    let mut counts = Vec::new();
    let mut add = |count: Count| {
        let Count { of, name, allocator, value, .. } = &count;
        progress.end(&format!("{of:<12} {name:<18} {allocator:<12} {value:10.1}"));
        counts.push(count);
    };
    for Operation { name, what } in &c {
        for allocator in allocators {
            progress.begin(&format!("{name} {}", allocator.name));
            let call = |count: u64| under_callgrind(&ops, &[name, &count.to_string()], allocator.library.as_deref());
            let value = per_operation(&folder, limit, call).with_context(|| format!("{name} {}", allocator.name))?;
            add(instructions("malloc.h", name, what, &allocator.name, value));
        }
    }
    for Operation { name, what } in &rust {
        for allocator in &own_malloc {
            progress.begin(&format!("{name} {allocator}"));
            let call = |count: u64| under_callgrind(&direct, &[allocator, name, &count.to_string()], None);
            let value = per_operation(&folder, limit, call).with_context(|| format!("{name} {allocator}"))?;
            add(instructions("GlobalAlloc", name, what, allocator, value));
        }
    }
    for subject in &subjects {
        for contestant in &subject.contestants {
            progress.begin(&format!("page faults of {} {}", subject.name, contestant.allocator));
            let mut faults = Vec::new();
            for _ in 0..FAULT_RUNS {
                let (key, value) = BY_NO_CLOCK;
                let job = Job { call: contestant.job.call.clone().env(key, value), ..contestant.job.clone() };
                let (run, _) = job.run(&folder, limit)?;
                if let Outcome::Bad(how) = &run.outcome {
                    bail!("{} under {}: {how} {}", subject.name, contestant.allocator, run.last_words());
                }
                faults.push(run.usage.minor_faults as f64);
            }
            add(Count {
                unit: Unit::MinorFaults,
                of: "process".into(),
                name: subject.name.clone(),
                what: process_in_words(&subject.name).into(),
                allocator: contestant.allocator.clone(),
                value: Spread::of(&faults).context("no run")?.median,
            });
        }
    }
    progress.finish();
    Ok(counts)
}

fn process_in_words(name: &str) -> &'static str {
    let program = programs::PROGRAMS.iter().find(|p| p.name == name);
    program.map_or("a C program that grows by 64 MiB in blocks of 16 bytes to 16 KiB", |p| p.what)
}

fn instructions(of: &str, name: &str, what: &str, allocator: &str, value: f64) -> Count {
    let [of, name, what, allocator] = [of, name, what, allocator].map(str::to_owned);
    Count { unit: Unit::Instructions, of, name, what, allocator, value }
}

const SUMMARY: &str = "callgrind.out";

fn under_callgrind(program: &Path, args: &[&str], library: Option<&Path>) -> Call {
    Call::new("valgrind")
        .args(["-q", "--tool=callgrind", "--toggle-collect=*measured_*"])
        .args([format!("--callgrind-out-file={SUMMARY}")])
        .args([program])
        .args(args.iter().copied())
        .env(BY_NO_CLOCK.0, BY_NO_CLOCK.1)
        .preload(library)
}

fn per_operation(folder: &Path, limit: Duration, call: impl Fn(u64) -> Call) -> Result<f64> {
    let total = |count: u64| -> Result<u64> {
        empty(folder)?;
        // Its output is empty; what matters is that it ended well.
        call(count).measure(folder, limit)?.text().context("callgrind")?;
        let told = fs::read_to_string(folder.join(SUMMARY)).context("read what callgrind counted")?;
        summary_line(&told).context("callgrind left no summary")
    };
    let (half, whole) = (total(OPERATIONS / 2)?, total(OPERATIONS)?);
    ensure!(whole > half, "callgrind counted {half} and {whole} instructions: the driver measures nothing");
    Ok((whole - half) as f64 / (OPERATIONS / 2) as f64)
}

/// `summary: 1790000`
fn summary_line(told: &str) -> Option<u64> {
    let line = told.lines().find_map(|line| line.strip_prefix("summary:"))?;
    line.split_whitespace().next()?.parse().ok()
}

pub(crate) fn compile(place: &Place, source: &str) -> Result<PathBuf> {
    let folder = place.work.join("drivers");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let program = folder.join(source.trim_end_matches(".c"));
    let out = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-fno-builtin", "-pthread", "-o"])
        .arg(&program)
        .arg(place.package.join("drivers").join(source))
        .output()
        .context("start cc, a C compiler")?;
    ensure!(out.status.success(), "cc {source}:\n{}", String::from_utf8_lossy(&out.stderr));
    Ok(program)
}

fn build_direct(place: &Place) -> Result<PathBuf> {
    let target = place.work.join("build");
    cargo(&["build", "--release", "--package", "direct"], &place.package, &target).context("build direct")?;
    Ok(target.join("release/direct"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_total() {
        let told = "version: 1\nevents: Ir\nfn=(1) malloc\n16 3\nsummary: 1790000\n\ntotals: 1790000\n";
        assert_eq!(summary_line(told), Some(1_790_000));
        assert_eq!(summary_line("events: Ir\n"), None);
    }
}
