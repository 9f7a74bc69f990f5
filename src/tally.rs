//! A sum that many threads change and that is read roughly: each changes a part of its own.
//!
//! One word that all of them changed would go from core to core with each change. Here a part goes into the total once it is
//! large; so the total is off by [`COARSE`] for each part at most, and is written to by few and read by all.

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicUsize, Ordering};

/// How large a part gets before it goes into the total.
pub(crate) const COARSE: usize = 64 << 10;

/// A sum in so many parts. Parts may be below zero. Relaxed: nothing else hangs on it.
#[derive(Debug)]
pub(crate) struct Tally<const PARTS: usize> {
    parts: [CachePadded<AtomicUsize>; PARTS],
    total: CachePadded<AtomicUsize>,
}

impl<const PARTS: usize> Tally<PARTS> {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            parts: [const { CachePadded::new(AtomicUsize::new(0)) }; PARTS],
            total: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        let zero = || CachePadded::new(AtomicUsize::new(0));
        Self { parts: core::array::from_fn(|_| zero()), total: zero() }
    }

    pub(crate) fn add(&self, part: usize, what: usize) {
        let now = self.parts[part].fetch_add(what, Ordering::Relaxed).wrapping_add(what);
        self.carry(part, now);
    }

    pub(crate) fn subtract(&self, part: usize, what: usize) {
        let now = self.parts[part].fetch_sub(what, Ordering::Relaxed).wrapping_sub(what);
        self.carry(part, now);
    }

    fn carry(&self, part: usize, now: usize) {
        if now.cast_signed().unsigned_abs() >= COARSE {
            self.parts[part].fetch_sub(now, Ordering::Relaxed);
            self.total.fetch_add(now, Ordering::Relaxed);
        }
    }

    /// What it is, but for the parts.
    pub(crate) fn roughly(&self) -> usize {
        self.total.load(Ordering::Relaxed).cast_signed().max(0).cast_unsigned()
    }

    /// What it is once nobody changes it any more.
    pub(crate) fn sum(&self) -> usize {
        let parts = self.parts.iter().map(|part| part.load(Ordering::Relaxed));
        let sum = parts.fold(self.total.load(Ordering::Relaxed), usize::wrapping_add);
        sum.cast_signed().max(0).cast_unsigned()
    }

    /// Makes it `sum`, while nobody changes it.
    pub(crate) fn set(&self, sum: usize) {
        self.parts.iter().for_each(|part| part.store(0, Ordering::Relaxed));
        self.total.store(sum, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_one_part_adds_another_may_take_off() {
        let tally = <Tally<2>>::new();
        (0..10).for_each(|_| tally.add(0, COARSE / 4));
        assert_eq!((tally.roughly(), tally.sum()), (2 * COARSE, 10 * COARSE / 4));
        (0..10).for_each(|_| tally.subtract(1, COARSE / 4));
        assert_eq!((tally.roughly(), tally.sum()), (0, 0));
        tally.subtract(1, 5);
        tally.add(0, 7);
        assert_eq!(tally.sum(), 2);
        tally.set(9);
        assert_eq!((tally.roughly(), tally.sum()), (9, 9));
    }
}
