//! The arenas of a process: which exist, which a thread is given, how many there may be, and what a fork does to them.
//!
//! ```text
//!   Arenas                         ArenaCell (in the front of its first heap)
//!   | main: ArenaCell |            | lock: Arena | threads, attempts, failures | older -+
//!   | published ------+----------> |                                                    v   ... never unmapped
//! ```
//!
//! The thread that makes the process's first request gets the main arena. Any other gets a thread arena of its own as
//! long as there are fewer than one for every eight cores (but at least two), and shares the least used one after that: with few arenas
//! memory freed by one thread serves the next, where many arenas each keep their own holes. Measured under thread churn:
//! 98 arenas cost 6.8 times the live bytes, 2 cost 1.8. Only where threads really get in each other's way (more than
//! 1 in 64 of the last 1,024 locks were held) may there be another, up to twice the cores.
//!
//! # Safety
//!
//! An [`ArenaCell`] is written into the prefix of its first heap before it is published, and stays there for ever.
#![allow(unsafe_code)]

use core::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::arena::{Arena, Backing};
use crate::brk::Brk;
use crate::heap::{HeapPlan, HeapPtr, MOST_JITTER};
use crate::lineage::Lineage;
use crate::options::Param;
use crate::os::Os;
use crate::publish::{Node, Published};
use crate::source::Source;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use crate::sync::{Guard, Mutex, Wait};

/// Locks after which the share of failures is looked at.
const WINDOW: u32 = 1024;
/// A heap that holds an arena is told by where its chunks begin.
const _: () = assert!(size_of::<ArenaCell>() > MOST_JITTER);
/// Failures of a window above which there may be one more arena.
const CROWDED: u32 = WINDOW / 64;

/// One arena, its lock, and who uses it.
#[derive(Debug)]
pub(crate) struct ArenaCell {
    arena: CachePadded<Mutex<Arena>>,
    /// Threads that it was given to and that have not ended.
    threads: AtomicUsize,
    /// Locks since the last look, and how many of them were held by others. Relaxed: an estimate.
    attempts: AtomicU32,
    failures: AtomicU32,
    is_crowded: AtomicBool,
    /// All failures.
    contended: AtomicUsize,
    older: AtomicPtr<ArenaCell>,
}

impl Node for ArenaCell {
    fn older(&self) -> &AtomicPtr<Self> {
        &self.older
    }
}

impl ArenaCell {
    const fn new(backing: Backing) -> Self {
        Self {
            arena: CachePadded::new(<Mutex<Arena>>::new(Arena::new(backing))),
            threads: AtomicUsize::new(0),
            attempts: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            is_crowded: AtomicBool::new(false),
            contended: AtomicUsize::new(0),
            older: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Locks the arena if nobody holds it; for a thread whose own it is.
    #[inline(always)]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, Arena>> {
        let guard = self.arena.try_lock();
        match guard {
            Some(_) => self.count_attempt(),
            None => self.count_failure(),
        }
        guard
    }

    /// Locks the arena if nobody holds it; for a thread that only helps itself here, and is no crowd.
    pub(crate) fn try_lock_foreign(&self) -> Option<Guard<'_, Arena>> {
        self.arena.try_lock()
    }

