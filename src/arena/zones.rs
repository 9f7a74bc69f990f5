//! Zones: small chunks live together, by preference.
//!
//! One small block that lives long keeps a whole page, and the run below it, from going back. So small chunks have
//! *regions*: pieces of 8 to 64 KiB that are cut from a large free chunk or from the top, and whose chunks carry a flag.
//! A small request looks in the regions first, a large one everywhere else:
//!
//! ```text
//!   | large | large |W| small small small free |W| large | free   |W| small ...   |W| top
//!                                         ^                 ^
//!                           a small request looks here,   a large one here
//! ```
//!
//! It is a preference: before an arena asks the system for more, each kind takes what the other has free. The walls `W`
//! are heads of 16 bytes that keep free neighbours of two kinds from becoming one; when nothing is in use between its
//! two walls a region is dissolved, walls and all. Two zones that never borrow would lose what boundary tags are for: in
//! a model of a store whose sizes drift the peak was 2.04 times the live bytes with one zone, 2.6 to 2.8 with two that do
//! not borrow, and 2.10 with two that do.

use super::Arena;
use crate::bins::Bins;
use crate::chunk::{ChunkPtr, FreeChunk, Head, WALL_LEN, Zone};
use crate::fatal::{Misuse, fatal};
use crate::options::Param;
use crate::os::Os;
use crate::pages::Pages;
use crate::size::{ChunkSize, MIN_LARGE};
use crate::source::Source;

/// A region is this part of what is in use,
const REGION_PART: usize = 16;
/// but not longer than this, in bytes,
const MAX_REGION: usize = 64 << 10;
/// and not shorter than this part of the longest, or than one with room for any small chunk.
const SHORTEST_PART: usize = 8;
const MIN_REGION: usize = 2 * MIN_LARGE;

/// The longest region, in bytes, of arenas with heaps of `heap_len`. Short heaps, as tests have them, get regions in
/// proportion: else they would be full before they had one.
const fn longest_region(heap_len: usize) -> usize {
    let part = heap_len / 16;
    if part < MAX_REGION { part } else { MAX_REGION }
}

impl Arena {
    pub(super) fn bins_of(&mut self, zone: Zone) -> &mut Bins {
        match zone {
            Zone::General => &mut self.general,
            Zone::Region => &mut self.regions,
        }
    }

    /// Keeps a free chunk.
    #[inline]
    pub(super) fn insert(&mut self, free: FreeChunk) {
        self.bins_of(free.origin().zone()).insert(free);
    }

    /// Takes the free chunk at `chunk` out of its bin, after checking its tags and links.
    #[inline]
    pub(super) fn take(&mut self, chunk: ChunkPtr) -> FreeChunk {
        let free = FreeChunk::read(chunk);
        self.bins_of(free.origin().zone()).take_read(free)
    }

    /// Makes a free chunk of exactly `size` one in use, if that is small and one is kept where small chunks are looked for first.
    #[inline]
    pub(super) fn take_exact_small(&mut self, size: ChunkSize) -> Option<ChunkPtr> {
        let bins = if self.has_regions() { &mut self.regions } else { &mut self.general };
        let free = bins.take_exact_small(size)?;
        let chunk = free.chunk();
        chunk.set_head(size, free.origin(), true);
        chunk.next(size).set_prev_in_use(true);
        Some(chunk)
    }

    /// The free chunk to cut a chunk of `size` from, where chunks of this kind are to live. `None` sends it to the top,
    /// and if that is too short to [`borrow`](Self::borrow).
    #[inline]
    pub(super) fn take_fit(&mut self, size: ChunkSize) -> Option<FreeChunk> {
        if size >= ChunkSize::LARGE || !self.has_regions() {
            return self.general.take_fit(size);
        }
        self.regions.take_fit(size).or_else(|| self.begin_region())
    }

    /// The free chunk to cut a chunk of `size` from, when there is none where it should be: the other kind's.
    pub(super) fn borrow(&mut self, size: ChunkSize) -> Option<FreeChunk> {
        if size >= ChunkSize::LARGE { self.regions.take_fit(size) } else { self.general.take_fit(size) }
    }

    /// Bytes that are neither free nor the top.
    pub(super) fn bytes_in_use(&self) -> usize {
        self.counts.system - self.general.bytes() - self.regions.bytes() - self.top.len()
    }

    #[inline]
    fn has_regions(&self) -> bool {
        self.longest_region > 0
    }

    /// Decides whether small chunks shall live together from now on. An arena in which fewer bytes are in use than a long
    /// region has does without. Looked at where an arena grows.
    pub(super) fn decide_on_regions<O: Os>(&mut self, source: &Source<O>) {
        let longest = const { longest_region(O::HEAP_LEN) };
        const { assert!(longest_region(O::HEAP_LEN) >= MIN_REGION, "the shortest region is no longer than the longest") };
        let is_worth = self.has_regions() || self.bytes_in_use() >= longest;
        self.longest_region = if is_worth && source.params.get(Param::Regions) != 0 { longest } else { 0 };
    }

