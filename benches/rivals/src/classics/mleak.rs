//! mleak: what a thread leaves behind when it ends.
//!
//! After the description on the mimalloc-bench page: threads that end must not leak memory. Round after round, threads
//! allocate a MiB or so in blocks of all sizes. Most is freed by the thread, some by the destructor of a thread-local
//! while the thread ends, some by the main thread when the thread is long gone. The blocks of all rounds together are a
//! hundred times what lives at a time: peak RSS tells whether the memory of dead threads is used again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::thread;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::THREADS;
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

const ROUNDS: usize = 300;
const BLOCKS: usize = 4_000;
/// Threads whose blocks outlive them at a time.
const OUTLIVED: usize = 16;

thread_local! {
    /// Freed by the destructor that runs as the thread ends.
    static TO_THE_END: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// The blocks that outlive the thread, and the sum of the marks of the others.
fn life(mut supply: Supply) -> (Vec<Block>, u64) {
    let mut sum = Checksum::default();
    let mut own = Vec::new();
    let mut outlives = Vec::new();
    for n in 0..BLOCKS {
        let block = supply.block();
        match n % 10 {
            0 => outlives.push(block),
            1 => {
                sum.add(block.mark());
                TO_THE_END.with_borrow_mut(|blocks| blocks.push(block));
            }
            _ => own.push(block),
        }
    }
    sum.free_all(own);
    (outlives, sum.value())
}

pub(crate) fn run(scale: Scale) -> u64 {
    let mut sum = Checksum::default();
    let sizes = Sizes::of_programs();
    let mut left = VecDeque::new();
    for round in 0..scale.of(ROUNDS) {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| {
                    let supply = Supply::new(&sizes, (round * THREADS + number) as u64);
                    scope.spawn(move || life(supply))
                })
                .collect();
            for thread in threads {
                let (outlives, own) = thread.join().expect("a thread that only allocates");
                sum.add(own);
                left.push_back(outlives);
            }
        });
        while left.len() > OUTLIVED {
            sum.free_all(left.pop_front().into_iter().flatten());
        }
    }
    sum.free_all(left.into_iter().flatten());
    sum.value()
}
