//! Three threads, three arenas: the main one on the break, and one in an aligned area for each of two workers.
//!
//! ```text
//!   the break                       a multiple of 64 MiB                          the next one
//!     | [heap], grown as needed |     | rw-p, open   | ---p, reserved ............. |
//!       the main thread's arena         a worker's arena: 65536 KiB in all
//! ```
//!
//! An area costs addresses, not memory: only its front is open, and of that only what was written to is resident. That
//! it begins at a multiple of its length is how a block's heap is found from the block's address.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Barrier;
use std::{io, thread};

use crate::maps::{self, Mapping};
use crate::screen::{Ink, Screen, k};

/// The length of an area, and what its start is a multiple of.
const AREA: usize = 64 << 20;
const WORKERS: usize = 2;
/// What each thread allocates.
const BLOCKS: usize = 100;
const BLOCK: usize = 4 << 10;

/// The child's part: has the threads, and shows their arenas while they live.
pub(crate) fn show(screen: &Screen) -> ExitCode {
    match look(screen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tour: /proc/self/maps: {error}");
            ExitCode::FAILURE
        }
    }
}

fn look(screen: &Screen) -> io::Result<bool> {
    screen.title("2. Three threads and their arenas");
    screen.line(&format!(
        "Main and two workers have {BLOCKS} blocks of {} each. Their lines of /proc/self/maps:",
        k(BLOCK)
    ));
    screen.line("");
    let here = Barrier::new(WORKERS + 1);
    let seen = Barrier::new(WORKERS + 1);
    let allocate = || (0..BLOCKS).map(|_| vec![1u8; BLOCK]).collect::<Vec<_>>();
    let main = allocate();
    thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel();
        // One after the other: a thread whose arena is held at that moment takes a block from another.
        let workers: Vec<Vec<usize>> = (0..WORKERS)
            .map(|_| {
                let (sender, here, seen) = (sender.clone(), &here, &seen);
                scope.spawn(move || {
                    let blocks = allocate();
                    // The receiver lives as long as this scope.
                    let _ = sender.send(addresses(&blocks));
                    here.wait();
                    seen.wait();
                });
                receiver.recv().expect("the sender above lives")
            })
            .collect();
        here.wait();
        let stats = heapwright::stats();
        let result = maps::read().map(|maps| report(screen, &maps, &addresses(&main), &workers, &stats));
        seen.wait();
        result
    })
}

fn addresses(blocks: &[Vec<u8>]) -> Vec<usize> {
    blocks.iter().map(|block| block.as_ptr().addr()).collect()
}

fn report(
    screen: &Screen,
    maps: &[Mapping],
    main: &[usize],
    workers: &[Vec<usize>],
    stats: &heapwright::Stats,
) -> bool {
    let row = |label: &str, mapping: &Mapping| {
        screen.line(&format!("  {label:<9} {:<56} {:>6} KiB", mapping.line, mapping.kib()));
    };
    let heaps: Vec<&Mapping> = maps.iter().filter(|mapping| mapping.name == "[heap]").collect();
    for heap in &heaps {
        row("main", heap);
    }
    let areas: Vec<Area> = workers.iter().map(|blocks| Area::around(maps, blocks)).collect();
    for (area, worker) in areas.iter().zip(1..) {
        let mut label = format!("worker {worker}");
        for mapping in &area.mappings {
            row(&label, mapping);
            label.clear();
        }
        screen.line(&screen.paint(Ink::Faint, &format!("  {:<9} {:<56} {:>6} KiB", "", "in all", area.kib())));
    }
    screen.line("");

    let mut all_passed = screen.check(heaps.len() == 1, "there is one [heap]");
    let is_on_break = heaps.iter().any(|heap| main.iter().all(|block| heap.range.contains(block)));
    all_passed &= screen.check(is_on_break, &format!("and main's {BLOCKS} blocks lie in it"));
    let starts: BTreeSet<usize> = areas.iter().map(|area| area.start).collect();
    all_passed &= screen.check(starts.len() == WORKERS, "each worker has an area of its own");
    for (area, worker) in areas.iter().zip(1..) {
        let text = format!("worker {worker}'s {BLOCKS} blocks lie in an area at a multiple of 64 MiB");
        all_passed &= screen.check(area.holds_all_blocks && area.begins_with_a_mapping(), &text);
        let (open, reserved) = (area.kib_of("rw-p"), area.kib_of("---p"));
        let text = format!("its open {open} KiB and reserved {reserved} KiB make {} KiB", open + reserved);
        all_passed &= screen.check(open > 0 && (open + reserved) << 10 == AREA && area.kib() << 10 == AREA, &text);
    }
    let text = format!("heapwright::stats() counts {} arenas and {} heaps", stats.arenas, stats.heaps);
    all_passed & screen.check((stats.arenas, stats.heaps) == (WORKERS + 1, WORKERS), &text)
}

/// The aligned area that a worker's blocks lie in.
#[derive(Debug)]
struct Area<'a> {
    start: usize,
    mappings: Vec<&'a Mapping>,
    holds_all_blocks: bool,
}

impl<'a> Area<'a> {
    fn around(maps: &'a [Mapping], blocks: &[usize]) -> Self {
        let start = blocks.first().map_or(0, |block| block - block % AREA);
        let area = start..start + AREA;
        let is_part = |mapping: &&Mapping| area.contains(&mapping.range.start) && mapping.name.is_empty();
        let mappings: Vec<&Mapping> = maps.iter().filter(is_part).collect();
        let is_inside =
            |block| mappings.iter().any(|mapping| mapping.permissions == "rw-p" && mapping.range.contains(block));
        let holds_all_blocks = blocks.iter().all(is_inside);
        Self { start, mappings, holds_all_blocks }
    }

    fn begins_with_a_mapping(&self) -> bool {
        self.mappings.first().is_some_and(|mapping| mapping.range.start == self.start)
    }

    /// KiB of these mappings that lie in the area.
    fn kib_where(&self, is_meant: impl Fn(&Mapping) -> bool) -> usize {
        let inside = |mapping: &Mapping| mapping.range.end.min(self.start + AREA) - mapping.range.start;
        self.mappings.iter().filter(|mapping| is_meant(mapping)).map(|mapping| inside(mapping) >> 10).sum()
    }

    fn kib(&self) -> usize {
        self.kib_where(|_| true)
    }

    fn kib_of(&self, permissions: &str) -> usize {
        self.kib_where(|mapping| mapping.permissions == permissions)
    }
}
