//! Memory that goes back by itself, seen from outside: what a process keeps resident after it has freed nearly everything.
//!
//! The programs of `tests/c/returns.c` leave a few blocks in use that pin every heap and every region, and then make one
//! small request, one every tenth of a second, or none at all.

mod harness;

use harness::{Outcome, Run, compile};

/// KiB above the start, right after the free and later.
fn kept(outcome: &Outcome) -> (u64, u64) {
    let text = outcome.text();
    let number = |name: &str| {
        let from = text.find(name).expect("the program says it") + name.len();
        text[from..].split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    };
    (number("freed"), number("later"))
}

fn returns(args: &[&str], env: &[(&str, &str)]) -> (u64, u64) {
    let run = Run::new(compile("returns.c")).args(args);
    let run = env.iter().fold(run, |run, (key, value)| run.env(key, value));
    kept(&run.preloaded().run().expect_success())
}

#[test]
fn pinned_heaps_are_given_back_a_second_and_one_small_request_later() {
    let (freed, later) = returns(&["pins", "1", "0"], &[]);
    assert!(freed > 50 << 10, "{freed} KiB: the pins keep whole heaps at first");
    assert!(later < 1 << 10, "{later} KiB are left");
}

#[test]
fn memory_between_few_blocks_goes_back_under_light_traffic() {
    // 160,000 vectors of 32 to 991 bytes, all but 16 dropped: some 80 MB.
    let (_, later) = returns(&["vectors", "3", "100"], &[("VECTORS", "20000")]);
    assert!(later < 6 << 10, "{later} KiB are left");
}

#[test]
fn purging_can_be_switched_off() {
    let (freed, later) = returns(&["pins", "1", "0"], &[("HEAPWRIGHT_DIRTY_DECAY_MS", "-1")]);
    assert!(later + 4096 > freed, "{freed} KiB stay, not {later}");
}

#[test]
fn a_silent_process_keeps_its_memory_unless_it_has_a_background_thread() {
    let (freed, later) = returns(&["pins", "2", "-1"], &[]);
    assert!(later + 4096 > freed, "nobody looked at the clock: {freed}, then {later} KiB");
    let (_, later) = returns(&["pins", "2", "-1"], &[("HEAPWRIGHT_BACKGROUND_THREAD", "1")]);
    assert!(later < 1 << 10, "{later} KiB are left");
}

/// The background thread was the last one, and the process went on for ever, all signals blocked.
#[test]
fn a_process_whose_main_thread_has_ended_ends_with_the_last_of_its_other_threads() {
    for milliseconds in ["0", "300"] {
        let run = Run::new(compile("returns.c")).args(["leave", milliseconds]).env("HEAPWRIGHT_BACKGROUND_THREAD", "1");
        assert_eq!(run.preloaded().run().expect_success().text(), "exit\n", "{milliseconds} ms");
    }
}
