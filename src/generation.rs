//! Limits that threads keep a copy of, and how a change reaches the copies.
//!
//! A thread cache keeps its limits beside what they limit, where the fast path finds them. Whoever changes them advances a
//! generation, and then *rings*: it sets every copy to the value that sends its thread to the slow path. There the thread
//! sees that its copy is of an older generation, or was rung, and takes a new one:
//!
//! ```text
//!   setter: values = new;  generation += 1;  fence;  copy = 0
//!   owner:  seen = generation;  copy = values;  fence;  generation still as seen? else once more
//! ```
//!
//! The fences are what makes it impossible that the owner's copy of old values both overwrites the ring and goes
//! unnoticed.

use crate::sync::atomic::{AtomicU32, Ordering, fence};

/// Counts the changes.
#[derive(Debug)]
pub(crate) struct Generation(AtomicU32);

impl Generation {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The values have changed. The copies are rung after it.
    pub(crate) fn advance(&self) {
        // Release pairs with the acquire in `adopt`: the values.
        self.0.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Whether what was adopted at generation `seen` is of the past. Relaxed: a change is seen a moment later.
    #[inline]
    pub(crate) fn is_newer_than(&self, seen: u32) -> bool {
        self.0.load(Ordering::Relaxed) != seen
    }

    /// Has the owner copy the values, and returns which generation they are of.
    pub(crate) fn adopt(&self, mut copy: impl FnMut()) -> u32 {
        loop {
            let seen = self.0.load(Ordering::Acquire);
            copy();
            fence(Ordering::SeqCst);
            if !self.is_newer_than(seen) {
                return seen;
            }
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::atomic::AtomicUsize;
    use loom::sync::Arc;

    #[test]
    fn a_change_is_adopted_or_rings() {
        loom::model(|| {
            let state = Arc::new((Generation::new(), AtomicUsize::new(5), AtomicUsize::new(0)));
            let setter = state.clone();
            let thread = loom::thread::spawn(move || {
                let (generation, value, copy) = &*setter;
                value.store(7, Ordering::Relaxed);
                generation.advance();
                copy.store(0, Ordering::Relaxed);
            });
            let (generation, value, copy) = &*state;
            let adopt = || generation.adopt(|| copy.store(value.load(Ordering::Relaxed), Ordering::Relaxed));
            let seen = adopt();
            thread.join().expect("no panic");
            // The owner's slow path, to which a copy of 0 sends it.
            assert_ne!(copy.load(Ordering::Relaxed), 5, "the old limit went unnoticed");
            if generation.is_newer_than(seen) || copy.load(Ordering::Relaxed) == 0 {
                adopt();
            }
            assert_eq!(copy.load(Ordering::Relaxed), 7);
        });
    }
}
