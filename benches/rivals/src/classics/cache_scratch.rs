//! cache-scratch: does the allocator pass false sharing on?
//!
//! After Emery Berger, Kathryn McKinley, Robert Blumofe and Paul Wilson, Hoard: A Scalable Memory Allocator for
//! Multithreaded Applications, 2000, which calls it passive-false. Small objects that one thread allocated, in one
//! cache line, are given to one thread each. A thread frees its own, then allocates an object, writes to it many times
//! and frees it, again and again. If it gets the piece of the shared line back, each write waits for the others.

use std::sync::Mutex;

use crate::checksum::Checksum;
use crate::classics::cache_thrash::scratch;
use crate::crew::{THREADS, crew};
use crate::scale::Scale;

const ROUNDS: usize = 1_300;

pub(crate) fn run(scale: Scale) -> u64 {
    let given: Vec<Mutex<Option<Box<u64>>>> = (0..THREADS as u64).map(|n| Mutex::new(Some(Box::new(n)))).collect();
    let rounds = scale.of(ROUNDS);
    crew(THREADS, |number| {
        let mut sum = Checksum::default();
        sum.add(given[number].lock().expect("one thread has it").take().map_or(0, |object| *object));
        (0..rounds).for_each(|_| sum.add(scratch()));
        sum.value()
    })
}
