//! One process, from its start to what it cost.
//!
//! A [`Call`] says what to start and how; it can be started any number of times. [`Call::measure`] runs it to its end in
//! an environment that holds no setting for any malloc but those of the call, and returns a [`Run`]: how it ended and
//! what the kernel counted for it and for all the children it waited for (`wait4`).
//!
//! ```text
//!   fork ── prctl ── exec ─────────────── exit      wall: from before the fork to the exit
//!     │                │                   │        CPU, faults: the child and those it waited for
//!     │                └ peak RSS begins   │
//!     └─ pidfd ───────── poll(limit) ──────┴─ wait4
//! ```
//!
//! The kernel carries the peak of the memory that a process had before its `exec` over to the program. A child that
//! shares this process's memory until then (`vfork`, which the standard library prefers) would so begin with the peak
//! of the laboratory. A function to call between fork and exec makes the standard library fork, and the child then
//! begins with a copy of the few hundred KiB of anonymous memory in use here. So: nothing big is kept in memory.
//!
//! # Safety
//!
//! Two places: that function does one system call and nothing else; `wait4`, which no crate in use here wraps with page
//! faults, gets two places to write to.
#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum Outcome {
    /// With status 0 and the right result.
    Good,
    /// Some other way: the words say how.
    Bad(String),
}

impl From<String> for Outcome {
    fn from(text: String) -> Self {
        if text == "ok" { Self::Good } else { Self::Bad(text) }
    }
}

impl From<Outcome> for String {
    fn from(outcome: Outcome) -> Self {
        outcome.to_string()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("ok"),
            Self::Bad(how) => f.write_str(how),
        }
    }
}

/// What to start, and how.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Option<PathBuf>,
}

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) wall: Duration,
    pub(crate) minor_faults: u64,
    pub(crate) peak_rss_kib: u64,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) usage: Usage,
    /// The file that holds what it wrote to its standard output.
    pub(crate) stdout: PathBuf,
    stderr: PathBuf,
}

impl Run {
    /// The last words on stderr, for a message.
    pub(crate) fn last_words(&self) -> String {
        let said = fs::read(&self.stderr).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.trim().lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Its standard output, when it ended well.
    pub(crate) fn text(&self) -> Result<String> {
        match &self.outcome {
            Outcome::Good => Ok(fs::read_to_string(&self.stdout)?),
            Outcome::Bad(how) => bail!("{how}: {}", self.last_words()),
        }
    }
}

impl Call {
    pub(crate) fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new(), stdin: None }
    }

    pub(crate) fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    pub(crate) fn stdin(mut self, file: impl Into<PathBuf>) -> Self {
        self.stdin = Some(file.into());
        self
    }

    /// Loads `library` into this process and those it starts.
    pub(crate) fn preload(self, library: Option<&Path>) -> Self {
        match library {
            Some(library) => self.env("LD_PRELOAD", library),
            None => self,
        }
    }

    /// Starts it in `folder`; what it writes goes to `NAME.stdout` and `NAME.stderr` there.
    pub(crate) fn start(&self, folder: &Path, name: &str) -> Result<Started> {
        let shown = self.program.display();
        let stdout = folder.join(format!("{name}.stdout"));
        let stderr = folder.join(format!("{name}.stderr"));
        let create = |path: &Path| File::create(path).with_context(|| format!("create {}", path.display()));
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(folder).process_group(0);
        command.stdout(create(&stdout)?).stderr(create(&stderr)?);
        command.stdin(match &self.stdin {
            Some(path) => File::open(path).with_context(|| format!("open {}", path.display()))?.into(),
            None => Stdio::null(),
        });
        for (key, _) in std::env::vars_os() {
            if is_malloc_setting(&key) {
                command.env_remove(key);
            }
        }
        command.env("LC_ALL", "C").envs(self.env.iter().map(|(key, value)| (key, value)));
        // SAFETY: between fork and exec the closure does one system call; it takes no lock and allocates nothing.
        unsafe { command.pre_exec(die_with_parent) };
        let begin = Instant::now();
        let child = command.spawn().with_context(|| format!("start {shown}"))?;
        Ok(Started { child, begin, stdout, stderr })
    }

    /// Runs it in `folder` and returns how it ended and what it cost. One that takes longer than `limit` is killed with
    /// all that it started.
    pub(crate) fn measure(&self, folder: &Path, limit: Duration) -> Result<Run> {
        self.start(folder, "run")?.finish(limit)
    }

    /// What it writes to its standard output; an error if it does not end well within ten seconds.
    pub(crate) fn output(&self, folder: &Path) -> Result<String> {
        let run = self.start(folder, "told")?.finish(Duration::from_secs(10))?;
        run.text().with_context(|| format!("{}", self.program.display()))
    }
}

