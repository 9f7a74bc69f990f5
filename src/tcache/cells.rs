//! All thread caches, who has them, and how others get at what is in them.
//!
//! A cell is a mapping of its own, one page long, and lives for ever. Its owner comes to the cache in one of two ways: on a fast path,
//! which says nowhere that it is under way, or [with a flag up](InUse). Whoever takes from it keeps to what neither is at: see
//! `src/malloc/idle.rs`.
//!
//! # Safety
//!
//! A cache belongs to one thread at a time: the one that has taken its claim. Others reach its atomics, and by the
//! [handshake](crate::handshake) the rest.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::ThreadCache;
use crate::arenas::ArenaCell;
use crate::claim::{Claim, Condition};
use crate::class::{CLASSES, Class, MAGAZINE_BLOCKS};
use crate::depot::Lane;
use crate::handshake::{Flag, fence_for_others};
use crate::magazine::{LEFT_BY_CUT, Magazine};
use crate::os::Os;
use crate::publish::{Node, Published};
use crate::recent;
use crate::size::round_up;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// A cache and who has it. The cache stands in front: the address of one is the address of the other.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct CacheCell {
    cache: UnsafeCell<ThreadCache>,
    owner: Claim,
    /// The system's number of its owner; 0 where that is not known.
    thread: AtomicU32,
    /// When somebody last found nothing worth taking here, in milliseconds; read and written by whoever looks for idle caches.
    empty: AtomicU64,
    older: AtomicPtr<CacheCell>,
}

// SAFETY: `cache` is reached through a `CachePtr`, of which the owner has the only one, or by way of the handshake.
unsafe impl Sync for CacheCell {}

impl CacheCell {
    #[inline(always)]
    fn in_use(&self) -> &Flag {
        // SAFETY: of what its owner may be busy with only an atomic is reached.
        unsafe { &(*self.cache.get()).in_use }
    }

    /// Whether a thread has it that is not using it: for whoever has said that it takes, and made all threads pass a barrier.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.owner.is_taken() && !self.in_use().is_raised()
    }

    /// When its owner has last looked at the clock, in milliseconds.
    pub(crate) fn seen(&self) -> u64 {
        // SAFETY: as above.
        unsafe { &(*self.cache.get()).seen }.load(Ordering::Relaxed)
    }

    /// Somebody finds nothing worth taking here `now`, in milliseconds.
    pub(crate) fn note_empty(&self, now: u64) {
        self.empty.store(now, Ordering::Relaxed);
    }

    /// When that was.
    pub(crate) fn empty(&self) -> u64 {
        self.empty.load(Ordering::Relaxed)
    }

    /// Bytes of all blocks in it, but for `stay` in each magazine of a small class. Counts are read while its owner goes on: exact
    /// once that rests.
    fn bytes_beyond(&self, stay: usize) -> usize {
        let cache = self.cache.get();
        let bytes = Class::all().map(|class| {
            // SAFETY: as above.
            let (loaded, spare) = unsafe { (&(*cache).loaded[class.index()], &(*cache).spare[class.index()]) };
            let stay = if class.is_small() { stay } else { 0 };
            (loaded.count().min(MAGAZINE_BLOCKS).saturating_sub(stay) + spare.count()) * class.chunk().get()
        });
        // SAFETY: as above.
        bytes.sum::<usize>() + unsafe { &(*cache).recent }.bytes()
    }

    /// Bytes of all blocks that could be taken from its owner.
    pub(crate) fn bytes_to_take(&self) -> usize {
        self.bytes_beyond(LEFT_BY_CUT)
    }

    /// The system's number of its owner.
    pub(crate) fn thread(&self) -> u32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Takes its `piece`-th piece out; there are [`PIECES`]. Of loaded magazines of small classes two blocks stay unless the owner
    /// `is_asleep`: he may be in the middle of a fast path.
    ///
    /// # Safety
    ///
    /// - It [is at rest](Self::is_at_rest), and stays so.
    pub(crate) unsafe fn take_piece(&self, piece: usize, is_asleep: bool) -> Piece {
        let cache = self.cache.get();
        if !is_asleep {
            // SAFETY: of what a fast path may be busy with only atomics are reached, here and below.
            unsafe { &(*cache).was_cut }.store(true, Ordering::Relaxed);
        }
        let magazines = core::array::from_fn(|at| {
            let Some(class) = Class::all().nth(piece * PIECE + at / 2) else { return Magazine::of(Class::FIRST) };
            let index = class.index();
            if at % 2 == 0 && class.is_small() && !is_asleep {
                // SAFETY: as above.
                return unsafe { &(*cache).loaded[index] }.cut(class);
            }
            if at % 2 == 0 {
                // SAFETY: the caller's promise; no fast path comes to large classes, or is under way.
                return unsafe { &mut (*cache).loaded[index] }.take(class);
            }
            let (spare, spare_bytes, batch) =
                // SAFETY: the caller's promise; no fast path comes to spare magazines, or to what is theirs.
                unsafe { (&mut (*cache).spare[index], &mut (*cache).spare_bytes, &mut (*cache).batch[index]) };
            *batch = 1;
            *spare_bytes -= spare.bytes();
            spare.take()
        });
        let mut blocks = [None; recent::PLACES];
        if piece + 1 == PIECES {
            let mut places = blocks.iter_mut();
            // SAFETY: the caller's promise; no fast path comes to blocks without a class.
            unsafe { &mut (*cache).recent }.drain(|mem| {
                if let Some(place) = places.next() {
                    *place = Some(mem);
                }
            });
        }
        Piece { magazines, blocks }
    }
}

