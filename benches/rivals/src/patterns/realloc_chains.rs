//! Chains of realloc.
//!
//! A table of buffers; each step grows a random one by a few bytes to half its length, exactly and not doubling, and
//! begins it anew when it is long. Now and then one is shrunk to a third and grows again from there. In place, or moved
//! because a neighbour stands behind: the allocator decides what it costs.

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::scale::Scale;

const BUFFERS: usize = 300;
const FIRST_LEN: usize = 24;
const LONGEST: usize = 40_000;
const STEPS: usize = 1_500_000;

pub(crate) fn run(scale: Scale) -> u64 {
    let mut numbers = Numbers::new(0x4ea1);
    let mut sum = Checksum::default();
    let mut buffers: Vec<Vec<u8>> = (0..BUFFERS).map(|_| vec![1; FIRST_LEN]).collect();
    for _ in 0..scale.of(STEPS) {
        let buffer = numbers.choose_mut(&mut buffers);
        if buffer.len() > LONGEST {
            sum.add(buffer.iter().step_by(256).map(|byte| u64::from(*byte)).sum());
            *buffer = vec![1; FIRST_LEN];
        } else if numbers.once_in(20) {
            buffer.truncate((buffer.len() / 3).max(FIRST_LEN));
            buffer.shrink_to_fit();
        } else {
            let more = numbers.between(8, 8 + buffer.len() / 2);
            buffer.reserve_exact(more);
            buffer.resize(buffer.len() + more, more as u8);
        }
        sum.add(buffer.len() as u64);
    }
    sum.value()
}
