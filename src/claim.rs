//! A claim: one flag that says whether somebody has a thing, and hands its contents from one owner to the next.

use crate::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody has it.
#[derive(Debug)]
pub(crate) struct Claim(AtomicBool);

impl Claim {
    /// A thing that its maker has.
    pub(crate) fn taken() -> Self {
        Self(AtomicBool::new(true))
    }

    /// Takes the thing if nobody has it. Acquire pairs with the release in [`leave`](Self::leave).
    pub(crate) fn try_take(&self) -> bool {
        !self.is_taken() && self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Leaves the thing, as it is now, to whoever takes it next.
    pub(crate) fn leave(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether somebody has it at this moment.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Claimed {
        claim: Claim,
        contents: UnsafeCell<u32>,
    }

    // SAFETY: the contents are reached by whoever has taken the claim; loom's cell reports anything else.
    #[allow(unsafe_code)]
    unsafe impl Sync for Claimed {}

    /// Threads come and go: each takes the cache if it is there, uses it, and leaves it to the next.
    #[test]
    fn contents_go_with_the_claim_and_to_one_owner_only() {
        loom::model(|| {
            let thing = Arc::new(Claimed { claim: Claim::taken(), contents: UnsafeCell::new(0) });
            let visit = |thing: &Claimed| {
                let taken = thing.claim.try_take();
                if taken {
                    #[allow(unsafe_code)]
                    // SAFETY: taken in the line above.
                    thing.contents.with_mut(|contents| unsafe { *contents += 1 });
                    thing.claim.leave();
                }
                u32::from(taken)
            };
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let thing = thing.clone();
                    loom::thread::spawn(move || visit(&thing))
                })
                .collect();
            #[allow(unsafe_code)]
            // SAFETY: its maker has it.
            thing.contents.with_mut(|contents| unsafe { *contents += 1 });
            thing.claim.leave();
            let visits: u32 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
            assert!(thing.claim.try_take());
            #[allow(unsafe_code)]
            // SAFETY: taken in the line above.
            let contents = thing.contents.with(|contents| unsafe { *contents });
            assert_eq!(contents, visits + 1);
        });
    }
}
