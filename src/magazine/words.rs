//! The words of a cached block.
//!
//! It is in use as far as its arena knows. Its first two words, which are the user's at other times, say that it is cached, and
//! link it to the next of its magazine:
//!
//! ```text
//!    mem ->  | next block, masked                          |  masked: xor with this block's page number and the secret;
//!            |                                             |  in a hardened build multiplied by a secret odd number, too
//!            | cached: the address and the class, masked   |  with the secret
//!            | next magazine and count, masked             |  first block of a magazine in the depot only
//! ```
//!
//! A link is read back only if it becomes an address that a block can have; all but one in two million random overwrites do
//! not. A change of some low bits does, but only a cached block of the same class carries the mark that is looked for there: no
//! block in use is handed out, and none as longer than it is. The mark tells a double free at the next `free`, too. Both words are
//! cleared when a block is handed out or goes back to its arena, so that no address leaks, and so that no stale word is taken for
//! the mark.
//!
//! # Safety
//!
//! The three words lie within any block: the smallest has 24 bytes. A block that is cached is nobody else's.
#![allow(unsafe_code)]

use core::ptr::NonNull;
// Not the models' own, which no constant can have.
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::class::{CLASSES, Class, MAGAZINE_BLOCKS};
use crate::fatal::{Misuse, check, fatal};
use crate::secret;
use crate::size::ALIGNMENT;

/// Bits that no block's address has: the alignment's, and those above user space.
pub(super) const IMPOSSIBLE: usize = !((1 << crate::arch::ADDRESS_BITS) - 1) | (ALIGNMENT - 1);

#[inline]
fn word(mem: NonNull<u8>, index: usize) -> NonNull<usize> {
    // SAFETY: one of the first three words of a block.
    unsafe { mem.cast::<usize>().add(index) }
}

#[inline]
pub(super) fn load(mem: NonNull<u8>, index: usize) -> usize {
    // SAFETY: a word of a block that the caller has.
    unsafe { word(mem, index).read() }
}

#[inline]
pub(super) fn store(mem: NonNull<u8>, index: usize, value: usize) {
    // SAFETY: as for `load`.
    unsafe { word(mem, index).write(value) }
}

/// What the two words of cached blocks are masked with. It is the process's; each thread's cache has a copy of it, for the fast
/// paths: in a library's code a static is reached by way of the table of addresses that the loader fills in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masks {
    link: usize,
    mark: usize,
}

impl Masks {
    /// Those of the process, once its secret is drawn.
    #[inline(always)]
    pub(crate) fn of_process() -> Self {
        Self { link: secret::mask(), mark: secret::mark_key() }
    }

    /// What a link in the block is masked with.
    #[inline(always)]
    pub(super) fn link(self, mem: NonNull<u8>) -> usize {
        mem.addr().get() >> 12 ^ self.link
    }

    /// The mark of a cached block of `class`.
    #[inline(always)]
    pub(super) fn mark(self, mem: NonNull<u8>, class: Class) -> usize {
        mem.addr().get().wrapping_add(class.offset()) ^ self.mark
    }
}

pub(super) fn mask(mem: NonNull<u8>) -> usize {
    Masks::of_process().link(mem)
}

/// Whether `word` is the mark of the block, for whatever class.
#[inline]
fn is_mark(mem: NonNull<u8>, word: usize) -> bool {
    // Any low bit becomes a high one. One more than there are classes: see `set_mark`.
    (word ^ secret::mark_key()).wrapping_sub(mem.addr().get()).rotate_right(ALIGNMENT.ilog2()) <= CLASSES
}

/// Whether the block says that it is cached: if so it is, and freeing it once more is misuse.
#[inline]
pub(crate) fn is_cached(mem: NonNull<u8>) -> bool {
    !cfg!(heapwright_unchecked) && is_mark(mem, load(mem, 1))
}

/// The mark of a block that waits elsewhere than in a magazine: that of a cached one of no class.
fn mark_of_no_class(mem: NonNull<u8>) -> usize {
    mem.addr().get().wrapping_add(CLASSES * ALIGNMENT) ^ secret::mark_key()
}

/// Gives a block that mark.
#[cfg(feature = "hardened")]
pub(crate) fn set_mark(mem: NonNull<u8>) {
    store(mem, 1, mark_of_no_class(mem));
}

