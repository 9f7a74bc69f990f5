//! An arena: a heap of its own under a lock of its own.
//!
//! An arena owns runs of chunks (on the break, or in heaps), the bins of the free ones, and the *top*: the free chunk
//! at the end of the run that is being grown, which is on no list. A request is served by the smallest free chunk that
//! is large enough, else from the top, else from a larger top. What is left of a chunk goes back at once, and a freed
//! chunk is joined with free neighbours on both sides, so two neighbours are never both free:
//!
//! ```text
//!   take 48 of a free 112     | in use | free 112                  | in use |
//!                             | in use | in use 48 | free 64       | in use |
//!   free it again             | in use | free 112                  | in use |
//!   free the one before       | free                               | in use |
//! ```
//!
//! Everything here is done under the arena's lock. What need not be (giving a heap's addresses back) is returned as a
//! [`Release`], to be done after the unlock. What the caller has overwritten is found when a chunk or its neighbour is
//! next touched, and ends the process.

#[cfg(any(test, fuzzing))]
mod check;
mod free;
mod purge;
mod runs;
mod top;
mod walk;
mod zones;

use core::ptr::NonNull;

use crate::arch::CACHE_LINE;
use crate::bins::{Bins, NO_SIZES, Sizes};
use crate::brk::Brk;
use crate::chunk::{ChunkPtr, FreeChunk, Head, WALL_LEN};
use crate::fatal::{Misuse, check, fatal};
use crate::heap::{HeapPtr, RetiredHeap};
use crate::magazine::Magazine;
use crate::os::Os;
use crate::size::{ChunkSize, MIN_CHUNK, round_up};
use crate::source::Source;
use crate::watermark::Watermark;
use top::Top;

pub use walk::ChunkState;
pub(crate) use walk::Step;

/// An arena could hand out at least so many batches: what is left of those in caches stays little in a small process.
const BATCHES: usize = 512;

/// What an arena grows on.
#[derive(Debug)]
pub(crate) enum Backing {
    /// The break as long as it can be moved, then heaps: the main arena.
    Break(Brk),
    /// Heaps only.
    Heaps,
}

/// The state of an arena, guarded by its lock.
#[derive(Debug)]
pub(crate) struct Arena {
    /// The free chunks in regions, where small ones live, and all the others.
    regions: Bins,
    general: Bins,
    /// The longest that a new region may be, in bytes: 0 while it has no regions.
    longest_region: usize,
    /// Bytes that the walls of its regions occupy.
    walls: usize,
    top: Top,
    backing: Backing,
    /// The newest of its heaps; each knows the next older.
    heaps: Option<HeapPtr>,
    /// Itself, for the headers of its heaps.
    address: Option<NonNull<()>>,
    counts: Counts,
    /// Its dirty pages, and how many of them are none to be watched.
    watermark: Watermark,
    alarm: usize,
    /// The piece whose pages are being given back without the lock.
    purging: Option<ChunkPtr>,
    /// Whether its memory has small pages only.
    has_small_pages: bool,
    /// What it has grown for last, in bytes.
    needed: usize,
}

// SAFETY: everything an arena points to is guarded by the lock that it lies under.
#[allow(unsafe_code)]
unsafe impl Send for Arena {}

/// What an arena has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Usable bytes that it has from the system now, and at most ever had.
    pub(crate) system: usize,
    pub(crate) most_system: usize,
    /// How often it has grown, and how often something was cut off.
    pub(crate) growths: usize,
    pub(crate) trims: usize,
    /// Heaps that it has now.
    pub(crate) heaps: usize,
    /// How often pages inside free memory have been given back, and how many.
    pub(crate) purges: usize,
    pub(crate) purged_pages: usize,
}

/// The figures of an arena at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArenaFigures {
    pub(crate) counts: Counts,
    /// Free chunks in bins, and their bytes.
    pub(crate) free_chunks: usize,
    pub(crate) free_bytes: usize,
    /// Bytes of the top.
    pub(crate) top: usize,
    /// Usable bytes that no chunk can have: headers, fences, walls, the arena itself.
    pub(crate) overhead: usize,
    /// Regions of small chunks.
    pub(crate) regions: usize,
    /// Bytes of heaps that are reserved and not usable.
    pub(crate) retained: usize,
    /// How often it has moved the break.
    pub(crate) break_moves: usize,
    /// Touched pages of free chunks and top.
    pub(crate) dirty_pages: usize,
}

impl ArenaFigures {
    /// Bytes of chunks in use, cached ones included.
    pub(crate) fn in_use(&self) -> usize {
        self.counts.system - self.free_bytes - self.top - self.overhead
    }
}

/// Memory for a caller: its bytes from `dirty` on are zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) chunk: ChunkPtr,
    pub(crate) dirty: usize,
}

