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
//!
//! # Safety
//!
//! A caller's pointer is a block of this allocator, and is looked at before it is believed; blocks are filled and copied
//! within their lengths.
#![allow(unsafe_code)]

mod cached;
mod idle;
mod order;
mod purge;
mod trim;

use core::ptr::NonNull;

use crate::arena::{Arena, ArenaFigures, Block};
use crate::arenas::{ArenaCell, Arenas};
use crate::chunk::{ChunkPtr, Head, MEM_OFFSET, Owner};
use crate::class::Class;
use crate::depot::Depot;
use crate::fatal::{Misuse, check, fatal};
#[cfg(feature = "hardened")]
use crate::guarded::quarantine::Quarantine;
use crate::heap::HeapPtr;
use crate::magazine;
use crate::mapped::{self, Mapped, MappedStats};
use crate::options::Param;
use crate::os::Os;
use crate::size::{ALIGNMENT, ChunkSize};
use crate::source::Source;
#[cfg(feature = "hardened")]
use crate::sync::Mutex;
use crate::tcache::Caches;
use purge::Clock;

/// Bytes in the depot for which it is looked through before an arena grows.
const WORTH_DRAINING: usize = 128 << 10;

/// Free bytes of an arena from which other arenas' threads help themselves before their own grows.
const WORTH_TAKING: usize = 256 << 10;

/// So many arenas are asked. With four, a process that reckoned with 64 cores and had 16 arenas ended the control plane's 200
/// rounds at 2.7 times its live bytes, with 32 at 1.4.
const MOST_ASKED: usize = 32;

/// An allocator over the memory source `O`.
#[derive(Debug)]
pub(crate) struct Malloc<O: Os> {
    pub(crate) source: Source<O>,
    pub(crate) arenas: Arenas,
    pub(crate) caches: Caches,
    depot: Depot,
    mapped: Mapped,
    clock: Clock,
    /// Freed blocks that wait before they are used again.
    #[cfg(feature = "hardened")]
    pub(crate) quarantine: Mutex<Quarantine>,
}

/// What a caller's pointer turned out to be.
#[derive(Clone, Copy)]
struct Claimed {
    chunk: ChunkPtr,
    size: ChunkSize,
    head: Head,
}

impl Claimed {
    #[inline]
    fn owner(self) -> Owner {
        self.head.owner()
    }

