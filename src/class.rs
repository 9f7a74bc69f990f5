//! Size classes of the thread cache: the chunk sizes that are kept apart there.
//!
//! One class for each chunk size from 32 to 1040 bytes, so that a cached chunk is exactly as long as the arena would have
//! cut it, and a block freed under one size is found again under the same:
//!
//! ```text
//!   request    0 .. 24   25 .. 40   41 .. 56   ...   1017 .. 1032
//!   chunk        32         48         64                1040
//!   class         0          1          2                 63
//! ```

use crate::size::{ALIGNMENT, ChunkSize, MIN_CHUNK, OVERHEAD};

/// How many classes there are.
pub(crate) const CLASSES: usize = 64;
/// The largest request that has a class, in bytes.
pub(crate) const MAX_REQUEST: usize = MIN_CHUNK + (CLASSES - 1) * ALIGNMENT - OVERHEAD;
/// A magazine holds at most this many bytes, and this many blocks.
const MAGAZINE_BYTES: usize = 8 << 10;
const MAGAZINE_BLOCKS: usize = 64;

const _: () = assert!(MAX_REQUEST == 1032);

/// A size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Class(u8);

impl Class {
    /// The class of a request of `bytes`, if it has one.
    #[inline]
    pub(crate) const fn of_request(bytes: usize) -> Option<Self> {
        if bytes > MAX_REQUEST {
            return None;
        }
        // Up to 24 bytes are the first class; then one for each 16.
        let above = (bytes + OVERHEAD + ALIGNMENT - 1) / ALIGNMENT;
        Some(Self(if above <= 2 { 0 } else { (above - 2) as u8 }))
    }

    /// The class of a chunk, if it has one.
    #[inline]
    pub(crate) const fn of_chunk(size: ChunkSize) -> Option<Self> {
        let index = size.get() / ALIGNMENT - MIN_CHUNK / ALIGNMENT;
        if index < CLASSES { Some(Self(index as u8)) } else { None }
    }

    /// Every class.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES as u8).map(Self)
    }

    /// The size of its chunks.
    #[inline]
    pub(crate) const fn chunk(self) -> ChunkSize {
        ChunkSize::exact(MIN_CHUNK + self.index() * ALIGNMENT)
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize % CLASSES
    }

    /// Blocks of a full magazine.
    #[inline]
    pub(crate) const fn magazine(self) -> usize {
        let by_bytes = MAGAZINE_BYTES / self.chunk().get();
        if by_bytes < MAGAZINE_BLOCKS { by_bytes } else { MAGAZINE_BLOCKS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_the_chunk_that_serves_it_have_the_same_class() {
        for bytes in 0..=MAX_REQUEST {
            let class = Class::of_request(bytes);
            let chunk = ChunkSize::for_request(bytes).expect("small enough");
            assert_eq!(class, Class::of_chunk(chunk), "{bytes}");
            assert_eq!(class.map(Class::chunk), Some(chunk), "{bytes}");
        }
        assert_eq!(Class::of_request(MAX_REQUEST + 1), None);
        assert_eq!(Class::of_chunk(ChunkSize::exact(1056)), None);
    }

    #[test]
    fn magazines_are_bounded_in_blocks_and_in_bytes() {
        assert_eq!(Class::of_request(24).map(Class::magazine), Some(64));
        assert_eq!(Class::of_request(1032).map(Class::magazine), Some(7));
    }
}
