//! Zeroed memory.
//!
//! `vec![0; len]` asks for it. An allocator that knows memory to be fresh from the system need not write zeros; one that
//! reuses what it has must. Lengths of 64 bytes to 1 MiB, each doubling as likely as another but the longest rarer;
//! a program writes to little of a long buffer.

use std::hint::black_box;

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::scale::Scale;
use crate::sizes::Sizes;

const WINDOW: usize = 32;
const STEPS: usize = 2_400_000;
/// One request in so many is for a long buffer.
const LONG: usize = 200;

pub(crate) fn run(scale: Scale) -> u64 {
    let [short, long] = [Sizes::exponential(1 << 6, 1 << 14), Sizes::exponential(1 << 16, 1 << 20)];
    let mut numbers = Numbers::new(0x2e40);
    let mut sum = Checksum::default();
    let mut window: Vec<Vec<u8>> = vec![Vec::new(); WINDOW];
    for step in 0..scale.of(STEPS) {
        let sizes = if step % LONG == 0 { &long } else { &short };
        let len = sizes.draw(&mut numbers);
        let mut buffer = black_box(vec![0_u8; len]);
        let at = numbers.below(len);
        // 1 more than what was there, which is 0.
        buffer[at] += 1;
        sum.add(u64::from(buffer[at]) + buffer[len / 2] as u64);
        *numbers.choose_mut(&mut window) = buffer;
    }
    sum.value()
}
