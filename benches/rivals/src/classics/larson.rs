//! larson: a server whose threads come and go.
//!
//! After Paul Larson and Murali Krishnan, Memory Allocation for Long-Running Server Applications, 1998. A thread owns a
//! set of blocks and replaces random ones by blocks of random size, as a server does with each request. After a while
//! it ends and leaves its blocks to a new thread, which goes on: so most blocks are freed by another thread than the
//! one that allocated them, a thing the authors call bleeding.

use std::mem;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::THREADS;
use crate::numbers::Numbers;
use crate::scale::Scale;

const BLOCKS: usize = 1_000;
const REPLACEMENTS: usize = 10_000;
const GENERATIONS: usize = 250;

/// What a thread leaves to the next.
struct Estate {
    blocks: Vec<Block>,
    numbers: Numbers,
    sum: Checksum,
    generations_left: usize,
}

fn block(numbers: &mut Numbers) -> Block {
    Block::new(numbers.between(10, 1_000), numbers.next())
}

fn generation(mut estate: Estate, last: Sender<u64>) {
    for _ in 0..REPLACEMENTS {
        let fresh = block(&mut estate.numbers);
        let dead = estate.numbers.choose_mut(&mut estate.blocks);
        estate.sum.add(mem::replace(dead, fresh).free());
    }
    estate.generations_left -= 1;
    if estate.generations_left > 0 {
        thread::spawn(move || generation(estate, last));
    } else {
        estate.sum.free_all(estate.blocks);
        last.send(estate.sum.value()).expect("main waits for every line of threads");
    }
}

pub(crate) fn run(scale: Scale) -> u64 {
    let (last, sums) = channel();
    for line in 0..THREADS {
        let mut numbers = Numbers::new(line as u64);
        let blocks = (0..BLOCKS).map(|_| block(&mut numbers)).collect();
        let estate = Estate { blocks, numbers, sum: Checksum::default(), generations_left: scale.of(GENERATIONS) };
        let last = last.clone();
        thread::spawn(move || generation(estate, last));
    }
    drop(last);
    let mut sum = Checksum::default();
    sums.into_iter().for_each(|line| sum.add(line));
    sum.value()
}