    /// Waits for the lock, when [`try_lock`](Self::try_lock) has failed and counted it.
    #[cold]
    pub(crate) fn wait(&self, lineage: Lineage<'_>) -> Waited<'_> {
        // SAFETY: only taken, and handed over to the guard.
        match unsafe { self.arena.raw() }.wait(Some(lineage)) {
            Wait::Taken => {
                self.count_attempt();
                // SAFETY: taken by this thread, and nobody else makes a guard of it.
                Waited::Locked(unsafe { self.arena.make_guard_unchecked() })
            }
            Wait::Abandoned => Waited::Abandoned,
            Wait::LeftBehind => Waited::LeftBehind,
        }
    }

    /// Locks the arena. `None` when it is abandoned, or will be once this process is put in order.
    pub(crate) fn lock(&self, lineage: Lineage<'_>) -> Option<Guard<'_, Arena>> {
        if let Some(arena) = self.try_lock() {
            return Some(arena);
        }
        match self.wait(lineage) {
            Waited::Locked(arena) => Some(arena),
            Waited::Abandoned | Waited::LeftBehind => None,
        }
    }

    /// Whether the arena was in the middle of a change when this process was copied, and is nobody's here.
    pub(crate) fn is_abandoned(&self) -> bool {
        // SAFETY: only looked at.
        unsafe { self.arena.raw() }.is_abandoned()
    }

    /// In a copy that is put in order: the arena, locked, or `None` from when on it is nobody's. Its threads are sent
    /// elsewhere.
    fn take_or_abandon(&self) -> Option<Guard<'_, Arena>> {
        loop {
            // SAFETY: given up, not released.
            if unsafe { self.arena.raw() }.abandon_if_held() {
                self.is_crowded.store(true, Ordering::Relaxed);
                return None;
            }
            if let Some(guard) = self.arena.try_lock() {
                return Some(guard);
            }
        }
    }

    fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.contended.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one lock, under that lock.
    #[inline]
    fn count_attempt(&self) {
        let attempts = self.attempts.load(Ordering::Relaxed) + 1;
        self.attempts.store(attempts, Ordering::Relaxed);
        if attempts >= WINDOW {
            self.end_window();
        }
    }

    #[cold]
    fn end_window(&self) {
        self.attempts.store(0, Ordering::Relaxed);
        let is_crowded = self.failures.load(Ordering::Relaxed) > CROWDED;
        self.failures.store(0, Ordering::Relaxed);
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
    }

    /// Whether its threads got in each other's way lately; the one that is told so is to look for another arena.
    #[inline]
    pub(crate) fn take_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed) && self.is_crowded.swap(false, Ordering::Relaxed)
    }

    /// How often a lock was found held.
    pub(crate) fn contended(&self) -> usize {
        self.contended.load(Ordering::Relaxed)
    }

    /// Threads that it is given to.
    pub(crate) fn threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    fn address(&self) -> NonNull<()> {
        NonNull::from(self).cast()
    }
}

/// What came of a wait for an arena's lock.
#[derive(Debug)]
pub(crate) enum Waited<'a> {
    Locked(Guard<'a, Arena>),
    Abandoned,
    LeftBehind,
}

/// All arenas.
#[derive(Debug)]
pub(crate) struct Arenas {
    main: ArenaCell,
    published: Published<ArenaCell>,
    /// Thread arenas that exist or are being made.
    count: AtomicUsize,
    /// Thread arenas that crowding has earned beyond those that the cores give.
    earned: AtomicUsize,
    /// Usable cores once they have been asked for; 0 before.
    cores: AtomicUsize,
    has_main_thread: AtomicBool,
    /// Held while an arena is made, and during a fork before all other locks.
    making: Mutex<()>,
}

/// The most arenas that there can ever be, by the width of a pointer and the cores: as many as addresses allow.
pub(crate) const fn hard_limit(pointer_width: u32, cores: usize) -> usize {
    let per_core = if pointer_width >= 64 { 8 } else { 2 };
    cores.saturating_mul(per_core).saturating_add(1)
}

/// How many thread arenas there may be: one for every eight cores but at least two, and what crowding has earned on top,
/// up to two for each core; never more than `most` arenas with the main one.
pub(crate) fn thread_arenas(cores: usize, earned: usize, most: usize) -> usize {
    let wanted = cores.div_ceil(8).max(2).saturating_add(earned).min(cores.saturating_mul(2));
    wanted.min(most.saturating_sub(1))
}

impl Arenas {
    pub(crate) const fn new() -> Self {
        Self {
            main: ArenaCell::new(Backing::Break(Brk::EMPTY)),
            published: Published::new(),
            count: AtomicUsize::new(0),
            earned: AtomicUsize::new(0),
            cores: AtomicUsize::new(0),
            has_main_thread: AtomicBool::new(false),
            making: <Mutex<()>>::new(()),
        }
    }

    /// The main arena.
    pub(crate) fn main(&self) -> &ArenaCell {
        &self.main
    }

