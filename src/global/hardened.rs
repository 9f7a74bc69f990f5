//! Requests and frees of a hardened build: the [guards](crate::guarded) around the allocator of the process.
//!
//! # Safety
//!
//! A block that was asked for here is as long as its guards say; it is looked at before it is believed.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use super::MALLOC;
use super::requests::{allocate_plain, free_plain, reallocate_plain};
use crate::arch;
use crate::fatal::{Misuse, fatal};
use crate::guarded::nothing::Nothing;
use crate::guarded::quarantine::{Quarantine, Waiting};
use crate::guarded::{self, GUARD};
use crate::malloc::Contents;
use crate::size::ALIGNMENT;
use crate::sync::Guard;

static NOTHING: Nothing = Nothing::new();

/// The quarantine, or `None` in a signal handler that has interrupted its only user.
fn lock() -> Option<Guard<'static, Quarantine>> {
    MALLOC.keep_order();
    let quarantine = &MALLOC.quarantine;
    quarantine.try_lock().or_else(|| (!arch::is_single_threaded()).then(|| quarantine.lock()))
}

/// As [`allocate_plain`], with guards.
pub(crate) fn allocate(bytes: usize, alignment: usize, contents: Contents) -> Option<NonNull<u8>> {
    if bytes == 0
        && alignment <= ALIGNMENT
        && let Some(mem) = NOTHING.take(&MALLOC.source.os)
    {
        return Some(mem);
    }
    let whole = bytes.checked_add(GUARD)?;
    let mem = allocate_plain(whole, alignment, contents).or_else(|| {
        empty_quarantine();
        allocate_plain(whole, alignment, contents)
    })?;
    guarded::set(mem, bytes, MALLOC.checked_usable(mem));
    Some(mem)
}

/// As [`free_plain`], after a look at the guards, and not at once.
pub(crate) fn free(mem: NonNull<u8>) {
    if NOTHING.contains(mem) {
        return NOTHING.put(mem);
    }
    let whole = MALLOC.checked_usable(mem);
    let _ = guarded::checked_len(mem, whole);
    MALLOC.check_neighbour(mem);
    if MALLOC.is_mapped(mem) {
        // Its addresses go away at once: whoever comes late finds nothing.
        return free_plain(mem);
    }
    let Some(waiting) = Waiting::fill(mem, whole) else { return free_plain(mem) };
    let leaving = match lock() {
        Some(mut quarantine) => quarantine.exchange(waiting),
        None => Some(waiting),
    };
    if let Some(leaving) = leaving {
        free_plain(leaving.checked());
    }
}

/// As [`free`], for a block that was asked for with `bytes` and `alignment`.
pub(crate) fn free_sized(mem: NonNull<u8>, bytes: usize, alignment: usize) {
    check_size(mem, bytes, alignment);
    free(mem);
}

/// Ends the process unless a block was asked for with `bytes` and `alignment`.
pub(crate) fn check_size(mem: NonNull<u8>, bytes: usize, alignment: usize) {
    if !NOTHING.contains(mem) {
        MALLOC.check_guarded_size(mem, bytes, alignment);
    } else if bytes != 0 {
        fatal(Misuse::WrongSize, mem.addr().get());
    }
}

/// Bytes that were asked for: the rest is guards.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
pub(crate) fn usable_len(mem: NonNull<u8>) -> usize {
    if NOTHING.contains(mem) {
        NOTHING.check(mem);
        return 0;
    }
    MALLOC.guarded_len(mem)
}

/// As [`reallocate_plain`]: the block moves, but for mapped ones that stay mapped.
pub(crate) fn reallocate(mem: NonNull<u8>, bytes: usize, alignment: usize) -> Option<NonNull<u8>> {
    if NOTHING.contains(mem) {
        NOTHING.check(mem);
        let moved = allocate(bytes, alignment, Contents::Any)?;
        NOTHING.put(mem);
        return Some(moved);
    }
    let len = MALLOC.guarded_len(mem);
    MALLOC.check_neighbour(mem);
    if MALLOC.is_mapped(mem) && bytes > len / 4 {
        let moved = reallocate_plain(mem, bytes.checked_add(GUARD)?, alignment)?;
        guarded::set(moved, bytes, MALLOC.checked_usable(moved));
        return Some(moved);
    }
    let Some(moved) = allocate(bytes, alignment, Contents::Any) else {
        if bytes > len {
            return None;
        }
        // Shorter is possible where it is.
        guarded::set(mem, bytes, MALLOC.checked_usable(mem));
        return Some(mem);
    };
    // SAFETY: two blocks in use, both at least that long.
    unsafe { moved.copy_from_nonoverlapping(mem, len.min(bytes)) };
    free(mem);
    Some(moved)
}

/// Frees in earnest what waits.
pub(crate) fn empty_quarantine() {
    loop {
        let waiting = lock().and_then(|mut quarantine| quarantine.take_any());
        let Some(waiting) = waiting else { return };
        free_plain(waiting.checked());
    }
}
