//! Where everything lies.
//!
//! ```text
//!   PROJECT/Cargo.toml                        the crate that is measured
//!   PROJECT/docs/benchmarks.md, docs/plots/   the report
//!   PROJECT/benches/laboratory/               this package: programs/, drivers/, baseline.csv
//!   PROJECT/benches/laboratory/results/       the kept figures; --results moves it
//!   TARGET/laboratory/                        inputs, builds, copies of what is measured, run folders; --work moves it
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The folders of the laboratory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) project: PathBuf,
    pub(crate) package: PathBuf,
    pub(crate) results: PathBuf,
    pub(crate) work: PathBuf,
}

impl Place {
    pub(crate) fn new(results: Option<PathBuf>, work: Option<PathBuf>) -> Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let project = package.ancestors().nth(2).context("this package lies two folders below the crate")?;
        let work = match work {
            Some(work) => work,
            // TARGET/release/laboratory
            None => {
                let program = std::env::current_exe().context("find this program")?;
                program.ancestors().nth(2).context("this program lies in a target folder")?.join("laboratory")
            }
        };
        let results = results.unwrap_or_else(|| package.join("results"));
        let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| path.display().to_string());
        Ok(Self {
            project: project.into(),
            package: package.into(),
            results: absolute(results)?,
            work: absolute(work)?,
        })
    }

    /// The runs' own folder; one measurement at a time uses it.
    pub(crate) fn run_folder(&self) -> PathBuf {
        self.work.join("run")
    }

    /// A copy of a program or a library, for a measurement to run. Of a file that is mapped as many pages count as resident
    /// as the page cache has around each one that is touched, and that is more of a file that was written lately than of one
    /// that was read in after a start of the machine: up to a quarter of a MiB in a small process. Copies are all alike.
    pub(crate) fn copied(&self, name: &str, original: &Path) -> Result<PathBuf> {
        let folder = self.work.join("copies").join(name);
        let copy = folder.join(original.file_name().context("a file has a name")?);
        let made = fs::create_dir_all(&folder).and_then(|()| fs::copy(original, folder.join("new")));
        made.and_then(|_| fs::rename(folder.join("new"), &copy))
            .with_context(|| format!("copy to {}", copy.display()))?;
        Ok(copy)
    }

    /// Keeps other measurements out of the work folder as long as the result lives.
    pub(crate) fn occupy(&self) -> Result<File> {
        let path = self.work.join("lock");
        fs::create_dir_all(&self.work).with_context(|| format!("create {}", self.work.display()))?;
        let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => {
                bail!("another measurement runs in {}; wait for it, or give --work DIR", self.work.display())
            }
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("lock {}", path.display())),
        }
    }
}

/// A measuring command, and its files.
#[derive(Clone, Copy)]
pub(crate) enum Suite {
    Programs,
    Workloads,
    Scenarios,
    Extremes,
    Ablation,
    Counts,
}

impl Suite {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Programs => "programs",
            Self::Workloads => "workloads",
            Self::Scenarios => "scenarios",
            Self::Extremes => "extremes",
            Self::Ablation => "ablation",
            Self::Counts => "counts",
        }
    }

    pub(crate) fn figures(self, place: &Place) -> PathBuf {
        place.results.join(self.name()).with_extension("csv")
    }

    /// What was seen in the course of a run.
    pub(crate) fn points(self, place: &Place) -> PathBuf {
        place.results.join(self.name()).with_extension("points.csv")
    }

    pub(crate) fn facts(self, place: &Place) -> PathBuf {
        place.results.join(self.name()).with_extension("facts.csv")
    }
}
