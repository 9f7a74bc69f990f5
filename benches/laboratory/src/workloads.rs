//! The workloads of `benches/rivals`: one binary per allocator, each with the same workloads in it.
//!
//! `BIN --list` prints the names of the workloads; `BIN WORKLOAD [SCALE]` runs one, once, and prints a line
//! `checksum N`. Nothing is preloaded: the allocator is linked into the binary. A binary that is not there is left out,
//! and a workload that a binary does not know is measured under the others.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::allocators::SYSTEM;
use crate::machine::Fact;
use crate::measure::Call;
use crate::place::Place;
use crate::rounds::{Contestant, Job, ResultOf, Subject, checksum, empty};

/// The names of the binaries; the first one is what all others are relative to.
pub(crate) const BINARIES: [&str; 6] = [SYSTEM, "heapwright", "mimalloc", "jemalloc", "snmalloc", "rpmalloc"];

/// The workloads named in `only` (all, if it is empty) in each binary of `folder` named in `binaries` (likewise).
pub(crate) fn prepare(
    place: &Place,
    folder: &Path,
    binaries: &[String],
    only: &[String],
    scale: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<Vec<Subject>> {
    let folder = std::fs::canonicalize(folder).with_context(|| format!("--rivals {}", folder.display()))?;
    if let Some(unknown) = binaries.iter().find(|name| !BINARIES.contains(&name.as_str())) {
        bail!("there is no binary {unknown:?}; there are {}", BINARIES.join(", "));
    }
    empty(&place.run_folder())?;
    let mut subjects: Vec<Subject> = Vec::new();
    for name in BINARIES.into_iter().filter(|name| binaries.is_empty() || binaries.iter().any(|b| b == name)) {
        let path = folder.join(name);
        if !path.is_file() {
            notes.push(format!("there is no {name} in {}: it is left out", folder.display()));
            continue;
        }
        let build = checksum([path.clone()])?;
        let path = place.copied(name, &path)?;
        let list = Call::new(&path).args(["--list"]).output(&place.run_folder())?;
        for workload in list.split_whitespace() {
            if !only.is_empty() && !only.iter().any(|wanted| wanted == workload) {
                continue;
            }
            let call = Call::new(&path).args([workload]).args(scale.map(|scale| scale.to_string()));
            let contestant = Contestant {
                allocator: name.into(),
                build: build.clone(),
                job: Job { call, clients: None, result: ResultOf::Line },
            };
            match subjects.iter_mut().find(|s| s.name == workload) {
                Some(subject) => subject.contestants.push(contestant),
                None => subjects.push(Subject { name: workload.into(), contestants: vec![contestant] }),
            }
        }
    }
    ensure!(!subjects.is_empty() || !only.is_empty(), "no binary in {} has any workload", folder.display());
    if let Some(unknown) = only.iter().find(|name| subjects.iter().all(|s| s.name != **name)) {
        bail!("no binary in {} has a workload {unknown:?}; --list of one names them", folder.display());
    }
    Ok(subjects)
}

/// The versions of the allocators' crates that the binaries are built with.
pub(crate) fn versions(place: &Place) -> Vec<Fact> {
    let manifest = place.project.join("benches/rivals/Cargo.toml");
    let tree = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--offline", "--all-features", "--depth", "1", "--prefix", "none", "--manifest-path"])
        .arg(manifest)
        .output();
    let told = tree.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    let known = ["mimalloc", "tikv-jemallocator", "snmalloc-rs", "rpmalloc"];
    told.lines()
        .filter_map(|line| {
            let (name, version) = line.split_once(" v")?;
            let version = version.split(' ').next()?;
            known.contains(&name).then(|| Fact::new(format!("crate {name}"), version))
        })
        .collect()
}
