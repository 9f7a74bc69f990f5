//! Requests of a thread that has a cache, and the ways between cache, depot and arenas.
//!
//! ```text
//!   cache --full magazine--> depot --full, emptied before a growth--> arenas, in rows
//!   cache <--a magazine----- depot
//!   cache <--a batch--------------------------------------------- an arena
//! ```
//!
//! # Safety
//!
//! As in the parent; the caches that are emptied here are owned here.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use super::{Claimed, Contents, Malloc, fill};
use crate::arch::prefetch;
use crate::arena::{Arena, Release};
use crate::arenas::ArenaCell;
use crate::chunk::{ChunkPtr, Head, MEM_OFFSET, Owner};
use crate::class::{self, Class};
use crate::depot::{Lane, Miss};
use crate::fatal::check;
use crate::heap::HeapPtr;
use crate::magazine::{self, Magazine};
use crate::options::Param;
use crate::os::Os;
use crate::size::{ALIGNMENT, ChunkSize};
use crate::tcache::ThreadCache;

/// A block that is longer than what is asked for by at most this part of it is not cut.
const LOOSE: usize = 8;
/// A block that becomes shorter moves, within the cache, if no more than this has to be copied, in bytes: that takes less than to cut off
/// its end, and both blocks are of a class then.
const MOST_COPIED: usize = 4 << 10;

/// Requests of a thread that has a cache. The allocator lives as long as the process, and so do its threads' arenas.
impl<O: Os> Malloc<O> {
    /// As [`allocate_aligned`](Self::allocate_aligned), for a request that no cache serves.
    pub(crate) fn allocate_uncached(
        &'static self,
        cache: &mut ThreadCache,
        bytes: usize,
        alignment: usize,
        contents: Contents,
    ) -> Option<NonNull<u8>> {
        if alignment > ALIGNMENT {
            // A chunk that was cut for an alignment may have kept 16 bytes that were too few for a chunk.
            for len in [bytes, bytes.saturating_add(ALIGNMENT)] {
                if let Some(class) = Class::of_request(len)
                    && let Some(mem) = self.cached_aligned(cache, class, alignment)
                {
                    self.prepare(mem, || class.chunk().usable(), contents);
                    return Some(mem);
                }
            }
            // As long as its class makes it, so that it is cached when it is freed.
            if let Some(class) = Class::of_request(bytes).filter(|&class| cache.keeps(class)) {
                return self.allocate_fresh(cache, class.chunk().usable(), alignment, contents);
            }
        }
        if let Some(size) = ChunkSize::for_request(bytes)
            && cache.recent().is_for(size)
            && let Some(mem) = cache.recent().take(size, alignment)
        {
            self.prepare(mem, || Self::claimed_of_magazine(mem).usable(), contents);
            return Some(mem);
        }
        self.allocate_fresh(cache, bytes, alignment, contents)
    }

    /// As [`allocate_uncached`](Self::allocate_uncached), from an arena or mapped.
    fn allocate_fresh(
        &'static self,
        cache: &mut ThreadCache,
        bytes: usize,
        alignment: usize,
        contents: Contents,
    ) -> Option<NonNull<u8>> {
        let mem = self.allocate_aligned(cache.arena(), bytes, alignment, contents);
        self.leave_crowd(cache);
        mem
    }

    /// A block of `class` at a multiple of `alignment` that the cache or the depot has at hand.
    fn cached_aligned(&self, cache: &mut ThreadCache, class: Class, alignment: usize) -> Option<NonNull<u8>> {
        if cache.is_out_of(class) && !cache.load_spare(class) && cache.keeps(class) {
            self.keep_order();
            cache.load(self.depot.take(class, cache.lane()).ok()?);
        }
        cache.pop_aligned(class, alignment)
    }

