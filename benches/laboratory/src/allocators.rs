//! The mallocs: none preloaded (`system`), heapwright's own library, and those that Debian packages.
//!
//! A malloc that is not installed is left out, and a line says so. heapwright's library is built here, as a user would
//! (`cargo preload`), into a folder of its own: a build elsewhere does not change it in the middle of a measurement.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::measure::Call;
use crate::place::Place;
use crate::rounds::checksum;

/// The name under which the C library's malloc is measured; everything is relative to it.
pub(crate) const SYSTEM: &str = "system";
/// The name of the malloc that all this is about.
pub(crate) const HEAPWRIGHT: &str = "heapwright";

/// Name, file name of the library, Debian's package.
const PACKAGED: [(&str, &str, &str); 3] = [
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    ("mimalloc", "libmimalloc.so.2", "libmimalloc2.0"),
];

/// A malloc to run programs under.
#[derive(Clone, Debug)]
pub(crate) struct Allocator {
    pub(crate) name: String,
    /// What to preload; nothing for the system's malloc.
    pub(crate) library: Option<PathBuf>,
    /// Tells this build from others.
    pub(crate) build: String,
    /// In words, for the report.
    pub(crate) version: String,
    /// Settings that make it another one.
    pub(crate) env: Vec<(String, String)>,
}

impl Allocator {
    /// A call of `program` under this malloc.
    pub(crate) fn call(&self, program: impl Into<PathBuf>) -> Call {
        let call = Call::new(program).preload(self.library.as_deref());
        self.env.iter().fold(call, |call, (key, value)| call.env(key, value))
    }
}

/// Where a malloc stands in every table and every picture; names that are not here come behind.
pub(crate) fn rank(name: &str) -> usize {
    let order = [SYSTEM, HEAPWRIGHT, "jemalloc", "jemalloc-1s", "tcmalloc", "mimalloc", "snmalloc", "rpmalloc"];
    order.iter().position(|known| *known == name).unwrap_or(order.len())
}

/// A library given by the caller: `PATH` stands for heapwright's own, `NAME=PATH` is one more.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    name: String,
    path: PathBuf,
}

impl std::str::FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').unwrap_or((HEAPWRIGHT, text));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name == SYSTEM || !name.chars().all(is_plain) {
            return Err(format!("{name:?} cannot be a name here; use letters, digits and -"));
        }
        let path = fs::canonicalize(path).map_err(|e| format!("{path}: {e}"))?;
        if !path.is_file() {
            return Err(format!("{} is not a file", path.display()));
        }
        // The loader takes both characters for the end of a name in LD_PRELOAD.
        if path.to_string_lossy().contains([' ', ':']) {
            return Err(format!("{}: the loader takes no library whose path has a space or a colon", path.display()));
        }
        Ok(Self { name: name.to_owned(), path })
    }
}

/// Those of the mallocs that are there and `wanted` (all, if it is empty): the system's first, heapwright's second.
pub(crate) fn find(
    place: &Place,
    given: &[Given],
    wanted: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<Allocator>> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    for (i, one) in given.iter().enumerate() {
        ensure!(given[..i].iter().all(|other| other.name != one.name), "two libraries for the name {}", one.name);
    }
    let mut found = vec![Allocator {
        name: SYSTEM.into(),
        library: None,
        build: "-".into(),
        version: crate::machine::c_library(),
        env: Vec::new(),
    }];
    let preloaded = |name: &str, path: PathBuf, version: String| -> Result<Allocator> {
        let build = checksum([path.clone()])?;
        let library = Some(place.copied(name, &path)?);
        Ok(Allocator { name: name.into(), library, build, version, env: Vec::new() })
    };
    if is_wanted(HEAPWRIGHT) && given.iter().all(|g| g.name != HEAPWRIGHT) {
        let library = build_heapwright(place)?;
        found.push(preloaded(HEAPWRIGHT, library, crate::machine::heapwright(&place.project))?);
    }
    for Given { name, path } in given {
        let mut allocator = preloaded(name, path.clone(), String::new())?;
        allocator.version = format!("a library that was given, checksum {}", allocator.build);
        found.push(allocator);
    }
    for (name, file, package) in PACKAGED {
        if !is_wanted(name) || given.iter().any(|g| g.name == name) {
            continue;
        }
        match installed(file) {
            Some(path) => found.push(preloaded(name, path, crate::machine::package(package))?),
            None => notes.push(format!("{file} (Debian: {package}) is not installed: {name} is left out")),
        }
    }
    let known = || [SYSTEM, HEAPWRIGHT].into_iter().chain(PACKAGED.map(|(name, ..)| name)).map(str::to_owned);
    if let Some(unknown) = wanted.iter().find(|w| known().chain(given.iter().map(|g| g.name.clone())).all(|k| k != **w))
    {
        bail!("there is no malloc {unknown:?} here; there are {}", known().collect::<Vec<_>>().join(", "));
    }
    found.retain(|allocator| is_wanted(&allocator.name));
    Ok(found)
}

