//! Bins: where an arena keeps its free chunks, by size.
//!
//! ```text
//!   unsorted   one list: large chunks just freed, and what was left of the last split for a small request
//!   small      62 lists, one for each size from 32 to 1008, first in, first out
//!   large      twice 128 trees of sizes, eight for each doubling from 1024 on: chunks with dirty pages inside,
//!              and *settled* ones, which have nothing to give back
//! ```
//!
//! A bit map for the small lists and one for the large trees say which are not empty, so that the next larger size is
//! found in a few instructions. A free small chunk goes straight to its list; a large one waits on the unsorted list
//! for the next request that finds no exact small chunk, which either takes it or puts it into its tree. The fit is the
//! best one, the smallest free chunk that is large enough, but a chunk whose pages are there goes before one whose pages
//! would have to be got again.
//!
//! The bins hold chunk addresses only, no links of their own: a list is entered by its first chunk and leads back to
//! it. An arena's bins can therefore be constants, and nothing in them points into the arena.

mod ring;
mod tree;

use crate::chunk::{ChunkPtr, FreeChunk, Origin, Place};
use crate::fatal::check;
use crate::size::{ALIGNMENT, ChunkSize, MAX_CHUNK, MIN_LARGE};
use ring::Ring;
use tree::Tree;

const SMALL: usize = MIN_LARGE / ALIGNMENT;
const LARGE: usize = 128;

/// The large free chunks of one kind, by size.
#[derive(Debug)]
struct Large {
    trees: [Tree; LARGE],
    /// Bit `i` set: `trees[i]` is not empty.
    map: u128,
}

/// The free chunks of one zone of an arena.
#[derive(Debug)]
pub(crate) struct Bins {
    unsorted: Ring,
    small: [Ring; SMALL],
    /// Bit `i` set: `small[i]` is not empty.
    small_map: u64,
    /// Chunks with dirty pages inside.
    dirty: Large,
    /// Chunks without.
    settled: Large,
    /// What was left of the last split of a chunk for a small request, while it is the only unsorted chunk.
    last_remainder: Option<ChunkPtr>,
    /// Free chunks, and their bytes.
    count: usize,
    bytes: usize,
    /// Dirty pages inside them.
    dirty_pages: usize,
}

const _: () = assert!(SMALL == 64, "one bit a small bin");

fn is_small(size: ChunkSize) -> bool {
    size.get() < MIN_LARGE
}

fn small_index(size: ChunkSize) -> usize {
    size.get() / ALIGNMENT
}

/// Large bins a doubling, as a power of two. A walk through a tree costs a cache line a step; with so many bins most trees are
/// a chunk or two high.
const STEP_BITS: u32 = 3;

/// The bin of a large size; the last holds everything from 60 MiB.
fn large_index(size: ChunkSize) -> usize {
    let log = size.get().ilog2();
    let step = size.get() >> (log - STEP_BITS) & ((1 << STEP_BITS) - 1);
    (((log - MIN_LARGE.ilog2()) as usize) << STEP_BITS | step).min(LARGE - 1)
}

/// The sizes of large bin `index`, from the smallest to the largest.
fn large_range(index: usize) -> (usize, usize) {
    let steps = 1 << STEP_BITS;
    let least = |index: usize| (steps + index % steps) << ((MIN_LARGE.ilog2() - STEP_BITS) as usize + index / steps);
    let most = if index == LARGE - 1 { MAX_CHUNK } else { least(index + 1) - ALIGNMENT };
    (least(index), most)
}

/// The free chunks of one bin's sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SizeRow {
    /// The smallest and the largest chunk size of the bin, in bytes.
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// A row for each bin, by size.
pub(crate) type Sizes = [SizeRow; SMALL + LARGE];

/// No row has been counted yet.
pub(crate) const NO_SIZES: Sizes = [SizeRow { from: 0, to: 0, count: 0, bytes: 0 }; SMALL + LARGE];

impl Large {
    const EMPTY: Self = Self { trees: [Tree::EMPTY; LARGE], map: 0 };

    fn insert(&mut self, chunk: ChunkPtr, size: ChunkSize) {
        let index = large_index(size);
        self.trees[index].insert(chunk, size, index == LARGE - 1);
        self.map |= 1 << index;
    }

    fn remove(&mut self, chunk: ChunkPtr, size: ChunkSize) {
        let index = large_index(size);
        self.trees[index].remove(chunk);
        if self.trees[index].is_empty() {
            self.map &= !(1 << index);
        }
    }

