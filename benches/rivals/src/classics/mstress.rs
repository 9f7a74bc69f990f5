//! mstress: phases of a server with unequal threads.
//!
//! After the description on the mimalloc-bench page: threads allocate in powers of two, objects migrate between
//! threads, some live long; threads have unequal work; after each phase all threads end and new ones begin, while some
//! objects survive from phase to phase.
//!
//! A thread keeps a tenth of its blocks to the end of its phase. One block in a hundred goes into a shared table, and the
//! block that was there is its own from then on, whoever allocated it. Between phases half of the table is freed.

use std::mem;
use std::sync::Mutex;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::{THREADS, crew};
use crate::numbers::Numbers;
use crate::scale::Scale;

const PHASES: usize = 40;
/// Blocks of the thread with the least work; the last thread has as many times more as there are threads.
const BLOCKS: usize = 16_000;
const SHARED: usize = 1_000;

type Table = Vec<Mutex<Option<Block>>>;

fn exchange(table: &Table, at: usize, block: Option<Block>) -> Option<Block> {
    mem::replace(&mut *table[at].lock().expect("no holder panics"), block)
}

fn block(numbers: &mut Numbers) -> Block {
    // 8 bytes to 1 KiB, and one in 500 up to 128 KiB.
    let doublings = if numbers.once_in(500) { numbers.between(11, 17) } else { numbers.between(3, 10) };
    Block::new(1 << doublings, numbers.next())
}

fn phase(table: &Table, blocks: usize, mut numbers: Numbers) -> u64 {
    let mut sum = Checksum::default();
    let mut young = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..blocks {
        match numbers.below(100) {
            0 => {
                let shared = block(&mut numbers);
                kept.extend(exchange(table, numbers.below(SHARED), Some(shared)));
            }
            1..=10 => kept.push(block(&mut numbers)),
            _ => young.push(block(&mut numbers)),
        }
        // Half of the young die now and then, in random places.
        if young.len() == 200 {
            numbers.shuffle(&mut young);
            sum.free_all(young.drain(100..));
        }
    }
    sum.free_all(young);
    sum.free_all(kept);
    sum.value()
}

pub(crate) fn run(scale: Scale) -> u64 {
    let table: Table = (0..SHARED).map(|_| Mutex::new(None)).collect();
    let mut sum = Checksum::default();
    for round in 0..scale.of(PHASES) {
        sum.add(crew(THREADS, |number| {
            phase(&table, BLOCKS * (number + 1), Numbers::new((round * THREADS + number) as u64))
        }));
        for at in (round % 2..SHARED).step_by(2) {
            sum.free_all(exchange(&table, at, None));
        }
    }
    sum.free_all((0..SHARED).filter_map(|at| exchange(&table, at, None)));
    sum.value()
}
