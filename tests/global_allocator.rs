//! A whole Rust program on heapwright: this test binary declares it as its global allocator, so the test harness, its
//! threads and everything below run on it, while C code in the process keeps the C library's malloc. The two share one
//! program break; the tests with C blocks show that neither harms the other.
//!
//! # Safety
//!
//! C blocks are allocated, written and freed here by the C library's own functions.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use heapwright::Heapwright;
use parking_lot::Mutex;

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

/// A block whose every byte says whose it is.
struct Cookie {
    bytes: Vec<u8>,
    value: u8,
}

impl Cookie {
    fn new(value: u8, len: usize) -> Self {
        Self { bytes: vec![value; len], value }
    }

    fn assert_whole(&self) {
        assert!(self.bytes.iter().all(|&byte| byte == self.value), "a cookie of {} has changed", self.value);
    }
}

/// A sequence of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn collections_hold_what_was_put_in() {
    let mut map = HashMap::new();
    let mut tree = BTreeMap::new();
    for number in 0..50_000usize {
        map.insert(number, format!("value {number}"));
        tree.insert(format!("{number:07}"), vec![number; number % 17]);
    }
    map.retain(|number, _| number % 3 == 0);
    tree.retain(|_, values| values.len() % 2 == 0);
    assert!(map.iter().all(|(number, text)| *text == format!("value {number}")));
    assert!(tree.iter().all(|(text, values)| values.iter().all(|&value| format!("{value:07}") == *text)));
}

#[test]
fn blocks_are_handed_over_and_outlive_their_threads() {
    let (send, receive) = mpsc::channel::<Cookie>();
    let makers: Vec<_> = (0..8u8)
        .map(|value| {
            let send = send.clone();
            thread::spawn(move || {
                let mut numbers = Numbers(u64::from(value));
                for _ in 0..3_000 {
                    let len = [16, 100, 700, 5_000, 40_000][numbers.below(5)] + numbers.below(64);
                    send.send(Cookie::new(value, len)).expect("the receiver waits");
                }
            })
        })
        .collect();
    drop(send);
    let mut kept: Vec<Cookie> = Vec::new();
    let mut numbers = Numbers(99);
    for cookie in receive {
        cookie.assert_whole();
        kept.push(cookie);
        if kept.len() > 500 {
            kept.swap_remove(numbers.below(500)).assert_whole();
        }
    }
    makers.into_iter().for_each(|maker| maker.join().expect("no panic"));
    kept.iter().for_each(Cookie::assert_whole);
}

