//! Thread caches: what a thread allocates and frees most of the time touches nothing else.
//!
//! For each class a thread has two magazines. It takes from the *loaded* one and puts into it; when that is empty or full
//! the *spare* one takes its place. Only when both are empty or both are full does the thread turn to the depot, so that a
//! thread at the border between two magazines goes there once in a magazine, not once in a block:
//!
//! ```text
//!   allocate <-- loaded --> free          empty: swap with spare, else a magazine of the depot's, else a batch of
//!                  ^                              chunks from an arena (1, then 2, 4 ... up to a magazine)
//!                  v                      full:  swap with spare; a full spare goes to the depot, else to the arenas
//!                spare
//! ```
//!
//! A cache is a mapping of its own, one page long. It outlives its thread: the next thread takes it over, and what it
//! still holds, which is nothing after an orderly end, and whatever was there when the process forked.
//!
//! # Safety
//!
//! A cache belongs to one thread at a time: the one that has taken its claim.
#![allow(unsafe_code)]

mod cells;

use core::marker::PhantomPinned;
use core::ptr::NonNull;

use crate::arch::CACHE_LINE;
use crate::arenas::ArenaCell;
use crate::class::{self, CLASSES, Class};
use crate::depot::Lane;
use crate::handshake::Flag;
use crate::magazine::{Loaded, Magazine, Masks};
use crate::recent::Recent;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
pub(crate) use cells::{CacheCell, CachePtr, Caches, InUse, PIECES, Piece};

/// Bytes of spare magazines that a thread may keep; what is beyond goes to the depot.
const SPARE_BYTES: usize = 64 << 10;
/// Requests of a busy thread between two looks at the clock, at most. A thread that becomes slow is late by so many.
const MOST_PATIENCE: u32 = 32;

/// What a thread has cached, and its arena. What the fast paths need stands in front, by class; the rest by itself.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ThreadCache {
    /// The process's: a cache is made when its secret is drawn.
    masks: Masks,
    loaded: [Loaded; CLASSES],
    spare: [Magazine; CLASSES],
    /// Whether its owner is using it, on another path than the fast ones.
    in_use: Flag,
    /// Whether somebody has taken from it since the owner has counted its blocks.
    was_cut: AtomicBool,
    /// How many chunks the next miss of a class asks an arena for.
    batch: [u8; CLASSES],
    /// Written by the owner only; figures read it.
    arena: AtomicPtr<ArenaCell>,
    /// Its thread's part of the depot.
    lane: Lane,
    /// Bytes of all spare magazines.
    spare_bytes: usize,
    /// How many requests may pass before the clock is looked at again, while a purge is due.
    patience: u32,
    /// How many were to pass after the last look.
    granted: u32,
    /// The time of the last look, in milliseconds. Written by the owner only; whoever looks for idle caches reads it too.
    seen: AtomicU64,
    /// Which limits the capacities are of.
    limits: u32,
    /// Blocks that are too long for a class.
    recent: Recent,
    /// Other threads read and write the atomics in here while the owner has a reference: it is not to be taken for the
    /// only way to them.
    _shared: PhantomPinned,
}

impl ThreadCache {
    fn new(arena: &'static ArenaCell, lane: Lane) -> Self {
        Self {
            masks: Masks::of_process(),
            in_use: Flag::new(),
            was_cut: AtomicBool::new(false),
            loaded: [const { Loaded::EMPTY }; CLASSES],
            spare: Class::each(Magazine::of),
            batch: [1; CLASSES],
            arena: AtomicPtr::new(core::ptr::from_ref(arena).cast_mut()),
            lane,
            spare_bytes: 0,
            patience: 0,
            granted: 0,
            seen: AtomicU64::new(0),
            limits: 0,
            recent: Recent::new(),
            _shared: PhantomPinned,
        }
    }

