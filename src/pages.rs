//! Ranges of whole pages, by number.
//!
//! What the system gives and takes back are pages, so whatever remembers which memory has been touched counts in them.
//! A range is from its first page up to, and without, its end; every empty range is the same one.

use crate::arch::PAGE_LEN;
use crate::size::round_down;

/// Consecutive pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    first: usize,
    end: usize,
}

impl Pages {
    /// No page.
    pub(crate) const NONE: Self = Self { first: 0, end: 0 };

    /// From page number `first` up to `end`.
    #[inline]
    pub(crate) const fn new(first: usize, end: usize) -> Self {
        if first < end { Self { first, end } } else { Self::NONE }
    }

    /// The whole pages between two addresses.
    #[inline]
    pub(crate) const fn between(from: usize, to: usize) -> Self {
        Self::new(from.div_ceil(PAGE_LEN), round_down(to, PAGE_LEN) / PAGE_LEN)
    }

    /// The pages that have a byte between two addresses.
    pub(crate) const fn touched_between(from: usize, to: usize) -> Self {
        Self::new(from / PAGE_LEN, to.div_ceil(PAGE_LEN))
    }

    /// How many pages.
    #[inline]
    pub(crate) const fn count(self) -> usize {
        self.end - self.first
    }

    #[inline]
    pub(crate) const fn is_empty(self) -> bool {
        self.count() == 0
    }

    /// The number of the first page.
    #[inline]
    pub(crate) const fn first(self) -> usize {
        self.first
    }

    /// The number of the page behind the last.
    #[inline]
    pub(crate) const fn end(self) -> usize {
        self.end
    }

    /// The address of the first page.
    #[inline]
    pub(crate) const fn start_address(self) -> usize {
        self.first * PAGE_LEN
    }

    /// The address behind the last page.
    #[inline]
    pub(crate) const fn end_address(self) -> usize {
        self.end * PAGE_LEN
    }

    /// The length in bytes.
    #[inline]
    pub(crate) const fn len(self) -> usize {
        self.count() * PAGE_LEN
    }

    /// The pages of both.
    #[inline]
    pub(crate) fn meet(self, other: Self) -> Self {
        Self::new(self.first.max(other.first), self.end.min(other.end))
    }

    /// The shortest range with the pages of either.
    #[inline]
    pub(crate) fn hull(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Self::new(self.first.min(other.first), self.end.max(other.end))
    }

    /// All but the last `most` pages, and those.
    pub(crate) fn split_last(self, most: usize) -> (Self, Self) {
        let at = self.end - self.count().min(most);
        (Self::new(self.first, at), Self::new(at, self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_lie_between_two_addresses() {
        assert_eq!(Pages::between(1, 3 * PAGE_LEN), Pages::new(1, 3));
        assert_eq!(Pages::between(PAGE_LEN, 2 * PAGE_LEN), Pages::new(1, 2));
        assert!(Pages::between(PAGE_LEN + 1, 2 * PAGE_LEN).is_empty());
        assert!(Pages::between(10 * PAGE_LEN, PAGE_LEN).is_empty());
        assert_eq!(Pages::touched_between(PAGE_LEN - 1, PAGE_LEN + 1), Pages::new(0, 2));
    }

    #[test]
    fn the_hull_of_nothing_is_the_other() {
        let pages = Pages::new(3, 5);
        assert_eq!(pages.hull(Pages::NONE), pages);
        assert_eq!(Pages::NONE.hull(pages), pages);
        assert_eq!(pages.hull(Pages::new(9, 10)), Pages::new(3, 10));
        assert_eq!(pages.meet(Pages::new(4, 10)), Pages::new(4, 5));
        assert!(pages.meet(Pages::new(5, 10)).is_empty());
    }

    #[test]
    fn the_last_pages_are_split_off() {
        let pages = Pages::new(3, 8);
        assert_eq!(pages.split_last(2), (Pages::new(3, 6), Pages::new(6, 8)));
        assert_eq!(pages.split_last(9), (Pages::NONE, pages));
    }
}
