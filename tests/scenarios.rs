//! What an allocator does is seen from outside: which call makes it ask the system, and where its memory lies.
//!
//! `tests/c/walk.c` takes small steps and announces each; strace tells which system calls belong to which step:
//!
//! ```text
//!     malloc 30k     the break moves (once, by far more than 30k)
//!     malloc 20k     nothing: cut from what the break gave
//!     malloc 200k    one mmap: past the threshold, a mapping of its own
//!     free 30k       nothing: a hole below the 20k
//!     malloc 10k     nothing: cut from the hole
//!     free 20k       nothing
//!     free 200k      one munmap, at once
//! ```
//!
//! Then threads: two of them get two areas of 64 MiB, aligned to 64 MiB, open at the front and reserved behind, while the process
//! keeps one `[heap]`; and what a thread frees goes back in few calls and completely.

mod harness;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use harness::{Run, Scratch, compile, library, missing, program, setting};

const HEAP: u64 = 64 << 20;
/// The classic mode, as glibc's own variable asks for it.
const NO_THREAD_CACHE: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

/// A step of the program, and the system calls it made.
#[derive(Debug)]
struct Step {
    name: String,
    calls: Vec<String>,
}

impl Step {
    fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|c| c.starts_with(call) && c[call.len()..].starts_with('(')).count()
    }
}

/// strace, if it is here and may trace.
fn tracer() -> Option<PathBuf> {
    let strace = program("strace")?;
    let works = Run::new(&strace).args(["-qq", "-o", "/dev/null", "true"]).run().status.success();
    if !works {
        missing("the permission to trace a process with strace");
    }
    works.then_some(strace)
}

/// Runs `walk MODE` with the library under strace, and cuts the calls into steps. `None`: no strace here.
fn steps_of(mode: &str, env: &[(&str, &str)]) -> Option<(Vec<Step>, String)> {
    let strace = tracer()?;
    let scratch = Scratch::new(mode);
    let log = scratch.join("log");
    // The tracer itself must not run on the library: it sets the variables for the program alone.
    let mut settings = vec![OsString::from("-E"), setting("LD_PRELOAD", library())];
    for (key, value) in env {
        settings.extend(["-E".into(), setting(key, value)]);
    }
    let outcome = Run::new(strace)
        .args(["-f", "-qq", "-e", "trace=brk,mmap,munmap,mremap,madvise,mprotect,write", "-o"])
        .args([&log])
        .args(settings)
        .args([compile("walk.c").as_os_str(), mode.as_ref()])
        .run();
    assert!(outcome.status.success(), "{}", outcome.report());

    let mut steps: Vec<Step> = Vec::new();
    for line in fs::read_to_string(&log).expect("the log of strace").lines() {
        // `4242  brk(0x555555580000) = 0x555555580000`
        let call = line.split_once(char::is_whitespace).map_or(line, |(_, call)| call.trim_start());
        if let Some((_, rest)) = call.split_once("\"step ") {
            let name = rest.split("\\n").next().unwrap_or_default().to_owned();
            steps.push(Step { name, calls: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            step.calls.push(call.to_owned());
        }
    }
    let end = steps.pop().expect("the program announces its steps");
    assert_eq!(end.name, "end", "{steps:?}");
    Some((steps, outcome.text().to_owned()))
}

fn step<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    steps.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no step {name:?} in {steps:?}"))
}

fn assert_the_steps_of_one_thread(steps: &[Step]) {
    let first = step(steps, "malloc 30k");
    let breaks: BTreeSet<&str> =
        first.calls.iter().filter(|c| c.starts_with("brk(")).filter_map(|c| c.rsplit(" = ").next()).collect();
    assert!(breaks.len() >= 2, "the break does not move: {first:?}");

    let big = step(steps, "malloc 200k");
    assert_eq!((big.count("mmap"), big.calls.len()), (1, 1), "{big:?}");

    for name in ["malloc 20k", "free 30k", "malloc 10k", "free 20k"] {
        let quiet = step(steps, name);
        assert!(quiet.calls.is_empty(), "{quiet:?}");
    }

    let unmapped = step(steps, "free 200k");
    assert_eq!((unmapped.count("munmap"), unmapped.calls.len()), (1, 1), "{unmapped:?}");
}

#[test]
fn one_thread_asks_the_system_only_when_it_must() {
    let Some((steps, _)) = steps_of("steps", &[]) else {
        return;
    };
    assert_the_steps_of_one_thread(&steps);
}

#[test]
fn without_a_thread_cache_a_hole_serves_the_next_request() {
    let Some((steps, said)) = steps_of("steps", &[NO_THREAD_CACHE]) else {
        return;
    };
    assert_the_steps_of_one_thread(&steps);
    assert!(said.contains("10k at +0 from the 30k"), "{said}");
}

#[test]
fn a_thread_gives_its_top_back_in_two_calls_at_most() {
    for env in [&[][..], &[NO_THREAD_CACHE]] {
        let Some((steps, _)) = steps_of("thread", env) else {
            return;
        };
        let freed = step(&steps, "free 3 x 100k");
        assert!((1..=2).contains(&freed.calls.len()), "{freed:?}");
    }
}

/// One line of /proc/self/maps.
#[derive(Debug)]
struct Mapping<'a> {
    range: Range<u64>,
    permissions: &'a str,
    name: &'a str,
}

