//! Walking an arena chunk by chunk, under its lock.
//!
//! A walk believes nothing that it reads: each head's seal is checked, and no chunk may reach beyond its run. What is
//! wrong ends the process with the sentence of that misuse, as the next free beside it would have.

use super::{Arena, Backing};
use crate::chunk::{ChunkPtr, MEM_OFFSET, WALL_LEN};
use crate::fatal::{Misuse, check, fatal};
use crate::heap::HeapPtr;
use crate::magazine;
use crate::size::ChunkSize;

/// What a chunk of an arena is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChunkState {
    /// The program has it.
    InUse,
    /// It waits in a cache, or in the depot, for the next request of its size.
    Cached,
    /// It is free.
    Free,
    /// It is the free end of what the arena is growing.
    Top,
}

/// One step of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A run begins: on the break, or in a heap.
    Run {
        first: ChunkPtr,
        heap: Option<HeapPtr>,
    },
    Chunk {
        chunk: ChunkPtr,
        size: ChunkSize,
        state: ChunkState,
    },
}

/// How a run of chunks ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunEnd {
    Top,
    Fence(ChunkPtr),
}

impl Arena {
    /// Calls `visit` with every run and its chunks, the break's first.
    pub(crate) fn walk(&self, visit: &mut impl FnMut(Step)) {
        if let Backing::Break(brk) = &self.backing {
            let mut run = brk.first();
            while let Some(first) = run {
                visit(Step::Run { first, heap: None });
                run = match self.walk_run(first, brk.end_address(), &mut as_steps(visit)) {
                    RunEnd::Fence(fence) => fence.following_run(),
                    RunEnd::Top => None,
                };
            }
        }
        for heap in self.heaps() {
            let first = heap.first_chunk();
            visit(Step::Run { first, heap: Some(heap) });
            self.walk_run(first, heap.end().address(), &mut as_steps(visit));
        }
    }

    /// Calls `visit` with every chunk: its address, its size, its state.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn for_each_chunk(&self, visit: &mut impl FnMut(ChunkPtr, ChunkSize, ChunkState)) {
        self.walk(&mut |step| {
            if let Step::Chunk { chunk, size, state } = step {
                visit(chunk, size, state);
            }
        });
    }

    /// Its heaps, the newest first.
    pub(super) fn heaps(&self) -> impl Iterator<Item = HeapPtr> {
        core::iter::successors(self.heaps, |heap| heap.next())
    }

    /// Calls `visit` with every chunk of the run from `first` on, which lies below `limit`.
    pub(super) fn walk_run(
        &self,
        first: ChunkPtr,
        limit: usize,
        visit: &mut impl FnMut(ChunkPtr, ChunkSize, ChunkState),
    ) -> RunEnd {
        let mut chunk = first;
        loop {
            let mem = chunk.mem().addr().get();
            let Some(head) = chunk.head() else { fatal(Misuse::NextHeadOverwritten, mem) };
            if head.region().is_some() {
                chunk = chunk.at(WALL_LEN);
                continue;
            }
            let Some(size) = head.size() else { return RunEnd::Fence(chunk) };
            let len = limit - chunk.address();
            if self.top.is_at(chunk) {
                check!(size.get() == len, TopOverwritten, mem);
                visit(chunk, size, ChunkState::Top);
                return RunEnd::Top;
            }
            // The next head has to lie in the run as well.
            check!(size.get() + MEM_OFFSET <= len, NextHeadOverwritten, mem);
            let next = chunk.next(size);
            let state = if !next.head_unchecked().prev_in_use() {
                ChunkState::Free
            } else if magazine::is_cached_now(chunk.mem()) {
                ChunkState::Cached
            } else {
                ChunkState::InUse
            };
            visit(chunk, size, state);
            chunk = next;
        }
    }
}

fn as_steps(visit: &mut impl FnMut(Step)) -> impl FnMut(ChunkPtr, ChunkSize, ChunkState) {
    |chunk, size, state| visit(Step::Chunk { chunk, size, state })
}
