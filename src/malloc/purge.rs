//! When memory goes back by itself.
//!
//! ```text
//!   a free leaves an arena with more dirty pages than it may keep  -->  PURGE_DUE is set; so does a depot that is full
//!   PURGE_DUE is set: every request looks at the clock             -->  once a tick the arenas are looked at
//!   pages that lay unused for a whole window                       -->  are given back, a step at a time, unlocked
//!   no arena has more than it may keep                             -->  PURGE_DUE is cleared
//! ```
//!
//! There is no thread and no timer behind this, so a process that is silent gives nothing back until its next request. How
//! much one request does is bounded by how long the process was away: it spends a quarter of that time at most, so that
//! a busy process purges in slices that nobody notices, and one that wakes up once a second does all there is to do.
//!
//! # Safety
//!
//! Pages that are given back lie inside a piece that is held for it.
#![allow(unsafe_code)]

use super::Malloc;
use super::idle::Times;
use crate::arenas::ArenaCell;
use crate::attention::Reason;
use crate::options::Param;
use crate::os::Os;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, sleep_on, wake};
use crate::watermark::TICKS;

/// Pages that one step gives back: what takes some 60 us.
const STEP: usize = 256;
/// Pages of a top that one step gives back, under the lock.
const TOP_STEP: usize = 32;
/// Pages that a request gives back at least, and for each millisecond that the process was away: a millisecond of work
/// gives some 4,000 back.
const LEAST_AT_ONCE: usize = 512;
const AT_ONCE_PER_MS: usize = 1024;
/// The background thread looks this often at least, in milliseconds for all ticks of a window.
const MOST_TICKS_MS: usize = 40_000;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// The last look.
#[derive(Debug)]
struct Look {
    /// In milliseconds.
    time: u64,
    /// The tick that it was in.
    tick: u64,
}

/// When to look next.
#[derive(Debug)]
pub(crate) struct Clock {
    /// In milliseconds. Relaxed: who looks too early or too late finds less or more.
    next: AtomicU64,
    /// Since when a purge is due, in milliseconds. Relaxed: as above.
    since: AtomicU64,
    /// Held by whoever looks.
    last: Mutex<Look>,
    /// 1 while the background thread sleeps until something is due.
    bell: AtomicU32,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            since: AtomicU64::new(0),
            last: <Mutex<Look>>::new(Look { time: 0, tick: 0 }),
            bell: AtomicU32::new(AWAKE),
        }
    }

    /// Before a fork: nobody looks until [`end_fork`](Self::end_fork).
    pub(crate) fn begin_fork(&self) {
        // SAFETY: the raw lock is released by `end_fork`.
        unsafe { self.last.raw() }.lock_for_fork();
    }

    /// After a fork, in the parent or in the child.
    pub(crate) fn end_fork(&self) {
        // SAFETY: taken by `begin_fork` in this thread, or in the one that this is a copy of.
        unsafe { self.last.raw() }.release_after_fork();
    }

    /// In a copy that no handler was told of: who looked is not here, and the last look may be of any time.
    pub(super) fn put_in_order(&self) {
        self.forget_sleeper();
        // SAFETY: looked at, and released once for the holder that is not here.
        let raw = unsafe { self.last.raw() };
        if raw.is_left_held() {
            raw.free_left_held();
        }
    }

    /// Somebody looks for ever.
    #[cfg(test)]
    pub(super) fn leave_inside(&self) {
        core::mem::forget(self.last.lock());
    }

    /// In the child of a fork nobody sleeps.
    pub(crate) fn forget_sleeper(&self) {
        self.bell.store(AWAKE, Ordering::Relaxed);
    }
}

impl<O: Os> Malloc<O> {
    /// An arena has more dirty pages than it may keep, and nobody watches them yet.
    #[cold]
    pub(super) fn watch(&self) {
        if !self.source.params.attention.has(Reason::PurgeDue) {
            self.source.params.attention.set(Reason::PurgeDue, true);
            self.clock.next.store(0, Ordering::Relaxed);
            self.clock.since.store(self.source.os.now(), Ordering::Relaxed);
            self.look_at_clock();
            self.ring();
        }
    }

    /// Wakes the background thread, if there is one.
    pub(crate) fn ring(&self) {
        // Orders what was set before with the thread's look after it said that it sleeps.
        if self.clock.bell.swap(AWAKE, Ordering::SeqCst) == ASLEEP {
            wake(&self.clock.bell);
        }
    }

