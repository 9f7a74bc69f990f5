//! The depot: full magazines that no thread needs at the moment, for all threads of the process.
//!
//! A thread that frees more than it allocates leaves whole magazines here, and one that allocates more than it frees
//! takes them, at the price of one short lock a magazine; no arena is involved, and nothing is split or joined. Each class
//! has a lock and a stack of its own. The magazines are linked through their own first blocks, so that the depot needs no
//! memory however much it holds.
//!
//! What waits here cannot be joined with its neighbours, and where sizes drift that is dear: a depot that keeps what is of no
//! use any more takes the key-value scenario (96 MiB live) from 1.94 times the live bytes to 2.58, as one of 8 MiB did. But a
//! program that builds and drops one generation of small blocks after another wants all of it kept. What tells them apart
//! is the low-water mark of a class: what lay under it since the last look, nobody has asked for. That leaves
//!
//! ```text
//!   when an arena would grow, for a small request or beyond what it ever had   --> all of it, into the arenas
//!   with each tick of the purge clock                                          --> half of it
//! ```
//!
//! so that an arena that grows again and again looks over short times, in which nearly everything is of no use, and one that
//! need not grow keeps what comes and goes. No request takes out more than 1 MiB. What would only wait to be drained is not kept in
//! the first place: a class that nobody has asked for during the last few looks, as where the sizes of a store drift on. That,
//! and a magazine that does not fit into the bound, goes to the arenas.
//!
//! A depot lock and an arena's are never held together. The callers see to it that the process is no copy that is left behind
//! before they come here, so that a lock which such a copy finds held has nobody inside.
//!
//! All of it is there several times, in *lanes*. A thread puts into the lane of its own and takes from there first, then from
//! the others: what one thread frees for another, that one finds. Of two threads that build and drop generations at the same
//! time, each on its core, neither waits for the other, and each gets its own blocks again, which its core has in its caches.
//! Where one of them is a few magazines short of a generation, the other's would do, but then that one is short in its turn, and
//! blocks go from core to core for ever. So for each few that a lane's threads have taken in a row, one is not taken from others.
//!
//! A generation that was dropped in another order than it was built in lies scattered, and once it is longer than the processor's
//! caches, taking it out block by block goes at the pace of the memory. So who takes from such a store reads the links of
//! some magazines ahead, side by side.

use crossbeam_utils::CachePadded;

use crate::class::{CLASSES, Class};
use crate::magazine::{ABREAST, Magazine, Stack};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use crate::tally::Tally;

/// What it holds at most, in bytes.
const MOST: usize = 8 << 20;
/// What a single request takes out at most, and a tick of the clock: freed into the arenas, that is some milliseconds.
const MOST_AT_ONCE: usize = 1 << 20;
const MOST_A_TICK: usize = 2 << 20;
/// What it may hold and nobody look after it: only the purge clock drains a depot that nobody uses, in bytes.
const UNWATCHED: usize = 1 << 20;

/// A class that nobody has asked for during so many looks is *forgotten*: its magazines are not kept. Of the clock's looks these
/// are the 300 ms after which memory counts as unused everywhere.
const FORGOTTEN: u8 = 4;

/// For so many magazines in a row that a lane's own threads have taken from it, one is to be of new blocks, once it is empty.
/// With fewer threadtest is a little faster, and rptest takes more memory: docs/design.md has the figures.
const ROW: u32 = 8;

/// A store of so many bytes, or more, does not lie in a core's own caches as a whole. In shorter ones there is nothing to wait for:
/// building a list that fits into the caches took 1.06 of the time when its last magazines were read ahead as well.
const FAR: usize = 512 << 10;

/// A class each. The models have two, which all that they do is about.
const STORES: usize = if cfg!(loom) { 2 } else { CLASSES };

/// The magazines of one class.
#[derive(Debug)]
struct Store {
    stack: Stack,
    /// Bytes of its blocks.
    bytes: usize,
    /// The fewest bytes since the last look: what nobody asked for since.
    lowest: usize,
}

impl Store {
    const EMPTY: Self = Self { stack: Stack::EMPTY, bytes: 0, lowest: 0 };

