//! The ablation: heapwright against itself with one part off, over a few subjects that feel the parts.
//!
//! A part is switched by an option in the environment. An option that this build does not know is named and left out, so
//! the list may run ahead of the library or behind it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::allocators::{Allocator, HEAPWRIGHT};
use crate::measure::Call;
use crate::place::Place;
use crate::programs;
use crate::rounds::{Contestant, Job, ResultOf, Subject, checksum, empty};
use crate::scenarios;

/// What is different, and the settings that make it so.
pub(crate) const PARTS: [(&str, &str); 13] = [
    ("no caches", "TCACHE_COUNT=0"),
    ("caches of 16 blocks a size", "TCACHE_COUNT=16"),
    ("caches up to 1 KiB only", "TCACHE_MAX=1032"),
    ("no regions for small chunks", "REGIONS=0"),
    ("nothing is purged", "DIRTY_DECAY_MS=18446744073709551615"),
    ("purged at once", "DIRTY_DECAY_MS=0"),
    ("a quarter may stay dirty", "DIRTY_PERCENT=25"),
    ("one arena", "ARENA_MAX=1"),
    ("arenas for 8 cores", "CORES=8"),
    ("no break", "BRK=0"),
    ("no growth pad", "TOP_PAD=0"),
    ("nothing has a mapping of its own", "MMAP_MAX=0"),
    ("huge pages asked for", "HUGETLB=1"),
];

const WORKLOADS: [&str; 12] = [
    "mixed-sizes",
    "window-100k",
    "list-random",
    "tree-random",
    "buffers",
    "thread-churn",
    "larson",
    "xmalloc",
    "threadtest",
    "malloc-large",
    "mleak",
    "key-value",
];
const PROGRAMS: [&str; 3] = ["python", "perl", "sort"];

/// A part that this build can switch.
pub(crate) struct Part {
    pub(crate) name: String,
    env: Vec<(String, String)>,
}

/// The name of a part among the allocators of a table.
fn label(part: &str) -> String {
    format!("{HEAPWRIGHT}: {part}")
}

/// Those of `parts` that the library knows; the others are named in `notes`.
fn known(library: &Allocator, parts: &[(String, String)], folder: &Path, notes: &mut Vec<String>) -> Result<Vec<Part>> {
    let mut known = vec![Part { name: HEAPWRIGHT.into(), env: Vec::new() }];
    for (name, settings) in parts {
        let pairs = settings.split_whitespace().filter_map(|setting| setting.split_once('='));
        let env: Vec<_> = pairs.map(|(key, value)| (format!("HEAPWRIGHT_{key}"), value.to_owned())).collect();
        ensure!(!env.is_empty(), "{settings:?} is no NAME=value");
        let call = env.iter().fold(library.call("/bin/ls"), |call, (key, value)| call.env(key, value));
        let words = call.measure(folder, Duration::from_secs(10))?.last_words();
        if words.is_empty() {
            known.push(Part { name: label(name), env });
        } else {
            notes.push(format!("{settings}: {words}: it is left out"));
        }
    }
    Ok(known)
}

/// A subject for each workload, program and scenario, with a contestant for each part.
pub(crate) fn prepare(
    place: &Place,
    rivals: &Path,
    library: &Allocator,
    parts: &[(String, String)],
    limit: Duration,
    notes: &mut Vec<String>,
) -> Result<Vec<Subject>> {
    let binary = rivals.join(HEAPWRIGHT);
    let binary = std::fs::canonicalize(&binary).with_context(|| format!("--rivals: {}", binary.display()))?;
    let folder = place.run_folder();
    empty(&folder)?;
    let parts = known(library, parts, &folder, notes)?;
    let mut subjects = Vec::new();
    let mut add = |name: &str, build: &str, job: &dyn Fn() -> Job| {
        let contestant = |part: &Part| {
            let mut job = job();
            job.call = part.env.iter().fold(job.call, |call, (key, value)| call.env(key, value));
            Contestant { allocator: part.name.clone(), build: build.to_owned(), job }
        };
        subjects.push(Subject { name: name.into(), contestants: parts.iter().map(contestant).collect() });
    };
    let build = checksum([binary.clone()])?;
    let binary = place.copied(HEAPWRIGHT, &binary)?;
    for workload in WORKLOADS {
        let call = || Call::new(&binary).args([workload]);
        add(workload, &build, &|| Job { call: call(), clients: None, result: ResultOf::Line });
    }
    let programs = PROGRAMS.map(str::to_owned);
    for subject in programs::prepare(place, std::slice::from_ref(library), &programs, limit, notes)?.subjects {
        for contestant in &subject.contestants {
            add(&subject.name, &library.build, &|| contestant.job.clone());
        }
    }
    match scenarios::sources(place) {
        None => notes.push("there is no shared/scenarios beside the project: they are left out".into()),
        Some(sources) => {
            for (name, env) in [("mds", ("MDS_ROUNDS", "100")), ("kv", ("KV_SETTLE_S", "3"))] {
                let program = scenarios::build(&sources, name, &place.work.join("scenarios"))?;
                // What it says are figures, and others each time.
                let call = || library.call(&program).env(env.0, env.1);
                add(name, &library.build, &|| Job { call: call(), clients: None, result: ResultOf::Nothing });
            }
        }
    }
    Ok(subjects)
}