    /// Makes the best fit among large free chunks, or the front of the top, a region.
    fn begin_region(&mut self) -> Option<FreeChunk> {
        let shortest = (self.longest_region / SHORTEST_PART).max(MIN_REGION);
        let len = (self.bytes_in_use() / REGION_PART).next_power_of_two().max(shortest).min(self.longest_region);
        let size = ChunkSize::exact(len);
        let ground = match self.general.take_fit(size) {
            Some(free) => self.cut(free, size),
            None => self.top.cut(size)?,
        };
        let chunk = ground.chunk();
        self.walls += 2 * WALL_LEN;
        let inside = ChunkSize::exact(ground.size().get() - 2 * WALL_LEN);
        let first = chunk.at(WALL_LEN);
        chunk.set_wall(inside, true);
        first.next(inside).set_wall(inside, false);
        Some(FreeChunk::new(first, inside, ground.origin().in_region()).with_dirty(ground.dirty()))
    }

    /// The front of a free chunk; the rest stays what it is.
    fn cut(&mut self, free: FreeChunk, size: ChunkSize) -> FreeChunk {
        let dirty = free.dirty();
        let Some(rest) = free.size().remainder(size) else {
            free.chunk().next(free.size()).set_prev_in_use(true);
            return free;
        };
        self.insert(FreeChunk::new(free.chunk().next(size), rest, free.origin()).with_dirty(dirty));
        FreeChunk::new(free.chunk(), size, free.origin()).with_dirty(dirty)
    }

    /// If a free chunk, with `next` behind it, is all of a region, both walls fall: the same with what they stood on, and whether the chunk before
    /// that is in use.
    pub(super) fn dissolve(&mut self, free: &FreeChunk, next: ChunkPtr) -> Option<(FreeChunk, bool)> {
        let is_back_wall = |head: &Head| head.region() == Some(free.size());
        // The seal last: what lies behind is hardly ever a wall.
        if !is_back_wall(&next.head_unchecked()) || next.head().is_none() {
            return None;
        }
        let front = free.chunk().before(WALL_LEN);
        let Some(front_wall) = front.head().filter(is_back_wall) else {
            fatal(Misuse::FreeHeadOverwritten, front.mem().addr().get())
        };
        self.walls -= 2 * WALL_LEN;
        free.chunk().erase_head();
        next.erase_head();
        let whole = ChunkSize::exact(free.size().get() + 2 * WALL_LEN);
        let all = FreeChunk::new(front, whole, free.owner().general());
        // Pages that become whole had a wall on them.
        let inside = free.pages_inside();
        let dirty =
            if inside.is_empty() { all.dirty() } else { free.dirty().hull(outside(all.pages_inside(), inside)) };
        Some((all.with_dirty(dirty), front_wall.prev_in_use()))
    }
}

/// The shortest range with all pages of `all` that are not `inside`.
fn outside(all: Pages, inside: Pages) -> Pages {
    Pages::new(all.first(), inside.first()).hull(Pages::new(inside.end(), all.end()))
}

const _: () = assert!(MIN_REGION - 2 * WALL_LEN >= MIN_LARGE && MAX_REGION.is_power_of_two());
const _: () = assert!(longest_region(64 << 20) == 64 << 10 && MAX_REGION / SHORTEST_PART == 8 << 10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Backing;
    use crate::brk::Brk;
    use crate::os::fake::FakeOs;
    use std::vec::Vec;

    /// A flush frees blocks in rows. A row that waited kept the head of its first chunk, and wrote it back; but when the row
    /// before it was the last of a region, and the region's walls fell, the chunk behind the wall had become one behind a
    /// free chunk. python3 ended with an overwritten head, once in some runs, when a purge met the two.
    #[test]
    fn a_row_behind_a_region_that_falls_knows_that_it_lies_behind_free_memory() {
        let source = Source::fake();
        let mut arena = Arena::new(Backing::Break(Brk::EMPTY));
        let large = ChunkSize::exact(50_000);
        let held: Vec<_> = (0..8).filter_map(|_| arena.allocate(&source, large)).collect();
        assert_eq!(held.len(), 8);
        let small = arena.allocate(&source, ChunkSize::exact(64)).expect("there is memory").chunk;
        assert_eq!(small.head_unchecked().origin().zone(), Zone::Region);
        let behind = arena.allocate(&source, ChunkSize::exact(2_000)).expect("there is memory").chunk;
        // Short heaps have short regions, so that the model meets many.
        let region = behind.before(WALL_LEN).head_unchecked().region().expect("right behind the back wall");
        assert!(region.get() < longest_region(<FakeOs>::HEAP_LEN), "{region:?}");
        let pin = arena.allocate(&source, ChunkSize::exact(2_000)).expect("there is memory").chunk;
        assert_eq!(pin, behind.next(ChunkSize::exact(2_000)));
        let mut row = None;
        let _ = arena.free_in_row(&source, &mut row, small, ChunkSize::exact(64));
        let _ = arena.free_in_row(&source, &mut row, behind, ChunkSize::exact(2_000));
        let _ = arena.free_row(&source, &mut row);
        arena.assert_consistent(&source);
        assert_eq!(arena.walls, 0);
    }
}
