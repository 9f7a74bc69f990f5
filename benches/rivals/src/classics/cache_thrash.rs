//! cache-thrash: does the allocator cause false sharing?
//!
//! After Emery Berger, Kathryn McKinley, Robert Blumofe and Paul Wilson, Hoard: A Scalable Memory Allocator for
//! Multithreaded Applications, 2000, which calls it active-false. Each thread allocates a small object, writes to it
//! many times and frees it, again and again. If two threads get pieces of one cache line, each write waits for the
//! other.

use std::hint::black_box;

use crate::checksum::Checksum;
use crate::crew::{THREADS, crew};
use crate::scale::Scale;

const ROUNDS: usize = 1_300;
const WRITES: usize = 200_000;

/// Writes to one object, allocated and freed for it.
pub(crate) fn scratch() -> u64 {
    let mut object = Box::new(0_u64);
    for _ in 0..WRITES {
        *black_box(&mut *object) += 1;
    }
    *object
}

pub(crate) fn run(scale: Scale) -> u64 {
    let rounds = scale.of(ROUNDS);
    crew(THREADS, |_| {
        let mut sum = Checksum::default();
        (0..rounds).for_each(|_| sum.add(scratch()));
        sum.value()
    })
}
