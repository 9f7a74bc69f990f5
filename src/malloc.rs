//! The allocator: requests in, blocks out, over any memory source.
//!
//! ```text
//!   allocate --> big?  --yes--> a mapping of its own
//!                  |no
//!                  v
//!                the thread's arena --(out of memory)--> every other arena --> a mapping after all --> None
//!
//!   free     --> the head says where the block lies --> unmap | the arena of its heap | the main arena
//! ```
//!
//! A block is freed into the arena that it came from, whichever thread frees it. What a caller passes is looked at
//! before any lock is taken: the pointer's alignment, the seal of the head before it, and whether a heap of ours lies
//! where the head says.

use core::ptr::NonNull;

#[cfg(test)]
use crate::arena::ChunkState;
use crate::arena::{ArenaStats, Block};
use crate::arenas::{ArenaCell, Arenas};
use crate::chunk::{ChunkPtr, Owner};
use crate::class::Class;
use crate::depot::Depot;
use crate::fatal::{Misuse, check, fatal};
use crate::heap::{HeapPtr, HeapTable};
use crate::magazine::{self, Magazine};
use crate::mapped::{self, Mapped, MappedStats};
use crate::options::Param;
use crate::os::Os;
use crate::size::{ALIGNMENT, ChunkSize};
use crate::source::Source;
use crate::tcache::{Caches, ThreadCache};

/// Bytes in the depot for which it is emptied before an arena grows.
const WORTH_EMPTYING: usize = 128 << 10;

/// An allocator over the memory source `O`.
#[derive(Debug)]
pub(crate) struct Malloc<O> {
    pub(crate) source: Source<O>,
    pub(crate) arenas: Arenas,
    pub(crate) caches: Caches,
    depot: Depot,
    mapped: Mapped,
}

/// What a caller's pointer turned out to be.
#[derive(Clone, Copy)]
struct Claimed {
    chunk: ChunkPtr,
    size: ChunkSize,
    owner: Owner,
}

impl Claimed {
    fn usable(self) -> usize {
        match self.owner {
            Owner::Mapped => mapped::usable(self.size),
            Owner::Main | Owner::Heap => self.size.usable(),
        }
    }
}

/// What a request wants of its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    Any,
    Zero,
}

impl<O: Os> Malloc<O> {
    pub(crate) const fn new(os: O, heaps: HeapTable) -> Self {
        Self {
            source: Source::new(os, heaps),
            arenas: Arenas::new(),
            caches: Caches::new(),
            depot: Depot::new(),
            mapped: Mapped::new(),
        }
    }

    /// `bytes` of memory at a multiple of 16, from the arena `home` if that has them. `None` when no memory is left, or
    /// more is asked for than any could be.
    #[inline]
    pub(crate) fn allocate(&self, home: &ArenaCell, bytes: usize, contents: Contents) -> Option<NonNull<u8>> {
        let size = ChunkSize::for_request(bytes)?;
        if self.mapped.wants(&self.source, size)
            && let Some(chunk) = self.mapped.map(&self.source, bytes, ALIGNMENT)
        {
            return Some(self.hand_out_mapped(chunk, contents));
        }
        let present = home.lock().allocate_present(size);
        let block = present.or_else(|| {
            self.empty_depot_before_growth();
            home.lock().allocate(&self.source, size)
        });
        match block {
            Some(block) => Some(self.hand_out(block, contents)),
            None => self.allocate_elsewhere(home, size, contents),
        }
    }

    /// An arena is about to ask the system for more: first what waits in the depot is given a chance to become a chunk
    /// that is large enough.
    #[cold]
    fn empty_depot_before_growth(&self) {
        if self.depot.bytes() >= WORTH_EMPTYING {
            self.empty_depot();
        }
    }

    #[cold]
    fn allocate_elsewhere(&self, home: &ArenaCell, size: ChunkSize, contents: Contents) -> Option<NonNull<u8>> {
        for cell in self.arenas.iter().filter(|&cell| !core::ptr::eq(cell, home)) {
            let block = cell.lock().allocate(&self.source, size);
            if let Some(block) = block {
                return Some(self.hand_out(block, contents));
            }
        }
        let chunk = self.mapped.map(&self.source, size.usable(), ALIGNMENT)?;
        Some(self.hand_out_mapped(chunk, contents))
    }

