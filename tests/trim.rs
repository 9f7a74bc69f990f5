//! Trims by hand, in a process of their own and one at a time: in a busy one other threads would use again what is about
//! to be given back.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use heapwright::{Budget, Heapwright, Param};

/// Nothing goes back by itself here.
#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new().with(Param::DirtyDecayMs, usize::MAX);

static ALONE: Mutex<()> = Mutex::new(());

const LEN: usize = 60_000;

/// 400 blocks, of which every tenth is kept; the bytes of the others.
fn leave_holes() -> (Vec<Vec<u8>>, usize) {
    let blocks: Vec<Vec<u8>> = (0..400u32).map(|step| vec![step as u8; LEN]).collect();
    let (kept, freed): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block[0] % 10 == 0);
    let free_bytes = freed.len() * LEN;
    drop(freed);
    (kept, free_bytes)
}

fn assert_whole(blocks: &[Vec<u8>]) {
    assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == block[0])));
}

/// Resident bytes; the sum over all mappings is exact.
fn resident() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("the kernel tells");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line for it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
fn a_trim_gives_back_what_is_free_and_keeps_what_is_not() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (kept, free_bytes) = leave_holes();
    let before = resident();
    let returned = heapwright::trim(0);
    assert!(returned > free_bytes * 9 / 10, "{returned} of {free_bytes} bytes went back");
    assert!(before - resident() > free_bytes * 9 / 10, "{} of {free_bytes} are not resident", before - resident());
    let again = heapwright::trim(0);
    assert!(again < 100_000, "{again} bytes went back twice");
    assert_whole(&kept);
}

#[test]
fn a_budget_of_bytes_is_kept_and_what_is_left_goes_the_next_times() {
    const AT_ONCE: usize = 1 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (kept, free_bytes) = leave_holes();
    let (mut steps, mut returned, mut before) = (0, 0, resident());
    loop {
        let trimmed = heapwright::trim_with(Budget::bytes(AT_ONCE));
        assert!(trimmed.bytes <= AT_ONCE);
        let now = resident();
        assert!(before <= now + AT_ONCE + 200_000, "{before} bytes before, {now} after");
        (steps, returned, before) = (steps + 1, returned + trimmed.bytes, now);
        if trimmed.is_done {
            break;
        }
        assert!(steps < 1000, "no end after {returned} bytes");
    }
    assert!(steps >= free_bytes * 9 / 10 / AT_ONCE, "{steps} steps");
    assert!(returned > free_bytes * 9 / 10, "{returned} of {free_bytes} bytes went back");
    assert_whole(&kept);
}

#[test]
fn a_budget_of_time_ends_a_trim_early() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (kept, _) = leave_holes();
    let at_once = heapwright::trim_with(Budget::time(Duration::ZERO));
    assert_eq!((at_once.bytes, at_once.is_done), (0, false));
    assert!(heapwright::trim_with(Budget::time(Duration::from_secs(60))).is_done);
    assert_whole(&kept);
}

#[test]
fn a_running_thread_brings_what_it_has_cached_at_its_next_free() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (tell, hear) = std::sync::mpsc::channel();
    let running = std::thread::spawn(move || {
        drop((0..60).map(|_| vec![1u8; 900]).collect::<Vec<_>>());
        tell.send(()).expect("somebody hears");
        wait.recv().expect("somebody tells");
        drop(std::hint::black_box(vec![1u8; 900]));
        tell.send(()).expect("somebody hears");
        wait.recv().expect("somebody tells");
    });
    hear.recv().expect("it tells");
    // A full magazine of eight, and up to seven blocks more: how many depends on what the class had cached before.
    let cached = heapwright::stats().cached;
    heapwright::trim(0);
    go.send(()).expect("it waits");
    hear.recv().expect("it tells");
    assert!(heapwright::stats().cached + 6 * 900 < cached, "{} of {cached}", heapwright::stats().cached);
    go.send(()).expect("it waits");
    running.join().expect("no panic");
}
