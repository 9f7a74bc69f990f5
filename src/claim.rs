//! A claim: one word that says whether somebody has a thing, and hands its contents from one owner to the next.
//!
//! ```text
//!   free      nobody has it, and it is whole
//!   taken     somebody has it, and may be busy with it
//!   in doubt  nobody has it: its owner was left behind by a fork, in the middle of anything
//! ```
//!
//! A fork copies the word as it is at one moment, and what it finds taken it cannot know to be whole. One word, so that
//! there is no moment at which a copy says neither.

use crate::sync::atomic::{AtomicU8, Ordering};

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const IN_DOUBT: u8 = 2;

/// Whether somebody has it.
#[derive(Debug)]
pub(crate) struct Claim(AtomicU8);

/// How a thing is that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// As its last owner left it.
    Whole,
    /// In any state.
    InDoubt,
}

impl Claim {
    /// A thing that its maker has.
    pub(crate) fn taken() -> Self {
        Self(AtomicU8::new(TAKEN))
    }

    /// Takes the thing if nobody has it. Acquire pairs with the release in [`leave`](Self::leave).
    pub(crate) fn try_take(&self) -> Option<Condition> {
        let seen = self.0.load(Ordering::Relaxed);
        if seen == TAKEN || self.0.compare_exchange(seen, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return None;
        }
        Some(if seen == FREE { Condition::Whole } else { Condition::InDoubt })
    }

    /// Leaves the thing, as it is now, to whoever takes it next.
    pub(crate) fn leave(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// In the child of a fork: whoever has it is not there.
    pub(crate) fn orphan(&self) {
        if self.is_taken() {
            self.0.store(IN_DOUBT, Ordering::Release);
        }
    }

    /// Whether somebody has it at this moment.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed) == TAKEN
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
                let taken = thing.claim.try_take().is_some();
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
            assert_eq!(thing.claim.try_take(), Some(Condition::Whole));
            #[allow(unsafe_code)]
            // SAFETY: taken in the line above.
            let contents = thing.contents.with(|contents| unsafe { *contents });
            assert_eq!(contents, visits + 1);
        });
    }

    /// Contents of which both halves are equal whenever they are whole, in memory that loom knows nothing of: a fork
    /// copies it without asking anybody.
    struct Forked {
        claim: Claim,
        halves: [std::cell::Cell<u32>; 2],
    }

    // SAFETY: the models' threads are one thread, and change only where loom sees an operation.
    #[allow(unsafe_code)]
    unsafe impl Sync for Forked {}

    impl Forked {
        fn taken(halves: [u32; 2]) -> Self {
            Self { claim: Claim::taken(), halves: halves.map(std::cell::Cell::new) }
        }

        /// Makes it whole if it has to be, and adds one to it; in between others go on. Whether it was in doubt, or `None`
        /// when somebody has it.
        fn visit(&self) -> Option<bool> {
            let is_in_doubt = self.claim.try_take()? == Condition::InDoubt;
            if is_in_doubt {
                self.halves[1].set(self.halves[0].get());
            }
            for half in &self.halves {
                assert!(self.halves[0].get() == self.halves[1].get() || half.as_ptr() == self.halves[1].as_ptr());
                half.set(half.get() + 1);
                loom::thread::yield_now();
            }
            self.claim.leave();
            Some(is_in_doubt)
        }

        /// The child's copy, of one moment: the exchange reads the word as it is now, and nobody comes before the rest.
        fn copy(&self) -> Self {
            let word = AtomicU8::new(self.claim.0.fetch_add(0, Ordering::AcqRel));
            Self { claim: Claim(word), halves: self.halves.clone() }
        }
    }

    /// Two threads come and go while a third forks: its child can take the cache, and finds it whole or knows better.
    #[test]
    fn the_child_of_a_fork_takes_what_is_whole_or_in_doubt() {
        loom::model(|| {
            let thing = Arc::new(Forked::taken([5, 4]));
            thing.claim.orphan();
            let threads = [(); 2].map(|()| {
                let thing = thing.clone();
                loom::thread::spawn(move || thing.visit())
            });
            let child = thing.copy();
            child.claim.orphan();
            let is_whole = child.halves[0] == child.halves[1];
            let is_in_doubt = child.visit().expect("nobody else is there");
            assert!(is_whole || is_in_doubt);
            let visits = threads.map(|thread| thread.join().expect("no panic"));
            assert_eq!(visits.iter().filter(|&&visit| visit == Some(true)).count(), 1, "recovered once");
            assert_eq!(thing.halves[0], thing.halves[1]);
            assert_eq!(thing.halves[0].get(), 5 + visits.iter().flatten().count() as u32);
        });
    }

    /// Two new threads of a child look for a cache among its forking thread's own, a lost one's, and one that was free.
    #[test]
    fn each_cache_of_a_child_goes_to_one_thread_and_a_lost_one_is_recovered_once() {
        loom::model(|| {
            let caches = Arc::new([Forked::taken([1, 0]), Forked::taken([2, 2]), Forked::taken([7, 7])]);
            let [lost, free, own] = &*caches;
            free.claim.leave();
            lost.claim.orphan();
            free.claim.orphan();
            let threads = [(); 2].map(|()| {
                let caches = caches.clone();
                loom::thread::spawn(move || caches.iter().find_map(Forked::visit))
            });
            let visits = threads.map(|thread| thread.join().expect("no panic"));
            let recovered = visits.iter().filter(|&&visit| visit == Some(true)).count();
            assert_eq!(recovered, 1, "the first look finds it");
            let sums = [lost, free, own].map(|cache| cache.halves.each_ref().map(std::cell::Cell::get));
            assert!(sums.iter().all(|[one, other]| one == other));
            assert_eq!(sums.map(|[half, _]| half).iter().sum::<u32>(), 10 + 2, "a cache for each of the two");
            assert_eq!(sums[2], [7, 7]);
        });
    }
}