    /// Bytes that nobody has asked for since the last call.
    fn unused(&mut self) -> usize {
        core::mem::replace(&mut self.lowest, self.bytes)
    }
}

/// The magazines of one class in one lane.
#[derive(Debug)]
struct Rack {
    /// A hint, which saves those that come from other lanes the lock. Written under that.
    has_any: AtomicBool,
    /// At how many looks in a row nobody had asked for a magazine, up to [`FORGOTTEN`]. Relaxed: a hint as well.
    unasked: AtomicU8,
    /// How many the lane's own threads have taken since one was put here. Relaxed: a hint as well.
    row: AtomicU32,
    store: Mutex<Store>,
}

/// Why there is no magazine for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// No lane has one.
    Nothing,
    /// The thread is better off with new blocks than with those of another lane.
    ForOthers,
}

impl Rack {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self {
            has_any: AtomicBool::new(false),
            unasked: AtomicU8::new(0),
            row: AtomicU32::new(0),
            store: Mutex::new(Store::EMPTY),
        }
    }

    #[cfg(loom)]
    fn new() -> Self {
        Self {
            has_any: AtomicBool::new(false),
            unasked: AtomicU8::new(0),
            row: AtomicU32::new(0),
            store: Mutex::new(Store::EMPTY),
        }
    }
}

/// Not written where it need not be: others read the line.
fn set(hint: &AtomicU32, to: u32) {
    if hint.load(Ordering::Relaxed) != to {
        hint.store(to, Ordering::Relaxed);
    }
}

/// How many lanes there are.
const LANES: usize = if cfg!(loom) { 1 } else { 4 };

/// Where a thread puts its magazines: a number that it keeps, and shares with few that run at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane(u8);

impl Lane {
    /// That of the `n`-th thread.
    pub(crate) fn of_nth(n: usize) -> Self {
        Self((n % LANES) as u8)
    }

    fn index(self) -> usize {
        usize::from(self.0) % LANES
    }
}

/// The magazines of every class, in every lane.
#[derive(Debug)]
pub(crate) struct Depot {
    lanes: [CachePadded<[Rack; STORES]>; LANES],
    /// Bytes of all blocks here. A bound on it may be missed by what the tally may be off.
    bytes: Tally<LANES>,
}

