//! Rounds: every subject under every allocator, once per round.
//!
//! Two allocators are compared by runs that lie next to each other in time, because a shared machine is never the same
//! for long. So a round goes through the subjects, and through all the allocators at each subject; the order of the
//! allocators turns by one place each round, so that none always runs after the same other.
//!
//! ```text
//!   round 1   sort: system A B C   gcc: system A B C   ...
//!   round 2   sort: A B C system   gcc: A B C system   ...
//! ```
//!
//! All runs of a subject must give the same result. The first one sets it; a run with another is kept as a failed one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::measure::{Call, Outcome, Run};
use crate::progress::Progress;
use crate::samples::{Log, Sample};

/// What is measured: a program with its input, or a workload.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) contestants: Vec<Contestant>,
}

/// A subject under one allocator.
pub(crate) struct Contestant {
    pub(crate) allocator: String,
    /// Tells this build of the allocator from others.
    pub(crate) build: String,
    pub(crate) job: Job,
}

/// A process to run and, if it is a server, its clients.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) call: Call,
    pub(crate) clients: Option<Clients>,
    pub(crate) result: ResultOf,
}

/// What is done to a server, from another process: only the server itself is measured.
#[derive(Clone)]
pub(crate) struct Clients {
    /// Ends well as soon as the server answers.
    pub(crate) probe: Call,
    pub(crate) work: Vec<Call>,
    pub(crate) stop: Call,
}

/// Where the result of a job is found.
#[derive(Clone)]
pub(crate) enum ResultOf {
    /// In what it writes to its standard output, and in files that it leaves.
    Bytes(Vec<&'static str>),
    /// In a line `checksum N` of its standard output.
    Line,
    /// In what the first client writes.
    FirstClient,
    /// Nowhere: it must end well, and that is all.
    Nothing,
}

pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) limit: Duration,
    /// An own folder for the runs: emptied before each.
    pub(crate) folder: PathBuf,
}

/// Runs all rounds of all subjects that are not in the log yet. Returns how many runs did not end well.
pub(crate) fn run(subjects: &[Subject], plan: &Plan, log: &mut Log) -> Result<usize> {
    let pairs = || subjects.iter().flat_map(|s| s.contestants.iter().map(move |c| (s, c)));
    for (subject, contestant) in pairs() {
        log.assert_build(&subject.name, &contestant.allocator, &contestant.build)?;
    }
    let is_done = |log: &Log, s: &Subject, c: &Contestant, round| log.holds(&s.name, &c.allocator, round);
    let all = pairs().count() * plan.rounds as usize;
    let done: usize = pairs().map(|(s, c)| (0..plan.rounds).filter(|round| is_done(log, s, c, *round)).count()).sum();
    let progress = Progress::new(all - done);
    if done > 0 {
        progress.note(&format!("{done} of {all} runs are in the file already"));
    }

    let mut results = HashMap::new();
    for sample in log.samples.iter().filter(|s| s.outcome == Outcome::Good) {
        results.entry(sample.subject.clone()).or_insert((sample.checksum.clone(), sample.allocator.clone()));
    }
    let mut failures = 0;
    for round in 0..plan.rounds {
        for subject in subjects {
            for contestant in rotated(&subject.contestants, round) {
                let Contestant { allocator, build, job } = contestant;
                if is_done(log, subject, contestant, round) {
                    continue;
                }
                progress.begin(&format!("round {}/{}: {} {allocator}", round + 1, plan.rounds, subject.name));
                let (run, checksum) = job
                    .run(&plan.folder, plan.limit)
                    .with_context(|| format!("measure {} under {allocator}", subject.name))?;
                let mut sample = Sample::named(&subject.name, allocator, build, round).with(&run, checksum);
                if sample.outcome == Outcome::Good {
                    let first = || (sample.checksum.clone(), allocator.clone());
                    let (expected, whose) = results.entry(subject.name.clone()).or_insert_with(first);
                    if sample.checksum != *expected {
                        sample.outcome = Outcome::Bad(format!("another result than {whose}"));
                    }
                }
                failures += usize::from(sample.outcome != Outcome::Good);
                let line = told(&sample, plan.rounds, &run);
                log.add(sample)?;
                progress.end(&line);
            }
        }
    }
    progress.finish();
    Ok(failures)
}

