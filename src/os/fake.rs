//! A system for tests: small heaps, real memory, failures on demand, foreign hands on the break, and a log.
//!
//! One window of real addresses stands for the whole address space. The break has its lower quarter; reservations and
//! mappings are placed first-fit in the rest. Pages are protected and dropped for real, so that a stray access to
//! memory that the allocator does not have ends the test, and whatever the allocator gives back reads as zero when it
//! comes again. Calls that no correct allocator makes (a range that is not a reservation, given back twice) panic.
//!
//! # Safety
//!
//! The window is mapped by this file and unmapped with it.
#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::vec::Vec;

use super::Os;
use crate::lineage::Lineage;

/// The kinds of calls, as they are logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    MoveBreak,
    Reserve,
    Commit,
    Decommit,
    Purge,
    Map,
    Remap,
    Release,
}

/// Which calls are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refuse {
    Nothing,
    /// The `n`-th call from now on, of any kind; counting begins with 1.
    Nth(usize),
    /// Every call of one kind.
    Every(Call),
    /// Every call that would make the process larger.
    Growth,
}

/// One call and its length in bytes (for the break: by how much it moved).
pub(crate) type Logged = (Call, isize);

const PAGE: usize = 4096;
/// The length of a heap, unless a test wants another.
const SMALL_HEAP: usize = 64 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Page {
    Reserved,
    Usable,
}

struct State {
    /// The break, as an offset in the window.
    now: usize,
    /// The break can go no further than this.
    limit: usize,
    /// Every page that is somebody's, by offset, outside the break's space.
    pages: BTreeMap<usize, Page>,
    log: Vec<Logged>,
    refuse: Refuse,
    /// Whether there are huge pages, and the mappings of such: offset, length, page.
    has_huge_pages: bool,
    huge: Vec<(usize, usize, usize)>,
    /// Pages, by offset, behind which no huge pages are to be; and whether such were asked for anywhere.
    small: BTreeSet<usize>,
    wants_huge: bool,
}

/// The fake system. Dropping it takes all its memory away.
pub(crate) struct FakeOs<const HEAP: usize = SMALL_HEAP> {
    window: NonNull<u8>,
    whole: (NonNull<u8>, usize),
    cores: usize,
    /// Milliseconds that have passed.
    /// How many threads have asked for their number.
    threads: AtomicU32,
    clock: AtomicU64,
    /// What the system wipes in a copy, and what it is otherwise.
    wiped: AtomicU32,
    expected: AtomicU32,
    state: Mutex<State>,
}

// SAFETY: the pointers are addresses of the window, whose bookkeeping lies under the mutex.
unsafe impl<const HEAP: usize> Send for FakeOs<HEAP> {}
// SAFETY: as above.
unsafe impl<const HEAP: usize> Sync for FakeOs<HEAP> {}

impl FakeOs {
    pub(crate) fn new() -> Self {
        Self::with_heaps()
    }
}

impl<const HEAP: usize> FakeOs<HEAP> {
    /// Room for a few thousand heaps.
    const WINDOW: usize = HEAP << 12;
    const BREAK_SPACE: usize = Self::WINDOW / 4;

