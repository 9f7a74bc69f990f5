//! Figures of the allocator at one moment, as plain data.
//!
//! Everything is counted where it changes, under a lock that is held anyway, and only added up here; the one exception is
//! what threads have cached, which is counted in their magazines while they may be going on. Nothing is allocated, and an
//! arena's lock is held for as long as it takes to read its counters and those of its heaps.
//!
//! ```text
//!   system (of arenas)  =  allocated + cached + depot + overhead  + free + top
//!                          '------------- in use --------------'
//!   mapped              =  system + mapped blocks + caches themselves
//!   active              =  mapped - free - top
//! ```

use crate::arch::PAGE_LEN;
use crate::arena::ArenaFigures;
use crate::arenas::ArenaCell;
use crate::malloc::Malloc;
use crate::os::Os;

/// What the allocator has from the system and what has become of it, at one moment; all in bytes unless it says
/// otherwise.
///
/// The first six are jemalloc's words, in the terms of this heap. While other threads allocate, arenas are read one after
/// the other and caches as they go on; at rest every figure is exact, and equal to what [`walk`](crate::walk()) finds. One
/// border is drawn less sharply: a cached block counts with the size of its class, and may be 16 bytes longer, which then
/// count as [`allocated`](Self::allocated). The sum of both is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What the program has: the chunks of its blocks, each with its head and what rounding has added, and the mappings
    /// of mapped blocks. `in_use - cached - depot - overhead + mapped_chunk_bytes`
    pub allocated: usize,
    /// Memory that holds anything but free chunks and tops: blocks, caches and what keeps them in order.
    /// `mapped - free - top`
    pub active: usize,
    /// The most that can be resident: [`active`](Self::active), [`dirty`](Self::dirty), and two pages of each free chunk,
    /// which it may share with its neighbours. Pages of blocks that the program never touched count, because only the
    /// kernel knows of them.
    pub resident: usize,
    /// Usable memory from the system. `system + mapped_chunk_bytes` and the caches of threads themselves
    pub mapped: usize,
    /// Addresses without memory: what heaps have reserved and not in use.
    pub retained: usize,
    /// What the program cannot have of [`mapped`](Self::mapped): heads of heaps, arenas, ends of runs, and the caches of
    /// threads themselves. Without the heads of chunks, and without the allocator's own static data.
    pub metadata: usize,

    /// Usable memory that the arenas have from the system.
    pub system: usize,
    /// The most that [`system`](Self::system) ever was, summed over the arenas.
    pub most_system: usize,
    /// Memory of the arenas that is neither free nor a top. `system - free - top`
    pub in_use: usize,
    /// Memory of the arenas that no chunk can have; part of [`in_use`](Self::in_use).
    pub overhead: usize,
    /// Memory of blocks in the caches of threads, each as long as its class; part of [`in_use`](Self::in_use).
    pub cached: usize,
    /// Memory of blocks that wait in the depot for any thread; part of [`in_use`](Self::in_use).
    pub depot: usize,
    /// Memory of free chunks.
    pub free: usize,
    /// Free chunks (a number).
    pub free_chunks: usize,
    /// Memory at the ends of the arenas that has not been handed out.
    pub top: usize,
    /// The main arena's part of [`top`](Self::top), which a trim gives back first.
    pub main_top: usize,

    /// Blocks with a mapping of their own (a number).
    pub mapped_chunks: usize,
    /// Memory of those mappings.
    pub mapped_chunk_bytes: usize,
    /// The most mapped blocks at one time (a number).
    pub most_mapped_chunks: usize,
    /// The most memory in such mappings at one time.
    pub most_mapped_chunk_bytes: usize,

    /// Arenas, the main one included (a number).
    pub arenas: usize,
    /// Heaps of the arenas, each a reservation of 64 MiB of addresses, or less where addresses are scarce (a number).
    pub heaps: usize,
    /// Regions of small chunks in all arenas (a number).
    pub regions: usize,
    /// How often an arena has moved the break (a number).
    pub break_moves: usize,
    /// How often an arena has asked the system for more (a number).
    pub growths: usize,
    /// How often an arena has given something back (a number).
    pub trims: usize,
    /// Whole pages inside free memory that have been touched since the system gave them, in bytes: what a purge would give
    /// back.
    pub dirty: usize,
    /// How often such pages have been given back (a number of calls).
    pub purges: usize,
    /// How much of them in all.
    pub purged: usize,
    /// How often a thread found the lock of its arena held (a number).
    pub contended: usize,
}

