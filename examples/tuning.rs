//! What each parameter does, measured: a small workload for each, run in a process of its own for each value.
//!
//! ```sh
//! cargo run --release --example tuning            # every workload
//! cargo run --release --example tuning top_pad    # those whose name contains the word
//! ```
//!
//! A line tells the setting, the page faults and the CPU time of the workload, how often the break was moved, what the
//! arenas have from the system at the end, and what is resident then. Set the variables yourself to try other values: the
//! workloads run as `tuning run NAME`.

use std::env;
use std::hint::black_box;
use std::process::Command;
use std::thread;
use std::time::Duration;

use heapwright::Heapwright;

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

/// A workload, what it is for, and the settings to compare.
struct Workload {
    name: &'static str,
    does: &'static str,
    run: fn(),
    settings: &'static [&'static str],
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "mmap_threshold",
        does: "2,000 blocks of 200 KiB, one after the other, touched",
        run: || (0..2_000).for_each(|_| drop(touched(200 << 10))),
        settings: &["", "MMAP_THRESHOLD=131072", "MMAP_THRESHOLD=1048576"],
    },
    Workload {
        name: "mmap_max",
        does: "100 blocks of 40 MiB, one after the other, the first page touched",
        run: || {
            (0..100).for_each(|_| {
                let mut block: Vec<u8> = Vec::with_capacity(40 << 20);
                block.push(1);
                black_box(&block);
            });
        },
        settings: &["", "MMAP_MAX=0"],
    },
    Workload {
        name: "trim_threshold",
        does: "200 times 20 blocks of 100 KiB, all freed before the next",
        run: || (0..200).for_each(|_| drop((0..20).map(|_| touched(100 << 10)).collect::<Vec<_>>())),
        settings: &["", "TRIM_THRESHOLD=131072", "TRIM_THRESHOLD=-1"],
    },
    Workload {
        name: "top_pad",
        does: "20,000 blocks of 3,000 bytes, kept",
        run: || std::mem::forget((0..20_000).map(|_| touched(3_000)).collect::<Vec<_>>()),
        settings: &["", "TOP_PAD=0", "TOP_PAD=16777216"],
    },
    Workload {
        name: "arena_max",
        does: "8 threads at once, each with 2,000 blocks of 500 to 5,000 bytes, half of them freed at once",
        run: || {
            let churn = |seed: usize| {
                let blocks: Vec<_> = (0..2_000).map(|step| touched(500 + (step * 7919 + seed) % 4_500)).collect();
                let kept: Vec<_> = blocks.into_iter().step_by(2).collect();
                black_box(kept);
            };
            thread::scope(|scope| (0..8).for_each(|seed| _ = scope.spawn(move || churn(seed))));
        },
        settings: &["", "ARENA_MAX=1", "CORES=64"],
    },
    Workload {
        name: "tcache",
        does: "a million blocks of 40 bytes and as many of 5,000, each freed at once",
        run: || {
            for _ in 0..1_000_000 {
                black_box(Vec::<u8>::with_capacity(40));
                black_box(Vec::<u8>::with_capacity(5_000));
            }
        },
        settings: &["", "TCACHE_MAX=1032", "TCACHE_COUNT=2", "TCACHE_COUNT=0"],
    },
    Workload {
        name: "perturb",
        does: "a million blocks of 1,000 bytes, each freed at once",
        run: || (0..1_000_000).for_each(|_| _ = black_box(Vec::<u8>::with_capacity(1_000))),
        settings: &["", "PERTURB=165"],
    },
    Workload {
        name: "hugetlb",
        does: "128 MiB in blocks of 64 KiB, kept",
        run: || std::mem::forget((0..2_048).map(|_| touched(64 << 10)).collect::<Vec<_>>()),
        settings: &["", "HUGETLB=1"],
    },
    Workload {
        name: "brk",
        does: "20 MiB in blocks of 3,000 bytes, kept",
        run: || std::mem::forget((0..7_000).map(|_| touched(3_000)).collect::<Vec<_>>()),
        settings: &["", "BRK=0"],
    },
    Workload {
        name: "dirty",
        does: "100 MiB in blocks of 5,000 bytes, 9 of 10 freed, then a second with a request each millisecond",
        run: || {
            let blocks: Vec<_> = (0..20_000).map(|_| touched(5_000)).collect();
            let kept: Vec<_> = blocks.into_iter().step_by(10).collect();
            for _ in 0..1_000 {
                black_box(touched(100));
                thread::sleep(Duration::from_millis(1));
            }
            std::mem::forget(kept);
        },
        settings: &["", "DIRTY_DECAY_MS=50", "DIRTY_DECAY_MS=-1"],
    },
];

/// A block with something in each page.
fn touched(len: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(len);
    block.resize(len, 1);
    black_box(block)
}

/// Minor page faults and CPU time so far, in milliseconds.
fn used() -> (i64, i64) {
    // SAFETY: getrusage writes the record, which is plain numbers.
    #[allow(unsafe_code)]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let milliseconds = |time: libc::timeval| time.tv_sec * 1_000 + time.tv_usec / 1_000;
    (usage.ru_minflt, milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime))
}

fn resident_kib() -> String {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or("?");
    line.trim().trim_end_matches(" kB").to_owned()
}

fn run(workload: &Workload) {
    let before = used();
    (workload.run)();
    let after = used();
    let stats = heapwright::stats();
    println!(
        "{:>8} {:>7} {:>7} {:>11} {:>13}",
        after.0 - before.0,
        after.1 - before.1,
        stats.break_moves,
        stats.system >> 10,
        resident_kib()
    );
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let wanted = match &args[..] {
        [command, name] if command == "run" => {
            return WORKLOADS.iter().filter(|workload| workload.name == name).for_each(run);
        }
        [word, ..] => word.as_str(),
        [] => "",
    };
    let myself = env::current_exe().expect("this program");
    for workload in WORKLOADS.iter().filter(|workload| workload.name.contains(wanted)) {
        println!("\n{}: {}", workload.name, workload.does);
        println!("  setting                   faults  CPU ms   moves  system KiB  resident KiB");
        for setting in workload.settings {
            let (name, value) = setting.split_once('=').unwrap_or(("TEST_NOTHING", ""));
            let mut command = Command::new(&myself);
            command.args(["run", workload.name]).env(format!("HEAPWRIGHT_{name}"), value);
            let output = command.output().expect("this program runs");
            let shown = if setting.is_empty() { "(default)" } else { setting };
            print!("  {shown:<24}{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}