    /// With heaps of the length that the type says.
    pub(crate) fn with_heaps() -> Self {
        let (flags, none) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, libc::PROT_NONE);
        let len = Self::WINDOW + HEAP;
        // SAFETY: a new mapping.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, none, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "the machine has no addresses left");
        let start = NonNull::new(start.cast::<u8>()).expect("not MAP_FAILED");
        // Aligned to a heap, so that offsets and addresses have the same alignment.
        let window = start.as_ptr().map_addr(|address| address.next_multiple_of(HEAP));
        let window = NonNull::new(window).expect("an address within a mapping");
        let state = State {
            now: 0,
            limit: Self::BREAK_SPACE,
            pages: BTreeMap::new(),
            log: Vec::new(),
            refuse: Refuse::Nothing,
            has_huge_pages: false,
            huge: Vec::new(),
            small: BTreeSet::new(),
            wants_huge: false,
        };
        let (wiped, expected) = (AtomicU32::new(0), AtomicU32::new(0));
        let (clock, state) = (AtomicU64::new(0), Mutex::new(state));
        Self { window, whole: (start, len), cores: 2, threads: AtomicU32::new(0), clock, wiped, expected, state }
    }

    pub(crate) fn with_cores(mut self, cores: usize) -> Self {
        self.cores = cores;
        self
    }

    /// The process is a copy from now on, and nobody was told.
    pub(crate) fn copy(&self) {
        self.wiped.store(0, Ordering::Relaxed);
    }

    /// From now on there are huge pages to map.
    pub(crate) fn grant_huge_pages(&self) {
        self.state().has_huge_pages = true;
    }

    /// What pages from offset `first` to `end` were advised is forgotten with them.
    fn forget_small(state: &mut State, first: usize, end: usize) {
        while let Some(&page) = state.small.range(first..end).next() {
            state.small.remove(&page);
        }
    }

    /// Of a mapping of huge pages only such pages can be unmapped.
    fn forget_huge(state: &mut State, offset: usize, len: usize) {
        state.huge.retain(|&(start, huge_len, page)| {
            let is_inside = (start..start + huge_len).contains(&offset);
            assert!(!is_inside || offset.is_multiple_of(page) && len.is_multiple_of(page), "part of a huge page");
            !is_inside
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that caught a panic goes on with the state as it is.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on refuses what `refuse` says.
    pub(crate) fn refuse(&self, refuse: Refuse) {
        self.state().refuse = refuse;
    }

    /// Time passes.
    pub(crate) fn pass(&self, milliseconds: u64) {
        self.clock.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// The calls since the last time, the refused ones too.
    pub(crate) fn take_log(&self) -> Vec<Logged> {
        core::mem::take(&mut self.state().log)
    }

    /// Somebody else's `sbrk`: moves the break by any number of bytes and writes to what it got.
    pub(crate) fn foreign_move_break(&self, delta: isize) {
        let mut state = self.state();
        let before = state.now;
        let after = before.checked_add_signed(delta).expect("a foreign break within the window");
        assert!(after <= state.limit);
        self.set_break(&mut state, after);
        if after > before {
            // SAFETY: the bytes between the two breaks are usable now.
            unsafe { self.at(before).write_bytes(0xEE, after - before) };
        }
    }

    /// The break cannot grow beyond where it is plus `len`: something is mapped there.
    pub(crate) fn block_break_after(&self, len: usize) {
        let mut state = self.state();
        state.limit = (state.now + len).min(Self::BREAK_SPACE);
    }

    /// Bytes that are usable memory at the moment.
    pub(crate) fn usable_len(&self) -> usize {
        let state = self.state();
        let break_len = state.now.next_multiple_of(PAGE);
        break_len + state.pages.values().filter(|&&page| page == Page::Usable).count() * PAGE
    }

    /// Bytes of pages that have been touched since they were made usable, and not been given back since.
    pub(crate) fn touched_len(&self) -> usize {
        let state = self.state();
        let mut touched = self.touched_in(0, state.now.next_multiple_of(PAGE));
        let mut run = 0..0;
        for at in state.pages.iter().filter(|&(_, &page)| page == Page::Usable).map(|(&at, _)| at) {
            if at != run.end {
                touched += self.touched_in(run.start, run.len());
                run = at..at;
            }
            run.end += PAGE;
        }
        touched + self.touched_in(run.start, run.len())
    }

    fn touched_in(&self, offset: usize, len: usize) -> usize {
        let mut pages = std::vec![0_u8; len / PAGE];
        if len > 0 {
            // SAFETY: pages of the window, and a byte for each of them.
            let done = unsafe { libc::mincore(self.at(offset).as_ptr().cast(), len, pages.as_mut_ptr()) };
            assert_eq!(done, 0, "mincore");
        }
        pages.iter().filter(|&&page| page & 1 != 0).count() * PAGE
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= Self::WINDOW);
        // SAFETY: within the window, or one past its end.
        unsafe { self.window.add(offset) }
    }

    fn offset(&self, start: NonNull<u8>) -> usize {
        start.addr().get().checked_sub(self.window.addr().get()).expect("an address of this system")
    }

    fn protect(&self, offset: usize, len: usize, protection: i32) {
        if len == 0 {
            return;
        }
        // SAFETY: pages of the window; their owner is who called.
        let done = unsafe { libc::mprotect(self.at(offset).as_ptr().cast(), len, protection) };
        assert_eq!(done, 0, "mprotect");
    }

    /// Pages become inaccessible, or usable and zero.
    fn set(&self, state: &mut State, offset: usize, len: usize, page: Option<Page>) {
        let usable = page == Some(Page::Usable);
        for at in (offset..offset + len).step_by(PAGE) {
            match page {
                Some(page) => state.pages.insert(at, page),
                None => state.pages.remove(&at),
            };
        }
        if !usable {
            Self::forget_small(state, offset, offset + len);
            self.drop_contents(offset, len);
        }
        self.protect(offset, len, if usable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE });
    }

    fn drop_contents(&self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        // SAFETY: pages of the window whose contents are given up.
        let done = unsafe { libc::madvise(self.at(offset).as_ptr().cast(), len, libc::MADV_DONTNEED) };
        assert_eq!(done, 0, "madvise");
    }

    fn set_break(&self, state: &mut State, after: usize) {
        let (old, new) = (state.now.next_multiple_of(PAGE), after.next_multiple_of(PAGE));
        if new > old {
            self.protect(old, new - old, libc::PROT_READ | libc::PROT_WRITE);
        } else {
            Self::forget_small(state, new, old);
            self.drop_contents(new, old - new);
            self.protect(new, old - new, libc::PROT_NONE);
        }
        state.now = after;
    }

    /// Logs the call; `false` when it is to be refused.
    fn admit(&self, state: &mut State, call: Call, len: isize) -> bool {
        state.log.push((call, len));
        match &mut state.refuse {
            Refuse::Nothing => true,
            Refuse::Nth(0) => true,
            Refuse::Nth(n) => {
                *n -= 1;
                *n != 0
            }
            Refuse::Every(refused) => *refused != call,
            Refuse::Growth => match call {
                Call::MoveBreak => len <= 0,
                Call::Decommit | Call::Purge | Call::Release => true,
                Call::Reserve | Call::Commit | Call::Map => false,
                Call::Remap => len <= 0,
            },
        }
    }

    fn is_free(state: &State, offset: usize, len: usize) -> bool {
        offset >= Self::BREAK_SPACE
            && offset + len <= Self::WINDOW
            && state.pages.range(offset..offset + len).next().is_none()
    }

    fn find(state: &State, len: usize) -> Option<usize> {
        // One page between mappings, so that none ever merge by chance and overruns are seen.
        let mut candidate = Self::BREAK_SPACE + PAGE;
        for &taken in state.pages.keys() {
            if taken >= candidate + len + PAGE {
                break;
            }
            candidate = candidate.max(taken + 2 * PAGE);
        }
        (candidate + len <= Self::WINDOW).then_some(candidate)
    }

    fn assert_range(state: &State, offset: usize, len: usize, what: &str) {
        assert!(offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE) && len > 0, "{what}: not whole pages");
        for at in (offset..offset + len).step_by(PAGE) {
            assert!(state.pages.contains_key(&at), "{what}: a page that is not the caller's");
        }
    }
}

