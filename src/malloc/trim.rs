//! Giving back on demand, all at once or within a budget.
//!
//! ```text
//!   what the calling thread has cached, what waits for a thread, the depot  -->  the arenas
//!   what threads have cached that are not at it at the moment               -->  the arenas
//!   every other thread                                                      -->  its next free does the same
//!   dirty pages inside free chunks, a step at a time, without the lock      -->  the system
//!   dirty pages of the tops, a few at a time                                -->  the system
//!   what is left of tops and ends of runs: addresses without memory         -->  the system
//! ```
//!
//! Pages that have been given back and not been touched since are on record as clean, and are not given back again.

use super::Malloc;
use crate::arch::PAGE_LEN;
use crate::arenas::ArenaCell;
use crate::budget::{Budget, Trimmed};
use crate::os::Os;
use crate::tcache::ThreadCache;

/// Pages between two looks at the budget: what takes some 15 us.
const STEP: usize = 64;

/// What may still be given back.
struct Left<'a, O> {
    os: &'a O,
    pages: usize,
    /// When it is over, in milliseconds.
    end: Option<u64>,
    purged: usize,
}

impl<O: Os> Left<'_, O> {
    /// How many pages the next step may give back; 0: none.
    fn next(&self) -> usize {
        let is_over = self.end.is_some_and(|end| self.os.now() >= end);
        if is_over { 0 } else { (self.pages - self.purged).min(STEP) }
    }
}

impl<O: Os> Malloc<O> {
    /// Gives back whatever can be given back, leaving `pad` bytes at the top of each arena. Returns how many bytes were
    /// given back.
    pub(crate) fn trim(&self, cache: Option<&mut ThreadCache>, pad: usize) -> usize {
        let before = self.system();
        self.collect(cache);
        self.empty_all_at_rest(|| true);
        let mut purged = 0;
        for cell in self.arenas.iter() {
            let Some(mut arena) = self.lock(cell) else { continue };
            let release = arena.trim(&self.source, pad);
            drop(arena);
            release.run(&self.source);
            purged += self.purge_chunks(cell, usize::MAX) * PAGE_LEN;
        }
        purged + before.saturating_sub(self.system())
    }

    /// Gives back as much as `budget` allows.
    pub(crate) fn trim_within(&self, cache: Option<&mut ThreadCache>, budget: Budget) -> Trimmed {
        let os = &self.source.os;
        let end = budget.milliseconds().map(|most| os.now().saturating_add(most));
        let mut left = Left { os, pages: budget.pages(), end, purged: 0 };
        self.collect(cache);
        self.empty_all_at_rest(|| left.next() > 0);
        let is_done = self.arenas.iter().all(|cell| self.trim_arena_within(cell, &mut left));
        Trimmed { bytes: left.purged * PAGE_LEN, is_done }
    }

    /// Whether nothing is left of one arena.
    fn trim_arena_within(&self, cell: &ArenaCell, left: &mut Left<'_, O>) -> bool {
        loop {
            let most = left.next();
            if most == 0 {
                return self.lock(cell).is_none_or(|arena| arena.dirty_pages() == 0);
            }
            let count = self.purge(cell, most);
            left.purged += count;
            if count == 0 {
                break;
            }
        }
        // No memory is behind these any more, or another thread is giving it back.
        let Some(mut arena) = self.lock(cell) else { return true };
        let release = arena.trim(&self.source, 0);
        drop(arena);
        release.run(&self.source);
        true
    }

    /// Brings to the arenas what can be: what the calling thread has cached, what nobody's cache holds, and the depot.
    /// Threads that go on bring their own at their next free.
    fn collect(&self, cache: Option<&mut ThreadCache>) {
        if let Some(cache) = cache {
            self.flush_all(cache);
        }
        self.empty_idle();
        self.source.params.cache_limits.advance();
        self.caches.ring();
        self.source.retry_releases();
    }

    /// Usable bytes that all arenas have from the system.
    fn system(&self) -> usize {
        let mut system = 0;
        self.for_each_arena(|_, figures| system += figures.counts.system);
        system
    }
}
