//! Sizes: from what a caller asks for to what the heap hands out.
//!
//! A caller asks for *bytes*; the heap deals in *chunks*. A chunk is its user bytes plus one word of overhead, rounded
//! up to the alignment, and never so small that it could not hold its own list links once it is free:
//!
//! ```text
//!   request    0 .. 24      25 .. 40     41 .. 56     57 .. 72
//!   chunk         32           48           64           80        = max(32, round_up(request + 8, 16))
//!   usable        24           40           56           72        = chunk - 8
//! ```
//!
//! Everything here is pure and `const`. A bare `usize` elsewhere in the crate is a number of bytes and is called `len`
//! or `bytes`; a chunk's size is always a [`ChunkSize`].

/// Alignment of every chunk and of every pointer handed out, in bytes.
pub(crate) const ALIGNMENT: usize = 16;
/// Bytes of a chunk in use that are not the user's: the head.
pub(crate) const OVERHEAD: usize = 8;
/// The smallest chunk: head, two links and a footer.
pub(crate) const MIN_CHUNK: usize = 32;
/// From this size on a free chunk is kept in a size tree instead of a list of equals.
pub(crate) const MIN_LARGE: usize = 1024;
/// The largest chunk: a head has 43 bits for the size in units of 16 bytes, and no address space has room for two of it.
pub(crate) const MAX_CHUNK: usize = 1 << 46;

const _: () = assert!(ALIGNMENT.is_power_of_two() && MIN_CHUNK.is_multiple_of(ALIGNMENT));
const _: () = assert!(MIN_CHUNK == 4 * size_of::<usize>());

/// The size of a chunk in bytes, its head included: a multiple of 16, at least 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct ChunkSize(usize);

impl ChunkSize {
    #[cfg(test)]
    pub(crate) const MIN: Self = Self(MIN_CHUNK);
    /// From here on a chunk is large.
    pub(crate) const LARGE: Self = Self(MIN_LARGE);

    /// The chunk that serves a request of `bytes`, or `None` when nothing could: above `PTRDIFF_MAX`, as C demands, and
    /// above any address space.
    #[inline]
    pub(crate) const fn for_request(bytes: usize) -> Option<Self> {
        if bytes > MAX_CHUNK - OVERHEAD {
            return None;
        }
        let rounded = (bytes + OVERHEAD + ALIGNMENT - 1) & !(ALIGNMENT - 1);
        Some(Self(if rounded < MIN_CHUNK { MIN_CHUNK } else { rounded }))
    }

    /// `bytes` as a chunk size; the caller has made sure that it is one.
    #[inline]
    pub(crate) const fn exact(bytes: usize) -> Self {
        debug_assert!(bytes >= MIN_CHUNK && bytes.is_multiple_of(ALIGNMENT) && bytes <= MAX_CHUNK);
        Self(bytes)
    }

    /// `bytes` as a head says them, which may have been overwritten: no claim that there can be such a chunk.
    #[inline]
    pub(crate) const fn unverified(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The size in bytes.
    #[inline]
    pub(crate) const fn get(self) -> usize {
        self.0
    }

    /// Bytes the user may write when the chunk lies in an arena.
    #[inline]
    pub(crate) const fn usable(self) -> usize {
        self.0 - OVERHEAD
    }

    /// What is left of `self` behind a chunk of size `front`, when that is enough for a chunk of its own.
    #[inline]
    pub(crate) const fn remainder(self, front: Self) -> Option<Self> {
        let rest = self.0 - front.0;
        if rest >= MIN_CHUNK { Some(Self(rest)) } else { None }
    }

    /// The size of two neighbours taken as one.
    #[inline]
    pub(crate) const fn joined(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// `len` rounded up to a multiple of `unit`, a power of two; `None` on overflow.
#[inline]
pub(crate) const fn round_up(len: usize, unit: usize) -> Option<usize> {
    debug_assert!(unit.is_power_of_two());
    match len.checked_add(unit - 1) {
        Some(sum) => Some(sum & !(unit - 1)),
        None => None,
    }
}

/// `len` rounded down to a multiple of `unit`, a power of two.
#[inline]
pub(crate) const fn round_down(len: usize, unit: usize) -> usize {
    debug_assert!(unit.is_power_of_two());
    len & !(unit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_the_request_and_one_word_rounded_up() {
        let size = |bytes| ChunkSize::for_request(bytes).map(ChunkSize::get);
        assert_eq!(size(0), Some(32));
        assert_eq!(size(24), Some(32));
        assert_eq!(size(25), Some(48));
        assert_eq!(size(40), Some(48));
        assert_eq!(size(1000), Some(1008));
        assert_eq!(size(1001), Some(1024));
        for bytes in 0..100_000 {
            let chunk = ChunkSize::for_request(bytes).expect("small enough");
            assert!(chunk.usable() >= bytes && chunk.get().is_multiple_of(ALIGNMENT));
            assert!(chunk == ChunkSize::MIN || chunk.usable() - bytes < ALIGNMENT);
        }
    }

    #[test]
    fn impossible_requests_have_no_chunk() {
        assert_eq!(ChunkSize::for_request(usize::MAX), None);
        assert_eq!(ChunkSize::for_request(isize::MAX as usize), None);
        assert_eq!(ChunkSize::for_request(MAX_CHUNK - 7), None);
        assert_eq!(ChunkSize::for_request(MAX_CHUNK - 8), Some(ChunkSize::exact(MAX_CHUNK)));
    }

    #[test]
    fn rounding_up_reports_overflow() {
        assert_eq!(round_up(1, 4096), Some(4096));
        assert_eq!(round_up(8192, 4096), Some(8192));
        assert_eq!(round_up(usize::MAX, 4096), None);
        assert_eq!(round_down(4097, 4096), 4096);
    }
}
