//! Threads, forks and signals in numbers, what the system counts, and the way to an abort.
//!
//! Each test runs one mode of `tests/c/lives.c` with the library. Numbers are those that a test can spend seconds on;
//! `HEAPWRIGHT_TEST_LONG=1` makes them ten times as large.

mod harness;

use harness::{Outcome, Run, compile, library};
use std::env;

const SIGABRT: i32 = 6;

fn run(mode: &str, number: usize) -> Run {
    let factor = if env::var_os("HEAPWRIGHT_TEST_LONG").is_some() { 10 } else { 1 };
    Run::new(compile("lives.c")).args([mode, &(number * factor).to_string()]).preloaded().limit(120 * factor as u64)
}

fn lives_through(mode: &str, number: usize) {
    assert_eq!(run(mode, number).run().expect_success().text(), "done\n", "{mode}");
}

// ---- threads

#[test]
fn ten_thousand_short_threads_grow_by_a_mebibyte_at_most() {
    lives_through("many-short-threads", 10_000);
}

/// Under glibc's own malloc they take none either: each left a page behind, and made the next slower.
#[test]
fn four_thousand_detached_threads_that_do_nothing_leave_nothing() {
    lives_through("idle-detached-threads", 4_000);
}

#[test]
fn the_first_short_blocks_of_threads_share_no_cache_line() {
    lives_through("short-blocks-apart", 0);
}

#[test]
fn destructors_that_allocate_leave_nothing_in_four_thousand_threads() {
    lives_through("many-destructors", 4_000);
}

#[test]
fn threads_may_be_cancelled() {
    lives_through("cancellation", 200);
}

#[test]
fn the_least_stack_is_enough() {
    for kibibytes in ["16", "24"] {
        Run::new(compile("lives.c")).args(["small-stack", kibibytes]).preloaded().run().expect_success();
    }
}

/// 8 KiB, most of it for a file of the system's that was read as a whole.
#[test]
fn a_request_takes_six_kibibytes_of_stack_at_most() {
    lives_through("stack-of-requests", 0);
}

// ---- forks

#[test]
fn several_threads_fork_at_once_and_their_children_fork_again() {
    lives_through("concurrent-forks", 10);
}

#[test]
fn fork_handlers_from_before_every_constructor_allocate() {
    lives_through("handlers-in-preinit", 15);
}

/// They were installed before the allocator's, at whose first request those were, and so waited with its locks held.
#[test]
fn fork_handlers_from_before_all_requests_may_wait_for_a_thread_that_allocates() {
    lives_through("handlers-before-all-requests", 500);
}

/// As with glibc's own malloc before 2.24: <https://sourceware.org/bugzilla/show_bug.cgi?id=19431>.
#[test]
fn a_fork_among_threads_that_read_and_flush_streams_comes_back() {
    lives_through("forks-among-streams", 300);
}

#[test]
fn vfork_posix_spawn_and_system_work_among_busy_threads() {
    lives_through("vforks", 20);
}

/// A copy made by clone(2) or fork(2) itself, without the handlers of a fork, while four threads allocate: in 5 of 100 some
/// lock was held at that moment, and so for ever in the copy, which then hung.
#[test]
fn copies_that_no_handler_was_told_of_allocate_and_free() {
    lives_through("raw-clones", 300);
}

/// The same while others fork properly: all locks may be held for a fork then.
#[test]
fn copies_that_no_handler_was_told_of_may_be_made_during_a_fork() {
    lives_through("raw-clones-among-forks", 40);
}

#[test]
fn a_child_that_shares_the_memory_is_no_copy() {
    lives_through("shared-memory", 200);
}

// ---- signals

#[test]
fn a_storm_of_signals_changes_nothing() {
    lives_through("signal-storm", 1);
}

#[test]
fn handlers_may_run_on_a_stack_that_is_a_block() {
    lives_through("sigaltstacks", 0);
}

// ---- memory, and objects

#[test]
fn eighty_thousand_blocks_above_the_threshold_are_served() {
    lives_through("many-mappings", 0);
}

#[test]
fn the_commit_charge_falls_when_heaps_shrink() {
    lives_through("commit-charge", 0);
}

#[test]
fn the_library_and_others_are_loaded_and_unloaded_while_threads_allocate() {
    let outcome = run("plugins", 50).env("LIVES_LIBRARY", library()).run().expect_success();
    assert_eq!(outcome.text(), "done\n");
}

// ---- the way to an abort

fn aborts(mode: &str) -> Outcome {
    let outcome = run(mode, 0).run();
    assert_eq!(outcome.signal(), Some(SIGABRT), "{mode}: {}", outcome.report());
    assert!(outcome.stdout.is_empty(), "{mode}: {}", outcome.report());
    outcome
}

#[test]
fn an_abort_says_one_line_wherever_it_happens() {
    let modes = [
        "abort-in-handler",
        "abort-on-small-stack",
        "abort-cannot-be-caught",
        "abort-among-threads",
        "abort-under-lock",
    ];
    for mode in modes {
        let outcome = aborts(mode);
        let said = outcome.stderr_text();
        assert!(said.starts_with("heapwright: ") && said.lines().count() == 1, "{mode}: {}", outcome.report());
    }
}

#[test]
fn an_abort_without_a_stderr_is_still_an_abort() {
    assert!(aborts("abort-without-stderr").stderr.is_empty());
}

/// Nothing but one write, the signals, and what finds out whom to send them to.
#[test]
fn an_abort_makes_one_write_and_no_call_for_memory() {
    let Some(strace) = harness::program("strace") else { return };
    let trace = Run::new(&strace)
        .args(["-qq", "-o", "/dev/stdout", "-E"])
        .args([harness::setting("LD_PRELOAD", library())])
        .args([compile("lives.c")])
        .args(["abort-in-handler"])
        .run();
    let calls: Vec<&str> = trace.text().lines().collect();
    let write = calls.iter().position(|call| call.starts_with("write(2, \"heapwright: ")).expect("a sentence");
    let after: Vec<&str> = calls[write..].iter().map(|call| call.split('(').next().unwrap_or(call)).collect();
    let allowed = ["write", "rt_sigprocmask", "rt_sigaction", "getpid", "gettid", "tgkill"];
    let signals = |call: &str| call.starts_with("---") || call.starts_with("+++");
    assert!(after.iter().all(|call| allowed.contains(call) || signals(call)), "{after:?}");
    assert_eq!(after.iter().filter(|call| **call == "write").count(), 1, "{after:?}");
}
