//! Buffers that come and go: the last few blocks that a thread has freed of those that are too long for a class, up to 128 KiB.
//!
//! Programs that read, send, compress or format ask for a buffer of the same length again and again, and free it soon. An arena would
//! join it with its neighbours each time and cut it off again. But a block that waits here keeps its neighbours apart, so a length is
//! kept only once it has come back: was freed, and then asked for while that was remembered. What a program builds up and drops is not.
//!
//! ```text
//!   freed    | 16,400 ! | 9,232   | 65,552 ! | ...    lengths of chunks that went to an arena, ! asked for since
//!   lengths  | 16,400   | 65,552  |    0     | ...    0: an empty place
//!   blocks   |   o      |   o     |          | ...    each with the mark of a cached block of no class in its first words
//! ```
//!
//! # Safety
//!
//! As for magazines: a block that is cached is nobody else's.
#![allow(unsafe_code)]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::equal;
use crate::class::Class;
use crate::magazine;
use crate::size::ChunkSize;

/// How many blocks a thread keeps, and how many lengths it remembers.
pub(crate) const PLACES: usize = 8;
/// Bytes of all blocks that it keeps, at most.
const MOST_BYTES: usize = 256 << 10;
/// The longest request that is kept, in bytes.
pub(crate) const MAX_REQUEST: usize = 128 << 10;
/// A look at whether blocks are of use any more is at least so long after another, in milliseconds.
const IDLE_MS: u64 = 300;

/// The blocks, and which lengths are worth keeping.
#[derive(Debug)]
pub(crate) struct Recent {
    freed: [u32; PLACES],
    /// A bit for each of them that was asked for since.
    again: u8,
    /// A bit for each of them of which there were too many.
    many: u8,
    /// The place of `freed` that is forgotten next.
    forgotten_next: usize,
    /// The place whose block makes room next, and how many blocks came in a row, none being taken.
    leaves_next: usize,
    row: usize,
    lengths: [u32; PLACES],
    blocks: [Option<NonNull<u8>>; PLACES],
    /// Of all chunks here. Written by the owner only, as an atomic, because whoever asks for figures reads it too. Relaxed: a number.
    bytes: AtomicUsize,
    /// Whether a request was served since the last look.
    is_used: bool,
    /// The time of that, in milliseconds.
    looked_at: u64,
    /// A bit for each place that may be used.
    places: u8,
    /// The longest chunk that is kept, in bytes; 0: none is.
    longest: usize,
}

impl Recent {
    /// Keeps nothing before it gets a limit.
    pub(crate) const fn new() -> Self {
        Self {
            freed: [0; PLACES],
            again: 0,
            many: 0,
            forgotten_next: 0,
            leaves_next: 0,
            row: 0,
            lengths: [0; PLACES],
            blocks: [None; PLACES],
            bytes: AtomicUsize::new(0),
            is_used: false,
            looked_at: 0,
            places: 0,
            longest: 0,
        }
    }

    /// Keeps up to `blocks` blocks of requests up to `bytes` from now on. What is here stays.
    pub(crate) fn set_limits(&mut self, blocks: usize, bytes: usize) {
        self.places = if blocks < PLACES { (1 << blocks) - 1 } else { u8::MAX };
        let longest = ChunkSize::for_request(bytes.min(MAX_REQUEST)).map_or(0, ChunkSize::get);
        self.longest = if blocks > 0 { longest } else { 0 };
    }

    /// Bytes of the chunks that are here.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn set_bytes(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether chunks of this size may be kept.
    #[inline]
    pub(crate) fn is_for(&self, size: ChunkSize) -> bool {
        size > Class::LONGEST_CHUNK && size.get() <= self.longest
    }

    /// A block at a multiple of `alignment` for a request that needs a chunk of `size`.
    #[inline]
    pub(crate) fn take(&mut self, size: ChunkSize, alignment: usize) -> Option<NonNull<u8>> {
        let length = size.get() as u32;
        let mut here = if self.bytes() > 0 { equal(&self.lengths, length) } else { 0 };
        while here != 0 {
            let place = here.trailing_zeros() as usize;
            if self.blocks[place].is_some_and(|mem| mem.addr().get().is_multiple_of(alignment)) {
                self.is_used = true;
                self.row = 0;
                return self.take_from(place);
            }
            here &= here - 1;
        }
        self.again |= equal(&self.freed, length) & !self.many;
        None
    }

    /// Whether a block of `size` that is freed is to be kept. If not, its length is remembered.
    #[inline]
    pub(crate) fn wants(&mut self, size: ChunkSize) -> bool {
        if !self.is_for(size) {
            return false;
        }
        let length = size.get() as u32;
        let known = equal(&self.freed, length);
        if known == 0 {
            self.again &= !(1 << self.forgotten_next);
            self.many &= !(1 << self.forgotten_next);
            self.freed[self.forgotten_next] = length;
            self.forgotten_next = (self.forgotten_next + 1) % PLACES;
        }
        known & self.again != 0
    }

