//! What a workload comes to.
//!
//! The sum of the marks of all blocks it freed, or of the results it computed. A block that was lost, handed out twice
//! or written over shows there. A sum does not depend on the order, so threads that race for blocks come to the same.

use crate::block::Block;

/// A sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checksum(u64);

impl Checksum {
    #[inline]
    pub(crate) fn add(&mut self, number: u64) {
        self.0 = self.0.wrapping_add(number);
    }

    /// Adds a digest of the text: FNV-1a.
    pub(crate) fn add_text(&mut self, text: &str) {
        self.add(text.bytes().fold(0xCBF2_9CE4_8422_2325, |digest: u64, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        }));
    }

    /// Frees the blocks and adds their marks.
    pub(crate) fn free_all(&mut self, blocks: impl IntoIterator<Item = Block>) {
        blocks.into_iter().for_each(|block| self.add(block.free()));
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}
