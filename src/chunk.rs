//! Chunks: the boundary tags.
//!
//! The heap is a row of chunks without gaps. A chunk in use costs one word, its *head*; a free chunk keeps everything
//! else in the memory that nobody uses. The word before the head belongs to the chunk before as long as that one is in
//! use, and holds its size (the *footer*) once it is free, so that a chunk finds both its neighbours:
//!
//! ```text
//!               in use                          free, small                     free, large
//!  chunk ->  | user data of the one before |  | user data of the one before |  | user data of the one before |
//!            | head: size, flags, seal     |  | head                        |  | head                        |
//!    mem ->  | user data                   |  | next on the list            |  | next of the same size       |
//!            |                             |  | previous on the list        |  | previous of the same size   |
//!            |                             |  | (unused)                    |  | two children in the tree    |
//!            |                             |  |                             |  | place in the tree           |
//!            |                             |  |                             |  | dirty pages (if any whole)  |
//!   next ->  | user data                   |  | footer: size                |  | footer: size                |
//!            | head: PREV_IN_USE set       |  | head: PREV_IN_USE clear     |  | head: PREV_IN_USE clear     |
//!
//!  head      63       48 47       46             4   3      2         1        0
//!            |   seal   | IN_REGION | size / 16    | FREE | IN_HEAP | MAPPED | PREV_IN_USE |
//! ```
//!
//! - A *fence* is a head of size 0: the end of a run of chunks. Nothing lies behind it, and it counts as in use.
//! - `FREE` says of a chunk itself what `PREV_IN_USE` of its neighbour says as well, so that a block that is freed twice is
//!   known by its own head, without a lock.
//! - `IN_REGION` says that the chunk lies in a region, where small chunks live together. A region stands between two
//!   *walls*: heads without a chunk, `MAPPED` and `IN_HEAP` both, that hold its length where others hold a size. A wall
//!   counts as in use.
//! - Of a free chunk's whole pages those that have been touched since the system gave them are its *dirty* ones, kept as
//!   one range that holds them all. Every other whole page inside it is zero, and takes no memory.
//! - The *seal* covers everything but `PREV_IN_USE`: the holder of the arena's lock flips
//!   that bit of a neighbour while a thread without the lock may be reading the word. For the same reason heads are
//!   relaxed atomics. Only the lock's holder changes a head.
//! - A head that stops being one (its chunk was absorbed by a neighbour) is erased, so that a stale pointer to it is
//!   found out.
//!
//! # Safety
//!
//! All pointer arithmetic on chunks is here. A [`ChunkPtr`] is made by `unsafe` only, for an address at which a chunk
//! stands; its methods are safe to call as long as that holds, and the arena's code upholds it: it makes neighbours from
//! sizes that a seal has vouched for, and forgets a `ChunkPtr` when it gives up the memory. An access to a word that
//! chunk memory must have is the only unsafe operation here.
#![allow(unsafe_code)]

mod free;

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::secret::{SEAL_MASK, seal};
use crate::size::{ALIGNMENT, ChunkSize, MAX_CHUNK, MIN_CHUNK, MIN_LARGE};
pub(crate) use free::{FreeChunk, Place};

const WORD: usize = size_of::<usize>();
/// Bytes that a wall occupies: a head, and the word before it, which is a footer if the chunk before is free.
pub(crate) const WALL_LEN: usize = 2 * WORD;
/// From a chunk's address to its user's.
pub(crate) const MEM_OFFSET: usize = 2 * WORD;
/// Bytes that a fence occupies: a head, and one word for the run of chunks that follows behind a gap.
pub(crate) const FENCE_LEN: usize = MIN_CHUNK;

const _: () = assert!(MEM_OFFSET == ALIGNMENT);
const _: () = assert!(MIN_LARGE >= 8 * WORD);
const _: () = assert!(MAX_CHUNK as u64 & Head::SIZE != 0);

/// Where a chunk's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The main arena's break.
    Main,
    /// A heap; its header names the arena.
    Heap,
    /// A mapping of its own.
    Mapped,
}