/// Classes of a piece: what is taken out of another thread's cache at once is kept on a stack that may be short.
const PIECE: usize = CLASSES / 8;
/// Pieces of a cache: its classes', and what has no class.
pub(crate) const PIECES: usize = CLASSES.div_ceil(PIECE) + 1;

/// A part of what was in a cache.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) magazines: [Magazine; 2 * PIECE],
    pub(crate) blocks: [Option<NonNull<u8>>; recent::PLACES],
}

impl Node for CacheCell {
    fn older(&self) -> &AtomicPtr<Self> {
        &self.older
    }
}

/// A page, where pages are as short as anywhere.
const _: () = assert!(size_of::<CacheCell>() <= 4096);

/// The right to use a cache, for the thread that owns it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachePtr(&'static CacheCell);

impl CachePtr {
    /// As what a thread's slot holds.
    pub(crate) fn address(self) -> *mut u8 {
        core::ptr::from_ref(self.0).cast_mut().cast()
    }

    /// The cache that the calling thread's slot holds.
    ///
    /// # Safety
    ///
    /// - `address` is a [`CachePtr::address`] that this thread has stored and not given back since.
    #[inline]
    pub(crate) unsafe fn from_address(address: *mut u8) -> Self {
        // SAFETY: cells are never unmapped.
        Self(unsafe { &*address.cast() })
    }

    /// The cache itself, for a fast path, which says nowhere that it is at it.
    ///
    /// # Safety
    ///
    /// - The calling thread owns it, and is not using it already.
    /// - If nobody takes from caches, which it looks at first, it takes a block out of a loaded magazine of a small class, or puts one
    ///   in, or both with two of them; otherwise it does nothing but ask whether it is patient.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the owner is the only one who gets here")]
    pub(crate) unsafe fn at_hand(&self) -> &mut ThreadCache {
        // What the last one has written, it has written before it looks now, for whoever makes it pass a barrier.
        fence_for_others();
        // SAFETY: the caller's promise.
        unsafe { &mut *self.0.cache.get() }
    }

    /// The cache itself, for whatever its owner does with it, until that is dropped.
    ///
    /// # Safety
    ///
    /// - The calling thread owns it, and is not using it already.
    /// - It does nothing with it if a word that it reads from now on says that caches are being taken from.
    #[inline(always)]
    pub(crate) unsafe fn enter(self) -> InUse {
        #[cfg(test)]
        assert!(!self.0.in_use().is_raised(), "a thread uses its cache in one place at a time");
        self.0.in_use().raise();
        InUse(self.0)
    }

    /// The arena of the thread that owns it.
    pub(crate) fn arena(self) -> &'static ArenaCell {
        // SAFETY: the cell lives for ever; of what its owner may be busy with only an atomic is read, which was stored from a
        // reference that lasts for ever.
        unsafe { &*(*self.0.cache.get()).arena.load(Ordering::Relaxed) }
    }

    /// Its owner is the thread of this number.
    pub(crate) fn note_thread(self, thread: u32) {
        self.0.thread.store(thread, Ordering::Relaxed);
    }

    /// Gives it back, for another thread.
    pub(crate) fn release(self) {
        self.note_thread(0);
        self.0.owner.leave();
    }
}

/// A cache while its owner uses it.
#[derive(Debug)]
pub(crate) struct InUse(&'static CacheCell);

impl Deref for InUse {
    type Target = ThreadCache;

    #[inline(always)]
    fn deref(&self) -> &ThreadCache {
        // SAFETY: whoever entered is the only one who gets here.
        unsafe { &*self.0.cache.get() }
    }
}

impl DerefMut for InUse {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut ThreadCache {
        // SAFETY: as above.
        unsafe { &mut *self.0.cache.get() }
    }
}

impl InUse {
    /// Nobody takes from it now: sees to it that what was taken is counted.
    #[inline]
    pub(crate) fn count_what_is_left(&mut self) {
        if self.was_cut.load(Ordering::Relaxed) {
            self.recount();
        }
    }
}

impl Drop for InUse {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.in_use().lower();
    }
}

/// All thread caches that there have ever been.
#[derive(Debug)]
pub(crate) struct Caches {
    published: Published<CacheCell>,
    /// Held by whoever takes from a cache that is another thread's.
    pub(crate) gate: Mutex<()>,
}

impl Caches {
    pub(crate) const fn new() -> Self {
        Self { published: Published::new(), gate: <Mutex<()>>::new(()) }
    }

