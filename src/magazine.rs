//! Cached blocks, and magazines: lists of them that move as one.
//!
//! A cached block is in use as far as its arena knows. Its first two words, which are the user's at other times, say that
//! it is cached, and link it to the next of its magazine:
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

use core::ptr::{self, NonNull};
// Not the models' own, which no constant can have.
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::class::{CLASSES, Class, MAGAZINE_BLOCKS};
use crate::fatal::{Misuse, check, fatal};
use crate::secret;
use crate::size::ALIGNMENT;

/// Bits that no block's address has: the alignment's, and those above user space.
const IMPOSSIBLE: usize = !((1 << crate::arch::ADDRESS_BITS) - 1) | (ALIGNMENT - 1);
const COUNT_SHIFT: u32 = 48;
/// How many blocks stay where a loaded magazine is cut.
pub(crate) const LEFT_BY_CUT: usize = 2;
/// How many blocks are looked at for one that is aligned.
const MOST_PASSED_BY: usize = 8;
const _: () = assert!(crate::arch::ADDRESS_BITS <= COUNT_SHIFT);

#[inline]
fn word(mem: NonNull<u8>, index: usize) -> NonNull<usize> {
    // SAFETY: one of the first three words of a block.
    unsafe { mem.cast::<usize>().add(index) }
}

#[inline]
fn load(mem: NonNull<u8>, index: usize) -> usize {
    // SAFETY: a word of a block that the caller has.
    unsafe { word(mem, index).read() }
}

#[inline]
fn store(mem: NonNull<u8>, index: usize, value: usize) {
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
    fn link(self, mem: NonNull<u8>) -> usize {
        mem.addr().get() >> 12 ^ self.link
    }

    /// The mark of a cached block of `class`.
    #[inline(always)]
    fn mark(self, mem: NonNull<u8>, class: Class) -> usize {
        mem.addr().get().wrapping_add(class.offset()) ^ self.mark
    }
}