/// Which chunks prefer to live where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Any, but small ones elsewhere if there is room.
    General,
    /// Small ones.
    Region,
}

/// Everything that a chunk's head says for as long as it is the same memory: whose it is, and the zone. Kept as the bits of a
/// head, because it goes from one head into another all the time.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Origin(u64);

impl Origin {
    const BITS: u64 = Head::MAPPED | Head::IN_HEAP | Head::IN_REGION;

    /// Where the memory comes from.
    #[inline]
    pub(crate) const fn owner(self) -> Owner {
        if self.0 & Head::MAPPED != 0 {
            Owner::Mapped
        } else if self.0 & Head::IN_HEAP != 0 {
            Owner::Heap
        } else {
            Owner::Main
        }
    }

    /// Which chunks prefer to live here.
    #[inline]
    pub(crate) const fn zone(self) -> Zone {
        if self.0 & Head::IN_REGION != 0 { Zone::Region } else { Zone::General }
    }

    /// The same in a region.
    pub(crate) const fn in_region(self) -> Self {
        Self(self.0 | Head::IN_REGION)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.owner(), self.zone())
    }
}

impl Owner {
    /// Memory of this owner outside any region.
    #[inline]
    pub(crate) const fn general(self) -> Origin {
        Origin(match self {
            Self::Main => 0,
            Self::Heap => Head::IN_HEAP,
            Self::Mapped => Head::MAPPED,
        })
    }
}

/// The word before the user's memory.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Head(u64);

impl Head {
    const PREV_IN_USE: u64 = 1;
    const MAPPED: u64 = 2;
    const IN_HEAP: u64 = 4;
    const FREE: u64 = 8;
    const WALL: u64 = Self::MAPPED | Self::IN_HEAP;
    const IN_REGION: u64 = 1 << 47;
    const SIZE: u64 = !SEAL_MASK & !Self::IN_REGION & !(ALIGNMENT as u64 - 1);

    #[inline]
    fn sealed(chunk: ChunkPtr, size: usize, origin: Origin, prev_in_use: bool) -> Self {
        let lasting = size as u64 | origin.0;
        Self(seal(chunk.address(), lasting) | lasting | u64::from(prev_in_use))
    }

    /// Whether the seal fits the place that the head was read from.
    #[inline]
    fn is_sealed_for(self, chunk: ChunkPtr) -> bool {
        let lasting = self.0 & !SEAL_MASK & !Self::PREV_IN_USE;
        self.0 & SEAL_MASK == seal(chunk.address(), lasting)
    }

    /// The chunk's size; only a fence and a wall have none.
    #[inline]
    pub(crate) fn size(self) -> Option<ChunkSize> {
        let bytes = (self.0 & Self::SIZE) as usize;
        if bytes >= MIN_CHUNK && !self.is_wall() { Some(ChunkSize::unverified(bytes)) } else { None }
    }

    #[inline]
    fn is_wall(self) -> bool {
        self.0 & Self::WALL == Self::WALL
    }

    /// The length of the region that this is a wall of.
    #[inline]
    pub(crate) fn region(self) -> Option<ChunkSize> {
        if self.is_wall() { Some(ChunkSize::unverified((self.0 & Self::SIZE) as usize)) } else { None }
    }

    /// The size in bytes if this is the head of a chunk of an arena that is in use; when it is free or mapped, no
    /// multiple of 16.
    #[inline(always)]
    pub(crate) fn size_in_use(self) -> usize {
        (self.0 & (Self::SIZE | Self::FREE | Self::MAPPED)) as usize
    }

    /// The chunk's size if it is one of an arena that is in use.
    #[inline(always)]
    pub(crate) fn chunk_in_use(self) -> Option<ChunkSize> {
        let bytes = self.size_in_use();
        if bytes >= MIN_CHUNK && bytes.is_multiple_of(ALIGNMENT) { Some(ChunkSize::unverified(bytes)) } else { None }
    }

