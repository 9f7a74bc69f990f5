//! A handshake of two threads, of which one pays for both.
//!
//! The owner of a thing uses it again and again, and must not pay for that others may take it from him now and then. So he says
//! that he is at it, and looks whether somebody is about to take, with no more than two plain stores and a load. Whoever takes
//! says so, and then has every thread of the process pass a barrier, which is dear:
//!
//! ```text
//!   owner                              taker
//!   raises the flag                    says that it takes
//!   is somebody taking?                every thread passes a barrier
//!     yes: lowers it, and waits        is the flag raised?
//!     no:  uses the thing                yes: leaves the thing alone
//!   lowers the flag                      no:  has it, until it says that it takes no more
//! ```
//!
//! Either the owner's look came before the barrier, and then so did his flag, or it comes after what the taker has said.
//! See "asymmetric" in membarrier(2), <https://man7.org/linux/man-pages/man2/membarrier.2.html>.

use crate::sync::atomic::{AtomicBool, Ordering};

/// Whether the owner is at it.
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// The owner begins. What he reads from now on, he reads after this, for whoever makes him pass a barrier.
    #[inline(always)]
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence_for_others();
    }

    /// The owner has ended. Release pairs with the acquire in [`is_raised`](Self::is_raised).
    #[inline(always)]
    pub(crate) fn lower(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether the owner is at it: asked after the barrier.
    #[inline]
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The compiler's part of a fence; the processor's is the taker's barrier.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn fence_for_others() {
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// A whole fence is what the barrier makes of it.
#[cfg(loom)]
pub(crate) fn fence_for_others() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Thing {
        flag: Flag,
        is_taking: AtomicBool,
        contents: UnsafeCell<u32>,
    }

    // SAFETY: that is what the model is about; loom's cell reports anything else.
    #[allow(unsafe_code)]
    unsafe impl Sync for Thing {}

    impl Thing {
        /// Whether it could be used.
        fn add_one(&self) -> bool {
            #[allow(unsafe_code)]
            // SAFETY: by the handshake.
            self.contents.with_mut(|contents| unsafe { *contents += 1 });
            true
        }

        fn own(&self) -> bool {
            self.flag.raise();
            let has_used = !self.is_taking.load(Ordering::Acquire) && self.add_one();
            self.flag.lower();
            has_used
        }

        fn take(&self) -> bool {
            self.is_taking.store(true, Ordering::Relaxed);
            loom::sync::atomic::fence(Ordering::SeqCst);
            let has_used = !self.flag.is_raised() && self.add_one();
            self.is_taking.store(false, Ordering::Release);
            has_used
        }
    }

    /// The owner uses it twice, and somebody takes it meanwhile: never both at a time, and nothing is lost.
    #[test]
    fn a_thing_is_its_owners_or_the_takers() {
        loom::model(|| {
            let thing = Arc::new(Thing {
                flag: Flag(AtomicBool::new(false)),
                is_taking: AtomicBool::new(false),
                contents: UnsafeCell::new(0),
            });
            let taker = {
                let thing = thing.clone();
                loom::thread::spawn(move || u32::from(thing.take()))
            };
            let owned = u32::from(thing.own()) + u32::from(thing.own());
            let uses = owned + taker.join().expect("no panic");
            #[allow(unsafe_code)]
            // SAFETY: the other thread has ended.
            let contents = thing.contents.with(|contents| unsafe { *contents });
            assert_eq!(contents, uses);
        });
    }
}
