//! glibc-thread: buffers of random sizes, allocated and freed in random order by several threads.
//!
//! After what is told of the malloc benchmark of that name among glibc's own, in its history: sizes follow an inverse
//! square, to mimic real applications, which allocate many more small blocks than large ones; each thread has a working
//! set of its own.

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::{THREADS, crew};
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

const WORKING_SET: usize = 1_000;
const LONGEST: u32 = 32_768;
const STEPS: usize = 4_000_000;

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::inverse_square(8, LONGEST);
    let steps = scale.of(STEPS);
    crew(THREADS, |number| {
        let mut supply = Supply::new(&sizes, number as u64);
        let mut sum = Checksum::default();
        let mut working_set: Vec<Option<Block>> = (0..WORKING_SET).map(|_| None).collect();
        for _ in 0..steps {
            // What is there is freed, what is not there is allocated.
            let place = supply.numbers.choose_mut(&mut working_set);
            match place.take() {
                Some(block) => sum.add(block.free()),
                None => *place = Some(supply.block()),
            }
        }
        sum.free_all(working_set.into_iter().flatten());
        sum.value()
    })
}