fn mask(mem: NonNull<u8>) -> usize {
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
fn overwritten(mem: NonNull<u8>) -> ! {
    let misuse = if is_cached(mem) { Misuse::CachedLinkOverwritten } else { Misuse::CachedMarkOverwritten };
    fatal(misuse, mem.addr().get())
}

/// A word of a block that may be in another thread's hands at the moment.
fn word_now<'a>(mem: NonNull<u8>, index: usize) -> &'a AtomicUsize {
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
fn link(mem: NonNull<u8>, next: *mut u8, class: Class, masks: Masks) {
    store(mem, 0, secret::mixed(next.addr() ^ masks.link(mem)));
    store(mem, 1, masks.mark(mem, class));
}

/// What a cached block's link says.
#[inline(always)]
fn unmasked(mem: NonNull<u8>, masks: Masks) -> usize {
    secret::unmixed(load(mem, 0)) ^ masks.link(mem)
}

/// The block that a cached block of `class` is linked to. An overwritten link or mark ends the process.
#[inline(always)]
fn next(mem: NonNull<u8>, class: Class, masks: Masks) -> *mut u8 {
    let next = unmasked(mem, masks);
    if !cfg!(heapwright_unchecked) && next & IMPOSSIBLE | load(mem, 1) ^ masks.mark(mem, class) != 0 {
        overwritten(mem);
    }
    mem.as_ptr().with_addr(next)
}

/// As [`next`], for a block that may be in another thread's hands at the moment: `None` as well where it is not cached.
fn next_now(mem: NonNull<u8>, class: Class, masks: Masks) -> Option<NonNull<u8>> {
    let [link, mark] = [0, 1].map(|index| word_now(mem, index).load(Ordering::Relaxed));
    let next = secret::unmixed(link) ^ masks.link(mem);
    let is_sound = next & IMPOSSIBLE == 0 && mark == masks.mark(mem, class);
    if is_sound { NonNull::new(mem.as_ptr().with_addr(next)) } else { None }
}

/// How many blocks are linked to each other from `first` on; no more than a magazine has.
fn chain_len(first: Option<NonNull<u8>>, class: Class) -> usize {
    let masks = Masks::of_process();
    let next = |&mem: &NonNull<u8>| NonNull::new(next(mem, class, masks));
    core::iter::successors(first, next).take(MAGAZINE_BLOCKS).count()
}

/// The block that a cached block of `class` is linked to, which is cleared. An overwritten link or mark ends the process.
#[inline(always)]
fn unlink(mem: NonNull<u8>, class: Class, masks: Masks) -> *mut u8 {
    let next = next(mem, class, masks);
    clear(mem);
    next
}

/// A list of cached blocks of one class.
#[derive(Debug)]
pub(crate) struct Magazine {
    first: Option<NonNull<u8>>,
    class: Class,
    /// Written by the owner only, as an atomic, because whoever asks for figures reads it too. Relaxed: a count.
    count: AtomicU32,
}

// SAFETY: cached blocks are whoever's the magazine is.
unsafe impl Send for Magazine {}

impl Magazine {
    /// Of blocks of `class`, as which it has none.
    #[inline]
    pub(crate) const fn of(class: Class) -> Self {
        Self { first: None, class, count: AtomicU32::new(0) }
    }

    /// The class of its blocks.
    pub(crate) const fn class(&self) -> Class {
        self.class
    }

    /// Bytes of its chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.count() * self.class.chunk().get()
    }

    /// How many blocks it holds.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed) as usize
    }

    #[inline]
    fn set_count(&self, count: usize) {
        self.count.store(count as u32, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds a block. The list is whole at every moment, as a fork in another thread would find it.
    #[inline]
    pub(crate) fn push(&mut self, mem: NonNull<u8>) {
        check!(self.first != Some(mem), DoubleFree, mem.addr().get());
        link(mem, self.first.map_or(ptr::null_mut(), NonNull::as_ptr), self.class, Masks::of_process());
        self.first = Some(mem);
        self.set_count(self.count() + 1);
    }

    /// Takes a block out, cleared; an overwritten link ends the process.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<NonNull<u8>> {
        let mem = self.first?;
        // A block of it was freed again with its mark overwritten: another magazine's blocks are behind it now.
        check!(self.count() > 0, CachedMarkOverwritten, mem.addr().get());
        self.first = NonNull::new(unlink(mem, self.class, Masks::of_process()));
        self.set_count(self.count() - 1);
        Some(mem)
    }

    /// The block that would be popped next.
    #[inline]
    pub(crate) fn first(&self) -> Option<NonNull<u8>> {
        self.first
    }

    /// Changes the order of the blocks at random, so that neighbours are not handed out one after the other.
    #[cfg(feature = "hardened")]
    pub(crate) fn shuffle(&mut self) {
        let mut blocks = [None; MAGAZINE_BLOCKS];
        let count = self.count().min(blocks.len());
        blocks[..count].fill_with(|| self.pop());
        let mut random = self.first.map_or(0, |first| first.addr().get() as u64);
        for left in (1..=count).rev() {
            random = secret::scrambled(random);
            blocks.swap(left - 1, (random >> 32) as usize % left);
        }
        blocks.into_iter().flatten().for_each(|mem| self.push(mem));
    }

    /// Takes everything.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        let count = AtomicU32::new(self.count() as u32);
        self.set_count(0);
        Self { first: self.first.take(), class: self.class, count }
    }

    /// Counts its blocks, which were [cut](Loaded::cut) off.
    pub(crate) fn recount(&mut self) {
        self.set_count(chain_len(self.first, self.class));
    }

    /// Becomes `other`, which an empty magazine can.
    #[inline]
    pub(crate) fn refill(&mut self, other: Self) {
        debug_assert!(self.is_empty() && self.class == other.class);
        self.first = other.first;
        self.set_count(other.count());
    }

    /// A magazine that another process's thread may have been busy with: as much of it as is beyond doubt, but at most
    /// `most` blocks. The rest is lost.
    pub(crate) fn recovered(&mut self, most: usize) -> Self {
        let mut whole = Self::of(self.class);
        let (mut next, masks) = (self.take().first, Masks::of_process());
        while let Some(mem) = next.filter(|&mem| load(mem, 1) == masks.mark(mem, whole.class) && whole.count() < most) {
            let link = unmasked(mem, masks);
            if link & IMPOSSIBLE != 0 {
                break;
            }
            next = NonNull::new(mem.as_ptr().with_addr(link));
            whole.push(mem);
        }
        whole
    }
}

