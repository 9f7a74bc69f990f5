//! Bins: where an arena keeps its free chunks, by size.
//!
//! ```text
//!   unsorted   one list: large chunks just freed, and what was left of the last split
//!   small      62 lists, one for each size from 32 to 1008, first in, first out
//!   large      64 trees of sizes, two for each doubling from 1024 on
//! ```
//!
//! A bit map for the small lists and one for the large trees say which are not empty, so that the next larger size is
//! found in a few instructions. A free small chunk goes straight to its list; a large one waits on the unsorted list
//! for the next request that finds no exact small chunk, which either takes it or puts it into its tree. The fit is
//! always the best one: the smallest free chunk that is large enough.
//!
//! The bins hold chunk addresses only, no links of their own: a list is entered by its first chunk and leads back to
//! it. An arena's bins can therefore be constants, and nothing in them points into the arena.

mod ring;
mod tree;

use crate::chunk::{ChunkPtr, FreeChunk, Owner, Place};
use crate::fatal::check;
use crate::size::{ALIGNMENT, ChunkSize, MAX_CHUNK, MIN_LARGE};
use ring::Ring;
use tree::Tree;

const SMALL: usize = MIN_LARGE / ALIGNMENT;
const LARGE: usize = 64;

/// The free chunks of one arena.
#[derive(Debug)]
pub(crate) struct Bins {
    unsorted: Ring,
    small: [Ring; SMALL],
    large: [Tree; LARGE],
    /// Bit `i` set: `small[i]` is not empty.
    small_map: u64,
    /// Bit `i` set: `large[i]` is not empty.
    large_map: u64,
    /// What was left of the last split of a chunk for a small request, while it is the only unsorted chunk.
    last_remainder: Option<ChunkPtr>,
    /// Free chunks, and their bytes.
    count: usize,
    bytes: usize,
}

const _: () = assert!(SMALL == 64, "one bit a small bin");

fn is_small(size: ChunkSize) -> bool {
    size.get() < MIN_LARGE
}

fn small_index(size: ChunkSize) -> usize {
    size.get() / ALIGNMENT
}

/// Two bins a doubling from 1 KiB on; the last holds everything from 3 TiB.
fn large_index(size: ChunkSize) -> usize {
    let log = size.get().ilog2() as usize;
    let half = size.get() >> (log - 1) & 1;
    ((log - MIN_LARGE.ilog2() as usize) * 2 + half).min(LARGE - 1)
}

