//! Size classes of the thread cache: the chunk sizes that are kept apart there.
//!
//! Up to 1032 bytes there is a class for each chunk size, so that a cached chunk is exactly as long as the arena would
//! have cut it. Above, up to 8 KiB, there are 16 classes a doubling, and a request is rounded up to its class's, by at
//! most a sixteenth; powers of two are themselves the largest request of a class:
//!
//! ```text
//!   request   0 .. 24   25 .. 40   ...   1017 .. 1032   1033 .. 1088   1089 .. 1152   ...   7681 .. 8200
//!   chunk       32         48                1040           1104           1168                 8208
//!   class       0          1                  63             64             65                  111
//! ```
//!
//! A block goes back to the largest class that it is long enough for, unless it is longer than that by more than 16
//! bytes: then it is not cached. What is too long for the largest class when it is asked for is so when it is freed, too: that
//! class takes all requests that its chunk is just long enough for, and no longer chunk.
//!
//! # Safety
//!
//! An index is below [`CLASSES`], as both constructors see to; the tables of classes are entered without a check.
#![allow(unsafe_code)]

use crate::size::{ALIGNMENT, ChunkSize, MIN_CHUNK, OVERHEAD};

/// Classes of one chunk size each.
const SMALL: usize = 64;
/// Classes a doubling above those.
const STEPS: usize = 16;
/// How many classes there are.
pub(crate) const CLASSES: usize = SMALL + 3 * STEPS;
/// The largest request that is not rounded up to a class, in bytes.
pub(crate) const MAX_SMALL_REQUEST: usize = MIN_CHUNK + (SMALL - 1) * ALIGNMENT - OVERHEAD;
/// The largest request that has a class, in bytes; the next [`OVERHEAD`] are of the same chunk, and go with it.
pub(crate) const MAX_REQUEST: usize = 8 << 10;
/// The doubling that the first of the larger classes belongs to.
const FIRST_LOG: usize = 10;
/// A magazine of small blocks holds at most this many bytes, and this many blocks.
const MAGAZINE_BYTES: usize = 8 << 10;
pub(crate) const MAGAZINE_BLOCKS: usize = 64;
/// A magazine of larger blocks holds at most this many bytes, but at least two.
const LARGE_MAGAZINE_BYTES: usize = 16 << 10;

const _: () = assert!(MAX_SMALL_REQUEST == 1032 && MAX_REQUEST == 1 << (FIRST_LOG + 3));

/// A size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(transparent)]
pub(crate) struct Class {
    /// Its number times 16: how much longer the chunks of a small class are than the smallest, and where a class stands in a
    /// table that has 16 bytes for each.
    offset: u16,
}

impl Class {
    /// The class of a request of at most [`MAX_SMALL_REQUEST`] bytes.
    #[inline]
    pub(crate) const fn of_small_request(bytes: usize) -> Option<Self> {
        // Up to 24 bytes are the first class; then one for each 16.
        let index = bytes.saturating_sub(MIN_CHUNK - OVERHEAD - ALIGNMENT + 1) / ALIGNMENT;
        if index < SMALL { Some(Self::nth(index)) } else { None }
    }

    /// The class of a request of `bytes`, if it has one.
    #[inline]
    pub(crate) const fn of_request(bytes: usize) -> Option<Self> {
        if bytes <= MAX_SMALL_REQUEST {
            return Self::of_small_request(bytes);
        }
        if bytes > MAX_REQUEST + OVERHEAD {
            return None;
        }
        let bytes = if bytes < MAX_REQUEST { bytes } else { MAX_REQUEST };
        let log = (bytes - 1).ilog2() as usize;
        let step = (bytes - 1) >> (log - STEPS.ilog2() as usize) & (STEPS - 1);
        Some(Self::nth(SMALL + (log - FIRST_LOG) * STEPS + step))
    }

    /// The class of a small chunk of `bytes`; what is no multiple of 16 has none.
    #[inline]
    pub(crate) const fn of_small_chunk(bytes: usize) -> Option<Self> {
        // Any low bit becomes a high one.
        let index = bytes.wrapping_sub(MIN_CHUNK).rotate_right(ALIGNMENT.ilog2());
        if index < SMALL { Some(Self::nth(index)) } else { None }
    }

    /// The class that a chunk may serve, if it has one.
    #[inline]
    pub(crate) const fn of_chunk(size: ChunkSize) -> Option<Self> {
        if let Some(small) = Self::of_small_chunk(size.get()) {
            return Some(small);
        }
        // The largest request that a class is sure to fit is 16 bytes shorter than its chunk. These are whole steps, from 17 to
        // 32 of each doubling, and what a chunk has beyond one may be 16 bytes.
        let longest = size.get() - ALIGNMENT;
        let log = (longest | 1 << FIRST_LOG).ilog2() as usize;
        let step_log = log - STEPS.ilog2() as usize;
        let index = SMALL + (log - FIRST_LOG) * STEPS + (longest >> step_log);
        let index = index.wrapping_sub(STEPS + 1);
        let beyond = longest & ((1 << step_log) - 1);
        let most_beyond = if index < CLASSES - 1 { ALIGNMENT } else { 0 };
        if index >= SMALL && index < CLASSES && beyond <= most_beyond { Some(Self::nth(index)) } else { None }
    }

    /// The chunks of the last class; what is longer has none.
    pub(crate) const LONGEST_CHUNK: ChunkSize = Self::nth(CLASSES - 1).chunk();