    /// The chunk's size and origin if this is the head of a free one. Two free neighbours are one chunk, so the one before is in
    /// use.
    #[inline]
    pub(crate) fn chunk_free(self) -> Option<(ChunkSize, Origin)> {
        const BOTH: u64 = Head::FREE | Head::PREV_IN_USE;
        // Neither a fence nor a wall is ever `FREE`.
        let size = ChunkSize::unverified((self.0 & Self::SIZE) as usize);
        if self.0 & BOTH == BOTH { Some((size, self.origin())) } else { None }
    }

    #[inline]
    pub(crate) fn prev_in_use(self) -> bool {
        self.0 & Self::PREV_IN_USE != 0
    }

    #[inline]
    pub(crate) fn owner(self) -> Owner {
        self.origin().owner()
    }

    #[inline]
    pub(crate) fn origin(self) -> Origin {
        Origin(self.0 & Origin::BITS)
    }

    /// Whether both chunks are in use or both free, and of the same owner.
    #[inline]
    pub(crate) fn is_like(self, other: Self) -> bool {
        (self.0 ^ other.0) & (Self::MAPPED | Self::IN_HEAP | Self::FREE) == 0
    }

    /// Whether the chunk is in a bin, or the top.
    #[inline]
    pub(crate) fn is_free(self) -> bool {
        self.0 & Self::FREE != 0
    }

    /// Whether this is the end of a run of chunks.
    #[inline]
    pub(crate) fn is_fence(self) -> bool {
        self.0 & Self::SIZE == 0
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.owner(), self.size().map_or(0, ChunkSize::get))?;
        if self.is_fence() {
            f.write_str(" fence")?;
        }
        if self.is_wall() {
            f.write_str(" wall")?;
        }
        f.write_str(if self.prev_in_use() { " behind a chunk in use" } else { " behind a free chunk" })
    }
}

/// The address of a chunk: one word before its head, two before its user's memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct ChunkPtr(NonNull<u8>);

// SAFETY: a ChunkPtr is an address; what lies there is guarded by the lock of the arena that it lies in.
unsafe impl Send for ChunkPtr {}

impl ChunkPtr {
    /// The chunk at `start`.
    ///
    /// # Safety
    ///
    /// - `start` is a multiple of 16.
    /// - A chunk stands there or is about to: from the head on, its memory is accessible, and the caller holds the lock
    ///   of its arena whenever it changes what only the lock's holder may.
    #[inline]
    pub(crate) unsafe fn new(start: NonNull<u8>) -> Self {
        Self(start)
    }

    /// The chunk whose user's memory is `mem`, as a caller of `free` claims.
    ///
    /// # Safety
    ///
    /// - `mem` is a multiple of 16, and the word before it can be read.
    #[inline]
    pub(crate) unsafe fn from_mem(mem: NonNull<u8>) -> Self {
        // SAFETY: stays within the address space: no block begins in the first page.
        Self(unsafe { mem.sub(MEM_OFFSET) })
    }

    #[inline]
    pub(crate) fn address(self) -> usize {
        self.0.addr().get()
    }

    #[inline]
    pub(crate) fn start(self) -> NonNull<u8> {
        self.0
    }

    /// What the user gets.
    #[inline]
    pub(crate) fn mem(self) -> NonNull<u8> {
        // SAFETY: a chunk is longer than the offset.
        unsafe { self.0.add(MEM_OFFSET) }
    }

    /// The place `bytes` behind this chunk's start, where a chunk stands or is about to.
    #[inline]
    pub(crate) fn at(self, bytes: usize) -> Self {
        // SAFETY: within the same run of chunks, or its end.
        Self(unsafe { self.0.add(bytes) })
    }

    /// The place `bytes` before this chunk's start.
    #[inline]
    pub(crate) fn before(self, bytes: usize) -> Self {
        // SAFETY: within the same run of chunks: the caller has looked at where it begins.
        Self(unsafe { self.0.sub(bytes) })
    }

    /// The neighbour behind a chunk of size `size`.
    #[inline]
    pub(crate) fn next(self, size: ChunkSize) -> Self {
        self.at(size.get())
    }

    #[inline]
    fn word(self, index: usize) -> NonNull<usize> {
        // SAFETY: the first eight words of a chunk are its own, as far as its size goes.
        unsafe { self.0.cast::<usize>().add(index) }
    }