/// The sizes of large bin `index`, from the smallest to the largest.
fn large_range(index: usize) -> (usize, usize) {
    let least = |index: usize| (2 + index % 2) << (MIN_LARGE.ilog2() as usize - 1 + index / 2);
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

impl Bins {
    pub(crate) const EMPTY: Self = Self {
        unsorted: Ring::EMPTY,
        small: [Ring::EMPTY; SMALL],
        large: [Tree::EMPTY; LARGE],
        small_map: 0,
        large_map: 0,
        last_remainder: None,
        count: 0,
        bytes: 0,
    };

    /// How many chunks are free.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The sum of their sizes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a free chunk, and writes its head and footer.
    #[inline]
    pub(crate) fn insert(&mut self, free: FreeChunk) {
        free.write_tags();
        self.count += 1;
        self.bytes += free.size().get();
        if is_small(free.size()) {
            self.insert_small(free.chunk(), free.size());
        } else {
            free.chunk().set_place(Place::Unsorted);
            self.unsorted.insert_last(free.chunk());
        }
    }

    /// Keeps what was left of a split: the next requests of about its time shall lie beside this one.
    #[inline]
    pub(crate) fn insert_remainder(&mut self, free: FreeChunk, for_small: bool) {
        free.write_tags();
        self.count += 1;
        self.bytes += free.size().get();
        if for_small {
            self.last_remainder = Some(free.chunk());
        }
        if !is_small(free.size()) {
            free.chunk().set_place(Place::Unsorted);
        }
        self.unsorted.insert_last(free.chunk());
    }

    /// Takes out the free chunk at `chunk`, after checking its tags and links.
    #[inline]
    pub(crate) fn take(&mut self, chunk: ChunkPtr) -> FreeChunk {
        let (size, owner) = FreeChunk::read_tags(chunk);
        self.unlink(chunk, size);
        self.taken(chunk, size, owner)
    }

    fn taken(&mut self, chunk: ChunkPtr, size: ChunkSize, owner: Owner) -> FreeChunk {
        self.count -= 1;
        self.bytes -= size.get();
        let free = FreeChunk::new(chunk, size, owner);
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
        Some(self.take(chunk))
    }

    /// Takes out the smallest free chunk of at least `size`, or `None`.
    #[inline]
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
        Some(self.take(chunk))
    }

    /// Empties the unsorted list until a chunk of exactly `size` turns up.
    fn sort(&mut self, size: ChunkSize, first: ChunkPtr) -> Option<FreeChunk> {
        if is_small(size) && self.last_remainder == Some(first) && first.next_on_list() == first {
            let (rest, _) = FreeChunk::read_tags(first);
            if rest == size || rest > size && rest.remainder(size).is_some() {
                return Some(self.take(first));
            }
        }
        let mut unsorted = Some(first);
        while let Some(chunk) = unsorted {
            let (found, owner) = FreeChunk::read_tags(chunk);
            let is_unsorted = is_small(found) || chunk.place() == Place::Unsorted;
            check!(is_unsorted, TreeCorrupted, chunk.mem().addr().get());
            self.unsorted.remove(chunk);
            if found == size {
                return Some(self.taken(chunk, found, owner));
            }
            if is_small(found) {
                self.insert_small(chunk, found);
            } else {
                let index = large_index(found);
                self.large[index].insert(chunk, found, index == LARGE - 1);
                self.large_map |= 1 << index;
            }
            unsorted = self.unsorted.first();
        }
        None
    }

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
        if self.large_map == 0 {
            return None;
        }
        self.large[self.large_map.trailing_zeros() as usize].smallest()
    }

    fn fit_in_trees(&self, size: ChunkSize) -> Option<ChunkPtr> {
        let index = large_index(size);
        if self.large_map >> index & 1 != 0
            && let Some(chunk) = self.large[index].best_fit(size, index == LARGE - 1)
        {
            return Some(chunk);
        }
        let larger = self.large_map & u64::MAX.checked_shl(index as u32 + 1).unwrap_or(0);
        if larger == 0 {
            return None;
        }
        self.large[larger.trailing_zeros() as usize].smallest()
    }

    fn unlink(&mut self, chunk: ChunkPtr, size: ChunkSize) {
        if self.unsorted.first() == Some(chunk) {
            self.unsorted.remove(chunk);
        } else if is_small(size) {
            // A chunk further back on the unsorted list leaves by the same steps: only a first chunk has a bin.
            let index = small_index(size);
            self.small[index].remove(chunk);
            if self.small[index].first().is_none() {
                self.small_map &= !(1 << index);
            }
        } else if chunk.place() == Place::Unsorted {
            self.unsorted.remove(chunk);
        } else {
            let index = large_index(size);
            self.large[index].remove(chunk);
            if self.large[index].is_empty() {
                self.large_map &= !(1 << index);
            }
        }
    }

    /// Counts the free chunks by size, those on the unsorted list where they belong.
    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes = [SizeRow::default(); SMALL + LARGE];
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
        sizes
    }

    /// Calls `visit` with every free chunk.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(ChunkPtr)) {
        self.unsorted.for_each(&mut visit);
        self.small.iter().for_each(|ring| ring.for_each(&mut visit));
        self.large.iter().for_each(|tree| tree.for_each(&mut visit));
    }

    /// Calls `visit` with every free chunk that can hold a whole page, and some smaller ones.
    pub(crate) fn for_each_large(&self, mut visit: impl FnMut(ChunkPtr)) {
        self.unsorted.for_each(&mut visit);
        self.large.iter().for_each(|tree| tree.for_each(&mut visit));
    }

    /// Whether maps, lists and trees agree: each bin holds its own sizes, in order, and the maps tell which hold any.
    #[cfg(test)]
    pub(crate) fn assert_consistent(&self) {
        let mut count = 0;
        for (index, ring) in self.small.iter().enumerate() {
            assert_eq!(self.small_map >> index & 1 != 0, ring.first().is_some(), "I5: small map, bin {index}");
            ring.for_each(&mut |chunk| assert_eq!(small_index(FreeChunk::read_tags(chunk).0), index, "I6: small bin"));
        }
        for (index, tree) in self.large.iter().enumerate() {
            assert_eq!(self.large_map >> index & 1 != 0, !tree.is_empty(), "I5: large map, bin {index}");
            tree.assert_ordered(index == LARGE - 1);
            tree.for_each(&mut |chunk| assert_eq!(large_index(FreeChunk::read_tags(chunk).0), index, "I6: large bin"));
        }
        let mut bytes = 0;
        self.for_each(|chunk| {
            count += 1;
            bytes += FreeChunk::read_tags(chunk).0.get();
        });
        assert_eq!((self.count, self.bytes), (count, bytes), "I7: counts");
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;
    use core::ptr::NonNull;
    use std::vec::Vec;

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
            let free = FreeChunk::new(self.next, ChunkSize::exact(bytes), Owner::Main);
            self.next = self.next.at(bytes + 16);
            free
        }
    }

    #[test]
    fn large_bins_are_two_a_doubling() {
        let index = |bytes| large_index(ChunkSize::exact(bytes));
        assert_eq!((index(1024), index(1520), index(1536), index(2032), index(2048)), (0, 0, 1, 1, 2));
        assert_eq!((index(1 << 20), index(3 << 40), index(1 << 46)), (20, 63, 63));
        for bin in 0..LARGE {
            let (from, to) = large_range(bin);
            assert_eq!((index(from), index(to)), (bin, bin), "{from} to {to}");
        }
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
