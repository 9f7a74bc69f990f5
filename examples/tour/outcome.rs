//! What a run of the work reports: how far it is, and at the end what it found and what it used.
//!
//! One line each, from the child that works to the guide:
//!
//! ```text
//!   percent 42
//!   done 1503211 2790112 104512 38216 2432 81230 11400714819323198485
//! ```
//!
//! # Safety
//!
//! A clock is read.
#![allow(unsafe_code)]

use std::fs;
use std::time::Duration;

/// A line of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Report {
    Percent(usize),
    Done(Outcome),
}

/// The end of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) wall: Duration,
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    /// Resident memory: the most there was, after everything was dropped, and after a trim by hand.
    pub(crate) peak_kib: u64,
    pub(crate) after_kib: u64,
    pub(crate) trimmed_kib: u64,
    pub(crate) answer: Answer,
}

/// What was found: the same on any allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) hits: u64,
    digest: u64,
}

impl Answer {
    /// Adds what a query has found.
    pub(crate) fn add(&mut self, found: &[String]) {
        for line in found {
            self.hits += 1;
            for byte in line.bytes() {
                self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
            }
        }
    }
}

impl Report {
    pub(crate) fn to_line(self) -> String {
        match self {
            Self::Percent(percent) => format!("percent {percent}"),
            Self::Done(Outcome { wall, cpu, peak_kib, after_kib, trimmed_kib, answer: Answer { hits, digest } }) => {
                let (wall, cpu) = (wall.as_micros(), cpu.as_micros());
                format!("done {wall} {cpu} {peak_kib} {after_kib} {trimmed_kib} {hits} {digest}")
            }
        }
    }

    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        match (kind, &numbers[..]) {
            ("percent", &[percent]) => Some(Self::Percent(percent as usize)),
            ("done", &[wall, cpu, peak_kib, after_kib, trimmed_kib, hits, digest]) => {
                let (wall, cpu) = (Duration::from_micros(wall), Duration::from_micros(cpu));
                let answer = Answer { hits, digest };
                Some(Self::Done(Outcome { wall, cpu, peak_kib, after_kib, trimmed_kib, answer }))
            }
            _ => None,
        }
    }
}

/// User and system time of all threads of this process, so far.
pub(crate) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A size in KiB from /proc/self/status: `VmHWM` is the most resident memory there was, `VmRSS` what there is.
pub(crate) fn resident_kib(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}
