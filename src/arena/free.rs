//! Chunks come back: they are joined with their free neighbours, and kept or given back.
//!
//! ```text
//!   a magazine is flushed  --one after the other-->  rows of neighbours  --each as one chunk-->  joined  -->  a bin
//!                                                                                                       -->  the top
//!                                                                                                       -->  the system
//! ```
//!
//! There are two ways to a bin. [`free_chunk`](Arena::free_chunk) knows them all: tops, the ends of runs, regions that fall, pages
//! that become whole. But nearly every chunk that a cache gives back is small and lies among small ones, and what they become has
//! no whole page inside; [`free_small`](Arena::free_small) does just that, in fewer instructions.

use super::{Arena, Release};
use crate::arch::PAGE_LEN;
use crate::chunk::{ChunkPtr, FreeChunk, Head, Zone};
use crate::fatal::check;
use crate::os::Os;
use crate::size::{ChunkSize, MIN_LARGE};
use crate::source::Source;

/// Chunks side by side that are being freed, not yet as one.
#[derive(Debug)]
pub(crate) struct Row {
    chunk: ChunkPtr,
    size: ChunkSize,
}

impl Arena {
    /// Takes a chunk of `size` back, whose head was looked at under the lock, together with the ones before: as long as each is a
    /// neighbour of the row that waits, that only becomes longer, and is freed as one chunk.
    #[inline(always)]
    pub(crate) fn free_in_row<O: Os>(
        &mut self,
        source: &Source<O>,
        waiting: &mut Option<Row>,
        chunk: ChunkPtr,
        size: ChunkSize,
    ) -> Release {
        let next = chunk.next(size);
        Self::next_in_use(chunk, size);
        match waiting {
            Some(row) if row.chunk == next => {
                next.erase_head();
                *row = Row { chunk, size: size.joined(row.size) };
                Release::NOTHING
            }
            Some(row) if row.chunk.next(row.size) == chunk => {
                chunk.erase_head();
                row.size = row.size.joined(size);
                Release::NOTHING
            }
            _ => {
                let release = self.free_row(source, waiting);
                *waiting = Some(Row { chunk, size });
                release
            }
        }
    }

    /// Frees the row that waits, if there is one.
    pub(crate) fn free_row<O: Os>(&mut self, source: &Source<O>, waiting: &mut Option<Row>) -> Release {
        match waiting.take() {
            Some(row) => self.free_as_one(source, row),
            None => Release::NOTHING,
        }
    }

    /// Takes a chunk back from its user.
    pub(crate) fn free<O: Os>(&mut self, source: &Source<O>, chunk: ChunkPtr) -> Release {
        let (_, size) = self.in_use(chunk);
        self.free_as_one(source, Row { chunk, size })
    }

    #[inline(always)]
    fn free_as_one<O: Os>(&mut self, source: &Source<O>, row: Row) -> Release {
        // Read now: what was freed since the row began may have made the chunk before it a free one. Its size is that of the
        // row's first chunk; the row's is written with its tags.
        let head = row.chunk.head_unchecked();
        if self.free_small::<O>(&row, head) {
            return Release::NOTHING;
        }
        self.free_chunk(source, FreeChunk::new(row.chunk, row.size, head.origin()), head.prev_in_use())
    }

    /// As [`free_chunk`](Self::free_chunk), for a small row among chunks that are in use or small. `false`, and nothing is
    /// changed, for any other.
    #[inline(always)]
    fn free_small<O: Os>(&mut self, row: &Row, head: Head) -> bool {
        let (chunk, size, origin) = (row.chunk, row.size, head.origin());
        let next = chunk.next(size);
        let is_next_free = next.head_unchecked().is_free();
        if size >= ChunkSize::LARGE || is_next_free && self.top.is_at(next) {
            return false;
        }
        let behind = is_next_free.then(|| FreeChunk::read_tags(next).0);
        let (end, joined) = behind.map_or((next, size), |behind| (next.next(behind), size.joined(behind)));
        // Not before the end of a run, nor before the wall of a region, which may fall.
        if behind.is_some_and(|behind| behind >= ChunkSize::LARGE) || end.head_unchecked().chunk_in_use().is_none() {
            return false;
        }
        let front = (!head.prev_in_use()).then(|| self.free_before::<O>(chunk, origin.owner()));
        if front.is_some_and(|(_, size, _)| size >= ChunkSize::LARGE) {
            return false;
        }
        let bins = self.bins_of(origin.zone());
        match behind {
            Some(behind) => {
                bins.take_small(next, behind);
                next.erase_head();
            }
            None => end.set_prev_in_use(false),
        }
        match front {
            Some((front, its_size, _)) => {
                bins.take_small(front, its_size);
                chunk.erase_head();
                bins.insert_short(front, its_size.joined(joined), origin);
            }
            None => bins.insert_short(chunk, joined, origin),
        }
        true
    }

    /// Joins a chunk that was in use a moment ago with its free neighbours, and keeps it or gives it back.
    pub(super) fn free_chunk<O: Os>(&mut self, source: &Source<O>, free: FreeChunk, prev_in_use: bool) -> Release {
        let free = self.join_prev::<O>(free, prev_in_use);
        let (mut free, mut next, mut is_noted) = self.join_next(free);
        if free.origin().zone() == Zone::Region
            && let Some((whole, prev_in_use)) = self.dissolve(&free, next)
        {
            let whole = self.join_prev::<O>(whole, prev_in_use);
            (free, next, is_noted) = self.join_next(whole);
        }
        if self.top.is_at(next) {
            self.top.absorb_front(free);
            return self.trim_if_long(source);
        }
        if !is_noted {
            next.set_prev_in_use(false);
        }
        if next.head_unchecked().is_fence() {
            // Behind a free neighbour nobody has looked at it yet, and zeroes would do for a fence: the run would be cut there.
            check!(next.head().is_some(), NextHeadOverwritten, free.chunk().mem().addr().get());
            return self.insert_before_fence(source, free, next);
        }
        self.insert(free);
        Release::NOTHING
    }

    /// Joins a chunk with the one behind it, if that is free and not the top. Returns what lies behind both, and whether
    /// that knows already that the chunk before it is free.
    #[inline]
    fn join_next(&mut self, free: FreeChunk) -> (FreeChunk, ChunkPtr, bool) {
        let next = free.chunk().next(free.size());
        if self.top.is_at(next) || !next.head_unchecked().is_free() {
            return (free, next, false);
        }
        let behind = self.take(next);
        let end = next.next(behind.size());
        next.erase_head();
        (free.joined(behind), end, true)
    }

    /// Joins a chunk with the one before it, if that is free.
    fn join_prev<O: Os>(&mut self, free: FreeChunk, prev_in_use: bool) -> FreeChunk {
        if prev_in_use {
            return free;
        }
        let prev = self.take_prev::<O>(free.chunk(), free.owner());
        free.chunk().erase_head();
        prev.joined(free)
    }
}

const _: () = assert!(3 * MIN_LARGE <= PAGE_LEN, "three small chunks have no whole page inside");
