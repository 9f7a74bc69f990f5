//! How well two independent threads scale, next to two that do not allocate at all.
//!
//! A machine that is shared never gives a second thread all of a second core, and two cores may share what they run on.
//! So the same is measured of threads that only calculate, in the same run, slice by slice:
//!
//! ```text
//!   slice   1 thread allocates | 2 threads allocate | 1 calculates | 2 calculate | 1 allocates | ...
//!           scaling = 2 x time of one / time of two, of each turn; medians of all turns
//! ```
//!
//! The two threads stay the same throughout, so that nothing is measured of how threads begin.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::numbers::Numbers;
use crate::patterns::independent::replace;

/// What a thread does in a slice.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    Allocate,
    Calculate,
}

/// Steps of each work in a slice: about ten milliseconds.
const ALLOCATIONS: usize = 250_000;
const CALCULATIONS: usize = 8_000_000;
const END: usize = usize::MAX;

impl Work {
    fn perform(self, thread: usize) {
        match self {
            Self::Allocate => _ = black_box(replace(thread as u64, ALLOCATIONS)),
            Self::Calculate => {
                let mut numbers = Numbers::new(thread as u64);
                let sum = (0..CALCULATIONS).fold(0_u64, |sum, _| sum ^ numbers.next());
                black_box(sum);
            }
        }
    }
}

/// The threads, and what they are to do.
struct Pair {
    /// Both threads and the one that measures.
    meeting: Barrier,
    /// Two bits: the number of threads; the rest: the work.
    order: AtomicUsize,
}

impl Pair {
    fn serve(&self, thread: usize) {
        loop {
            self.meeting.wait();
            let order = self.order.load(Ordering::Relaxed);
            if order == END {
                return;
            }
            if thread < order & 3 {
                let work = if order >> 2 == 0 { Work::Allocate } else { Work::Calculate };
                work.perform(thread);
            }
            self.meeting.wait();
        }
    }

    fn time(&self, work: Work, threads: usize) -> Duration {
        // Relaxed: the barrier orders it.
        self.order.store(threads | usize::from(work == Work::Calculate) << 2, Ordering::Relaxed);
        let begin = Instant::now();
        self.meeting.wait();
        self.meeting.wait();
        begin.elapsed()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The scaling of two threads that allocate, and of two that calculate: 2 at best.
pub(crate) fn measure(turns: usize) -> (f64, f64) {
    let pair = Pair { meeting: Barrier::new(3), order: AtomicUsize::new(0) };
    let (mut allocating, mut calculating) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for thread in 0..2 {
            let pair = &pair;
            scope.spawn(move || pair.serve(thread));
        }
        let scaling = |work| 2.0 * pair.time(work, 1).as_secs_f64() / pair.time(work, 2).as_secs_f64();
        for _ in 0..turns.max(1) {
            allocating.push(scaling(Work::Allocate));
            calculating.push(scaling(Work::Calculate));
        }
        pair.order.store(END, Ordering::Relaxed);
        pair.meeting.wait();
    });
    (median(allocating), median(calculating))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_are_no_faster_than_two() {
        let (allocating, calculating) = measure(2);
        for scaling in [allocating, calculating] {
            assert!(scaling > 0.05 && scaling < 8.0, "{scaling}");
        }
    }
}