    /// Makes a block longer or shorter; see [`reallocate`](Self::reallocate). Small blocks move within the cache.
    pub(crate) fn reallocate_cached(
        &'static self,
        cache: &mut ThreadCache,
        mem: NonNull<u8>,
        bytes: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        let claimed = self.claimed(mem);
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        let new_class = Class::of_request(bytes).filter(|_| alignment <= ALIGNMENT);
        let old_class = Class::of_chunk(claimed.size).filter(|_| claimed.owner() != Owner::Mapped);
        let moved = match (old_class, new_class) {
            (Some(old), Some(new)) if old == new && old.is_small() => return Some(mem),
            (Some(_), Some(new)) if !new.is_small() && (bytes..=bytes + bytes / LOOSE).contains(&claimed.usable()) => {
                return Some(mem);
            }
            (Some(old), Some(new))
                if cache.keeps(new) && (old.is_small() && new.is_small() || new < old && bytes <= MOST_COPIED) =>
            {
                self.allocate_cached(cache, new, Contents::Any)
            }
            (_, new_class) => {
                if let Some(same) = self.resize(claimed, bytes, alignment)? {
                    return Some(same);
                }
                match new_class {
                    Some(class) => self.allocate_cached(cache, class, Contents::Any),
                    // What grows once grows again: an arena may give it room to.
                    None => self.allocate_fresh(cache, bytes, alignment, Contents::Any),
                }
            }
        };
        if moved.is_none() && bytes > claimed.usable() {
            return self.reallocate_of_cached(cache, mem, bytes, alignment);
        }
        self.finish_move(claimed, bytes, moved, || match old_class {
            None if claimed.owner() == Owner::Mapped => self.free_claimed(claimed),
            _ => self.free_cached(cache, mem),
        })
    }

    /// As [`reallocate`](Self::reallocate), where no memory is left but what waits to be used again.
    #[cold]
    #[inline(never)]
    fn reallocate_of_cached(
        &self,
        cache: &mut ThreadCache,
        mem: NonNull<u8>,
        bytes: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        ChunkSize::for_request(bytes)?;
        self.flush_all(cache);
        self.empty_idle();
        self.empty_all_at_rest(|| true);
        self.reallocate(cache.arena(), mem, bytes, alignment)
    }

    /// The thread's arena has been crowded lately: perhaps there is a better one.
    #[inline]
    fn leave_crowd(&'static self, cache: &mut ThreadCache) {
        let home = cache.arena();
        if home.take_crowded() {
            self.keep_order();
            cache.set_arena(self.arenas.move_from(&self.source, home));
        }
    }

    /// Sets a parameter at run time, for threads that run as well; its limits have been looked at.
    pub(crate) fn set(&self, param: Param, value: usize) {
        self.source.params.set(param, value);
        if matches!(param, Param::TcacheCount | Param::TcacheMax) {
            self.caches.ring();
        }
    }

    /// Gives a cache the limits that the parameters set.
    pub(crate) fn limit(&self, cache: &mut ThreadCache) {
        let params = &self.source.params;
        let limits = params
            .cache_limits
            .adopt(|| cache.set_limits(params.get(Param::TcacheCount), params.get(Param::TcacheMax)));
        cache.note_limits(limits);
    }

    /// On the slow paths: follows a change of the limits, or what rang while there was none.
    #[inline]
    fn follow_limits(&self, cache: &mut ThreadCache, class: Class) {
        if self.source.params.cache_limits.is_newer_than(cache.limits()) || !cache.keeps(class) {
            self.follow_limits_of(cache, class);
        }
    }

    #[cold]
    fn follow_limits_of(&self, cache: &mut ThreadCache, class: Class) {
        if self.follow_new_limits(cache) {
            return;
        }
        let params = &self.source.params;
        let wanted = params.get(Param::TcacheCount) > 0
            && params.get(Param::TcacheMax) > 0
            && Class::of_request(params.get(Param::TcacheMax).min(class::MAX_REQUEST))
                .is_some_and(|largest| class.index() <= largest.index());
        if wanted {
            self.limit(cache);
        }
    }

    /// Follows a change of the limits, if there was one.
    fn follow_new_limits(&self, cache: &mut ThreadCache) -> bool {
        let are_new = self.source.params.cache_limits.is_newer_than(cache.limits());
        if are_new {
            self.limit(cache);
            // What may be beyond the new limits.
            self.flush_all(cache);
        }
        are_new
    }

    /// A block of `class`, from the cache if it has one.
    #[inline]
    pub(crate) fn allocate_cached(
        &'static self,
        cache: &mut ThreadCache,
        class: Class,
        contents: Contents,
    ) -> Option<NonNull<u8>> {
        let mem = match cache.pop(class) {
            Some(mem) => mem,
            None => self.refill(cache, class)?,
        };
        self.prepare(mem, || class.chunk().usable(), contents);
        Some(mem)
    }

    /// Gives a block from the cache the contents that were asked for.
    #[inline]
    fn prepare(&self, mem: NonNull<u8>, usable: impl FnOnce() -> usize, contents: Contents) {
        match contents {
            Contents::Zero => fill(mem, usable(), 0),
            Contents::Any => {
                let byte = self.source.params.get(Param::Perturb);
                if byte != 0 {
                    fill(mem, usable(), !byte as u8);
                }
            }
        }
    }

