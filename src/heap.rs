//! Heaps: the 64 MiB things that thread arenas are made of.
//!
//! A heap is a reservation of addresses, as long as its alignment, so that masking any address in it gives its start.
//! Its front part is usable memory, the rest only reserved, and the border between the two moves:
//!
//! ```text
//!   start (64 MiB aligned)                         committed                                    reserved (64 MiB)
//!   | header | arena, in its first heap | chunks ... | top or fence |   reserved, no memory       |
//! ```
//!
//! The header says whose heap it is and where its chunks begin and end. It is never read at an address that merely
//! looks right: the *table of heaps* is asked first whether a heap of ours lies there. The table is one bit for each
//! 64 MiB of address space, 256 KiB of zero pages of which a process touches one or two.
//!
//! When addresses are scarce (`RLIMIT_AS`, a full 32-bit-like space) a heap may be shorter than its alignment; its
//! header says so, and the bytes behind it are not ours.
//!
//! # Safety
//!
//! A [`HeapPtr`] is made for a reservation whose first page is committed and holds a header; it is dropped with it.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use crate::chunk::{ChunkPtr, FENCE_LEN};
use crate::fatal::check;
use crate::os::Os;
use crate::secret::seal;
use crate::size::{ALIGNMENT, MIN_CHUNK, round_down, round_up};
use crate::source::Source;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Which heaps are ours: a bit for each place.
#[derive(Debug)]
pub(crate) struct HeapTable<O: Os>(O::HeapBits);

impl<O: Os> HeapTable<O> {
    /// Without any heap.
    pub(crate) const EMPTY: Self = Self(O::NO_HEAPS);

    #[inline]
    fn bit(&self, os: &O, address: usize) -> Option<(&AtomicU64, u64)> {
        let place = address.checked_sub(os.lowest_heap())? / O::HEAP_LEN;
        Some((self.0.as_ref().get(place / 64)?, 1 << (place % 64)))
    }

