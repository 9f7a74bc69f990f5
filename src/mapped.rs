//! Big blocks: chunks with a mapping of their own.
//!
//! A request from the threshold on goes straight to the system and straight back when it is freed. The chunk's size is
//! everything from its start to the end of the mapping; the word before its head, which is a footer elsewhere, holds how
//! far the chunk is from the start of the mapping. That is 0 unless the block had to be aligned:
//!
//! ```text
//!   mapping                chunk                                                   end of the mapping
//!     | lead (aligned only)  | lead | head | user data                               |
//!     |<---- lead ---------->|<----------------- size ------------------------------>|
//! ```
//!
//! Because the last word of the mapping is no other chunk's footer, the user may write `size - 16` bytes.
//!
//! # Safety
//!
//! A mapped chunk lies in a mapping made here, whose length and start its two words give.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use crate::chunk::{ChunkPtr, MEM_OFFSET, Owner};
use crate::fatal::check;
use crate::options::Param;
use crate::os::Os;
use crate::size::{ALIGNMENT, ChunkSize, MIN_CHUNK, round_down, round_up};
use crate::source::Source;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Counts of mapped chunks. Relaxed: they are read as statistics and as a limit that may be missed by a thread or two.
#[derive(Debug)]
pub(crate) struct Mapped {
    count: AtomicUsize,
    bytes: AtomicUsize,
    most_count: AtomicUsize,
    most_bytes: AtomicUsize,
    /// The address of a block that is there: the one whose length was changed last, for a program that makes it longer by a few bytes
    /// again and again. Relaxed: who has the block knows of all that was done with it.
    resized: AtomicUsize,
}

/// The figures of [`Mapped`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MappedStats {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    pub(crate) most_count: usize,
    pub(crate) most_bytes: usize,
}

/// Bytes that the user of a mapped chunk may write.
#[inline]
pub(crate) fn usable(size: ChunkSize) -> usize {
    size.get() - MEM_OFFSET
}

