//! Aligned blocks that come and go, in a process of their own: what is freed waits in caches and in the depot, where only the
//! block freed last was looked at for a request with an alignment. Arenas grew for most of them, to eight times what is live.

use std::alloc::{Layout, alloc, dealloc};

use heapwright::Heapwright;

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

/// A small layout, aligned to 32 to 512 bytes.
fn layout(number: usize) -> Layout {
    let align = 32 << (number % 5);
    Layout::from_size_align(align * (1 + number / 8 % 4), align).expect("a layout")
}

#[test]
#[allow(unsafe_code)]
fn a_window_of_aligned_blocks_takes_little_more_than_is_live() {
    let mut state = 1_usize;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    // SAFETY: no layout is of no bytes.
    let block = |number| (unsafe { alloc(layout(number)) }, layout(number));
    let mut window: Vec<_> = (0..4_000).map(|_| block(random())).collect();
    let live: usize = window.iter().map(|(_, layout)| layout.size()).sum();
    for _ in 0..400_000 {
        let at = random() % window.len();
        let (mem, layout) = std::mem::replace(&mut window[at], block(random()));
        assert!(!mem.is_null() && mem.addr().is_multiple_of(layout.align()));
        // SAFETY: from `block`, and not in the window any more.
        unsafe { dealloc(mem, layout) };
    }
    let system = heapwright::stats().system;
    assert!(system < 3 * live, "{system} bytes for {live} live ones");
    for (mem, layout) in window {
        // SAFETY: as above.
        unsafe { dealloc(mem, layout) };
    }
}
