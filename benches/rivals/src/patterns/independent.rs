//! Threads that have nothing to do with each other: as much work in all, whatever their number.
//!
//! Each replaces random blocks of a small window of its own, of 16 to 512 bytes. With more threads than cores, what an
//! allocator keeps for each thread, and a lock whose holder is not running, show in the CPU time.

use std::mem;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::crew;
use crate::numbers::Numbers;
use crate::scale::Scale;

const STEPS: usize = 12_000_000;
const WINDOW: usize = 100;

/// The work of all threads together.
pub(crate) fn run(threads: usize, scale: Scale) -> u64 {
    crew(threads, |number| replace(number as u64, scale.of(STEPS / threads)))
}

/// Replaces `steps` blocks.
pub(crate) fn replace(seed: u64, steps: usize) -> u64 {
    let mut numbers = Numbers::new(seed);
    let mut sum = Checksum::default();
    let block = |numbers: &mut Numbers| Block::new(numbers.between(16, 512), numbers.next());
    let mut blocks: Vec<Block> = (0..WINDOW).map(|_| block(&mut numbers)).collect();
    for _ in 0..steps {
        let fresh = block(&mut numbers);
        sum.add(mem::replace(numbers.choose_mut(&mut blocks), fresh).free());
    }
    sum.free_all(blocks);
    sum.value()
}