/// The magazine that a thread takes from and puts into, and how much it may hold: all that a request that is served by
/// the cache, or a free, needs of the cache, in a quarter of a cache line.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct Loaded {
    /// Null when there is none. Written by the owner only, as an atomic, because whoever takes from an idle cache reads it.
    first: AtomicPtr<u8>,
    /// As a [`Magazine`]'s.
    count: AtomicU32,
    /// 0 when nothing is to be cached, and when another thread has rung. Relaxed: whoever rings makes the owner look
    /// elsewhere.
    capacity: AtomicU32,
}

const _: () = assert!(size_of::<Loaded>() == 16);

impl Loaded {
    #[expect(clippy::declare_interior_mutable_const, reason = "a value to begin with")]
    pub(crate) const EMPTY: Self =
        Self { first: AtomicPtr::new(ptr::null_mut()), count: AtomicU32::new(0), capacity: AtomicU32::new(0) };

    #[inline(always)]
    fn first(&self) -> *mut u8 {
        self.first.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set_first(&self, first: *mut u8) {
        self.first.store(first, Ordering::Relaxed);
    }

    /// How many blocks it holds.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed) as usize
    }

    #[inline(always)]
    fn set_count(&self, count: usize) {
        self.count.store(count as u32, Ordering::Relaxed);
    }

