//! Walking an arena chunk by chunk, and the numbered invariants that every walk of a test checks.
//!
//! The numbers are those of docs/invariants.md.

use super::{Arena, Backing};
use crate::chunk::ChunkPtr;
use crate::fatal::{Misuse, fatal};
use crate::size::ChunkSize;

/// What a chunk of an arena is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkState {
    InUse,
    /// In a bin.
    Free,
    Top,
}

impl Arena {
    /// Calls `visit` with every chunk: its address, its size, its state. Runs follow each other, the break's first.
    pub(crate) fn for_each_chunk(&self, visit: &mut impl FnMut(ChunkPtr, ChunkSize, ChunkState)) {
        if let Backing::Break(brk) = &self.backing {
            let mut run = brk.first();
            while let Some(first) = run {
                run = self.walk_run(first, visit);
            }
        }
        let mut next = self.heaps;
        while let Some(heap) = next {
            self.walk_run(heap.first_chunk(), visit);
            next = heap.next();
        }
    }

    /// Walks one run to its end, and returns where the next begins if a gap follows.
    fn walk_run(&self, first: ChunkPtr, visit: &mut impl FnMut(ChunkPtr, ChunkSize, ChunkState)) -> Option<ChunkPtr> {
        let mut chunk = first;
        loop {
            let Some(head) = chunk.head() else { fatal(Misuse::NextHeadOverwritten, chunk.mem().addr().get()) };
            let Some(size) = head.size() else { return chunk.following_run() };
            if self.top.is_at(chunk) {
                visit(chunk, size, ChunkState::Top);
                return None;
            }
            let next = chunk.next(size);
            let state = if next.head_unchecked().prev_in_use() { ChunkState::InUse } else { ChunkState::Free };
            visit(chunk, size, state);
            chunk = next;
        }
    }
}

#[cfg(test)]
impl Arena {
    /// Checks every invariant of an arena at rest; a broken one panics with its number.
    pub(crate) fn assert_consistent(&self) {
        use crate::chunk::{FreeChunk, Owner};
        use std::collections::BTreeSet;

        let mut walked_free = BTreeSet::new();
        let mut tops = 0;
        let mut before: Option<(ChunkPtr, ChunkSize, ChunkState)> = None;
        self.for_each_chunk(&mut |chunk, size, state| {
            let head = chunk.head().expect("I1: every head is sealed");
            let behind_free = match before {
                Some((prev, prev_size, prev_state)) if prev.next(prev_size) == chunk => {
                    let both_free = prev_state == ChunkState::Free && state != ChunkState::InUse;
                    assert!(!both_free, "I3: two free neighbours at {prev:?} and {chunk:?}");
                    prev_state == ChunkState::Free
                }
                _ => false,
            };
            assert_eq!(head.prev_in_use(), !behind_free, "I2: PREV_IN_USE of {chunk:?}");
            assert_ne!(head.owner(), Owner::Mapped, "I1: a mapped chunk in an arena");
            match state {
                ChunkState::Free => {
                    assert_eq!(FreeChunk::read_tags(chunk), (size, head.owner()), "I4: tags of {chunk:?}");
                    assert!(walked_free.insert(chunk), "I4: {chunk:?} twice");
                }
                ChunkState::Top => tops += 1,
                ChunkState::InUse => {}
            }
            before = Some((chunk, size, state));
        });
        assert_eq!(tops, usize::from(self.top.place().is_some()), "I8: the top is the end of one run");
        let mut binned = BTreeSet::new();
        self.bins.for_each(|chunk| assert!(binned.insert(chunk), "I4: {chunk:?} is in two bins"));
        assert_eq!(binned, walked_free, "I4: the bins hold exactly the free chunks");
        self.bins.assert_consistent();
        self.assert_system();
    }

    /// The bytes from the system are the runs' and the heads of heaps'.
    fn assert_system(&self) {
        let mut heaps = 0;
        let mut committed = 0;
        let mut next = self.heaps;
        while let Some(heap) = next {
            heaps += 1;
            committed += heap.committed();
            assert!(heap.committed() <= heap.reserved(), "I9: a heap within its reservation");
            next = heap.next();
        }
        assert_eq!(self.counts.heaps, heaps, "I9: heaps");
        let mut on_break = 0;
        if let Backing::Break(brk) = &self.backing {
            let mut run = brk.first();
            while let Some(first) = run {
                let mut end = first.address();
                run = self.walk_run(first, &mut |chunk, size, _| end = chunk.address() + size.get());
                on_break += end - first.address();
            }
        }
        // A fence, and what rounding to a page or an alignment has cost, belong to no chunk.
        let walked = committed + on_break;
        assert!(walked <= self.counts.system, "I9: {walked} walked, {} from the system", self.counts.system);
    }
}
