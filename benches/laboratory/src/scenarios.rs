//! Memory over time: programs that grow, free most of what they have and go on, watched from outside.
//!
//! The programs are C sources in a folder `shared/scenarios` that stands beside the project. They are no part of it,
//! and nothing else here needs them: without them this suite is left out, and a line says so.
//!
//! ```text
//!   warm ──> PROGRAM under one malloc ──> `ROW name key=value ...`   figures: scenarios.csv
//!                │ every 20 ms                                       points:  scenarios.points.csv
//!                ├─ /proc/PID/statm: resident memory
//!                └─ what it tells of its live bytes meanwhile
//! ```
//!
//! `warm` touches as much memory as the program will and ends, so that no run pays for the first touch of memory that
//! the machine's own host has yet to find.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::allocators::{Allocator, SYSTEM};
use crate::measure::{Call, Outcome};
use crate::place::Place;
use crate::progress::Progress;
use crate::rounds::{empty, rotated};

/// How often memory is looked at.
const EVERY: Duration = Duration::from_millis(20);
/// Points on a curve within this much of the peak of a straight line are left out.
const SMOOTH: f64 = 0.004;

/// A program of the folder, and what is looked at.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// The same in a line, above the picture.
    pub(crate) title: &'static str,
    source: &'static str,
    /// How much `warm` touches, in MiB.
    warm: &'static str,
    env: &'static [(&'static str, &'static str)],
    live: Live,
    /// The keys of its row that are kept, and what they mean.
    pub(crate) figures: &'static [(&'static str, &'static str)],
}

/// How it tells of its live bytes.
#[derive(Clone, Copy)]
enum Live {
    /// In a file named by `CS_TRACE`: lines `SECONDS EVENT live_mb=...`.
    Trace,
    /// On its standard output, lines `round N live_mb=...` as time goes by.
    Output,
    /// At its end.
    AtTheEnd,
}

const TRACE: &str = "trace.txt";

pub(crate) const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "cs",
        what: "a chunk server: 1.5 GiB of buffers that pass between threads, small long-lived objects among them; 95 % of \
               the bytes are freed, 15 s of light traffic follow, then it grows again",
        title: "chunk server: 1.5 GiB grown, 95 % freed, 15 s of light traffic, grown again",
        source: "chunkserver",
        warm: "2000",
        env: &[("CS_TRACE", TRACE)],
        live: Live::Trace,
        figures: &[
            ("r_pk", "RSS over live bytes at the peak"),
            ("r_1s", "1 s after the free"),
            ("r_end", "15 s after the free"),
            ("flt_regrow", "page faults of the second growth"),
            ("cpu_s", "CPU, s"),
        ],
    },
    Scenario {
        name: "mds",
        what: "a metadata server: 200 rounds of 100 short threads, whose small blocks are freed by later threads; the live \
               bytes stay the same",
        title: "metadata server: 200 rounds of 100 short threads, the same live bytes",
        source: "mds",
        warm: "400",
        env: &[("MDS_ROUNDS", "200"), ("MDS_VERBOSE", "1")],
        live: Live::Output,
        figures: &[
            ("ratio_half", "RSS over live bytes after 100 rounds"),
            ("ratio", "after 200 rounds"),
            ("vsz", "address space, MiB"),
            ("flt", "page faults"),
            ("cpu_s", "CPU, s"),
        ],
    },
    Scenario {
        name: "kv",
        what: "a key-value store of 96 MiB whose value sizes drift through eight phases; then 80 % of the keys are dropped \
               at random and 12 s of light traffic follow",
        title: "key-value store: value sizes drift, then 80 % of the keys are dropped",
        source: "kv",
        warm: "400",
        env: &[],
        live: Live::AtTheEnd,
        figures: &[
            ("r_max", "RSS over live bytes in the worst phase"),
            ("r_drop1s", "1 s after the drop"),
            ("r_end", "at the end"),
            ("flt", "page faults"),
            ("cpu_s", "CPU, s"),
        ],
    },
];

/// A figure that a run told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) scenario: String,
    pub(crate) allocator: String,
    pub(crate) build: String,
    pub(crate) round: u32,
    pub(crate) key: String,
    pub(crate) value: f64,
}

/// A point of a curve, in the first round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) scenario: String,
    /// An allocator, or [`LIVE`].
    pub(crate) curve: String,
    pub(crate) seconds: f64,
    pub(crate) mib: f64,
}

/// The curve of the bytes that the program has asked for and not freed.
pub(crate) const LIVE: &str = "live";

/// What all runs gave.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) figures: Vec<Figure>,
    pub(crate) points: Vec<Point>,
    /// Runs that ended badly, in words.
    pub(crate) failures: Vec<String>,
}

/// jemalloc as it is told to give memory back sooner: after one second, by a thread of its own.
const EAGER: (&str, &str, &str) =
    ("jemalloc-1s", "MALLOC_CONF", "dirty_decay_ms:1000,muzzy_decay_ms:0,background_thread:true");

