//! The samples: one row of a CSV file for each run, written as soon as the run is over.
//!
//! A file so grows by whole lines, and a measurement that was stopped in the middle goes on where it stopped: what is
//! in the file is not run again. A row also names the build of the allocator that it measured, so that a file never
//! mixes two of them.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::measure::{Outcome, Run};

/// One run of one subject (a program, a workload) under one allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) subject: String,
    pub(crate) allocator: String,
    pub(crate) build: String,
    pub(crate) round: u32,
    pub(crate) outcome: Outcome,
    pub(crate) checksum: String,
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    pub(crate) wall_s: f64,
    pub(crate) minor_faults: u64,
    pub(crate) peak_rss_kib: u64,
}

impl Sample {
    /// A row without figures yet.
    pub(crate) fn named(subject: &str, allocator: &str, build: &str, round: u32) -> Self {
        Self {
            subject: subject.to_owned(),
            allocator: allocator.to_owned(),
            build: build.to_owned(),
            round,
            outcome: Outcome::Good,
            checksum: String::new(),
            user_s: 0.0,
            system_s: 0.0,
            wall_s: 0.0,
            minor_faults: 0,
            peak_rss_kib: 0,
        }
    }

    pub(crate) fn with(mut self, run: &Run, checksum: String) -> Self {
        self.outcome = run.outcome.clone();
        self.checksum = checksum;
        self.user_s = run.usage.user.as_secs_f64();
        self.system_s = run.usage.system.as_secs_f64();
        self.wall_s = run.usage.wall.as_secs_f64();
        self.minor_faults = run.usage.minor_faults;
        self.peak_rss_kib = run.usage.peak_rss_kib;
        self
    }

    /// User and system time in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.user_s + self.system_s
    }

    pub(crate) fn is_of(&self, subject: &str, allocator: &str, round: u32) -> bool {
        self.subject == subject && self.allocator == allocator && self.round == round
    }
}

/// The rows of a CSV file with a header line, each of type `T`; an absent file holds none.
pub(crate) fn load<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .from_path(path)
        .with_context(|| format!("open {}", path.display()))?;
    let rows: Result<Vec<T>, _> = reader.deserialize().collect();
    rows.with_context(|| format!("{} is not a file of the laboratory, or was cut; mend or remove it", path.display()))
}

/// Writes all `rows` at once, below the lines of `comment`.
pub(crate) fn save<T: Serialize>(path: &Path, comment: &[String], rows: &[T]) -> Result<()> {
    let mut bytes = Vec::new();
    for line in comment {
        bytes.extend_from_slice(format!("# {line}\n").as_bytes());
    }
    let mut writer = csv::Writer::from_writer(bytes);
    for row in rows {
        writer.serialize(row)?;
    }
    let bytes = writer.into_inner().map_err(|e| e.into_error())?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

/// A CSV file of samples that grows with every run.
pub(crate) struct Log {
    path: PathBuf,
    writer: csv::Writer<File>,
    /// What was there at the start, and what was added since.
    pub(crate) samples: Vec<Sample>,
}

impl Log {
    /// Opens `path`. Without `resume` what it holds is put aside, as `NAME.previous.csv`.
    pub(crate) fn open(path: &Path, resume: bool) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        if !resume && path.exists() {
            let aside = path.with_extension("previous.csv");
            fs::rename(path, &aside).with_context(|| format!("rename {}", path.display()))?;
        }
        let samples: Vec<Sample> = load(path)?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        let is_new = file.metadata()?.len() == 0;
        let writer = csv::WriterBuilder::new().has_headers(is_new).from_writer(file);
        Ok(Self { path: path.to_owned(), writer, samples })
    }

    /// Writes a row, to the file itself before this returns.
    pub(crate) fn add(&mut self, sample: Sample) -> Result<()> {
        self.writer.serialize(&sample).with_context(|| format!("write {}", self.path.display()))?;
        self.writer.flush().with_context(|| format!("write {}", self.path.display()))?;
        self.samples.push(sample);
        Ok(())
    }

    pub(crate) fn holds(&self, subject: &str, allocator: &str, round: u32) -> bool {
        self.samples.iter().any(|s| s.is_of(subject, allocator, round))
    }

    /// An error if rows of this allocator and subject came from another build of it.
    pub(crate) fn assert_build(&self, subject: &str, allocator: &str, build: &str) -> Result<()> {
        match self.samples.iter().find(|s| s.subject == subject && s.allocator == allocator && s.build != build) {
            Some(_) => bail!(
                "{} has runs of {subject} under another build of {allocator}: measure again without --resume",
                self.path.display()
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_taken_up_where_it_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/samples.csv");
        let mut bad = Sample::named("sort", "system", "-", 0);
        bad.outcome = Outcome::Bad("exit status 3".into());
        bad.wall_s = 0.25;
        Log::open(&path, false).and_then(|mut log| log.add(bad)).expect("a first row");

        let mut log = Log::open(&path, true).expect("the same file");
        assert!(log.holds("sort", "system", 0) && !log.holds("sort", "system", 1));
        log.add(Sample::named("sort", "system", "-", 1)).expect("a second row");
        assert!(log.assert_build("sort", "system", "-").is_ok());
        assert!(log.assert_build("sort", "system", "0badf00d").is_err());

        let rows: Vec<Sample> = load(&path).expect("both rows");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].outcome, Outcome::Bad("exit status 3".into()));
        assert!((rows[0].wall_s - 0.25).abs() < 1e-9);

        let log = Log::open(&path, false).expect("a fresh file");
        assert!(log.samples.is_empty());
        assert!(folder.path().join("new/samples.previous.csv").is_file());
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("samples.csv");
        fs::write(&path, "a,b\n1,2\n").expect("a file");
        let error = Log::open(&path, true).err().expect("no samples");
        assert!(error.to_string().contains("not a file of the laboratory"), "{error}");
    }
}