/// A line about a run.
fn told(sample: &Sample, rounds: u32, run: &Run) -> String {
    let figures = match &sample.outcome {
        Outcome::Good => format!(
            "{:7.3} s CPU {:7.3} s wall {:8} faults {:8.1} MiB peak",
            sample.cpu(),
            sample.wall_s,
            sample.minor_faults,
            sample.peak_rss_kib as f64 / 1024.0
        ),
        Outcome::Bad(how) => format!("FAILED: {how} {}", run.last_words()),
    };
    format!("{}/{rounds} {:<16} {:<12} {figures}", sample.round + 1, sample.subject, sample.allocator)
}

/// All of `items`, beginning `by` places later each time.
pub(crate) fn rotated<T>(items: &[T], by: u32) -> impl Iterator<Item = &T> {
    let start = by as usize % items.len().max(1);
    items[start..].iter().chain(&items[..start])
}

impl Job {
    /// Runs it once in an empty folder; the text is its result's checksum, empty if it did not end well.
    pub(crate) fn run(&self, folder: &Path, limit: Duration) -> Result<(Run, String)> {
        empty(folder)?;
        let mut run = match &self.clients {
            None => self.call.measure(folder, limit)?,
            Some(clients) => self.serve(clients, folder, limit)?,
        };
        let checksum = match (&run.outcome, &self.result) {
            (Outcome::Bad(_), _) => String::new(),
            (Outcome::Good, ResultOf::Line) => match checksum_line(&run.text()?) {
                Some(number) => number,
                None => {
                    run.outcome = Outcome::Bad("no line with a checksum".into());
                    String::new()
                }
            },
            (Outcome::Good, ResultOf::Nothing) => String::new(),
            (Outcome::Good, ResultOf::FirstClient) => checksum([folder.join("client0.stdout")])?,
            (Outcome::Good, ResultOf::Bytes(files)) => {
                let left = files.iter().map(|name| folder.join(name));
                checksum(std::iter::once(run.stdout.clone()).chain(left))?
            }
        };
        Ok((run, checksum))
    }

    fn serve(&self, clients: &Clients, folder: &Path, limit: Duration) -> Result<Run> {
        let server = self.call.start(folder, "run")?;
        let begin = std::time::Instant::now();
        let is_up =
            || -> Result<bool> { Ok(clients.probe.start(folder, "probe")?.finish(limit)?.outcome == Outcome::Good) };
        let mut up = is_up()?;
        while !up && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
            up = is_up()?;
        }
        let begin = std::time::Instant::now();
        let mut trouble = None;
        for (i, call) in clients.work.iter().enumerate().filter(|_| up) {
            let client = call.start(folder, &format!("client{i}"))?.finish(limit)?;
            if let Outcome::Bad(how) = &client.outcome {
                trouble.get_or_insert(format!("client {i}: {how} {}", client.last_words()));
            }
        }
        let wall = begin.elapsed();
        // A server that has gone cannot be stopped, and its own ending says so.
        let _ = clients.stop.start(folder, "stop")?.finish(limit)?;
        if !up {
            server.kill();
        }
        let mut run = server.finish(limit)?;
        run.usage.wall = wall;
        if !up {
            run.outcome = Outcome::Bad(format!("never answered, {}", run.outcome));
        }
        if let (Outcome::Good, Some(trouble)) = (&run.outcome, trouble) {
            run.outcome = Outcome::Bad(trouble);
        }
        Ok(run)
    }
}

/// Makes `folder` an empty folder.
pub(crate) fn empty(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("empty {}", folder.display()));
        }
        _ => {}
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