/// The allocators, and one of them in another setting.
pub(crate) fn with_settings(mut allocators: Vec<Allocator>) -> Vec<Allocator> {
    let (name, key, value) = EAGER;
    if let Some(at) = allocators.iter().position(|a| a.name == "jemalloc") {
        let mut eager = allocators[at].clone();
        eager.name = name.into();
        eager.env.push((key.into(), value.into()));
        eager.version = format!("{} with {value}", eager.version);
        allocators.insert(at + 1, eager);
    }
    allocators
}

/// Where the programs stand, if they do.
pub(crate) fn sources(place: &Place) -> Option<PathBuf> {
    let folder = place.project.parent()?.join("shared/scenarios");
    folder.join("chunkserver.c").is_file().then_some(folder)
}

/// All scenarios of `only` (all, if it is empty) under all the allocators, interleaved.
pub(crate) fn measure(
    place: &Place,
    sources: &Path,
    allocators: &[Allocator],
    only: &[String],
    rounds: u32,
    limit: Duration,
) -> Result<Measured> {
    if let Some(unknown) = only.iter().find(|name| SCENARIOS.iter().all(|s| s.name != **name)) {
        anyhow::bail!("there is no scenario {unknown:?}; there are {}", SCENARIOS.map(|s| s.name).join(", "));
    }
    let wanted = || SCENARIOS.iter().filter(|s| only.is_empty() || only.iter().any(|name| name == s.name));
    let built = place.work.join("scenarios");
    let warm = build(sources, "warm", &built)?;
    let folder = place.run_folder();
    let progress = Progress::new(wanted().count() * allocators.len() * rounds as usize);
    let mut measured = Measured::default();
    for scenario in wanted() {
        let program = build(sources, scenario.source, &built)?;
        for round in 0..rounds {
            for allocator in rotated(allocators, round) {
                progress.begin(&format!("round {}/{rounds}: {} {}", round + 1, scenario.name, allocator.name));
                empty(&folder)?;
                let warmed = Call::new(&warm).args([scenario.warm]).measure(&folder, limit)?;
                ensure!(warmed.outcome == Outcome::Good, "warm {}: {}", scenario.warm, warmed.outcome);
                let call = allocator.call(&program);
                let call = scenario.env.iter().fold(call, |call, (key, value)| call.env(*key, *value));
                let watched = watch(scenario, &call, &folder, limit)?;
                let label = format!("{} under {}", scenario.name, allocator.name);
                let row = match watched.row {
                    Ok(row) => row,
                    Err(how) => {
                        progress.end(&format!("{label} FAILED: {how}"));
                        measured.failures.push(format!("{label}: {how}"));
                        continue;
                    }
                };
                let mut told = Vec::new();
                for (key, _) in scenario.figures {
                    let value = *row.get(*key).with_context(|| format!("{label}: its row has no {key}"))?;
                    told.push(format!("{key} {value}"));
                    measured.figures.push(Figure {
                        scenario: scenario.name.into(),
                        allocator: allocator.name.clone(),
                        build: allocator.build.clone(),
                        round,
                        key: (*key).into(),
                        value,
                    });
                }
                progress.end(&format!("{}/{rounds} {label}: {}", round + 1, told.join(", ")));
                if round > 0 {
                    continue;
                }
                let point = |curve: &str, (seconds, mib): (f64, f64)| Point {
                    scenario: scenario.name.into(),
                    curve: curve.into(),
                    seconds: (seconds * 1000.0).round() / 1000.0,
                    mib: (mib * 100.0).round() / 100.0,
                };
                measured.points.extend(thinned(&watched.resident).into_iter().map(|p| point(&allocator.name, p)));
                // One allocator's run is as good as another's to tell what the program itself has.
                if allocator.name == SYSTEM {
                    measured.points.extend(watched.live.into_iter().map(|p| point(LIVE, p)));
                }
            }
        }
    }
    progress.finish();
    Ok(measured)
}

/// Compiles a program as its own folder's script does.
pub(crate) fn build(sources: &Path, name: &str, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let program = folder.join(name);
    let out = Command::new("cc")
        .args(["-O2", "-Wall", "-fno-builtin", "-fno-omit-frame-pointer", "-pthread", "-o"])
        .arg(&program)
        .arg(sources.join(name).with_extension("c"))
        .output()
        .context("start cc, a C compiler")?;
    ensure!(out.status.success(), "cc {name}.c:\n{}", String::from_utf8_lossy(&out.stderr));
    Ok(program)
}

/// What was seen of one run.
struct Watched {
    /// Seconds since the start, MiB.
    resident: Vec<(f64, f64)>,
    live: Vec<(f64, f64)>,
    row: Result<BTreeMap<String, f64>, String>,
}

