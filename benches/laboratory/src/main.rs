//! The laboratory: measures whole processes under heapwright and under other mallocs.
//!
//! ```text
//!   laboratory programs     python, gcc, redis, ... under preload   ─┐
//!   laboratory workloads    the binaries of benches/rivals          ─┼─> results/*.csv ──> laboratory report
//!   laboratory scenarios    memory over time, from ../shared/scenarios ┤
//!   laboratory extremes     scaling, small processes, starts        ┤
//!   laboratory ablation     heapwright with one part off            ┤
//!   laboratory counts       instructions by callgrind, page faults  ─┘                       docs/benchmarks.md
//! ```
//!
//! Words. *Subject*: what is measured, a program or a workload. *Contestant*: a subject under one allocator. *Run*: one
//! process from start to end. *Round*: each contestant once. *Sample*: a row of a CSV file, from one run. *Fact*: what
//! was measured where, in words.
//!
//! A file of this package uses only those above its own row:
//!
//! ```text
//!   place  machine  progress
//!   measure (one process)
//!   samples (CSV)  inputs  bindings
//!   rounds (interleaved runs)
//!   allocators  summary
//!   programs  workloads  scenarios
//!   counts
//!   extremes  ablation
//!   report
//! ```

mod ablation;
mod allocators;
mod bindings;
mod counts;
mod extremes;
mod inputs;
mod machine;
mod measure;
mod place;
mod programs;
mod progress;
mod report;
mod rounds;
mod samples;
mod scenarios;
mod summary;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use allocators::{Allocator, Given, HEAPWRIGHT};
use machine::Fact;
use place::{Place, Suite};
use rounds::{Plan, Subject};
use samples::Log;

