//! Thousands of short threads.
//!
//! Each allocates a hundred blocks, frees half of them and leaves the rest to the one that joins it. What an allocator
//! sets up for a thread, and what it does with it at the end, costs as much here as its malloc.

use std::thread;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::THREADS;
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

const BLOCKS: usize = 100;
const ROUNDS: usize = 1_500;

fn short_life(mut supply: Supply) -> (Vec<Block>, u64) {
    let mut sum = Checksum::default();
    let mut blocks = supply.blocks(BLOCKS);
    supply.numbers.shuffle(&mut blocks);
    sum.free_all(blocks.drain(BLOCKS / 2..));
    (blocks, sum.value())
}

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::of_programs();
    let mut sum = Checksum::default();
    for round in 0..scale.of(ROUNDS) {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| {
                    let supply = Supply::new(&sizes, (round * THREADS + number) as u64);
                    scope.spawn(move || short_life(supply))
                })
                .collect();
            for thread in threads {
                let (left, own) = thread.join().expect("a short thread");
                sum.free_all(left);
                sum.add(own);
            }
        });
    }
    sum.value()
}
