//! The soak: valid operations that no check may stop, a heap that is in order all the time, and memory that does not drift.
//!
//! Twice the same mixture of requests in two threads: in C with the preload library, as fast as it goes (`tests/c/soak.c`), and
//! here in Rust, where one of the threads walks the whole heap after each thousand operations of both: every seal, sizes that
//! lead from chunk to chunk, no free neighbours, and sums that are the arena's figures to the byte.
//!
//! What is live goes up and down at random, so two readings of resident memory tell nothing about 1 %. It is read 64 times in
//! each quarter of a run, and what is live at that moment is taken off; here also the dirty pages, which are as many as the
//! purge clock leaves while a machine is busy. The rest, what holding the blocks costs, may grow by less than 1 % of resident
//! memory from the third quarter to the fourth. It still goes up and down slowly, by some 3 % in a quarter of 10^9 operations,
//! so that 1 % is asked of runs from 4 x 10^9 operations on, and 4 % of those from 8 x 10^7.
//!
//! ```sh
//! HEAPWRIGHT_TEST_OPERATIONS=5000000000 cargo test --release --test soak no_valid -- --nocapture
//! HEAPWRIGHT_TEST_OPERATIONS=100000000 cargo test --release --test soak the_heap -- --nocapture
//! ```
//!
//! # Safety
//!
//! A block belongs to whoever took it out of its slot.
#![allow(unsafe_code)]

mod harness;

use harness::{Run, compile};
use heapwright::{Chunk, ChunkState, Heapwright, Visited};
use std::alloc::{GlobalAlloc, Layout};
use std::env;
use std::fs::File;
use std::io::Read;
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};
use std::thread;

#[global_allocator]
static HEAP: Heapwright = Heapwright::new();

/// Operations of both threads, unless the environment says otherwise.
fn operations(default: usize) -> usize {
    let chosen = env::var("HEAPWRIGHT_TEST_OPERATIONS").ok();
    chosen.map_or(default, |text| text.parse().expect("a number of operations"))
}

#[test]
fn no_valid_operation_is_stopped() {
    let count = operations(20_000_000).to_string();
    let outcome = Run::new(compile("soak.c")).args([count]).preloaded().limit(7_200).run().expect_success();
    print!("{}", outcome.text());
    assert!(outcome.text().ends_with("done\n"));
}

const SLOTS: usize = 20_000;
const SHARED: usize = 512;
const QUARTERS: usize = 4;
const READINGS: usize = 64;
/// Operations of one thread between two walks by it.
const BETWEEN_WALKS: usize = 2_000;

/// What a block begins with.
struct Label {
    own: *mut Label,
    layout: Layout,
}

type Slot = *mut Label;

static HANDED_OVER: [AtomicPtr<Label>; SHARED] = [const { AtomicPtr::new(ptr::null_mut()) }; SHARED];
static LIVE: AtomicIsize = AtomicIsize::new(0);

struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize
    }

    fn len(&mut self) -> usize {
        let random = self.next();
        let most = match random {
            _ if random.is_multiple_of(2048) => 200_000,
            _ if random.is_multiple_of(128) => 9_000,
            _ if random.is_multiple_of(16) => 1_200,
            _ => 200,
        };
        size_of::<Label>() + (random >> 16) % most
    }
}

/// One of the two threads, and what it has taken less what it has given back since the last reading.
struct Worker {
    random: Random,
    slots: Vec<Slot>,
    live: isize,
}

impl Worker {
    fn take(&mut self) -> Slot {
        let len = self.random.len();
        let alignment = if self.random.0 % 64 == 1 { 64 } else { 16 };
        let layout = Layout::from_size_align(len, alignment).expect("a layout");
        // SAFETY: the length is not 0.
        let mem =
            unsafe { if self.random.0.is_multiple_of(8) { HEAP.alloc_zeroed(layout) } else { HEAP.alloc(layout) } };
        self.live += len as isize;
        Self::label(mem.cast(), layout)
    }

    fn label(block: Slot, layout: Layout) -> Slot {
        assert!(!block.is_null());
        // SAFETY: a block of ours, which is longer than a label.
        unsafe { block.write(Label { own: block, layout }) };
        block
    }

    fn layout(block: Slot) -> Layout {
        // SAFETY: a block of ours.
        let label = unsafe { &*block };
        assert_eq!(label.own, block);
        label.layout
    }

    fn give(&mut self, block: Slot) {
        if !block.is_null() {
            let layout = Self::layout(block);
            self.live -= layout.size() as isize;
            // SAFETY: a block of ours, of this layout.
            unsafe { HEAP.dealloc(block.cast(), layout) };
        }
    }

    /// Takes one block and gives one back.
    fn round(&mut self) {
        let at = self.random.next() % SLOTS;
        if self.random.0.is_multiple_of(32) {
            let (block, to) = (self.take(), self.random.next() % SHARED);
            let old = HANDED_OVER[to].swap(block, Ordering::AcqRel);
            self.give(old);
        } else if !self.slots[at].is_null() && self.random.0 % 16 == 1 {
            let (old, len) = (Self::layout(self.slots[at]), self.random.len());
            self.live += len as isize - old.size() as isize;
            // SAFETY: a block of ours, of this layout; the new length is not 0.
            let moved = unsafe { HEAP.realloc(self.slots[at].cast(), old, len) };
            self.slots[at] = Self::label(moved.cast(), Layout::from_size_align(len, old.align()).expect("a layout"));
        } else {
            self.give(self.slots[at]);
            self.slots[at] = self.take();
        }
    }
}