    /// As [`allocate`](Self::allocate), at a multiple of `alignment`, a power of two.
    pub(crate) fn allocate_aligned(
        &self,
        home: &ArenaCell,
        bytes: usize,
        alignment: usize,
        contents: Contents,
    ) -> Option<NonNull<u8>> {
        debug_assert!(alignment.is_power_of_two());
        if alignment <= ALIGNMENT {
            return self.allocate(home, bytes, contents);
        }
        let size = ChunkSize::for_request(bytes)?;
        // Both together have to be possible: the chunk is cut out of one that is longer by the alignment.
        let ample = ChunkSize::for_request(bytes.checked_add(alignment)?)?;
        if self.mapped.wants(&self.source, ample)
            && let Some(chunk) = self.mapped.map(&self.source, bytes, alignment)
        {
            return Some(self.hand_out_mapped(chunk, contents));
        }
        let others = self.arenas.iter().filter(|&cell| !core::ptr::eq(cell, home));
        for cell in core::iter::once(home).chain(others) {
            let found = cell.lock().allocate_aligned(&self.source, size, alignment);
            if let Some((block, release)) = found {
                release.run(&self.source);
                return Some(self.hand_out(block, contents));
            }
        }
        let chunk = self.mapped.map(&self.source, bytes, alignment)?;
        Some(self.hand_out_mapped(chunk, contents))
    }

    #[inline]
    fn hand_out(&self, block: Block, contents: Contents) -> NonNull<u8> {
        let mem = block.chunk.mem();
        match contents {
            Contents::Zero => fill(mem, block.dirty, 0),
            Contents::Any => self.perturb_allocated(block.chunk),
        }
        mem
    }

    fn hand_out_mapped(&self, chunk: ChunkPtr, contents: Contents) -> NonNull<u8> {
        if contents == Contents::Any {
            self.perturb_allocated(chunk);
        }
        chunk.mem()
    }

    /// `M_PERTURB`: memory that is handed out holds the complement of the byte, unless it is to be zero.
    #[inline]
    fn perturb_allocated(&self, chunk: ChunkPtr) {
        let byte = self.source.params.get(Param::Perturb);
        if byte != 0 {
            let claimed = self.claimed(chunk.mem());
            fill(chunk.mem(), claimed.usable(), !byte as u8);
        }
    }

    #[inline]
    fn claimed(&self, mem: NonNull<u8>) -> Claimed {
        let address = mem.addr().get();
        check!(address.is_multiple_of(ALIGNMENT), MisalignedPointer, address);
        // SAFETY: aligned, and a caller passes what it was handed out: there is a head before it.
        #[allow(unsafe_code)]
        let chunk = unsafe { ChunkPtr::from_mem(mem) };
        let Some((head, size)) = chunk.head().and_then(|head| Some((head, head.size()?))) else {
            fatal(Misuse::InvalidPointer, address)
        };
        check!(!head.is_free(), DoubleFree, address);
        let owner = head.owner();
        Claimed { chunk, size, owner }
    }

    /// The arena that a block lies in, if it is not a mapped one.
    #[inline]
    fn arena_of(&self, claimed: Claimed) -> Option<&ArenaCell> {
        match claimed.owner {
            Owner::Main => Some(self.arenas.main()),
            Owner::Heap => {
                let Some(heap) = HeapPtr::containing(&self.source, claimed.chunk) else {
                    fatal(Misuse::ForeignHeap, claimed.chunk.mem().addr().get())
                };
                Some(self.arenas.of_heap(heap))
            }
            Owner::Mapped => None,
        }
    }

    /// Takes back a block that this allocator has handed out, and that was not given back since; anything else that is
    /// recognised as such ends the process.
    #[inline]
    pub(crate) fn free(&self, mem: NonNull<u8>) {
        check!(mem.addr().get().is_multiple_of(ALIGNMENT), MisalignedPointer, mem.addr().get());
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        self.free_claimed(self.claimed(mem));
    }

    fn free_claimed(&self, claimed: Claimed) {
        let mem = claimed.chunk.mem();
        let Some(cell) = self.arena_of(claimed) else {
            return self.mapped.unmap(&self.source, claimed.chunk, claimed.size);
        };
        let byte = self.source.params.get(Param::Perturb);
        if byte != 0 {
            fill(mem, claimed.usable(), byte as u8);
        }
        let release = cell.lock().free(&self.source, claimed.chunk);
        release.run(&self.source);
    }

    /// Bytes that the caller may write to a block.
    #[cfg(any(test, feature = "preload", feature = "override"))]
    pub(crate) fn usable_len(&self, mem: NonNull<u8>) -> usize {
        self.claimed(mem).usable()
    }

