//! xmalloc: some threads only allocate, others only free.
//!
//! After Chuck Lever and David Boreham, malloc() Performance in a Multithreaded Linux Environment, 2000, as the
//! mimalloc-bench page tells of its later form: objects of various sizes migrate in batches from allocating threads to
//! freeing ones, through one queue for all. It is hard on caches of threads: one side's is always empty, the other's
//! always full.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::{THREADS, crew};
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

const PRODUCERS: usize = THREADS / 2;
const BATCH: usize = 120;
const BATCHES: usize = 12_000;
const LONGEST_QUEUE: usize = 64;

/// The queue between the two sides.
#[derive(Default)]
struct Queue {
    batches: Mutex<VecDeque<Vec<Block>>>,
    not_empty: Condvar,
    not_full: Condvar,
}

impl Queue {
    fn put(&self, batch: Vec<Block>) {
        let batches = self.batches.lock().expect("no holder panics");
        let mut batches =
            self.not_full.wait_while(batches, |batches| batches.len() >= LONGEST_QUEUE).expect("no holder panics");
        batches.push_back(batch);
        drop(batches);
        self.not_empty.notify_one();
    }

    fn take(&self) -> Option<Vec<Block>> {
        let batches = self.batches.lock().expect("no holder panics");
        let mut batches = self.not_empty.wait_while(batches, |batches| batches.is_empty()).expect("no holder panics");
        let batch = batches.pop_front();
        drop(batches);
        self.not_full.notify_one();
        batch
    }
}

fn produce(queue: &Queue, batches: usize, mut supply: Supply) {
    for _ in 0..batches {
        queue.put(supply.blocks(BATCH));
    }
}

/// As many batches for each consumer as a producer puts.
fn consume(queue: &Queue, batches: usize) -> u64 {
    let mut sum = Checksum::default();
    (0..batches).filter_map(|_| queue.take()).for_each(|batch| sum.free_all(batch));
    sum.value()
}

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::exponential(8, 500);
    let queue = Queue::default();
    let batches = scale.of(BATCHES);
    crew(THREADS, |number| {
        if number < PRODUCERS {
            produce(&queue, batches, Supply::new(&sizes, number as u64));
            0
        } else {
            consume(&queue, batches)
        }
    })
}
