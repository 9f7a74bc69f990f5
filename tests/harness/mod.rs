//! What the whole-process tests stand on: the preload library, small C programs, and a way to run a program that never hangs.
//!
//! The library under test is a file that other programs load, so these tests work from outside. They build that file as a
//! user would (`cargo preload`), start an unmodified program twice, with the library and without, and compare what can be
//! seen: output, exit status, system calls, /proc/self/maps.
//!
//! ```text
//!     test ── library() ──> libheapwright.so ─┐ LD_PRELOAD, for the target alone
//!       ├─── compile("x.c") ──> x ────────────┴─> Run::new(x).preloaded() ──> Outcome
//!       └─── program("git") ──> /usr/bin/git ───> Run::new(git).bindings() ──> Outcome, and who serves malloc in it
//! ```
//!
//! Two environment variables matter:
//! - `HEAPWRIGHT_TEST_LIBRARY=path` tests that library instead of building one.
//! - `CI`: when set, a program that a test needs and does not find fails the test. Otherwise the test names the program on
//!   stderr and passes.

// Each test binary holds its own copy of this module and uses its own part of it.
#![allow(dead_code)]

pub(crate) mod matrix;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, process, str, thread};

/// The entry points of malloc: when a program binds one of them, it must be ours.
pub(crate) const ENTRY_POINTS: [&str; 13] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "free",
    "cfree",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
    "malloc_trim",
];

/// The preload library, built once per test process with `cargo preload` into a target folder of its own.
///
/// Several test binaries may ask at the same time: cargo locks that folder, and all but the first find the work done.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| match env::var_os("HEAPWRIGHT_TEST_LIBRARY") {
        Some(path) => {
            fs::canonicalize(&path).unwrap_or_else(|e| panic!("HEAPWRIGHT_TEST_LIBRARY={}: {e}", path.display()))
        }
        None => build_library(),
    });
    &LIBRARY
}

fn build_library() -> PathBuf {
    let target = tmp().join("preload");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("preload").current_dir(env!("CARGO_MANIFEST_DIR"));
    // The tests may run under other flags (`--cfg loom`, coverage, another target); the library must not.
    for (key, _) in env::vars_os() {
        let key = key.to_string_lossy();
        let foreign = key == "CARGO_BUILD_TARGET"
            || key == "LD_PRELOAD"
            || key.ends_with("RUSTFLAGS")
            || key.starts_with("CARGO_PROFILE_")
            || key.starts_with("CARGO_TARGET_");
        if foreign {
            cargo.env_remove(&*key);
        }
    }
    cargo.env("CARGO_TARGET_DIR", &target);
    let built = cargo.output().expect("cargo starts");
    assert!(built.status.success(), "cargo preload failed:\n{}", String::from_utf8_lossy(&built.stderr));
    let library = target.join("release/libheapwright.so");
    assert!(library.is_file(), "cargo preload left no {}", library.display());
    library
}

/// Compiles `tests/c/NAME.c` and returns the program, compiled once per test process.
pub(crate) fn compile(source: &str) -> PathBuf {
    static COMPILED: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = compiled.get_or_insert_default();
    if let Some(program) = compiled.get(source) {
        return program.clone();
    }
    let folder = tmp().join("c");
    fs::create_dir_all(&folder).expect("a folder for C programs");
    let program = folder.join(source.trim_end_matches(".c"));
    // Another test binary may be running this very program: compile aside, then rename over it.
    let fresh = program.with_extension(process::id().to_string());
    let cc = Command::new("cc")
        .args(["-O1", "-g", "-Wall", "-fno-builtin", "-pthread", "-o"])
        .arg(&fresh)
        .arg(source_folder().join("c").join(source))
        .arg("-ldl")
        .env_remove("LD_PRELOAD")
        .output()
        .expect("a C compiler named cc");
    let said = String::from_utf8_lossy(&cc.stderr);
    assert!(cc.status.success() && said.is_empty(), "cc {source}:\n{said}");
    fs::rename(&fresh, &program).expect("rename a compiled program");
    compiled.insert(source.to_owned(), program.clone());
    program
}

/// The folder of the test sources: `c/` and `programs/` lie in it.
pub(crate) fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Finds a program that the machine may or may not have. `None`: the test passes without it, after naming it.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| fs::metadata(candidate).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0));
    if found.is_none() {
        missing(name);
    }
    found
}

/// Says that something a test needs is not there: a failure in CI, elsewhere a line that is never captured.
pub(crate) fn missing(what: &str) {
    assert!(env::var_os("CI").is_none(), "{what} is missing here, and CI tests everything");
    note(what);
}

/// Says that something is not there that not every machine can have, CI's included.
pub(crate) fn note(what: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Unlike print!, a direct write is seen even when the test passes.
    let _ = writeln!(std::io::stderr(), "note: {what} is missing here, so {test} tests nothing");
}

/// An empty folder for one test, removed when the test passes.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = tmp().join("scratch").join(format!("{}-{count}-{name}", process::id()));
        fs::create_dir_all(&folder).expect("a scratch folder");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// One run of one program: its output goes to files, its time is limited, and it starts without any malloc setting that the
/// environment of the tests may hold.
pub(crate) struct Run {
    command: Command,
    limit: Duration,
    traced: bool,
    scratch: Scratch,
}

