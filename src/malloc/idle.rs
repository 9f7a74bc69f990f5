//! What threads have cached that have fallen idle.
//!
//! A thread that sleeps keeps its cache, up to a MiB of it, and nobody but itself could empty that without a lock, which the fast
//! paths do not have. So it is taken from the thread by a [handshake](crate::handshake), a piece at a time:
//!
//! ```text
//!   the gate is locked; TAKING is set     who comes to his own cache from now on waits at the gate
//!   every thread passes a barrier         who was at his cache before that says so
//!   nobody is at it: a piece is taken     heads of magazines, on the stack
//!   TAKING is cleared; the gate opens     a moment later
//!   the piece goes to the arenas
//! ```
//!
//! Who is idle? While a purge is due every thread looks at the clock, if it makes requests at all, and leaves the time in its
//! cache. One that has not done so for as long as free memory may lie unused is idle.
//!
//! # Safety
//!
//! As in the parent; what is taken out of a cache is nobody else's.
#![allow(unsafe_code)]

use super::Malloc;
use crate::attention::Reason;
use crate::os::Os;
use crate::tcache::{CacheCell, CachePtr, InUse, PIECES, Piece};

/// A cache with less than this is left alone, in bytes.
const WORTH_TAKING: usize = 4 << 10;
/// Bytes that a tick of the clock takes at least, if they are there, and for each millisecond since the last look. A MiB takes a
/// millisecond to be freed into the arenas (a trim with a hundred such threads: 81 MB in 77 ms).
const LEAST_AT_ONCE: usize = 2 << 20;
const AT_ONCE_PER_MS: usize = 64 << 10;

/// A part of the time line, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) now: u64,
    /// Since the last look.
    pub(super) away: u64,
    /// When threads began to leave the time.
    pub(super) since: u64,
    /// After how long a thread is idle.
    pub(super) window: u64,
    pub(super) tick_len: u64,
}

impl<O: Os> Malloc<O> {
    /// The calling thread's cache, until that is dropped.
    ///
    /// # Safety
    ///
    /// - The calling thread owns it, and is not using it already.
    #[inline]
    pub(crate) unsafe fn enter(&self, cache: CachePtr) -> InUse {
        loop {
            // SAFETY: the caller's promise; it is left at once if somebody takes.
            let mut in_use = unsafe { cache.enter() };
            if !self.source.params.attention.has(Reason::Taking) {
                in_use.count_what_is_left();
                return in_use;
            }
            drop(in_use);
            self.wait_at_gate();
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_at_gate(&self) {
        self.keep_order();
        drop(self.caches.gate.lock());
    }

    /// The purge clock ticks: what idle threads have cached goes to the arenas. Returns whether there may be more.
    pub(super) fn empty_idle_threads(&self, times: Times) -> bool {
        // A thread alone would empty its own, at the moment that it comes back to it.
        if self.caches.owned().nth(1).is_none() && !self.source.params.wants_thread() {
            return false;
        }
        let mut left = LEAST_AT_ONCE.max((times.away as usize).saturating_mul(AT_ONCE_PER_MS));
        let mut is_watching = false;
        for cell in self.caches.owned() {
            let heard_of = cell.seen().max(times.since);
            let idle = times.now.saturating_sub(heard_of);
            let has_come = cell.seen() >= times.since && idle < 2 * times.tick_len;
            if has_come || cell.empty() > heard_of {
                continue;
            }
            if cell.bytes_to_take() < WORTH_TAKING {
                cell.note_empty(times.now);
            } else if idle >= times.window && left > 0 {
                left = left.saturating_sub(self.empty_at_rest(cell));
            } else {
                is_watching = true;
            }
        }
        is_watching
    }

    /// Everything cached by threads that are not at it at the moment goes to the arenas, for as long as `goes_on`.
    pub(crate) fn empty_all_at_rest(&self, goes_on: impl Fn() -> bool) {
        for cell in self.caches.owned() {
            if !goes_on() {
                break;
            }
            if cell.bytes_to_take() > 0 {
                self.empty_at_rest(cell);
            }
        }
    }

    /// Empties a thread's cache unless it is at it. Returns how many bytes went.
    fn empty_at_rest(&self, cell: &CacheCell) -> usize {
        let mut bytes = 0;
        for piece in 0..PIECES {
            let Some(piece) = self.take_piece(cell, piece) else { break };
            for mut magazine in piece.magazines {
                magazine.recount();
                bytes += magazine.bytes();
                self.flush(magazine);
            }
            for mem in piece.blocks.into_iter().flatten() {
                bytes += self.free_of_recent(mem);
            }
        }
        bytes
    }

    fn take_piece(&self, cell: &CacheCell, piece: usize) -> Option<Piece> {
        self.keep_order();
        let attention = &self.source.params.attention;
        let _gate = self.caches.gate.lock();
        attention.set(Reason::Taking, true);
        let can_take = self.source.os.make_barrier() && cell.is_at_rest();
        let take = || {
            let is_asleep = self.source.os.is_asleep(cell.thread());
            // SAFETY: at rest, and whoever comes waits at the gate.
            unsafe { cell.take_piece(piece, is_asleep) }
        };
        let taken = can_take.then(take);
        attention.set(Reason::Taking, false);
        taken
    }
}