    /// Keeps a block of `size`, which is [wanted](Self::wants). What makes room for it goes to `each`. Where all that is here has come
    /// in a row, a program drops what it has built up, and perhaps the ends of its heaps with it: then everything goes, this block as
    /// well, and for a while no block of that length is kept.
    pub(crate) fn put(&mut self, mem: NonNull<u8>, size: ChunkSize, mut each: impl FnMut(NonNull<u8>)) {
        let mut room = self.room_for(size);
        if room.is_none() && self.row >= self.count() {
            let these = equal(&self.freed, size.get() as u32);
            self.again &= !these;
            self.many |= these;
            self.drain(&mut each);
            return each(mem);
        }
        let place = loop {
            if let Some(place) = room {
                break place;
            }
            self.take_from(self.leaves_next).into_iter().for_each(&mut each);
            self.leaves_next = (self.leaves_next + 1) % PLACES;
            room = self.room_for(size);
        };
        self.row += 1;
        magazine::set_marks(mem);
        self.blocks[place] = Some(mem);
        self.lengths[place] = size.get() as u32;
        self.set_bytes(self.bytes() + size.get());
    }

    /// The place for a block of `size`, if there is room.
    fn room_for(&self, size: ChunkSize) -> Option<usize> {
        let empty = equal(&self.lengths, 0) & self.places;
        (empty != 0 && self.bytes() + size.get() <= MOST_BYTES).then_some(empty.trailing_zeros() as usize)
    }

    /// The block of a place, if it has one. An overwritten mark ends the process.
    fn take_from(&mut self, place: usize) -> Option<NonNull<u8>> {
        let mem = self.blocks[place].take()?;
        let length = core::mem::take(&mut self.lengths[place]);
        self.set_bytes(self.bytes() - length as usize);
        magazine::take_marks(mem);
        Some(mem)
    }

    /// The clock shows `now`, in milliseconds: whether no request was served since a look that is so long ago that memory counts as
    /// unused.
    pub(crate) fn is_idle(&mut self, now: u64) -> bool {
        if now.wrapping_sub(self.looked_at) < IDLE_MS {
            return false;
        }
        self.looked_at = now;
        self.many = 0;
        !core::mem::replace(&mut self.is_used, false)
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self, each: impl FnMut(NonNull<u8>)) {
        (0..PLACES).filter_map(|place| self.take_from(place)).for_each(each);
    }

    /// Makes it whole after another thread may have been busy with it when the process forked: the rest is lost.
    pub(crate) fn recover(&mut self) {
        let mut bytes = 0;
        for (length, block) in self.lengths.iter_mut().zip(&mut self.blocks) {
            let is_sound = *length > 0 && block.is_some_and(magazine::has_marks);
            (*length, *block) = if is_sound { (*length, *block) } else { (0, None) };
            bytes += *length as usize;
        }
        self.set_bytes(bytes);
    }

    /// How many blocks are here.
    pub(crate) fn count(&self) -> usize {
        self.blocks.iter().flatten().count()
    }

    /// While nobody changes it.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn assert_consistent(&self) {
        for (&length, block) in self.lengths.iter().zip(&self.blocks) {
            let is_whole = |mem: NonNull<u8>| {
                // SAFETY: a block of an arena's.
                let chunk = unsafe { crate::chunk::ChunkPtr::from_mem(mem) };
                let size = chunk.head().and_then(|head| head.size()).map_or(0, ChunkSize::get);
                magazine::has_marks(mem) && size == length as usize
            };
            assert!(block.map_or(length == 0, is_whole), "I20: a kept buffer");
        }
        let bytes: u32 = self.lengths.iter().sum();
        assert_eq!(self.bytes(), bytes as usize, "I20: the sum");
        assert!(self.bytes() <= MOST_BYTES, "I20: the bound");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    fn size(bytes: usize) -> ChunkSize {
        ChunkSize::for_request(bytes).expect("a possible size")
    }

    fn recent() -> Recent {
        let mut recent = Recent::new();
        recent.set_limits(128, MAX_REQUEST);
        recent
    }

    /// What is looked at of a block, kept for ever.
    fn block() -> NonNull<u8> {
        NonNull::from(Box::leak(Box::new([0_u128; 2]))).cast()
    }

    /// A program frees a block of this size: whether it is kept, and what leaves.
    fn free(recent: &mut Recent, bytes: usize) -> (NonNull<u8>, Vec<NonNull<u8>>) {
        let (mem, mut left) = (block(), Vec::new());
        if recent.wants(size(bytes)) {
            recent.put(mem, size(bytes), |mem| left.push(mem));
        } else {
            left.push(mem);
        }
        (mem, left)
    }

