//! The requests of all threads: from their caches if those have what it takes, otherwise by the longer way.
//!
//! ```text
//!   _fast   a small block, the thread's own cache, nothing to look at    --> None or false: the longer way
//!   _plain  everything                                                   --> the cache, the depot, an arena, a mapping
//! ```
//!
//! # Safety
//!
//! A thread's cache is used by that thread, in one place at a time.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use super::slot::Slot;
use super::{MALLOC, begin_process, begin_thread, enter};
use crate::attention::Reason;
use crate::background;
use crate::class::Class;
use crate::magazine;
use crate::malloc::Contents;
use crate::size::{ALIGNMENT, ChunkSize};
use crate::tcache::{CachePtr, ThreadCache};

/// Whether every request takes the guarded way, and none a fast path.
const IS_HARDENED: bool = cfg!(feature = "hardened");

/// Whether a request may go the fast path: there is nothing to look at, or only the clock, and not yet.
#[inline(always)]
fn may_pass(cache: &mut ThreadCache) -> bool {
    let attention = &MALLOC.source.params.attention;
    if attention.is_quiet() {
        return true;
    }
    // Not a call: that would need a frame, and the fast paths have none.
    unlikely();
    attention.is_only_due() && cache.is_patient()
}

/// Tells the compiler that what leads here is to stand out of the way.
#[cold]
#[inline]
fn unlikely() {}

/// A request is not on the fast path: if memory lies unused, the clock is looked at.
#[inline]
fn tick() {
    if MALLOC.source.params.attention.has(Reason::PurgeDue) {
        look_at_clock_in_time();
    }
}

/// Not at every request of a busy thread, whatever way they come: each reallocation would be one.
#[cold]
#[inline(never)]
fn look_at_clock_in_time() {
    let is_patient = match Slot::get() {
        // SAFETY: this thread's cache; the reference ends with the call.
        Slot::Live(cache) => unsafe { cache.at_hand() }.is_patient(),
        _ => false,
    };
    if !is_patient {
        look_at_clock();
    }
}

#[cold]
fn look_at_clock() {
    let now = MALLOC.look_at_clock();
    background::make_if_wanted();
    if let Some(cache) = Slot::live() {
        let mut cache = enter(cache);
        cache.note_time(now);
        MALLOC.age_recent(&mut cache, now);
    }
}

/// The fast path of a request: a cached block of a small class, or `None` when it takes more than that.
#[inline(always)]
pub(crate) fn allocate_fast(bytes: usize) -> Option<NonNull<u8>> {
    if IS_HARDENED {
        return None;
    }
    let class = Class::of_small_request(bytes)?;
    let cache = Slot::live()?;
    // SAFETY: this thread's cache; the reference ends with the call.
    let cache = unsafe { cache.at_hand() };
    if may_pass(cache) { cache.pop(class) } else { None }
}

/// As [`allocate_fast`], and all that the user may write to is zero.
#[inline(always)]
pub(crate) fn allocate_zeroed_fast(bytes: usize) -> Option<NonNull<u8>> {
    let usable = Class::of_small_request(bytes)?.chunk().usable();
    let mem = allocate_fast(bytes)?;
    // SAFETY: the block of this class, which is nobody else's.
    unsafe { mem.write_bytes(0, usable) };
    Some(mem)
}

/// `bytes` of memory for the calling thread, at a multiple of `alignment`, a power of two.
#[inline(never)]
pub(crate) fn allocate_plain(bytes: usize, alignment: usize, contents: Contents) -> Option<NonNull<u8>> {
    tick();
    if alignment <= ALIGNMENT
        && let Some(class) = Class::of_request(bytes)
        && let Some(cache) = Slot::live()
    {
        let mem = MALLOC.allocate_cached(&mut enter(cache), class, contents);
        if mem.is_some() {
            return mem;
        }
    }
    allocate_otherwise(bytes, alignment, contents)
}

/// A request that the cache does not serve, or could not.
#[inline(never)]
fn allocate_otherwise(bytes: usize, alignment: usize, contents: Contents) -> Option<NonNull<u8>> {
    let allocate = || {
        let (cache, is_first) = match Slot::live() {
            Some(cache) => (Some(cache), false),
            None => (begin_thread(), true),
        };
        match cache {
            // By the batch as well: two threads of an arena shall not write to one cache line. (Where a place is drawn by lot they
            // may, and threads that come and go would keep more.)
            Some(_) if is_first && !IS_HARDENED => allocate_plain(bytes, alignment, contents),
            Some(cache) => MALLOC.allocate_uncached(&mut enter(cache), bytes, alignment, contents),
            None => MALLOC.allocate_aligned(MALLOC.arenas.main(), bytes, alignment, contents),
        }
    };
    let mem = allocate();
    if mem.is_some() || ChunkSize::for_request(bytes).is_none() {
        return mem;
    }
    // No memory is left but what waits to be used again.
    empty_caches();
    allocate()
}

