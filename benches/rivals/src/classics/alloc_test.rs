//! alloc-test: random places, sizes by Pareto's law, and blocks that are used.
//!
//! After the article of its authors, Testing Memory Allocators: ptmalloc2 vs tcmalloc vs hoard vs jemalloc While Trying
//! to Simulate Real-World Loads, 2018: each step takes a random place; a block that is there is read and freed, an
//! empty place gets a new block, which is written in full. Sizes follow Pareto's law, up to 1 KiB, and so do the
//! places: few are visited often, many seldom, so some blocks live a thousand times longer than others.

use crate::checksum::Checksum;
use crate::crew::{THREADS, crew};
use crate::numbers::Numbers;
use crate::scale::Scale;
use crate::sizes::Sizes;

const PLACES: usize = 20_000;
const LEAST: u32 = 16;
const MOST: u32 = 1_024;
const STEPS: usize = 1_500_000;

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::pareto(LEAST, MOST);
    let steps = scale.of(STEPS);
    crew(THREADS, |number| {
        let mut numbers = Numbers::new(number as u64);
        let mut sum = Checksum::default();
        let mut places: Vec<Option<Vec<u8>>> = vec![None; PLACES];
        for step in 0..steps {
            let place = &mut places[numbers.skewed(PLACES)];
            match place.take() {
                Some(bytes) => sum.add(bytes.iter().map(|byte| u64::from(*byte)).sum()),
                None => *place = Some(vec![step as u8 | 1; sizes.draw(&mut numbers)]),
            }
        }
        sum.value()
    })
}