/// Gives a block that mark in place of a link, too.
pub(crate) fn set_marks(mem: NonNull<u8>) {
    let mark = mark_of_no_class(mem);
    store(mem, 0, mark);
    store(mem, 1, mark);
}

/// Whether a block has both.
pub(crate) fn has_marks(mem: NonNull<u8>) -> bool {
    let mark = mark_of_no_class(mem);
    load(mem, 0) == mark && load(mem, 1) == mark
}

/// Takes both off again; one that was overwritten ends the process.
pub(crate) fn take_marks(mem: NonNull<u8>) {
    check!(has_marks(mem), CachedMarkOverwritten, mem.addr().get());
    clear(mem);
}

/// Overwrites the mark with `word`.
#[cfg(feature = "hardened")]
pub(crate) fn fill_mark(mem: NonNull<u8>, word: usize) {
    store(mem, 1, word);
}

/// The link or the mark of a cached block is not what was written.
#[cold]
#[inline(never)]
pub(super) fn overwritten(mem: NonNull<u8>) -> ! {
    let misuse = if is_cached(mem) { Misuse::CachedLinkOverwritten } else { Misuse::CachedMarkOverwritten };
    fatal(misuse, mem.addr().get())
}

/// A word of a block that may be in another thread's hands at the moment.
pub(super) fn word_now<'a>(mem: NonNull<u8>, index: usize) -> &'a AtomicUsize {
    // SAFETY: an aligned word of any block; whoever writes it, it is read in one piece.
    unsafe { word(mem, index).cast().as_ref() }
}

/// As [`is_cached`], for a block that may be in another thread's hands at the moment.
pub(crate) fn is_cached_now(mem: NonNull<u8>) -> bool {
    is_mark(mem, word_now(mem, 1).load(Ordering::Relaxed))
}

/// The block is neither cached nor free any more, or is about to go to its arena.
#[inline]
pub(crate) fn clear(mem: NonNull<u8>) {
    store(mem, 0, 0);
    store(mem, 1, 0);
}

/// Makes a block cached: marked as one of `class`, and linked to `next`.
#[inline(always)]
pub(super) fn link(mem: NonNull<u8>, next: *mut u8, class: Class, masks: Masks) {
    store(mem, 0, secret::mixed(next.addr() ^ masks.link(mem)));
    store(mem, 1, masks.mark(mem, class));
}

/// What a cached block's link says.
#[inline(always)]
pub(super) fn unmasked(mem: NonNull<u8>, masks: Masks) -> usize {
    secret::unmixed(load(mem, 0)) ^ masks.link(mem)
}

/// The block that a cached block of `class` is linked to. An overwritten link or mark ends the process.
#[inline(always)]
pub(super) fn next(mem: NonNull<u8>, class: Class, masks: Masks) -> *mut u8 {
    let next = unmasked(mem, masks);
    if !cfg!(heapwright_unchecked) && next & IMPOSSIBLE | load(mem, 1) ^ masks.mark(mem, class) != 0 {
        overwritten(mem);
    }
    mem.as_ptr().with_addr(next)
}

/// As [`next`], for a block that may be in another thread's hands at the moment: `None` as well where it is not cached.
pub(super) fn next_now(mem: NonNull<u8>, class: Class, masks: Masks) -> Option<NonNull<u8>> {
    let [link, mark] = [0, 1].map(|index| word_now(mem, index).load(Ordering::Relaxed));
    let next = secret::unmixed(link) ^ masks.link(mem);
    let is_sound = next & IMPOSSIBLE == 0 && mark == masks.mark(mem, class);
    if is_sound { NonNull::new(mem.as_ptr().with_addr(next)) } else { None }
}

/// How many blocks are linked to each other from `first` on; no more than a magazine has.
pub(super) fn chain_len(first: Option<NonNull<u8>>, class: Class) -> usize {
    let masks = Masks::of_process();
    let next = |&mem: &NonNull<u8>| NonNull::new(next(mem, class, masks));
    core::iter::successors(first, next).take(MAGAZINE_BLOCKS).count()
}

/// The block that a cached block of `class` is linked to, which is cleared. An overwritten link or mark ends the process.
#[inline(always)]
pub(super) fn unlink(mem: NonNull<u8>, class: Class, masks: Masks) -> *mut u8 {
    let next = next(mem, class, masks);
    clear(mem);
    next
}
