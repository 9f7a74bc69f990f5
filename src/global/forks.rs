//! What happens around a fork.
//!
//! A fork takes every lock before and releases every lock after, unless the process has one thread: then it takes none,
//! so that a fork in a signal handler which has interrupted this allocator goes well.
//!
//! ```text
//!   before            the list of streams, the arenas and all else  -->  nobody is in the middle of anything
//!   after, parent     all of it is released
//!   after, child      the other threads are gone: their caches and their places in arenas are nobody's; then the same
//! ```
//!
//! # Safety
//!
//! The handlers run in the thread that forks; the cache whose arena is read is that thread's.
#![allow(unsafe_code)]

use super::{MALLOC, Slot, streams};
use crate::arch;
use crate::background;
use crate::os::Os;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{begin_fork, end_fork};
use crate::tcache::CachePtr;

/// Whether the locks are held for a fork of this process's only forking thread.
static HOLDS_LOCKS: AtomicBool = AtomicBool::new(false);

pub(super) unsafe extern "C" fn before() {
    MALLOC.keep_order();
    if !arch::is_single_threaded() {
        streams::lock();
        MALLOC.begin_fork();
        HOLDS_LOCKS.store(true, Ordering::Relaxed);
    }
    // Until the last handler has run: a child that allocates before ours is no copy that nobody was told of.
    begin_fork();
}

pub(super) unsafe extern "C" fn after_in_parent() {
    if release() {
        streams::unlock_in_parent();
    }
}

/// Whether locks had been taken for the fork.
fn release() -> bool {
    end_fork();
    let held = HOLDS_LOCKS.load(Ordering::Relaxed);
    if held {
        HOLDS_LOCKS.store(false, Ordering::Relaxed);
        MALLOC.end_fork();
    }
    held
}

/// Without other threads nobody was left behind, and this one may be in the middle of a request: with a lock, or with a
/// cache that is not in its slot yet.
pub(super) unsafe extern "C" fn after_in_child() {
    MALLOC.source.os.lineage().note_fork();
    let had_other_threads = HOLDS_LOCKS.load(Ordering::Relaxed);
    if had_other_threads {
        let own = Slot::live();
        MALLOC.arenas.forget_threads(own.map(CachePtr::arena));
        MALLOC.caches.orphan_all_but(own);
    }
    if let Some(own) = Slot::live() {
        own.note_thread(MALLOC.source.os.thread());
    }
    background::forget_in_child();
    if release() {
        MALLOC.recover_purges();
    }
}
