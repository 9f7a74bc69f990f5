//! Buffers of 2 to 64 KiB.
//!
//! Reads, network packets, rows, compressed pieces: longer than what thread caches like to keep, shorter than what is
//! worth a mapping. One hundred live at a time, random ones are replaced; one byte in 1 KiB is written.

use std::mem;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::scale::Scale;
use crate::sizes::Sizes;

const WINDOW: usize = 100;
const STEPS: usize = 1_200_000;

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::exponential(2 << 10, 64 << 10);
    let mut numbers = Numbers::new(0xb0ff);
    let mut sum = Checksum::default();
    let buffer = |numbers: &mut Numbers| Block::touched(sizes.draw(numbers), 1 << 10, numbers.next());
    let mut window: Vec<Block> = (0..WINDOW).map(|_| buffer(&mut numbers)).collect();
    for _ in 0..scale.of(STEPS) {
        let fresh = buffer(&mut numbers);
        sum.add(mem::replace(numbers.choose_mut(&mut window), fresh).free());
    }
    sum.free_all(window);
    sum.value()
}
