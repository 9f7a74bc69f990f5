//! Walking an arena chunk by chunk, and the numbered invariants that every walk of a test checks.
//!
//! The numbers are those of docs/invariants.md.

use std::collections::BTreeSet;

use super::{Arena, Backing};
use crate::chunk::{ChunkPtr, FreeChunk, Owner};
use crate::fatal::{Misuse, fatal};
use crate::heap::HeapPtr;
use crate::os::Os;
use crate::size::ChunkSize;
use crate::source::Source;

/// What a chunk of an arena is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkState {
    InUse,
    /// In a bin.
    Free,
    Top,
}

/// How a run of chunks ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunEnd {
    Top,
    Fence(ChunkPtr),
}

impl Arena {
    /// Calls `visit` with every chunk: its address, its size, its state. Runs follow each other, the break's first.
    pub(crate) fn for_each_chunk(&self, visit: &mut impl FnMut(ChunkPtr, ChunkSize, ChunkState)) {
        self.for_each_run(&mut |first| {
            self.walk_run(first, visit);
        });
    }

    /// Calls `each` with the first chunk of every run.
    fn for_each_run(&self, each: &mut impl FnMut(ChunkPtr)) {
        if let Backing::Break(brk) = &self.backing {
            let mut run = brk.first();
            while let Some(first) = run {
                each(first);
                run = match self.walk_run(first, &mut |_, _, _| ()) {
                    RunEnd::Fence(fence) => fence.following_run(),
                    RunEnd::Top => None,
                };
            }
        }
        self.for_each_heap(&mut |heap| each(heap.first_chunk()));
    }

    fn for_each_heap(&self, each: &mut impl FnMut(HeapPtr)) {
        let mut next = self.heaps;
        while let Some(heap) = next {
            each(heap);
            next = heap.next();
        }
    }

    fn walk_run(&self, first: ChunkPtr, visit: &mut impl FnMut(ChunkPtr, ChunkSize, ChunkState)) -> RunEnd {
        let mut chunk = first;
        loop {
            let Some(head) = chunk.head() else { fatal(Misuse::NextHeadOverwritten, chunk.mem().addr().get()) };
            let Some(size) = head.size() else { return RunEnd::Fence(chunk) };
            if self.top.is_at(chunk) {
                visit(chunk, size, ChunkState::Top);
                return RunEnd::Top;
            }
            let next = chunk.next(size);
            let state = if next.head_unchecked().prev_in_use() { ChunkState::InUse } else { ChunkState::Free };
            visit(chunk, size, state);
            chunk = next;
        }
    }

    /// Checks every invariant of an arena at rest; a broken one panics with its number.
    pub(crate) fn assert_consistent<O: Os>(&self, source: &Source<O>) {
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
            assert_eq!(head.is_free(), state != ChunkState::InUse, "I12: FREE of {chunk:?}");
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
        self.assert_heaps(source);
        self.assert_break();
        self.assert_system();
    }

    /// The heaps of the chain are known to be this arena's, and end where their headers say.
    fn assert_heaps<O: Os>(&self, source: &Source<O>) {
        let mut heaps = 0;
        self.for_each_heap(&mut |heap| {
            heaps += 1;
            assert!(heap.committed() <= heap.reserved(), "I9: a heap within its reservation");
            assert_eq!(HeapPtr::containing(source, heap.first_chunk()), Some(heap), "I13: the table of heaps");
            assert_eq!(Some(heap.arena()), self.address, "I13: the arena of a heap");
            let end = self.walk_run(heap.first_chunk(), &mut |_, _, _| ());
            assert_eq!(heap.fence().map_or(RunEnd::Top, RunEnd::Fence), end, "I14: the end of a heap");
        });
        assert_eq!(self.counts.heaps, heaps, "I9: heaps");
    }

    /// The last run of the break ends where the record says.
    fn assert_break(&self) {
        let Backing::Break(brk) = &self.backing else { return };
        let mut run = brk.first();
        while let Some(first) = run {
            let end = self.walk_run(first, &mut |_, _, _| ());
            run = match end {
                RunEnd::Fence(fence) => fence.following_run(),
                RunEnd::Top => None,
            };
            if run.is_none() {
                assert_eq!(brk.fence().map_or(RunEnd::Top, RunEnd::Fence), end, "I14: the end of the break");
            }
        }
    }

    /// No more is walked than came from the system.
    fn assert_system(&self) {
        let mut walked = 0;
        self.for_each_heap(&mut |heap| walked += heap.first_chunk().address() - heap.start().addr().get());
        self.for_each_chunk(&mut |_, size, _| walked += size.get());
        // A fence, and what rounding to a page or an alignment has cost, belong to no chunk.
        assert!(walked <= self.counts.system, "I9: {walked} walked, {} from the system", self.counts.system);
    }
}
