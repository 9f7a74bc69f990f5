//! The two ends: threads that should scale as if there were no allocator, and processes that hardly have one.
//!
//! - *start*: a C program that allocates one byte, hundreds of times, interleaved: CPU time and wall time, medians.
//! - *small*: a C program that allocates 1 MiB in all: its peak RSS.
//! - *scaling*: two threads against one, next to two that only calculate, by the binaries of `benches/rivals`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::allocators::Allocator;
use crate::counts::compile;
use crate::measure::{Call, Outcome, Run};
use crate::place::Place;
use crate::progress::Progress;
use crate::rounds::{empty, rotated};
use crate::summary::Spread;
use crate::workloads::BINARIES;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Microseconds.
    StartCpu,
    StartWall,
    /// KiB.
    SmallPeak,
    /// Of two threads that allocate; 2 at best.
    Scaling,
    /// The same of two threads that calculate, in the same run.
    Control,
    /// The one over the other.
    ScalingToControl,
}

/// A figure of one allocator: median, lowest, highest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Extreme {
    pub(crate) what: What,
    pub(crate) allocator: String,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

const STARTS: u32 = 300;
const SMALLS: u32 = 15;
const LIMIT: Duration = Duration::from_secs(60);

/// All figures; those of scaling if there are binaries in `rivals`.
pub(crate) fn measure(
    place: &Place,
    rivals: Option<&Path>,
    allocators: &[Allocator],
    rounds: u32,
    turns: u32,
) -> Result<Vec<Extreme>> {
    let folder = place.run_folder();
    empty(&folder)?;
    let progress = Progress::new(3);
    let mut extremes = Vec::new();
    let mut add = |what: What, allocator: &str, values: &[f64]| -> Result<()> {
        let Spread { median, low, high } = Spread::of(values).context("no run")?;
        progress.note(&format!("{what:?} {allocator}: {median:.3} ({low:.3}-{high:.3})"));
        extremes.push(Extreme { what, allocator: allocator.into(), median, low, high });
        Ok(())
    };

    let start = compile(place, "start.c")?;
    let runs = interleaved(allocators, &start, &folder, STARTS)?;
    for (allocator, runs) in allocators.iter().zip(&runs) {
        let of = |figure: fn(&Run) -> Duration| -> Vec<f64> {
            runs.iter().map(|run| figure(run).as_secs_f64() * 1e6).collect()
        };
        add(What::StartCpu, &allocator.name, &of(|run| run.usage.user + run.usage.system))?;
        add(What::StartWall, &allocator.name, &of(|run| run.usage.wall))?;
    }
    let small = compile(place, "small.c")?;
    let runs = interleaved(allocators, &small, &folder, SMALLS)?;
    for (allocator, runs) in allocators.iter().zip(&runs) {
        let peaks: Vec<f64> = runs.iter().map(|run| run.usage.peak_rss_kib as f64).collect();
        add(What::SmallPeak, &allocator.name, &peaks)?;
    }
    if let Some(rivals) = rivals {
        let rivals = std::fs::canonicalize(rivals).with_context(|| format!("--rivals {}", rivals.display()))?;
        let there: Vec<&str> = BINARIES.into_iter().filter(|name| rivals.join(name).is_file()).collect();
        ensure!(!there.is_empty(), "there is no binary in {}", rivals.display());
        let mut scalings = vec![Vec::new(); there.len()];
        for round in 0..rounds {
            let order: Vec<usize> = (0..there.len()).collect();
            for at in rotated(&order, round) {
                let call = Call::new(rivals.join(there[*at])).args(["--scaling".to_owned(), turns.to_string()]);
                let text = call.measure(&folder, LIMIT)?.text()?;
                scalings[*at].push(scaling_line(&text).with_context(|| format!("{} said {text:?}", there[*at]))?);
            }
        }
        for (name, pairs) in there.iter().zip(&scalings) {
            let of = |figure: fn(&(f64, f64)) -> f64| -> Vec<f64> { pairs.iter().map(figure).collect() };
            add(What::Scaling, name, &of(|pair| pair.0))?;
            add(What::Control, name, &of(|pair| pair.1))?;
            add(What::ScalingToControl, name, &of(|pair| pair.0 / pair.1))?;
        }
    }
    progress.finish();
    Ok(extremes)
}

/// The runs of each allocator, in rounds of one each.
fn interleaved(allocators: &[Allocator], program: &Path, folder: &Path, rounds: u32) -> Result<Vec<Vec<Run>>> {
    let mut runs: Vec<Vec<Run>> = allocators.iter().map(|_| Vec::new()).collect();
    let order: Vec<usize> = (0..allocators.len()).collect();
    for round in 0..rounds {
        for at in rotated(&order, round) {
            let run = allocators[*at].call(program).measure(folder, LIMIT)?;
            if let Outcome::Bad(how) = &run.outcome {
                bail!("{} under {}: {how} {}", program.display(), allocators[*at].name, run.last_words());
            }
            runs[*at].push(run);
        }
    }
    Ok(runs)
}

/// `scaling 1.93 1.96`
fn scaling_line(text: &str) -> Option<(f64, f64)> {
    let (allocating, calculating) = text.trim().strip_prefix("scaling ")?.split_once(' ')?;
    Some((allocating.parse().ok()?, calculating.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_binary_is_read() {
        assert_eq!(scaling_line("scaling 1.9300 1.9600\n"), Some((1.93, 1.96)));
        assert_eq!(scaling_line("checksum 3\n"), None);
    }
}