/// A number for the contents of all `files` together.
pub(crate) fn checksum(files: impl IntoIterator<Item = PathBuf>) -> Result<String> {
    struct Sum(crc32fast::Hasher);
    impl io::Write for Sum {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sum = Sum(crc32fast::Hasher::new());
    for file in files {
        let mut content = File::open(&file).with_context(|| format!("open {}", file.display()))?;
        io::copy(&mut content, &mut sum).with_context(|| format!("read {}", file.display()))?;
    }
    Ok(format!("{:08x}", sum.0.finalize()))
}

/// The number in the line `checksum N`.
fn checksum_line(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("checksum ")).map(|number| number.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(script: &str) -> Job {
        Job { call: Call::new("/bin/sh").args(["-c", script]), clients: None, result: ResultOf::Line }
    }

    fn subject(scripts: &[(&str, &str)]) -> Subject {
        let contestants = scripts
            .iter()
            .map(|(allocator, script)| Contestant {
                allocator: (*allocator).into(),
                build: "-".into(),
                job: job(script),
            })
            .collect();
        Subject { name: "lists".into(), contestants }
    }

    fn plan(folder: &Path, rounds: u32) -> Plan {
        Plan { rounds, limit: Duration::from_secs(10), folder: folder.join("run") }
    }

    #[test]
    fn every_allocator_is_first_once() {
        let order = |by| rotated(&["a", "b", "c"], by).copied().collect::<String>();
        assert_eq!([order(0), order(1), order(2), order(3)], ["abc", "bca", "cab", "abc"]);
        assert_eq!(rotated(&[0; 0], 3).count(), 0);
    }

    #[test]
    fn what_is_in_the_log_is_not_run_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("samples.csv");
        let trace = folder.path().join("trace");
        let script = format!("echo x >> '{}'; echo checksum 7", trace.display());
        let subjects = [subject(&[("system", &script), ("other", &script)])];
        let mut log = Log::open(&path, true).expect("a log");
        assert_eq!(run(&subjects, &plan(folder.path(), 1), &mut log).expect("runs"), 0);
        let mut log = Log::open(&path, true).expect("a log");
        assert_eq!(run(&subjects, &plan(folder.path(), 3), &mut log).expect("runs"), 0);
        assert_eq!(log.samples.len(), 6);
        assert_eq!(fs::read_to_string(&trace).expect("a trace").lines().count(), 6);
    }

    #[test]
    fn another_result_is_a_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let subjects = [subject(&[("system", "echo checksum 7"), ("bad", "echo checksum 8"), ("mute", ":")])];
        let mut log = Log::open(&folder.path().join("samples.csv"), true).expect("a log");
        assert_eq!(run(&subjects, &plan(folder.path(), 1), &mut log).expect("runs"), 2);
        let outcome = |i: usize| log.samples[i].outcome.to_string();
        assert_eq!(outcome(0), "ok");
        assert_eq!(outcome(1), "another result than system");
        assert_eq!(outcome(2), "no line with a checksum");
    }

    #[test]
    fn a_server_is_measured_while_its_clients_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let shell = |script: &str| Call::new("/bin/sh").args(["-c", script]);
        let clients =
            |work: &str| Clients { probe: shell("test -e up"), work: vec![shell(work)], stop: shell("touch stop") };
        let server = shell("sleep 0.1; touch up; while ! test -e stop; do sleep 0.02; done");
        let job = |work| Job { call: server.clone(), clients: Some(clients(work)), result: ResultOf::FirstClient };
        let limit = Duration::from_secs(10);
        let (run, first) = job("echo answer").run(&folder.path().join("run"), limit).expect("a run");
        assert_eq!(run.outcome, Outcome::Good);
        assert_eq!(first.len(), 8);
        let (run, _) = job("echo no >&2; exit 4").run(&folder.path().join("run"), limit).expect("a run");
        assert_eq!(run.outcome, Outcome::Bad("client 0: exit status 4 no".into()));
    }
}