    /// For the background thread: sleeps a tick while something is due, and else until somebody rings, or for `most` milliseconds.
    pub(crate) fn wait_until_due(&self, most: Option<usize>) {
        let params = &self.source.params;
        self.clock.bell.swap(ASLEEP, Ordering::SeqCst);
        let is_due = params.attention.has(Reason::PurgeDue);
        let tick_len = (params.get(Param::DirtyDecayMs).min(MOST_TICKS_MS) / TICKS).max(1);
        if params.wants_thread() {
            let until_due = is_due.then_some(tick_len);
            sleep_on(&self.clock.bell, ASLEEP, until_due.into_iter().chain(most).min());
        }
        self.clock.bell.swap(AWAKE, Ordering::SeqCst);
    }

    /// While a purge is due: gives back what has lain unused for long enough. Returns the time, in milliseconds.
    #[cold]
    pub(crate) fn look_at_clock(&self) -> u64 {
        let now = self.source.os.now();
        if now < self.clock.next.load(Ordering::Relaxed) {
            return now;
        }
        self.keep_order();
        // Who finds another thread looking has nothing to do.
        if let Some(mut last) = self.clock.last.try_lock() {
            let next = self.look(&mut last, now);
            self.clock.next.store(next, Ordering::Relaxed);
        }
        now
    }

    /// Gives back what is due `now`. Returns when to look again.
    fn look(&self, last: &mut Look, now: u64) -> u64 {
        let away = now.saturating_sub(last.time);
        last.time = now;
        let params = &self.source.params;
        // Cleared first: what another thread sets while this one looks stays set.
        params.attention.set(Reason::PurgeDue, false);
        let decay = params.get(Param::DirtyDecayMs);
        if decay == usize::MAX {
            self.for_each_locked(|mut arena| arena.stop_watching());
            return 0;
        }
        let tick_len = (decay / TICKS).max(1) as u64;
        let tick = now / tick_len;
        let mut most = LEAST_AT_ONCE.max((away as usize).saturating_mul(AT_ONCE_PER_MS));
        let (mut is_watching, mut is_pending) = (false, false);
        if tick != last.tick {
            last.tick = tick;
            is_watching = self.depot.drain_half_unused(|magazine| self.flush(magazine)) > 0;
            let since = self.clock.since.load(Ordering::Relaxed);
            let window = decay.max(TICKS) as u64;
            is_watching |= self.empty_idle_threads(Times { now, away, since, window, tick_len });
        }
        for cell in self.arenas.iter() {
            let Some(mut arena) = self.lock(cell) else { continue };
            let (unused, watch) = arena.unused_pages(tick, params.get(Param::DirtyPercent));
            drop(arena);
            is_watching |= watch;
            if unused > 0 {
                let purged = self.purge(cell, unused.min(most));
                most -= purged.min(most);
                is_pending |= purged < unused && most == 0;
            }
        }
        if is_watching {
            params.attention.set(Reason::PurgeDue, true);
        }
        if is_pending { now + 1 } else { (tick + 1) * tick_len }
    }

    /// Gives at most `most` dirty pages of an arena back, those of its top last. Returns how many.
    pub(super) fn purge(&self, cell: &ArenaCell, most: usize) -> usize {
        let mut purged = self.purge_chunks(cell, most);
        while purged < most {
            let Some(mut arena) = self.lock(cell) else { break };
            let count = arena.purge_top(&self.source, (most - purged).min(TOP_STEP));
            if count == 0 {
                break;
            }
            purged += count;
        }
        purged
    }

    /// Gives at most `most` dirty pages inside an arena's free chunks back. Returns how many.
    pub(super) fn purge_chunks(&self, cell: &ArenaCell, most: usize) -> usize {
        // Who holds a piece does so in a process that is in order.
        self.keep_order();
        let mut purged = 0;
        while purged < most {
            let begun =
                self.lock(cell).and_then(|mut arena| arena.begin_purge(&self.source, (most - purged).min(STEP)));
            let Some(purging) = begun else { break };
            // SAFETY: whole pages inside a piece that is marked in use and held by this thread only.
            let done = unsafe { self.source.os.purge(purging.start(), purging.pages().len()) };
            let Some(mut arena) = self.lock(cell) else { break };
            let release = arena.end_purge(&self.source, &purging, done);
            drop(arena);
            release.run(&self.source);
            if !done {
                break;
            }
            purged += purging.pages().count();
        }
        purged
    }

    /// In the child of a fork: pieces that other threads were giving back are free memory again.
    pub(crate) fn recover_purges(&self) {
        self.clock.forget_sleeper();
        self.for_each_locked(|mut arena| {
            let release = arena.recover_purge(&self.source);
            drop(arena);
            release.run(&self.source);
        });
    }

    /// Waits for other threads that hold memory only to give it back. Returns whether there were any.
    pub(super) fn wait_for_purges(&self) -> bool {
        self.keep_order();
        let mut waited = false;
        for cell in self.arenas.iter() {
            while self.lock(cell).is_some_and(|arena| arena.is_purging()) {
                waited = true;
                self.source.os.pause();
            }
        }
        waited
    }
}
