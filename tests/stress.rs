//! Stress: threads that take, resize, free and hand over blocks while others trim, ask for figures and change parameters.
//!
//! It is a program for sanitizers to watch (docs/testing.md has the command), so it is all Rust, one process, and does
//! not fork. Every byte of a block is written by the thread that takes it and read by the one that frees it, which is
//! mostly another: a block that two threads have, or that goes over without an order between what they do, is a race.
//!
//! `HEAPWRIGHT_TEST_STRESS` is the number of operations of a thread and those that follow it; 20,000 if it is not set.
//!
//! # Safety
//!
//! A block is owned by the one who took it out of its slot.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::env;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::thread;

use heapwright::{Budget, Heapwright, Param};

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

const SLOTS: usize = 256;
const THREADS: u64 = 4;
/// Threads end and others begin so many times, so that caches are inherited and go through the depot.
const GENERATIONS: u64 = 10;

/// What a block begins with.
#[derive(Clone, Copy)]
struct Label {
    layout: Layout,
    seed: u8,
}

const LABEL_LEN: usize = size_of::<Label>();

/// A block that this thread owns.
struct Block(ptr::NonNull<Label>);

impl Block {
    fn new(layout: Layout, seed: u8, zeroed: bool) -> Self {
        // SAFETY: the size is not 0.
        let mem = unsafe { if zeroed { GLOBAL.alloc_zeroed(layout) } else { GLOBAL.alloc(layout) } };
        let block = Self(ptr::NonNull::new(mem.cast()).expect("there is memory"));
        assert!(mem.addr().is_multiple_of(layout.align()), "{layout:?}");
        if zeroed {
            // SAFETY: as many bytes are ours, and were set to zero.
            let bytes = unsafe { std::slice::from_raw_parts(mem, layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == 0), "{layout:?} is not zero");
        }
        block.write(layout, seed);
        block
    }

    fn write(&self, layout: Layout, seed: u8) {
        let mem = self.0.cast::<u8>();
        // SAFETY: as many bytes are ours, the label first.
        unsafe {
            self.0.write(Label { layout, seed });
            mem.add(LABEL_LEN).write_bytes(seed, layout.size() - LABEL_LEN);
        }
    }

    /// Its label, after a look at every byte up to `len`.
    fn verify(&self, len: usize) -> Label {
        // SAFETY: every block in use begins with a label, and has `len` bytes.
        let (label, bytes) = unsafe {
            let mem = self.0.cast::<u8>();
            (self.0.read(), std::slice::from_raw_parts(mem.add(LABEL_LEN).as_ptr(), len - LABEL_LEN))
        };
        assert!(bytes.iter().all(|&byte| byte == label.seed), "a block of {:?} has changed", label.layout);
        label
    }

    fn len(&self) -> usize {
        // SAFETY: every block in use begins with a label.
        unsafe { self.0.read() }.layout.size()
    }

    fn resize(self, len: usize, seed: u8) -> Self {
        let old = self.verify(self.len()).layout;
        let layout = Layout::from_size_align(len, old.align()).expect("a possible layout");
        // SAFETY: the block and its layout; the new length is not 0.
        let mem = unsafe { GLOBAL.realloc(self.0.cast().as_ptr(), old, len) };
        let block = Self(ptr::NonNull::new(mem.cast()).expect("there is memory"));
        block.verify(len.min(old.size()));
        block.write(layout, seed);
        block
    }

    fn free(self) {
        let label = self.verify(self.len());
        // SAFETY: the block and its layout.
        unsafe { GLOBAL.dealloc(self.0.cast().as_ptr(), label.layout) };
    }
}

struct Slots([AtomicPtr<Label>; SLOTS]);

impl Slots {
    /// Puts a block, or none, where another may have been. Release and acquire: who takes a block out sees all that was
    /// done to it before.
    fn exchange(&self, at: usize, block: Option<Block>) -> Option<Block> {
        let new = block.map_or(ptr::null_mut(), |block| block.0.as_ptr());
        ptr::NonNull::new(self.0[at].swap(new, Ordering::AcqRel)).map(Block)
    }
}

