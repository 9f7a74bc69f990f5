//! linux-scalability: a block is freed as soon as it is allocated.
//!
//! After Chuck Lever and David Boreham, malloc() Performance in a Multithreaded Linux Environment, 2000: each thread
//! calls malloc for one size and free, in a loop. The least that a malloc can cost, and whether a second thread makes
//! it cost more.

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::{THREADS, crew};
use crate::scale::Scale;

const LEN: usize = 512;
const PAIRS: u64 = 10_000_000;

pub(crate) fn run(scale: Scale) -> u64 {
    let pairs = scale.of(PAIRS as usize) as u64;
    crew(THREADS, |_| {
        let mut sum = Checksum::default();
        (0..pairs).for_each(|n| sum.add(Block::new(LEN, n).free()));
        sum.value()
    })
}
