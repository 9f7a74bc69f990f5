//! One word for everything that takes a request off the fast path.
//!
//! The fast paths of malloc and free test one read-mostly word and nothing else beside the cache itself. Whoever wants
//! something done that a cached request would pass by sets a bit here; the slow path looks which.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// What the slow path has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `M_PERTURB` is set: blocks are filled when they are handed out and taken back.
    Perturb = 1,
    /// Free memory lies unused, and the clock is to be looked at.
    PurgeDue = 2,
    /// Somebody takes from another thread's cache: whoever comes to his own waits.
    Taking = 4,
}

/// The word.
#[derive(Debug)]
pub(crate) struct Attention(AtomicUsize);

// A request that sees a change a moment later is as good as one that came a moment earlier, but for `Taking`: whoever sees that
// cleared has to see what was taken, and so loads acquire, and stores release.
impl Attention {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Whether a request may go the fast path.
    #[inline(always)]
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// Whether a purge that is due is all there is to look at.
    #[inline]
    pub(crate) fn is_only_due(&self) -> bool {
        self.0.load(Ordering::Acquire) == Reason::PurgeDue as usize
    }

    /// Whether `reason` is one.
    #[inline]
    pub(crate) fn has(&self, reason: Reason) -> bool {
        self.0.load(Ordering::Acquire) & reason as usize != 0
    }

    /// Sets or clears one reason.
    pub(crate) fn set(&self, reason: Reason, wanted: bool) {
        if wanted {
            self.0.fetch_or(reason as usize, Ordering::Release);
        } else {
            self.0.fetch_and(!(reason as usize), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_and_go_by_themselves() {
        let attention = Attention::new();
        assert!(attention.is_quiet());
        attention.set(Reason::Perturb, true);
        attention.set(Reason::PurgeDue, true);
        attention.set(Reason::Perturb, false);
        assert!(!attention.is_quiet() && attention.has(Reason::PurgeDue) && !attention.has(Reason::Perturb));
        assert!(attention.is_only_due());
        attention.set(Reason::PurgeDue, false);
        assert!(attention.is_quiet());
    }
}
