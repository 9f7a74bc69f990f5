//! A thread's slot: one pointer that says what the thread may do.
//!
//! ```text
//!   None   --first request-->  Busy  --ready-->  Live(cache)  --thread exit-->  Dead
//!                               |                                                 |
//!                               +-- a request made meanwhile ---------------------+--> served by the main arena
//! ```
//!
//! A thread that has only freed so far is made ready at its seventeenth free, not at its first: the C library frees stacks in the
//! course of a thread's exit, after all destructors, and what was made for a thread then nobody would unmake.
//!
//! # Safety
//!
//! The slot holds the address of the thread's cache or one of a few small numbers.
#![allow(unsafe_code)]

use core::ptr;

use crate::arch;
use crate::tcache::CachePtr;

/// The state of a thread, as its slot holds it.
#[derive(Clone, Copy)]
pub(super) enum Slot {
    /// It has not asked for anything yet, but freed so many blocks.
    None { freed: usize },
    /// It is being made ready.
    Busy,
    /// It has ended, all but for what the C library still frees.
    Dead,
    /// It walks the heap, and holds an arena's lock.
    Walking,
    /// It has a cache, and an arena.
    Live(CachePtr),
}

impl Slot {
    const NONE: usize = 0;
    const BUSY: usize = 1;
    const DEAD: usize = 2;
    const WALKING: usize = 3;
    /// One freed block; the numbers behind it are more.
    pub(super) const FREED: usize = 4;
    pub(super) const MOST_FREED: usize = Self::FREED + 15;

    #[inline]
    pub(super) fn get() -> Self {
        let value = arch::slot();
        match value.addr() {
            Self::NONE => Self::None { freed: 0 },
            freed @ Self::FREED..=Self::MOST_FREED => Self::None { freed: freed - Self::FREED + 1 },
            Self::BUSY => Self::Busy,
            Self::DEAD => Self::Dead,
            Self::WALKING => Self::Walking,
            // SAFETY: anything else was stored by `set`: the cache that this thread has acquired.
            _ => Self::Live(unsafe { CachePtr::from_address(value) }),
        }
    }

    /// The calling thread's cache, if it has one: the one look that the fast paths take.
    #[inline(always)]
    pub(super) fn live() -> Option<CachePtr> {
        let value = arch::slot();
        // SAFETY: as for `get`.
        (value.addr() > Self::MOST_FREED).then(|| unsafe { CachePtr::from_address(value) })
    }

    pub(super) fn set(self) {
        arch::set_slot(match self {
            Self::None { freed: 0 } => ptr::without_provenance_mut(Self::NONE),
            Self::None { freed } => ptr::without_provenance_mut(Self::FREED + freed - 1),
            Self::Busy => ptr::without_provenance_mut(Self::BUSY),
            Self::Dead => ptr::without_provenance_mut(Self::DEAD),
            Self::Walking => ptr::without_provenance_mut(Self::WALKING),
            Self::Live(cache) => cache.address(),
        });
    }
}
