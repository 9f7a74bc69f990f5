//! Blocks of one size.
//!
//! The hot paths and nothing else. Each step frees one block at once and another after 512 steps, the oldest first:
//! malloc finds now the block of a moment ago, now one long cold.

use std::mem;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::scale::Scale;

const RING: usize = 512;
const STEPS: usize = 18_000_000;

pub(crate) fn run(len: usize, scale: Scale) -> u64 {
    let mut sum = Checksum::default();
    let mut ring: Vec<Block> = (0..RING).map(|n| Block::new(len, n as u64)).collect();
    for step in 0..scale.of(STEPS) as u64 {
        sum.add(Block::new(len, step).free());
        let oldest = mem::replace(&mut ring[step as usize % RING], Block::new(len, step));
        sum.add(oldest.free());
    }
    sum.free_all(ring);
    sum.value()
}
