//! The model that the allocator is tested against: a list of blocks and what was written to them.
//!
//! Operations are drawn at random (`tests`), or are what a fuzzer's bytes say (`script`), and carried out on a whole
//! allocator over the fake system, with heaps of 64 KiB, so that heaps fill up, are chained, emptied and given back all the
//! time. After each operation every arena is walked and its numbered invariants are checked; every block's contents are
//! checked when it is resized or freed. The model is kept naive on purpose.

pub(crate) mod script;
#[cfg(test)]
mod tests;

use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

use crate::arena::ChunkState;
use crate::budget::Budget;
use crate::class::Class;
use crate::malloc::{Contents, Malloc};
use crate::options::{Param, default};
use crate::os::Os;
use crate::os::fake::{FakeOs, Refuse};
use crate::tcache::{CachePtr, InUse};
use crate::walk::{self, Chunk, Visited};

/// One thing that a program, or somebody else in the process, does.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// From arena `arena`; zeroed if `zero`.
    Allocate {
        bytes: usize,
        arena: usize,
        zero: bool,
    },
    AllocateAligned {
        bytes: usize,
        log_alignment: u32,
        arena: usize,
    },
    /// The `block`-th of those there are.
    Free {
        block: usize,
    },
    Resize {
        block: usize,
        bytes: usize,
        arena: usize,
    },
    Trim {
        pad: usize,
    },
    /// At most so many pages.
    TrimWithin {
        pages: usize,
    },
    /// So many blocks of a size may be cached from now on, where anything is cached at all.
    LimitCaches {
        blocks: usize,
    },
    /// Another thread begins, or one ends.
    Attach,
    Detach {
        thread: usize,
    },
    /// The process is a child from now on: of its threads only one lives on.
    Fork,
    ForeignMoveBreak {
        bytes: usize,
    },
    /// Time passes, and somebody looks at the clock.
    Pass {
        milliseconds: u64,
    },
    /// The system refuses the n-th of the following calls.
    RefuseNth {
        n: usize,
    },
    RefuseGrowth,
    RefuseNothing,
}

struct Block {
    mem: NonNull<u8>,
    bytes: usize,
    alignment: usize,
    /// The byte that every byte of it is derived from.
    seed: u8,
}

impl Block {
    fn byte(&self, at: usize) -> u8 {
        self.seed.wrapping_add((at / 7) as u8)
    }

    #[allow(unsafe_code)]
    fn write(&self) {
        for at in 0..self.bytes {
            // SAFETY: within a block that the allocator has handed out.
            unsafe { self.mem.add(at).write(self.byte(at)) };
        }
    }

    #[allow(unsafe_code)]
    fn assert_kept(&self, len: usize) {
        for at in 0..len {
            // SAFETY: within a block in use.
            let byte = unsafe { self.mem.add(at).read() };
            assert_eq!(byte, self.byte(at), "byte {at} of {} at {:?} has changed", self.bytes, self.mem);
        }
    }
}

/// How the threads of a model cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// As a program's do.
    On,
    /// At most two blocks of a size, so that magazines go to and fro all the time.
    Shrunken,
    /// The classic mode: not at all, though the caches are there.
    Off,
}