impl Depot {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { lanes: [const { CachePadded::new([const { Rack::new() }; STORES]) }; LANES], bytes: Tally::new() }
    }

    #[cfg(loom)]
    fn new() -> Self {
        let lane = || CachePadded::new(core::array::from_fn(|_| Rack::new()));
        Self { lanes: core::array::from_fn(|_| lane()), bytes: Tally::new() }
    }

    /// Bytes of all blocks here.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.sum()
    }

    /// Whether it has more than may wait here and nobody look after it.
    pub(crate) fn is_worth_watching(&self) -> bool {
        self.bytes.roughly() > UNWATCHED
    }

    /// Keeps a magazine, or hands it back when there is no room for it, or nobody asks for such any more.
    pub(crate) fn put(&self, lane: Lane, magazine: Magazine) -> Option<Magazine> {
        let (class, bytes) = (magazine.class(), magazine.bytes());
        if self.bytes.roughly() + bytes > MOST {
            return Some(magazine);
        }
        let rack = &self.lanes[lane.index()][class.index()];
        if rack.unasked.load(Ordering::Relaxed) >= FORGOTTEN {
            return Some(magazine);
        }
        set(&rack.row, 0);
        let mut store = rack.store.lock();
        store.bytes += bytes;
        store.stack.push(magazine);
        rack.has_any.store(true, Ordering::Relaxed);
        // Under the lock: a fork in between would leave the child with a wrong sum.
        self.bytes.add(lane.index(), bytes);
        None
    }

    /// Takes the magazine of `class` that was put into `lane` last, or into another.
    pub(crate) fn take(&self, class: Class, lane: Lane) -> Result<Magazine, Miss> {
        let own = lane.index();
        let rack = &self.lanes[own][class.index()];
        let row = rack.row.load(Ordering::Relaxed);
        if let Some(magazine) = self.take_asked(class, own) {
            let row = row.saturating_add(1);
            set(&rack.row, row);
            // Who has built so much of a generation goes on.
            if row.is_multiple_of(ABREAST as u32) {
                let store = rack.store.lock();
                if store.bytes >= FAR {
                    store.stack.read_ahead(class);
                }
            }
            return Ok(magazine);
        }
        if row >= ROW {
            set(&rack.row, row - ROW);
            return Err(Miss::ForOthers);
        }
        let others = (1..LANES).map(|step| (own + step) % LANES);
        others.into_iter().find_map(|lane| self.take_asked(class, lane)).ok_or(Miss::Nothing)
    }

    /// The magazine of `class` on top in `lane`, which has been asked for.
    #[inline(always)]
    fn take_asked(&self, class: Class, lane: usize) -> Option<Magazine> {
        let unasked = &self.lanes[lane][class.index()].unasked;
        // Not written where it need not be: others read the line.
        if unasked.load(Ordering::Relaxed) != 0 {
            unasked.store(0, Ordering::Relaxed);
        }
        self.take_from(class, lane)
    }

    #[inline(always)]
    fn take_from(&self, class: Class, lane: usize) -> Option<Magazine> {
        if self.lanes[lane][class.index()].has_any.load(Ordering::Relaxed) { self.take_top(class, lane) } else { None }
    }

    fn take_top(&self, class: Class, lane: usize) -> Option<Magazine> {
        let rack = &self.lanes[lane][class.index()];
        let mut store = rack.store.lock();
        let magazine = store.stack.pop(class)?;
        let bytes = magazine.bytes();
        store.bytes -= bytes;
        store.lowest = store.lowest.min(store.bytes);
        if store.bytes == 0 {
            rack.has_any.store(false, Ordering::Relaxed);
        }
        self.bytes.subtract(lane, bytes);
        Some(magazine)
    }

    /// The lanes' numbers, classes and racks, all of them.
    fn racks(&self) -> impl Iterator<Item = (usize, Class, &Rack)> {
        let lanes = self.lanes.iter().enumerate();
        lanes.flat_map(|(lane, racks)| Class::all().zip(racks.iter()).map(move |(class, rack)| (lane, class, rack)))
    }

    /// Calls `each` with every magazine, none of which is here any more then.
    pub(crate) fn drain(&self, mut each: impl FnMut(Magazine)) {
        self.drain_some(usize::MAX, |store| store.bytes, &mut each);
    }

    /// An arena would have to grow: what nobody has asked for since the last look goes, magazine by magazine, to `each`.
    /// Returns how many bytes went.
    pub(crate) fn drain_unused(&self, mut each: impl FnMut(Magazine)) -> usize {
        self.drain_some(MOST_AT_ONCE, Store::unused, &mut each)
    }

    /// The purge clock ticks: as [`drain_unused`](Self::drain_unused), but only half of it goes.
    pub(crate) fn drain_half_unused(&self, mut each: impl FnMut(Magazine)) -> usize {
        self.drain_some(MOST_A_TICK, |store| store.unused().div_ceil(2), &mut each)
    }

    /// Takes magazines of each class until `how_much` bytes of it are gone, or `most` of all.
    fn drain_some(&self, most: usize, how_much: fn(&mut Store) -> usize, each: &mut dyn FnMut(Magazine)) -> usize {
        let mut drained = 0;
        for (lane, class, rack) in self.racks() {
            if drained >= most {
                break;
            }
            let unasked = rack.unasked.load(Ordering::Relaxed);
            if unasked < FORGOTTEN {
                rack.unasked.store(unasked + 1, Ordering::Relaxed);
            }
            if !rack.has_any.load(Ordering::Relaxed) {
                continue;
            }
            let mut left = how_much(&mut rack.store.lock());
            // One at a time, so that the child of a fork in another thread finds the others here. What is put meanwhile
            // stays.
            while left > 0 && drained < most {
                let Some(magazine) = self.take_from(class, lane) else { break };
                let bytes = magazine.bytes();
                left = left.saturating_sub(bytes);
                drained += bytes;
                each(magazine);
            }
        }
        drained
    }

    /// Somebody is busy with a class for ever.
    #[cfg(test)]
    pub(crate) fn leave_inside(&self, class: Class) {
        self.lanes.iter().for_each(|racks| core::mem::forget(racks[class.index()].store.lock()));
    }

    /// How many blocks are here.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn count(&self) -> usize {
        self.racks().map(|(_, class, rack)| rack.store.lock().stack.count(class)).sum()
    }

    /// While nobody changes it: what it knows of its magazines is so.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn assert_consistent(&self) {
        let mut bytes = 0;
        for (_, class, rack) in self.racks() {
            let mut store = rack.store.lock();
            let held = store.stack.count(class) * class.chunk().get();
            assert_eq!(store.bytes, held, "I19: the bytes of a store");
            assert_eq!(rack.has_any.load(Ordering::Relaxed), store.bytes > 0, "I19: the hint");
            assert!(store.lowest <= store.bytes, "I19: the low-water mark");
            bytes += store.bytes;
        }
        assert_eq!(self.bytes.sum(), bytes, "I19: the sum");
    }

    /// In a copy that no handler was told of: what another thread was busy with is lost.
    #[cfg(not(loom))]
    #[allow(unsafe_code)]
    pub(crate) fn put_in_order(&self) {
        let mut bytes = 0;
        for (_, _, rack) in self.racks() {
            // SAFETY: looked at, and released below once for the holder that is not here.
            let raw = unsafe { rack.store.raw() };
            if raw.is_left_held() {
                // SAFETY: its holder is not here, and nobody comes before the copy is in order.
                unsafe { rack.store.data_ptr().write(Store::EMPTY) };
                raw.free_left_held();
            }
            let held = rack.store.lock().bytes;
            rack.has_any.store(held > 0, Ordering::Relaxed);
            bytes += held;
        }
        self.bytes.set(bytes);
    }

    /// Before a fork: takes every lock.
    #[allow(unsafe_code)]
    pub(crate) fn begin_fork(&self) {
        for (_, _, rack) in self.racks() {
            // SAFETY: the raw lock is released by `end_fork`.
            unsafe { rack.store.raw() }.lock_for_fork();
        }
    }

    /// After a fork, in the parent or in the child.
    #[allow(unsafe_code)]
    pub(crate) fn end_fork(&self) {
        for (_, _, rack) in self.racks() {
            // SAFETY: taken by `begin_fork` in this thread, or in the one that this is a copy of.
            unsafe { rack.store.raw() }.release_after_fork();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::tally::COARSE;
    use core::ptr::NonNull;
    use std::boxed::Box;
    use std::vec::Vec;

    const LANE: Lane = Lane(1);

    fn class() -> Class {
        Class::of_request(120).expect("a small request")
    }

    /// A full magazine of blocks that live for ever.
    fn full() -> Magazine {
        let mut magazine = Magazine::of(class());
        let words = class().chunk().get() / size_of::<u128>();
        let blocks: &'static mut [u128] = Box::leak(std::vec![0u128; words * class().magazine()].into_boxed_slice());
        blocks.chunks_mut(words).for_each(|block| magazine.push(NonNull::from(&mut block[0]).cast()));
        magazine
    }

    /// Puts `count` magazines; how many stayed.
    fn put(depot: &Depot, count: usize) -> usize {
        (0..count).filter(|_| depot.put(LANE, full()).is_none()).count()
    }

    /// Takes `count` magazines; how many were there.
    fn take(depot: &Depot, count: usize) -> usize {
        (0..count).filter(|_| depot.take(class(), LANE).is_ok()).count()
    }

    #[test]
    fn it_holds_no_more_than_it_may() {
        let depot = Depot::new();
        let len = class().chunk().get() * class().magazine();
        let stay = put(&depot, 2 * MOST / len);
        assert!((MOST..=MOST + COARSE).contains(&(stay * len + len)));
        assert_eq!(take(&depot, stay + 10), stay);
        assert_eq!(depot.bytes(), 0);
    }

    #[test]
    fn a_lane_gets_its_own_magazines_first_and_then_those_of_others() {
        let depot = Depot::new();
        let lanes = [0, 1, 2].map(Lane::of_nth);
        let firsts = lanes.map(|lane| {
            let magazine = full();
            let first = magazine.first();
            assert!(depot.put(lane, magazine).is_none());
            first
        });
        let take = |lane| depot.take(class(), lane).ok().and_then(|magazine| magazine.first());
        assert_eq!([lanes[1], lanes[0], lanes[0]].map(take), [firsts[1], firsts[0], firsts[2]]);
        assert_eq!(take(lanes[2]), None);
    }

    /// Two threads that built and dropped generations took some of each other's blocks all the time, and each of these went
    /// from one core to the other: the workload threadtest took twice as long as on one core.
    #[test]
    fn who_builds_a_generation_leaves_others_theirs_once_for_each_row() {
        let depot = Depot::new();
        let (own, other) = (Lane::of_nth(0), Lane::of_nth(1));
        let put = |lane, count| (0..count).for_each(|_| assert!(depot.put(lane, full()).is_none()));
        put(other, 10);
        put(own, 2 * ROW);
        (0..2 * ROW).for_each(|_| assert!(depot.take(class(), own).is_ok()));
        let misses: Vec<_> = (0..3).map(|_| depot.take(class(), own).err()).collect();
        assert_eq!(misses, [Some(Miss::ForOthers), Some(Miss::ForOthers), None]);
        put(own, ROW);
        (0..ROW - 1).for_each(|_| assert!(depot.take(class(), own).is_ok()));
        put(own, 1);
        (0..2).for_each(|_| assert!(depot.take(class(), own).is_ok(), "what comes and goes is no generation"));
        assert!(depot.take(class(), own).is_ok(), "one of the other's");
        depot.drain(|_| ());
        assert_eq!(depot.take(class(), own).err(), Some(Miss::Nothing));
    }

    #[test]
    fn when_an_arena_would_grow_what_comes_and_goes_stays_and_the_rest_leaves() {
        let depot = Depot::new();
        assert_eq!(put(&depot, 10), 10);
        let mut drained = 0;
        depot.drain_unused(|_| drained += 1);
        assert_eq!(drained, 0, "it has just come");
        assert_eq!((take(&depot, 4), put(&depot, 4)), (4, 4));
        depot.drain_unused(|_| drained += 1);
        assert_eq!(drained, 6, "four were asked for");
        depot.drain_unused(|_| drained += 1);
        assert_eq!(drained, 10, "and then none");
    }

    #[test]
    fn one_request_does_not_have_to_wait_for_all_of_it() {
        let depot = Depot::new();
        put(&depot, 2_000);
        depot.drain_unused(|_| ());
        let (before, mut drained) = (depot.bytes(), 0);
        depot.drain_unused(|magazine| drained += magazine.bytes());
        assert!((MOST_AT_ONCE..2 * MOST_AT_ONCE).contains(&drained) && depot.bytes() == before - drained);
        depot.drain(|magazine| drained += magazine.bytes());
        assert_eq!((drained, depot.bytes()), (before, 0));
    }

    #[test]
    fn what_nobody_asks_for_leaves_by_halves_and_what_is_used_stays() {
        let depot = Depot::new();
        assert_eq!(put(&depot, 8), 8);
        let mut left = 8;
        let mut tick = |depot: &Depot| {
            depot.drain_half_unused(|_| left -= 1);
            left
        };
        assert_eq!(tick(&depot), 8, "it has just come");
        assert_eq!((tick(&depot), tick(&depot), tick(&depot), tick(&depot)), (4, 2, 1, 0));
        assert_eq!(take(&depot, 1), 0);
        assert_eq!(put(&depot, 8), 8);
        let mut drained = 0;
        for _ in 0..10 {
            assert_eq!(take(&depot, 8), 8);
            assert_eq!(put(&depot, 8), 8);
            depot.drain_half_unused(|_| drained += 1);
        }
        assert_eq!(drained, 0, "all of it was asked for in each tick");
    }

    #[test]
    fn a_class_that_nobody_asks_for_is_not_kept_until_somebody_does() {
        let depot = Depot::new();
        for look in 0..FORGOTTEN {
            assert_eq!(put(&depot, 1), 1, "look {look}");
            depot.drain_unused(|_| ());
        }
        assert_eq!(put(&depot, 1), 0);
        assert!(depot.take(class(), Lane::of_nth(0)).is_ok(), "in another lane, and what was put before the last look");
        assert_eq!(put(&depot, 1), 1);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::{self, models::model};
    use core::ptr::NonNull;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    /// A depot, and a cell for each block, which whoever has the block writes to: loom reports two who have it.
    struct Shared {
        depot: Depot,
        blocks: Box<[([u128; 2], UnsafeCell<u32>)]>,
    }

    // SAFETY: a block and its cell are reached by whoever has its magazine.
    #[allow(unsafe_code)]
    unsafe impl Sync for Shared {}
    // SAFETY: as above.
    #[allow(unsafe_code)]
    unsafe impl Send for Shared {}

    const LANE: Lane = Lane(0);

    fn class(index: usize) -> Class {
        Class::all().nth(index).expect("an index of a class")
    }

    impl Shared {
        fn new(blocks: usize) -> Arc<Self> {
            let blocks = (0..blocks).map(|_| ([0; 2], UnsafeCell::new(0))).collect();
            Arc::new(Self { depot: Depot::new(), blocks })
        }

        /// A magazine of these blocks, which nobody has.
        fn magazine(&self, class: Class, indices: core::ops::Range<usize>) -> Magazine {
            let mut magazine = Magazine::of(class);
            for block in &self.blocks[indices] {
                magazine.push(NonNull::from(&block.0).cast());
            }
            magazine
        }

        /// Writes to every block of a magazine, which is put together again. How many there are.
        fn use_blocks(&self, magazine: &mut Magazine) -> usize {
            let mems: Vec<_> = core::iter::from_fn(|| magazine.pop()).collect();
            for mem in mems.iter().rev() {
                let block = self.blocks.iter().find(|block| (&raw const block.0).addr() == mem.addr().get());
                let (_, cell) = block.expect("a block of these");
                #[allow(unsafe_code)]
                // SAFETY: whoever has the magazine has the block.
                cell.with_mut(|times| unsafe { *times += 1 });
                magazine.push(*mem);
            }
            mems.len()
        }
    }

    #[test]
    fn a_magazine_has_one_owner_and_none_is_lost() {
        model(|| {
            let shared = Shared::new(4);
            assert!(shared.depot.put(LANE, shared.magazine(class(0), 0..1)).is_none());
            let other = shared.clone();
            let thread = loom::thread::spawn(move || {
                let mut taken = other.depot.take(class(0), LANE).ok();
                let had = taken.as_mut().map_or(0, |magazine| other.use_blocks(magazine));
                assert!(other.depot.put(LANE, other.magazine(class(0), 1..3)).is_none());
                (had, taken)
            });
            assert!(shared.depot.put(LANE, shared.magazine(class(1), 3..4)).is_none());
            let mut drained = 0;
            shared.depot.drain(|mut magazine| drained += shared.use_blocks(&mut magazine));
            let (had, _) = thread.join().expect("no panic");
            assert_eq!(drained + had + shared.depot.count(), 4);
            shared.depot.assert_consistent();
        });
    }

    /// The child's copy is what the forking thread sees while it has all locks.
    #[test]
    fn a_fork_finds_every_store_whole() {
        model(|| {
            let shared = Shared::new(3);
            assert!(shared.depot.put(LANE, shared.magazine(class(0), 0..1)).is_none());
            let other = shared.clone();
            let thread = loom::thread::spawn(move || {
                let taken = other.depot.take(class(0), LANE).ok();
                assert!(other.depot.put(LANE, other.magazine(class(1), 1..3)).is_none());
                taken.map(|mut magazine| other.use_blocks(&mut magazine))
            });
            shared.depot.begin_fork();
            sync::begin_fork();
            shared.depot.assert_consistent();
            // A handler of another library allocates.
            let taken = shared.depot.take(class(0), LANE).ok().map(|mut magazine| shared.use_blocks(&mut magazine));
            sync::end_fork();
            shared.depot.end_fork();
            let had = thread.join().expect("no panic");
            assert_eq!([had, taken].into_iter().flatten().sum::<usize>(), 1);
            assert_eq!(shared.depot.count(), 2);
            shared.depot.assert_consistent();
        });
    }
}
