//! The baseline: heapwright's counted figures as they were accepted, and what has become of them.
//!
//! A figure may grow by 3 %, and one of page faults by 50 more. What has become better is said, so that somebody
//! accepts it: a baseline that is too high guards nothing.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Count, Unit};
use crate::allocators::HEAPWRIGHT;
use crate::samples::{load, save};

const GROWTH: f64 = 0.03;
const FAULT_SLACK: f64 = 50.0;

/// An accepted figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Accepted {
    unit: Unit,
    of: String,
    name: String,
    value: f64,
}

impl Accepted {
    fn slack(&self) -> f64 {
        let more = if self.unit == Unit::MinorFaults { FAULT_SLACK } else { 0.0 };
        self.value * GROWTH + more
    }

    fn is(&self, count: &Count) -> bool {
        self.unit == count.unit && self.of == count.of && self.name == count.name
    }
}

/// What a figure is, seen from the baseline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Same,
    Better,
    Worse,
    /// The baseline has no such figure.
    New,
    /// The baseline has it, and it was not measured.
    Gone,
}

impl Verdict {
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Worse | Self::New | Self::Gone)
    }
}

/// What was used to make the baseline, in its own words: its second line.
pub(crate) fn made_by(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.lines().nth(1)?.trim_start_matches('#').trim().to_owned())
}

/// Writes heapwright's figures as the baseline.
pub(crate) fn accept(path: &Path, counts: &[Count], made_by: &str) -> Result<()> {
    let rows: Vec<Accepted> = own(counts)
        .map(|c| Accepted { unit: c.unit, of: c.of.clone(), name: c.name.clone(), value: round(c.value) })
        .collect();
    let comment = ["written by `laboratory counts --accept`".to_owned(), made_by.to_owned()];
    save(path, &comment, &rows)
}

/// Two digits behind the point.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn own(counts: &[Count]) -> impl Iterator<Item = &Count> {
    counts.iter().filter(|c| c.allocator == HEAPWRIGHT)
}

/// A verdict on each of heapwright's figures, with a line that says it.
pub(crate) fn compare(path: &Path, counts: &[Count]) -> Result<Vec<(Verdict, String)>> {
    let baseline: Vec<Accepted> = load(path)?;
    let mut verdicts = Vec::new();
    for count in own(counts) {
        let label = format!("{:<12} {:<18}", count.of, count.name);
        let Some(accepted) = baseline.iter().find(|a| a.is(count)) else {
            verdicts.push((Verdict::New, format!("{label} {:29.1}  not in the baseline", count.value)));
            continue;
        };
        let (verdict, words) = match count.value - accepted.value {
            more if more > accepted.slack() => (Verdict::Worse, "WORSE"),
            more if more < -accepted.slack() => (Verdict::Better, "better"),
            _ => (Verdict::Same, ""),
        };
        let change = (count.value / accepted.value - 1.0) * 100.0;
        let line = format!("{label} {:10.1} -> {:10.1} {change:+6.1} %  {words}", accepted.value, count.value);
        verdicts.push((verdict, line.trim_end().to_owned()));
    }
    for accepted in baseline.iter().filter(|a| own(counts).all(|c| !a.is(c))) {
        let line =
            format!("{:<12} {:<18} {:10.1} in the baseline, not measured", accepted.of, accepted.name, accepted.value);
        verdicts.push((Verdict::Gone, line));
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use super::super::instructions;
    use super::*;

    fn faults(name: &str, value: f64) -> Count {
        Count { unit: Unit::MinorFaults, ..instructions("process", name, "", HEAPWRIGHT, value) }
    }

    #[test]
    fn growth_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("baseline.csv");
        let operation = |name: &str, value| instructions("malloc.h", name, "", HEAPWRIGHT, value);
        let before =
            [operation("same", 100.0), operation("worse", 100.0), operation("better", 100.0), operation("gone", 1.0)];
        let before = before.into_iter().chain([faults("sort", 1000.0), faults("python", 1000.0)]);
        accept(&path, &before.collect::<Vec<_>>(), "a test").expect("a baseline");

        let after = [operation("same", 102.9), operation("worse", 103.1), operation("better", 90.0)];
        let foreign = Count { allocator: "jemalloc".into(), ..operation("worse", 999.0) };
        let after = after.into_iter().chain([faults("sort", 1079.0), faults("python", 1081.0), foreign]);
        let after: Vec<Count> = after.chain([operation("new", 5.0)]).collect();
        let verdicts = compare(&path, &after).expect("a comparison");
        let found: Vec<Verdict> = verdicts.iter().map(|(verdict, _)| verdict.clone()).collect();
        use Verdict::{Better, Gone, New, Same, Worse};
        assert_eq!(found, [Same, Worse, Better, Same, Worse, New, Gone]);
        assert!(verdicts[1].1.contains("+3.1 %  WORSE"), "{}", verdicts[1].1);
    }

    #[test]
    fn without_a_baseline_all_is_new() {
        let counts = [faults("sort", 1.0)];
        let verdicts = compare(Path::new("/no/baseline.csv"), &counts).expect("a comparison");
        assert!(verdicts.iter().all(|(verdict, _)| verdict.is_failure()) && verdicts.len() == 1);
    }
}