    /// While a purge is due: whether this request may pass without a look at the clock.
    #[inline(always)]
    pub(crate) fn is_patient(&mut self) -> bool {
        if self.patience == 0 {
            return false;
        }
        self.patience -= 1;
        true
    }

    /// The clock shows `now`, in milliseconds. Only a thread that comes again within its resolution is busy enough to let
    /// some requests pass.
    pub(crate) fn note_time(&mut self, now: u64) {
        self.granted =
            if now == self.seen.load(Ordering::Relaxed) { (2 * self.granted).clamp(1, MOST_PATIENCE) } else { 0 };
        self.patience = self.granted;
        self.seen.store(now, Ordering::Relaxed);
    }

    /// The thread's arena.
    #[inline]
    pub(crate) fn arena(&self) -> &'static ArenaCell {
        // SAFETY: stored from a reference that lasts for ever. Relaxed: by this thread.
        unsafe { &*self.arena.load(Ordering::Relaxed) }
    }

    /// Its thread's lane in the depot.
    #[inline]
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    pub(crate) fn set_arena(&self, arena: &'static ArenaCell) {
        self.arena.store(core::ptr::from_ref(arena).cast_mut(), Ordering::Relaxed);
    }

    /// Lets a class keep up to `blocks` blocks of requests up to `bytes`; 0 of either keeps none.
    pub(crate) fn set_limits(&mut self, blocks: usize, bytes: usize) {
        let largest = Class::of_request(bytes.min(class::MAX_REQUEST)).filter(|_| bytes > 0);
        for class in Class::all() {
            let half = blocks.div_ceil(2).min(class.magazine());
            let is_cached = largest.is_some_and(|largest| class.index() <= largest.index());
            self.loaded[class.index()].set_capacity(if is_cached { half } else { 0 });
        }
        self.recent.set_limits(blocks, bytes);
    }

    /// Which limits it has.
    #[inline]
    pub(crate) fn limits(&self) -> u32 {
        self.limits
    }

    /// Notes which limits it has been given.
    pub(crate) fn note_limits(&mut self, limits: u32) {
        self.limits = limits;
    }

    /// The loaded magazine of `class`, by the one number that a mark needs as well, and what its blocks' words are masked with.
    #[inline(always)]
    fn loaded(&mut self, class: Class) -> (&mut Loaded, &Masks) {
        const _: () = assert!(size_of::<Loaded>() == Class::OFFSET);
        // SAFETY: an element of the table, which has one for each class.
        (unsafe { &mut *self.loaded.as_mut_ptr().byte_add(class.offset()) }, &self.masks)
    }

    /// A cached block of `class`, if the loaded magazine has one.
    #[inline(always)]
    pub(crate) fn pop(&mut self, class: Class) -> Option<NonNull<u8>> {
        let (loaded, masks) = self.loaded(class);
        loaded.pop(class, masks)
    }

    /// A cached block of `class` at a multiple of `alignment`, if the loaded magazine has one near its front.
    #[inline]
    pub(crate) fn pop_aligned(&mut self, class: Class, alignment: usize) -> Option<NonNull<u8>> {
        self.loaded[class.index()].pop_aligned(class, alignment)
    }

    /// Whether the loaded magazine of `class` is empty.
    pub(crate) fn is_out_of(&self, class: Class) -> bool {
        self.loaded[class.index()].count() == 0
    }

    /// Blocks that are too long for a class.
    #[inline]
    pub(crate) fn recent(&mut self) -> &mut Recent {
        &mut self.recent
    }

    /// Caches a block of `class`; `false`, and nothing is done, when the loaded magazine is full, or the block says that it
    /// is cached already.
    #[inline(always)]
    pub(crate) fn push(&mut self, class: Class, mem: NonNull<u8>) -> bool {
        let (loaded, masks) = self.loaded(class);
        loaded.push(mem, class, masks)
    }

    /// Whether blocks of `class` are cached at all.
    pub(crate) fn keeps(&self, class: Class) -> bool {
        self.loaded[class.index()].capacity() > 0
    }

    /// The loaded magazine is empty: the spare one takes its place. `false` when that is empty too.
    pub(crate) fn load_spare(&mut self, class: Class) -> bool {
        let spare = self.spare[class.index()].take();
        if spare.is_empty() {
            return false;
        }
        self.spare_bytes -= spare.bytes();
        self.loaded[class.index()].load(spare);
        true
    }

    /// The loaded magazine is empty: this one takes its place.
    pub(crate) fn load(&mut self, magazine: Magazine) {
        self.loaded[magazine.class().index()].load(magazine);
    }

    /// How many chunks to ask an arena for: twice as many as the last time, up to a magazine. At first a cache line full of
    /// them: threads of one arena that ask for one block each shall not write to the same line.
    pub(crate) fn next_batch(&mut self, class: Class) -> usize {
        let capacity = self.loaded[class.index()].capacity();
        let next = &mut self.batch[class.index()];
        let least = CACHE_LINE.div_ceil(class.chunk().get());
        let batch = usize::from(*next).max(least).min(capacity).max(1);
        *next = (batch * 2).min(class.magazine()) as u8;
        batch
    }

    /// The loaded magazine is full: it becomes the spare one. What was spare, or would be too much, is the caller's.
    pub(crate) fn set_loaded_aside(&mut self, class: Class) -> Magazine {
        let full = self.loaded[class.index()].take(class);
        let spare = &mut self.spare[class.index()];
        let old = spare.take();
        let bytes = full.bytes();
        let left = self.spare_bytes - old.bytes();
        if old.is_empty() && left + bytes > SPARE_BYTES {
            return full;
        }
        spare.refill(full);
        self.spare_bytes = left + bytes;
        old
    }

    /// Takes everything out, a magazine at a time.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Magazine)) {
        for class in Class::all() {
            self.batch[class.index()] = 1;
            let magazines = [self.loaded[class.index()].take(class), self.spare[class.index()].take()];
            magazines.into_iter().filter(|magazine| !magazine.is_empty()).for_each(&mut each);
        }
        self.spare_bytes = 0;
    }

    /// Counts what was cut while this thread may have been in the middle of a fast path.
    #[cold]
    fn recount(&mut self) {
        self.was_cut.store(false, Ordering::Relaxed);
        Class::all().filter(|class| class.is_small()).for_each(|class| self.loaded[class.index()].recount(class));
    }

    /// Makes a cache whole that another thread may have been busy with when the process forked.
    fn recover(&mut self) {
        self.spare_bytes = 0;
        for class in Class::all() {
            let most = class.magazine();
            let loaded = self.loaded[class.index()].take(class).recovered(most);
            self.loaded[class.index()].load(loaded);
            let spare = &mut self.spare[class.index()];
            let whole = spare.recovered(most);
            spare.refill(whole);
            self.spare_bytes += spare.bytes();
        }
        self.recent.recover();
    }

    /// Blocks of all magazines.
    #[cfg(any(test, fuzzing))]
    fn count(&self) -> usize {
        let magazines =
            Class::all().map(|class| self.loaded[class.index()].count() + self.spare[class.index()].count());
        magazines.sum::<usize>() + self.recent.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arenas::Arenas;
    use crate::os::fake::FakeOs;
    use std::boxed::Box;
    use std::vec::Vec;

    fn cache() -> ThreadCache {
        let arenas: &'static Arenas = Box::leak(Box::new(Arenas::new()));
        let mut cache = ThreadCache::new(arenas.main(), Lane::of_nth(0));
        cache.set_limits(128, class::MAX_REQUEST);
        cache
    }

    /// Memory for `count` blocks of 64 bytes, kept for ever.
    fn blocks(count: usize) -> Vec<NonNull<u8>> {
        let memory: &'static mut [[u128; 4]] = Box::leak(std::vec![[0u128; 4]; count].into_boxed_slice());
        memory.iter_mut().map(|block| NonNull::from(block).cast()).collect()
    }

    fn class() -> Class {
        Class::of_request(56).expect("a small request")
    }

    #[test]
    fn a_full_magazine_becomes_the_spare_one_and_only_the_third_leaves() {
        let mut cache = cache();
        let mut left = Vec::new();
        for mem in blocks(3 * class().magazine()) {
            if !cache.push(class(), mem) {
                let old = cache.set_loaded_aside(class());
                left.push(old.count());
                assert!(cache.push(class(), mem));
            }
        }
        assert_eq!(left, [0, class().magazine()], "at the second filling nothing, at the third the oldest");
        assert_eq!(cache.count(), 2 * class().magazine());
    }

    #[test]
    fn an_empty_magazine_is_replaced_by_the_spare_one() {
        let mut cache = cache();
        let mems = blocks(class().magazine() + 1);
        mems[..class().magazine()].iter().for_each(|&mem| assert!(cache.push(class(), mem)));
        assert!(cache.set_loaded_aside(class()).is_empty());
        assert!(cache.pop(class()).is_none());
        assert!(cache.load_spare(class()));
        assert_eq!(cache.pop(class()), Some(mems[class().magazine() - 1]));
        assert!(!cache.load_spare(class()));
    }

    #[test]
    fn batches_double_with_each_miss_up_to_a_magazine() {
        let mut cache = cache();
        let batches: Vec<usize> = (0..9).map(|_| cache.next_batch(class())).collect();
        assert_eq!(batches, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        cache.drain(|_| ());
        assert_eq!(cache.next_batch(class()), 1);
    }

    /// Two threads of one arena got the two halves of a cache line for their first blocks of 8 bytes, and wrote to them in
    /// turn: the workload cache-thrash took up to seven times as long, in half of its runs.
    #[test]
    fn the_first_blocks_of_two_threads_do_not_share_a_cache_line() {
        let mut cache = cache();
        for class in Class::all() {
            assert!(cache.next_batch(class) * class.chunk().get() >= CACHE_LINE, "{class:?}");
        }
    }

    #[test]
    fn limits_of_zero_cache_nothing() {
        let mut cache = cache();
        for (blocks_of_a_size, bytes) in [(0, 1_000), (100, 0)] {
            cache.set_limits(blocks_of_a_size, bytes);
            assert!(Class::all().all(|class| !cache.keeps(class)));
        }
        cache.set_limits(10, 100);
        assert_eq!(Class::all().filter(|&class| cache.keeps(class)).map(|class| class.chunk().get()).max(), Some(112));
        let kept = blocks(20).into_iter().filter(|&mem| cache.push(class(), mem)).count();
        assert_eq!(kept, 5, "half of the limit is loaded, half is spare");
    }

    #[test]
    fn a_cache_is_used_again_with_what_its_lost_thread_had() {
        let os = FakeOs::new();
        let arenas: &'static Arenas = Box::leak(Box::new(Arenas::new()));
        let caches: &'static Caches = Box::leak(Box::new(Caches::new()));
        let lost = caches.acquire(&os, arenas.main()).expect("there is memory");
        let own = caches.acquire(&os, arenas.main()).expect("there is memory");
        // SAFETY: acquired above, and used here only.
        let mut cache = unsafe { lost.enter() };
        cache.set_limits(128, class::MAX_REQUEST);
        blocks(5).into_iter().for_each(|mem| assert!(cache.push(class(), mem)));
        assert!(caches.idle().next().is_none());
        caches.orphan_all_but(Some(own));
        let again = caches.acquire(&os, arenas.main()).expect("it is there");
        assert_eq!(again.address(), lost.address());
        // SAFETY: acquired above.
        assert_eq!(unsafe { again.enter() }.count(), 5);
        // The mapping goes with the system; nothing may lead there.
        core::mem::forget(os);
    }
}