/// The figures of one arena, all in bytes unless it says otherwise; see [`Stats`] for what each means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaStats {
    /// Usable memory from the system.
    pub system: usize,
    /// The most that [`system`](Self::system) ever was.
    pub most_system: usize,
    /// Memory that is neither free nor the top, what caches hold of it included.
    pub in_use: usize,
    /// Memory that no chunk can have; part of [`in_use`](Self::in_use).
    pub overhead: usize,
    /// Memory in the caches of the threads that this arena serves, from whichever arena the blocks are.
    pub cached: usize,
    /// Memory of free chunks.
    pub free: usize,
    /// Free chunks (a number).
    pub free_chunks: usize,
    /// Memory at the end that has not been handed out.
    pub top: usize,
    /// Addresses that are reserved and not usable.
    pub retained: usize,
    /// Heaps (a number).
    pub heaps: usize,
    /// Regions of small chunks (a number).
    pub regions: usize,
    /// Threads that it serves (a number).
    pub threads: usize,
    /// How often it has moved the break (a number).
    pub break_moves: usize,
    /// How often it has asked the system for more (a number).
    pub growths: usize,
    /// How often it has given something back (a number).
    pub trims: usize,
    /// See [`Stats::dirty`], [`Stats::purges`], [`Stats::purged`].
    pub dirty: usize,
    /// The same.
    pub purges: usize,
    /// The same.
    pub purged: usize,
    /// How often a thread found its lock held (a number).
    pub contended: usize,
}

impl ArenaStats {
    pub(crate) fn of(cell: &ArenaCell, figures: &ArenaFigures, cached: usize) -> Self {
        Self {
            system: figures.counts.system,
            most_system: figures.counts.most_system,
            in_use: figures.in_use() + figures.overhead,
            overhead: figures.overhead,
            cached,
            free: figures.free_bytes,
            free_chunks: figures.free_chunks,
            top: figures.top,
            retained: figures.retained,
            heaps: figures.counts.heaps,
            regions: figures.regions,
            threads: cell.threads(),
            break_moves: figures.break_moves,
            growths: figures.counts.growths,
            trims: figures.counts.trims,
            dirty: figures.dirty_pages * PAGE_LEN,
            purges: figures.counts.purges,
            purged: figures.counts.purged_pages * PAGE_LEN,
            contended: cell.contended(),
        }
    }
}

/// The figures of each arena, the main one first.
pub(crate) fn arenas<O: Os>(malloc: &'static Malloc<O>) -> impl Iterator<Item = ArenaStats> {
    malloc.keep_order();
    malloc.arenas.iter().filter_map(|cell| {
        let mut cached = 0;
        malloc.caches.for_each(|arena, bytes| {
            cached += if arena.is_some_and(|arena| core::ptr::eq(arena, cell)) { bytes } else { 0 };
        });
        let figures = cell.lock(malloc.source.os.lineage())?.figures();
        Some(ArenaStats::of(cell, &figures, cached))
    })
}

/// Adds everything up.
pub(crate) fn collect<O: Os>(malloc: &Malloc<O>) -> Stats {
    let mut stats = Stats::default();
    malloc.for_each_arena(|cell, figures| {
        let arena = ArenaStats::of(cell, &figures, 0);
        if stats.arenas == 0 {
            stats.main_top = arena.top;
        }
        stats.arenas += 1;
        stats.heaps += arena.heaps;
        stats.regions += arena.regions;
        stats.system += arena.system;
        stats.most_system += arena.most_system;
        stats.in_use += arena.in_use;
        stats.overhead += arena.overhead;
        stats.free += arena.free;
        stats.free_chunks += arena.free_chunks;
        stats.top += arena.top;
        stats.retained += arena.retained;
        stats.break_moves += arena.break_moves;
        stats.growths += arena.growths;
        stats.trims += arena.trims;
        stats.dirty += arena.dirty;
        stats.purges += arena.purges;
        stats.purged += arena.purged;
        stats.contended += arena.contended;
    });
    malloc.caches.for_each(|_, bytes| stats.cached += bytes);
    stats.depot = malloc.depot_bytes();
    let mapped = malloc.mapped_stats();
    stats.mapped_chunks = mapped.count;
    stats.mapped_chunk_bytes = mapped.bytes;
    stats.most_mapped_chunks = mapped.most_count;
    stats.most_mapped_chunk_bytes = mapped.most_bytes;

    let caches = malloc.caches.metadata(&malloc.source.os);
    // While threads go on, what they cache is counted at another moment than what their arenas have.
    let waiting = stats.cached + stats.depot + stats.overhead;
    stats.allocated = stats.in_use.saturating_sub(waiting) + stats.mapped_chunk_bytes;
    stats.mapped = stats.system + stats.mapped_chunk_bytes + caches;
    stats.active = stats.mapped - stats.free - stats.top;
    let edges = (stats.free_chunks + stats.arenas).saturating_mul(2 * PAGE_LEN);
    stats.resident = stats.mapped.min(stats.active.saturating_add(stats.dirty).saturating_add(edges));
    stats.metadata = stats.overhead + caches;
    stats
}