/// The path of a shared library, as the loader's cache has it.
pub(crate) fn installed(file: &str) -> Option<PathBuf> {
    // An ordinary user's PATH may lack the folder of ldconfig.
    let told = ["ldconfig", "/sbin/ldconfig"].iter().find_map(|tool| Command::new(tool).arg("-p").output().ok())?;
    in_loader_cache(&String::from_utf8_lossy(&told.stdout), file)
}

/// `libm.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libm.so.6`
fn in_loader_cache(cache: &str, file: &str) -> Option<PathBuf> {
    cache.lines().find_map(|line| {
        let (name, path) = line.trim().split_once(" => ")?;
        let (name, kind) = name.split_once(" (")?;
        (name == file && kind.contains("x86-64")).then(|| PathBuf::from(path))
    })
}

fn build_heapwright(place: &Place) -> Result<PathBuf> {
    let target = place.work.join("build");
    cargo(&["preload"], &place.project, &target).context("build heapwright's library (or give one: --library PATH)")?;
    let library = target.join("release/libheapwright.so");
    ensure!(library.is_file(), "cargo preload left no {}", library.display());
    // One name for one build.
    let library: Given = library.to_string_lossy().parse().map_err(anyhow::Error::msg)?;
    Ok(library.path)
}

/// Runs cargo in `folder` with a target folder of its own and no flags from the caller's environment.
pub(crate) fn cargo(args: &[impl AsRef<OsStr>], folder: &Path, target: &Path) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).current_dir(folder);
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let foreign = name == "CARGO_BUILD_TARGET"
            || name == "LD_PRELOAD"
            || name.ends_with("RUSTFLAGS")
            || name.starts_with("CARGO_PROFILE_")
            || name.starts_with("CARGO_TARGET_");
        if foreign {
            cargo.env_remove(&key);
        }
    }
    let out = cargo.env("CARGO_TARGET_DIR", target).output().context("start cargo")?;
    ensure!(out.status.success(), "cargo failed:\n{}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_cache_is_read() {
        let cache = "3 libs found in cache\n\tliba.so.1 (libc6) => /lib32/liba.so.1\n\tliba.so.1 (libc6,x86-64) => /lib/liba.so.1\n";
        assert_eq!(in_loader_cache(cache, "liba.so.1"), Some("/lib/liba.so.1".into()));
        assert_eq!(in_loader_cache(cache, "liba.so"), None);
    }

    #[test]
    fn a_given_library_has_a_name_and_exists() {
        let parse = |text: &str| text.parse::<Given>();
        let own = parse("/proc/self/exe").expect("a file");
        assert_eq!(own.name, HEAPWRIGHT);
        assert_eq!(parse("no-cache=/proc/self/exe").expect("a file").name, "no-cache");
        assert!(parse("system=/proc/self/exe").is_err());
        assert!(parse("a b=/proc/self/exe").is_err());
        assert!(parse("/").expect_err("a folder").contains("not a file"));
        assert!(parse("/no/such/file").expect_err("nothing").contains("No such file"));
    }
}
