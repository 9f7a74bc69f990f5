//! The Rust interface: the static of a program is its global allocator.
//!
//! A layout that comes with a block says what class it is of, so that the block's head need not be looked at.
//!
//! # Safety
//!
//! A block is what its layout says, as [`GlobalAlloc`] asks of whoever gives it back.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use crate::builder::Heapwright;
use crate::class::Class;
use crate::global;
use crate::malloc::Contents;
use crate::size::ALIGNMENT;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The fast path of a free: the layout says the class.
#[inline(always)]
fn free_of_layout_fast(mem: NonNull<u8>, layout: Layout) -> bool {
    layout.align() <= ALIGNMENT
        && Class::of_small_request(layout.size()).is_some_and(|class| global::free_of_class_fast(mem, class))
}

/// The fast path of a reallocation.
#[inline]
fn reallocate_of_layout_fast(mem: NonNull<u8>, layout: Layout, bytes: usize) -> Option<NonNull<u8>> {
    if layout.align() > ALIGNMENT {
        return None;
    }
    let (old, new) = (Class::of_small_request(layout.size())?, Class::of_small_request(bytes)?);
    global::reallocate_of_class_fast(mem, old, new, layout.size().min(bytes))
}

/// A reallocation that takes more than the fast path. Not inline: a program that has this crate's allocator would get a copy
/// of nearly all of it, for what is generic over the system is compiled where it is called from.
#[inline(never)]
fn reallocate_slow(mem: NonNull<u8>, bytes: usize, alignment: usize) -> Option<NonNull<u8>> {
    global::reallocate(mem, bytes, alignment)
}

/// A hardened build compares the layout with what was asked for.
#[cfg(feature = "hardened")]
fn free_of_layout(mem: NonNull<u8>, layout: Layout) {
    global::free_sized(mem, layout.size(), layout.align());
}

#[cfg(not(feature = "hardened"))]
#[inline]
fn free_of_layout(mem: NonNull<u8>, _: Layout) {
    global::free(mem);
}

/// Whether the parameters of the program's static have been handed over.
static IS_BUILT: AtomicBool = AtomicBool::new(false);

impl Heapwright {
    /// The first request that is not served by a cache, and so the first of all, brings what the builder has fixed.
    #[inline]
    fn build(&self) {
        if !self.is_plain() && !IS_BUILT.load(Ordering::Relaxed) {
            self.build_once();
        }
    }

    /// A request that takes more than the fast path. Not inline: the fast path has no register to save.
    #[inline(never)]
    fn allocate_slow(&self, layout: Layout, contents: Contents) -> *mut u8 {
        self.build();
        or_null(global::allocate(layout.size(), layout.align(), contents))
    }

    #[cold]
    #[inline(never)]
    fn build_once(&self) {
        if !IS_BUILT.swap(true, Ordering::Relaxed) {
            let malloc = global::malloc();
            self.apply(&malloc.source.params);
            malloc.caches.ring();
        }
    }
}

fn or_null(mem: Option<NonNull<u8>>) -> *mut u8 {
    mem.map_or(ptr::null_mut(), NonNull::as_ptr)
}

// SAFETY: blocks are disjoint, as long and as aligned as their layout asks for, and stay until they are given back;
// nothing here unwinds.
unsafe impl GlobalAlloc for Heapwright {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT
            && let Some(mem) = global::allocate_fast(layout.size())
        {
            return mem.as_ptr();
        }
        self.allocate_slow(layout, Contents::Any)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT
            && let Some(mem) = global::allocate_zeroed_fast(layout.size())
        {
            return mem.as_ptr();
        }
        self.allocate_slow(layout, Contents::Zero)
    }

    #[inline]
    unsafe fn dealloc(&self, mem: *mut u8, layout: Layout) {
        if let Some(mem) = NonNull::new(mem)
            && !free_of_layout_fast(mem, layout)
        {
            free_of_layout(mem, layout);
        }
    }

    #[inline]
    unsafe fn realloc(&self, mem: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let reallocated = NonNull::new(mem).and_then(|mem| {
            reallocate_of_layout_fast(mem, layout, new_size).or_else(|| reallocate_slow(mem, new_size, layout.align()))
        });
        or_null(reallocated)
    }
}
