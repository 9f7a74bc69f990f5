//! Magazines: lists of cached blocks of one class that move as one.
//!
//! ```text
//!   words    what a cached block says of itself
//!   loaded   the magazine that a thread takes from and puts into
//!   stack    magazines on top of each other, as they wait in the depot
//! ```
#![allow(unsafe_code)]

mod loaded;
mod stack;
mod words;

use core::ptr::{self, NonNull};
// Not the models' own, which no constant can have.
use core::sync::atomic::{AtomicU32, Ordering};

use crate::class::Class;
#[cfg(feature = "hardened")]
use crate::class::MAGAZINE_BLOCKS;
use crate::fatal::check;
#[cfg(feature = "hardened")]
use crate::secret;
pub(crate) use loaded::{LEFT_BY_CUT, Loaded};
pub(crate) use stack::{ABREAST, Stack};
#[cfg(any(test, feature = "hardened"))]
pub(crate) use words::clear;
use words::{IMPOSSIBLE, chain_len, link, load, unlink, unmasked};
pub(crate) use words::{Masks, has_marks, is_cached, is_cached_now, set_marks, take_marks};
#[cfg(feature = "hardened")]
pub(crate) use words::{fill_mark, set_mark};

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

    /// These blocks of `class`, `count` of them, the first of which leads to the others.
    fn listed(first: Option<NonNull<u8>>, class: Class, count: usize) -> Self {
        Self { first, class, count: AtomicU32::new(count as u32) }
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
        let count = self.count();
        self.set_count(0);
        Self::listed(self.first.take(), self.class, count)
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

#[cfg(test)]
mod tests {
    use super::words::store;
    use super::*;
    use std::vec::Vec;

    #[repr(align(32))]
    #[derive(Clone, Copy)]
    pub(super) struct Block {
        pub(super) _words: [u64; 4],
    }

    pub(super) fn class() -> Class {
        Class::of_request(24).expect("a small request")
    }

    pub(super) fn mems(blocks: &mut [Block]) -> Vec<NonNull<u8>> {
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
        store(mems[0], 0, mems[1].addr().get() ^ words::mask(mems[0]));
        magazine.set_count(2);
        assert_eq!(magazine.pop(), Some(mems[0]), "its own mark and a possible link: nothing to be seen yet");
        magazine.pop();
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
