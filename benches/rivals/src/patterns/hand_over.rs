//! Blocks handed over to other threads.
//!
//! Two producers, each with a channel to a consumer of its own: every block is freed by another thread than the one that
//! allocated it, and so is the vector that carries it. Batches of 64, so that the channel costs little beside the blocks.

use std::sync::mpsc::sync_channel;
use std::thread;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::crew;
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

const PAIRS: usize = 2;
const BATCH: usize = 64;
const BATCHES: usize = 40_000;
/// Batches on the way at a time.
const ON_THE_WAY: usize = 32;

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::of_programs();
    let batches = scale.of(BATCHES);
    crew(PAIRS, |pair| {
        let (sender, receiver) = sync_channel::<Vec<Block>>(ON_THE_WAY);
        let consumer = thread::spawn(move || {
            let mut sum = Checksum::default();
            receiver.into_iter().for_each(|batch| sum.free_all(batch));
            sum.value()
        });
        let mut supply = Supply::new(&sizes, pair as u64);
        for _ in 0..batches {
            sender.send(supply.blocks(BATCH)).expect("the consumer waits for more");
        }
        drop(sender);
        consumer.join().expect("the consumer")
    })
}
