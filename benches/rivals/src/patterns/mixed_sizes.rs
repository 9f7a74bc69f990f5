//! Sizes as real programs ask for them.
//!
//! Two thirds of the requests are for 64 bytes or less, few are for some KiB; most blocks die young, one in sixteen
//! lives among ten thousand others for long.

use std::mem;

use crate::checksum::Checksum;
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

const YOUNG: usize = 64;
const OLD: usize = 10_000;
const STEPS: usize = 9_000_000;

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::of_programs();
    let mut supply = Supply::new(&sizes, 0x5129);
    let mut sum = Checksum::default();
    let mut young = supply.blocks(YOUNG);
    let mut old = supply.blocks(OLD);
    for step in 0..scale.of(STEPS) {
        let fresh = supply.block();
        let dead =
            if step % 16 == 0 { supply.numbers.choose_mut(&mut old) } else { supply.numbers.choose_mut(&mut young) };
        sum.add(mem::replace(dead, fresh).free());
    }
    sum.free_all(young);
    sum.free_all(old);
    sum.value()
}
