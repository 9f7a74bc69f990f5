//! Huge pages, where the parameter asks for them, and none where they would do harm.
//!
//! ```text
//!   0      nothing is asked for; where pages are given back, none are wanted: MADV_NOHUGEPAGE
//!   1      MADV_HUGEPAGE on what arenas get, which is then 2 MiB at least, and on blocks of 2 MiB and more
//!   2, n   blocks of such a length are mapped with MAP_HUGETLB, from the pages that the system keeps for that; if it has
//!          none to give, with normal ones
//! ```
//!
//! A mapping of huge pages can be unmapped by whole huge pages only, so its length is one of those, also when it changes.
//! Whether a mapping is such a one is not on record: once there has been one, any mapping that could be is treated so.
//!
//! Where the system makes huge pages by itself, what has been given back page by page would come again: a huge page is put in
//! place of 2 MiB in which a single page is left (`max_ptes_none` is 511), and at the first touch of 2 MiB in which none is. See
//! <https://docs.kernel.org/admin-guide/mm/transhuge.html>. So an arena of which pages are given back for the first time has
//! small pages from then on, and so has what any arena gets. Huge pages that are there stay, as far as they are not given back.
//!
//! # Safety
//!
//! Advice on memory that is an arena's or a block's, which keeps its contents.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use crate::arch::HUGE_PAGE_LEN;
use crate::options::Param;
use crate::os::Os;
use crate::size::round_up;
use crate::source::Source;
use crate::sync::atomic::Ordering;

/// The parameter's values that are not the length of a page.
const ADVISED: usize = 1;
const DEFAULT_LEN: usize = 2;

impl<O: Os> Source<O> {
    /// An arena has got `len` bytes of memory at `start`.
    #[inline]
    pub(crate) fn note_growth(&self, start: NonNull<u8>, len: usize) {
        if self.params.get(Param::Hugetlb) == ADVISED {
            // SAFETY: the caller's memory; advice changes no contents. It is only advice, and may be refused.
            let _ = unsafe { self.os.advise_huge(start, len) };
        } else if self.wants_small_pages.load(Ordering::Relaxed) {
            self.use_small_pages(start, len);
        }
    }

    /// Pages of an arena are going to be given back: from now on what arenas get has small pages, unless huge ones are asked for.
    /// Returns whether it is so.
    pub(crate) fn begin_small_pages(&self) -> bool {
        let is_so = self.params.get(Param::Hugetlb) != ADVISED;
        if is_so {
            // Relaxed: an arena that grows at the same moment does without until its own pages are given back.
            self.wants_small_pages.store(true, Ordering::Relaxed);
        }
        is_so
    }

    /// `len` bytes of an arena's memory at `start` have no huge pages from now on, where they have none yet.
    pub(crate) fn use_small_pages(&self, start: NonNull<u8>, len: usize) {
        // The break may begin in the middle of a page.
        let before = start.addr().get() % self.os.page_len();
        // SAFETY: the start of a page of the caller's memory.
        let start = unsafe { start.sub(before) };
        // SAFETY: as above; advice changes no contents, and may be refused.
        let _ = unsafe { self.os.advise_small(start, len + before) };
    }

    /// What the end of a growth is rounded up to: where a huge page is to lie behind it, a huge page, which else would be
    /// in two growths and so never in one page.
    pub(crate) fn granule(&self) -> usize {
        if self.params.get(Param::Hugetlb) == ADVISED { HUGE_PAGE_LEN } else { self.os.page_len() }
    }

    /// Maps memory for a block of `len` bytes, and returns its length, which may be more.
    pub(crate) fn map_block(&self, len: usize) -> Option<(NonNull<u8>, usize)> {
        let wanted = self.params.get(Param::Hugetlb);
        if wanted > ADVISED
            && let Some(mapping) = self.map_huge(len, if wanted == DEFAULT_LEN { HUGE_PAGE_LEN } else { wanted })
        {
            return Some(mapping);
        }
        let start = self.os.map(len)?;
        if wanted == ADVISED && len >= HUGE_PAGE_LEN {
            // SAFETY: as above.
            let _ = unsafe { self.os.advise_huge(start, len) };
        }
        Some((start, len))
    }

    #[cold]
    fn map_huge(&self, len: usize, page: usize) -> Option<(NonNull<u8>, usize)> {
        if !page.is_power_of_two() || page <= self.os.page_len() || len < page {
            return None;
        }
        let len = round_up(len, page)?;
        let start = self.os.map_huge(len, page)?;
        // Relaxed: whoever has a block of this mapping has been here, or has it from somebody who has.
        self.huge_len.fetch_max(page, Ordering::Relaxed);
        Some((start, len))
    }

    /// The length that a mapping at `start` has to be given that is to become `new_len` long instead of `len`.
    #[inline]
    pub(crate) fn remapped_len(&self, start: NonNull<u8>, len: usize, new_len: usize) -> Option<usize> {
        let page = self.huge_len.load(Ordering::Relaxed);
        let may_be_huge = page != 0 && start.addr().get().is_multiple_of(page) && len.is_multiple_of(page);
        if may_be_huge { round_up(new_len, page) } else { Some(new_len) }
    }
}
