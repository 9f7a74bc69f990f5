//! The heap as an allocator of single collections, for the `allocator-api2` crate; feature `allocator-api2`.
//!
//! # Safety
//!
//! A block is handed out for a layout and comes back with one that fits it, as the trait has it.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::builder::Heapwright;
use crate::global;

/// The process's heap, for collections that take an allocator. It is the heap of [`Heapwright`], whether or not the
/// program has declared that as its global allocator, and has no size:
///
/// ```
/// use allocator_api2::vec::Vec;
/// use heapwright::Global;
///
/// let mut words: Vec<&str, Global> = Vec::new_in(Global);
/// words.push("one");
/// assert_eq!(size_of_val(&words), size_of::<std::vec::Vec<&str>>());
/// ```
///
/// A block that grows or shrinks stays where it is when its neighbours let it; a mapped one is remapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Global;

/// What requests without a static of the program's go through.
const HEAP: Heapwright = Heapwright::new();

fn block(mem: Option<NonNull<u8>>, len: usize) -> Result<NonNull<[u8]>, AllocError> {
    mem.map(|mem| NonNull::slice_from_raw_parts(mem, len)).ok_or(AllocError)
}

/// Nothing, at an address that has the alignment.
fn nothing(layout: Layout) -> NonNull<[u8]> {
    NonNull::slice_from_raw_parts(layout.dangling_ptr(), 0)
}

impl Global {
    /// Makes a block longer or shorter, where it is if it can be. `None`, and it is as it was, when no memory is left.
    ///
    /// # Safety
    ///
    /// - `mem` is a block of this heap that `old` fits; neither length is 0.
    unsafe fn resize(self, mem: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        if mem.addr().get().is_multiple_of(new.align()) {
            return global::reallocate(mem, new.size(), new.align());
        }
        // A stricter alignment than the block happens to have.
        // SAFETY: the length is not 0.
        let moved = NonNull::new(unsafe { HEAP.alloc(new) })?;
        // SAFETY: two blocks in use, each at least so long.
        unsafe { moved.copy_from_nonoverlapping(mem, old.size().min(new.size())) };
        // SAFETY: the caller's promise.
        unsafe { HEAP.dealloc(mem.as_ptr(), old) };
        Some(moved)
    }
}

// SAFETY: blocks stay where they are until they are given back, from whichever copy of `Global`: all are the same heap.
unsafe impl Allocator for Global {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        // SAFETY: the length is not 0.
        block(NonNull::new(unsafe { HEAP.alloc(layout) }), layout.size())
    }

    #[inline]
    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        // SAFETY: the length is not 0.
        block(NonNull::new(unsafe { HEAP.alloc_zeroed(layout) }), layout.size())
    }

    #[inline]
    unsafe fn deallocate(&self, mem: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: the caller's promise.
            unsafe { HEAP.dealloc(mem.as_ptr(), layout) };
        }
    }

    #[inline]
    unsafe fn grow(&self, mem: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 {
            return self.allocate(new);
        }
        // SAFETY: the caller's promise; the new length is no less than the old.
        block(unsafe { self.resize(mem, old, new) }, new.size())
    }

    unsafe fn grow_zeroed(&self, mem: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 {
            return self.allocate_zeroed(new);
        }
        // SAFETY: the caller's promise; the new length is no less than the old.
        let longer = unsafe { self.resize(mem, old, new) }.ok_or(AllocError)?;
        // SAFETY: within the block, and behind what it held.
        unsafe { longer.add(old.size()).write_bytes(0, new.size() - old.size()) };
        block(Some(longer), new.size())
    }

    #[inline]
    unsafe fn shrink(&self, mem: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if new.size() == 0 {
            // SAFETY: the caller's promise.
            unsafe { self.deallocate(mem, old) };
            return Ok(nothing(new));
        }
        // SAFETY: the caller's promise; the old length is no less than the new.
        block(unsafe { self.resize(mem, old, new) }, new.size())
    }
}