impl<const HEAP: usize> Drop for FakeOs<HEAP> {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; the allocator that used it is gone.
        unsafe { libc::munmap(self.whole.0.as_ptr().cast(), self.whole.1) };
    }
}

// SAFETY: ranges of the window are handed out once, are usable when they say so, and read as zero when fresh.
unsafe impl<const HEAP: usize> Os for FakeOs<HEAP> {
    const HEAP_LEN: usize = HEAP;

    type HeapBits = [AtomicU64; 128];
    #[expect(clippy::declare_interior_mutable_const, reason = "a value to begin with")]
    const NO_HEAPS: Self::HeapBits = [const { AtomicU64::new(0) }; 128];

    fn page_len(&self) -> usize {
        PAGE
    }

    fn lowest_heap(&self) -> usize {
        self.window.addr().get()
    }

    fn random(&self) -> [u64; 2] {
        [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03]
    }

    fn is_readable(&self, _address: usize) -> bool {
        true
    }

    fn usable_cores(&self) -> usize {
        self.cores
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn watch_copies(&self) {
        self.lineage().begin();
    }

    fn lineage(&self) -> Lineage<'_> {
        Lineage { word: &self.wiped, expected: &self.expected }
    }

    fn make_barrier(&self) -> bool {
        true
    }

    fn prepare_barriers(&self) {}