    fn smallest(&self) -> Option<ChunkPtr> {
        if self.map == 0 { None } else { self.trees[self.map.trailing_zeros() as usize].smallest() }
    }

    /// One of the largest: none is longer by more than an eighth, up to 60 MiB.
    fn one_of_the_largest(&self) -> Option<ChunkPtr> {
        if self.map == 0 { None } else { self.trees[self.map.ilog2() as usize].root() }
    }

    fn best_fit(&self, size: ChunkSize) -> Option<ChunkPtr> {
        if self.map == 0 {
            return None;
        }
        let index = large_index(size);
        let from_here = self.map >> index;
        if from_here & 1 != 0
            && let Some(chunk) = self.trees[index].best_fit(size, index == LARGE - 1)
        {
            return Some(chunk);
        }
        let larger = from_here >> 1;
        if larger == 0 { None } else { self.trees[index + 1 + larger.trailing_zeros() as usize].smallest() }
    }

    fn for_each(&self, visit: &mut impl FnMut(ChunkPtr)) {
        self.trees.iter().for_each(|tree| tree.for_each(visit));
    }
}

/// Of a fitting chunk with dirty pages and one without, the one to take: the shorter if both have all their memory, else
/// the one that has.
fn better(dirty: Option<ChunkPtr>, settled: Option<ChunkPtr>) -> Option<ChunkPtr> {
    let (Some(dirty), Some(settled)) = (dirty, settled) else { return dirty.or(settled) };
    let (dirty_size, _) = FreeChunk::read_head(dirty);
    let (settled_size, _) = FreeChunk::read_head(settled);
    let is_resident = settled.pages_inside(settled_size).is_empty();
    Some(if is_resident && settled_size <= dirty_size { settled } else { dirty })
}

impl Bins {
    pub(crate) const EMPTY: Self = Self {
        unsorted: Ring::EMPTY,
        small: [Ring::EMPTY; SMALL],
        small_map: 0,
        dirty: Large::EMPTY,
        settled: Large::EMPTY,
        last_remainder: None,
        count: 0,
        bytes: 0,
        dirty_pages: 0,
    };

    /// How many chunks are free.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The sum of their sizes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Dirty pages inside them.
    #[inline]
    pub(crate) fn dirty_pages(&self) -> usize {
        self.dirty_pages
    }

    /// Keeps a free chunk, and writes its tags.
    #[inline]
    pub(crate) fn insert(&mut self, free: FreeChunk) {
        self.note_inserted(&free);
        self.enter(free.chunk(), free.size());
    }

    /// As [`insert`](Self::insert), for a chunk that is shorter than a page.
    #[inline(always)]
    pub(crate) fn insert_short(&mut self, chunk: ChunkPtr, size: ChunkSize, origin: Origin) {
        FreeChunk::write_tags_of(chunk, size, origin);
        self.count += 1;
        self.bytes += size.get();
        self.enter(chunk, size);
    }

    #[inline(always)]
    fn enter(&mut self, chunk: ChunkPtr, size: ChunkSize) {
        if is_small(size) {
            self.insert_small(chunk, size);
        } else {
            chunk.set_place(Place::Unsorted);
            self.unsorted.insert_last(chunk);
        }
    }

    /// Keeps what was left of a split. For small requests: those that follow shall lie beside this one.
    #[inline]
    pub(crate) fn insert_remainder(&mut self, free: FreeChunk, for_small: bool) {
        self.note_inserted(&free);
        if for_small {
            self.last_remainder = Some(free.chunk());
            self.insert_unsorted(&free);
        } else {
            self.insert_sorted(&free);
        }
    }

    #[inline]
    fn note_inserted(&mut self, free: &FreeChunk) {
        free.write_tags();
        self.count += 1;
        self.bytes += free.size().get();
        self.dirty_pages += free.dirty().count();
    }

    #[inline]
    fn insert_unsorted(&mut self, free: &FreeChunk) {
        if !is_small(free.size()) {
            free.chunk().set_place(Place::Unsorted);
        }
        self.unsorted.insert_last(free.chunk());
    }

    /// Takes out the free chunk at `chunk`, after checking its tags and links.
    #[inline]
    pub(crate) fn take(&mut self, chunk: ChunkPtr) -> FreeChunk {
        self.take_read(FreeChunk::read(chunk))
    }

