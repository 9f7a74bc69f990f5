//! The memory source: everything the allocator asks of the system, as one trait.
//!
//! The rest of the crate is generic over [`Os`] and makes no system call for memory of its own. The system is only ever
//! asked; it never calls back. Two implementations exist: [`Linux`](linux::Linux), and for tests a fake with small
//! heaps, failures on demand and a log.
//!
//! ```text
//!   move_break                the one growing and shrinking region of the process
//!   reserve / reserve_at      addresses without memory   (heaps)
//!   commit / decommit           pages of a reservation made usable, and taken away again
//!   map / remap               addresses with memory      (big blocks)
//!   purge                     the memory of usable pages given back, the addresses kept
//!   release                   addresses given back
//! ```
//!
//! # Safety
//!
//! The trait is unsafe to implement: the allocator hands out the memory it is given here.
#![allow(unsafe_code)]

#[cfg(any(test, fuzzing))]
pub(crate) mod fake;
#[cfg(not(loom))]
pub(crate) mod linux;

use core::fmt::Debug;
use core::ptr::NonNull;

use crate::lineage::Lineage;
use crate::sync::atomic::AtomicU64;

/// The system as the allocator sees it. Every length and address is in bytes and a multiple of the page unless a
/// method says otherwise; every failure is an answer (`None`, `false`), after which nothing has changed.
///
/// # Safety
///
/// - Memory returned by `move_break` (above the returned address), `map`, `remap` and by `commit` on a reservation is
///   readable, writable, and nobody else's until it is given back.
/// - Fresh, newly committed and purged pages read as zero.
pub(crate) unsafe trait Os: Sync {
    /// Length and alignment of a thread arena's heap: a power of two.
    const HEAP_LEN: usize;

    /// A bit for each place that a heap can have.
    type HeapBits: AsRef<[AtomicU64]> + Debug + Sync;

    /// As they are before there is any heap: all zero.
    const NO_HEAPS: Self::HeapBits;

    /// The length of a page.
    fn page_len(&self) -> usize;

    /// The lowest address that a heap can have, the first place.
    fn lowest_heap(&self) -> usize;

    /// Random bits for the heap's secret; of lower quality where the system refuses.
    #[cfg_attr(test, expect(dead_code, reason = "unit tests keep the built-in secret"))]
    fn random(&self) -> [u64; 2];

    /// Cores that this process may use: its affinity mask, and its group's quota rounded up; at least 1.
    fn usable_cores(&self) -> usize;

    /// Whether the word at `address`, which may be any number, can be read.
    fn is_readable(&self, address: usize) -> bool;

    /// A clock that only goes on, in milliseconds; it may be some of them late.
    fn now(&self) -> u64;

    /// From now on a copy of this process that no handler was told of is known by its [lineage](Self::lineage).
    fn watch_copies(&self);

    /// Whether this process is such a copy.
    fn lineage(&self) -> Lineage<'_>;

    /// Makes every thread of the process pass a barrier, for the [handshake](crate::handshake). `false` where that cannot be done.
    fn make_barrier(&self) -> bool;

    /// From now on [`make_barrier`](Self::make_barrier) is quick. Called while the process has one thread, if it can be.
    fn prepare_barriers(&self);

    /// The number of the calling thread, which is not 0.
    fn thread(&self) -> u32;

    /// Whether the thread of this number sleeps in a system call, and is in the middle of nothing else. `false` where that is not
    /// known.
    fn is_asleep(&self, thread: u32) -> bool;

    /// Lets other threads run.
    fn pause(&self);

    /// Moves the break by `delta` bytes (any number) and returns where it was, like `sbrk`. `None` when it is refused.
    ///
    /// # Safety
    ///
    /// - What lies between the new and the old break when it moves down is not used any more.
    unsafe fn move_break(&self, delta: isize) -> Option<NonNull<u8>>;

    /// Reserves `len` bytes of addresses, at `hint` if it is not 0 and free there, else anywhere. Not accessible.
    fn reserve(&self, hint: usize, len: usize) -> Option<NonNull<u8>>;

    /// Reserves `len` bytes of addresses at exactly `address`, if nothing lies there.
    fn reserve_at(&self, address: usize, len: usize) -> Option<NonNull<u8>>;

    /// Makes pages of a reservation readable and writable.
    ///
    /// # Safety
    ///
    /// - The range lies within one reservation of the caller's.
    unsafe fn commit(&self, start: NonNull<u8>, len: usize) -> bool;

    /// Takes the memory of committed pages away; the addresses stay reserved.
    ///
    /// # Safety
    ///
    /// - As for `commit`, and nothing in the range is used any more.
    unsafe fn decommit(&self, start: NonNull<u8>, len: usize) -> bool;

    /// Gives back the memory behind whole pages; they stay accessible and read as zero.
    ///
    /// # Safety
    ///
    /// - The range is accessible memory of the caller's, and its contents are not used any more.
    unsafe fn purge(&self, start: NonNull<u8>, len: usize) -> bool;

    /// Maps `len` bytes of fresh memory.
    fn map(&self, len: usize) -> Option<NonNull<u8>>;

    /// Maps `len` bytes of fresh memory in huge pages of `page` bytes, a power of two; `len` is a multiple of that.
    fn map_huge(&self, len: usize, page: usize) -> Option<NonNull<u8>>;

    /// Asks for huge pages behind a range of accessible memory, which keeps its contents. Advice: what is refused is
    /// served by normal pages.
    ///
    /// # Safety
    ///
    /// - The range is the caller's.
    unsafe fn advise_huge(&self, start: NonNull<u8>, len: usize) -> bool;

    /// Asks for no huge pages behind a range of accessible memory, from now on: those that are there stay. Advice as well.
    ///
    /// # Safety
    ///
    /// - The range is the caller's.
    unsafe fn advise_small(&self, start: NonNull<u8>, len: usize) -> bool;

    /// Changes the length of a mapping, keeping its contents up to the shorter length; the mapping may move if
    /// `may_move`.
    ///
    /// # Safety
    ///
    /// - The range is one or a part of the caller's mappings; on success the old range is not used any more.
    unsafe fn remap(&self, start: NonNull<u8>, len: usize, new_len: usize, may_move: bool) -> Option<NonNull<u8>>;

    /// Gives addresses back: a reservation, a mapping, or whole pages of one.
    ///
    /// # Safety
    ///
    /// - The range is the caller's and is not used any more.
    unsafe fn release(&self, start: NonNull<u8>, len: usize) -> bool;
}