    /// Makes a block `bytes` long, where it is or elsewhere, at a multiple of `alignment` either way. It keeps its
    /// contents up to the shorter length. `None`, and the block is as it was, when no memory is left.
    pub(crate) fn reallocate(
        &self,
        home: &ArenaCell,
        mem: NonNull<u8>,
        bytes: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        let claimed = self.claimed(mem);
        if let Some(same) = self.resize(claimed, bytes, alignment)? {
            return Some(same);
        }
        let moved = self.allocate_aligned(home, bytes, alignment, Contents::Any);
        self.finish_move(claimed, bytes, moved, || self.free_claimed(claimed))
    }

    /// The outer `None` says that no block can be that long, the inner that this one has to move.
    #[inline]
    #[expect(clippy::option_option, reason = "impossible, elsewhere, or here")]
    fn resize(&self, claimed: Claimed, bytes: usize, alignment: usize) -> Option<Option<NonNull<u8>>> {
        let size = ChunkSize::for_request(bytes)?;
        Some(match self.arena_of(claimed) {
            Some(cell) => self.resize_in_arena(cell, claimed, size),
            None => self.resize_mapping(claimed, size, bytes, alignment),
        })
    }

    /// Copies a block to where it has moved, and frees it. What only was to become shorter may stay if it could not.
    #[inline]
    fn finish_move(
        &self,
        claimed: Claimed,
        bytes: usize,
        moved: Option<NonNull<u8>>,
        free: impl FnOnce(),
    ) -> Option<NonNull<u8>> {
        let mem = claimed.chunk.mem();
        let Some(moved) = moved else { return (bytes <= claimed.usable()).then_some(mem) };
        let len = claimed.usable().min(bytes);
        // SAFETY: two blocks in use, both at least `len` long.
        #[allow(unsafe_code)]
        unsafe {
            moved.copy_from_nonoverlapping(mem, len);
        }
        free();
        Some(moved)
    }

    fn resize_in_arena(&self, cell: &ArenaCell, claimed: Claimed, size: ChunkSize) -> Option<NonNull<u8>> {
        let may_grow = !self.mapped.wants(&self.source, size);
        let (done, release) = cell.lock().resize(&self.source, claimed.chunk, size, may_grow);
        release.run(&self.source);
        done.then(|| claimed.chunk.mem())
    }

    fn resize_mapping(&self, claimed: Claimed, size: ChunkSize, bytes: usize, alignment: usize) -> Option<NonNull<u8>> {
        // Far below the threshold a mapping of its own is a waste of most of a page, and of a system call at its end.
        if size.get() < self.source.params.get(Param::MmapThreshold) / 4 {
            return None;
        }
        let may_move = alignment <= self.source.os.page_len();
        let chunk = self.mapped.remap(&self.source, claimed.chunk, claimed.size, bytes, may_move)?;
        Some(chunk.mem())
    }

    /// Gives back whatever can be given back, leaving `pad` bytes at the top of each arena. What the calling thread has
    /// cached, what nobody's cache holds, and the depot go to the arenas first. Returns how many bytes were given back.
    pub(crate) fn trim(&self, cache: Option<&mut ThreadCache>, pad: usize) -> usize {
        let before = self.system();
        if let Some(cache) = cache {
            self.flush_all(cache);
        }
        self.empty_idle();
        self.source.retry_releases();
        let mut purged = 0;
        for cell in self.arenas.iter() {
            let (len, release) = cell.lock().trim(&self.source, pad);
            release.run(&self.source);
            purged += len;
        }
        purged + before.saturating_sub(self.system())
    }

    /// Usable bytes that all arenas have from the system.
    fn system(&self) -> usize {
        let mut system = 0;
        self.for_each_arena(|_, stats| system += stats.counts.system);
        system
    }

    /// Calls `visit` with the figures of every arena, the main one first.
    pub(crate) fn for_each_arena(&self, mut visit: impl FnMut(&ArenaCell, ArenaStats)) {
        for cell in self.arenas.iter() {
            let stats = cell.lock().stats();
            visit(cell, stats);
        }
    }

    /// The figures of the mapped blocks.
    pub(crate) fn mapped_stats(&self) -> MappedStats {
        self.mapped.stats()
    }