/// An allocator over the fake system, and what a program has of it.
pub(crate) struct Model {
    malloc: &'static Malloc<FakeOs>,
    /// What `malloc` lies in.
    leaked: NonNull<Malloc<FakeOs>>,
    caching: Caching,
    threads: Vec<CachePtr>,
    blocks: Vec<Block>,
    seed: u8,
    /// Somebody else's memory lies in the break, which then cannot become short again.
    has_foreign: bool,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self::over(FakeOs::new(), Caching::On)
    }

    #[allow(unsafe_code)]
    pub(crate) fn over(os: FakeOs, caching: Caching) -> Self {
        // Arenas point to themselves and live as long as the allocator: it is leaked until the model is dropped.
        let leaked = NonNull::from(Box::leak(Box::new(Malloc::new(os))));
        // SAFETY: it lives until the model is dropped, and nobody has a reference to it beyond that.
        let malloc: &'static Malloc<FakeOs> = unsafe { leaked.as_ref() };
        malloc.arenas.settle();
        let blocks = match caching {
            Caching::On => default::TCACHE_COUNT,
            Caching::Shrunken => 2,
            Caching::Off => 0,
        };
        malloc.source.params.set(Param::TcacheCount, blocks);
        let mut model =
            Self { malloc, leaked, caching, threads: Vec::new(), blocks: Vec::new(), seed: 0, has_foreign: false };
        model.attach();
        model
    }

    pub(crate) fn os(&self) -> &FakeOs {
        &self.malloc.source.os
    }

    fn attach(&mut self) {
        let arena = self.malloc.arenas.attach(&self.malloc.source);
        match self.malloc.caches.acquire(self.os(), arena) {
            Some(cache) => {
                self.threads.push(cache);
                self.malloc.limit(&mut self.cache(self.threads.len() - 1));
            }
            None => self.malloc.arenas.detach(arena),
        }
    }

    /// A thread ends, if it is not the last.
    #[allow(unsafe_code)]
    fn detach(&mut self, at: usize) {
        if self.threads.len() > 1 {
            let thread = self.threads.swap_remove(at % self.threads.len());
            // SAFETY: the model's own cache.
            self.malloc.put_all_away(&mut *unsafe { self.malloc.enter(thread) });
            self.malloc.arenas.detach(thread.arena());
            thread.release();
        }
    }

    fn fork(&mut self) {
        self.malloc.begin_fork();
        self.threads.truncate(1);
        let arena = self.cache(0).arena();
        self.malloc.arenas.forget_threads(Some(arena));
        self.malloc.caches.orphan_all_but(self.threads.first().copied());
        self.malloc.end_fork();
    }

    /// The cache of a thread.
    #[allow(unsafe_code)]
    fn cache(&self, at: usize) -> InUse {
        // SAFETY: the model's threads own their caches, and are one thread.
        unsafe { self.malloc.enter(self.threads[at % self.threads.len()]) }
    }

    fn allocate(&self, thread: usize, bytes: usize, contents: Contents) -> Option<NonNull<u8>> {
        let cache = &mut self.cache(thread);
        match Class::of_request(bytes) {
            Some(class) => self.malloc.allocate_cached(cache, class, contents),
            None => self.malloc.allocate_uncached(cache, bytes, 16, contents),
        }
    }

    /// Carries out one operation and checks everything.
    pub(crate) fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Allocate { bytes, arena, zero } => {
                let contents = if zero { Contents::Zero } else { Contents::Any };
                let mem = self.allocate(arena, bytes, contents);
                self.keep(mem, bytes, 16, zero);
            }
            Operation::AllocateAligned { bytes, log_alignment, arena } => {
                let alignment = 1 << log_alignment;
                let cache = &mut self.cache(arena);
                let mem = self.malloc.allocate_uncached(cache, bytes, alignment, Contents::Zero);
                self.keep(mem, bytes, alignment, true);
            }
            Operation::Free { block } => self.free(block),
            Operation::Resize { block, bytes, arena } => self.resize(block, bytes, arena),
            Operation::Trim { pad } => _ = self.malloc.trim(None, pad),
            Operation::TrimWithin { pages } => {
                let budget = Budget::bytes(pages * self.os().page_len());
                let trimmed = self.malloc.trim_within(None, budget);
                assert!(trimmed.bytes <= pages * self.os().page_len());
            }
            Operation::LimitCaches { blocks } => {
                if self.caching != Caching::Off {
                    self.malloc.set(Param::TcacheCount, blocks);
                }
            }
            Operation::Attach => {
                if self.threads.len() < 4 {
                    self.attach();
                }
            }
            Operation::Detach { thread } => self.detach(thread),
            Operation::Fork => self.fork(),
            Operation::ForeignMoveBreak { bytes } => {
                // A window full of foreign memory would only be a refused break.
                if bytes < 20_000 {
                    self.os().foreign_move_break(bytes as isize);
                    self.has_foreign = true;
                }
            }
            Operation::Pass { milliseconds } => {
                self.os().pass(milliseconds);
                self.malloc.look_at_clock();
            }
            Operation::RefuseNth { n } => self.os().refuse(Refuse::Nth(n)),
            Operation::RefuseGrowth => self.os().refuse(Refuse::Growth),
            Operation::RefuseNothing => self.os().refuse(Refuse::Nothing),
        }
        self.assert_consistent();
    }

    #[allow(unsafe_code)]
    fn keep(&mut self, mem: Option<NonNull<u8>>, bytes: usize, alignment: usize, zero: bool) {
        let Some(mem) = mem else { return };
        assert!(mem.addr().get().is_multiple_of(alignment), "{mem:?} is not aligned to {alignment}");
        assert!(self.malloc.usable_len(mem) >= bytes);
        for at in 0..if zero { bytes } else { 0 } {
            // SAFETY: within the block.
            assert_eq!(unsafe { mem.add(at).read() }, 0, "byte {at} of a zeroed block of {bytes}");
        }
        self.seed = self.seed.wrapping_add(13);
        let block = Block { mem, bytes, alignment, seed: self.seed };
        block.write();
        self.blocks.push(block);
    }

    fn free(&mut self, at: usize) {
        if self.blocks.is_empty() {
            return;
        }
        let block = self.blocks.swap_remove(at % self.blocks.len());
        block.assert_kept(block.bytes);
        // Any thread may free any block.
        self.malloc.free_cached(&mut self.cache(at), block.mem);
    }

    fn resize(&mut self, at: usize, bytes: usize, arena: usize) {
        if self.blocks.is_empty() {
            return;
        }
        let at = at % self.blocks.len();
        let (mem, alignment) = (self.blocks[at].mem, self.blocks[at].alignment);
        let moved = self.malloc.reallocate_cached(&mut self.cache(arena), mem, bytes, alignment);
        let block = &mut self.blocks[at];
        match moved {
            Some(mem) => {
                assert!(mem.addr().get().is_multiple_of(block.alignment));
                let kept = block.bytes.min(bytes);
                block.mem = mem;
                block.assert_kept(kept);
                block.bytes = bytes;
                block.write();
            }
            // Refused: the block is as it was.
            None => block.assert_kept(block.bytes),
        }
    }

    /// Walks every arena, and compares what the walk finds with what the allocator counts.
    fn assert_consistent(&self) {
        for cell in self.malloc.arenas.iter() {
            self.malloc.lock(cell).expect("not abandoned").assert_consistent(&self.malloc.source);
        }
        self.malloc.assert_depot_consistent();
        self.malloc.caches.assert_consistent();
        let (mut in_use, mut marked, mut bytes, mut cached_bytes) = (0, 0, 0, 0);
        walk::walk(self.malloc, &mut |visited| match visited {
            Visited::Chunk(Chunk { size, state: ChunkState::InUse, .. }) => {
                (in_use, bytes) = (in_use + 1, bytes + size)
            }
            Visited::Chunk(Chunk { size, state: ChunkState::Cached, .. }) => {
                (marked, bytes, cached_bytes) = (marked + 1, bytes + size, cached_bytes + size);
            }
            _ => {}
        });
        let stats = crate::stats::collect(self.malloc);
        let cached = self.malloc.caches.count();
        let waiting = self.malloc.depot_count();
        assert_eq!(in_use + stats.mapped_chunks, self.blocks.len(), "I10: every chunk in use is the program's");
        assert_eq!(marked, cached + waiting, "I10: and every cached one is in a cache or in the depot");
        assert_eq!(bytes + stats.overhead, stats.in_use, "I17: figures are what a walk finds: {stats:?}");
        assert_eq!(
            stats.in_use + stats.mapped_chunk_bytes,
            stats.allocated + stats.cached + stats.depot + stats.overhead
        );
        let longer = cached_bytes - stats.cached - stats.depot;
        assert!(longer <= 16 * marked, "I17: a cached chunk is {longer} bytes longer than its class: {stats:?}");
        if self.caching == Caching::Off {
            assert_eq!(cached + waiting, 0, "I11: nothing is cached that must not be");
        }
    }

    /// Frees everything; then no arena may hold more than its tops and the spare heaps.
    pub(crate) fn assert_returns_everything(mut self) {
        self.os().refuse(Refuse::Nothing);
        while !self.blocks.is_empty() {
            self.free(0);
            self.assert_consistent();
        }
        for at in 0..self.threads.len() {
            self.malloc.trim(Some(&mut self.cache(at)), 0);
        }
        self.assert_consistent();
        let stats = crate::stats::collect(self.malloc);
        assert_eq!((stats.mapped_chunks, stats.mapped_chunk_bytes), (0, 0));
        assert!(stats.heaps <= stats.arenas * 2, "{} heaps kept by {} arenas", stats.heaps, stats.arenas);
        // What remains: one page of each cache, up to three of each heap that is kept, and as many of the break.
        if !self.has_foreign {
            let pages = self.malloc.caches.len() + 3 * stats.heaps + 3;
            let left = self.os().usable_len() / self.os().page_len();
            assert!(left <= pages, "{left} pages are left, {pages} at most are needed: {stats:?}");
        }
    }
}

impl Drop for Model {
    /// With the allocator goes the window of its fake system, in which its arenas, caches and blocks lie.
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it was leaked by `over`, and nothing that refers to it is used any more.
        drop(unsafe { Box::from_raw(self.leaked.as_ptr()) });
    }
}