    /// The smallest.
    pub(crate) const FIRST: Self = Self::nth(0);

    /// Every class.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES).map(Self::nth)
    }

    /// What `make` makes of each class.
    pub(crate) fn each<T>(make: impl Fn(Self) -> T) -> [T; CLASSES] {
        core::array::from_fn(|index| make(Self::nth(index)))
    }

    /// The size of its chunks.
    #[inline]
    pub(crate) const fn chunk(self) -> ChunkSize {
        let index = self.index();
        if index < SMALL {
            return ChunkSize::exact(MIN_CHUNK + index * ALIGNMENT);
        }
        let (log, step) = (FIRST_LOG + (index - SMALL) / STEPS, (index - SMALL) % STEPS);
        ChunkSize::exact((1 << log) + (step + 1) * ((1 << log) / STEPS) + ALIGNMENT)
    }

    /// Whether longer requests have no class.
    #[inline]
    pub(crate) const fn is_last(self) -> bool {
        self.index() == CLASSES - 1
    }

    /// Whether its requests are not rounded up.
    #[inline]
    pub(crate) const fn is_small(self) -> bool {
        self.index() < SMALL
    }

    /// What one class more adds to an offset.
    pub(crate) const OFFSET: usize = ALIGNMENT;

    /// The class of this number, which is below [`CLASSES`].
    #[inline]
    const fn nth(index: usize) -> Self {
        Self { offset: (index * Self::OFFSET) as u16 }
    }

    /// Its number times 16; no other class has the same.
    #[inline]
    pub(crate) const fn offset(self) -> usize {
        self.offset as usize
    }

    /// Its number.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        let index = self.offset() / Self::OFFSET;
        // SAFETY: every constructor makes an index below.
        unsafe { core::hint::assert_unchecked(index < CLASSES) };
        index
    }

    /// Blocks of a full magazine.
    #[inline]
    pub(crate) const fn magazine(self) -> usize {
        if !self.is_small() {
            let by_bytes = LARGE_MAGAZINE_BYTES / self.chunk().get();
            return if by_bytes < 2 { 2 } else { by_bytes };
        }
        let by_bytes = MAGAZINE_BYTES / self.chunk().get();
        if by_bytes < MAGAZINE_BLOCKS { by_bytes } else { MAGAZINE_BLOCKS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_request_and_the_chunk_that_serves_it_have_the_same_class() {
        for bytes in 0..=MAX_SMALL_REQUEST {
            let class = Class::of_request(bytes);
            let chunk = ChunkSize::for_request(bytes).expect("small enough");
            assert_eq!(class, Class::of_chunk(chunk), "{bytes}");
            assert_eq!(class.map(Class::chunk), Some(chunk), "{bytes}");
        }
    }

    #[test]
    fn a_larger_request_is_rounded_up_by_a_sixteenth_at_most() {
        for bytes in MAX_SMALL_REQUEST + 1..=MAX_REQUEST {
            let class = Class::of_request(bytes).expect("it has a class");
            let chunk = class.chunk();
            assert!(chunk.usable() >= bytes, "{bytes}");
            assert!(chunk.get() <= bytes + bytes / 16 + 16, "{bytes} in {}", chunk.get());
            assert_eq!(Class::of_chunk(chunk), Some(class), "{bytes}");
        }
        assert_eq!(Class::of_request(4096).map(Class::chunk), Some(ChunkSize::exact(4112)));
    }

    /// Requests of 8,193 to 8,216 bytes came from an arena and went into the largest class when they were freed, which nobody took
    /// them out of as fast: the workload `zeroed` filled its share of the depot with them.
    #[test]
    fn what_has_no_class_when_it_is_asked_for_has_none_when_it_is_freed() {
        for bytes in MAX_REQUEST..3 * MAX_REQUEST {
            let chunk = ChunkSize::for_request(bytes).expect("small enough");
            assert_eq!(Class::of_request(bytes), Class::of_chunk(chunk), "{bytes}");
        }
        assert_eq!(Class::of_request(MAX_REQUEST + OVERHEAD + 1), None);
    }

    #[test]
    fn a_chunk_serves_every_request_of_its_class_and_is_hardly_longer() {
        for units in 2..1_000 {
            let size = ChunkSize::exact(units * ALIGNMENT);
            if let Some(class) = Class::of_chunk(size) {
                assert!(class.chunk() <= size && size.get() - class.chunk().get() <= ALIGNMENT);
            }
        }
        assert_eq!(Class::of_chunk(ChunkSize::exact(1056)), None);
        assert_eq!(Class::of_chunk(ChunkSize::exact(8208)).map(Class::index), Some(CLASSES - 1));
        assert_eq!(Class::of_chunk(ChunkSize::exact(9000 / 16 * 16)), None);
    }

    #[test]
    fn classes_are_numbered_by_size() {
        let sizes: std::vec::Vec<_> = Class::all().map(Class::chunk).collect();
        assert!(sizes.is_sorted() && sizes.len() == CLASSES);
        assert!(Class::all().enumerate().all(|(index, class)| class.index() == index));
    }

    #[test]
    fn magazines_are_bounded_in_blocks_and_in_bytes() {
        assert_eq!(Class::of_request(24).map(Class::magazine), Some(64));
        assert_eq!(Class::of_request(1032).map(Class::magazine), Some(7));
        assert_eq!(Class::of_request(8192).map(Class::magazine), Some(2));
    }
}
