//! A list that only grows: how arenas become visible to threads that take no lock.
//!
//! A node is written completely, then put at the front by one compare-exchange. Nodes never leave, so whoever has seen
//! one may keep it, and a walk needs no protection.
//!
//! # Safety
//!
//! The list holds addresses of nodes that live for ever.
#![allow(unsafe_code)]

use crate::sync::atomic::{AtomicPtr, Ordering};
use core::ptr;

/// The front of the list.
#[derive(Debug)]
pub(crate) struct Published<N> {
    first: AtomicPtr<N>,
}

/// A node knows the one that was published before it.
pub(crate) trait Node: Sized {
    /// The link to the node published before, null at the end; written by [`Published::publish`] only.
    fn older(&self) -> &AtomicPtr<Self>;
}

impl<N: Node + 'static> Published<N> {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { first: AtomicPtr::new(ptr::null_mut()) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { first: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Makes `node` visible to every thread, for ever.
    pub(crate) fn publish(&self, node: &'static N) {
        let address = ptr::from_ref(node).cast_mut();
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            node.older().store(first, Ordering::Relaxed);
            // Release: the node's contents, and this link, before its address. Pairs with the acquire in `iter`.
            match self.first.compare_exchange_weak(first, address, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => first = changed,
            }
        }
    }

    /// The nodes, newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static N> {
        let mut next = self.first.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            // SAFETY: null, or the address of a node that was published, which lives for ever. Only the newest is read
            // with acquire: each publication is a read-modify-write on the same word, so the one release orders all.
            let node = unsafe { next.as_ref() }?;
            next = node.older().load(Ordering::Relaxed);
            Some(node)
        })
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Arena {
        older: AtomicPtr<Self>,
        value: UnsafeCell<u32>,
    }

    // SAFETY: the value is written before publication only; loom checks that.
    unsafe impl Sync for Arena {}

    impl Node for Arena {
        fn older(&self) -> &AtomicPtr<Self> {
            &self.older
        }
    }

    fn arena(value: u32) -> &'static Arena {
        let arena = Arena { older: AtomicPtr::new(ptr::null_mut()), value: UnsafeCell::new(0) };
        let arena = Box::leak(Box::new(arena));
        // SAFETY: not yet published.
        arena.value.with_mut(|place| unsafe { *place = value });
        arena
    }

    #[test]
    fn every_published_arena_is_seen_whole_and_none_is_lost() {
        loom::model(|| {
            let list = Arc::new(Published::new());
            let threads: Vec<_> = [10, 20]
                .map(|value| {
                    let list = list.clone();
                    loom::thread::spawn(move || list.publish(arena(value)))
                })
                .into_iter()
                .collect();
            // SAFETY: the value never changes after publication.
            let sum = |list: &Published<Arena>| list.iter().map(|seen| seen.value.with(|v| unsafe { *v })).sum::<u32>();
            assert!([0, 10, 20, 30].contains(&sum(&list)));
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert_eq!(sum(&list), 30);
        });
    }
}
