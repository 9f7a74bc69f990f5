//! Order in a copy of the process that no handler was told of, and the arenas' locks, where it shows.
//!
//! A child of clone(2) itself has one thread and every lock as it was. It is put in order once, before it waits for a lock or
//! touches what could be anybody's work left undone:
//!
//! ```text
//!   an arena, its lock held     abandoned: its blocks stay readable, its memory is lost, frees into it do nothing
//!   an arena, its lock free     as it is; the piece that another thread was giving back is free memory again
//!   the depot, one class held   emptied
//!   the purge clock, the lock under which arenas are made, the quarantine     free again, and empty
//!   a cache that another thread was taking from    whole again, without what was taken
//!   caches of other threads     lost
//! ```
//!
//! An arena's lock is taken without a look at the lineage, so in a copy with threads of its own it may be one of those that
//! holds it. It goes on, and the arena is abandoned all the same. Every other lock is taken by threads of a process that is
//! in order: if one is held before that, nobody is inside.
//!
//! # Safety
//!
//! Locks are freed here whose holders are not in this process.
#![allow(unsafe_code)]

use super::Malloc;
use crate::arena::Arena;
use crate::arenas::{ArenaCell, Waited};
use crate::attention::Reason;
#[cfg(feature = "hardened")]
use crate::guarded::quarantine::Quarantine;
use crate::os::Os;
use crate::sync::{Guard, owns_fork};

