//! The depot: full magazines that no thread needs at the moment, for all threads of the process.
//!
//! A thread that frees more than it allocates leaves whole magazines here, and one that allocates more than it frees
//! takes them, at the price of one short lock a magazine; no arena is involved, and nothing is split or joined. Each class
//! has a lock and a stack of its own. The magazines are linked through their own first blocks, so that the depot needs no
//! memory however much it holds.
//!
//! What it holds is bounded: by 1 MiB, whatever the process has. Blocks that wait here cannot be joined with their
//! neighbours, and where sizes drift that is dear: with a bound of a sixteenth of the heap the key-value scenario (96 MiB
//! live) peaked at 2.72 times the live bytes, with 1 MiB at 1.99. A magazine that does not fit goes to the arenas. A depot
//! lock and an arena's are never held together.

use crate::class::{CLASSES, Class};
use crate::magazine::{Magazine, Stack};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// What the depot may hold, in bytes.
const BOUND: usize = 1 << 20;

/// The magazines of every class.
#[derive(Debug)]
pub(crate) struct Depot {
    stacks: [Mutex<Stack>; CLASSES],
    /// Bytes of all blocks here. Relaxed: a bound that may be missed by a magazine or two.
    bytes: AtomicUsize,
}

fn bytes_of(class: Class, magazine: &Magazine) -> usize {
    class.chunk().get() * magazine.count()
}

impl Depot {
    pub(crate) const fn new() -> Self {
        Self { stacks: [const { <Mutex<Stack>>::new(Stack::EMPTY) }; CLASSES], bytes: AtomicUsize::new(0) }
    }

    /// Bytes of all blocks here.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Keeps a magazine, or hands it back when the depot is full.
    pub(crate) fn put(&self, class: Class, magazine: Magazine) -> Option<Magazine> {
        let bytes = bytes_of(class, &magazine);
        if self.bytes() + bytes > BOUND {
            return Some(magazine);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stacks[class.index()].lock().push(magazine);
        None
    }

    /// Takes the magazine of `class` that was put here last.
    pub(crate) fn take(&self, class: Class) -> Option<Magazine> {
        if self.bytes() == 0 {
            return None;
        }
        let magazine = self.stacks[class.index()].lock().pop()?;
        self.bytes.fetch_sub(bytes_of(class, &magazine), Ordering::Relaxed);
        Some(magazine)
    }

    /// How many blocks are here.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.stacks.iter().map(|stack| stack.lock().count()).sum()
    }

    /// Before a fork: takes every lock.
    #[allow(unsafe_code)]
    pub(crate) fn begin_fork(&self) {
        for stack in &self.stacks {
            // SAFETY: the raw lock is released by `end_fork`.
            unsafe { stack.raw() }.lock_for_fork();
        }
    }

    /// After a fork, in the parent or in the child.
    #[allow(unsafe_code)]
    pub(crate) fn end_fork(&self) {
        for stack in &self.stacks {
            // SAFETY: taken by `begin_fork` in this thread, or in the one that this is a copy of.
            unsafe { stack.raw() }.release_after_fork();
        }
    }
}