impl Run {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let scratch = Scratch::new("run");
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).process_group(0);
        for (key, _) in env::vars_os() {
            let name = key.to_string_lossy();
            let setting = ["MALLOC_", "HEAPWRIGHT_", "LD_DEBUG"].iter().any(|p| name.starts_with(p))
                || ["LD_PRELOAD", "GLIBC_TUNABLES", "LANG", "LANGUAGE"].contains(&&*name)
                || name.starts_with("LC_");
            if setting {
                command.env_remove(&key);
            }
        }
        command.env("LC_ALL", "C");
        Self { command, limit: Duration::from_secs(60), traced: false, scratch }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub(crate) fn stdin(mut self, file: &Path) -> Self {
        self.command.stdin(File::open(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())));
        self
    }

    pub(crate) fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Loads the library under test into this program (and the programs it starts), and into no other.
    pub(crate) fn preloaded(self) -> Self {
        let library = library();
        self.env("LD_PRELOAD", library)
    }

    /// As [`preloaded`](Self::preloaded); the loader also writes down which object serves each symbol.
    pub(crate) fn bindings(mut self) -> Self {
        self.traced = true;
        let trace = self.scratch.join("bindings");
        self.preloaded().env("LD_DEBUG", "bindings").env("LD_DEBUG_OUTPUT", trace)
    }

    /// Runs to the end. A program that takes longer than its limit is killed with all it started, and the test fails.
    pub(crate) fn run(mut self) -> Outcome {
        let (out, err) = (self.scratch.join("stdout"), self.scratch.join("stderr"));
        self.command.stdout(File::create(&out).expect("a file for stdout"));
        self.command.stderr(File::create(&err).expect("a file for stderr"));
        let shown = format!("{:?}", self.command.get_program());
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}"));
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait for a child") {
                break Some(status);
            }
            if started.elapsed() > self.limit {
                // The child leads a process group of its own.
                let _ = Command::new("sh").args(["-c", "kill -9 -\"$0\""]).arg(child.id().to_string()).status();
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        let read = |path: &Path| fs::read(path).expect("read what a program wrote");
        let (stdout, stderr) = (read(&out), read(&err));
        let Some(status) = status else {
            panic!(
                "{shown} did not end within {:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.limit,
                String::from_utf8_lossy(&stdout),
                String::from_utf8_lossy(&stderr)
            );
        };
        let outcome = Outcome { shown, status, stdout, stderr };
        if self.traced {
            outcome.assert_served_by_the_library(self.scratch.path());
        }
        outcome
    }
}

/// How a program ended, and what it wrote.
pub(crate) struct Outcome {
    shown: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Outcome {
    /// The program ended with status 0, and said nothing on stderr.
    pub(crate) fn expect_success(self) -> Self {
        let quiet = self.status.success() && self.stderr.is_empty();
        assert!(quiet, "{} ended badly\n{}", self.shown, self.report());
        self
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.stdout).expect("the program writes UTF-8")
    }

    pub(crate) fn stderr_text(&self) -> &str {
        str::from_utf8(&self.stderr).expect("the program writes UTF-8")
    }

    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Status, stdout and stderr for a failing test; long output is cut.
    pub(crate) fn report(&self) -> String {
        let cut = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
        format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.status, cut(&self.stdout), cut(&self.stderr))
    }

    /// Byte for byte what `other` gave.
    pub(crate) fn assert_same(&self, other: &Self) {
        let same = self.status == other.status && self.stdout == other.stdout && self.stderr == other.stderr;
        assert!(
            same,
            "{} differs\n=== without the library: {}\n=== with it: {}",
            self.shown,
            other.report(),
            self.report()
        );
    }

    /// Reads the loader's notes, one file per process: whoever binds an entry point of malloc is served by the library.
    fn assert_served_by_the_library(&self, folder: &Path) {
        let ours = library().to_str().expect("a UTF-8 path");
        let mut served = 0;
        for entry in fs::read_dir(folder).expect("the loader's notes") {
            let entry = entry.expect("the loader's notes");
            if !entry.file_name().to_string_lossy().starts_with("bindings.") {
                continue;
            }
            let notes = fs::read(entry.path()).expect("the loader's notes");
            let notes = String::from_utf8_lossy(&notes);
            let bindings: Vec<Binding> = notes.lines().filter_map(Binding::read).collect();
            // A program linked to a fixed address hands out the address of its own jump to a function as that of the function,
            // and others then bind the jump. It is as good as the function when the program itself binds ours.
            let (to_us, to_others): (Vec<_>, Vec<_>) = bindings.iter().partition(|b| b.server == ours);
            for other in to_others {
                let a_jump_to_us = to_us.iter().any(|b| b.client == other.server);
                assert!(a_jump_to_us, "{}: not our malloc: {other:?}", self.shown);
            }
            served += to_us.len();
        }
        assert!(served > 0, "{}: no process of it binds malloc or free\n{}", self.shown, self.report());
    }
}

/// One note of the loader: `client` uses an entry point of malloc, and `server` is where it was found.
#[derive(Debug)]
struct Binding<'a> {
    client: &'a str,
    server: &'a str,
    #[expect(dead_code, reason = "shown when a test fails")]
    symbol: &'a str,
}

impl<'a> Binding<'a> {
    /// `4242: binding file /usr/bin/sort [0] to /lib/libc.so.6 [0]: normal symbol `free' [GLIBC_2.2.5]`
    fn read(line: &'a str) -> Option<Self> {
        let (objects, symbol) = line.split_once(": normal symbol `")?;
        let symbol = symbol.split('\'').next()?;
        let (client, server) = objects.split_once("binding file ")?.1.split_once(" to ")?;
        let without_namespace = |object: &'a str| object.rsplit_once(" [").map_or(object, |(path, _)| path);
        let (client, server) = (without_namespace(client), without_namespace(server));
        ENTRY_POINTS.contains(&symbol).then_some(Self { client, server, symbol })
    }
}

/// The folder cargo sets aside for integration tests.
fn tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// `KEY=value`, as a tracer takes a setting for the program it starts.
pub(crate) fn setting(key: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut setting = OsString::from(key);
    setting.push("=");
    setting.push(value);
    setting
}