impl<'a> Mapping<'a> {
    /// `7f6c84000000-7f6c84021000 rw-p 00000000 00:00 0    [heap]`
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |s| u64::from_str_radix(s, 16).ok();
        Some(Self { range: hex(start)?..hex(end)?, permissions: words.next()?, name: words.nth(3).unwrap_or_default() })
    }

    fn is(&self, permissions: &str) -> bool {
        self.name.is_empty() && self.permissions == permissions
    }
}

/// The bytes of `area` from its start that are mapped so, without a gap.
fn leading(maps: &[Mapping], area: Range<u64>, permissions: &str) -> u64 {
    let mut at = area.start;
    while let Some(m) = maps.iter().find(|m| m.is(permissions) && m.range.contains(&at) && at < area.end) {
        at = m.range.end.min(area.end);
    }
    at - area.start
}

#[test]
fn two_threads_have_an_aligned_heap_each_and_the_process_one_break() {
    let outcome =
        Run::new(compile("walk.c")).args(["three"]).preloaded().env("HEAPWRIGHT_CORES", "2").run().expect_success();
    let text = outcome.text();
    let blocks: Vec<u64> =
        text.lines().filter_map(|line| u64::from_str_radix(line.strip_prefix("block 0x")?, 16).ok()).collect();
    let maps: Vec<Mapping> = text.lines().filter_map(Mapping::read).collect();
    let [main, threads @ ..] = &blocks[..] else { panic!("{text}") };

    let breaks: Vec<_> = maps.iter().filter(|m| m.name == "[heap]").collect();
    assert_eq!(breaks.len(), 1, "{text}");
    assert!(breaks[0].range.contains(main), "main's block is not on the break\n{text}");

    let areas: BTreeSet<u64> = threads.iter().map(|block| block / HEAP * HEAP).collect();
    assert_eq!((threads.len(), areas.len()), (2, 2), "{text}");
    for &start in &areas {
        let open = leading(&maps, start..start + HEAP, "rw-p");
        let reserved = leading(&maps, start + open..start + HEAP, "---p");
        assert!(open >= 400 << 10, "{start:x}: {} KiB open\n{text}", open >> 10);
        assert_eq!(open + reserved, HEAP, "{start:x}: {} KiB and {} KiB\n{text}", open >> 10, reserved >> 10);
    }

    // And no third one: an open front and a reserved rest that end at a multiple of 64 MiB.
    let others = maps.iter().filter(|m| m.is("---p")).map(|m| m.range.start / HEAP * HEAP).filter(|&start| {
        let open = leading(&maps, start..start + HEAP, "rw-p");
        open > 0 && open + leading(&maps, start + open..start + HEAP, "---p") == HEAP
    });
    assert_eq!(others.collect::<BTreeSet<u64>>(), areas, "{text}");
}

#[test]
fn what_a_thread_frees_leaves_no_resident_memory() {
    let outcome = Run::new(compile("walk.c")).args(["resident"]).preloaded().run().expect_success();
    let left: u64 = outcome.text().trim().trim_end_matches(" KiB left").parse().expect("a number of KiB");
    assert!(left < 1024, "{left} KiB left of 3000 x 60 KiB");
}