/// Work found under the lock, to be done after it.
#[derive(Debug, Default)]
#[must_use = "a heap that is not released is lost"]
pub(crate) struct Release {
    heap: Option<RetiredHeap>,
}

impl Release {
    pub(crate) const NOTHING: Self = Self { heap: None };

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_none()
    }

    /// Gives back what an arena has no use for. Not under its lock.
    #[inline]
    pub(crate) fn run<O: Os>(self, source: &Source<O>) {
        if let Some(heap) = self.heap {
            heap.release(source);
        }
    }
}

impl Arena {
    pub(crate) const fn new(backing: Backing) -> Self {
        let counts = Counts { system: 0, most_system: 0, growths: 0, trims: 0, heaps: 0, purges: 0, purged_pages: 0 };
        Self {
            regions: Bins::EMPTY,
            general: Bins::EMPTY,
            longest_region: 0,
            walls: 0,
            top: Top::EMPTY,
            backing,
            heaps: None,
            address: None,
            counts,
            watermark: Watermark::new(),
            alarm: 0,
            purging: None,
            has_small_pages: false,
            needed: 0,
        }
    }

    /// Tells the arena where it stands, so that heaps can name it. Until then it can grow on the break only.
    pub(crate) fn set_address(&mut self, address: NonNull<()>) {
        self.address = Some(address);
    }

    pub(crate) fn figures(&self) -> ArenaFigures {
        let (mut overhead, break_moves) = match &self.backing {
            Backing::Break(brk) => (brk.overhead(), brk.moves()),
            Backing::Heaps => (0, 0),
        };
        let mut retained = 0;
        for heap in self.heaps() {
            overhead += heap.overhead();
            retained += heap.reserved() - heap.committed();
        }
        ArenaFigures {
            overhead: overhead + self.walls,
            regions: self.walls / (2 * WALL_LEN),
            retained,
            break_moves,
            counts: self.counts,
            free_chunks: self.general.count() + self.regions.count(),
            free_bytes: self.free_bytes(),
            top: self.top.len(),
            dirty_pages: self.dirty_pages(),
        }
    }

    /// Bytes of free chunks.
    pub(crate) fn free_bytes(&self) -> usize {
        self.general.bytes() + self.regions.bytes()
    }