    /// A cache for a thread of `arena`: one that nobody owns, or a new one. `None` when there is no memory.
    pub(crate) fn acquire<O: Os>(&self, os: &O, arena: &'static ArenaCell) -> Option<CachePtr> {
        let cache = self.idle().next().or_else(|| self.make(os, arena))?;
        // SAFETY: acquired in the line above, and not in use; only an atomic is written.
        unsafe { cache.enter() }.set_arena(arena);
        cache.note_thread(os.thread());
        Some(cache)
    }

    /// The caches that nobody owns, each acquired for as long as the caller has it.
    pub(crate) fn idle(&self) -> impl Iterator<Item = CachePtr> {
        self.published.iter().filter_map(|cell| {
            let condition = cell.owner.try_take()?;
            let cache = CachePtr(cell);
            if condition == Condition::InDoubt {
                let _gate = self.gate.lock();
                cell.in_use().lower();
                // SAFETY: acquired above, and nobody takes from it: that would need the gate.
                unsafe { cache.enter() }.recover();
            }
            Some(cache)
        })
    }

    fn make<O: Os>(&self, os: &O, arena: &'static ArenaCell) -> Option<CachePtr> {
        let place = os.map(round_up(size_of::<CacheCell>(), os.page_len())?)?.cast::<CacheCell>();
        let cell = CacheCell {
            cache: UnsafeCell::new(ThreadCache::new(arena, Lane::of_nth(self.published.iter().count()))),
            owner: Claim::taken(),
            thread: AtomicU32::new(0),
            empty: AtomicU64::new(0),
            older: AtomicPtr::new(core::ptr::null_mut()),
        };
        // SAFETY: a fresh mapping, long enough and aligned to a page.
        unsafe { place.write(cell) };
        // SAFETY: written in the line above, and never unmapped.
        let cell: &'static CacheCell = unsafe { place.as_ref() };
        self.published.publish(cell);
        Some(CachePtr(cell))
    }

    /// The limits have changed: every thread's next free finds its magazine full, and its next look at the limits the
    /// new ones.
    #[cold]
    pub(crate) fn ring(&self) {
        for cell in self.published.iter() {
            for index in 0..CLASSES {
                // SAFETY: the cell lives for ever; of what its owner may be busy with only an atomic is touched.
                unsafe { &(*cell.cache.get()).loaded[index] }.set_capacity(0);
            }
        }
    }

    /// Calls `visit` with the arena of each cache that is in use, `None` for one that waits for a thread, and the bytes in
    /// it. Counts are read while their owners go on: exact once those rest.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Option<&'static ArenaCell>, usize)) {
        for cell in self.published.iter() {
            visit(cell.owner.is_taken().then_some(CachePtr(cell).arena()), cell.bytes_beyond(0));
        }
    }

    /// Those that threads have.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &'static CacheCell> {
        self.published.iter().filter(|cell| cell.owner.is_taken())
    }

    /// In a copy that no handler was told of, where threads have other numbers: what was being taken from a cache is lost, and that
    /// one whole again.
    pub(crate) fn put_in_order(&self) {
        self.published.iter().for_each(|cell| CachePtr(cell).note_thread(0));
        // SAFETY: looked at, and released below once for the holder that is not here.
        let raw = unsafe { self.gate.raw() };
        if raw.is_left_held() {
            // SAFETY: one that is in use is not the one; the owners of the others wait for the gate, or are not here.
            self.owned().filter(|cell| cell.is_at_rest()).for_each(|cell| unsafe { &mut *cell.cache.get() }.recover());
            raw.free_left_held();
        }
    }

    /// Bytes of all blocks that are too long for a class.
    #[cfg(all(any(feature = "preload", feature = "override"), not(test)))]
    pub(crate) fn recent_bytes(&self) -> usize {
        // SAFETY: the cell lives for ever; of what its owner may be busy with only an atomic is read.
        self.published.iter().map(|cell| unsafe { &(*cell.cache.get()).recent }.bytes()).sum()
    }

    /// Bytes of the mappings that caches lie in.
    pub(crate) fn metadata<O: Os>(&self, os: &O) -> usize {
        let len = round_up(size_of::<CacheCell>(), os.page_len()).unwrap_or(0);
        self.published.iter().count() * len
    }

    /// How many caches there are.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> usize {
        self.published.iter().count()
    }

    /// Blocks in all caches, whoever has them.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn count(&self) -> usize {
        // SAFETY: the tests' threads are one thread.
        self.published.iter().map(|cell| unsafe { &*cell.cache.get() }.count()).sum()
    }

    /// While no thread runs: what is kept besides magazines is in order.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn assert_consistent(&self) {
        // SAFETY: the tests' threads are one thread.
        self.published.iter().for_each(|cell| unsafe { &*cell.cache.get() }.recent.assert_consistent());
    }

    /// In the child of a fork: every cache but `own` is nobody's now, in whatever state its thread had left it.
    pub(crate) fn orphan_all_but(&self, own: Option<CachePtr>) {
        for cell in self.published.iter() {
            if own.is_some_and(|own| core::ptr::eq(own.0, cell)) {
                continue;
            }
            cell.owner.orphan();
        }
    }
}
