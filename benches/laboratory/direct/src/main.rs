//! Single operations through `GlobalAlloc`, to be counted by callgrind: the Rust half of `drivers/ops.c`.
//!
//! ```text
//! direct --list                       the operations, one a line: name, tab, what it is
//! direct ALLOCATOR OPERATION COUNT    does it COUNT times; ALLOCATOR is heapwright or system
//! ```
//!
//! Callgrind collects inside the functions whose names begin with `measured_` and nowhere else. So one half of a pair is
//! counted alone. The allocator's methods are called directly, as the code behind `#[global_allocator]` calls them.
//!
//! # Safety
//!
//! Each block is freed once, with the layout it was asked for with, by the allocator that it came from.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::ExitCode;

use heapwright::Heapwright;

const OPERATIONS: [(&str, &str); 6] = [
    ("alloc_hit", "64 bytes, just after a block of that size was freed"),
    ("dealloc_hit", "a 64 byte block that was just allocated"),
    ("alloc_again", "64 bytes, after 20,000 such blocks were freed"),
    ("dealloc_burst", "one of 20,000 blocks of 64 bytes, in order of address"),
    ("alloc_zeroed_hit", "64 zeroed bytes, just after a block of that size was freed"),
    ("realloc_within", "100 to 104 bytes and back"),
];

/// The most operations that a run may ask for, and the blocks that the runs on many blocks begin with.
const BLOCKS: usize = 20_000;

const SMALL: Layout = match Layout::from_size_align(64, 8) {
    Ok(layout) => layout,
    Err(_) => panic!("a possible layout"),
};

#[inline(never)]
fn measured_alloc<A: GlobalAlloc>(allocator: &A) -> *mut u8 {
    // SAFETY: the size is not 0.
    black_box(unsafe { allocator.alloc(SMALL) })
}

#[inline(never)]
fn measured_alloc_zeroed<A: GlobalAlloc>(allocator: &A) -> *mut u8 {
    // SAFETY: the size is not 0.
    black_box(unsafe { allocator.alloc_zeroed(SMALL) })
}

#[inline(never)]
fn measured_dealloc<A: GlobalAlloc>(allocator: &A, block: *mut u8) {
    // SAFETY: the block is a SMALL one of this allocator's, and its owner gives it up.
    unsafe { allocator.dealloc(block, SMALL) };
    black_box(());
}

#[inline(never)]
fn measured_realloc<A: GlobalAlloc>(allocator: &A, block: *mut u8, old: Layout, len: usize) -> *mut u8 {
    // SAFETY: the block is this allocator's, of layout `old`; the new length is not 0.
    black_box(unsafe { allocator.realloc(block, old, len) })
}

/// A block whose allocation is not counted.
fn take<A: GlobalAlloc>(allocator: &A, layout: Layout) -> *mut u8 {
    // SAFETY: no layout here has size 0.
    let block = black_box(unsafe { allocator.alloc(layout) });
    assert!(!block.is_null(), "out of memory");
    block
}

/// Gives a block back, uncounted.
fn give<A: GlobalAlloc>(allocator: &A, block: *mut u8, layout: Layout) {
    // SAFETY: the callers pass the layout of the block and do not use it any more.
    unsafe { allocator.dealloc(black_box(block), layout) };
}

fn perform<A: GlobalAlloc>(allocator: &A, operation: &str, count: usize) -> bool {
    for _ in 0..64 {
        give(allocator, take(allocator, SMALL), SMALL);
    }
    match operation {
        "alloc_hit" => (0..count).for_each(|_| give(allocator, measured_alloc(allocator), SMALL)),
        "alloc_zeroed_hit" => (0..count).for_each(|_| give(allocator, measured_alloc_zeroed(allocator), SMALL)),
        "dealloc_hit" => (0..count).for_each(|_| measured_dealloc(allocator, take(allocator, SMALL))),
        "alloc_again" => {
            let blocks: Vec<_> = (0..BLOCKS).map(|_| take(allocator, SMALL)).collect();
            blocks.into_iter().for_each(|block| give(allocator, block, SMALL));
            (0..count).for_each(|_| {
                measured_alloc(allocator);
            });
        }
        "dealloc_burst" => {
            let blocks: Vec<_> = (0..BLOCKS).map(|_| take(allocator, SMALL)).collect();
            blocks.into_iter().take(count).for_each(|block| measured_dealloc(allocator, block));
        }
        "realloc_within" => {
            let layout = |len| Layout::from_size_align(len, 8).expect("a possible layout");
            let (mut block, mut old) = (take(allocator, layout(100)), layout(100));
            for _ in 0..count {
                let new = layout(204 - old.size());
                block = measured_realloc(allocator, block, old, new.size());
                old = new;
            }
            give(allocator, block, old);
        }
        _ => return false,
    }
    true
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments == ["--list"] {
        OPERATIONS.iter().for_each(|(name, what)| println!("{name}\t{what}"));
        return ExitCode::SUCCESS;
    }
    if let [allocator, operation, count] = arguments[..]
        && let Ok(count) = count.parse()
        && count <= BLOCKS
    {
        let done = match allocator {
            "heapwright" => perform(&Heapwright::new(), operation, count),
            "system" => perform(&System, operation, count),
            _ => false,
        };
        if done {
            return ExitCode::SUCCESS;
        }
    }
    eprintln!("usage: direct --list | direct heapwright|system OPERATION COUNT (at most {BLOCKS})");
    ExitCode::from(2)
}