    #[inline]
    fn head_word(&self) -> &AtomicU64 {
        // SAFETY: the second word of a chunk is its head, aligned, and only ever accessed as an atomic.
        unsafe { self.word(1).cast::<AtomicU64>().as_ref() }
    }

    #[inline]
    fn load(self, index: usize) -> usize {
        // SAFETY: a word of the chunk, guarded by the arena's lock.
        unsafe { self.word(index).read() }
    }

    #[inline]
    fn store(self, index: usize, value: usize) {
        // SAFETY: as for `load`.
        unsafe { self.word(index).write(value) }
    }

    /// The head as it stands, its seal unchecked.
    #[inline]
    pub(crate) fn head_unchecked(self) -> Head {
        Head(self.head_word().load(Ordering::Relaxed))
    }

    /// The head, if its seal is right.
    #[inline]
    pub(crate) fn head(self) -> Option<Head> {
        let head = self.head_unchecked();
        if head.is_sealed_for(self) { Some(head) } else { None }
    }

    /// Writes the head of a chunk that is free: the one before it is in use, for two free neighbours are one chunk.
    #[inline]
    pub(crate) fn set_free_head(self, size: ChunkSize, origin: Origin) {
        let head = Head::sealed(self, size.get() | Head::FREE as usize, origin, true);
        self.head_word().store(head.0, Ordering::Relaxed);
    }

    /// Writes the head of a chunk in use; the holder of the arena's lock does.
    #[inline]
    pub(crate) fn set_head(self, size: ChunkSize, origin: Origin, prev_in_use: bool) {
        self.head_word().store(Head::sealed(self, size.get(), origin, prev_in_use).0, Ordering::Relaxed);
    }

    /// Puts a wall of a region of `len` bytes here.
    pub(crate) fn set_wall(self, len: ChunkSize, prev_in_use: bool) {
        let origin = Owner::Mapped.general();
        let head = Head::sealed(self, len.get() | Head::IN_HEAP as usize, origin, prev_in_use);
        self.head_word().store(head.0, Ordering::Relaxed);
    }

    /// Ends a run of chunks here; `following` is where the next run begins, behind memory that is not ours.
    pub(crate) fn set_fence(self, owner: Owner, prev_in_use: bool, following: Option<Self>) {
        self.head_word().store(Head::sealed(self, 0, owner.general(), prev_in_use).0, Ordering::Relaxed);
        self.store(2, following.map_or(0, Self::address));
    }

    /// Records where the run behind the gap at this fence begins.
    pub(crate) fn set_following_run(self, following: Self) {
        self.store(2, following.address());
    }

    /// The run of chunks behind the gap that begins at this fence.
    pub(crate) fn following_run(self) -> Option<Self> {
        let address = NonNull::new(self.0.as_ptr().with_addr(self.load(2)))?;
        Some(Self(address))
    }

    /// This head stops being one.
    #[inline]
    pub(crate) fn erase_head(self) {
        self.head_word().store(0, Ordering::Relaxed);
    }

    /// Notes in this head whether the chunk before is in use.
    #[inline]
    pub(crate) fn set_prev_in_use(self, prev_in_use: bool) {
        let head = self.head_unchecked().0 & !Head::PREV_IN_USE;
        self.head_word().store(head | u64::from(prev_in_use), Ordering::Relaxed);
    }

    /// The footer of the free chunk before this one.
    #[inline]
    pub(crate) fn prev_size(self) -> usize {
        self.load(0)
    }

    /// Writes the footer of the free chunk before this one.
    #[inline]
    pub(crate) fn set_prev_size(self, bytes: usize) {
        self.store(0, bytes);
    }

    /// A mapped chunk's distance from the start of its mapping, in the word that is a footer elsewhere.
    #[inline]
    pub(crate) fn lead(self) -> usize {
        self.load(0)
    }

    /// Records a mapped chunk's distance from the start of its mapping.
    #[inline]
    pub(crate) fn set_lead(self, bytes: usize) {
        self.store(0, bytes);
    }