#[test]
fn a_shared_store_survives_threads_that_come_and_go() {
    let store = Arc::new(Mutex::new(Vec::<Cookie>::new()));
    for round in 0..40u8 {
        let threads: Vec<_> = (0..8u8)
            .map(|value| {
                let store = Arc::clone(&store);
                thread::spawn(move || {
                    let mut numbers = Numbers(u64::from(round) * 8 + u64::from(value));
                    for _ in 0..200 {
                        let cookie = Cookie::new(value, 1 + numbers.below(3_000));
                        let mut store = store.lock();
                        store.push(cookie);
                        if store.len() > 2_000 {
                            let at = numbers.below(2_000);
                            store.swap_remove(at).assert_whole();
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    }
    store.lock().iter().for_each(Cookie::assert_whole);
}

#[test]
fn every_layout_is_honoured_and_zeroed_memory_is_zero() {
    for log_alignment in 0..=21 {
        for size in [1, 7, 24, 25, 100, 1_000, 4_096, 70_000, 200_000, 3 << 20] {
            let layout = Layout::from_size_align(size, 1 << log_alignment).expect("a possible layout");
            // SAFETY: the size is not 0.
            let mem = unsafe { GLOBAL.alloc_zeroed(layout) };
            assert!(!mem.is_null() && mem.addr().is_multiple_of(layout.align()), "{layout:?}");
            // SAFETY: `size` bytes at `mem` are ours.
            let bytes = unsafe { std::slice::from_raw_parts_mut(mem, size) };
            assert!(bytes.iter().all(|&byte| byte == 0), "{layout:?} is not zero");
            bytes.fill(0xA5);
            // SAFETY: the block and its layout.
            unsafe { GLOBAL.dealloc(mem, layout) };
        }
    }
}

#[test]
fn realloc_keeps_contents_and_alignment_in_both_directions() {
    let sizes = [10, 24, 25, 1_000, 5_000, 100_000, 140_000, 1 << 20, 5 << 20, 300_000, 60_000, 3_000, 40, 8];
    for log_alignment in [0, 4, 5, 8, 12, 13, 16] {
        let mut layout = Layout::from_size_align(1, 1 << log_alignment).expect("a possible layout");
        // SAFETY: the size is not 0.
        let mut mem = unsafe { GLOBAL.alloc(layout) };
        // SAFETY: one byte is ours.
        unsafe { mem.write(0) };
        for size in sizes {
            let kept = layout.size().min(size);
            // SAFETY: the block and its layout; the size is not 0.
            mem = unsafe { GLOBAL.realloc(mem, layout, size) };
            assert!(!mem.is_null() && mem.addr().is_multiple_of(layout.align()), "{size} at {layout:?}");
            layout = Layout::from_size_align(size, layout.align()).expect("a possible layout");
            // SAFETY: `size` bytes at `mem` are ours.
            let bytes = unsafe { std::slice::from_raw_parts_mut(mem, size) };
            assert!((0..kept).all(|at| bytes[at] == (at % 251) as u8), "{size} at {layout:?}");
            (0..size).for_each(|at| bytes[at] = (at % 251) as u8);
        }
        // SAFETY: the block and its layout.
        unsafe { GLOBAL.dealloc(mem, layout) };
    }
}

/// A reallocation between two small classes stays within the cache and reads no head: also where the class it leaves has
/// no room for one more, and the one it goes to has nothing left.
#[test]
fn many_small_blocks_go_from_class_to_class_and_keep_their_bytes() {
    const BLOCKS: usize = 500;
    let mut numbers = Numbers(0x5a11);
    let mut blocks: Vec<Cookie> = (0..BLOCKS).map(|at| Cookie::new(at as u8, 1 + at)).collect();
    for round in 0..200 {
        // All at once to the same class, which others then leave together.
        let together = 1 + numbers.below(1_032);
        for block in &mut blocks {
            let len = if round % 2 == 0 { together } else { 1 + numbers.below(1_200) };
            block.assert_whole();
            block.bytes.truncate(len);
            block.bytes.shrink_to_fit();
            block.bytes.reserve_exact(len - block.bytes.len());
            block.bytes.resize(len, block.value);
        }
    }
    blocks.iter().for_each(Cookie::assert_whole);
}

#[test]
fn an_impossible_request_is_null() {
    let layout = Layout::from_size_align(isize::MAX as usize - 4096, 1).expect("a possible layout");
    // SAFETY: the size is not 0.
    assert!(unsafe { GLOBAL.alloc(layout) }.is_null());
    let mut bytes: Vec<u8> = Vec::new();
    assert!(bytes.try_reserve(1 << 46).is_err());
}

#[test]
fn c_code_with_its_own_malloc_shares_the_process() {
    // Several threads on both sides, each side big enough to move the break often.
    thread::scope(|scope| {
        for seed in 0..2u64 {
            scope.spawn(move || {
                let mut numbers = Numbers(seed);
                let mut kept: Vec<Cookie> = Vec::new();
                for step in 0..20_000u32 {
                    kept.push(Cookie::new(step as u8, 1 + numbers.below(6_000)));
                    if kept.len() > 1_000 {
                        kept.swap_remove(numbers.below(1_000)).assert_whole();
                    }
                }
                kept.iter().for_each(Cookie::assert_whole);
            });
            scope.spawn(move || {
                let mut numbers = Numbers(100 + seed);
                let mut kept: Vec<(*mut u8, usize, u8)> = Vec::new();
                let check_and_free = |(mem, len, value): (*mut u8, usize, u8)| {
                    // SAFETY: a C block of `len` bytes, all written.
                    let bytes = unsafe { std::slice::from_raw_parts(mem, len) };
                    assert!(bytes.iter().all(|&byte| byte == value), "a C block has changed");
                    // SAFETY: a C block, freed once.
                    unsafe { libc::free(mem.cast()) };
                };
                for step in 0..20_000u32 {
                    let (len, value) = (1 + numbers.below(6_000), step as u8);
                    // SAFETY: the C library's malloc.
                    let mem = unsafe { libc::malloc(len) }.cast::<u8>();
                    assert!(!mem.is_null());
                    // SAFETY: `len` bytes at `mem` are ours.
                    unsafe { mem.write_bytes(value, len) };
                    kept.push((mem, len, value));
                    if kept.len() > 1_000 {
                        check_and_free(kept.swap_remove(numbers.below(1_000)));
                    }
                }
                kept.drain(..).for_each(check_and_free);
            });
        }
    });
}

#[test]
fn the_figures_add_up() {
    let block = vec![1u8; 1 << 20];
    let stats = heapwright::stats();
    assert_eq!(stats.in_use + stats.free + stats.top, stats.system);
    assert!(stats.arenas >= 1 && stats.mapped_chunks <= stats.most_mapped_chunks);
    drop(block);
    let path = std::env::temp_dir().join(format!("heapwright-report-{}.xml", std::process::id()));
    heapwright::save_report(&path).expect("the temporary folder can be written");
    let text = std::fs::read_to_string(&path).expect("the file was written");
    std::fs::remove_file(&path).expect("the file is there");
    assert!(text.starts_with("<malloc version=\"1\">") && text.ends_with("</malloc>\n"), "{text}");
    assert_eq!(text.matches("<heap nr=").count(), text.matches("</heap>").count());
}

#[test]
fn a_child_of_a_fork_in_a_threaded_process_allocates_and_frees() {
    // SAFETY: the child only allocates, frees and exits.
    children_allocate_and_free(|| unsafe { libc::fork() });
}

/// Without the handlers of a fork: locks are as they were, and here the break is ours alone.
#[test]
fn a_copy_that_no_handler_was_told_of_allocates_and_frees() {
    // SAFETY: as above.
    children_allocate_and_free(|| unsafe { libc::syscall(libc::SYS_fork) } as libc::pid_t);
}

/// Children, made by `fork` while four threads allocate, copy and free.
fn children_allocate_and_free(fork: impl Fn() -> libc::pid_t) {
    let shared = vec![7u8; 3_000];
    let mut broken = 0;
    thread::scope(|scope| {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        for _ in 0..4 {
            let stop = Arc::clone(&stop);
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(vec![Cookie::new(1, 100), Cookie::new(2, 9_000)]);
                }
            });
        }
        for _ in 0..100 {
            let child = fork();
            assert!(child >= 0, "fork");
            if child == 0 {
                // SAFETY: a child that hangs ends by a signal.
                unsafe { libc::alarm(20) };
                let copies: Vec<Vec<u8>> = (0..50).map(|_| shared.clone()).collect();
                let right = copies.iter().all(|copy| *copy == shared);
                drop(copies);
                // SAFETY: ends the child without running the test harness's handlers.
                unsafe { libc::_exit(i32::from(!right)) };
            }
            let mut status = 0;
            // SAFETY: waits for the child made above.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            if status != 0 {
                broken = status;
                break;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(broken, 0, "each child finds its heap whole");
}