    /// As [`take`](Self::take), when the tags have been read.
    #[inline]
    pub(crate) fn take_read(&mut self, free: FreeChunk) -> FreeChunk {
        self.unlink(&free);
        self.taken(free)
    }

    /// As [`take`](Self::take), for a small chunk whose tags have been read.
    #[inline(never)]
    pub(crate) fn take_small(&mut self, chunk: ChunkPtr, size: ChunkSize) {
        self.unlink_small(chunk, size);
        chunk.clear_list_links();
        self.count -= 1;
        self.bytes -= size.get();
    }

    #[inline(always)]
    fn unlink_small(&mut self, chunk: ChunkPtr, size: ChunkSize) {
        let index = small_index(size);
        // One further back on the unsorted list leaves by the same steps: only a first chunk has a bin.
        let is_unsorted = self.unsorted.first() == Some(chunk);
        let ring = if is_unsorted { &mut self.unsorted } else { &mut self.small[index] };
        ring.remove(chunk);
        if self.small[index].first().is_none() {
            self.small_map &= !(1 << index);
        }
    }

    fn taken(&mut self, free: FreeChunk) -> FreeChunk {
        self.count -= 1;
        self.bytes -= free.size().get();
        // Overwritten by a write after free it may be wrong, but it never leads anywhere.
        self.dirty_pages = self.dirty_pages.saturating_sub(free.dirty().count());
        free.clear_links();
        free
    }

    /// Takes out a free chunk of exactly `size`, if that is a small size and its list is not empty.
    #[inline]
    pub(crate) fn take_exact_small(&mut self, size: ChunkSize) -> Option<FreeChunk> {
        if !is_small(size) {
            return None;
        }
        let chunk = self.small[small_index(size)].first()?;
        let (found, origin) = FreeChunk::read_tags(chunk);
        check!(found == size, ListCorrupted, chunk.mem().addr().get());
        self.take_small(chunk, size);
        Some(FreeChunk::new(chunk, size, origin))
    }

    /// Takes out the free chunk that fits `size` best, or `None`.
    pub(crate) fn take_fit(&mut self, size: ChunkSize) -> Option<FreeChunk> {
        if let Some(free) = self.take_exact_small(size) {
            return Some(free);
        }
        if let Some(chunk) = self.unsorted.first()
            && let Some(free) = self.sort(size, chunk)
        {
            return Some(free);
        }
        let chunk = if is_small(size) { self.fit_for_small(size) } else { self.fit_in_trees(size) }?;
        let free = self.take(chunk);
        // One of a node's size is taken from beside it, by a link that may have been overwritten.
        check!(free.size() >= size, ListCorrupted, chunk.mem().addr().get());
        Some(free)
    }

    /// Takes out one of the largest chunks that have dirty pages inside.
    pub(crate) fn take_dirty(&mut self) -> Option<FreeChunk> {
        while let Some(chunk) = self.unsorted.first() {
            self.sort_one(FreeChunk::read(chunk));
        }
        let chunk = self.dirty.one_of_the_largest()?;
        let free = self.take(chunk);
        // As in `take_fit`: the link may have led to a chunk that has none.
        check!(!free.dirty().is_empty(), ListCorrupted, chunk.mem().addr().get());
        Some(free)
    }

    /// Empties the unsorted list until a chunk of exactly `size` turns up.
    fn sort(&mut self, size: ChunkSize, first: ChunkPtr) -> Option<FreeChunk> {
        if is_small(size) && self.last_remainder == Some(first) && first.next_on_list() == first {
            let (rest, _) = FreeChunk::read_head(first);
            if rest == size || rest > size && rest.remainder(size).is_some() {
                return Some(self.take(first));
            }
        }
        let mut unsorted = Some(first);
        while let Some(chunk) = unsorted {
            let free = FreeChunk::read(chunk);
            if free.size() == size {
                self.check_unsorted(&free);
                self.unsorted.remove(chunk);
                return Some(self.taken(free));
            }
            self.sort_one(free);
            unsorted = self.unsorted.first();
        }
        None
    }

    fn check_unsorted(&self, free: &FreeChunk) {
        let is_unsorted = is_small(free.size()) || free.chunk().place() == Place::Unsorted;
        check!(is_unsorted, TreeCorrupted, free.chunk().mem().addr().get());
    }

    /// Puts an unsorted chunk where its size belongs.
    fn sort_one(&mut self, free: FreeChunk) {
        self.check_unsorted(&free);
        self.unsorted.remove(free.chunk());
        self.insert_sorted(&free);
    }