/// Walks the heap, and compares what it finds with the figures of the arenas.
fn assert_in_order() {
    let (mut found, mut expected) = ([0; 4], [0; 4]);
    let mut before: Option<Chunk> = None;
    heapwright::walk(|visited| match visited {
        Visited::Arena(arena) => {
            assert_eq!(found, expected, "in use, free, free chunks, top");
            expected = [arena.in_use - arena.overhead, arena.free, arena.free_chunks, arena.top];
            found = [0; 4];
        }
        Visited::Run(_) => before = None,
        Visited::Chunk(chunk) => {
            if let Some(before) = before {
                // Side by side, or with the walls of a region between.
                let gap = chunk.address - before.address - before.size;
                assert!(matches!(gap, 0 | 16 | 32), "a gap of {gap}");
                let is_free = |chunk: Chunk| matches!(chunk.state, ChunkState::Free | ChunkState::Top);
                assert!(gap > 0 || !is_free(before) || !is_free(chunk), "free neighbours");
            }
            before = Some(chunk);
            let (kind, count) = match chunk.state {
                ChunkState::Free => (1, 1),
                ChunkState::Top => (3, 0),
                _ => (0, 0),
            };
            found[kind] += chunk.size;
            found[2] += count;
        }
        _ => {}
    });
    assert_eq!(found, expected, "in use, free, free chunks, top");
}

/// Resident bytes; the sum over all mappings is exact, where the counters of statm lag behind.
fn resident() -> usize {
    let mut text = [0; 4096];
    let len = File::open("/proc/self/smaps_rollup").and_then(|mut file| file.read(&mut text)).expect("a summary");
    let text = std::str::from_utf8(&text[..len]).expect("text");
    let (_, after) = text.split_once("Rss:").expect("a line");
    after.split_whitespace().next().and_then(|number| number.parse::<usize>().ok()).expect("a number") << 10
}

/// Sums over the readings of a quarter.
#[derive(Clone, Copy, Default)]
struct Quarter {
    resident: f64,
    live: f64,
    free: f64,
    dirty: f64,
    cached: f64,
}

impl Quarter {
    fn read(&mut self) {
        let stats = heapwright::stats();
        let share = |bytes: usize| bytes as f64 / 1024.0 / READINGS as f64;
        self.resident += share(resident());
        self.live += share(LIVE.load(Ordering::Relaxed) as usize);
        self.free += share(stats.free + stats.top);
        self.dirty += share(stats.dirty);
        self.cached += share(stats.cached + stats.depot);
    }
}

fn work(seed: u64, each: usize, reading: &Barrier, mut quarters: Option<&mut [Quarter; QUARTERS]>) {
    let mut worker =
        Worker { random: Random(0x9E37_79B9_7F4A_7C15 + seed), slots: vec![ptr::null_mut(); SLOTS], live: 0 };
    for number in 0..QUARTERS * READINGS {
        let rounds = each / 2 / (QUARTERS * READINGS);
        for round in 0..rounds {
            worker.round();
            if (number * rounds + round).is_multiple_of(BETWEEN_WALKS / 2) {
                assert_in_order();
            }
        }
        LIVE.fetch_add(std::mem::take(&mut worker.live), Ordering::Relaxed);
        reading.wait();
        if let Some(quarters) = &mut quarters {
            quarters[number / READINGS].read();
        }
        reading.wait();
    }
    let slots = std::mem::take(&mut worker.slots);
    slots.into_iter().for_each(|block| worker.give(block));
}

#[test]
fn the_heap_is_in_order_after_each_thousand_operations() {
    let count = operations(400_000);
    let reading = Barrier::new(2);
    let mut quarters = [Quarter::default(); QUARTERS];
    thread::scope(|scope| {
        scope.spawn(|| work(1, count / 2, &reading, None));
        work(0, count / 2, &reading, Some(&mut quarters));
    });
    let mut last = Worker { random: Random(1), slots: Vec::new(), live: 0 };
    HANDED_OVER.iter().for_each(|slot| last.give(slot.swap(ptr::null_mut(), Ordering::AcqRel)));
    assert_in_order();
    for Quarter { resident, live, free, dirty, cached } in quarters {
        println!("{resident:.0} KiB resident, {live:.0} live, {free:.0} free, {dirty:.0} dirty, {cached:.0} cached");
    }
    let over = |quarter: Quarter| quarter.resident - quarter.live - quarter.dirty;
    let drift = (over(quarters[3]) - over(quarters[2])) / quarters[2].resident * 100.0;
    println!("drift in the second half: {drift:.2} %");
    let most = match count {
        0..80_000_000 => f64::MAX,
        80_000_000..4_000_000_000 => 4.0,
        _ => 1.0,
    };
    assert!(drift < most, "{drift} %");
}
