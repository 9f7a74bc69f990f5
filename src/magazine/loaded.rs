//! The magazine that a thread takes from and puts into, on the fast paths of malloc and free, and from which another cuts off what
//! a thread that sleeps does not need.
#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
// Not the models' own, which no constant can have.
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::Magazine;
use super::words::{Masks, chain_len, clear, link, load, next, next_now, overwritten, unlink, word_now};
use crate::class::Class;
use crate::fatal::check;
use crate::secret;

/// How many blocks stay where a loaded magazine is cut.
pub(crate) const LEFT_BY_CUT: usize = 2;
/// How many blocks are looked at for one that is aligned.
const MOST_PASSED_BY: usize = 8;

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
        let all = Magazine::listed(NonNull::new(self.first()), class, self.count());
        self.set_first(ptr::null_mut());
        self.set_count(0);
        all
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
        Magazine::listed(Some(third), class, 0)
    }

    /// Counts the blocks, after a [`cut`](Self::cut).
    pub(crate) fn recount(&mut self, class: Class) {
        self.set_count(chain_len(NonNull::new(self.first()), class));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Block, class, mems};
    use super::super::words::store;
    use super::*;
    use std::vec::Vec;

    fn masks() -> Masks {
        Masks::of_process()
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
}