    /// The loaded magazine is empty: fills it, and returns a block.
    #[cold]
    #[inline(never)]
    fn refill(&'static self, cache: &mut ThreadCache, class: Class) -> Option<NonNull<u8>> {
        self.keep_order();
        self.follow_limits(cache, class);
        if cache.load_spare(class) {
            return cache.pop(class);
        }
        if class.is_last()
            && let Some(mem) = cache.recent().take(ChunkSize::exact(class.chunk().get() + ALIGNMENT), ALIGNMENT)
        {
            // A block of it that was cut with 16 bytes too many has no class any more, and comes and goes all the same.
            return Some(mem);
        }
        if !cache.keeps(class) || self.mapped.wants(&self.source, class.chunk()) {
            return self.allocate(cache.arena(), class.chunk().usable(), Contents::Any);
        }
        let miss = match self.depot.take(class, cache.lane()) {
            Ok(magazine) => {
                cache.load(magazine);
                return cache.pop(class);
            }
            Err(miss) => miss,
        };
        let mut more = Magazine::of(class);
        let count = cache.next_batch(class);
        let home = cache.arena();
        // An arena that is free at the moment; the own one if it is, or if none is.
        let others = self.arenas.iter().filter(|&cell| !core::ptr::eq(cell, home));
        let arena = home
            .try_lock()
            .or_else(|| others.into_iter().find_map(ArenaCell::try_lock_foreign))
            .or_else(|| self.lock_waiting(home));
        let Some(mut arena) = arena else {
            // Abandoned, and every other is held.
            self.leave_crowd(cache);
            return self.allocate(cache.arena(), class.chunk().usable(), Contents::Any);
        };
        let mut first = arena.allocate_batch(class.chunk(), count, &mut more);
        if first.is_none() {
            drop(arena);
            if miss == Miss::Nothing {
                let take = |arena: &mut Arena| arena.allocate_batch(class.chunk(), count, &mut more);
                first = self.spare_growth(home, class.chunk(), take);
            }
            if first.is_none() {
                first = self
                    .lock(home)
                    .and_then(|mut arena| arena.allocate_batch_growing(&self.source, class.chunk(), count, &mut more));
            }
        } else {
            drop(arena);
        }
        #[cfg(feature = "hardened")]
        more.shuffle();
        cache.load(more);
        self.leave_crowd(cache);
        match first {
            Some(chunk) => Some(chunk.mem()),
            None => self.allocate_elsewhere(home, class.chunk(), Contents::Any),
        }
    }

    /// The chunk of a block that lies in memory of ours, and its head, if that is in order; `None` for anything else, which
    /// takes a closer look.
    #[inline(always)]
    fn sound_head(&self, mem: NonNull<u8>) -> Option<(ChunkPtr, Head)> {
        let address = mem.addr().get();
        if !address.is_multiple_of(ALIGNMENT) || !self.source.knows(address.wrapping_sub(MEM_OFFSET)) {
            return None;
        }
        // SAFETY: aligned, and a caller passes what it was handed out: there is a head before it.
        let chunk = unsafe { ChunkPtr::from_mem(mem) };
        Some((chunk, chunk.head()?))
    }

    /// The class of a small block in use that lies in an arena.
    #[cfg(all(not(test), any(feature = "preload", feature = "override")))]
    #[inline(always)]
    pub(crate) fn small_class_of(&self, mem: NonNull<u8>) -> Option<Class> {
        let (_, head) = self.sound_head(mem)?;
        Class::of_small_chunk(head.size_in_use())
    }

    /// A block in use that lies in an arena.
    #[inline(always)]
    fn claimed_in_arena(&self, mem: NonNull<u8>) -> Option<Claimed> {
        let (chunk, head) = self.sound_head(mem)?;
        Some(Claimed { chunk, size: head.chunk_in_use()?, head })
    }

    /// Takes a block back, into the cache if it has a class.
    #[inline]
    pub(crate) fn free_cached(&self, cache: &mut ThreadCache, mem: NonNull<u8>) {
        if let Some(claimed) = self.claimed_in_arena(mem) {
            let Some(class) = Class::of_chunk(claimed.size) else { return self.free_long(cache, claimed) };
            let is_next_sound = claimed.chunk.next(claimed.size).head().is_some();
            if is_next_sound && self.source.params.get(Param::Perturb) == 0 && cache.push(class, mem) {
                return;
            }
        }
        self.free_cached_otherwise(cache, mem);
    }

