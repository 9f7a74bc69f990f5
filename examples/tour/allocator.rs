//! The global allocator of the tour: heapwright, except in the children that do the work on the system's malloc.
//!
//! The choice is made at the first request, before anything else could have been allocated, and stays. It costs one
//! load and one branch that always goes the same way, for both.
//!
//! # Safety
//!
//! Each call is passed on as it came, always to the same allocator.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU8, Ordering};

use heapwright::Heapwright;

use crate::child::{Rival, Role};

static HEAPWRIGHT: Heapwright = Heapwright::new();

/// Passes requests on to the allocator of this process.
pub(crate) struct Chosen;

const UNDECIDED: u8 = 0;
const CHOSE_HEAPWRIGHT: u8 = 1;
const CHOSE_SYSTEM: u8 = 2;
static CHOICE: AtomicU8 = AtomicU8::new(UNDECIDED);

#[inline]
fn is_system() -> bool {
    // Relaxed: whoever decides, decides the same.
    match CHOICE.load(Ordering::Relaxed) {
        UNDECIDED => decide(),
        choice => choice == CHOSE_SYSTEM,
    }
}

#[cold]
fn decide() -> bool {
    let is_system = Role::of_this_process() == Role::Work(Rival::System);
    CHOICE.store(if is_system { CHOSE_SYSTEM } else { CHOSE_HEAPWRIGHT }, Ordering::Relaxed);
    is_system
}

/// Lets the allocator of this process give back what it can, by the call that it has for that.
pub(crate) fn trim() {
    if is_system() {
        // SAFETY: may be called at any time.
        unsafe { libc::malloc_trim(0) };
    } else {
        heapwright::trim(0);
    }
}

// SAFETY: both are allocators, and a block goes back to the one it came from, for the choice does not change.
unsafe impl GlobalAlloc for Chosen {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_system() {
            // SAFETY: the caller's promise.
            unsafe { System.alloc(layout) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { HEAPWRIGHT.alloc(layout) }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_system() {
            // SAFETY: the caller's promise.
            unsafe { System.alloc_zeroed(layout) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { HEAPWRIGHT.alloc_zeroed(layout) }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, mem: *mut u8, layout: Layout) {
        if is_system() {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(mem, layout) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { HEAPWRIGHT.dealloc(mem, layout) }
        }
    }

    #[inline]
    unsafe fn realloc(&self, mem: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if is_system() {
            // SAFETY: the caller's promise.
            unsafe { System.realloc(mem, layout, new_size) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { HEAPWRIGHT.realloc(mem, layout, new_size) }
        }
    }
}
