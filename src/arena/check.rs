//! The numbered invariants that every walk of a test checks.
//!
//! The numbers are those of docs/invariants.md.

use std::collections::BTreeSet;

use super::walk::RunEnd;
use super::{Arena, Backing, ChunkState};
use crate::arch::PAGE_LEN;
use crate::chunk::{ChunkPtr, FreeChunk, Owner, Zone};
use crate::heap::HeapPtr;
use crate::os::Os;
use crate::pages::Pages;
use crate::size::ChunkSize;
use crate::source::Source;

impl Arena {
    /// Checks every invariant of an arena at rest; a broken one panics with its number.
    pub(crate) fn assert_consistent<O: Os>(&self, source: &Source<O>) {
        let mut walked_free = BTreeSet::new();
        let mut tops = 0;
        let mut before: Option<(ChunkPtr, ChunkSize, ChunkState)> = None;
        self.for_each_chunk(&mut |chunk, size, state| {
            let head = chunk.head().expect("I1: every head is sealed");
            let behind_free = match before {
                Some((prev, prev_size, prev_state)) if prev.next(prev_size) == chunk => {
                    let both_free =
                        prev_state == ChunkState::Free && matches!(state, ChunkState::Free | ChunkState::Top);
                    assert!(!both_free, "I3: two free neighbours at {prev:?} and {chunk:?}");
                    prev_state == ChunkState::Free
                }
                _ => false,
            };
            assert_eq!(head.prev_in_use(), !behind_free, "I2: PREV_IN_USE of {chunk:?}");
            assert_ne!(head.owner(), Owner::Mapped, "I1: a mapped chunk in an arena");
            let is_free = matches!(state, ChunkState::Free | ChunkState::Top);
            assert_eq!(head.is_free(), is_free, "I12: FREE of {chunk:?}");
            match state {
                ChunkState::Free => {
                    assert_eq!(FreeChunk::read_tags(chunk), (size, head.origin()), "I4: tags of {chunk:?}");
                    assert_clean_pages_are_zero(chunk);
                    assert!(walked_free.insert(chunk), "I4: {chunk:?} twice");
                }
                ChunkState::Top => tops += 1,
                ChunkState::InUse | ChunkState::Cached => {}
            }
            before = Some((chunk, size, state));
        });
        assert_eq!(tops, usize::from(self.top.place().is_some()), "I8: the top is the end of one run");
        let mut binned = BTreeSet::new();
        for (bins, zone) in [(&self.general, Zone::General), (&self.regions, Zone::Region)] {
            bins.for_each(|chunk| {
                assert!(binned.insert(chunk), "I4: {chunk:?} is in two bins");
                assert_eq!(FreeChunk::read(chunk).origin().zone(), zone, "I15: {chunk:?} is in the other zone's bins");
            });
            bins.assert_consistent();
        }
        assert_eq!(binned, walked_free, "I4: the bins hold exactly the free chunks");
        self.assert_heaps(source);
        self.assert_break();
        self.assert_system();
    }

    /// The heaps of the chain are known to be this arena's, and end where their headers say.
    fn assert_heaps<O: Os>(&self, source: &Source<O>) {
        let mut heaps = 0;
        for heap in self.heaps() {
            heaps += 1;
            assert!(heap.committed() <= heap.reserved(), "I9: a heap within its reservation");
            assert_eq!(HeapPtr::containing(source, heap.first_chunk()), Some(heap), "I13: the table of heaps");
            assert_eq!(Some(heap.arena()), self.address, "I13: the arena of a heap");
            let end = self.walk_run(heap.first_chunk(), heap.end().address(), &mut |_, _, _| ());
            assert_eq!(heap.fence().map_or(RunEnd::Top, RunEnd::Fence), end, "I14: the end of a heap");
        }
        assert_eq!(self.counts.heaps, heaps, "I9: heaps");
    }

    /// The last run of the break ends where the record says.
    fn assert_break(&self) {
        let Backing::Break(brk) = &self.backing else { return };
        let mut run = brk.first();
        while let Some(first) = run {
            let end = self.walk_run(first, brk.end_address(), &mut |_, _, _| ());
            run = match end {
                RunEnd::Fence(fence) => fence.following_run(),
                RunEnd::Top => None,
            };
            if run.is_none() {
                assert_eq!(brk.fence().map_or(RunEnd::Top, RunEnd::Fence), end, "I14: the end of the break");
            }
        }
    }

    /// What is walked, and what no chunk can have, is what came from the system, to the byte.
    fn assert_system(&self) {
        let figures = self.figures();
        let (mut in_use, mut free, mut top) = (0, 0, 0);
        self.for_each_chunk(&mut |_, size, state| match state {
            ChunkState::InUse | ChunkState::Cached => in_use += size.get(),
            ChunkState::Free => free += size.get(),
            ChunkState::Top => top += size.get(),
        });
        assert_eq!((in_use, free, top), (figures.in_use(), figures.free_bytes, figures.top), "I9: {figures:?}");
    }
}

/// Whole pages of a free chunk that are not dirty are as the system gives them.
#[allow(unsafe_code)]
fn assert_clean_pages_are_zero(chunk: ChunkPtr) {
    let free = FreeChunk::read(chunk);
    let (inside, dirty) = (free.pages_inside(), free.dirty());
    let clean = if dirty.is_empty() {
        [inside, Pages::NONE]
    } else {
        [Pages::new(inside.first(), dirty.first()), Pages::new(dirty.end(), inside.end())]
    };
    for page in clean.into_iter().flat_map(|pages| pages.first()..pages.end()) {
        let start = chunk.at(page * PAGE_LEN - chunk.address()).start();
        // SAFETY: within a free chunk, whose pages are usable.
        let bytes = unsafe { start.cast::<[u8; PAGE_LEN]>().as_ref() };
        assert!(bytes == &[0; PAGE_LEN], "I16: the clean page {page:#x} of {chunk:?}");
    }
}