    /// Every arena, the main one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ArenaCell> {
        let threads = self.published.iter().map(|cell| -> &ArenaCell { cell });
        core::iter::once(&self.main).chain(threads)
    }

    /// The arena that a heap belongs to.
    #[inline]
    pub(crate) fn of_heap(&self, heap: HeapPtr) -> &ArenaCell {
        // SAFETY: the header of a heap of ours names the cell that the heap was made for; cells are never unmapped.
        unsafe { heap.arena().cast::<ArenaCell>().as_ref() }
    }

    /// Gives the calling thread an arena, until [`detach`](Self::detach).
    #[cold]
    pub(crate) fn attach<O: Os>(&self, source: &Source<O>) -> &ArenaCell {
        // Relaxed: the counts are estimates, the cells are reached through `published`.
        if !self.has_main_thread.swap(true, Ordering::Relaxed) {
            self.main.threads.fetch_add(1, Ordering::Relaxed);
            return &self.main;
        }
        let cell = self.choose(source);
        cell.threads.fetch_add(1, Ordering::Relaxed);
        cell
    }

    fn choose<O: Os>(&self, source: &Source<O>) -> &ArenaCell {
        let most = self.allowed(source);
        if let Some(unused) = self.oldest(most).find(|cell| cell.threads() == 0) {
            return unused;
        }
        if let Some(made) = self.make_below(source, most) {
            return made;
        }
        // With one arena in all, or no addresses for another, everybody shares the main one.
        self.oldest(most).min_by_key(|cell| cell.threads()).unwrap_or(&self.main)
    }

    /// The `most` thread arenas that were made first: there are more than that once the limit has been lowered.
    fn oldest(&self, most: usize) -> impl Iterator<Item = &'static ArenaCell> {
        let usable = || self.published.iter().filter(|cell| !cell.is_abandoned());
        let beyond = usable().count().saturating_sub(most);
        usable().skip(beyond)
    }

    /// Ends what [`attach`](Self::attach) began.
    pub(crate) fn detach(&self, cell: &ArenaCell) {
        cell.threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// A thread found its arena crowded: it moves to one that nobody uses, to a new one, or stays. From one that is abandoned
    /// it moves to any other.
    #[cold]
    pub(crate) fn move_from<O: Os>(&'static self, source: &Source<O>, cell: &'static ArenaCell) -> &'static ArenaCell {
        let is_abandoned = cell.is_abandoned();
        if cell.threads() < 2 && !is_abandoned {
            return cell;
        }
        let unused = self.oldest(self.allowed(source)).find(|other| other.threads() == 0);
        let better = if is_abandoned {
            // Its other threads are to hear of it, too.
            cell.is_crowded.store(true, Ordering::Relaxed);
            let usable = || self.iter().filter(|cell| !cell.is_abandoned()).min_by_key(|cell| cell.threads());
            unused.or_else(|| self.make_below(source, self.allowed(source))).or_else(usable)
        } else {
            unused.or_else(|| {
                self.earned.fetch_add(1, Ordering::Relaxed);
                self.make_below(source, self.allowed(source))
            })
        };
        let Some(better) = better else { return cell };
        cell.threads.fetch_sub(1, Ordering::Relaxed);
        better.threads.fetch_add(1, Ordering::Relaxed);
        better
    }

    fn allowed<O: Os>(&self, source: &Source<O>) -> usize {
        let cores = self.usable_cores(source);
        let set = source.params.get(Param::ArenaMax);
        let most = if set > 0 { set } else { hard_limit(crate::arch::POINTER_WIDTH, cores) };
        let earned = self.earned.load(Ordering::Relaxed).min(cores.saturating_mul(2));
        self.earned.store(earned, Ordering::Relaxed);
        thread_arenas(cores, earned, most)
    }

    fn usable_cores<O: Os>(&self, source: &Source<O>) -> usize {
        let pretended = source.params.get(Param::Cores);
        if pretended > 0 {
            return pretended;
        }
        let known = self.cores.load(Ordering::Relaxed);
        if known > 0 {
            return known;
        }
        let cores = source.os.usable_cores();
        self.cores.store(cores, Ordering::Relaxed);
        cores
    }

    /// Makes a thread arena if there are fewer than `most`.
    fn make_below<O: Os>(&self, source: &Source<O>, most: usize) -> Option<&'static ArenaCell> {
        // A handler that allocates while this thread forks does with what there is: an arena made now could be in use by
        // another thread at the moment of the fork, and its lock would not be among those held.
        if self.count.load(Ordering::Relaxed) >= most || crate::sync::owns_fork() {
            return None;
        }
        let _making = self.making.lock();
        let count = self.count.load(Ordering::Relaxed);
        if count >= most {
            return None;
        }
        let made = Self::make(source)?;
        self.published.publish(made);
        self.count.store(count + 1, Ordering::Relaxed);
        Some(made)
    }

    fn make<O: Os>(source: &Source<O>) -> Option<&'static ArenaCell> {
        let align = align_of::<ArenaCell>();
        let plan = HeapPlan { prefix: size_of::<ArenaCell>() + align, need: 0, pad: source.params.growth_pad(0) };
        let heap = HeapPtr::make(source, NonNull::dangling(), plan)?;
        let place = heap.prefix();
        // SAFETY: the prefix is longer than the cell by its alignment.
        let place = unsafe { place.add(place.align_offset(align)) }.cast::<ArenaCell>();
        // SAFETY: usable memory that nothing else is in, aligned above.
        unsafe { place.write(ArenaCell::new(Backing::Heaps)) };
        // SAFETY: written in the line above, and never unmapped: the heap holds an arena.
        let cell: &'static ArenaCell = unsafe { place.as_ref() };
        heap.set_arena(cell.address());
        let mut arena = cell.arena.lock();
        arena.set_address(cell.address());
        arena.attach_heap::<O>(heap);
        drop(arena);
        Some(cell)
    }

    /// Lets the main arena grow in heaps too. Called once the allocator has come to rest where it is.
    pub(crate) fn settle(&self) {
        self.main.arena.lock().set_address(self.main.address());
    }

    /// Before a fork, first of all: no arena is made until [`end_making`](Self::end_making).
    pub(crate) fn begin_making(&self) {
        // SAFETY: the raw lock is released by `end_making`.
        unsafe { self.making.raw() }.lock_for_fork();
    }

    /// After a fork, last of all.
    pub(crate) fn end_making(&self) {
        // SAFETY: taken by `begin_making` in this thread, or in the one that this is a copy of.
        unsafe { self.making.raw() }.release_after_fork();
    }

    /// Before a fork: takes every arena's lock.
    pub(crate) fn begin_fork(&self) {
        for cell in self.iter() {
            // SAFETY: the raw lock is released by `end_fork`.
            unsafe { cell.arena.raw() }.lock_for_fork();
        }
        crate::sync::begin_fork();
    }

    /// After a fork, in the parent or in the child.
    pub(crate) fn end_fork(&self) {
        crate::sync::end_fork();
        for cell in self.iter() {
            // SAFETY: taken by `begin_fork` in this thread, or in the one that this is a copy of.
            unsafe { cell.arena.raw() }.release_after_fork();
        }
    }

    /// Somebody makes an arena for ever.
    #[cfg(test)]
    pub(crate) fn leave_making(&self) {
        core::mem::forget(self.making.lock());
    }

    /// In a copy that no handler was told of: every arena whose lock is held is abandoned, in all others what another thread
    /// was giving back is free again. One arena at least can be used afterwards, if there is memory for one.
    pub(crate) fn put_in_order<O: Os>(&self, source: &Source<O>) {
        crate::sync::end_fork();
        // SAFETY: it guards no data, and who held it is not here: arenas are made in copies that are in order.
        unsafe { self.making.raw() }.free_left_held();
        let mut is_any_usable = false;
        for cell in self.iter() {
            let Some(mut arena) = cell.take_or_abandon() else { continue };
            is_any_usable = true;
            let release = arena.recover_purge(source);
            drop(arena);
            release.run(source);
        }
        if !is_any_usable && let Some(made) = Self::make(source) {
            self.published.publish(made);
        }
        let usable = self.published.iter().filter(|cell| !cell.is_abandoned()).count();
        self.count.store(usable, Ordering::Relaxed);
    }

    /// In the child of a fork, where only the calling thread lives on: it is attached to `cell` if to any, and nobody
    /// else is to another.
    pub(crate) fn forget_threads(&self, cell: Option<&ArenaCell>) {
        self.iter().for_each(|other| other.threads.store(0, Ordering::Relaxed));
        if let Some(cell) = cell {
            cell.threads.store(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_follows_the_width_of_a_pointer() {
        assert_eq!(hard_limit(64, 1), 9);
        assert_eq!(hard_limit(64, 16), 129);
        assert_eq!(hard_limit(32, 1), 3);
        assert_eq!(hard_limit(32, 16), 33);
        assert_eq!(hard_limit(64, usize::MAX), usize::MAX);
    }

    #[test]
    fn arenas_stay_few_until_crowding_earns_more() {
        assert_eq!(thread_arenas(1, 0, 9), 2, "at least two");
        assert_eq!(thread_arenas(1, 5, 9), 2);
        assert_eq!(thread_arenas(4, 0, 33), 2);
        assert_eq!(thread_arenas(4, 3, 33), 5);
        assert_eq!(thread_arenas(64, 0, 513), 8, "one for every eight cores");
        assert_eq!(thread_arenas(4, 100, 33), 8, "two for each core");
        assert_eq!(thread_arenas(4, 100, 3), 2, "the limit counts the main arena");
        assert_eq!(thread_arenas(4, 0, 1), 0, "everybody in the main arena");
    }
}