    /// The free chunks, counted by size.
    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes = NO_SIZES;
        self.general.count_sizes(&mut sizes);
        self.regions.count_sizes(&mut sizes);
        sizes
    }

    /// A chunk of `size`, or `None` when the system has nothing more.
    #[inline]
    pub(crate) fn allocate<O: Os>(&mut self, source: &Source<O>, size: ChunkSize) -> Option<Block> {
        if let Some(block) = self.allocate_present(size) {
            return Some(block);
        }
        if !self.grow(source, size) {
            return None;
        }
        self.top.carve(size)
    }

    /// Whether it has never had more from the system than now.
    pub(crate) fn is_as_large_as_ever(&self) -> bool {
        self.counts.system == self.counts.most_system
    }

    /// A chunk of `size`, or `None` when the system would have to be asked for more.
    #[inline]
    pub(crate) fn allocate_present(&mut self, size: ChunkSize) -> Option<Block> {
        let block = self.find(size);
        self.note_taken();
        block
    }

    #[inline]
    fn find(&mut self, size: ChunkSize) -> Option<Block> {
        if let Some(free) = self.take_fit(size) {
            return Some(self.carve(free, size));
        }
        if let Some(block) = self.top.carve(size) {
            return Some(block);
        }
        let free = self.borrow(size)?;
        Some(self.carve(free, size))
    }

    /// Up to `count` chunks of `size`, but no large part of the arena, the first of them returned and the others in `more`:
    /// free chunks of just that size, else as many as the best fit has room for, else from the top. `None` when the system
    /// would have to be asked.
    pub(crate) fn allocate_batch(&mut self, size: ChunkSize, count: usize, more: &mut Magazine) -> Option<ChunkPtr> {
        // A cache line full at least: two threads of a fresh arena that ask for one block each shall not write to the same line.
        let most = (self.counts.system / BATCHES / size.get()).max(CACHE_LINE.div_ceil(size.get()));
        let count = count.min(most);
        if let Some(first) = self.take_exact_small(size) {
            for _ in 1..count {
                let Some(chunk) = self.take_exact_small(size) else { break };
                more.push(chunk.mem());
            }
            return Some(first);
        }
        let most = |len: usize| ChunkSize::exact(size.get() * (len / size.get()).min(count));
        let top = self.top.len().saturating_sub(MIN_CHUNK);
        let chunk = match self.take_fit(size) {
            Some(free) => {
                let row = most(free.size().get());
                self.carve(free, row).chunk
            }
            None if top >= size.get() => self.top.carve(most(top))?.chunk,
            None => {
                let free = self.borrow(size)?;
                let row = most(free.size().get());
                self.carve(free, row).chunk
            }
        };
        self.cut_row(chunk, size, more);
        self.note_taken();
        Some(chunk)
    }

    /// As [`allocate_batch`](Self::allocate_batch), and asks the system if need be.
    pub(crate) fn allocate_batch_growing<O: Os>(
        &mut self,
        source: &Source<O>,
        size: ChunkSize,
        count: usize,
        more: &mut Magazine,
    ) -> Option<ChunkPtr> {
        if let Some(chunk) = self.allocate_batch(size, count, more) {
            return Some(chunk);
        }
        if self.grow(source, size) { self.allocate_batch(size, count, more) } else { None }
    }

    /// Makes one chunk in use a row of chunks of `size`, all but the first in `more`; the last has what is left over. From the back
    /// on, so that they are handed out in the order of their addresses, as rows follow each other: the processor sees it coming.
    fn cut_row(&mut self, chunk: ChunkPtr, size: ChunkSize, more: &mut Magazine) {
        let (head, len) = self.in_use(chunk);
        let (origin, count) = (head.origin(), len.get() / size.get());
        if count < 2 {
            return;
        }
        let front = (count - 1) * size.get();
        chunk.set_head(size, origin, head.prev_in_use());
        let mut at = chunk.at(front);
        at.set_head(ChunkSize::exact(len.get() - front), origin, true);
        more.push(at.mem());
        for _ in 2..count {
            at = at.before(size.get());
            at.set_head(size, origin, true);
            more.push(at.mem());
        }
    }

    /// Cuts a chunk of `size` from the front of a free one; the rest goes to the bins.
    fn carve(&mut self, free: FreeChunk, size: ChunkSize) -> Block {
        let (chunk, origin) = (free.chunk(), free.origin());
        let whole = free.size();
        match whole.remainder(size) {
            Some(rest) => {
                chunk.set_head(size, origin, true);
                let behind = FreeChunk::new(chunk.next(size), rest, origin).with_dirty(free.dirty());
                self.bins_of(origin.zone()).insert_remainder(behind, size < ChunkSize::LARGE);
                let dirty = free.zero_from(size.get()).saturating_sub(chunk.mem().addr().get());
                Block { chunk, dirty: dirty.min(size.usable()) }
            }
            None => {
                chunk.set_head(whole, origin, true);
                chunk.next(whole).set_prev_in_use(true);
                Block { chunk, dirty: whole.usable() }
            }
        }
    }

    /// A chunk of `size` whose memory begins at a multiple of `alignment`, a power of two above 16.
    pub(crate) fn allocate_aligned<O: Os>(
        &mut self,
        source: &Source<O>,
        size: ChunkSize,
        alignment: usize,
    ) -> Option<(Block, Release)> {
        let block = self.allocate(source, ample(size, alignment)?)?;
        self.align(source, block, size, alignment)
    }

    /// As [`allocate_aligned`](Self::allocate_aligned); `None` when the system would have to be asked for more.
    pub(crate) fn allocate_aligned_present<O: Os>(
        &mut self,
        source: &Source<O>,
        size: ChunkSize,
        alignment: usize,
    ) -> Option<(Block, Release)> {
        let block = self.allocate_present(ample(size, alignment)?)?;
        self.align(source, block, size, alignment)
    }

    /// Cuts an aligned chunk of `size` out of an [`ample`] one.
    fn align<O: Os>(
        &mut self,
        source: &Source<O>,
        block: Block,
        size: ChunkSize,
        alignment: usize,
    ) -> Option<(Block, Release)> {
        let chunk = block.chunk;
        let mem = chunk.mem().addr().get();
        let mut lead = round_up(mem, alignment)? - mem;
        if lead != 0 && lead < MIN_CHUNK {
            lead += alignment;
        }
        let aligned = self.split_front(chunk, lead);
        let release = self.shrink(source, aligned, size);
        let usable = self.in_use(aligned).1.usable();
        Some((Block { chunk: aligned, dirty: block.dirty.saturating_sub(lead).min(usable) }, release))
    }

    /// Makes the first `lead` bytes of a chunk in use a free chunk, and the rest a chunk in use.
    fn split_front(&mut self, chunk: ChunkPtr, lead: usize) -> ChunkPtr {
        if lead == 0 {
            return chunk;
        }
        let (head, size) = self.in_use(chunk);
        let front = ChunkSize::exact(lead);
        let aligned = chunk.next(front);
        aligned.set_head(ChunkSize::exact(size.get() - lead), head.origin(), false);
        // The chunk before this one is in use: chunks come from bins and top, which never lie behind free ones.
        self.insert(FreeChunk::new(chunk, front, head.origin()));
        aligned
    }

    /// The head of a chunk that its user has, and its size; anything else ends the process.
    #[inline]
    fn in_use(&self, chunk: ChunkPtr) -> (Head, ChunkSize) {
        let mem = chunk.mem().addr().get();
        // Its seal was right a moment ago, without the lock; if it is no head now, another thread has freed it since.
        let head = chunk.head_unchecked();
        let Some(size) = head.size().filter(|_| !head.is_free()) else { fatal(Misuse::DoubleFree, mem) };
        Self::next_in_use(chunk, size);
        (head, size)
    }

    /// Looks at the head behind a chunk in use of `size`; what is not in order ends the process.
    #[inline]
    fn next_in_use(chunk: ChunkPtr, size: ChunkSize) {
        let mem = chunk.mem().addr().get();
        let Some(next_head) = chunk.next(size).head() else { fatal(Misuse::NextHeadOverwritten, mem) };
        check!(next_head.prev_in_use(), DoubleFree, mem);
    }

    /// Makes a chunk in use as short as `size` says; what is cut off is free. A no-op when too little would be cut off.
    fn shrink<O: Os>(&mut self, source: &Source<O>, chunk: ChunkPtr, size: ChunkSize) -> Release {
        let (head, have) = self.in_use(chunk);
        let Some(rest) = have.remainder(size) else { return Release::NOTHING };
        chunk.set_head(size, head.origin(), head.prev_in_use());
        self.free_chunk(source, FreeChunk::new(chunk.next(size), rest, head.origin()), true)
    }

    /// Makes a chunk in use `size` long where it is; `false`, and nothing changed, when that cannot be. Asks the system
    /// for more memory only if it `may_grow`.
    pub(crate) fn resize<O: Os>(
        &mut self,
        source: &Source<O>,
        chunk: ChunkPtr,
        size: ChunkSize,
        may_grow: bool,
    ) -> (bool, Release) {
        let (head, have) = self.in_use(chunk);
        if have >= size {
            return (true, self.shrink(source, chunk, size));
        }
        let next = chunk.next(have);
        if self.top.is_at(next) {
            let more = ChunkSize::exact((size.get() - have.get()).max(MIN_CHUNK));
            let has_room = self.top.len() >= more.get() + MIN_CHUNK || may_grow && self.grow_top(source, more);
            if !has_room || self.top.carve(more).is_none() {
                return (false, Release::NOTHING);
            }
            next.erase_head();
            // Longer than was asked for by what is too short for a chunk, if at all.
            chunk.set_head(have.joined(more), head.origin(), head.prev_in_use());
            return (true, Release::NOTHING);
        }
        let next_head = next.head_unchecked();
        let is_enough = |more| have.joined(more) >= size;
        if !next_head.is_free() || !next_head.size().is_some_and(is_enough) {
            return (false, Release::NOTHING);
        }
        let behind = self.take(next);
        next.erase_head();
        let whole = have.joined(behind.size());
        match whole.remainder(size) {
            Some(rest) => {
                chunk.set_head(size, head.origin(), head.prev_in_use());
                self.insert(FreeChunk::new(chunk.next(size), rest, head.origin()).with_dirty(behind.dirty()));
            }
            None => {
                chunk.set_head(whole, head.origin(), head.prev_in_use());
                chunk.next(whole).set_prev_in_use(true);
            }
        }
        (true, Release::NOTHING)
    }
}

