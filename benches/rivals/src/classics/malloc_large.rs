//! malloc-large: blocks of several MiB.
//!
//! After the description on the mimalloc-bench page: large blocks, of 5 to 25 MiB, are allocated and freed, a few alive
//! at a time. One page in eight is written. What counts is whether the allocator gives the pages back at each free and
//! pays for them again at the next malloc, and whether it keeps too many.

use crate::block::Block;
use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::scale::Scale;

const MIB: usize = 1 << 20;
const WINDOW: usize = 8;
const STEPS: usize = 1_500;
const STRIDE: usize = 8 * 4_096;

fn large(numbers: &mut Numbers) -> Block {
    Block::touched(numbers.between(5 * MIB, 25 * MIB), STRIDE, numbers.next())
}

pub(crate) fn run(scale: Scale) -> u64 {
    let mut numbers = Numbers::new(0x1a46);
    let mut sum = Checksum::default();
    let mut blocks: Vec<Block> = (0..WINDOW).map(|_| large(&mut numbers)).collect();
    for _ in 0..scale.of(STEPS) {
        sum.add(blocks.swap_remove(numbers.below(WINDOW)).free());
        blocks.push(large(&mut numbers));
    }
    sum.free_all(blocks);
    sum.value()
}
