//! Faults: the n-th system call of a kind is refused, for n after n.
//!
//! `tests/c/faults.c` asks for memory in every way there is, in four threads, and runs under strace, which answers one call with
//! ENOMEM. The program must come to its end: no crash, no byte of any block lost, and all it asks for afterwards is given.
//! A dozen n of each kind by default; `HEAPWRIGHT_TEST_EVERY_CALL=1` tries every n from 1 to 200, which takes minutes.
//!
//! What the unit tests do to the fake system (`src/model.rs`) is done to the real one here.

mod harness;

use harness::{Run, compile, library, program, setting};
use std::env;

/// Which calls of a kind are refused, one a run.
fn numbers() -> Vec<usize> {
    match env::var_os("HEAPWRIGHT_TEST_EVERY_CALL") {
        Some(_) => (1..=200).collect(),
        None => vec![1, 2, 3, 4, 5, 7, 10, 14, 19, 27, 38, 54, 75, 130],
    }
}

fn lives_through_a_refusal_of(call: &str) {
    let Some(strace) = program("strace") else { return };
    let faults = compile("faults.c");
    let trace = format!("trace={call}");
    let traced = |expression: &str, output: &str| {
        Run::new(&strace)
            .args(["-f", "-qq", "-o", output, "-e", &trace, "-e", expression, "-E"])
            .args([setting("LD_PRELOAD", library())])
            .args([&faults])
    };
    // The first calls are the loader's, which gives up without memory.
    let before = traced("signal=none", "/dev/stdout").args(["nothing"]).run().expect_success().text().lines().count();
    for number in numbers() {
        let run = traced(&format!("inject={call}:error=ENOMEM:when={}", before + number), "/dev/null").run();
        let is_done = run.status.success() && run.text() == "done\n";
        assert!(is_done, "{call} number {number} refused: {}", run.report());
    }
}

#[test]
fn lives_through_the_refusal_of_any_mmap() {
    lives_through_a_refusal_of("mmap");
}

#[test]
fn lives_through_the_refusal_of_any_munmap() {
    lives_through_a_refusal_of("munmap");
}

#[test]
fn lives_through_the_refusal_of_any_mprotect() {
    lives_through_a_refusal_of("mprotect");
}

#[test]
fn lives_through_the_refusal_of_any_madvise() {
    lives_through_a_refusal_of("madvise");
}

#[test]
fn lives_through_the_refusal_of_any_mremap() {
    lives_through_a_refusal_of("mremap");
}

/// strace answers brk(2) with an error number, as a seccomp filter would and the kernel never does: the C library takes it for an
/// address, and its sbrk reports success.
#[test]
fn lives_through_the_refusal_of_any_brk() {
    lives_through_a_refusal_of("brk");
}

#[test]
fn works_without_random_bits() {
    let Some(strace) = program("strace") else { return };
    Run::new(&strace)
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=getrandom", "-e", "inject=getrandom:error=ENOSYS", "-E"])
        .args([setting("LD_PRELOAD", library())])
        .args([compile("faults.c")])
        .run()
        .expect_success();
}
