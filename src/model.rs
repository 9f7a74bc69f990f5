//! The model that the allocator is tested against: a list of blocks and what was written to them.
//!
//! Operations are drawn at random and carried out on a whole allocator over the fake system, with heaps of 64 KiB, so
//! that heaps fill up, are chained, emptied and given back all the time. After each operation every arena is walked and
//! its numbered invariants are checked; every block's contents are checked when it is resized or freed. The model is
//! kept naive on purpose.

use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

use proptest::prelude::*;

use crate::arena::ChunkState;
use crate::budget::Budget;
use crate::class::Class;
use crate::heap::HeapTable;
use crate::malloc::{Contents, Malloc};
use crate::options::{Param, default};
use crate::os::Os;
use crate::os::fake::{Call, FakeOs, Refuse};
use crate::sync::atomic::AtomicU64;
use crate::tcache::{CachePtr, ThreadCache};
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

/// Sizes as programs ask for them: mostly small, some large, a few beyond the mapping threshold or a heap.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0..600usize,
        4 => 600..6_000usize,
        2 => 6_000..40_000usize,
        1 => 40_000..90_000usize,
        1 => 120_000..300_000usize,
    ]
}

pub(crate) fn operations() -> impl Strategy<Value = Operation> {
    let arena = 0..3usize;
    prop_oneof![
        20 => (sizes(), arena.clone(), any::<bool>())
            .prop_map(|(bytes, arena, zero)| Operation::Allocate { bytes, arena, zero }),
        4 => (sizes(), 5..16u32, arena.clone())
            .prop_map(|(bytes, log_alignment, arena)| Operation::AllocateAligned { bytes, log_alignment, arena }),
        18 => any::<usize>().prop_map(|block| Operation::Free { block }),
        8 => (any::<usize>(), sizes(), arena).prop_map(|(block, bytes, arena)| Operation::Resize { block, bytes, arena }),
        1 => (0..100_000usize).prop_map(|pad| Operation::Trim { pad }),
        1 => (0..50usize).prop_map(|pages| Operation::TrimWithin { pages }),
        1 => prop_oneof![Just(0usize), Just(1), 2..200usize].prop_map(|blocks| Operation::LimitCaches { blocks }),
        2 => Just(Operation::Attach),
        1 => any::<usize>().prop_map(|thread| Operation::Detach { thread }),
        1 => Just(Operation::Fork),
        1 => (1..20_000usize).prop_map(|bytes| Operation::ForeignMoveBreak { bytes }),
        3 => (1..400u64).prop_map(|milliseconds| Operation::Pass { milliseconds }),
        1 => (1..4usize).prop_map(|n| Operation::RefuseNth { n }),
        1 => Just(Operation::RefuseGrowth),
        2 => Just(Operation::RefuseNothing),
    ]
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

    pub(crate) fn over(os: FakeOs, caching: Caching) -> Self {
        // Arenas point to themselves and live as long as the process: the allocator is leaked, its memory is not.
        let words: Vec<AtomicU64> = (0..128).map(|_| AtomicU64::new(0)).collect();
        let table = HeapTable::new(Box::leak(words.into_boxed_slice()));
        let malloc: &'static Malloc<FakeOs> = Box::leak(Box::new(Malloc::new(os, table)));
        malloc.arenas.settle();
        let blocks = match caching {
            Caching::On => default::TCACHE_COUNT,
            Caching::Shrunken => 2,
            Caching::Off => 0,
        };
        malloc.source.params.set(Param::TcacheCount, blocks);
        let mut model = Self { malloc, caching, threads: Vec::new(), blocks: Vec::new(), seed: 0, has_foreign: false };
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
                self.malloc.limit(self.cache(self.threads.len() - 1));
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
            let cache = unsafe { thread.cache() };
            self.malloc.put_all_away(cache);
            self.malloc.arenas.detach(cache.arena());
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
    #[expect(clippy::mut_from_ref, reason = "one at a time")]
    fn cache(&self, at: usize) -> &mut ThreadCache {
        // SAFETY: the model's threads own their caches, and are one thread.
        unsafe { self.threads[at % self.threads.len()].cache() }
    }

    fn allocate(&self, thread: usize, bytes: usize, contents: Contents) -> Option<NonNull<u8>> {
        let cache = self.cache(thread);
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
                let cache = self.cache(arena);
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
        self.malloc.free_cached(self.cache(at), block.mem);
    }

    fn resize(&mut self, at: usize, bytes: usize, arena: usize) {
        if self.blocks.is_empty() {
            return;
        }
        let at = at % self.blocks.len();
        let (mem, alignment) = (self.blocks[at].mem, self.blocks[at].alignment);
        let moved = self.malloc.reallocate_cached(self.cache(arena), mem, bytes, alignment);
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
            cell.lock().assert_consistent(&self.malloc.source);
        }
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
            self.malloc.trim(Some(self.cache(at)), 0);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_program_does_the_heap_stays_whole(
        // 300 on average.
        script in prop::collection::vec(operations(), 1..2 * script_len()),
        caching in prop_oneof![Just(Caching::On), Just(Caching::Shrunken), Just(Caching::Off)],
    ) {
        let mut model = Model::over(FakeOs::new(), caching);
        for operation in &script {
            model.apply(operation);
        }
        model.assert_returns_everything();
    }
}

/// Cases of each property: a hundred, or as `HEAPWRIGHT_TEST_CASES` says.
fn cases() -> u32 {
    std::env::var("HEAPWRIGHT_TEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Operations of a script on average: 300, or as `HEAPWRIGHT_TEST_SCRIPT` says.
fn script_len() -> usize {
    let asked = std::env::var("HEAPWRIGHT_TEST_SCRIPT").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(300).max(1)
}

/// A script that visits every kind of growth and shrinking, without refusals.
fn full_tour() -> Vec<Operation> {
    let mut script = Vec::new();
    for round in 0..3usize {
        for step in 0..24usize {
            let bytes = [24, 900, 5_000, 30_000, 60_000, 140_000][step % 6] + round * 8;
            script.push(Operation::Allocate { bytes, arena: step % 3, zero: step % 2 == 0 });
            if step == 5 {
                script.push(Operation::Attach);
                script.push(Operation::ForeignMoveBreak { bytes: 5_000 });
            }
            if step % 5 == 4 {
                script.push(Operation::AllocateAligned { bytes: 3_000, log_alignment: 12, arena: step });
                script.push(Operation::Resize { block: step * 7, bytes: bytes * 2, arena: step });
                script.push(Operation::Resize { block: step * 5, bytes: 100, arena: step });
                script.push(Operation::Pass { milliseconds: 150 });
            }
        }
        for step in 0..18usize {
            script.push(Operation::Free { block: step * 11 });
        }
        script.push(Operation::Pass { milliseconds: 700 });
        script.push(Operation::Trim { pad: 0 });
    }
    script
}

#[test]
fn any_single_refused_call_loses_nothing() {
    for caching in [Caching::On, Caching::Off] {
        let calls = {
            let mut model = Model::over(FakeOs::new(), caching);
            full_tour().iter().for_each(|operation| model.apply(operation));
            let calls = model.os().take_log().len();
            model.assert_returns_everything();
            calls
        };
        assert!(calls > 100, "the tour makes {calls} calls");
        for n in 1..=calls {
            let mut model = Model::over(FakeOs::new(), caching);
            model.os().refuse(Refuse::Nth(n));
            full_tour().iter().for_each(|operation| model.apply(operation));
            model.assert_returns_everything();
        }
    }
}

#[test]
fn a_system_that_refuses_one_kind_of_call_for_ever_is_lived_with() {
    let kinds = [
        Call::MoveBreak,
        Call::Reserve,
        Call::Commit,
        Call::Decommit,
        Call::Purge,
        Call::Map,
        Call::Remap,
        Call::Release,
    ];
    for kind in kinds {
        let mut model = Model::new();
        model.os().refuse(Refuse::Every(kind));
        full_tour().iter().for_each(|operation| model.apply(operation));
        model.assert_returns_everything();
    }
}

/// An aligned block of 0 bytes used to get a mapping in which its chunk was 16 bytes long: no chunk, so that freeing it
/// was taken for misuse.
#[test]
fn nothing_at_a_large_alignment_is_a_block_like_any_other() {
    let mut model = Model::new();
    for log_alignment in [12, 16, 17, 18, 20] {
        model.apply(&Operation::AllocateAligned { bytes: 0, log_alignment, arena: 0 });
    }
    assert_eq!(model.blocks.len(), 5);
    model.assert_returns_everything();
}

/// A trim used to pass by the break once the arena had gone on in heaps: what was free at its end stayed, 45 pages here.
#[test]
fn a_blocked_break_is_left_for_heaps() {
    let mut model = Model::new();
    model.os().block_break_after(200_000);
    for _ in 0..40 {
        model.apply(&Operation::Allocate { bytes: 20_000, arena: 0, zero: true });
    }
    assert_eq!(model.blocks.len(), 40, "800 kB were served");
    model.assert_returns_everything();
}

#[test]
fn the_main_arena_never_touches_the_break_when_it_may_not() {
    let mut model = Model::new();
    model.malloc.source.params.set(Param::Brk, 0);
    full_tour().iter().for_each(|operation| model.apply(operation));
    let moved = model.os().take_log().iter().any(|&(call, _)| call == Call::MoveBreak);
    assert!(!moved);
    model.assert_returns_everything();
}

/// A huge page can neither be mapped nor unmapped in part; the fake system sees to that.
#[test]
fn blocks_of_huge_pages_come_change_and_go_by_whole_pages() {
    const PAGE: usize = 64 << 10;
    for granted in [true, false] {
        let mut model = Model::new();
        if granted {
            model.os().grant_huge_pages();
        }
        model.malloc.set(Param::Hugetlb, PAGE);
        model.apply(&Operation::Allocate { bytes: 140_000, arena: 0, zero: true });
        let usable = model.malloc.usable_len(model.blocks[0].mem);
        assert_eq!(usable + 16, if granted { 3 * PAGE } else { 143_360 });
        for bytes in [330_000, 150_000, 600_000, 200_000, 1_000, 190_000] {
            model.apply(&Operation::Resize { block: 0, bytes, arena: 0 });
        }
        full_tour().iter().for_each(|operation| model.apply(operation));
        model.malloc.set(Param::Hugetlb, 0);
        model.apply(&Operation::Resize { block: 0, bytes: 400_000, arena: 0 });
        model.assert_returns_everything();
    }
}

#[test]
fn arenas_grow_by_a_huge_page_where_that_is_asked_for() {
    let mut model = Model::over(FakeOs::new(), Caching::On);
    model.malloc.set(Param::Hugetlb, 1);
    model.apply(&Operation::Allocate { bytes: 1_000, arena: 0, zero: true });
    assert!(crate::stats::collect(model.malloc).system >= crate::arch::HUGE_PAGE_LEN);
    full_tour().iter().for_each(|operation| model.apply(operation));
    model.assert_returns_everything();
}

#[test]
fn threads_that_run_follow_new_limits_of_their_caches() {
    let mut model = Model::new();
    model.apply(&Operation::Attach);
    let use_both = |model: &mut Model| {
        for thread in 0..2 {
            let mem = model.allocate(thread, 100, Contents::Any).expect("there is memory");
            model.malloc.free_cached(model.cache(thread), mem);
        }
    };
    use_both(&mut model);
    assert_eq!(model.malloc.caches.count(), 2, "a block in each cache");
    model.malloc.set(Param::TcacheCount, 0);
    use_both(&mut model);
    assert_eq!(model.malloc.caches.count(), 0, "both took out what they had, and keep nothing");
    model.malloc.set(Param::TcacheCount, 128);
    use_both(&mut model);
    assert_eq!(model.malloc.caches.count(), 2);
    model.assert_returns_everything();
}

#[test]
fn a_lowered_limit_of_arenas_holds_for_threads_that_begin() {
    let mut model = Model::over(FakeOs::new().with_cores(8), Caching::On);
    (0..3).for_each(|_| model.apply(&Operation::Attach));
    (0..3).for_each(|_| model.apply(&Operation::Detach { thread: 1 }));
    model.malloc.set(Param::ArenaMax, 2);
    let arenas: Vec<_> = (0..3)
        .map(|_| {
            model.apply(&Operation::Attach);
            core::ptr::from_ref(model.cache(model.threads.len() - 1).arena())
        })
        .collect();
    let oldest = model.malloc.arenas.iter().last().map(core::ptr::from_ref);
    assert!(arenas.iter().all(|&arena| Some(arena) == oldest), "all three in the one thread arena that is left");
    model.malloc.set(Param::ArenaMax, 1);
    model.apply(&Operation::Detach { thread: 1 });
    model.apply(&Operation::Attach);
    assert!(core::ptr::eq(model.cache(model.threads.len() - 1).arena(), model.malloc.arenas.main()));
}

#[test]
fn more_cores_do_not_mean_more_arenas_than_threads() {
    let mut model = Model::over(FakeOs::new().with_cores(64), Caching::On);
    (0..3).for_each(|_| model.apply(&Operation::Attach));
    assert_eq!(model.malloc.arenas.iter().count(), 4);
}

/// A thread that fills whole heaps with blocks of 5,000 bytes and frees all but every twelfth: what lies between is purged
/// once it has lain unused for the window, at one look, though nothing at the ends could be cut off.
#[test]
fn memory_between_blocks_in_use_goes_back_after_a_while_and_one_look() {
    let mut model = Model::over(FakeOs::new(), Caching::Off);
    (0..240).for_each(|_| model.apply(&Operation::Allocate { bytes: 5_000, arena: 0, zero: false }));
    let full = model.os().usable_len();
    let mut pinned = Vec::new();
    for (at, block) in core::mem::take(&mut model.blocks).into_iter().enumerate() {
        if at % 12 == 11 {
            pinned.push(block);
        } else {
            model.malloc.free_cached(model.cache(0), block.mem);
        }
    }
    model.blocks = pinned;
    model.assert_consistent();
    let dirty = |model: &Model| model.malloc.arenas.iter().map(|cell| cell.lock().dirty_pages()).sum::<usize>();
    assert!(dirty(&model) * 4096 > full / 2, "all of it stays at first");
    model.apply(&Operation::Pass { milliseconds: 200 });
    assert!(dirty(&model) * 4096 > full / 2, "and for a while");
    model.apply(&Operation::Pass { milliseconds: 700 });
    let kept = model.malloc.arenas.main().lock().kept_pages(default::DIRTY_PERCENT);
    assert!(dirty(&model) <= kept, "{} dirty pages are left, {kept} may be", dirty(&model));
    // The blocks that stayed are whole, and so is what is got again.
    model.apply(&Operation::Allocate { bytes: 50_000, arena: 0, zero: true });
    model.assert_returns_everything();
}

/// A program that frees everything and takes it again within the window loses nothing, however long it goes on.
#[test]
fn a_sawtooth_is_not_purged() {
    let mut model = Model::over(FakeOs::new(), Caching::Off);
    let pin = Operation::Allocate { bytes: 2_000, arena: 0, zero: false };
    for _ in 0..20 {
        (0..100).for_each(|_| model.apply(&Operation::Allocate { bytes: 9_000, arena: 0, zero: false }));
        model.apply(&pin);
        let blocks = core::mem::take(&mut model.blocks);
        model.os().take_log();
        for block in blocks {
            if block.bytes == 2_000 {
                model.blocks.push(block);
            } else {
                model.malloc.free_cached(model.cache(0), block.mem);
            }
        }
        model.apply(&Operation::Pass { milliseconds: 90 });
        assert!(model.os().take_log().iter().all(|&(call, _)| call != Call::Purge));
    }
    model.assert_returns_everything();
}
