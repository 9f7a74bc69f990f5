//! The main arena's growing region: the program break.
//!
//! Normally the region is one run of chunks from where the break was at first up to where it is now. Two things can
//! happen to it. Somebody else moves the break between two of our moves: then a gap lies in the region that is not ours,
//! the run before it ends with a fence that knows where the next run begins, and the heap can still be walked:
//!
//! ```text
//!   first                       fence                                          end = the break
//!     | chunks of the first run | F |   somebody else's   | chunks of the second run ... top |
//! ```
//!
//! Or the break is refused, because a mapping lies above it, or a limit is reached: then the arena goes on in heaps.
//!
//! # Safety
//!
//! The break is moved under the main arena's lock; the region between `first` and `end` is ours but for the gaps.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use crate::chunk::ChunkPtr;
use crate::fatal::check;
use crate::heap::jitter;
use crate::os::Os;
use crate::size::{ALIGNMENT, round_up};
use crate::source::Source;

/// The state of the region.
#[derive(Debug)]
pub(crate) struct Brk {
    first: Option<ChunkPtr>,
    /// Where we left the break.
    end: Option<NonNull<u8>>,
    /// The end of the last run, unless the arena's top is there.
    fence: Option<ChunkPtr>,
    /// Bytes of the fences of all runs but the last, with what is behind them.
    lost: usize,
    /// How often the break has been moved.
    moves: usize,
}

// SAFETY: addresses of memory that is guarded by the main arena's lock.
unsafe impl Send for Brk {}

/// What a growth of the region has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// The last run is longer by this many bytes.
    Longer(usize),
    /// A new run begins here: so long, and zero from `clean` on.
    NewRun { start: ChunkPtr, len: usize, clean: usize },
}

impl Brk {
    pub(crate) const EMPTY: Self = Self { first: None, end: None, fence: None, lost: 0, moves: 0 };

    /// The first chunk of the first run.
    pub(crate) fn first(&self) -> Option<ChunkPtr> {
        self.first
    }

    pub(crate) fn fence(&self) -> Option<ChunkPtr> {
        self.fence
    }

    pub(crate) fn set_fence(&mut self, fence: Option<ChunkPtr>) {
        self.fence = fence;
    }

    /// The address behind the last run; 0 before there is any.
    pub(crate) fn end_address(&self) -> usize {
        self.end.map_or(0, |end| end.addr().get())
    }

    /// The run that ended at `end`, with a fence now, will not grow any more: the next begins at `following`.
    pub(crate) fn close_run(&mut self, end: usize, following: ChunkPtr) {
        if let Some(fence) = self.fence.take() {
            fence.set_following_run(following);
            self.lost += end - fence.address();
        }
    }

    /// Bytes of the region that no chunk can have: the fences, and what is behind them.
    pub(crate) fn overhead(&self) -> usize {
        self.lost + self.fence.map_or(0, |fence| self.end_address() - fence.address())
    }

    /// How often the break has been moved.
    pub(crate) fn moves(&self) -> usize {
        self.moves
    }

    /// Moves the break up so that `need` bytes are usable behind the last `have` of the region, and `pad` more if they
    /// are to be had; or, when the break is not where we left it, `need` bytes of a new run.
    pub(crate) fn grow<O: Os>(&mut self, source: &Source<O>, have: usize, need: usize, pad: usize) -> Option<Growth> {
        if !source.may_move_break() {
            return None;
        }
        let page = source.os.page_len();
        let end = self.end_address();
        let ample = end.checked_add(need.saturating_sub(have).saturating_add(pad));
        let ample = ample.and_then(|ample| round_up(ample, source.granule())).map(|ample| ample - end);
        let least = round_up(need.saturating_sub(have), page)?.max(page);
        self.grow_by(source, ample.unwrap_or(least).max(page), need).or_else(|| self.grow_by(source, least, need))
    }

