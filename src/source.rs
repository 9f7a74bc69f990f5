//! Where arenas get their memory: the system, the parameters that say how much at a time, and the table of heaps.
//!
//! The one shared thing below the arenas. It needs no lock: parameters are atomics, the table is atomic bits, and what
//! the system refuses to take back waits on a list that is pushed to and emptied as a whole.
//!
//! # Safety
//!
//! Reservations are cut to aligned pieces here, and ranges that could not be released are linked through their first
//! words.
#![allow(unsafe_code)]

use core::ptr::{self, NonNull};

use crate::heap::HeapTable;
use crate::options::Params;
use crate::os::Os;
use crate::size::{round_down, round_up};
use crate::span::BreakSpan;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use crate::sync::owns_fork;

/// The memory source of one allocator.
#[derive(Debug)]
pub(crate) struct Source<O: Os> {
    pub(crate) os: O,
    pub(crate) params: Params,
    pub(crate) heaps: HeapTable<O>,
    /// Where the break's memory lies.
    pub(crate) break_span: BreakSpan,
    /// Where the next heap would fit if nothing else were there: just below the one before.
    next_heap: AtomicUsize,
    unreleased: AtomicPtr<Unreleased>,
    /// The longest huge page that a block was ever mapped with; 0 before.
    pub(crate) huge_len: AtomicUsize,
    /// Whether what arenas get is to have small pages only.
    pub(crate) wants_small_pages: AtomicBool,
}

/// A range that the system refused to take back (unmapping the middle of a mapping needs a mapping more).
struct Unreleased {
    next: *mut Unreleased,
    len: usize,
}

/// A heap is not worth its header when it is shorter than this, in bytes (1/64 of its full length).
const fn shortest_heap(full: usize) -> usize {
    full / 64
}

impl<O: Os> Source<O> {
    pub(crate) const fn new(os: O) -> Self {
        Self {
            os,
            params: Params::new(),
            heaps: HeapTable::EMPTY,
            break_span: BreakSpan::new(),
            next_heap: AtomicUsize::new(0),
            unreleased: AtomicPtr::new(ptr::null_mut()),
            huge_len: AtomicUsize::new(0),
            wants_small_pages: AtomicBool::new(false),
        }
    }

    /// Whether `address` lies in the break's span or in a heap: then there is memory of ours.
    #[inline(always)]
    pub(crate) fn knows(&self, address: usize) -> bool {
        cfg!(heapwright_unchecked) || self.break_span.contains(address) || self.heaps.contains(&self.os, address)
    }

    /// Whether the break may be moved: not in a copy of a process that no handler was told of.
    pub(crate) fn may_move_break(&self) -> bool {
        let lineage = self.os.lineage();
        !lineage.is_of_copy() && (!lineage.is_left_behind() || owns_fork())
    }

    /// Reserves a heap of at least `least` bytes, aligned to the heap length, and as long as that if the system lets us.
    pub(crate) fn reserve_heap(&self, least: usize) -> Option<(NonNull<u8>, usize)> {
        if least > O::HEAP_LEN {
            return None;
        }
        self.retry_releases();
        let start = self.reserve_aligned().map(|start| (start, O::HEAP_LEN));
        let (start, len) = start.or_else(|| self.reserve_short(least))?;
        // Relaxed: only a hint.
        self.next_heap.store(start.addr().get().saturating_sub(O::HEAP_LEN), Ordering::Relaxed);
        Some((start, len))
    }

    fn reserve_aligned(&self) -> Option<NonNull<u8>> {
        let is_aligned = |start: NonNull<u8>| start.addr().get().is_multiple_of(O::HEAP_LEN);
        let hint = self.next_heap.load(Ordering::Relaxed);
        if hint != 0 {
            let start = self.os.reserve(hint, O::HEAP_LEN)?;
            if is_aligned(start) {
                return Some(start);
            }
            // SAFETY: reserved above.
            unsafe { self.release(start, O::HEAP_LEN) };
        }
        // Twice as much contains an aligned heap; both ends go back.
        let whole = self.os.reserve(0, 2 * O::HEAP_LEN)?;
        let front = round_up(whole.addr().get(), O::HEAP_LEN)? - whole.addr().get();
        // SAFETY: `front` is less than a heap's length.
        let start = unsafe { whole.add(front) };
        if front > 0 {
            // SAFETY: the part of the reservation before the heap.
            unsafe { self.release(whole, front) };
        }
        if front < O::HEAP_LEN {
            // SAFETY: as long as the heap, and within the reservation.
            let end = unsafe { start.add(O::HEAP_LEN) };
            // SAFETY: the part of the reservation behind the heap.
            unsafe { self.release(end, O::HEAP_LEN - front) };
        }
        Some(start)
    }

