//! The span of addresses that the break has: what is known of a pointer before anything is read through it.
//!
//! A caller may pass any word for a block. Whether memory lies there is looked at first, so that a wild pointer, or one to a
//! block whose mapping is gone, ends with a sentence and not with a fault. Most blocks of most programs lie in this span,
//! and the look costs two loads and a comparison.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// From the first chunk on the break to where the break is.
#[derive(Debug)]
pub(crate) struct BreakSpan {
    first: AtomicUsize,
    len: AtomicUsize,
}

// Relaxed: whoever has a block got it from a thread that knew of the memory before.
impl BreakSpan {
    pub(crate) const fn new() -> Self {
        Self { first: AtomicUsize::new(0), len: AtomicUsize::new(0) }
    }

    /// The span is from `first` to `end` now. The caller holds the lock that the break is moved under.
    pub(crate) fn set(&self, first: usize, end: usize) {
        self.first.store(first, Ordering::Relaxed);
        self.len.store(end - first, Ordering::Relaxed);
    }

    /// Whether `address` lies within it.
    #[inline(always)]
    pub(crate) fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.first.load(Ordering::Relaxed)) < self.len.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_span_contains_its_first_address_and_not_its_end() {
        let span = BreakSpan::new();
        assert!(!span.contains(0));
        span.set(0x1000, 0x3000);
        assert!(span.contains(0x1000) && span.contains(0x2FFF));
        assert!(!span.contains(0xFFF) && !span.contains(0x3000) && !span.contains(usize::MAX));
    }
}
