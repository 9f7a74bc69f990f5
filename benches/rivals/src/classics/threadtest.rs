//! threadtest: each thread for itself.
//!
//! After Emery Berger, Kathryn McKinley, Robert Blumofe and Paul Wilson, Hoard: A Scalable Memory Allocator for
//! Multithreaded Applications, 2000: t threads do nothing but allocate and then free 100,000/t objects of 8 bytes,
//! again and again. Nothing is shared but the allocator.

use std::hint::black_box;

use crate::checksum::Checksum;
use crate::crew::{THREADS, crew};
use crate::scale::Scale;

const OBJECTS: usize = 100_000 / THREADS;
const ROUNDS: usize = 150;

pub(crate) fn run(scale: Scale) -> u64 {
    let rounds = scale.of(ROUNDS);
    crew(THREADS, |_| {
        let mut sum = Checksum::default();
        let mut objects: Vec<Box<u64>> = Vec::with_capacity(OBJECTS);
        for _ in 0..rounds {
            objects.extend((0..OBJECTS as u64).map(|value| black_box(Box::new(value))));
            objects.drain(..).for_each(|object| sum.add(*object));
        }
        sum.value()
    })
}