impl<O: Os> Malloc<O> {
    /// Locks an arena. `None` when it is abandoned.
    #[inline(always)]
    pub(crate) fn lock<'a>(&self, cell: &'a ArenaCell) -> Option<Guard<'a, Arena>> {
        if let Some(arena) = cell.try_lock() {
            return Some(arena);
        }
        self.lock_waiting(cell)
    }

    /// As [`lock`](Self::lock), when `try_lock` has failed and counted it.
    #[cold]
    #[inline(never)]
    pub(super) fn lock_waiting<'a>(&self, cell: &'a ArenaCell) -> Option<Guard<'a, Arena>> {
        loop {
            match cell.wait(self.source.os.lineage()) {
                Waited::Locked(arena) => return Some(arena),
                Waited::Abandoned => return None,
                Waited::LeftBehind => self.put_in_order(),
            }
        }
    }

    /// Calls `visit` with every arena that can be used, locked.
    pub(super) fn for_each_locked(&self, mut visit: impl FnMut(Guard<'_, Arena>)) {
        for cell in self.arenas.iter() {
            if let Some(arena) = self.lock(cell) {
                visit(arena);
            }
        }
    }

    /// Whether this is a copy that has to be put in order. The child of a fork is not: its handlers are on their way.
    fn is_left_behind(&self) -> bool {
        self.source.os.lineage().is_left_behind() && !owns_fork()
    }

    /// Before anything is touched that another thread may have left half done: sees to it that this is no copy that is left
    /// behind. The caller holds no lock but perhaps an arena's.
    #[inline(always)]
    pub(crate) fn keep_order(&self) {
        if self.source.os.lineage().is_left_behind() {
            self.put_in_order();
        }
    }

    #[cold]
    #[inline(never)]
    fn put_in_order(&self) {
        let lineage = self.source.os.lineage();
        while self.is_left_behind() {
            if !lineage.begin_order() {
                // Another thread is at it.
                self.source.os.pause();
                continue;
            }
            self.clock.put_in_order();
            self.caches.put_in_order();
            self.source.params.attention.set(Reason::Taking, false);
            self.arenas.put_in_order(&self.source);
            self.depot.put_in_order();
            #[cfg(feature = "hardened")]
            self.empty_quarantine_left_held();
            lineage.end_order();
        }
    }

    #[cfg(feature = "hardened")]
    fn empty_quarantine_left_held(&self) {
        // SAFETY: looked at, and released below once for the holder that is not here.
        let raw = unsafe { self.quarantine.raw() };
        if raw.is_left_held() {
            // SAFETY: its holder is not here, and nobody comes before the copy is in order.
            unsafe { self.quarantine.data_ptr().write(Quarantine::new()) };
            raw.free_left_held();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Class;
    use crate::malloc::Contents;
    use crate::os::fake::{Call, FakeOs};
    use crate::tcache::CachePtr;
    use core::ptr::NonNull;
    use std::boxed::Box;
    use std::vec::Vec;

    /// An allocator with two threads, the first in the main arena; it and its system live for ever.
    fn process() -> (&'static Malloc<FakeOs>, [CachePtr; 2]) {
        let malloc: &'static Malloc<FakeOs> = Box::leak(Box::new(Malloc::new(FakeOs::new())));
        malloc.arenas.settle();
        malloc.source.os.watch_copies();
        let threads = [(); 2].map(|()| {
            let arena = malloc.arenas.attach(&malloc.source);
            let cache = malloc.caches.acquire(&malloc.source.os, arena).expect("there is memory");
            // SAFETY: acquired in the line above.
            malloc.limit(&mut *unsafe { malloc.enter(cache) });
            cache
        });
        (malloc, threads)
    }

    fn allocate(malloc: &'static Malloc<FakeOs>, thread: CachePtr, bytes: usize) -> NonNull<u8> {
        // SAFETY: the tests' threads own their caches, and are one thread.
        let cache = &mut *unsafe { malloc.enter(thread) };
        let mem = match Class::of_request(bytes) {
            Some(class) => malloc.allocate_cached(cache, class, Contents::Any),
            None => malloc.allocate_uncached(cache, bytes, 16, Contents::Any),
        };
        let mem = mem.expect("there is memory");
        // SAFETY: a block of so many bytes.
        unsafe { mem.write_bytes(7, bytes) };
        mem
    }

    /// Blocks of every kind are made and freed, many of each.
    fn live(malloc: &'static Malloc<FakeOs>, thread: CachePtr) {
        let blocks: Vec<_> = (0..400).map(|i| allocate(malloc, thread, [24, 100, 1500, 9000][i % 4])).collect();
        // SAFETY: as in `allocate`.
        blocks.into_iter().for_each(|mem| malloc.free_cached(&mut *unsafe { malloc.enter(thread) }, mem));
    }

    /// Another thread is inside an arena, and is not in the copy.
    fn leave_inside(malloc: &'static Malloc<FakeOs>, cell: &'static ArenaCell) {
        core::mem::forget(malloc.lock(cell).expect("free"));
    }

    fn of(thread: CachePtr) -> &'static ArenaCell {
        // SAFETY: as in `allocate`.
        thread.arena()
    }

    #[test]
    fn an_arena_that_somebody_was_in_is_abandoned_and_its_blocks_can_still_be_freed() {
        let (malloc, [own, other]) = process();
        let blocks: Vec<_> = (0..300).map(|i| allocate(malloc, own, 100 + i * 40)).collect();
        leave_inside(malloc, of(own));
        malloc.source.os.copy();
        live(malloc, own);
        assert!(malloc.arenas.main().is_abandoned() && !of(other).is_abandoned());
        assert!(!of(own).is_abandoned(), "the thread has moved");
        for mem in blocks {
            // SAFETY: a block of 100 bytes at least, and the tests' threads are one thread.
            assert_eq!(unsafe { mem.read() }, 7);
            // SAFETY: as above.
            malloc.free_cached(&mut *unsafe { malloc.enter(own) }, mem);
        }
        // SAFETY: as above.
        malloc.trim(Some(&mut *unsafe { malloc.enter(own) }), 0);
        malloc.lock(of(own)).expect("in order").assert_consistent(&malloc.source);
        malloc.for_each_arena(|cell, _| assert!(!cell.is_abandoned()));
    }

    #[test]
    fn where_every_arena_is_abandoned_there_is_a_new_one_and_so_in_the_copy_of_a_copy() {
        let (malloc, [own, _]) = process();
        for copies in 1..=3 {
            for cell in malloc.arenas.iter().filter(|cell| !cell.is_abandoned()) {
                // SAFETY: the cells of this test live for ever.
                leave_inside(malloc, unsafe { &*core::ptr::from_ref(cell) });
            }
            malloc.source.os.copy();
            live(malloc, own);
            assert_eq!(malloc.arenas.iter().filter(|cell| !cell.is_abandoned()).count(), 1, "copy {copies}");
            malloc.begin_fork();
            malloc.end_fork();
            assert!(!of(own).is_abandoned());
        }
    }

    #[test]
    fn a_copy_leaves_the_break_where_it_is_before_and_after_it_is_in_order() {
        let (malloc, [own, _]) = process();
        allocate(malloc, own, 9000);
        malloc.source.os.copy();
        malloc.source.os.take_log();
        for _ in 0..2 {
            (0..100).for_each(|_| _ = allocate(malloc, own, 9000));
            malloc.keep_order();
            malloc.trim(None, 0);
        }
        assert!(malloc.source.os.take_log().iter().all(|&(call, _)| call != Call::MoveBreak));
    }

    #[test]
    fn a_piece_that_was_being_given_back_is_free_again() {
        let (malloc, [own, _]) = process();
        let blocks: Vec<_> = (0..8).map(|_| allocate(malloc, own, 20_000)).collect();
        // SAFETY: as in `allocate`.
        blocks[1..7].iter().for_each(|&mem| malloc.free_cached(&mut *unsafe { malloc.enter(own) }, mem));
        let piece = malloc.lock(of(own)).expect("free").begin_purge(&malloc.source, 4).expect("pages to give back");
        malloc.source.os.copy();
        assert!(!malloc.wait_for_purges());
        let _ = piece;
        malloc.lock(of(own)).expect("in order").assert_consistent(&malloc.source);
    }

    #[test]
    fn a_class_of_the_depot_that_somebody_was_at_is_empty_and_the_others_are_not() {
        let (malloc, [own, _]) = process();
        let count = |malloc: &Malloc<FakeOs>| (malloc.depot.count(), malloc.depot.bytes());
        for bytes in [100, 200] {
            let blocks: Vec<_> = (0..1000).map(|_| allocate(malloc, own, bytes)).collect();
            // SAFETY: as in `allocate`.
            blocks.into_iter().for_each(|mem| malloc.free_cached(&mut *unsafe { malloc.enter(own) }, mem));
        }
        let (blocks, bytes) = count(malloc);
        malloc.depot.leave_inside(Class::of_request(200).expect("small"));
        malloc.source.os.copy();
        malloc.keep_order();
        let (left, left_bytes) = count(malloc);
        assert!(0 < left && left < blocks && 0 < left_bytes && left_bytes < bytes);
        live(malloc, own);
    }

    #[test]
    fn locks_that_guard_nothing_that_matters_are_free_again() {
        let (malloc, [own, _]) = process();
        malloc.clock.leave_inside();
        malloc.arenas.leave_making();
        malloc.source.os.copy();
        live(malloc, own);
        malloc.look_at_clock();
        malloc.begin_fork();
        malloc.end_fork();
    }
}