    /// Whether a heap of ours contains or could contain `address`.
    ///
    /// Relaxed: whoever holds a block of a heap has got it from the thread that inserted the heap, or from one that
    /// got it from there.
    #[inline]
    pub(crate) fn contains(&self, os: &O, address: usize) -> bool {
        self.bit(os, address).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// `false` when the address is beyond the table, and the heap cannot be used.
    fn insert(&self, os: &O, address: usize) -> bool {
        let bit = self.bit(os, address);
        bit.inspect(|(word, bit)| _ = word.fetch_or(*bit, Ordering::Relaxed)).is_some()
    }

    fn remove(&self, os: &O, address: usize) {
        if let Some((word, bit)) = self.bit(os, address) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// The front of a heap. Changed under the lock of its arena; `arena` never changes.
#[derive(Debug)]
#[repr(C, align(16))]
struct Header {
    /// Opaque here: the arena's address.
    arena: NonNull<()>,
    /// The next older heap of the same arena.
    next: Option<HeapPtr>,
    /// Usable bytes from the start.
    committed: usize,
    /// Bytes from the start that are ours at all.
    reserved: usize,
    /// From the start to the first chunk.
    first: usize,
    /// The end of the chunks, unless the arena's top is here.
    fence: Option<ChunkPtr>,
    /// Checksums of what never changes (`arena`, `reserved`, `first`: read without the lock), and of the rest.
    lasting_seal: u64,
    state_seal: u64,
}

impl Header {
    fn lasting_seal(&self) -> u64 {
        let bits = (self.reserved as u64).rotate_left(32) ^ (self.first as u64).rotate_left(16);
        seal(core::ptr::from_ref(self).addr(), self.arena.addr().get() as u64 ^ bits)
    }

    fn state_seal(&self) -> u64 {
        let next = self.next.map_or(0, |next| next.0.addr().get() as u64);
        let fence = self.fence.map_or(0, |fence| fence.address() as u64);
        seal(
            core::ptr::from_ref(self).addr() + 1,
            next.rotate_left(21) ^ fence ^ (self.committed as u64).rotate_left(42),
        )
    }
}

/// A heap of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct HeapPtr(NonNull<Header>);

// SAFETY: a HeapPtr is an address; the header is guarded by the lock of its arena.
unsafe impl Send for HeapPtr {}

/// What a heap is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeapPlan {
    /// Bytes behind the header that are not chunks: the arena, in its first heap.
    pub(crate) prefix: usize,
    /// Bytes of chunks needed at once.
    pub(crate) need: usize,
    /// Bytes more that are welcome.
    pub(crate) pad: usize,
}

impl HeapPtr {
    /// The heap of ours that contains `chunk`, if there is one.
    #[inline]
    pub(crate) fn containing<O: Os>(source: &Source<O>, chunk: ChunkPtr) -> Option<Self> {
        if !source.heaps.contains(&source.os, chunk.address()) {
            return None;
        }
        let heap = Self::at_start_of::<O>(chunk);
        let header = heap.header();
        check!(header.lasting_seal == header.lasting_seal(), HeaderOverwritten, chunk.mem().addr().get());
        let inside = chunk.address() - heap.start().addr().get();
        (header.first <= inside && inside < header.reserved).then_some(heap)
    }

    /// Whether two chunks lie in one heap, if the first lies in any.
    #[inline]
    pub(crate) fn is_same<O: Os>(one: ChunkPtr, other: ChunkPtr) -> bool {
        (one.address() ^ other.address()) < O::HEAP_LEN
    }

    /// The heap of a chunk that is known to lie in one.
    #[inline]
    pub(crate) fn of<O: Os>(chunk: ChunkPtr) -> Self {
        Self::at_start_of::<O>(chunk)
    }

    #[inline]
    fn at_start_of<O: Os>(chunk: ChunkPtr) -> Self {
        let start = chunk.start().as_ptr().map_addr(|address| round_down(address, O::HEAP_LEN));
        // SAFETY: the heap's start is not null: a chunk lies behind a header.
        Self(unsafe { NonNull::new_unchecked(start.cast()) })
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: a HeapPtr is made for a header that stands; it is changed under the arena's lock only.
        unsafe { self.0.as_ref() }
    }

    /// What changes under the arena's lock; an overwritten header ends the process.
    #[inline]
    fn state(&self) -> &Header {
        let header = self.header();
        check!(header.state_seal == header.state_seal(), HeaderOverwritten, self.0.addr().get());
        header
    }

    /// Changes the header, and seals it again.
    fn change(&mut self, change: impl FnOnce(&mut Header)) {
        let _ = self.state();
        // SAFETY: as for `header`; the callers that change a header hold the arena's lock.
        let header = unsafe { self.0.as_mut() };
        change(header);
        header.state_seal = header.state_seal();
    }

    #[inline]
    pub(crate) fn start(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// The arena that was given when the heap was made.
    #[inline]
    pub(crate) fn arena(self) -> NonNull<()> {
        self.header().arena
    }

    pub(crate) fn set_arena(mut self, arena: NonNull<()>) {
        self.change(|header| {
            header.arena = arena;
            header.lasting_seal = header.lasting_seal();
        });
    }

    pub(crate) fn next(self) -> Option<Self> {
        self.state().next
    }

    pub(crate) fn set_next(mut self, next: Option<Self>) {
        self.change(|header| header.next = next);
    }

    /// The place `len` bytes from the start.
    fn at(self, len: usize) -> ChunkPtr {
        // SAFETY: within the reservation, or its end.
        let place = unsafe { self.start().add(len) };
        // SAFETY: every length here is a multiple of 16, and chunks stand in the committed part.
        unsafe { ChunkPtr::new(place) }
    }

    /// Where the prefix stands: behind the header.
    pub(crate) fn prefix(self) -> NonNull<u8> {
        // SAFETY: the first chunk lies further on.
        unsafe { self.start().add(size_of::<Header>()) }
    }

    pub(crate) fn first_chunk(self) -> ChunkPtr {
        self.at(self.header().first)
    }

    /// Whether the arena itself stands in this heap, which then stays for ever.
    pub(crate) fn holds_arena(self) -> bool {
        self.header().first > first_offset(0) + MOST_JITTER
    }

    /// The end of the usable part.
    pub(crate) fn end(self) -> ChunkPtr {
        self.at(self.state().committed)
    }

    pub(crate) fn committed(self) -> usize {
        self.state().committed
    }

    pub(crate) fn reserved(self) -> usize {
        self.header().reserved
    }

    pub(crate) fn fence(self) -> Option<ChunkPtr> {
        self.state().fence
    }

    pub(crate) fn set_fence(mut self, fence: Option<ChunkPtr>) {
        self.change(|header| header.fence = fence);
    }

    /// Usable bytes that no chunk can have: the header, the arena if it stands here, and what is from the fence on.
    pub(crate) fn overhead(self) -> usize {
        self.header().first + self.fence().map_or(0, |fence| self.end().address() - fence.address())
    }

    /// How many bytes of chunks could begin at the fence if the whole reservation were committed.
    pub(crate) fn room(self) -> usize {
        let from = self.fence().map_or(self.state().committed, |fence| fence.address() - self.start().addr().get());
        self.header().reserved - from
    }

    /// Makes at least `need` bytes behind `from` usable, `pad` more if they are to be had. `false` when the heap is
    /// full or the system refuses.
    pub(crate) fn grow<O: Os>(mut self, source: &Source<O>, from: ChunkPtr, need: usize, pad: usize) -> bool {
        let page = source.os.page_len();
        let begin = from.address() - self.start().addr().get();
        let committed = self.state().committed;
        let wanted = |len: usize| round_up(begin.checked_add(len)?, page).filter(|&end| end <= self.header().reserved);
        let Some(least) = wanted(need) else { return false };
        let ample = wanted(need.saturating_add(pad)).and_then(|end| round_up(end, source.granule()));
        let ends = [ample.map_or(self.header().reserved, |end| end.min(self.header().reserved)), least];
        for end in ends {
            if end <= committed {
                return true;
            }
            // SAFETY: within this heap's reservation, which is the arena's.
            if unsafe { source.os.commit(self.end().start(), end - committed) } {
                source.note_growth(self.end().start(), end - committed);
                self.change(|header| header.committed = end);
                return true;
            }
        }
        false
    }

    /// Takes the memory from `end` on away; `false` when nothing was, or the system refuses.
    pub(crate) fn shrink<O: Os>(mut self, source: &Source<O>, end: ChunkPtr) -> bool {
        let Some(len) = round_up(end.address() - self.start().addr().get(), source.os.page_len()) else { return false };
        let committed = self.state().committed;
        if len >= committed {
            return false;
        }
        // SAFETY: the caller has made sure that no chunk lies behind `end`.
        let done = unsafe { source.os.decommit(self.at(len).start(), committed - len) };
        if done {
            self.change(|header| header.committed = len);
        }
        done
    }

    /// Takes the heap out of the table: its addresses may now become somebody else's. Then it can be released.
    pub(crate) fn retire<O: Os>(self, source: &Source<O>) -> RetiredHeap {
        source.heaps.remove(&source.os, self.start().addr().get());
        RetiredHeap { start: self.start(), reserved: self.header().reserved }
    }

    /// Makes a heap for `arena`; `None` when the system refuses even a short one.
    pub(crate) fn make<O: Os>(source: &Source<O>, arena: NonNull<()>, plan: HeapPlan) -> Option<Self> {
        let page = source.os.page_len();
        let first = first_offset(plan.prefix) + jitter();
        let least = round_up(first.checked_add(plan.need)?.checked_add(FENCE_LEN)?, page)?;
        let (start, reserved) = source.reserve_heap(least)?;
        let retired = RetiredHeap { start, reserved };
        let ample =
            round_up(least.saturating_add(plan.pad), source.granule()).map_or(reserved, |len| len.min(reserved));
        for committed in [ample, least] {
            // SAFETY: the reservation was made above.
            if !unsafe { source.os.commit(start, committed) } {
                continue;
            }
            if !source.heaps.insert(&source.os, start.addr().get()) {
                break;
            }
            source.note_growth(start, committed);
            let place = start.cast::<Header>();
            let header =
                Header { arena, next: None, committed, reserved, first, fence: None, lasting_seal: 0, state_seal: 0 };
            // SAFETY: the first page is usable, aligned and nobody else's.
            unsafe { place.write(header) };
            // SAFETY: written in the line above, and nobody else knows of it.
            let header = unsafe { &mut *place.as_ptr() };
            header.lasting_seal = header.lasting_seal();
            header.state_seal = header.state_seal();
            return Some(Self(place));
        }
        retired.release(source);
        None
    }
}

const fn first_offset(prefix: usize) -> usize {
    // The head of the first chunk is its second word; the first may be anything's last.
    match round_up(size_of::<Header>() + prefix, ALIGNMENT) {
        Some(offset) => offset,
        None => panic!("a prefix that does not fit"),
    }
}

const _: () = assert!(first_offset(0) + MOST_JITTER + MIN_CHUNK + FENCE_LEN <= 4096);

/// How far from its usual place the first chunk of a run may begin: a hardened build moves it at random.
pub(crate) const MOST_JITTER: usize = if cfg!(feature = "hardened") { 63 * ALIGNMENT } else { 0 };

/// A random distance up to [`MOST_JITTER`].
#[cfg(feature = "hardened")]
pub(crate) fn jitter() -> usize {
    ((crate::secret::scrambled(0) >> 40) as usize * ALIGNMENT) & MOST_JITTER
}

/// No distance.
#[cfg(not(feature = "hardened"))]
pub(crate) const fn jitter() -> usize {
    0
}

/// A heap that no chunk lies in any more, to be given back outside the arena's lock.
#[derive(Debug)]
#[must_use = "the addresses are lost if they are not released"]
pub(crate) struct RetiredHeap {
    start: NonNull<u8>,
    reserved: usize,
}

impl RetiredHeap {
    /// Gives the heap back to the system.
    pub(crate) fn release<O: Os>(self, source: &Source<O>) {
        // SAFETY: the reservation is ours, and nothing in it is used any more.
        unsafe { source.release(self.start, self.reserved) };
    }
}
