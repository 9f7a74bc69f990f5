//! Magazines of one class on top of each other, linked through their own first blocks: pushed, popped, and read ahead.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use super::Magazine;
use super::words::{IMPOSSIBLE, Masks, load, mask, next_now, store};
use crate::class::{Class, MAGAZINE_BLOCKS};
use crate::fatal::check;

const COUNT_SHIFT: u32 = 48;
const _: () = assert!(crate::arch::ADDRESS_BITS <= COUNT_SHIFT);
/// Where the tag of the word that leads to the magazine below lies: above the count, of which [`MAGAZINE_BLOCKS`] is the most.
const TAG_SHIFT: u32 = COUNT_SHIFT + MAGAZINE_BLOCKS.ilog2() + 1;

/// How many magazines are read at the same time.
pub(crate) const ABREAST: usize = 8;
/// Blocks that follow each other at less than this, in bytes, come early by themselves: the processor sees a row within a page.
const SCATTERED: usize = 4 << 10;

/// What of the process's secret goes with an address and a count: a count that was overwritten would pass for another.
fn tag(first: NonNull<u8>, below: usize) -> usize {
    (below ^ mask(first).rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> TAG_SHIFT
}

/// What the first block of a magazine says of the one below: the address of that one's first block, and how many it has. `None` if
/// the word was overwritten.
fn below(first: NonNull<u8>) -> Option<(usize, usize)> {
    let tagged = load(first, 2) ^ mask(first);
    let below = tagged & ((1 << TAG_SHIFT) - 1);
    let address = below & ((1 << COUNT_SHIFT) - 1);
    let count = below >> COUNT_SHIFT;
    let is_possible = address & IMPOSSIBLE == 0 && count <= MAGAZINE_BLOCKS && (address == 0) == (count == 0);
    (is_possible && tagged >> TAG_SHIFT == tag(first, below)).then_some((address, count))
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
        let magazine = Magazine::listed(Some(first), class, self.count);
        let below = below(first);
        check!(below.is_some(), CachedLinkOverwritten, first.addr().get());
        let (address, count) = below.unwrap_or_default();
        store(first, 2, 0);
        *self = Self { first: NonNull::new(first.as_ptr().with_addr(address)), count };
        Some(magazine)
    }

    /// Reads the links of the next magazines, so that their blocks are in the processor's caches when they are handed out; not where
    /// the first two blocks lie near each other, as they do in a row. A list through scattered blocks is read at the pace of the
    /// memory, one block after the other; those of [`ABREAST`] magazines are read side by side. Returns how many links were read.
    pub(crate) fn read_ahead(&self, class: Class) -> usize {
        let masks = Masks::of_process();
        let follows = |mem: NonNull<u8>| next_now(mem, class, masks);
        let Some((first, second)) = self.first.and_then(|first| Some((first, follows(first)?))) else { return 0 };
        if second.addr().get().abs_diff(first.addr().get()) < SCATTERED {
            return 0;
        }
        let mut next = Some(first);
        let mut blocks = [None; ABREAST];
        for block in &mut blocks {
            *block = next;
            next = next.and_then(|first| NonNull::new(first.as_ptr().with_addr(below(first)?.0)));
        }
        let mut count = 0;
        for _ in 1..class.magazine() {
            for block in &mut blocks {
                *block = block.and_then(follows);
                count += usize::from(block.is_some());
            }
        }
        count
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
    use super::super::tests::{Block, class, mems};
    use super::super::words::clear;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Blocks each of which lies beyond a page from the next of its magazine.
    fn scattered(memory: &mut [[Block; 256]]) -> Vec<NonNull<u8>> {
        memory.iter_mut().map(|page| NonNull::from(&mut page[0]).cast()).collect()
    }

    /// Magazines of so many of these blocks each, the last on top.
    fn stack_of(mems: &[NonNull<u8>], each: usize) -> Stack {
        let mut stack = Stack::EMPTY;
        for blocks in mems.chunks(each) {
            let mut magazine = Magazine::of(class());
            blocks.iter().for_each(|&mem| magazine.push(mem));
            stack.push(magazine);
        }
        stack
    }

    #[test]
    fn a_stack_returns_whole_magazines() {
        let mut blocks = [Block { _words: [0; 4] }; 6];
        let mems = mems(&mut blocks);
        let mut stack = stack_of(&mems, 2);
        for pair in mems.chunks(2).rev() {
            let mut magazine = stack.pop(class()).expect("three were pushed");
            assert_eq!(magazine.count(), 2);
            assert_eq!([magazine.pop(), magazine.pop()], [Some(pair[1]), Some(pair[0])]);
        }
        assert!(stack.pop(class()).is_none());
    }

    #[test]
    fn the_next_magazines_are_read_through_where_they_lie_scattered() {
        let mut memory = vec![[Block { _words: [0; 4] }; 256]; 3 * (ABREAST + 2)];
        let mems = scattered(&mut memory);
        let mut stack = stack_of(&mems, 3);
        assert_eq!(stack.read_ahead(class()), 2 * ABREAST, "two links of each magazine");
        assert_eq!(stack.count(class()), mems.len());
        let mut near = [Block { _words: [0; 4] }; 6];
        assert_eq!(stack_of(&super::super::tests::mems(&mut near), 3).read_ahead(class()), 0);
        assert_eq!(Stack::EMPTY.read_ahead(class()), 0);
    }

    /// Who reads ahead finds what was overwritten before whoever takes, and leaves it to him to say so.
    #[test]
    #[should_panic(expected = "the link of a cached block was overwritten")]
    fn reading_ahead_ends_where_a_word_was_overwritten() {
        let mut memory = vec![[Block { _words: [0; 4] }; 256]; 12];
        let mems = scattered(&mut memory);
        let mut stack = stack_of(&mems, 3);
        for (mem, index, left) in [(mems[2], 0, 6), (mems[7], 1, 5), (mems[8], 2, 3)] {
            store(mem, index, 0x4141_4141_4141_4141);
            assert_eq!(stack.read_ahead(class()), left, "word {index}");
        }
        while stack.pop(class()).is_some() {}
    }

    #[test]
    fn an_overwritten_count_of_a_magazine_is_found() {
        let mut blocks = [Block { _words: [0; 4] }; 4];
        let mems = mems(&mut blocks);
        for bit in COUNT_SHIFT..usize::BITS {
            let mut stack = stack_of(&mems, 2);
            let top = stack.first.expect("two were pushed");
            store(top, 2, load(top, 2) ^ 1 << bit);
            assert!(
                std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| stack.pop(class()))).is_err(),
                "bit {bit}"
            );
            mems.iter().for_each(|&mem| clear(mem));
        }
    }
}
