//! Figures of the allocator at one moment, as plain data.

use crate::malloc::Malloc;
use crate::os::Os;

/// What the allocator has from the system and what has become of it, at one moment; all in bytes unless it says
/// otherwise. The figures of each arena are exact; while other threads allocate, arenas are read one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Arenas, the main one included (a number).
    pub arenas: usize,
    /// Heaps of the arenas, each a reservation of 64 MiB of addresses, or less where addresses are scarce (a number).
    pub heaps: usize,
    /// Usable memory that the arenas have from the system.
    pub system: usize,
    /// The most that [`system`](Self::system) ever was, summed over the arenas.
    pub most_system: usize,
    /// Memory of the arenas that is in use, with the words that keep it in order: `system - free - top`.
    pub in_use: usize,
    /// Memory of free chunks.
    pub free: usize,
    /// Free chunks (a number).
    pub free_chunks: usize,
    /// Memory at the ends of the arenas that has not been handed out.
    pub top: usize,
    /// The main arena's part of [`top`](Self::top), which a trim gives back first.
    pub main_top: usize,
    /// Blocks with a mapping of their own (a number).
    pub mapped_blocks: usize,
    /// Memory of those mappings.
    pub mapped: usize,
    /// The most mapped blocks at one time (a number).
    pub most_mapped_blocks: usize,
    /// The most memory in such mappings at one time.
    pub most_mapped: usize,
    /// Memory of blocks that wait in the depot for any thread; part of [`in_use`](Self::in_use).
    pub depot: usize,
    /// How often an arena has asked the system for more (a number).
    pub growths: usize,
    /// How often an arena has given something back (a number).
    pub trims: usize,
    /// How often a thread found the lock of its arena held (a number).
    pub contended: usize,
}

/// Adds everything up.
pub(crate) fn collect<O: Os>(malloc: &Malloc<O>) -> Stats {
    let mut stats = Stats::default();
    malloc.for_each_arena(|cell, arena| {
        if stats.arenas == 0 {
            stats.main_top = arena.top;
        }
        stats.arenas += 1;
        stats.heaps += arena.counts.heaps;
        stats.system += arena.counts.system;
        stats.most_system += arena.counts.most_system;
        stats.free += arena.free_bytes;
        stats.free_chunks += arena.free_chunks;
        stats.top += arena.top;
        stats.growths += arena.counts.growths;
        stats.trims += arena.counts.trims;
        stats.contended += cell.contended();
    });
    stats.in_use = stats.system - stats.free - stats.top;
    stats.depot = malloc.depot_bytes();
    let mapped = malloc.mapped_stats();
    stats.mapped_blocks = mapped.count;
    stats.mapped = mapped.bytes;
    stats.most_mapped_blocks = mapped.most_count;
    stats.most_mapped = mapped.most_bytes;
    stats
}