    /// How many blocks it may hold.
    #[inline(always)]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed) as usize
    }

    /// Lets it hold so many. What it holds beyond that stays.
    pub(crate) fn set_capacity(&self, blocks: usize) {
        self.capacity.store(blocks as u32, Ordering::Relaxed);
    }

    /// Adds a block of `class`, which is its own, as [`Magazine::push`] does. `false`, and nothing is done, when there is no
    /// room, or the block says that it is cached already: its free is misuse then, which is for the slow path to say.
    #[inline(always)]
    pub(crate) fn push(&mut self, mem: NonNull<u8>, class: Class, masks: &Masks) -> bool {
        let count = self.count();
        if !cfg!(heapwright_unchecked) && load(mem, 1) == masks.mark(mem, class) || count >= self.capacity() {
            return false;
        }
        let first = self.first();
        check!(first != mem.as_ptr(), DoubleFree, mem.addr().get());
        link(mem, first, class, *masks);
        self.set_first(mem.as_ptr());
        self.set_count(count + 1);
        true
    }

    /// Takes a block out, as [`Magazine::pop`] does.
    #[inline(always)]
    pub(crate) fn pop(&mut self, class: Class, masks: &Masks) -> Option<NonNull<u8>> {
        let mem = NonNull::new(self.first())?;
        let next = unlink(mem, class, *masks);
        self.set_first(next);
        crate::arch::prefetch(next);
        // As for a magazine. Too dear here in a release build: there the other magazine finds that its blocks are cached no more.
        if cfg!(debug_assertions) && self.count() == 0 {
            overwritten(mem);
        }
        self.set_count(self.count() - 1);
        Some(mem)
    }

    /// Takes out the first block that lies at a multiple of `alignment`, if it is among the first few. Blocks that were asked
    /// for with an alignment come back here, among others of their size.
    pub(crate) fn pop_aligned(&mut self, class: Class, alignment: usize) -> Option<NonNull<u8>> {
        let masks = Masks::of_process();
        let mut before = None;
        let mut at = self.first();
        for _ in 0..MOST_PASSED_BY {
            let mem = NonNull::new(at)?;
            at = next(mem, class, masks);
            if mem.addr().get().is_multiple_of(alignment) {
                match before {
                    Some(before) => link(before, at, class, masks),
                    None => self.set_first(at),
                }
                clear(mem);
                self.set_count(self.count().saturating_sub(1));
                return Some(mem);
            }
            before = Some(mem);
        }
        None
    }

    /// Takes everything.
    pub(crate) fn take(&mut self, class: Class) -> Magazine {
        let count = AtomicU32::new(self.count() as u32);
        let first = NonNull::new(self.first());
        self.set_first(ptr::null_mut());
        self.set_count(0);
        Magazine { first, class, count }
    }

    /// Holds the blocks of `magazine`, when it is empty.
    pub(crate) fn load(&mut self, magazine: Magazine) {
        debug_assert!(self.first().is_null());
        self.set_first(magazine.first.map_or(ptr::null_mut(), NonNull::as_ptr));
        self.set_count(magazine.count());
    }

    /// Takes out what lies behind the second block, while the owner may be in the middle of taking one out or putting one in, for as
    /// long as he likes, but begins nothing new. Whatever he has read so far, he comes to an end with the blocks that stay:
    ///
    /// ```text
    ///   first -> A -> B -> C -> D       a pop that has read A leaves B as the first one
    ///   first -> A -> B    C -> D       a push that has read A puts its block before it
    /// ```
    ///
    /// Where he has come so far that A carries no mark any more, nothing is taken. What is left and what is taken has to be
    /// [counted](Self::recount).
    pub(crate) fn cut(&self, class: Class) -> Magazine {
        let masks = Masks::of_process();
        let first = NonNull::new(self.first());
        let second = first.and_then(|first| next_now(first, class, masks));
        let third = second.and_then(|second| Some((second, next_now(second, class, masks)?)));
        let Some((second, third)) = third else { return Magazine::of(class) };
        word_now(second, 0).store(secret::mixed(masks.link(second)), Ordering::Relaxed);
        self.set_count(LEFT_BY_CUT);
        Magazine { first: Some(third), class, count: AtomicU32::new(0) }
    }

    /// Counts the blocks, after a [`cut`](Self::cut).
    pub(crate) fn recount(&mut self, class: Class) {
        self.set_count(chain_len(NonNull::new(self.first()), class));
    }
}

/// Where the tag of the word that leads to the magazine below lies: above the count, of which [`MAGAZINE_BLOCKS`] is the most.
const TAG_SHIFT: u32 = COUNT_SHIFT + MAGAZINE_BLOCKS.ilog2() + 1;