/// Measures whole processes under heapwright and under other mallocs.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Measurement,
    /// Folder of the kept CSV files [default: results/ of this package]
    #[arg(long, global = true, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Folder for inputs, builds and runs [default: laboratory/ in cargo's target folder]
    #[arg(long, global = true, value_name = "DIR")]
    work: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Measurement {
    /// Whole programs, each malloc preloaded
    Programs {
        #[command(flatten)]
        preload: Preload,
        #[command(flatten)]
        rounds: Rounds,
        /// Only these programs
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        only: Vec<String>,
        /// Names the programs, and measures nothing
        #[arg(long)]
        list: bool,
    },
    /// The workloads of benches/rivals, one binary for each allocator
    Workloads {
        /// Folder of the binaries
        #[arg(long, value_name = "DIR")]
        rivals: PathBuf,
        #[command(flatten)]
        rounds: Rounds,
        /// Only these binaries
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        allocators: Vec<String>,
        /// Only these workloads
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        only: Vec<String>,
        /// Passed on to the workloads
        #[arg(long)]
        scale: Option<u64>,
    },
    /// Memory over time of the programs in shared/scenarios beside the project
    Scenarios {
        #[command(flatten)]
        preload: Preload,
        /// Runs of each program under each allocator; the curves are of the first
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// Only these scenarios
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        only: Vec<String>,
        /// The longest that a run may take
        #[arg(long, default_value_t = 180, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Scaling of two threads, processes of 1 MiB, what a process start costs
    Extremes {
        #[command(flatten)]
        preload: Preload,
        /// Folder of the binaries of benches/rivals; without it scaling is left out
        #[arg(long, value_name = "DIR")]
        rivals: Option<PathBuf>,
        /// Runs of each binary
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// Turns of a run, of about 50 ms each
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        turns: u32,
    },
    /// heapwright against itself, one part off at a time
    Ablation {
        #[command(flatten)]
        preload: Preload,
        /// Folder of the binaries of benches/rivals
        #[arg(long, value_name = "DIR")]
        rivals: PathBuf,
        #[command(flatten)]
        rounds: Rounds,
        /// Settings to look at in place of the usual ones, such as "TCACHE_COUNT=0 TOP_PAD=0"; may be repeated
        #[arg(long, value_name = "SETTINGS")]
        part: Vec<String>,
    },
    /// Instructions of single operations, page faults of processes
    Counts {
        #[command(flatten)]
        preload: Preload,
        /// Fails if a figure of heapwright has grown against the baseline; writes nothing
        #[arg(long, conflicts_with = "accept")]
        check: bool,
        /// Writes heapwright's figures as the baseline
        #[arg(long)]
        accept: bool,
        /// The longest that a run may take
        #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Writes benchmarks.md and its plots from the kept CSV files
    Report {
        /// Folder to write into [default: docs/ of the project]
        #[arg(long, value_name = "DIR")]
        docs: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Preload {
    /// Only these allocators
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    allocators: Vec<String>,
    /// A library in place of heapwright's own build (PATH), or one more (NAME=PATH); may be repeated
    ///
    /// A NAME that begins with heapwright is no rival in the report's last column.
    #[arg(long, value_name = "[NAME=]PATH")]
    library: Vec<Given>,
}

#[derive(Args)]
struct Rounds {
    /// Runs of each program under each allocator
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Keeps what is in the CSV file and runs only what is missing
    #[arg(long)]
    resume: bool,
    /// The longest that a run may take
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

impl Preload {
    fn find(&self, place: &Place, notes: &mut Vec<String>) -> Result<Vec<Allocator>> {
        allocators::find(place, &self.library, &self.allocators, notes)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match perform(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `false`: it was measured, and something is wrong.
fn perform(cli: Cli) -> Result<bool> {
    let place = Place::new(cli.results, cli.work)?;
    match cli.command {
        Measurement::Programs { list: true, .. } => {
            programs::PROGRAMS.iter().for_each(|p| println!("{:<12} {}", p.name, p.what));
            Ok(true)
        }
        Measurement::Programs { preload, rounds, only, list: false } => {
            let _occupied = place.occupy()?;
            let mut notes = Vec::new();
            let allocators = preload.find(&place, &mut notes)?;
            say(&mut notes);
            let limit = Duration::from_secs(rounds.limit);
            let prepared = programs::prepare(&place, &allocators, &only, limit, &mut notes)?;
            say(&mut notes);
            let facts = machine::facts().into_iter().chain(versions(&allocators)).chain(prepared.facts);
            measure(&place, Suite::Programs, &prepared.subjects, facts.collect(), &rounds)
        }
        Measurement::Workloads { rivals, rounds, allocators, only, scale } => {
            let _occupied = place.occupy()?;
            let mut notes = Vec::new();
            let subjects = workloads::prepare(&place, &rivals, &allocators, &only, scale, &mut notes)?;
            say(&mut notes);
            let mut facts = machine::facts();
            facts.push(Fact::new(
                HEAPWRIGHT,
                format!("sources at {} when measured", machine::heapwright(&place.project)),
            ));
            facts.extend(workloads::versions(&place));
            facts.extend(scale.map(|scale| Fact::new("scale", scale.to_string())));
            measure(&place, Suite::Workloads, &subjects, facts, &rounds)
        }
        Measurement::Scenarios { preload, rounds, only, limit } => {
            watch(&place, &preload, &only, rounds, Duration::from_secs(limit))
        }
        Measurement::Extremes { preload, rivals, rounds, turns } => {
            let _occupied = place.occupy()?;
            let mut notes = Vec::new();
            let allocators = preload.find(&place, &mut notes)?;
            say(&mut notes);
            let extremes = extremes::measure(&place, rivals.as_deref(), &allocators, rounds, turns)?;
            let suite = Suite::Extremes;
            samples::save(&suite.figures(&place), &[], &extremes)?;
            let mut facts: Vec<Fact> = machine::facts().into_iter().chain(versions(&allocators)).collect();
            facts.extend(workloads::versions(&place));
            samples::save(&suite.facts(&place), &[], &facts)?;
            println!("{} figures in {}", extremes.len(), suite.figures(&place).display());
            Ok(true)
        }
        Measurement::Ablation { preload, rivals, rounds, part } => {
            let _occupied = place.occupy()?;
            let mut notes = Vec::new();
            let allocators = preload.find(&place, &mut notes)?;
            notes.clear();
            let library =
                allocators.iter().find(|a| a.name == HEAPWRIGHT).context("heapwright is what is looked at")?;
            let usual = ablation::PARTS.iter().map(|(name, settings)| ((*name).to_owned(), (*settings).to_owned()));
            let parts: Vec<(String, String)> =
                if part.is_empty() { usual.collect() } else { part.iter().map(|p| (p.clone(), p.clone())).collect() };
            let limit = Duration::from_secs(rounds.limit);
            let subjects = ablation::prepare(&place, &rivals, library, &parts, limit, &mut notes)?;
            say(&mut notes);
            let facts = machine::facts().into_iter().chain(versions(std::slice::from_ref(library)));
            measure(&place, Suite::Ablation, &subjects, facts.collect(), &rounds)
        }
        Measurement::Counts { preload, check, accept, limit } => count(&place, &preload, check, accept, limit),
        Measurement::Report { docs } => {
            let docs = docs.unwrap_or_else(|| place.project.join("docs"));
            report::write(&place, &docs)?;
            println!("wrote {}", docs.join("benchmarks.md").display());
            Ok(true)
        }
    }
}

fn say(notes: &mut Vec<String>) {
    notes.drain(..).for_each(|note| eprintln!("note: {note}"));
}

fn versions(allocators: &[Allocator]) -> Vec<Fact> {
    allocators.iter().map(|a| Fact::new(&a.name, &a.version)).collect()
}

fn measure(place: &Place, suite: Suite, subjects: &[Subject], facts: Vec<Fact>, rounds: &Rounds) -> Result<bool> {
    ensure!(subjects.iter().any(|s| !s.contestants.is_empty()), "there is nothing to measure");
    let path = suite.figures(place);
    let mut log = Log::open(&path, rounds.resume)?;
    samples::save(&suite.facts(place), &[], &facts)?;
    let plan = Plan { rounds: rounds.rounds, limit: Duration::from_secs(rounds.limit), folder: place.run_folder() };
    let failures = rounds::run(subjects, &plan, &mut log)?;
    println!("{} runs in {}", log.samples.len(), path.display());
    if failures > 0 {
        eprintln!("error: {failures} runs ended badly");
    }
    Ok(failures == 0)
}

fn watch(place: &Place, preload: &Preload, only: &[String], rounds: u32, limit: Duration) -> Result<bool> {
    let Some(sources) = scenarios::sources(place) else {
        println!("there is no shared/scenarios beside the project: memory over time is not measured");
        return Ok(true);
    };
    let _occupied = place.occupy()?;
    let mut notes = Vec::new();
    let allocators = scenarios::with_settings(preload.find(place, &mut notes)?);
    say(&mut notes);
    let measured = scenarios::measure(place, &sources, &allocators, only, rounds, limit)?;
    let suite = Suite::Scenarios;
    samples::save(&suite.figures(place), &[], &measured.figures)?;
    samples::save(&suite.points(place), &[], &measured.points)?;
    let facts: Vec<Fact> = machine::facts().into_iter().chain(versions(&allocators)).collect();
    samples::save(&suite.facts(place), &[], &facts)?;
    println!("{} figures in {}", measured.figures.len(), suite.figures(place).display());
    measured.failures.iter().for_each(|failure| eprintln!("error: {failure}"));
    Ok(measured.failures.is_empty())
}

fn count(place: &Place, preload: &Preload, check: bool, accept: bool, limit: u64) -> Result<bool> {
    let _occupied = place.occupy()?;
    let mut notes = Vec::new();
    let mut allocators = preload.find(place, &mut notes)?;
    // The baseline is about heapwright alone.
    if check || accept {
        allocators.retain(|a| a.name == HEAPWRIGHT);
        ensure!(!allocators.is_empty(), "--allocators leaves no {HEAPWRIGHT} to compare with the baseline");
        notes.clear();
    }
    say(&mut notes);
    let counts = counts::measure(place, &allocators, Duration::from_secs(limit), &mut notes)?;
    say(&mut notes);
    let baseline = place.package.join("baseline.csv");
    let made_by = machine::facts().into_iter().filter(|f| ["Rust", "C library"].contains(&f.about.as_str()));
    let made_by = made_by.map(|fact| fact.what).collect::<Vec<_>>().join(", ");
    if accept {
        counts::accept(&baseline, &counts, &made_by)?;
        println!("wrote {}", baseline.display());
        return Ok(true);
    }
    if !check {
        samples::save(&Suite::Counts.figures(place), &[], &counts)?;
        let facts: Vec<Fact> = machine::facts().into_iter().chain(versions(&allocators)).collect();
        samples::save(&Suite::Counts.facts(place), &[], &facts)?;
        println!("{} figures in {}", counts.len(), Suite::Counts.figures(place).display());
    }
    let verdicts = counts::compare(&baseline, &counts)?;
    verdicts.iter().for_each(|(_, line)| println!("{line}"));
    let failures = verdicts.iter().filter(|(verdict, _)| verdict.is_failure()).count();
    if verdicts.iter().any(|(verdict, _)| *verdict == counts::Verdict::Better) {
        println!("some figures are better: accept them with --accept, so that they are guarded");
    }
    if check && failures > 0 {
        eprintln!("{}", what_to_do(failures, &made_by, counts::made_by(&baseline).as_deref()));
    }
    Ok(!check || failures == 0)
}

/// For somebody who has changed something else and reads this in a log of continuous integration.
fn what_to_do(failures: usize, here: &str, baseline: Option<&str>) -> String {
    let mut text = format!(
        "error: {failures} counted figures have grown by more than 3 % or are not those of the baseline (above: WORSE, not in \
         the baseline, not measured).\n\
         If the change is to cost that, or the list of figures has changed, renew the baseline and commit it with the reason:\n\
         \n    (cd benches/laboratory && cargo run --release -- counts --accept)\n\n\
         Otherwise look at what the hot paths do now: (cd benches/laboratory && cargo run --release -- counts) compares all."
    );
    match baseline {
        Some(made_by) if made_by != here => {
            text += &format!(
                "\nThe baseline was made with {made_by}, and here is {here}: a change of these alone can move figures."
            );
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_says_what_to_do() {
        let text = what_to_do(2, "glibc 2.36", Some("glibc 2.36"));
        assert!(text.starts_with("error: 2 ") && text.contains("counts --accept)"), "{text}");
        assert!(!text.contains("here is"), "{text}");
        assert!(
            what_to_do(2, "glibc 2.36", Some("glibc 2.41")).contains("made with glibc 2.41, and here is glibc 2.36")
        );
    }
}