    fn grow_by<O: Os>(&mut self, source: &Source<O>, len: usize, need: usize) -> Option<Growth> {
        let delta = isize::try_from(len).ok()?;
        // SAFETY: moving up gives nothing up.
        let old = unsafe { source.os.move_break(delta) }?;
        self.moves += 1;
        if self.end == Some(old) {
            self.set_end(source, old, len);
            return Some(Growth::Longer(len));
        }
        // SAFETY: memory above the old break is ours up to the new one.
        unsafe { self.new_run(source, old, len, need) }
    }

    /// # Safety
    ///
    /// - `len` bytes from `old` on are ours: the break has just been moved.
    unsafe fn new_run<O: Os>(
        &mut self,
        source: &Source<O>,
        old: NonNull<u8>,
        len: usize,
        need: usize,
    ) -> Option<Growth> {
        check!(old.addr().get() >= self.end_address(), BreakMovedDown, old.addr().get());
        let page = source.os.page_len();
        let begin = round_up(old.addr().get(), ALIGNMENT)? + jitter();
        // The break ends on a page from now on, and the request has to fit although the last run is of no use to it.
        let end = round_up(begin.checked_add(need)?, page)?.max(round_up(old.addr().get() + len, page)?);
        let more = end - (old.addr().get() + len);
        if more > 0 {
            // SAFETY: moving up gives nothing up.
            let reached = unsafe { source.os.move_break(isize::try_from(more).ok()?) };
            if reached.is_none_or(|reached| reached.addr().get() != old.addr().get() + len) {
                // SAFETY: nothing was put into what was got, and only that goes back, if it is still the last.
                unsafe { give_back(source, old, len) };
                return None;
            }
        }
        // SAFETY: not as far up as the request is long, so within what was got.
        let start = unsafe { old.add(begin - old.addr().get()) };
        // SAFETY: aligned above; the memory is ours.
        let start = unsafe { ChunkPtr::new(start) };
        self.first = self.first.or(Some(start));
        self.set_end(source, old, len + more);
        // What shares its first page with somebody else may have been written before the break fell and rose again.
        let clean = round_up(begin, page)?;
        Some(Growth::NewRun { start, len: end - begin, clean })
    }

    fn set_end<O: Os>(&mut self, source: &Source<O>, old: NonNull<u8>, len: usize) {
        source.note_growth(old, len);
        // SAFETY: the break has been moved this far.
        self.end = Some(unsafe { old.add(len) });
        self.note_span(source);
    }

    fn note_span<O: Os>(&self, source: &Source<O>) {
        if let Some(first) = self.first {
            source.break_span.set(first.address(), self.end_address());
        }
    }

    /// Moves the break down by `len` bytes, whole pages that nothing lies in; `false` when it is not ours to move.
    pub(crate) fn shrink<O: Os>(&mut self, source: &Source<O>, len: usize) -> bool {
        let Some(end) = self.end.filter(|_| source.may_move_break()) else { return false };
        // SAFETY: 0 moves nothing.
        let now = unsafe { source.os.move_break(0) };
        if now != Some(end) {
            return false;
        }
        // SAFETY: the caller has made sure that nothing lies in the last `len` bytes.
        if unsafe { source.os.move_break(-(len as isize)) }.is_none() {
            return false;
        }
        self.moves += 1;
        // SAFETY: within the region.
        self.end = Some(unsafe { end.sub(len) });
        self.note_span(source);
        true
    }
}

/// Moves the break back to `old`, if it is still where the move by `len` left it.
///
/// # Safety
///
/// - The `len` bytes from `old` on are ours and unused.
unsafe fn give_back<O: Os>(source: &Source<O>, old: NonNull<u8>, len: usize) {
    // SAFETY: 0 moves nothing.
    let now = unsafe { source.os.move_break(0) };
    if now.is_some_and(|now| now.addr().get() == old.addr().get() + len) {
        // SAFETY: the caller's promise.
        unsafe { source.os.move_break(-(len as isize)) };
    }
}