/// Settings of the mallocs and of the loader that the caller's environment may hold, and the language: none of them may
/// reach a measured program.
fn is_malloc_setting(key: &OsStr) -> bool {
    let key = key.to_string_lossy();
    ["MALLOC_", "HEAPWRIGHT_", "MIMALLOC_", "TCMALLOC_", "_RJEM_", "LD_", "LC_"].iter().any(|p| key.starts_with(p))
        || ["GLIBC_TUNABLES", "LANG", "LANGUAGE"].contains(&&*key)
}

/// A measured program does not outlive a laboratory that was killed.
fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// A process that is running.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    begin: Instant,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Started {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn finish(self, limit: Duration) -> Result<Run> {
        self.finish_watched(limit, limit, &mut || {})
    }

    /// Looks at it `every` so often until it has ended.
    pub(crate) fn finish_watched(self, limit: Duration, every: Duration, look: &mut dyn FnMut()) -> Result<Run> {
        let ended = loop {
            let left = limit.saturating_sub(self.begin.elapsed());
            let ended = end_within(&self.child, left.min(every)).context("wait for a process")?;
            if ended || left <= every {
                break ended;
            }
            look();
        };
        let wall = self.begin.elapsed();
        if !ended {
            self.kill();
        }
        let (status, mut usage) = reap(&self.child).context("wait for a process")?;
        usage.wall = wall;
        let outcome = match (ended, status.code(), status.signal()) {
            (false, ..) => Outcome::Bad(format!("not done after {} s", limit.as_secs())),
            (true, Some(0), _) => Outcome::Good,
            (true, Some(code), _) => Outcome::Bad(format!("exit status {code}")),
            (true, None, signal) => Outcome::Bad(format!("ended by signal {}", signal.unwrap_or_default())),
        };
        Ok(Run { outcome, usage, stdout: self.stdout, stderr: self.stderr })
    }

    /// Kills it and what it started; it leads a process group of its own.
    pub(crate) fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended just now.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Waits until the child has ended, and leaves it to be reaped; `false` if the time was over first.
fn end_within(child: &Child, limit: Duration) -> io::Result<bool> {
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let begin = Instant::now();
    loop {
        let left = limit.saturating_sub(begin.elapsed());
        let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reaps a child that has ended or is about to, and returns what the kernel counted for it.
fn reap(child: &Child) -> io::Result<(ExitStatus, Usage)> {
    let mut status = 0;
    let mut counted = std::mem::MaybeUninit::<libc::rusage>::uninit();
    let counted = loop {
        // SAFETY: both are places that this function owns, of the types that wait4(2) writes.
        let reaped = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, counted.as_mut_ptr()) };
        if reaped >= 0 {
            // SAFETY: wait4(2) reaped a child, so it wrote the usage.
            break unsafe { counted.assume_init() };
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs()) + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    let usage = Usage {
        user: time(counted.ru_utime),
        system: time(counted.ru_stime),
        wall: Duration::ZERO,
        minor_faults: counted.ru_minflt.unsigned_abs(),
        peak_rss_kib: counted.ru_maxrss.unsigned_abs(),
    };
    Ok((ExitStatus::from_raw(status), usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(script: &str, limit: u64) -> Run {
        let folder = tempfile::tempdir().expect("a folder");
        let call = Call::new("/bin/sh").args(["-c", script]);
        call.measure(folder.path(), Duration::from_secs(limit)).expect("a shell")
    }

    #[test]
    fn children_are_counted() {
        let alone = measured(":", 10).usage;
        let with_children = measured("for i in 1 2 3 4 5 6 7 8; do /bin/ls >/dev/null; done", 10).usage;
        assert!(with_children.minor_faults > alone.minor_faults + 8 * 50, "{alone:?} {with_children:?}");
    }

    #[test]
    fn endings_are_told() {
        assert_eq!(measured("exit 3", 10).outcome, Outcome::Bad("exit status 3".into()));
        assert_eq!(measured("kill -SEGV $$", 10).outcome, Outcome::Bad("ended by signal 11".into()));
        let run = measured("sleep 30 & sleep 30", 1);
        assert_eq!(run.outcome, Outcome::Bad("not done after 1 s".into()));
        assert!(run.usage.wall < Duration::from_secs(10));
    }
}
