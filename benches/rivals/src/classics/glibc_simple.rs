//! glibc-simple: so many blocks of one size, then all freed.
//!
//! After what is told of the malloc benchmark of that name among glibc's own, in its history and on the mimalloc-bench
//! page: one thread allocates a number of blocks of one size, then frees them, for several numbers and sizes. A few
//! blocks stay in a thread cache; many go past it.

use crate::block::Block;
use crate::checksum::Checksum;
use crate::scale::Scale;

const LENS: [usize; 4] = [16, 64, 256, 1_024];
const COUNTS: [usize; 4] = [5, 30, 200, 1_000];
/// Blocks of each length in each count.
const BLOCKS: usize = 400_000;

pub(crate) fn run(scale: Scale) -> u64 {
    let mut sum = Checksum::default();
    for len in LENS {
        for count in COUNTS {
            let mut blocks = Vec::with_capacity(count);
            for round in 0..scale.of(BLOCKS / count) {
                blocks.extend((0..count).map(|n| Block::new(len, (round + n) as u64)));
                sum.free_all(blocks.drain(..));
            }
        }
    }
    sum.value()
}