    #[inline]
    fn pointer(self, index: usize) -> Option<Self> {
        // SAFETY: the word holds null or a chunk's address that `set_pointer` stored, unless the heap was overwritten;
        // its readers check that it leads back here before they write through it.
        unsafe { self.word(index).cast::<Option<Self>>().read() }
    }

    #[inline]
    fn set_pointer(self, index: usize, chunk: Option<Self>) {
        // SAFETY: a word of the chunk, guarded by the arena's lock.
        unsafe { self.word(index).cast::<Option<Self>>().write(chunk) }
    }
}

impl fmt::Debug for ChunkPtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    pub(super) struct Memory {
        _words: [u64; 64],
    }

    impl Memory {
        pub(super) const ZERO: Self = Self { _words: [0; 64] };
    }

    pub(super) fn chunk_in(memory: &mut Memory) -> ChunkPtr {
        // SAFETY: 512 aligned bytes that the caller keeps.
        unsafe { ChunkPtr::new(NonNull::from(memory).cast()) }
    }

    #[test]
    fn a_head_reads_back_what_was_written() {
        let mut memory = Memory::ZERO;
        let chunk = chunk_in(&mut memory);
        chunk.set_head(ChunkSize::exact(208), Owner::Heap.general(), true);
        let head = chunk.head().expect("sealed");
        assert_eq!((head.size(), head.owner(), head.prev_in_use()), (Some(ChunkSize::exact(208)), Owner::Heap, true));
        assert_eq!(std::format!("{head:?}"), "Heap 208 behind a chunk in use");
    }

    #[test]
    fn the_seal_breaks_with_any_lasting_bit_but_not_with_prev_in_use() {
        let mut memory = Memory::ZERO;
        let chunk = chunk_in(&mut memory);
        chunk.set_head(ChunkSize::exact(64), Owner::Main.general(), true);
        chunk.set_prev_in_use(false);
        let good = chunk.head().expect("the flag is not sealed");
        assert!(!good.prev_in_use());
        for bit in 1..64 {
            let forged = Head(good.0 ^ (1 << bit));
            assert!(!forged.is_sealed_for(chunk), "bit {bit}");
        }
        assert!(!good.is_sealed_for(chunk.at(16)), "a head is worth nothing elsewhere");
    }

    #[test]
    fn an_erased_head_is_no_head() {
        let mut memory = Memory::ZERO;
        let chunk = chunk_in(&mut memory);
        chunk.set_head(ChunkSize::MIN, Owner::Main.general(), true);
        chunk.erase_head();
        assert_eq!(chunk.head(), None);
    }

    #[test]
    fn a_fence_has_no_size_and_knows_the_run_behind_it() {
        let mut memory = Memory::ZERO;
        let chunk = chunk_in(&mut memory);
        chunk.set_fence(Owner::Main, false, Some(chunk.at(256)));
        let head = chunk.head().expect("sealed");
        assert!(head.is_fence() && !head.prev_in_use() && head.size().is_none());
        assert_eq!(chunk.following_run(), Some(chunk.at(256)));
    }

    #[test]
    fn a_wall_is_no_chunk_and_knows_its_region() {
        let mut memory = Memory::ZERO;
        let chunk = chunk_in(&mut memory);
        chunk.set_wall(ChunkSize::exact(8192), true);
        let head = chunk.head().expect("sealed");
        assert_eq!((head.size(), head.region(), head.prev_in_use()), (None, Some(ChunkSize::exact(8192)), true));
        assert!(!head.is_fence() && !head.is_free());
        chunk.set_head(ChunkSize::exact(64), Owner::Mapped.general(), true);
        assert_eq!(chunk.head().and_then(Head::region), None);
    }

    #[test]
    fn what_an_overwritten_head_says_is_read_without_a_claim() {
        let most = Head(!Head::MAPPED & !Head::FREE);
        assert!(most.size().is_some_and(|size| size.get() > MAX_CHUNK) && most.chunk_in_use() == most.size());
        assert!(Head(u64::MAX).region().is_some_and(|region| region.get() > MAX_CHUNK));
    }
}