    fn insert_sorted(&mut self, free: &FreeChunk) {
        let (chunk, size) = (free.chunk(), free.size());
        if is_small(size) {
            self.insert_small(chunk, size);
        } else {
            self.large_for(free).insert(chunk, size);
        }
    }

    fn large_for(&mut self, free: &FreeChunk) -> &mut Large {
        if free.dirty().is_empty() { &mut self.settled } else { &mut self.dirty }
    }

    #[inline]
    fn insert_small(&mut self, chunk: ChunkPtr, size: ChunkSize) {
        let index = small_index(size);
        self.small[index].insert_last(chunk);
        self.small_map |= 1 << index;
    }

    fn fit_for_small(&self, size: ChunkSize) -> Option<ChunkPtr> {
        let larger = self.small_map & (u64::MAX << small_index(size));
        if larger != 0 {
            return self.small[larger.trailing_zeros() as usize].first();
        }
        better(self.dirty.smallest(), self.settled.smallest())
    }

    fn fit_in_trees(&self, size: ChunkSize) -> Option<ChunkPtr> {
        better(self.dirty.best_fit(size), self.settled.best_fit(size))
    }

    fn unlink(&mut self, free: &FreeChunk) {
        let (chunk, size) = (free.chunk(), free.size());
        if is_small(size) {
            self.unlink_small(chunk, size);
        } else if self.unsorted.first() == Some(chunk) || chunk.place() == Place::Unsorted {
            self.unsorted.remove(chunk);
        } else {
            self.large_for(free).remove(chunk, size);
        }
    }

    /// Counts the free chunks by size, those on the unsorted list where they belong.
    pub(crate) fn count_sizes(&self, sizes: &mut Sizes) {
        for (index, row) in sizes.iter_mut().enumerate() {
            (row.from, row.to) = match index.checked_sub(SMALL) {
                None => (index * ALIGNMENT, index * ALIGNMENT),
                Some(large) => large_range(large),
            };
        }
        self.for_each(|chunk| {
            let (size, _) = FreeChunk::read_tags(chunk);
            let index = if is_small(size) { small_index(size) } else { SMALL + large_index(size) };
            if let Some(row) = sizes.get_mut(index) {
                row.count += 1;
                row.bytes += size.get();
            }
        });
    }

