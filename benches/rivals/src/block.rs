//! A block of so many bytes, marked with a number.
//!
//! What most workloads allocate. The mark is written into the block, read back when the block is freed, and goes into
//! the checksum of the workload.

use std::hint::black_box;

/// A block of memory, allocated at its creation.
#[derive(Debug)]
pub(crate) struct Block(Vec<u8>);

impl Block {
    /// The shortest block: its mark.
    pub(crate) const LEAST: usize = size_of::<u64>();

    /// A block of `len` bytes. Only the mark is written.
    #[inline]
    pub(crate) fn new(len: usize, mark: u64) -> Self {
        debug_assert!(len >= Self::LEAST);
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&mark.to_le_bytes());
        // A block whose address the optimiser saw go away, it cannot leave out. The address alone: a whole vector would
        // take a way through memory that costs more than malloc.
        black_box(bytes.as_ptr());
        Self(bytes)
    }

    /// A block of `len` bytes, one byte written in each `stride`, and the last one.
    pub(crate) fn touched(len: usize, stride: usize, mark: u64) -> Self {
        let mut block = Self::new(len, mark);
        let rest = block.0.spare_capacity_mut();
        for byte in rest.iter_mut().step_by(stride) {
            byte.write(1);
        }
        if let Some(byte) = rest.last_mut() {
            byte.write(1);
        }
        black_box(block.0.as_ptr());
        block
    }

    /// The number written into the block.
    #[inline]
    pub(crate) fn mark(&self) -> u64 {
        self.0.first_chunk().map_or(0, |mark| u64::from_le_bytes(*mark))
    }

    /// Frees the block for its mark.
    #[inline]
    pub(crate) fn free(self) -> u64 {
        self.mark()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_the_mark_it_was_made_with() {
        assert_eq!(Block::new(Block::LEAST, 7).free(), 7);
        assert_eq!(Block::touched(5_000, 4_096, u64::MAX).free(), u64::MAX);
    }

    #[test]
    fn asks_for_exactly_its_length() {
        assert_eq!(Block::new(100, 0).0.capacity(), 100);
    }
}