/// Everything cached that can be got hold of goes to the arenas.
#[cold]
fn empty_caches() {
    if let Some(cache) = Slot::live() {
        MALLOC.flush_all(&mut enter(cache));
    }
    MALLOC.empty_idle();
    MALLOC.empty_all_at_rest(|| true);
}

/// Takes a block back. A thread that only frees gets a cache as well, after some: its blocks go back by the magazine.
#[inline(never)]
pub(crate) fn free_plain(mem: NonNull<u8>) {
    tick();
    match Slot::live().or_else(cache_for_free) {
        Some(cache) => MALLOC.free_cached(&mut enter(cache), mem),
        None => MALLOC.free(mem),
    }
}

/// The cache of a thread that has none yet and frees. `None` while it has freed no more than an ending thread does.
#[cold]
#[inline(never)]
fn cache_for_free() -> Option<CachePtr> {
    match Slot::get() {
        Slot::None { freed } if Slot::FREED + freed <= Slot::MOST_FREED => {
            // At first: the process's beginning may allocate, and give this thread a cache.
            Slot::None { freed: freed + 1 }.set();
            begin_process();
            None
        }
        _ => begin_thread(),
    }
}

/// The fast path of a free: a block of a small class is put into the cache; its head is not looked at. `false`, and nothing is
/// done, when it takes more.
#[inline(always)]
pub(crate) fn free_of_class_fast(mem: NonNull<u8>, class: Class) -> bool {
    if IS_HARDENED {
        return false;
    }
    let Some(cache) = Slot::live() else { return false };
    // SAFETY: as in `allocate_fast`.
    let cache = unsafe { cache.at_hand() };
    may_pass(cache) && cache.push(class, mem)
}

/// As [`free_of_class_fast`], for a block whose head says the class.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
#[inline(always)]
pub(crate) fn free_fast(mem: NonNull<u8>) -> bool {
    MALLOC.small_class_of(mem).is_some_and(|class| free_of_class_fast(mem, class))
}

/// The fast path of a reallocation: from one small class to another within the cache, with `len` bytes of what the block holds.
/// `None`, and nothing is done, when it takes more.
#[inline(always)]
pub(crate) fn reallocate_of_class_fast(mem: NonNull<u8>, old: Class, new: Class, len: usize) -> Option<NonNull<u8>> {
    if IS_HARDENED {
        return None;
    }
    let cache = Slot::live()?;
    // SAFETY: as in `allocate_fast`.
    let cache = unsafe { cache.at_hand() };
    if !may_pass(cache) || magazine::is_cached(mem) {
        return None;
    }
    if old == new {
        return Some(mem);
    }
    let moved = cache.pop(new)?;
    // SAFETY: two blocks in use, of at least so many bytes each.
    unsafe { moved.copy_from_nonoverlapping(mem, len) };
    if !cache.push(old, mem) {
        free_plain(mem);
    }
    Some(moved)
}

/// As [`reallocate_of_class_fast`], for a block whose head says the class.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
#[inline(always)]
pub(crate) fn reallocate_fast(mem: NonNull<u8>, bytes: usize) -> Option<NonNull<u8>> {
    let new = Class::of_small_request(bytes)?;
    let old = MALLOC.small_class_of(mem)?;
    reallocate_of_class_fast(mem, old, new, old.chunk().usable().min(bytes))
}

/// The calling thread's cache, or `None` while it has none: then the main arena serves it.
#[inline]
fn cache() -> Option<CachePtr> {
    Slot::live().or_else(begin_thread)
}

/// Makes a block of the calling process longer or shorter; see [`Malloc::reallocate`](crate::malloc::Malloc::reallocate).
#[inline]
pub(crate) fn reallocate_plain(mem: NonNull<u8>, bytes: usize, alignment: usize) -> Option<NonNull<u8>> {
    tick();
    match cache() {
        Some(cache) => MALLOC.reallocate_cached(&mut enter(cache), mem, bytes, alignment),
        None => MALLOC.reallocate(MALLOC.arenas.main(), mem, bytes, alignment),
    }
}

/// Bytes that may be written to a block.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
pub(crate) fn usable_len(mem: NonNull<u8>) -> usize {
    #[cfg(feature = "hardened")]
    return super::hardened::usable_len(mem);
    #[cfg(not(feature = "hardened"))]
    MALLOC.usable_len(mem)
}

/// Ends the process unless a block can be the one that was asked for with `bytes` and `alignment`.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
pub(crate) fn check_size(mem: NonNull<u8>, bytes: usize, alignment: usize) {
    #[cfg(feature = "hardened")]
    super::hardened::check_size(mem, bytes, alignment);
    #[cfg(not(feature = "hardened"))]
    MALLOC.check_size(mem, bytes, alignment);
}
