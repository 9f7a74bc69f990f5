//! Giving the pages inside free chunks back.
//!
//! A free chunk keeps its addresses and loses its memory: its dirty pages are advised away, and are zero when they come
//! again. That takes time, so it is not done under the lock. The end of the chunk that holds the pages in question is
//! marked in use and remembered, the lock is released, the system is asked, the lock is taken again, and the piece is
//! freed like any other:
//!
//! ```text
//!   | free, 3 MiB dirty                                  | in use |
//!   | free, 2 MiB dirty           | being purged, 1 MiB  | in use |     without the lock
//!   | free, 2 MiB dirty, then 1 MiB of nothing           | in use |
//! ```
//!
//! How much there is to purge is told by a low-water mark of the dirty pages: those that lay unused for the whole of its
//! window, all but a small part of what is in use. The long chunks go first: they have the most pages for one call, and
//! best fit takes them last.

use super::{Arena, Backing, Release};
use crate::chunk::{ChunkPtr, FreeChunk};
use crate::os::Os;
use crate::pages::Pages;
use crate::size::{ALIGNMENT, ChunkSize, MIN_CHUNK, round_down};
use crate::source::Source;

/// Dirty pages that an arena may keep whatever it has in use.
const LEAST_KEPT: usize = 32;

/// A piece whose pages are being given back.
#[derive(Debug)]
#[must_use = "a piece that is not freed again is lost"]
pub(crate) struct Purging {
    chunk: ChunkPtr,
    pages: Pages,
    /// Dirty pages of the piece that are not to be given back now.
    rest: Pages,
}

impl Purging {
    /// The pages to give back.
    pub(crate) fn pages(&self) -> Pages {
        self.pages
    }

    /// Where they begin.
    pub(crate) fn start(&self) -> core::ptr::NonNull<u8> {
        self.chunk.at(self.pages.start_address() - self.chunk.address()).start()
    }
}

impl Arena {
    /// Pages of free memory that have been touched and not been given back since.
    #[inline]
    pub(crate) fn dirty_pages(&self) -> usize {
        self.general.dirty_pages() + self.regions.dirty_pages() + self.top.dirty().count()
    }

    /// Dirty pages that the arena may keep: a part of what is in use, in percent.
    pub(crate) fn kept_pages(&self, percent: usize) -> usize {
        (self.bytes_in_use() / crate::arch::PAGE_LEN / 100).saturating_mul(percent).max(LEAST_KEPT)
    }

    /// Some memory may have been taken from the dirty pages.
    #[inline]
    pub(super) fn note_taken(&mut self) {
        if self.watermark.is_watched() {
            self.watermark.note(self.dirty_pages());
        }
    }

    /// Whether nobody watches the dirty pages although there are more than may be kept.
    #[inline]
    pub(crate) fn is_worth_watching(&self) -> bool {
        !self.watermark.is_watched() && self.dirty_pages() > self.alarm
    }

    /// How many dirty pages to give back at `tick`, and whether to go on watching. `percent` of what is in use may stay.
    pub(crate) fn unused_pages(&mut self, tick: u64, percent: usize) -> (usize, bool) {
        let (dirty, kept) = (self.dirty_pages(), self.kept_pages(percent));
        if dirty <= kept {
            self.watermark.forget();
            self.alarm = kept;
            return (0, false);
        }
        (self.watermark.unused(tick, dirty).saturating_sub(kept), true)
    }

    /// Nobody is to watch, and nothing to be given back: purging is off.
    pub(crate) fn stop_watching(&mut self) {
        self.watermark.forget();
        self.alarm = usize::MAX;
    }

    /// Before its first pages are given back: its memory has small pages from now on.
    fn use_small_pages<O: Os>(&mut self, source: &Source<O>) {
        if self.has_small_pages || !source.begin_small_pages() {
            return;
        }
        self.has_small_pages = true;
        if let Backing::Break(brk) = &self.backing
            && let Some(first) = brk.first()
        {
            // With what others have between its runs: it is only advice.
            source.use_small_pages(first.start(), brk.end_address() - first.address());
        }
        self.heaps().for_each(|heap| source.use_small_pages(heap.start(), heap.committed()));
    }

    /// Takes a piece with at most `most` dirty pages out, to be given back. `None` when there is none, or another thread
    /// is at it.
    pub(crate) fn begin_purge<O: Os>(&mut self, source: &Source<O>, most: usize) -> Option<Purging> {
        if self.purging.is_some() || most == 0 {
            return None;
        }
        let free = self.general.take_dirty().or_else(|| self.regions.take_dirty())?;
        self.use_small_pages(source);
        let (rest, pages) = free.dirty().split_last(most);
        let purging = if rest.is_empty() { self.hold_whole(&free, pages) } else { self.hold_end(free, rest, pages) };
        self.purging = Some(purging.chunk);
        Some(purging)
    }

    fn hold_whole(&mut self, free: &FreeChunk, pages: Pages) -> Purging {
        let (chunk, size) = (free.chunk(), free.size());
        chunk.set_head(size, free.origin(), true);
        chunk.next(size).set_prev_in_use(true);
        Purging { chunk, pages, rest: Pages::NONE }
    }

    /// The front of the chunk stays free, so that others can go on with it.
    fn hold_end(&mut self, free: FreeChunk, rest: Pages, pages: Pages) -> Purging {
        let chunk = free.chunk();
        // As far behind the page before as the piece's own tags need.
        let at = round_down(pages.start_address() - ChunkPtr::LINKS_LEN, ALIGNMENT);
        let front = at.saturating_sub(chunk.address());
        if front < MIN_CHUNK {
            return Purging { rest, ..self.hold_whole(&free, pages) };
        }
        let front = ChunkSize::exact(front);
        let piece = chunk.next(front);
        let size = ChunkSize::exact(free.size().get() - front.get());
        piece.set_head(size, free.origin(), false);
        piece.next(size).set_prev_in_use(true);
        self.insert(FreeChunk::new(chunk, front, free.origin()).with_dirty(rest));
        Purging { chunk: piece, pages, rest: Pages::NONE }
    }

    /// Frees a piece again, whose pages have been given back if that is `done`.
    pub(crate) fn end_purge<O: Os>(&mut self, source: &Source<O>, purging: &Purging, done: bool) -> Release {
        self.purging = None;
        let (head, size) = self.in_use(purging.chunk);
        let dirty = if done { purging.rest } else { purging.rest.hull(purging.pages) };
        if done {
            self.counts.purges += 1;
            self.counts.purged_pages += purging.pages.count();
            self.watermark.lower(purging.pages.count());
        }
        let free = FreeChunk::new(purging.chunk, size, head.origin()).with_dirty(dirty);
        self.free_chunk(source, free, head.prev_in_use())
    }

    /// Whether another thread is giving a piece of this arena back at the moment.
    pub(crate) fn is_purging(&self) -> bool {
        self.purging.is_some()
    }

    /// Frees the piece that another thread was busy with when the process forked.
    pub(crate) fn recover_purge<O: Os>(&mut self, source: &Source<O>) -> Release {
        match self.purging.take() {
            Some(chunk) => self.free(source, chunk),
            None => Release::NOTHING,
        }
    }

    /// Gives at most `most` dirty pages of the top back, the last ones. Returns how many.
    pub(crate) fn purge_top<O: Os>(&mut self, source: &Source<O>, most: usize) -> usize {
        if !self.top.dirty().is_empty() {
            self.use_small_pages(source);
        }
        let count = self.top.purge_end(source, most);
        if count > 0 {
            self.counts.purges += 1;
            self.counts.purged_pages += count;
            self.watermark.lower(count);
        }
        count
    }
}
