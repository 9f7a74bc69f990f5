//! A walk over the whole heap: every arena, every run, every chunk.
//!
//! Each arena is walked under its lock, so that what is seen of it is of one moment; between two arenas the lock changes.
//! Blocks with a mapping of their own lie in no arena and are on no list: they are counted, in
//! [`Stats`](crate::Stats), and not walked.

use crate::arena::{ChunkState, Step};
use crate::malloc::Malloc;
use crate::os::Os;
use crate::stats::ArenaStats;

/// What a walk comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Visited {
    /// An arena, with its figures at this moment, except for what its threads have cached; its runs follow.
    Arena(ArenaStats),
    /// A row of chunks without gaps; they follow.
    Run(Run),
    /// A chunk.
    Chunk(Chunk),
}

/// A row of chunks without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Where its first chunk begins.
    pub start: usize,
    /// The heap that it lies in; `None` on the program break.
    pub heap: Option<Heap>,
}

/// A reservation of addresses for one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heap {
    /// Its first address, a multiple of 64 MiB.
    pub address: usize,
    /// Usable bytes, from the front.
    pub committed: usize,
    /// Reserved bytes, the usable ones included.
    pub reserved: usize,
}

/// A chunk of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// Where its user's memory begins: what `malloc` has returned or would return.
    pub address: usize,
    /// Its bytes, of which its user has 8 less.
    pub size: usize,
    /// What it is at this moment.
    pub state: ChunkState,
}

/// Calls `visit` with everything that the allocator has in arenas; `visit` must not enter it again.
pub(crate) fn walk<O: Os>(malloc: &Malloc<O>, visit: &mut impl FnMut(Visited)) {
    for cell in malloc.arenas.iter() {
        let Some(arena) = malloc.lock(cell) else { continue };
        visit(Visited::Arena(ArenaStats::of(cell, &arena.figures(), 0)));
        arena.walk(&mut |step| {
            visit(match step {
                Step::Run { first, heap } => Visited::Run(Run {
                    start: first.address(),
                    heap: heap.map(|heap| Heap {
                        address: heap.start().addr().get(),
                        committed: heap.committed(),
                        reserved: heap.reserved(),
                    }),
                }),
                Step::Chunk { chunk, size, state } => {
                    Visited::Chunk(Chunk { address: chunk.mem().addr().get(), size: size.get(), state })
                }
            });
        });
    }
}
