//! The quarantine: freed blocks that wait, filled, before they can be used again.
//!
//! A block that is freed takes the place of one that was freed earlier, at random, and that one is looked at and freed in
//! earnest: a write through a stale pointer shows in the fill, and nobody can tell when an address comes back.
//!
//! ```text
//!   block in quarantine   | fill | mark of a cached block | fill ...                     |
//! ```
//!
//! The mark is that of cached blocks, so that a second free is told by the same look.
//!
//! # Safety
//!
//! A block in the quarantine is nobody else's, and as long as its `whole` says.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use crate::fatal::check;
use crate::magazine;
use crate::secret;

/// Places for blocks up to [`SMALL`] bytes, and for longer ones up to [`LARGE`].
const SMALL_PLACES: usize = 512;
const LARGE_PLACES: usize = 32;
const SMALL: usize = 8 << 10;
const LARGE: usize = 128 << 10;
/// What freed memory holds.
const FILL: u8 = 0xDF;

/// A block that waits, and its usable bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) mem: NonNull<u8>,
    whole: usize,
}

// SAFETY: a freed block is whoever's the quarantine is.
unsafe impl Send for Waiting {}

impl Waiting {
    /// Fills a freed block of `whole` usable bytes. `None` when it is too long to wait.
    pub(crate) fn fill(mem: NonNull<u8>, whole: usize) -> Option<Self> {
        if whole > LARGE {
            return None;
        }
        // SAFETY: the caller's freed block.
        unsafe { mem.write_bytes(FILL, whole) };
        magazine::set_mark(mem);
        Some(Self { mem, whole })
    }

    /// The block leaves: a fill that was overwritten ends the process.
    pub(crate) fn checked(self) -> NonNull<u8> {
        check!(magazine::is_cached(self.mem), WrittenAfterFree, self.mem.addr().get());
        const WORD: usize = usize::from_ne_bytes([FILL; size_of::<usize>()]);
        magazine::fill_mark(self.mem, WORD);
        let (first, count) = (self.mem.cast::<usize>().as_ptr(), self.whole / size_of::<usize>());
        // SAFETY: the block's own bytes; usable lengths are multiples of a word.
        let words = unsafe { core::slice::from_raw_parts(first, count) };
        let differing = words.iter().fold(0, |differing, word| differing | (word ^ WORD));
        check!(differing == 0, WrittenAfterFree, self.mem.addr().get());
        magazine::clear(self.mem);
        self.mem
    }
}

/// The blocks that wait.
#[derive(Debug)]
pub(crate) struct Quarantine {
    small: [Option<Waiting>; SMALL_PLACES],
    large: [Option<Waiting>; LARGE_PLACES],
    random: u64,
}

impl Quarantine {
    pub(crate) const fn new() -> Self {
        Self { small: [None; SMALL_PLACES], large: [None; LARGE_PLACES], random: 0 }
    }

    /// Keeps a block, and hands out the one whose place it takes.
    pub(crate) fn exchange(&mut self, block: Waiting) -> Option<Waiting> {
        self.random = secret::scrambled(self.random);
        let at = (self.random >> 32) as usize;
        let place =
            if block.whole <= SMALL { &mut self.small[at % SMALL_PLACES] } else { &mut self.large[at % LARGE_PLACES] };
        place.replace(block)
    }

    /// Takes out some block, if any is left.
    pub(crate) fn take_any(&mut self) -> Option<Waiting> {
        self.small.iter_mut().chain(&mut self.large).find_map(Option::take)
    }
}