fn watch(scenario: &Scenario, call: &Call, folder: &Path, limit: Duration) -> Result<Watched> {
    let begin = Instant::now();
    let started = call.start(folder, "run")?;
    let statm = format!("/proc/{}/statm", started.id());
    let stdout = folder.join("run.stdout");
    let page = rustix::param::page_size() as f64;
    let (mut resident, mut live, mut lines) = (Vec::new(), Vec::new(), 0);
    let run = started.finish_watched(limit, EVERY, &mut || {
        let now = begin.elapsed().as_secs_f64();
        // A process that has just ended has no memory any more.
        let told = fs::read_to_string(&statm).unwrap_or_default();
        if let Some(pages) = told.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).filter(|p| *p > 0.0) {
            resident.push((now, pages * page / f64::from(1 << 20)));
        }
        if matches!(scenario.live, Live::Output) {
            let text = fs::read_to_string(&stdout).unwrap_or_default();
            live.extend(text.lines().skip(lines).filter_map(live_mib).map(|mib| (now, mib)));
            lines = text.lines().count();
        }
    })?;
    if let Outcome::Bad(how) = &run.outcome {
        return Ok(Watched { resident, live, row: Err(format!("{how} {}", run.last_words())) });
    }
    let text = run.text()?;
    let row = row(&text).ok_or_else(|| "it told no row of figures".to_owned());
    match scenario.live {
        Live::Output => {}
        Live::Trace => {
            let trace = fs::read_to_string(folder.join(TRACE)).context("read the program's trace")?;
            live = trace.lines().filter_map(|l| Some((l.split(' ').next()?.parse().ok()?, live_mib(l)?))).collect();
        }
        Live::AtTheEnd => {
            // It fills up, stays full through its phases, and drops most of it: how much and when, its row tells. When
            // it is full is taken from its memory, which cannot be less than what is live.
            let told = |key: &str| row.as_ref().ok().and_then(|row| row.get(key).copied());
            if let (Some(full), Some(dropped), Some(work), Some(drop), Some((end, _))) =
                (told("live"), told("live_drop"), told("work_s"), told("drop_s"), resident.last())
            {
                let filled = resident.iter().find(|p| p.1 >= full).map_or(0.0, |p| p.0);
                live = vec![(0.0, 0.0), (filled, full), (work, full), (work + drop, dropped), (*end, dropped)];
            }
        }
    }
    Ok(Watched { resident, live, row })
}

/// `... live_mb=85.3 ...`
fn live_mib(line: &str) -> Option<f64> {
    line.split_once("live_mb=")?.1.split(' ').next()?.parse().ok()
}

/// `ROW cs live_pk=1490 rss_pk=1510 ...`
fn row(text: &str) -> Option<BTreeMap<String, f64>> {
    let line = text.lines().find_map(|line| line.strip_prefix("ROW "))?;
    let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    Some(pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect())
}

/// Without the points that lie on the line between those that are kept (Douglas and Peucker's rule, along one axis).
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let peak = points.iter().map(|p| p.1).fold(0.0, f64::max);
    let mut kept = vec![false; points.len()];
    let mut spans = vec![(0, points.len().saturating_sub(1))];
    while let Some((from, to)) = spans.pop() {
        if let Some(end) = kept.get_mut(to) {
            *end = true;
            kept[from] = true;
        }
        let between = |at: usize| {
            let ((x0, y0), (x1, y1)) = (points[from], points[to]);
            (points[at].1 - (y0 + (y1 - y0) * (points[at].0 - x0) / (x1 - x0))).abs()
        };
        let farthest = (from + 1..to).max_by(|a, b| between(*a).total_cmp(&between(*b)));
        if let Some(at) = farthest.filter(|at| between(*at) > peak * SMOOTH) {
            spans.extend([(from, at), (at, to)]);
        }
    }
    points.iter().zip(kept).filter_map(|(point, kept)| kept.then_some(*point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read() {
        let row = row("round 1\nROW kv p0_32=1.64 live=96 r_end=2.19 what=so\n").expect("a row");
        assert_eq!(row.get("p0_32"), Some(&1.64));
        assert_eq!((row.get("live"), row.len()), (Some(&96.0), 3));
        assert_eq!(live_mib("3.25 idle live_mb=76.9 rss_mb=88.1"), Some(76.9));
        assert_eq!(live_mib("ROW kv live=96"), None);
    }

    #[test]
    fn a_curve_keeps_its_corners() {
        let line: Vec<_> = (0..100).map(|i| (f64::from(i), if i < 50 { 0.0 } else { 100.0 })).collect();
        assert_eq!(thinned(&line), [(0.0, 0.0), (49.0, 0.0), (50.0, 100.0), (99.0, 100.0)]);
        assert_eq!(thinned(&line[..1]), [(0.0, 0.0)]);
        assert_eq!(thinned(&[]), []);
    }
}