    /// Calls `visit` with every free chunk.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(ChunkPtr)) {
        self.unsorted.for_each(&mut visit);
        self.small.iter().for_each(|ring| ring.for_each(&mut visit));
        self.dirty.for_each(&mut visit);
        self.settled.for_each(&mut visit);
    }

    /// Whether maps, lists and trees agree: each bin holds its own sizes, in order, and the maps tell which hold any.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn assert_consistent(&self) {
        let mut count = 0;
        for (index, ring) in self.small.iter().enumerate() {
            assert_eq!(self.small_map >> index & 1 != 0, ring.first().is_some(), "I5: small map, bin {index}");
            ring.for_each(&mut |chunk| assert_eq!(small_index(FreeChunk::read_tags(chunk).0), index, "I6: small bin"));
        }
        for (large, is_dirty) in [(&self.dirty, true), (&self.settled, false)] {
            for (index, tree) in large.trees.iter().enumerate() {
                assert_eq!(large.map >> index & 1 != 0, !tree.is_empty(), "I5: large map, bin {index}");
                tree.assert_ordered(index == LARGE - 1);
                tree.for_each(&mut |chunk| {
                    let free = FreeChunk::read(chunk);
                    assert_eq!(large_index(free.size()), index, "I6: large bin");
                    assert_eq!(!free.dirty().is_empty(), is_dirty, "I6: dirty or settled");
                });
            }
        }
        let (mut bytes, mut dirty_pages) = (0, 0);
        self.for_each(|chunk| {
            let free = FreeChunk::read(chunk);
            count += 1;
            bytes += free.size().get();
            dirty_pages += free.dirty().count();
        });
        assert_eq!((self.count, self.bytes, self.dirty_pages), (count, bytes, dirty_pages), "I7: counts");
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;
    use core::ptr::NonNull;
    use std::vec::Vec;

    use crate::chunk::Owner;
    use crate::pages::Pages;

    /// Free chunks side by side in one block of memory, with a used word between, so that none are neighbours.
    struct Ground {
        _memory: Vec<u128>,
        next: ChunkPtr,
    }

    impl Ground {
        fn new() -> Self {
            let mut memory = std::vec![0u128; 1 << 18];
            // SAFETY: the vector is 16-aligned and lives as long as the chunks are used.
            let next = unsafe { ChunkPtr::new(NonNull::from(&mut memory[0]).cast()) };
            Self { _memory: memory, next }
        }

        fn free(&mut self, bytes: usize) -> FreeChunk {
            let free = FreeChunk::new(self.next, ChunkSize::exact(bytes), Owner::Main.general());
            self.next = self.next.at(bytes + 16);
            free
        }
    }

    /// Large chunks of these sizes, free and sorted into trees.
    fn in_trees<const N: usize>(ground: &mut Ground, bins: &mut Bins, sizes: [usize; N]) -> [ChunkPtr; N] {
        let chunks = sizes.map(|bytes| {
            let free = ground.free(bytes);
            let chunk = free.chunk();
            bins.insert(free);
            chunk
        });
        // No request is served as long as that; it looks through the unsorted list.
        assert!(bins.take_fit(ChunkSize::exact(1 << 20)).is_none());
        chunks
    }

    #[test]
    fn large_bins_are_eight_a_doubling() {
        let index = |bytes| large_index(ChunkSize::exact(bytes));
        assert_eq!((index(1024), index(1136), index(1152), index(2032), index(2048)), (0, 0, 1, 7, 8));
        assert_eq!((index(1 << 20), index(60 << 20), index(1 << 46)), (80, 127, 127));
        for bin in 0..LARGE {
            let (from, to) = large_range(bin);
            assert_eq!((index(from), index(to)), (bin, bin), "{from} to {to}");
        }
    }

    /// A fuzzer found it: the link of a large chunk, overwritten, led to a shorter one whose own links were whole. It was handed
    /// out, and the rest of it, below zero, went to the bins.
    #[test]
    #[should_panic(expected = "the links of a free chunk were overwritten")]
    fn a_chunk_that_is_shorter_than_its_place_says_is_found() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let [long, short] = in_trees(&mut ground, &mut bins, [8192, 1600]);
        long.set_next_on_list(short);
        bins.take_fit(ChunkSize::exact(8000));
    }

    /// A small one would be handed out as it is.
    #[test]
    #[should_panic(expected = "the links of a free chunk were overwritten")]
    fn a_small_chunk_that_is_not_of_its_list_s_size_is_found() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let [long, _, short] = [96, 96, 48].map(|bytes| {
            let free = ground.free(bytes);
            let chunk = free.chunk();
            bins.insert(free);
            chunk
        });
        long.set_next_on_list(short);
        short.set_prev_on_list(long);
        let _ = bins.take_exact_small(ChunkSize::exact(96));
        let _ = bins.take_exact_small(ChunkSize::exact(96));
    }

    /// The same way, one that has no dirty pages was to be purged.
    #[test]
    #[should_panic(expected = "the links of a free chunk were overwritten")]
    fn a_chunk_without_dirty_pages_among_the_dirty_is_found() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let [long, short] = in_trees(&mut ground, &mut bins, [40_000, 1600]);
        long.set_next_on_list(short);
        let _ = bins.take_dirty();
    }

    /// The root of a tree, alone on its list, whose place was overwritten with the address of 16 bytes before it: its own links
    /// were taken for the children of a node there. It was taken out, and the tree still led to it.
    #[test]
    #[should_panic(expected = "the tree links of a large free chunk were overwritten")]
    fn a_place_that_leads_right_before_the_chunk_is_found() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let chunk = ground.free(2000).chunk().at(16);
        bins.insert(FreeChunk::new(chunk, ChunkSize::exact(1600), Owner::Main.general()));
        assert!(bins.take_fit(ChunkSize::exact(65_536)).is_none());
        assert_eq!(chunk.place(), Place::Root);
        chunk.set_place(Place::Below(chunk.before(16)));
        let _ = bins.take(chunk);
    }

    /// A node with another of its size beside it, whose place was overwritten: it leaves by the links of that list, and the tree
    /// still leads to it. What its next user writes there are no children.
    #[test]
    #[should_panic(expected = "the tree links of a large free chunk were overwritten")]
    fn a_node_that_left_by_another_way_is_found_when_it_is_free_again() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let [node, _other] = in_trees(&mut ground, &mut bins, [40_000; 2]);
        node.set_place(Place::Unsorted);
        let free = bins.take(node);
        node.set_child(0, Some(node.at(1600)));
        bins.insert(free);
        let _ = bins.dirty.smallest();
    }

    /// Where a tree begins there is no free chunk: what lies there is in use, and no word of it a link.
    #[test]
    #[should_panic(expected = "the head of a free chunk was overwritten")]
    fn a_root_that_is_in_use_is_found() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let [root, other] = in_trees(&mut ground, &mut bins, [60_000, 40_000]);
        root.set_head(ChunkSize::exact(60_000), Owner::Main.general(), true);
        root.set_next_on_list(other);
        let _ = bins.take_dirty();
    }

    #[test]
    fn the_fit_is_the_best_one_whatever_the_order() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let sizes: Vec<usize> = (0..400).map(|step| 32 + (step * 7919 % 400) * 48).collect();
        for &bytes in &sizes {
            let free = ground.free(bytes);
            bins.insert(free);
        }
        let mut left = sizes;
        left.sort_unstable();
        for request in (0..400usize).map(|step| 32 + (step * 104_729 % 1200) * 16) {
            let want = left.iter().position(|&bytes| bytes >= request).map(|at| left.remove(at));
            let got = bins.take_fit(ChunkSize::exact(request)).map(|free| free.size().get());
            assert_eq!(got, want, "for {request}");
            bins.assert_consistent();
        }
    }

    #[test]
    fn memory_that_is_there_goes_before_memory_that_would_have_to_be_got() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let purged = ground.free(20_000).with_dirty(Pages::NONE);
        let dirty = ground.free(40_000);
        let short = ground.free(2_000);
        let [purged_chunk, dirty_chunk, short_chunk] = [&purged, &dirty, &short].map(FreeChunk::chunk);
        [purged, dirty, short].into_iter().for_each(|free| bins.insert(free));
        let mut take = |bytes| bins.take_fit(ChunkSize::exact(bytes)).map(|free| free.chunk());
        assert_eq!(take(1_600), Some(short_chunk), "it fits better, and has no whole page to be got");
        assert_eq!(take(16_000), Some(dirty_chunk));
        assert_eq!(take(16_000), Some(purged_chunk));
        assert_eq!(take(16_000), None);
    }

    #[test]
    fn equal_sizes_are_taken_in_the_order_they_came() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let frees: Vec<FreeChunk> = (0..3).map(|_| ground.free(64)).collect();
        let chunks: Vec<ChunkPtr> = frees.iter().map(FreeChunk::chunk).collect();
        frees.into_iter().for_each(|free| bins.insert(free));
        let taken: Vec<ChunkPtr> =
            core::iter::from_fn(|| bins.take_fit(ChunkSize::exact(64))).map(|free| free.chunk()).collect();
        assert_eq!(taken, chunks);
    }

    #[test]
    fn a_chunk_leaves_from_wherever_it_is() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let sizes = [4096, 4096, 4096, 2048, 8192, 6144, 5120, 48, 48, 1_000_000];
        let frees: Vec<FreeChunk> = sizes.iter().map(|&bytes| ground.free(bytes)).collect();
        let chunks: Vec<ChunkPtr> = frees.iter().map(FreeChunk::chunk).collect();
        frees.into_iter().for_each(|free| bins.insert(free));
        // Half of them sorted, then taken out in an order of no meaning.
        assert!(bins.take_fit(ChunkSize::exact(2_000_000)).is_none());
        let late = ground.free(4096);
        let late_chunk = late.chunk();
        bins.insert(late);
        for at in [1, 4, 9, 0, 7, 6, 2, 8, 3, 5] {
            let free = bins.take(chunks[at]);
            assert_eq!(free.size().get(), sizes[at]);
            bins.assert_consistent();
        }
        assert_eq!(bins.take(late_chunk).size().get(), 4096);
        assert_eq!((bins.count(), bins.bytes()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "the links of a free chunk were overwritten")]
    fn overwritten_links_are_found() {
        let mut ground = Ground::new();
        let mut bins = Bins::EMPTY;
        let frees: Vec<FreeChunk> = (0..3).map(|_| ground.free(64)).collect();
        let chunk = frees[1].chunk();
        let forged = frees[2].chunk().at(16);
        frees.into_iter().for_each(|free| bins.insert(free));
        chunk.set_next_on_list(forged);
        let _ = bins.take(chunk);
    }
}
