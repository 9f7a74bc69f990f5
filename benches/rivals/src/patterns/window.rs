//! A window of blocks of mixed sizes, in which random ones are replaced.
//!
//! A small window stays in the caches of allocator and processor. In a large one nearly every block freed is cold, and
//! the heap is shuffled until neighbours in memory have nothing in common in age.

use std::mem;

use crate::checksum::Checksum;
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

pub(crate) fn run(window: usize, steps: usize, scale: Scale) -> u64 {
    let sizes = Sizes::of_programs();
    let mut supply = Supply::new(&sizes, window as u64);
    let mut sum = Checksum::default();
    let mut blocks = supply.blocks(window);
    for _ in 0..scale.of(steps) {
        let fresh = supply.block();
        sum.add(mem::replace(supply.numbers.choose_mut(&mut blocks), fresh).free());
    }
    sum.free_all(blocks);
    sum.value()
}
