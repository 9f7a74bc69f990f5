//! rptest: loops of allocations, with some blocks freed by other threads.
//!
//! After the description of rpmalloc's benchmark and of its form on the mimalloc-bench page: in each loop a thread
//! frees a share of its blocks in scattered places and allocates others there, of random sizes, each doubling as likely
//! as another; now and then a set of blocks goes to the next thread, which frees them.

use std::mem;
use std::sync::Mutex;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::crew::{THREADS, crew};
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

const BLOCKS: usize = 2_000;
/// Blocks replaced in one loop, and blocks handed over in one.
const REPLACED: usize = 500;
const HANDED_OVER: usize = 100;
/// A thread that is behind gets no more than this: what lives at a time does not hang on the scheduler.
const LONGEST_INBOX: usize = 1_000;
const LOOPS: usize = 2_000;
const LEAST: u32 = 16;
const MOST: u32 = 8_000;

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::exponential(LEAST, MOST);
    let loops = scale.of(LOOPS);
    let inboxes: Vec<Mutex<Vec<Block>>> = (0..THREADS).map(|_| Mutex::default()).collect();
    let inbox = |number: usize| inboxes[number % THREADS].lock().expect("no holder panics");
    let mut sum = Checksum::default();
    sum.add(crew(THREADS, |number| {
        let mut supply = Supply::new(&sizes, number as u64);
        let mut sum = Checksum::default();
        let mut blocks = supply.blocks(BLOCKS);
        for _ in 0..loops {
            let first = supply.numbers.below(BLOCKS);
            for n in 0..REPLACED {
                let fresh = supply.block();
                // A stride without a common factor with the length visits each place once.
                let place = &mut blocks[(first + n * 7) % BLOCKS];
                sum.add(mem::replace(place, fresh).free());
            }
            let batch = supply.blocks(HANDED_OVER);
            let mut next = inbox(number + 1);
            if next.len() < LONGEST_INBOX {
                next.extend(batch);
                drop(next);
            } else {
                drop(next);
                sum.free_all(batch);
            }
            let received = mem::take(&mut *inbox(number));
            sum.free_all(received);
        }
        sum.free_all(blocks);
        sum.value()
    }));
    inboxes.into_iter().for_each(|left| sum.free_all(left.into_inner().expect("no holder panics")));
    sum.value()
}
