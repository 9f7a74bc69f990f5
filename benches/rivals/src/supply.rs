//! A supply of blocks: sizes from a distribution, marks from a sequence.

use crate::block::Block;
use crate::numbers::Numbers;
use crate::sizes::Sizes;

/// Blocks, one after another, the same in every run.
#[derive(Debug)]
pub(crate) struct Supply<'a> {
    pub(crate) numbers: Numbers,
    sizes: &'a Sizes,
}

impl<'a> Supply<'a> {
    pub(crate) fn new(sizes: &'a Sizes, seed: u64) -> Self {
        Self { numbers: Numbers::new(seed), sizes }
    }

    /// A new block. Only its mark is written.
    #[inline]
    pub(crate) fn block(&mut self) -> Block {
        Block::new(self.sizes.draw(&mut self.numbers), self.numbers.next())
    }

    /// So many new blocks.
    pub(crate) fn blocks(&mut self, count: usize) -> Vec<Block> {
        (0..count).map(|_| self.block()).collect()
    }
}
