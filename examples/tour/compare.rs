//! The same work on heapwright and on the system's malloc: in turn, in processes of their own, the median of each.

use std::io::{self, BufRead as _, BufReader};
use std::num::NonZero;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::child::{Rival, Role};
use crate::outcome::{Outcome, Report};
use crate::screen::{Ink, Screen, grouped};
use crate::workload;

/// Runs of each.
const RUNS: usize = 3;

/// Has the work done and shows what it took. Whether all runs found the same.
pub(crate) fn show(screen: &Screen) -> io::Result<bool> {
    screen.title("3. A text index on five threads, against the system's malloc");
    let documents = grouped(workload::DOCUMENTS.into());
    screen.line(&format!("One thread writes {documents} documents, three index them, one queries and forgets them,"));
    screen.line("so documents and their indexes are freed by another thread than allocated them.");
    if cfg!(any(feature = "override", feature = "preload")) {
        screen.line("Built with heapwright as the malloc of C too, so there is no other to compare it with.");
        return Ok(true);
    }
    if cfg!(debug_assertions) {
        screen.line("Built without optimisation: run it with --release for figures that mean something.");
    }
    screen.line("");

    let mut outcomes = Rival::BOTH.map(|rival| (rival, Vec::new()));
    for run in 1..=RUNS {
        for (rival, outcomes) in &mut outcomes {
            let label = format!("  run {run} of {RUNS}  {:<10}", rival.name());
            let outcome = work(screen, *rival, &label)?;
            screen.line(&format!("{label}  {:>7}", seconds(outcome.wall)));
            outcomes.push(outcome);
        }
    }
    screen.line("");
    let [(_, ours), (_, theirs)] = &outcomes;
    table(screen, ours, theirs);
    screen.line("");
    let answer = ours[0].answer;
    let is_same = ours.iter().chain(theirs).all(|outcome| outcome.answer == answer);
    let found = grouped(answer.hits);
    Ok(screen.check(is_same, &format!("all {} runs have found the same {found} lines", 2 * RUNS)))
}

/// One run, watched.
fn work(screen: &Screen, rival: Rival, label: &str) -> io::Result<Outcome> {
    let mut child = Role::Work(rival).command().stdout(Stdio::piped()).spawn()?;
    let pipe = child.stdout.take().ok_or_else(|| io::Error::other("the child has no pipe"))?;
    let mut outcome = None;
    screen.progress(label, 0);
    for line in BufReader::new(pipe).lines() {
        match Report::of_line(&line?) {
            Some(Report::Percent(percent)) => screen.progress(label, percent),
            Some(Report::Done(done)) => outcome = Some(done),
            None => {}
        }
    }
    screen.end_progress();
    let status = child.wait()?;
    let failed = || io::Error::other(format!("the work on {} did not end well: {status}", rival.name()));
    outcome.filter(|_| status.success()).ok_or_else(failed)
}

/// A figure of a run, and how it is written.
type Figure = fn(&Outcome) -> f64;
type Written = fn(f64) -> String;

fn table(screen: &Screen, ours: &[Outcome], theirs: &[Outcome]) {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let medians = format!("  median of {RUNS}, {cores} cores");
    screen.line(
        &screen.paint(Ink::Title, &format!("{medians:<28} {:>10} {:>10} {:>10}", "heapwright", "system", "ratio")),
    );
    let rows: [(&str, Figure, Written); 5] = [
        ("wall time", |run| run.wall.as_secs_f64(), in_seconds),
        ("CPU time, user and system", |run| run.cpu.as_secs_f64(), in_seconds),
        ("resident memory at its peak", |run| run.peak_kib as f64, in_mib),
        ("resident when all is dropped", |run| run.after_kib as f64, in_mib),
        ("resident after a trim", |run| run.trimmed_kib as f64, in_mib),
    ];
    for (name, figure, written) in rows {
        let (our, their) = (median(ours, figure), median(theirs, figure));
        let ratio = our / their;
        let ink = if ratio <= 1.0 { Ink::Passed } else { Ink::Behind };
        let ratio = screen.paint(ink, &format!("{ratio:>10.2}"));
        screen.line(&format!("  {name:<28} {:>10} {:>10} {ratio}", written(our), written(their)));
    }
    screen.line("");
    screen.line("  The ratio is heapwright to system: below 1 heapwright needs less.");
}

fn median(runs: &[Outcome], figure: Figure) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn seconds(time: Duration) -> String {
    in_seconds(time.as_secs_f64())
}

fn in_seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

fn in_mib(kib: f64) -> String {
    format!("{:.1} MiB", kib / 1024.0)
}