    fn thread(&self) -> u32 {
        self.threads.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Every other one.
    fn is_asleep(&self, thread: u32) -> bool {
        thread % 2 == 1
    }

    fn pause(&self) {
        panic!("nobody else could have memory here: the tests' threads are one thread");
    }

    unsafe fn move_break(&self, delta: isize) -> Option<NonNull<u8>> {
        let mut state = self.state();
        let before = state.now;
        if delta == 0 {
            return Some(self.at(before));
        }
        if !self.admit(&mut state, Call::MoveBreak, delta) {
            return None;
        }
        let after = before.checked_add_signed(delta).filter(|&after| after <= state.limit)?;
        self.set_break(&mut state, after);
        Some(self.at(before))
    }

    fn reserve(&self, hint: usize, len: usize) -> Option<NonNull<u8>> {
        let mut state = self.state();
        if !self.admit(&mut state, Call::Reserve, len as isize) {
            return None;
        }
        let hinted = hint.wrapping_sub(self.window.addr().get());
        let offset = if hint != 0 && hinted < Self::WINDOW && Self::is_free(&state, hinted, len) {
            hinted
        } else {
            Self::find(&state, len)?
        };
        self.set(&mut state, offset, len, Some(Page::Reserved));
        Some(self.at(offset))
    }

    fn reserve_at(&self, address: usize, len: usize) -> Option<NonNull<u8>> {
        let mut state = self.state();
        let offset = address.wrapping_sub(self.window.addr().get());
        if !self.admit(&mut state, Call::Reserve, len as isize)
            || offset >= Self::WINDOW
            || !Self::is_free(&state, offset, len)
        {
            return None;
        }
        self.set(&mut state, offset, len, Some(Page::Reserved));
        Some(self.at(offset))
    }

    unsafe fn commit(&self, start: NonNull<u8>, len: usize) -> bool {
        let mut state = self.state();
        let offset = self.offset(start);
        Self::assert_range(&state, offset, len, "commit");
        if !self.admit(&mut state, Call::Commit, len as isize) {
            return false;
        }
        self.set(&mut state, offset, len, Some(Page::Usable));
        true
    }

    unsafe fn decommit(&self, start: NonNull<u8>, len: usize) -> bool {
        let mut state = self.state();
        let offset = self.offset(start);
        Self::assert_range(&state, offset, len, "decommit");
        if !self.admit(&mut state, Call::Decommit, len as isize) {
            return false;
        }
        self.set(&mut state, offset, len, Some(Page::Reserved));
        true
    }

    unsafe fn purge(&self, start: NonNull<u8>, len: usize) -> bool {
        let mut state = self.state();
        let offset = self.offset(start);
        if offset >= Self::BREAK_SPACE {
            Self::assert_range(&state, offset, len, "purge");
        }
        let is_small = state.small.range(offset..offset + len).count() == len / PAGE;
        assert!(is_small || state.wants_huge, "I22: pages are given back that a huge page may take the place of");
        if !self.admit(&mut state, Call::Purge, len as isize) {
            return false;
        }
        self.drop_contents(offset, len);
        true
    }

    fn map(&self, len: usize) -> Option<NonNull<u8>> {
        let mut state = self.state();
        if !self.admit(&mut state, Call::Map, len as isize) {
            return None;
        }
        let offset = Self::find(&state, len)?;
        self.set(&mut state, offset, len, Some(Page::Usable));
        Some(self.at(offset))
    }

    fn map_huge(&self, len: usize, page: usize) -> Option<NonNull<u8>> {
        assert!(page.is_power_of_two() && len.is_multiple_of(page), "huge pages of {page} bytes for {len}");
        let mut state = self.state();
        if !state.has_huge_pages || !self.admit(&mut state, Call::Map, len as isize) {
            return None;
        }
        let offset = Self::find(&state, len + page)?.next_multiple_of(page);
        self.set(&mut state, offset, len, Some(Page::Usable));
        state.huge.push((offset, len, page));
        Some(self.at(offset))
    }

    unsafe fn advise_huge(&self, start: NonNull<u8>, len: usize) -> bool {
        let mut state = self.state();
        let offset = self.offset(start);
        if offset >= Self::BREAK_SPACE {
            Self::assert_range(&state, offset, len, "advise_huge");
        }
        state.wants_huge = true;
        true
    }

    unsafe fn advise_small(&self, start: NonNull<u8>, len: usize) -> bool {
        let mut state = self.state();
        let offset = self.offset(start);
        if offset >= Self::BREAK_SPACE {
            Self::assert_range(&state, offset, len, "advise_small");
        }
        assert!(offset.is_multiple_of(PAGE), "advice from the middle of a page on");
        state.small.extend((offset..offset + len).step_by(PAGE));
        true
    }

    unsafe fn remap(&self, start: NonNull<u8>, len: usize, new_len: usize, may_move: bool) -> Option<NonNull<u8>> {
        let mut state = self.state();
        let offset = self.offset(start);
        Self::assert_range(&state, offset, len, "remap");
        if !self.admit(&mut state, Call::Remap, new_len as isize - len as isize) {
            return None;
        }
        if let Some(huge) = state.huge.iter_mut().find(|huge| huge.0 == offset) {
            assert!(new_len.is_multiple_of(huge.2), "part of a huge page");
            if new_len > len {
                return None;
            }
            huge.1 = new_len;
        }
        if new_len <= len {
            self.set(&mut state, offset + new_len, len - new_len, None);
            return Some(start);
        }
        if Self::is_free(&state, offset + len, new_len - len) {
            self.set(&mut state, offset + len, new_len - len, Some(Page::Usable));
            return Some(start);
        }
        if !may_move {
            return None;
        }
        let target = Self::find(&state, new_len)?;
        self.set(&mut state, target, new_len, Some(Page::Usable));
        // SAFETY: both ranges are usable and apart.
        unsafe { self.at(target).copy_from_nonoverlapping(start, len) };
        self.set(&mut state, offset, len, None);
        Some(self.at(target))
    }

    unsafe fn release(&self, start: NonNull<u8>, len: usize) -> bool {
        let mut state = self.state();
        let offset = self.offset(start);
        Self::assert_range(&state, offset, len, "release");
        if !self.admit(&mut state, Call::Release, len as isize) {
            return false;
        }
        Self::forget_huge(&mut state, offset, len);
        self.set(&mut state, offset, len, None);
        true
    }
}
