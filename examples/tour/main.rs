//! A tour of heapwright on real processes: what its requests ask of the system, where its arenas lie, what it costs.
//!
//! ```text
//!   cargo run --release --example tour             all three parts, about ten seconds
//!   cargo run --release --example tour -- walk     only that part (walk, threads, work)
//! ```
//!
//! Each part is shown on a child process, which is this same program started anew, so that what one part leaves in the
//! heap does not show in the next:
//!
//! ```text
//!   tour ──┬── walk      one thread, eight steps, traced: which of them makes a system call?
//!          ├── threads   three threads, three arenas, as /proc/self/maps has them
//!          └── work      a text index, three times on heapwright and three times on the system's malloc, in turn
//! ```
//!
//! What is claimed is checked, and a check that fails makes the exit status 1. On a terminal there are colours and a
//! progress bar; into a pipe, or with `NO_COLOR` set, plain lines.
//!
//! # Safety
//!
//! The one unsafe call here resets a signal before there is a second thread.
#![allow(unsafe_code)]

mod allocator;
mod child;
mod compare;
mod maps;
mod outcome;
mod picture;
mod screen;
mod steps;
mod threads;
mod trace;
mod walk;
mod workload;

use std::process::ExitCode;

use child::Role;
use screen::Screen;

#[global_allocator]
static GLOBAL: allocator::Chosen = allocator::Chosen;

const USAGE: &str = "\
usage: tour [PART]...

The parts, all three when none is named:
  walk      what the requests of one thread ask of the system
  threads   three threads and where their arenas lie
  work      a text index, its time and memory against the system's malloc";

fn main() -> ExitCode {
    // SAFETY: the default instead of what Rust sets, and no handler of ours: `tour | head` ends quietly.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    match Role::of_this_process() {
        Role::Guide => guide(),
        Role::Walk => steps::take_all(),
        Role::Threads => threads::show(&Screen::of_stdout()),
        Role::Work(_) => workload::run_and_report(),
    }
}

/// A part of the tour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Walk,
    Threads,
    Work,
}

impl Part {
    const ALL: [Self; 3] = [Self::Walk, Self::Threads, Self::Work];

    fn of_argument(argument: &str) -> Option<Self> {
        match argument {
            "walk" => Some(Self::Walk),
            "threads" => Some(Self::Threads),
            "work" => Some(Self::Work),
            _ => None,
        }
    }
}

fn guide() -> ExitCode {
    let mut parts = Vec::new();
    for argument in std::env::args_os().skip(1) {
        let argument = argument.to_string_lossy();
        if argument == "--help" || argument == "-h" {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        let Some(part) = Part::of_argument(&argument) else {
            eprintln!("tour: {argument:?} is no part of the tour\n{USAGE}");
            return ExitCode::from(2);
        };
        parts.push(part);
    }
    if parts.is_empty() {
        parts.extend(Part::ALL);
    }

    let screen = Screen::of_stdout();
    for (name, value) in child::settings_left_out() {
        screen.line(&format!("note: {name}={value} is not passed on; the tour shows the defaults"));
    }
    let mut all_passed = true;
    for part in Part::ALL.into_iter().filter(|part| parts.contains(part)) {
        let result = match part {
            Part::Walk => walk::show(&screen),
            Part::Threads => child::show_threads(),
            Part::Work => compare::show(&screen),
        };
        match result {
            Ok(passed) => all_passed &= passed,
            Err(error) => {
                eprintln!("tour: {error}");
                return ExitCode::FAILURE;
            }
        }
        screen.line("");
    }
    screen.check(all_passed, if all_passed { "Every check passed." } else { "A check failed; see above." });
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
