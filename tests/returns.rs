//! Memory that goes back by itself, seen from outside: what a process keeps resident after it has freed nearly everything.
//!
//! The programs of `tests/c/returns.c` leave a few blocks in use that pin every heap and every region, and then make one
//! small request, one every tenth of a second, or none at all.

mod harness;

use std::path::Path;

use harness::{Outcome, Run, Scratch, compile, note, program};

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

/// Forty threads have cached up to a MiB each, and sleep: nobody but others can give that back.
#[test]
fn what_sleeping_threads_have_cached_goes_back() {
    for background in ["0", "1"] {
        let requests = if background == "0" { "50" } else { "-1" };
        let (freed, later) = returns(&["pool", "2", requests], &[("HEAPWRIGHT_BACKGROUND_THREAD", background)]);
        assert!(freed > 12 << 10, "{freed} KiB: caches hold back much at first");
        assert!(later < 4 << 10, "{later} KiB are left");
    }
}

/// Where the system makes huge pages by itself, it put one in place of 2 MiB in which a single page was left, until a chunk server
/// that had given 95 % back was as large as before.
#[test]
fn what_is_given_back_between_blocks_does_not_come_again_as_huge_pages() {
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return note("a kernel with transparent huge pages");
    }
    let run = |mode| {
        let run = Run::new(compile("returns.c")).args(["small-pages"]).env("HEAPWRIGHT_HUGETLB", mode);
        run.preloaded().run().expect_success().text().to_owned()
    };
    assert_eq!(run("0"), "round 0: 400 400\nround 1: 0 0\nend: 0 0\n");
    assert_eq!(run("1"), "round 0: 400 400\nround 1: 400 400\nend: 400 400\n");
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

/// The pressure is a file of the test's, mounted over the kernel's where the program sees it: the machine's.
#[test]
fn all_that_lies_unused_goes_back_when_tasks_wait_for_memory() {
    pressure_is_felt_through(r#"mount --bind "$0" /proc/pressure/memory && exec "$@""#);
}

/// The control group's; that of the machine stays as it is.
#[test]
fn all_that_lies_unused_goes_back_when_tasks_of_the_control_group_wait_for_memory() {
    pressure_is_felt_through(
        r#"mount -t tmpfs none /sys/fs/cgroup && group=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup) &&
        mkdir -p "$group" && touch "$group/memory.pressure" && mount --bind "$0" "$group/memory.pressure" && exec "$@""#,
    );
}

fn pressure_is_felt_through(mount: &str) {
    let Some(unshare) = program("unshare") else { return };
    let own_mounts = ["--map-root-user", "--mount", "sh", "-c", mount];
    let scratch = Scratch::new("pressure");
    let file = scratch.join("memory");
    let pressure = |total: u64| {
        let line = format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n");
        std::fs::write(&file, line).expect("a file that can be written");
    };
    pressure(0);
    let run = |args: &[&str]| Run::new(&unshare).args(own_mounts).args([&file]).args(args);
    if !run(&["true"]).run().status.success() {
        return note("the right to mount a file");
    }
    for (waited_us, is_felt) in [(90_000, false), (2_000_000, true)] {
        pressure(0);
        let program = compile("returns.c");
        let program = program.to_str().expect("a path in UTF-8");
        let run = run(&[program, "pins", "5", "-1"])
            .env("HEAPWRIGHT_PRESSURE_MS", "100")
            .env("HEAPWRIGHT_DIRTY_DECAY_MS", "60000")
            .preloaded();
        let (freed, later) = std::thread::scope(|scope| {
            let running = scope.spawn(|| kept(&run.run().expect_success()));
            std::thread::sleep(std::time::Duration::from_millis(2500));
            pressure(waited_us);
            running.join().expect("it ends")
        });
        assert!(freed > 50 << 10, "{freed} KiB: the pins keep whole heaps at first");
        assert_eq!(later < 1 << 10, is_felt, "{later} KiB are left");
    }
}

/// The background thread was the last one, and the process went on for ever, all signals blocked.
#[test]
fn a_process_whose_main_thread_has_ended_ends_with_the_last_of_its_other_threads() {
    for milliseconds in ["0", "300"] {
        let run = Run::new(compile("returns.c")).args(["leave", milliseconds]).env("HEAPWRIGHT_BACKGROUND_THREAD", "1");
        assert_eq!(run.preloaded().run().expect_success().text(), "exit\n", "{milliseconds} ms");
    }
}
