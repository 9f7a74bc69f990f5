//! Threads that work side by side, each on its own share.

use std::thread;

use crate::checksum::Checksum;

/// The threads of a workload that has several.
pub(crate) const THREADS: usize = 4;

/// Runs `work` in `threads` threads, each told its number, and sums what they come to.
pub(crate) fn crew(threads: usize, work: impl Fn(usize) -> u64 + Sync) -> u64 {
    let mut sum = Checksum::default();
    thread::scope(|scope| {
        let work = &work;
        let crew: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        for thread in crew {
            sum.add(thread.join().expect("a thread of the crew"));
        }
    });
    sum.value()
}