    /// Takes a block back that has no class.
    #[inline(never)]
    fn free_long(&self, cache: &mut ThreadCache, claimed: Claimed) {
        self.follow_new_limits(cache);
        if !cache.recent().wants(claimed.size) || self.source.params.get(Param::Perturb) != 0 {
            return self.free_claimed(claimed);
        }
        let mem = claimed.chunk.mem();
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        check!(claimed.chunk.next(claimed.size).head().is_some(), NextHeadOverwritten, mem.addr().get());
        cache.recent().put(mem, claimed.size, |old| self.free_claimed(Self::claimed_of_magazine(old)));
    }

    /// What takes more than a push: a full magazine, a mapped block, a byte to fill with, and whatever is wrong.
    #[inline(never)]
    fn free_cached_otherwise(&self, cache: &mut ThreadCache, mem: NonNull<u8>) {
        let claimed = self.claimed(mem);
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        match Class::of_chunk(claimed.size) {
            Some(class) if claimed.owner() != Owner::Mapped => {
                check!(claimed.chunk.next(claimed.size).head().is_some(), NextHeadOverwritten, mem.addr().get());
                self.put_cached(cache, class, mem);
            }
            _ => self.free_claimed(claimed),
        }
    }

    /// Takes a block of a known class back into the cache.
    #[inline]
    pub(crate) fn put_cached(&self, cache: &mut ThreadCache, class: Class, mem: NonNull<u8>) {
        let byte = self.source.params.get(Param::Perturb);
        if byte != 0 {
            fill(mem, class.chunk().usable(), byte as u8);
        }
        if !cache.push(class, mem) {
            self.put_overflowing(cache, class, mem);
        }
    }

    /// The loaded magazine is full: makes room, and caches the block.
    #[cold]
    #[inline(never)]
    fn put_overflowing(&self, cache: &mut ThreadCache, class: Class, mem: NonNull<u8>) {
        self.follow_limits(cache, class);
        if cache.push(class, mem) {
            return;
        }
        if !cache.keeps(class) {
            return self.free(mem);
        }
        let full = cache.set_loaded_aside(class);
        self.put_away(cache.lane(), full);
        // There is room now.
        let _ = cache.push(class, mem);
    }

    /// A magazine that its thread does not need: to the depot, or to the arenas.
    pub(crate) fn put_away(&self, lane: Lane, magazine: Magazine) {
        if magazine.is_empty() {
            return;
        }
        self.keep_order();
        if let Some(magazine) = self.depot.put(lane, magazine) {
            self.flush(magazine);
        } else if self.depot.is_worth_watching() {
            self.watch();
        }
    }

    /// Frees the blocks of a magazine into their arenas, one lock for all of the same arena.
    pub(crate) fn flush(&self, mut magazine: Magazine) {
        while let Some(first) = magazine.pop() {
            let first = Self::claimed_of_magazine(first);
            match self.arena_of(first) {
                Some(cell) => magazine = self.flush_to(cell, first, magazine),
                None => self.free_claimed(first),
            }
        }
    }

    /// A block that has just left a magazine: its link and its mark have vouched for the address.
    #[inline]
    fn claimed_of_magazine(mem: NonNull<u8>) -> Claimed {
        // SAFETY: a block of ours, which had to carry the mark of a cached one.
        Self::claimed_at(unsafe { ChunkPtr::from_mem(mem) })
    }

    /// As [`claimed_of_magazine`](Self::claimed_of_magazine), if the block lies in the memory that `first` lies in, for that has been
    /// looked at. `None` says nothing.
    #[inline(always)]
    fn near(mem: NonNull<u8>, first: Claimed) -> Option<Claimed> {
        // SAFETY: as for `claimed_of_magazine`.
        let chunk = unsafe { ChunkPtr::from_mem(mem) };
        let head = chunk.head()?;
        let is_near = head.is_like(first.head) && HeapPtr::is_same::<O>(chunk, first.chunk);
        if is_near { Some(Claimed { chunk, size: head.chunk_in_use()?, head }) } else { None }
    }