/// A sequence of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn layout(&mut self) -> Layout {
        let most = [100, 100, 100, 100, 1_000, 1_000, 6_000, 70_000][self.below(8)];
        let most = if self.below(500) == 0 { 300_000 } else { most };
        let log_alignment = if self.below(8) == 0 { self.below(14) } else { 3 };
        Layout::from_size_align(LABEL_LEN + self.below(most), 8.max(1 << log_alignment)).expect("a possible layout")
    }
}

fn work(slots: &Slots, seed: u64, operations: usize) {
    let mut numbers = Numbers(seed);
    for _ in 0..operations {
        let (at, value) = (numbers.below(SLOTS), numbers.below(256) as u8);
        let taken = match numbers.below(8) {
            0..=3 => Some(Block::new(numbers.layout(), value, numbers.below(4) == 0)),
            4 => slots.exchange(at, None).map(|block| block.resize(numbers.layout().size(), value)),
            _ => None,
        };
        if let Some(other) = slots.exchange(at, taken) {
            other.free();
        }
    }
}

/// What a program may do beside: everything that looks into all arenas and caches.
fn disturb(stop: &AtomicBool) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        match round % 6 {
            0 => _ = heapwright::trim(0),
            1 => _ = heapwright::trim_with(Budget::bytes(64 << 10)),
            2 => heapwright::set(Param::TcacheCount, [0, 2, 128][round / 6 % 3]).expect("within its limits"),
            3 => heapwright::set(Param::TcacheMax, [64, 1032][round / 6 % 2]).expect("within its limits"),
            4 => _ = heapwright::arenas().map(|arena| arena.system).sum::<usize>(),
            _ => heapwright::walk(|_| ()),
        }
        let stats = heapwright::stats();
        assert_eq!(stats.in_use + stats.free + stats.top, stats.system);
        round += 1;
        thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn threads_hand_over_blocks_while_others_trim_and_look() {
    let operations: usize =
        env::var("HEAPWRIGHT_TEST_STRESS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let slots = Slots([const { AtomicPtr::new(ptr::null_mut()) }; SLOTS]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| disturb(&stop));
        for generation in 0..GENERATIONS {
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let slots = &slots;
                    let each = operations / GENERATIONS as usize;
                    scope.spawn(move || work(slots, generation * THREADS + thread, each));
                }
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    for at in 0..SLOTS {
        if let Some(block) = slots.exchange(at, None) {
            block.free();
        }
    }
}

/// Blocks of one thread come and go, most of them small, in bursts; between these it sleeps or calculates.
fn work_in_bursts(seed: u64, bursts: usize) {
    let mut numbers = Numbers(seed);
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..bursts {
        for _ in 0..numbers.below(2_000) {
            if numbers.below(2) == 0 || blocks.is_empty() {
                // Above 1,032 bytes no request takes a fast path.
                let most = [600, 600, 600, 6_000][numbers.below(4)];
                let layout = Layout::from_size_align(LABEL_LEN + numbers.below(most), 8).expect("a possible layout");
                blocks.push(Block::new(layout, numbers.below(256) as u8, false));
            } else {
                let at = numbers.below(blocks.len());
                blocks.swap_remove(at).free();
            }
        }
        let pause = std::time::Duration::from_micros(numbers.below(6_000) as u64);
        if numbers.below(2) == 0 {
            thread::sleep(pause);
        } else {
            let begun = std::time::Instant::now();
            while begun.elapsed() < pause {
                std::hint::spin_loop();
            }
        }
    }
    blocks.into_iter().for_each(Block::free);
}

/// Caches are taken from all the time, while their threads sleep, calculate, and come back: for whoever has not looked at the clock for
/// some milliseconds is idle, and each trim takes from all who are not at it.
#[test]
fn threads_come_back_to_caches_that_are_being_taken_from() {
    heapwright::set(Param::DirtyDecayMs, 0).expect("within its limits");
    let bursts = env::var("HEAPWRIGHT_TEST_STRESS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000) / 100;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                heapwright::trim(0);
                thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        thread::scope(|scope| {
            for seed in 0..THREADS {
                scope.spawn(move || work_in_bursts(seed, bursts));
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
    heapwright::set(Param::DirtyDecayMs, Param::DirtyDecayMs.default()).expect("within its limits");
}