    /// Calls `visit` with every chunk of every arena, under its arena's lock: `visit` must not allocate.
    #[cfg(test)]
    pub(crate) fn for_each_chunk(&self, mut visit: impl FnMut(NonNull<u8>, ChunkSize, ChunkState)) {
        for cell in self.arenas.iter() {
            cell.lock().for_each_chunk(&mut |chunk, size, state| visit(chunk.mem(), size, state));
        }
    }
}

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
        let mem = self.allocate_aligned(cache.arena(), bytes, alignment, contents);
        self.leave_crowd(cache);
        mem
    }

    /// Makes a block longer or shorter; see [`reallocate`](Self::reallocate). Small blocks move within the cache.
    pub(crate) fn reallocate_cached(
        &'static self,
        cache: &mut ThreadCache,
        mem: NonNull<u8>,
        bytes: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        let claimed = self.claimed(mem);
        let new_class = Class::of_request(bytes).filter(|_| alignment <= ALIGNMENT);
        let old_class = Class::of_chunk(claimed.size).filter(|_| claimed.owner != Owner::Mapped);
        let moved = match (old_class, new_class) {
            (Some(old), Some(new)) if old == new && old.is_small() => return Some(mem),
            (Some(old), Some(new)) if old.is_small() && new.is_small() && cache.keeps(new) => {
                self.allocate_cached(cache, new, Contents::Any)
            }
            (_, new_class) => {
                if let Some(same) = self.resize(claimed, bytes, alignment)? {
                    return Some(same);
                }
                match new_class {
                    Some(class) => self.allocate_cached(cache, class, Contents::Any),
                    None => self.allocate_uncached(cache, bytes, alignment, Contents::Any),
                }
            }
        };
        self.finish_move(claimed, bytes, moved, || self.free_cached(cache, mem))
    }

    /// The thread's arena has been crowded lately: perhaps there is a better one.
    #[inline]
    fn leave_crowd(&'static self, cache: &mut ThreadCache) {
        let home = cache.arena();
        if home.take_crowded() {
            cache.set_arena(self.arenas.move_from(&self.source, home));
        }
    }

    /// Gives a cache the limits that the parameters set.
    pub(crate) fn limit(&self, cache: &mut ThreadCache) {
        cache.set_limits(self.source.params.get(Param::TcacheCount), self.source.params.get(Param::TcacheMax));
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
        match contents {
            Contents::Zero => fill(mem, class.chunk().usable(), 0),
            Contents::Any => {
                let byte = self.source.params.get(Param::Perturb);
                if byte != 0 {
                    fill(mem, class.chunk().usable(), !byte as u8);
                }
            }
        }
        Some(mem)
    }

    /// The loaded magazine is empty: fills it, and returns a block.
    #[cold]
    #[inline(never)]
    fn refill(&'static self, cache: &mut ThreadCache, class: Class) -> Option<NonNull<u8>> {
        if cache.load_spare(class) {
            return cache.pop(class);
        }
        if !cache.keeps(class) || self.mapped.wants(&self.source, class.chunk()) {
            return self.allocate(cache.arena(), class.chunk().usable(), Contents::Any);
        }
        if let Some(magazine) = self.depot.take(class) {
            cache.load(class, magazine);
            return cache.pop(class);
        }
        let mut more = Magazine::EMPTY;
        let count = cache.next_batch(class);
        let home = cache.arena();
        // An arena that is free at the moment; the own one if it is, or if none is.
        let others = self.arenas.iter().filter(|&cell| !core::ptr::eq(cell, home));
        let mut arena = home
            .try_lock()
            .or_else(|| others.into_iter().find_map(ArenaCell::try_lock_foreign))
            .unwrap_or_else(|| home.lock_waiting());
        let mut first = arena.allocate_batch(class.chunk(), count, &mut more);
        if first.is_none() {
            drop(arena);
            self.empty_depot_before_growth();
            arena = home.lock();
            first = arena.allocate_batch_growing(&self.source, class.chunk(), count, &mut more);
        }
        drop(arena);
        cache.load(class, more);
        self.leave_crowd(cache);
        match first {
            Some(chunk) => Some(chunk.mem()),
            None => self.allocate_elsewhere(home, class.chunk(), Contents::Any),
        }
    }

    /// The class of a block that lies in an arena and is small, if its head is in order; `None` for anything else, which
    /// takes a closer look.
    #[cfg(all(not(test), any(feature = "preload", feature = "override")))]
    #[inline(always)]
    pub(crate) fn small_class_of(&self, mem: NonNull<u8>) -> Option<Class> {
        if !mem.addr().get().is_multiple_of(ALIGNMENT) {
            return None;
        }
        // SAFETY: aligned, and a caller passes what it was handed out: there is a head before it.
        #[allow(unsafe_code)]
        let chunk = unsafe { ChunkPtr::from_mem(mem) };
        Class::of_small_chunk(chunk.head()?.size_in_use()?)
    }

    /// Takes a block back, into the cache if it has a class.
    #[inline]
    pub(crate) fn free_cached(&self, cache: &mut ThreadCache, mem: NonNull<u8>) {
        let claimed = self.claimed(mem);
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        match Class::of_chunk(claimed.size) {
            Some(class) if claimed.owner != Owner::Mapped => self.put_cached(cache, class, mem),
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
        if !cache.keeps(class) {
            return self.free(mem);
        }
        let full = cache.set_loaded_aside(class);
        self.put_away(class, full);
        // There is room now.
        let _ = cache.push(class, mem);
    }

    /// A magazine that its thread does not need: to the depot, or to the arenas.
    pub(crate) fn put_away(&self, class: Class, magazine: Magazine) {
        if !magazine.is_empty()
            && let Some(magazine) = self.depot.put(class, magazine)
        {
            self.flush(magazine);
        }
    }

    /// Frees the blocks of a magazine into their arenas, one lock for all of the same arena.
    pub(crate) fn flush(&self, mut magazine: Magazine) {
        while let Some(first) = magazine.pop() {
            let first = self.claimed(first);
            match self.arena_of(first) {
                Some(cell) => magazine = self.flush_to(cell, first, magazine),
                None => self.free_claimed(first),
            }
        }
    }

    /// Frees `first` and all of the same arena in `magazine`; what is left is returned.
    fn flush_to(&self, cell: &ArenaCell, first: Claimed, mut magazine: Magazine) -> Magazine {
        let mut others = Magazine::EMPTY;
        let mut row = None;
        let mut arena = cell.lock();
        let mut release = arena.free_in_row(&self.source, &mut row, first.chunk);
        while release.is_empty()
            && let Some(mem) = magazine.pop()
        {
            let claimed = self.claimed(mem);
            if self.arena_of(claimed).is_some_and(|other| core::ptr::eq(other, cell)) {
                release = arena.free_in_row(&self.source, &mut row, claimed.chunk);
            } else {
                others.push(mem);
            }
        }
        // A heap goes back, not under the lock; then the rest of the magazine in the next round.
        let last = arena.free_row(&self.source, &mut row);
        drop(arena);
        release.run(&self.source);
        last.run(&self.source);
        while let Some(mem) = magazine.pop() {
            others.push(mem);
        }
        others
    }

    /// Empties a cache into the depot, or into the arenas where that is full: its thread ends.
    pub(crate) fn put_all_away(&self, cache: &mut ThreadCache) {
        cache.drain(|class, magazine| self.put_away(class, magazine));
    }

    /// Empties a cache into the arenas.
    pub(crate) fn flush_all(&self, cache: &mut ThreadCache) {
        cache.drain(|_, magazine| self.flush(magazine));
    }

    /// Empties the depot, and the caches that nobody owns, into the arenas.
    #[allow(unsafe_code)]
    pub(crate) fn empty_idle(&self) {
        for idle in self.caches.idle() {
            // SAFETY: acquired by the iterator, and used by nobody else until it is released.
            self.flush_all(unsafe { idle.cache() });
            idle.release();
        }
        self.empty_depot();
    }

    fn empty_depot(&self) {
        for class in Class::all() {
            while let Some(magazine) = self.depot.take(class) {
                self.flush(magazine);
            }
        }
    }

    /// Blocks that wait in the depot.
    #[cfg(test)]
    pub(crate) fn depot_count(&self) -> usize {
        self.depot.count()
    }

    /// Bytes that wait in the depot.
    pub(crate) fn depot_bytes(&self) -> usize {
        self.depot.bytes()
    }

    /// Before a fork: takes every lock.
    pub(crate) fn begin_fork(&self) {
        self.arenas.begin_making();
        self.depot.begin_fork();
        self.arenas.begin_fork();
    }

    /// After a fork, in the parent or in the child.
    pub(crate) fn end_fork(&self) {
        self.arenas.end_fork();
        self.depot.end_fork();
        self.arenas.end_making();
    }
}

/// Fills `len` bytes of a block.
#[inline]
#[allow(unsafe_code)]
fn fill(mem: NonNull<u8>, len: usize, byte: u8) {
    // SAFETY: the callers fill what belongs to a block that is being handed out or taken back.
    unsafe { mem.write_bytes(byte, len) }
}
