//! What was measured, where: the facts that a figure is worth nothing without.
//!
//! They are taken when the figures are, and kept next to them. No name of the machine, no paths.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A fact in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub(crate) about: String,
    pub(crate) what: String,
}

impl Fact {
    pub(crate) fn new(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { about: about.into(), what: what.into() }
    }
}

/// Facts about this machine.
pub(crate) fn facts() -> Vec<Fact> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What follows the number is a builder's own.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let huge = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let huge = huge.split(['[', ']']).nth(1).unwrap_or("not there").to_owned();
    vec![
        Fact::new("processor", field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into())),
        Fact::new("cores", cores.to_string()),
        Fact::new("memory", format!("{:.0} GiB", memory.unwrap_or(0) as f64 / f64::from(1 << 20))),
        Fact::new("kernel", format!("Linux {kernel}")),
        Fact::new("distribution", system.trim_matches('"')),
        Fact::new("transparent huge pages", huge),
        Fact::new("C library", c_library()),
        Fact::new("Rust", told("rustc", &["--version"]).unwrap_or_else(|| "unknown".into())),
    ]
}

/// `key : value` in a file of the proc filesystem.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The first line that a tool says.
fn told(tool: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(tool).args(args).env_remove("LD_PRELOAD").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).lines().next()?.trim().to_owned();
    (out.status.success() && !text.is_empty()).then_some(text)
}

/// `glibc 2.36`.
pub(crate) fn c_library() -> String {
    told("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_else(|| "unknown".into())
}

/// The version of a Debian package.
pub(crate) fn package(name: &str) -> String {
    match told("dpkg-query", &["-W", "-f", "${Version}", name]) {
        Some(version) => format!("{name} {version}"),
        None => format!("{name}, version unknown"),
    }
}

/// The commit of the project, and whether its sources have been changed since.
pub(crate) fn heapwright(project: &Path) -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git").arg("-C").arg(project).args(args).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        out.status.success().then_some(text)
    };
    match git(&["rev-parse", "--short", "HEAD"]) {
        Some(commit) => {
            let changes = git(&["status", "--porcelain", "--", "src", "Cargo.toml", ".cargo"]);
            let changed = changes.is_some_and(|list| !list.is_empty());
            format!("commit {commit}{}", if changed { " with changes" } else { "" })
        }
        None => "commit unknown".into(),
    }
}