    #[test]
    fn a_length_that_comes_back_after_it_was_freed_is_kept() {
        let mut recent = recent();
        assert_eq!(recent.take(size(16_384), 16), None);
        let (first, left) = free(&mut recent, 16_384);
        assert_eq!(left, [first], "it was asked for before it was freed only");
        assert_eq!(recent.take(size(16_384), 16), None);
        let (second, left) = free(&mut recent, 16_384);
        assert!(left.is_empty() && magazine::is_cached(second));
        assert_eq!((recent.count(), recent.bytes()), (1, 16_400));
        assert_eq!(recent.take(size(16_400), 16), None, "hardly longer is another length");
        assert_eq!(recent.take(size(16_384), 16), Some(second));
        assert!(!magazine::is_cached(second) && recent.bytes() == 0);
    }

    /// A thread filled three heaps with blocks of one length and freed them. Those that it kept were the last ones: the heaps' ends
    /// stayed where they were, and 48 MiB with them.
    #[test]
    fn what_is_built_up_and_dropped_is_not_kept() {
        let mut recent = recent();
        free(&mut recent, 60_000);
        assert_eq!(recent.take(size(60_000), 16), None);
        let (freed, left): (Vec<_>, Vec<_>) = (0..20).map(|_| free(&mut recent, 60_000)).unzip();
        let left = left.concat();
        assert!(freed.iter().all(|mem| left.contains(mem)) && recent.count() == 0);
        assert_eq!(recent.take(size(60_000), 16), None);
        assert!(!recent.wants(size(60_000)));
        recent.is_idle(1_000);
        assert_eq!(recent.take(size(60_000), 16), None);
        assert!(recent.wants(size(60_000)), "later it may come and go again");
    }

    /// A length was used for a while, then the next. All seven went together when there was no room for the eighth; the top of the heap
    /// was cut, and grew again for the next: two system calls and forty page faults for each hundred blocks.
    #[test]
    fn lengths_that_follow_each_other_make_room_one_by_one() {
        let mut recent = recent();
        for n in 0..100 {
            let bytes = 40_000 + 16 * n;
            free(&mut recent, bytes);
            assert_eq!(recent.take(size(bytes), 16), None);
            let (kept, left) = free(&mut recent, bytes);
            assert_eq!((recent.take(size(bytes), 16), left.len()), (Some(kept), usize::from(n > 5)), "{n}");
            assert!(free(&mut recent, bytes).1.is_empty());
        }
    }

    #[test]
    fn only_what_has_no_class_and_is_within_the_limits_is_kept() {
        let mut recent = recent();
        let is_for = |recent: &Recent| [8_200, 8_201, 20_000, 131_072, 131_100].map(|bytes| recent.is_for(size(bytes)));
        assert_eq!(is_for(&recent), [false, true, true, true, false]);
        recent.set_limits(1, 20_000);
        assert_eq!(is_for(&recent), [false, true, true, false, false]);
        free(&mut recent, 9_000);
        recent.take(size(9_000), 16);
        assert!(free(&mut recent, 9_000).1.is_empty());
        assert_eq!(free(&mut recent, 9_000).1.len(), 2, "one block was allowed");
        for (blocks, bytes) in [(0, MAX_REQUEST), (128, 0)] {
            recent.set_limits(blocks, bytes);
            assert_eq!(is_for(&recent), [false; 5]);
        }
    }

    #[test]
    fn eight_lengths_are_remembered_and_a_ninth_takes_the_place_of_the_first() {
        let mut recent = recent();
        (1..=9).for_each(|n| drop(free(&mut recent, n * 10_000)));
        (1..=9).for_each(|n| assert_eq!(recent.take(size(n * 10_000), 16), None));
        let kept: Vec<_> = (1..=9).rev().filter(|n| recent.wants(size(n * 10_000))).collect();
        assert_eq!(kept, [9, 8, 7, 6, 5, 4, 3, 2]);
    }

    #[test]
    fn it_is_idle_when_a_look_finds_that_nothing_was_taken_since_the_last() {
        let mut recent = recent();
        free(&mut recent, 10_000);
        recent.take(size(10_000), 16);
        free(&mut recent, 10_000);
        assert!(recent.is_idle(1_000));
        assert!(recent.take(size(10_000), 16).is_some());
        assert!(!recent.is_idle(1_299), "too soon");
        assert!(!recent.is_idle(1_300));
        assert!(recent.is_idle(1_600));
    }

    #[test]
    fn an_overwritten_block_is_found() {
        for at in 0..2 {
            let mut recent = recent();
            free(&mut recent, 10_000);
            recent.take(size(10_000), 16);
            let (mem, _) = free(&mut recent, 10_000);
            // SAFETY: within the block.
            unsafe { mem.cast::<u64>().add(at).write(0x4141_4141_4141_4141) };
            let taken = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| recent.take(size(10_000), 16)));
            assert!(taken.is_err(), "word {at}");
        }
    }

    #[test]
    fn of_places_in_doubt_the_sound_ones_are_recovered() {
        let mut recent = recent();
        free(&mut recent, 10_000);
        recent.take(size(10_000), 16);
        let [first, second] = [(); 2].map(|()| free(&mut recent, 10_000).0);
        magazine::clear(first);
        recent.recover();
        assert_eq!((recent.count(), recent.bytes()), (1, 10_016));
        assert_eq!(recent.take(size(10_000), 16), Some(second));
    }
}