    /// Addresses are scarce: ever shorter heaps at aligned places near where the system puts mappings.
    fn reserve_short(&self, least: usize) -> Option<(NonNull<u8>, usize)> {
        let page = self.os.page_len();
        let probe = self.os.reserve(0, page)?;
        // SAFETY: reserved in the line above.
        unsafe { self.release(probe, page) };
        let nearest = round_down(probe.addr().get(), O::HEAP_LEN);
        let shortest = least.max(shortest_heap(O::HEAP_LEN)).max(page);
        let mut len = O::HEAP_LEN / 2;
        while len >= shortest {
            for step in 0..16 {
                let address = nearest.checked_sub(step * O::HEAP_LEN)?;
                if let Some(start) = self.os.reserve_at(address, len) {
                    return Some((start, len));
                }
            }
            len /= 2;
        }
        None
    }

    /// Gives a range of addresses back; when the system refuses, its memory goes back now and its addresses later.
    ///
    /// # Safety
    ///
    /// - The range is the caller's and not used any more.
    pub(crate) unsafe fn release(&self, start: NonNull<u8>, len: usize) {
        // SAFETY: the caller's promise.
        if !unsafe { self.os.release(start, len) } {
            // SAFETY: the caller's promise.
            unsafe { self.keep_unreleased(start, len) };
        }
    }

    #[cold]
    unsafe fn keep_unreleased(&self, start: NonNull<u8>, len: usize) {
        let page = self.os.page_len();
        if len > page {
            // SAFETY: the range behind its first page; nothing in it is used any more.
            let rest = unsafe { start.add(page) };
            // SAFETY: as above. Where even this is refused the memory stays until the range is released.
            unsafe { self.os.decommit(rest, len - page) };
        }
        // SAFETY: the first page is the caller's; it may not be committed yet.
        if !unsafe { self.os.commit(start, page) } {
            return;
        }
        let range = start.cast::<Unreleased>();
        let mut next = self.unreleased.load(Ordering::Relaxed);
        loop {
            // SAFETY: the first page is usable, and nobody else's until the exchange below.
            unsafe { range.write(Unreleased { next, len }) };
            // Release pairs with the acquire in `retry_releases`. A list that is only ever taken whole has no ABA.
            match self.unreleased.compare_exchange_weak(next, range.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => next = changed,
            }
        }
    }

    /// Tries once more to give back what the system refused before.
    #[inline]
    pub(crate) fn retry_releases(&self) {
        if !self.unreleased.load(Ordering::Relaxed).is_null() {
            self.retry_each();
        }
    }

    #[cold]
    fn retry_each(&self) {
        let mut at = self.unreleased.swap(ptr::null_mut(), Ordering::Acquire);
        while let Some(range) = NonNull::new(at) {
            // SAFETY: a range of the list, which is ours alone now.
            let Unreleased { next, len } = unsafe { range.read() };
            // SAFETY: the range was given up when it was put on the list.
            unsafe { self.release(range.cast(), len) };
            at = next;
        }
    }
}

#[cfg(test)]
impl Source<crate::os::fake::FakeOs> {
    /// One over a fake system of its own.
    pub(crate) fn fake() -> Self {
        Self::new(crate::os::fake::FakeOs::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::{Call, FakeOs, Refuse};

    #[test]
    fn the_second_heap_lies_right_below_the_first_at_the_price_of_one_call() {
        let source = Source::fake();
        let (first, len) = source.reserve_heap(4096).expect("there is room");
        assert_eq!((first.addr().get() % <FakeOs>::HEAP_LEN, len), (0, <FakeOs>::HEAP_LEN));
        let blocker = source.os.reserve(0, 8 * <FakeOs>::HEAP_LEN).expect("there is room");
        source
            .next_heap
            .store((blocker.addr().get() + 9 * <FakeOs>::HEAP_LEN) & !(<FakeOs>::HEAP_LEN - 1), Ordering::Relaxed);
        source.os.take_log();
        source.reserve_heap(4096).expect("there is room");
        assert_eq!(source.os.take_log(), [(Call::Reserve, <FakeOs>::HEAP_LEN as isize)]);
    }

    #[test]
    fn what_cannot_be_released_is_released_later() {
        let source = Source::fake();
        let start = source.os.map(16 << 10).expect("there is room");
        source.os.refuse(Refuse::Every(Call::Release));
        // SAFETY: mapped above.
        unsafe { source.release(start, 16 << 10) };
        assert_eq!(source.os.usable_len(), 4096, "the memory went back, all but the page that remembers");
        source.os.refuse(Refuse::Nothing);
        source.retry_releases();
        assert_eq!(source.os.usable_len(), 0);
    }
}