/// What a chunk of `size` at a multiple of `alignment` is cut out of: there is room for the smallest chunk before it, wherever
/// the aligned place is.
fn ample(size: ChunkSize, alignment: usize) -> Option<ChunkSize> {
    ChunkSize::for_request(size.usable().checked_add(alignment)?.checked_add(MIN_CHUNK)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Class;
    use std::vec::Vec;

    /// They came backwards, while rows followed each other forwards: lists took a quarter longer to build and drop.
    #[test]
    fn the_blocks_of_a_row_are_handed_out_in_the_order_of_their_addresses() {
        let source = Source::fake();
        let mut arena = Arena::new(Backing::Break(crate::brk::Brk::EMPTY));
        let held = arena.allocate(&source, ChunkSize::exact(200_000)).expect("there is memory").chunk;
        let class = Class::of_request(100).expect("a small request");
        let mut row = || {
            let mut more = Magazine::of(class);
            let first = arena.allocate_batch_growing(&source, class.chunk(), 6, &mut more).expect("there is memory");
            let rest = core::iter::from_fn(|| more.pop());
            core::iter::once(first.mem()).chain(rest).map(|mem| mem.addr().get()).collect::<Vec<_>>()
        };
        let rows = [row(), row()].concat();
        assert!(rows.len() > 8 && rows.windows(2).all(|pair| pair[1] == pair[0] + class.chunk().get()), "{rows:x?}");
        let _ = arena.free(&source, held);
        arena.assert_consistent(&source);
    }
}
