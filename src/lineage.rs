//! Lineage: whether this process is one that the allocator knows, or a copy that nobody has told it of.
//!
//! A child of the C library's fork runs our handlers. One of clone(2) itself, of fork(2) itself or of `_Fork` does not: it
//! has one thread and a copy of every lock as it was, and who held one of them is not there to release it. Such a copy is
//! known by one word in a page that the kernel wipes in every child that does not share our memory (`MADV_WIPEONFORK`):
//!
//! ```text
//!   parent                word KNOWN      expected KNOWN
//!   copy, nobody told     word WIPED      expected KNOWN     left behind: who needs a held lock puts it in order first
//!   meanwhile             word BUSY       expected KNOWN     its other threads wait
//!   copy, in order        word COPY       expected COPY      its children by fork are the same; a copy of it is left behind
//! ```
//!
//! One thing cannot be put in order: the kernel notes where the break is before it copies the memory, so that in a copy the
//! note may be of another moment, and a break that is moved then has no memory. A copy leaves the break where it is.
//!
//! A child that shares the memory (vfork, `CLONE_VM`) finds the word as it is, and is no copy. Where the kernel cannot wipe
//! nothing is expected, and a copy is taken for what it was before: a process whose locks are as they are.

use crate::sync::atomic::{AtomicU32, Ordering};

const WIPED: u32 = 0;
const KNOWN: u32 = 1;
const COPY: u32 = 2;
const BUSY: u32 = 3;

/// The two words; where they lie is the system's business.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lineage<'a> {
    /// Wiped in a copy.
    pub(crate) word: &'a AtomicU32,
    /// What it is if this process is in order; 0 as long as nobody watches.
    pub(crate) expected: &'a AtomicU32,
}

impl Lineage<'_> {
    /// From now on a copy is known.
    pub(crate) fn begin(self) {
        self.word.store(KNOWN, Ordering::Relaxed);
        self.expected.store(KNOWN, Ordering::Relaxed);
    }

    /// The handlers of a fork have put this process in order.
    pub(crate) fn note_fork(self) {
        self.word.store(self.expected.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Whether this is a copy that is not in order yet. Acquire pairs with the release in [`end_order`](Self::end_order).
    #[inline(always)]
    pub(crate) fn is_left_behind(self) -> bool {
        self.word.load(Ordering::Acquire) != self.expected.load(Ordering::Relaxed)
    }

    /// Begins to put a copy in order: true for one thread, which then calls [`end_order`](Self::end_order).
    pub(crate) fn begin_order(self) -> bool {
        self.word.compare_exchange(WIPED, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn end_order(self) {
        self.expected.store(COPY, Ordering::Relaxed);
        self.word.store(COPY, Ordering::Release);
    }

    /// Whether this process is a copy that has been put in order, or descends from one.
    pub(crate) fn is_of_copy(self) -> bool {
        self.expected.load(Ordering::Relaxed) == COPY
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_left_behind_until_it_is_in_order_and_so_is_a_copy_of_it() {
        let (word, expected) = (AtomicU32::new(0), AtomicU32::new(0));
        let lineage = Lineage { word: &word, expected: &expected };
        assert!(!lineage.is_left_behind(), "nothing has begun");
        lineage.begin();
        for _ in 0..2 {
            assert!(!lineage.is_left_behind());
            word.store(0, Ordering::Relaxed);
            assert!(lineage.is_left_behind() && lineage.begin_order());
            assert!(lineage.is_left_behind() && !lineage.begin_order(), "others wait for the first");
            lineage.end_order();
            assert!(lineage.is_of_copy());
        }
        word.store(0, Ordering::Relaxed);
        lineage.note_fork();
        assert!(!lineage.is_left_behind());
    }
}