    /// Frees `first` and all of the same arena in `magazine`; what is left is returned.
    fn flush_to(&self, cell: &ArenaCell, first: Claimed, mut magazine: Magazine) -> Magazine {
        let mut others = Magazine::of(magazine.class());
        let mut row = None;
        // A block of an abandoned arena stays where it is.
        let Some(mut arena) = self.lock(cell) else { return magazine };
        let mut release = Release::NOTHING;
        let mut mem = first.chunk.mem();
        loop {
            // Now under the lock, the first one once more.
            let near = Self::near(mem, first).or_else(|| {
                let claimed = Self::claimed_of_magazine(mem);
                self.arena_of(claimed).filter(|&other| core::ptr::eq(other, cell)).map(|_| claimed)
            });
            if let Some(claimed) = near {
                release = arena.free_in_row(&self.source, &mut row, claimed.chunk, claimed.size);
                if !release.is_empty() {
                    break;
                }
            } else {
                others.push(mem);
            }
            let Some(next) = magazine.pop() else { break };
            mem = next;
            // What the next round reads first: its head, and the head behind it.
            if let Some(next) = magazine.first() {
                prefetch(next.as_ptr());
                prefetch(next.as_ptr().wrapping_add(first.size.get()));
            }
        }
        // A heap goes back, not under the lock; then the rest of the magazine in the next round.
        let last = arena.free_row(&self.source, &mut row);
        let is_worth_watching = arena.is_worth_watching();
        drop(arena);
        release.run(&self.source);
        last.run(&self.source);
        if is_worth_watching {
            self.watch();
        }
        while let Some(mem) = magazine.pop() {
            others.push(mem);
        }
        others
    }

    /// Empties a cache into the depot, or into the arenas where that is full: its thread ends.
    pub(crate) fn put_all_away(&self, cache: &mut ThreadCache) {
        let lane = cache.lane();
        cache.drain(|magazine| self.put_away(lane, magazine));
        self.flush_recent(cache);
    }

    /// Empties a cache into the arenas.
    pub(crate) fn flush_all(&self, cache: &mut ThreadCache) {
        cache.drain(|magazine| self.flush(magazine));
        self.flush_recent(cache);
    }

    /// Frees the blocks that are too long for a class into their arenas.
    fn flush_recent(&self, cache: &mut ThreadCache) {
        cache.recent().drain(|mem| _ = self.free_of_recent(mem));
    }

    /// Frees a block that was among those into its arena. Returns how many bytes that were.
    pub(super) fn free_of_recent(&self, mem: NonNull<u8>) -> usize {
        let claimed = Self::claimed_of_magazine(mem);
        self.free_claimed(claimed);
        claimed.size.get()
    }

    /// While a purge is due, and the clock shows `now`: blocks without a class that a thread has no use for go to their arenas.
    pub(crate) fn age_recent(&self, cache: &mut ThreadCache, now: u64) {
        if cache.recent().is_idle(now) {
            self.flush_recent(cache);
        }
    }

    /// Empties the depot, and the caches that nobody owns, into the arenas.
    pub(crate) fn empty_idle(&self) {
        for idle in self.caches.idle() {
            // SAFETY: acquired by the iterator, and used by nobody else until it is released.
            let mut in_use = unsafe { self.enter(idle) };
            self.flush_all(&mut in_use);
            drop(in_use);
            idle.release();
        }
        self.keep_order();
        self.depot.drain(|magazine| self.flush(magazine));
    }

    /// Blocks that wait in the depot.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn depot_count(&self) -> usize {
        self.depot.count()
    }

    /// See [`Depot::assert_consistent`](crate::depot::Depot::assert_consistent).
    #[cfg(any(test, fuzzing))]
    pub(crate) fn assert_depot_consistent(&self) {
        self.depot.assert_consistent();
    }

    /// Bytes that wait in the depot.
    pub(crate) fn depot_bytes(&self) -> usize {
        self.depot.bytes()
    }

    /// Before a fork: takes every lock.
    pub(crate) fn begin_fork(&self) {
        self.clock.begin_fork();
        // SAFETY: the raw lock is released by `end_fork`.
        unsafe { self.caches.gate.raw() }.lock_for_fork();
        self.arenas.begin_making();
        self.depot.begin_fork();
        self.arenas.begin_fork();
        #[cfg(feature = "hardened")]
        // SAFETY: the raw lock is released by `end_fork`.
        unsafe { self.quarantine.raw() }.lock_for_fork();
    }

    /// After a fork, in the parent or in the child.
    pub(crate) fn end_fork(&self) {
        #[cfg(feature = "hardened")]
        // SAFETY: taken by `begin_fork` in this thread, or in the one that this is a copy of.
        unsafe { self.quarantine.raw() }.release_after_fork();
        self.arenas.end_fork();
        self.depot.end_fork();
        self.arenas.end_making();
        // SAFETY: taken by `begin_fork` in this thread, or in the one that this is a copy of.
        unsafe { self.caches.gate.raw() }.release_after_fork();
        self.clock.end_fork();
    }
}