/// What of the process's secret goes with an address and a count: a count that was overwritten would pass for another.
fn tag(first: NonNull<u8>, below: usize) -> usize {
    (below ^ mask(first).rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> TAG_SHIFT
}

/// Magazines of one class on top of each other; the first block of each leads to the next.
#[derive(Debug)]
pub(crate) struct Stack {
    /// The magazine on top.
    first: Option<NonNull<u8>>,
    count: usize,
}

// SAFETY: as for a magazine.
unsafe impl Send for Stack {}

impl Stack {
    pub(crate) const EMPTY: Self = Self { first: None, count: 0 };

    pub(crate) fn push(&mut self, magazine: Magazine) {
        if let Some(first) = magazine.first {
            let below = self.first.map_or(0, |below| below.addr().get()) | self.count << COUNT_SHIFT;
            store(first, 2, (below | tag(first, below) << TAG_SHIFT) ^ mask(first));
            *self = Self { first: Some(first), count: magazine.count() };
        }
    }

    /// Takes the magazine on top, of blocks of `class` as all of them.
    pub(crate) fn pop(&mut self, class: Class) -> Option<Magazine> {
        let first = self.first.take()?;
        let magazine = Magazine { first: Some(first), class, count: AtomicU32::new(self.count as u32) };
        let tagged = load(first, 2) ^ mask(first);
        let below = tagged & ((1 << TAG_SHIFT) - 1);
        let address = below & ((1 << COUNT_SHIFT) - 1);
        let count = below >> COUNT_SHIFT;
        let is_possible = address & IMPOSSIBLE == 0 && count <= MAGAZINE_BLOCKS && (address == 0) == (count == 0);
        check!(is_possible && tagged >> TAG_SHIFT == tag(first, below), CachedLinkOverwritten, first.addr().get());
        store(first, 2, 0);
        *self = Self { first: NonNull::new(first.as_ptr().with_addr(address)), count };
        Some(magazine)
    }
}

#[cfg(any(test, fuzzing))]
impl Stack {
    /// Blocks of all magazines.
    pub(crate) fn count(&mut self, class: Class) -> usize {
        let magazines: std::vec::Vec<Magazine> = core::iter::from_fn(|| self.pop(class)).collect();
        let count = magazines.iter().map(Magazine::count).sum();
        magazines.into_iter().rev().for_each(|magazine| self.push(magazine));
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[repr(align(32))]
    #[derive(Clone, Copy)]
    struct Block {
        _words: [u64; 4],
    }

    fn class() -> Class {
        Class::of_request(24).expect("a small request")
    }

    fn masks() -> Masks {
        Masks::of_process()
    }

    fn mems(blocks: &mut [Block]) -> Vec<NonNull<u8>> {
        blocks.iter_mut().map(|block| NonNull::from(block).cast()).collect()
    }

    #[test]
    fn blocks_come_back_last_in_first_out_and_cleared() {
        let mut blocks = [Block { _words: [7; 4] }; 5];
        let mems = mems(&mut blocks);
        let mut magazine = Magazine::of(class());
        mems.iter().for_each(|&mem| magazine.push(mem));
        assert!(mems.iter().all(|&mem| is_cached(mem)));
        let popped: Vec<_> = core::iter::from_fn(|| magazine.pop()).collect();
        assert!(popped.iter().rev().eq(&mems));
        assert!(mems.iter().all(|&mem| !is_cached(mem) && load(mem, 0) == 0 && load(mem, 1) == 0));
    }

    /// A fuzzer found it: a change of some low bits of a link led to a cached block of another class, which was handed out as
    /// one of this, and was shorter.
    #[test]
    #[cfg(not(feature = "hardened"))]
    #[should_panic(expected = "a cached block was overwritten")]
    fn a_link_that_leads_to_a_block_of_another_class_is_found() {
        let mut blocks = [Block { _words: [0; 4] }; 4];
        let mems = mems(&mut blocks);
        let other = Class::of_request(25).expect("a small request");
        let (mut magazine, mut longer) = (Magazine::of(class()), Magazine::of(other));
        magazine.push(mems[0]);
        longer.push(mems[1]);
        // The fuzzer changed bits; this is what they came to.
        store(mems[0], 0, mems[1].addr().get() ^ mask(mems[0]));
        magazine.set_count(2);
        assert_eq!(magazine.pop(), Some(mems[0]), "its own mark and a possible link: nothing to be seen yet");
        magazine.pop();
    }

    #[test]
    fn an_aligned_block_leaves_from_between_others() {
        let mut blocks = [Block { _words: [7; 4] }; 24];
        let mems = mems(&mut blocks);
        let (aligned, plain): (Vec<_>, Vec<_>) = mems.iter().partition(|mem| mem.addr().get().is_multiple_of(64));
        let mut loaded = Loaded::EMPTY;
        loaded.set_capacity(64);
        let order = [plain[0], aligned[0], plain[1], plain[2], aligned[1]];
        order.into_iter().for_each(|mem| assert!(loaded.push(mem, class(), &masks())));
        assert_eq!(
            [loaded.pop_aligned(class(), 64), loaded.pop_aligned(class(), 64)],
            [Some(aligned[1]), Some(aligned[0])]
        );
        assert_eq!((loaded.pop_aligned(class(), 64), loaded.count()), (None, 3));
        assert!(loaded.push(aligned[2], class(), &masks()));
        plain[3..3 + MOST_PASSED_BY].iter().for_each(|&mem| assert!(loaded.push(mem, class(), &masks())));
        assert_eq!(loaded.pop_aligned(class(), 64), None, "too far back");
        assert!(aligned[..2].iter().all(|&mem| load(mem, 0) == 0 && load(mem, 1) == 0));
        let rest: Vec<_> = core::iter::from_fn(|| loaded.pop(class(), &masks())).collect();
        let behind = [aligned[2], plain[2], plain[1], plain[0]];
        assert!(rest.iter().eq(plain[3..3 + MOST_PASSED_BY].iter().rev().chain(&behind)));
    }

    /// These blocks, the last on top.
    fn loaded(mems: &[NonNull<u8>]) -> Loaded {
        let mut loaded = Loaded::EMPTY;
        loaded.set_capacity(64);
        mems.iter().for_each(|&mem| assert!(loaded.push(mem, class(), &masks())));
        loaded
    }

    /// All blocks, which are as many as they are counted.
    fn rest(mut loaded: Loaded) -> Vec<NonNull<u8>> {
        loaded.recount(class());
        let count = loaded.count();
        let rest: Vec<_> = core::iter::from_fn(|| loaded.pop(class(), &masks())).collect();
        assert_eq!(rest.len(), count);
        rest
    }

    #[test]
    fn what_lies_behind_the_second_block_is_cut_off() {
        for len in 0..5 {
            let mut blocks = [Block { _words: [0; 4] }; 5];
            let mems = mems(&mut blocks);
            let loaded = loaded(&mems[..len]);
            let mut taken = loaded.cut(class());
            taken.recount();
            assert_eq!((taken.count(), loaded.count()), (len.saturating_sub(2), len.min(2)));
            let taken: Vec<_> = core::iter::from_fn(|| taken.pop()).collect();
            assert!(rest(loaded).iter().chain(&taken).eq(mems[..len].iter().rev()));
        }
    }

    /// Each step of a pop and of a push that a cut may come in front of: what the owner has read before that is what it goes on with.
    #[test]
    fn a_fast_path_that_is_cut_comes_to_an_end_with_the_blocks_that_stay() {
        for step in 0..3 {
            let mut blocks = [Block { _words: [0; 4] }; 5];
            let mems = mems(&mut blocks);
            let loaded = loaded(&mems);
            let (first, second) = (mems[4], mems[3]);
            if step > 0 {
                clear(first);
            }
            if step > 1 {
                loaded.set_first(second.as_ptr());
            }
            let mut taken = loaded.cut(class());
            clear(first);
            loaded.set_first(second.as_ptr());
            taken.recount();
            assert_eq!(taken.count(), [3, 0, 2][step], "none while the first block is neither cached nor gone");
            let left = rest(loaded);
            assert_eq!(left.first(), Some(&second));
            assert_eq!(left.len() + taken.count(), 4);
        }
        for step in 0..2 {
            let mut blocks = [Block { _words: [0; 4] }; 5];
            let mems = mems(&mut blocks);
            let loaded = loaded(&mems[..4]);
            link(mems[4], mems[3].as_ptr(), class(), masks());
            if step > 0 {
                loaded.set_first(mems[4].as_ptr());
            }
            let mut taken = loaded.cut(class());
            loaded.set_first(mems[4].as_ptr());
            taken.recount();
            assert_eq!((rest(loaded).len(), taken.count()), [(3, 2), (2, 3)][step]);
        }
    }

    #[test]
    #[should_panic(expected = "the link of a cached block was overwritten")]
    fn an_overwritten_link_is_found_on_the_way_to_an_aligned_block() {
        let mut blocks = [Block { _words: [0; 4] }; 4];
        let mems = mems(&mut blocks);
        let mut loaded = Loaded::EMPTY;
        loaded.set_capacity(64);
        mems.iter().for_each(|&mem| assert!(loaded.push(mem, class(), &masks())));
        store(mems[3], 0, 0x4141_4141_4141_4141);
        loaded.pop_aligned(class(), 1 << 20);
    }

    #[test]
    fn a_stack_returns_whole_magazines() {
        let mut blocks = [Block { _words: [0; 4] }; 6];
        let mems = mems(&mut blocks);
        let mut stack = Stack::EMPTY;
        for pair in mems.chunks(2) {
            let mut magazine = Magazine::of(class());
            pair.iter().for_each(|&mem| magazine.push(mem));
            stack.push(magazine);
        }
        for pair in mems.chunks(2).rev() {
            let mut magazine = stack.pop(class()).expect("three were pushed");
            assert_eq!(magazine.count(), 2);
            assert_eq!([magazine.pop(), magazine.pop()], [Some(pair[1]), Some(pair[0])]);
        }
        assert!(stack.pop(class()).is_none());
    }

    #[test]
    #[should_panic(expected = "the link of a cached block was overwritten")]
    fn an_overwritten_link_is_found() {
        let mut blocks = [Block { _words: [0; 4] }; 2];
        let mems = mems(&mut blocks);
        let mut magazine = Magazine::of(class());
        mems.iter().for_each(|&mem| magazine.push(mem));
        store(mems[1], 0, 0x4141_4141_4141_4141);
        magazine.pop();
    }

    /// A fuzzer found it: a block that waited in a magazine was freed again, its mark overwritten, and went into another. The
    /// first then led into the second, and was emptied until its count was below zero.
    #[test]
    #[should_panic(expected = "the mark of a cached block was overwritten")]
    fn a_magazine_that_leads_into_another_is_found() {
        let mut blocks = [Block { _words: [0; 4] }; 4];
        let mems = mems(&mut blocks);
        let (mut first, mut second) = (Magazine::of(class()), Magazine::of(class()));
        [mems[0], mems[1]].into_iter().for_each(|mem| first.push(mem));
        [mems[2], mems[3]].into_iter().for_each(|mem| second.push(mem));
        store(mems[1], 1, 0x4141_4141_4141_4141);
        second.push(mems[1]);
        while first.pop().is_some() {}
    }

    #[test]
    fn an_overwritten_count_of_a_magazine_is_found() {
        let mut blocks = [Block { _words: [0; 4] }; 4];
        let mems = mems(&mut blocks);
        for bit in COUNT_SHIFT..usize::BITS {
            let mut stack = Stack::EMPTY;
            for pair in mems.chunks(2) {
                let mut magazine = Magazine::of(class());
                pair.iter().for_each(|&mem| magazine.push(mem));
                stack.push(magazine);
            }
            let top = stack.first.expect("two were pushed");
            store(top, 2, load(top, 2) ^ 1 << bit);
            assert!(
                std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| stack.pop(class()))).is_err(),
                "bit {bit}"
            );
            mems.iter().for_each(|&mem| clear(mem));
        }
    }

    #[test]
    fn of_a_magazine_in_doubt_the_sound_part_is_recovered() {
        let mut blocks = [Block { _words: [0; 4] }; 4];
        let mems = mems(&mut blocks);
        let mut magazine = Magazine::of(class());
        mems.iter().for_each(|&mem| magazine.push(mem));
        magazine.set_count(77);
        clear(mems[1]);
        assert_eq!(magazine.recovered(64).count(), 2);
    }
}