impl Mapped {
    pub(crate) const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most_count: AtomicUsize::new(0),
            most_bytes: AtomicUsize::new(0),
            resized: AtomicUsize::new(0),
        }
    }

    /// Whether `address` is known to be a mapped block's.
    #[inline]
    pub(crate) fn knows(&self, address: usize) -> bool {
        self.resized.load(Ordering::Relaxed) == address
    }

    /// A block is not where it was any more.
    fn forget(&self, chunk: ChunkPtr) {
        let address = chunk.mem().addr().get();
        let _ = self.resized.compare_exchange(address, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> MappedStats {
        MappedStats {
            count: self.count.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            most_count: self.most_count.load(Ordering::Relaxed),
            most_bytes: self.most_bytes.load(Ordering::Relaxed),
        }
    }

    /// Whether a chunk of `size` is to have a mapping of its own.
    #[inline]
    pub(crate) fn wants<O: Os>(&self, source: &Source<O>, size: ChunkSize) -> bool {
        size.get() >= source.params.get(Param::MmapThreshold)
            && self.count.load(Ordering::Relaxed) < source.params.get(Param::MmapMax)
    }

    /// Maps a chunk for `bytes` of user data at a multiple of `alignment` (a power of two of at least 16). Its memory is
    /// fresh and zero. `None` when the system refuses.
    pub(crate) fn map<O: Os>(&self, source: &Source<O>, bytes: usize, alignment: usize) -> Option<ChunkPtr> {
        source.retry_releases();
        let page = source.os.page_len();
        // An aligned block of nothing would end where it begins, with a chunk too short to be one.
        let bytes = bytes.max(MIN_CHUNK - MEM_OFFSET);
        if alignment <= ALIGNMENT {
            let len = round_up(bytes.checked_add(MEM_OFFSET)?, page)?;
            let (start, len) = source.map_block(len)?;
            return Some(self.begin(start, len, 0));
        }
        let len = round_up(bytes.checked_add(alignment.max(MEM_OFFSET))?, page)?;
        let start = source.os.map(len)?;
        let mem = round_up(start.addr().get() + MEM_OFFSET, alignment)?;
        let lead = mem - MEM_OFFSET - start.addr().get();
        // Whole pages before the chunk's and behind its last byte go back.
        let front = round_down(lead, page);
        let end = round_up(mem - start.addr().get() + bytes, page)?;
        if end < len {
            // SAFETY: within the mapping.
            let tail = unsafe { start.add(end) };
            // SAFETY: the mapping's unused end.
            unsafe { source.release(tail, len - end) };
        }
        // SAFETY: within the mapping.
        let rest = unsafe { start.add(front) };
        if front > 0 {
            // SAFETY: the mapping's unused front.
            unsafe { source.release(start, front) };
        }
        Some(self.begin(rest, end - front, lead - front))
    }

    /// Makes a mapping of `len` bytes a chunk that begins `lead` bytes into it.
    fn begin(&self, start: NonNull<u8>, len: usize, lead: usize) -> ChunkPtr {
        // SAFETY: `lead` is less than the mapping is long.
        let place = unsafe { start.add(lead) };
        // SAFETY: aligned: mappings are, and so is a lead; the memory is this chunk's.
        let chunk = unsafe { ChunkPtr::new(place) };
        chunk.set_lead(lead);
        chunk.set_head(ChunkSize::exact(len - lead), Owner::Mapped.general(), true);
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(len, Ordering::Relaxed) + len;
        self.most_count.fetch_max(count, Ordering::Relaxed);
        self.most_bytes.fetch_max(bytes, Ordering::Relaxed);
        chunk
    }

    /// The mapping that a chunk's words describe, after a look at whether they can be true.
    fn mapping<O: Os>(source: &Source<O>, chunk: ChunkPtr, size: ChunkSize) -> (NonNull<u8>, usize) {
        let page = source.os.page_len();
        let lead = chunk.lead();
        let is_possible =
            lead < page && (chunk.address() - lead).is_multiple_of(page) && (size.get() + lead).is_multiple_of(page);
        check!(is_possible && chunk.head_unchecked().prev_in_use(), InvalidMapping, chunk.mem().addr().get());
        (chunk.before(lead).start(), size.get() + lead)
    }

    /// Gives a chunk's mapping back at once.
    pub(crate) fn unmap<O: Os>(&self, source: &Source<O>, chunk: ChunkPtr, size: ChunkSize) {
        let (start, len) = Self::mapping(source, chunk, size);
        self.forget(chunk);
        source.params.note_freed_mapping(size.get());
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(len, Ordering::Relaxed);
        source.retry_releases();
        // SAFETY: the mapping of a chunk that its user has freed.
        unsafe { source.release(start, len) };
    }

    /// Changes a chunk's mapping to hold `bytes` of user data; it keeps its contents and its distance from a page's
    /// start. `None`, and nothing changed, when the system refuses or the mapping would have to move and must not.
    pub(crate) fn remap<O: Os>(
        &self,
        source: &Source<O>,
        chunk: ChunkPtr,
        size: ChunkSize,
        bytes: usize,
        may_move: bool,
    ) -> Option<ChunkPtr> {
        let (start, len) = Self::mapping(source, chunk, size);
        let lead = chunk.lead();
        let new_len = round_up(bytes.checked_add(lead + MEM_OFFSET)?, source.os.page_len())?;
        let new_len = source.remapped_len(start, len, new_len)?;
        if new_len == len {
            self.resized.store(chunk.mem().addr().get(), Ordering::Relaxed);
            return Some(chunk);
        }
        self.forget(chunk);
        // SAFETY: the chunk's own mapping, which moves with everything in it.
        let moved = unsafe { source.os.remap(start, len, new_len, may_move) }?;
        self.bytes.fetch_add(new_len.wrapping_sub(len), Ordering::Relaxed);
        self.most_bytes.fetch_max(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        // SAFETY: `lead` is less than a page.
        let place = unsafe { moved.add(lead) };
        // SAFETY: as aligned as before: mappings move by whole pages.
        let chunk = unsafe { ChunkPtr::new(place) };
        chunk.set_head(ChunkSize::exact(new_len - lead), Owner::Mapped.general(), true);
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program made a block of 1 MiB longer by one byte, a million times; each time a system call asked whether there is memory where
    /// the block is said to be: 115 ns for 4.
    #[test]
    fn a_block_that_was_just_made_longer_is_known_until_it_moves_or_goes() {
        let source = Source::fake();
        let mapped = Mapped::new();
        let chunk = mapped.map(&source, 1 << 20, ALIGNMENT).expect("there is memory");
        let address = |chunk: ChunkPtr| chunk.mem().addr().get();
        let size = |chunk: ChunkPtr| chunk.head().and_then(|head| head.size()).expect("a sound head");
        assert!(!mapped.knows(address(chunk)));
        let same = mapped.remap(&source, chunk, size(chunk), (1 << 20) + 1, true).expect("there is room");
        assert!(same == chunk && mapped.knows(address(chunk)));
        let longer = mapped.remap(&source, chunk, size(chunk), 3 << 20, true).expect("there is memory");
        assert!(!mapped.knows(address(chunk)));
        let _ = mapped.remap(&source, longer, size(longer), (3 << 20) - 1, true);
        assert!(mapped.knows(address(longer)));
        mapped.unmap(&source, longer, size(longer));
        assert!(!mapped.knows(address(longer)));
    }
}