    fn usable(self) -> usize {
        match self.owner() {
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
    pub(crate) const fn new(os: O) -> Self {
        Self {
            source: Source::new(os),
            arenas: Arenas::new(),
            caches: Caches::new(),
            depot: Depot::new(),
            mapped: Mapped::new(),
            clock: Clock::new(),
            #[cfg(feature = "hardened")]
            quarantine: <Mutex<Quarantine>>::new(Quarantine::new()),
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
        let present = self.lock(home).and_then(|mut arena| arena.allocate_present(size));
        let block = match present {
            Some(block) => Some(block),
            None => self.allocate_growing(home, size),
        };
        match block {
            Some(block) => Some(self.hand_out(block, contents)),
            None => self.allocate_elsewhere(home, size, contents),
        }
    }

    /// The arena has no such chunk: what waits elsewhere may be one, or become one; else the arena grows.
    #[inline(never)]
    fn allocate_growing(&self, home: &ArenaCell, size: ChunkSize) -> Option<Block> {
        if let Some(block) = self.spare_growth(home, size, |arena| arena.allocate_present(size)) {
            return Some(block);
        }
        self.lock(home)?.allocate(&self.source, size)
    }

    /// The arena `home` is about to ask the system for more, for a chunk of `size`. First those that have much free memory are
    /// asked, as far as nobody is busy there: so what threads that are gone have left is used up. Then what waits in the depot
    /// and is of no use there gets a chance to become a chunk that is large enough. Small blocks hardly ever become a large
    /// one: for that the depot is left as it is, unless the arena would grow beyond what it ever had.
    #[cold]
    fn spare_growth<T>(
        &self,
        home: &ArenaCell,
        size: ChunkSize,
        mut take: impl FnMut(&mut Arena) -> Option<T>,
    ) -> Option<T> {
        let taken = self.take_from_others(home, &mut take);
        let is_worth_it = || {
            let is_new_high = || self.lock(home).is_some_and(|arena| arena.is_as_large_as_ever());
            self.depot.bytes() >= WORTH_DRAINING && (Class::of_request(size.usable()).is_some() || is_new_high())
        };
        if taken.is_some() || !is_worth_it() {
            return taken;
        }
        self.keep_order();
        if self.depot.drain_unused(|magazine| self.flush(magazine)) == 0 {
            return None;
        }
        let taken = self.lock(home).and_then(|mut arena| take(&mut arena));
        taken.or_else(|| self.take_from_others(home, take))
    }

    /// What `take` gets from one of the arenas but `home`.
    fn take_from_others<T>(&self, home: &ArenaCell, mut take: impl FnMut(&mut Arena) -> Option<T>) -> Option<T> {
        let others = self.arenas.iter().filter(|&cell| !core::ptr::eq(cell, home));
        others
            .filter_map(ArenaCell::try_lock_foreign)
            .take(MOST_ASKED)
            .find_map(|mut arena| if arena.free_bytes() >= WORTH_TAKING { take(&mut arena) } else { None })
    }

    #[cold]
    fn allocate_elsewhere(&self, home: &ArenaCell, size: ChunkSize, contents: Contents) -> Option<NonNull<u8>> {
        for cell in self.arenas.iter().filter(|&cell| !core::ptr::eq(cell, home)) {
            let block = self.lock(cell).and_then(|mut arena| arena.allocate(&self.source, size));
            if let Some(block) = block {
                return Some(self.hand_out(block, contents));
            }
        }
        if let Some(chunk) = self.mapped.map(&self.source, size.usable(), ALIGNMENT) {
            return Some(self.hand_out_mapped(chunk, contents));
        }
        if !self.wait_for_purges() {
            return None;
        }
        let block = self.lock(home)?.allocate(&self.source, size)?;
        Some(self.hand_out(block, contents))
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
        ChunkSize::for_request(bytes.checked_add(alignment)?)?;
        // Each by itself: the moving threshold follows the length of a block without its alignment.
        let wants_mapping = |len| self.mapped.wants(&self.source, len);
        if (wants_mapping(size) || wants_mapping(ChunkSize::for_request(alignment)?))
            && let Some(chunk) = self.mapped.map(&self.source, bytes, alignment)
        {
            return Some(self.hand_out_mapped(chunk, contents));
        }
        let present = |arena: &mut Arena| arena.allocate_aligned_present(&self.source, size, alignment);
        let found = self.lock(home).and_then(|mut arena| present(&mut arena));
        if let Some((block, release)) = found.or_else(|| self.spare_growth(home, size, present)) {
            release.run(&self.source);
            return Some(self.hand_out(block, contents));
        }
        let others = self.arenas.iter().filter(|&cell| !core::ptr::eq(cell, home));
        for cell in core::iter::once(home).chain(others) {
            let found = self.lock(cell).and_then(|mut arena| arena.allocate_aligned(&self.source, size, alignment));
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
        let head = address.wrapping_sub(size_of::<usize>());
        check!(
            self.source.knows(address.wrapping_sub(MEM_OFFSET))
                || self.mapped.knows(address)
                || self.source.os.is_readable(head),
            NoMemory,
            address
        );
        // SAFETY: aligned, and there is memory before it; a caller passes what it was handed out.
        Self::claimed_at(unsafe { ChunkPtr::from_mem(mem) })
    }

    #[inline]
    fn claimed_at(chunk: ChunkPtr) -> Claimed {
        let address = chunk.mem().addr().get();
        let Some((head, size)) = chunk.head().and_then(|head| Some((head, head.size()?))) else {
            fatal(Misuse::InvalidPointer, address)
        };
        check!(!head.is_free(), DoubleFree, address);
        Claimed { chunk, size, head }
    }

    /// The arena that a block lies in, if it is not a mapped one.
    #[inline]
    fn arena_of(&self, claimed: Claimed) -> Option<&ArenaCell> {
        match claimed.owner() {
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
        let claimed = self.claimed(mem);
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        self.free_claimed(claimed);
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
        // A block of an abandoned arena stays where it is.
        let Some(mut arena) = self.lock(cell) else { return };
        let release = arena.free(&self.source, claimed.chunk);
        let is_worth_watching = arena.is_worth_watching();
        drop(arena);
        release.run(&self.source);
        if is_worth_watching {
            self.watch();
        }
    }

    /// Ends the process unless a block can be the one that was asked for with `bytes` and `alignment`: at least as long,
    /// and, in an arena, not longer than rounding makes it.
    #[cfg(all(not(any(test, feature = "hardened")), any(feature = "preload", feature = "override")))]
    pub(crate) fn check_size(&self, mem: NonNull<u8>, bytes: usize, alignment: usize) {
        let claimed = self.claimed(mem);
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        let is_aligned = alignment.is_power_of_two() && mem.addr().get().is_multiple_of(alignment);
        let is_as_long = bytes <= claimed.usable()
            && (claimed.owner() == Owner::Mapped || {
                // Classes round up by an eighth at most, and a rest too short for a chunk stays where it is.
                let most = bytes + bytes / 8 + 4 * ALIGNMENT;
                claimed.usable() <= most
            });
        check!(is_aligned && is_as_long, WrongSize, mem.addr().get());
    }

    /// Bytes of a block, after a look at its head and at whether it was freed.
    #[cfg(feature = "hardened")]
    pub(crate) fn checked_usable(&self, mem: NonNull<u8>) -> usize {
        let claimed = self.claimed(mem);
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        claimed.usable()
    }

    /// Whether a block has a mapping of its own.
    #[cfg(feature = "hardened")]
    pub(crate) fn is_mapped(&self, mem: NonNull<u8>) -> bool {
        self.claimed(mem).owner() == Owner::Mapped
    }

    /// Ends the process if the head behind a block in an arena was overwritten.
    #[cfg(feature = "hardened")]
    pub(crate) fn check_neighbour(&self, mem: NonNull<u8>) {
        let claimed = self.claimed(mem);
        let is_whole = claimed.owner() == Owner::Mapped || claimed.chunk.next(claimed.size).head().is_some();
        check!(is_whole, NextHeadOverwritten, mem.addr().get());
    }

    /// Bytes that the caller may write to a block.
    #[cfg(any(test, fuzzing, all(not(feature = "hardened"), any(feature = "preload", feature = "override"))))]
    pub(crate) fn usable_len(&self, mem: NonNull<u8>) -> usize {
        let claimed = self.claimed(mem);
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
        claimed.usable()
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
        let claimed = self.claimed(mem);
        check!(!magazine::is_cached(mem), DoubleFree, mem.addr().get());
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
        let Some(moved) = moved else {
            // No memory: what was to become longer stays as it is, what was to become shorter is cut off where it is.
            let is_shorter = bytes <= claimed.usable();
            return is_shorter.then(|| self.resize(claimed, bytes, ALIGNMENT).flatten().unwrap_or(mem));
        };
        let len = claimed.usable().min(bytes);
        // SAFETY: two blocks in use, both at least `len` long.
        unsafe {
            moved.copy_from_nonoverlapping(mem, len);
        }
        free();
        Some(moved)
    }

    fn resize_in_arena(&self, cell: &ArenaCell, claimed: Claimed, size: ChunkSize) -> Option<NonNull<u8>> {
        // A large block does not become a small one where it is: freed, that would go from cache to user and back for ever, and
        // keep what lies around it from becoming one chunk.
        if size < ChunkSize::LARGE && claimed.size >= ChunkSize::LARGE {
            return None;
        }
        let may_grow = !self.mapped.wants(&self.source, size);
        let mut arena = self.lock(cell)?;
        let (done, release) = arena.resize(&self.source, claimed.chunk, size, may_grow);
        drop(arena);
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

    /// Calls `visit` with the figures of every arena, the main one first.
    pub(crate) fn for_each_arena(&self, mut visit: impl FnMut(&ArenaCell, ArenaFigures)) {
        for cell in self.arenas.iter() {
            let figures = self.lock(cell).map(|arena| arena.figures());
            if let Some(figures) = figures {
                visit(cell, figures);
            }
        }
    }

    /// The figures of the mapped blocks.
    pub(crate) fn mapped_stats(&self) -> MappedStats {
        self.mapped.stats()
    }
}

/// Fills `len` bytes of a block.
#[inline]
fn fill(mem: NonNull<u8>, len: usize, byte: u8) {
    // SAFETY: the callers fill what belongs to a block that is being handed out or taken back.
    unsafe { mem.write_bytes(byte, len) }
}
