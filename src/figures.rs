//! What a Rust program may ask of the allocator besides memory: its figures, a report of them, and a trim.

use core::fmt;

use crate::budget::{Budget, Trimmed};
use crate::global;
use crate::options::Param;
use crate::report;
use crate::settings::{Options, SetError};
use crate::stats::{self, ArenaStats, Stats};
use crate::walk::Visited;

/// The effective value of every parameter and what set it: the environment is read first if no request has done so yet.
///
/// ```
/// use heapwright::{Param, SetBy};
///
/// let top_pad = heapwright::options().get(Param::TopPad);
/// assert_eq!((top_pad.value, top_pad.set_by), (128 << 10, SetBy::Default));
/// println!("{}", heapwright::options());
/// ```
pub fn options() -> Options {
    Options::of(global::params())
}

/// Sets a parameter, from any thread at any moment. It wins over builder and environment, and takes effect with the next
/// request that it concerns. What it ends or begins is told at each [`Param`].
///
/// # Errors
///
/// A value outside the limits of the parameter, which then keeps its value.
///
/// ```
/// use heapwright::Param;
///
/// heapwright::set(Param::TopPad, 64 << 10)?;
/// assert_eq!(heapwright::options().get(Param::TopPad).value, 64 << 10);
///
/// let error = heapwright::set(Param::ArenaMax, 0).expect_err("there is one arena at least");
/// assert_eq!(error.to_string(), "ARENA_MAX cannot be 0: expected a number from 1");
/// # Ok::<(), heapwright::SetError>(())
/// ```
pub fn set(param: Param, value: usize) -> Result<(), SetError> {
    if !param.allows(value) {
        return Err(SetError { param, value });
    }
    global::set(param, value);
    Ok(())
}

/// The allocator's figures at this moment. Takes each arena's lock for a moment, and allocates nothing.
///
/// ```
/// let stats = heapwright::stats();
/// assert_eq!(stats.in_use + stats.free + stats.top, stats.system);
/// assert!(stats.allocated <= stats.active && stats.active <= stats.mapped);
/// ```
pub fn stats() -> Stats {
    stats::collect(global::malloc())
}

/// The figures of each arena, the main one first. Each is read when the iterator comes to it.
///
/// ```
/// let system: usize = heapwright::arenas().map(|arena| arena.system).sum();
/// ```
pub fn arenas() -> impl Iterator<Item = ArenaStats> {
    stats::arenas(global::malloc())
}

/// Walks the heap: calls `visit` with every arena, its runs, and their chunks. Each arena is seen as it is at one moment,
/// for as long as its walk takes its lock is held, and other threads that need it wait. What is found overwritten ends
/// the process with the sentence of that misuse.
///
/// `visit` must not allocate or free, in this thread or by waiting for another, and must not call
/// [`stats()`] and the like: it runs under the lock. An allocation in it ends the process with one sentence.
///
/// ```
/// use heapwright::{Chunk, ChunkState, Visited};
///
/// let mut longest = 0;
/// heapwright::walk(|visited| {
///     if let Visited::Chunk(Chunk { size, state: ChunkState::Free, .. }) = visited {
///         longest = longest.max(size);
///     }
/// });
/// println!("the longest free chunk has {longest} bytes");
/// ```
pub fn walk(visit: impl FnMut(Visited)) {
    global::walk(visit);
}

/// Gives memory that nobody uses back to the system, all but `pad` bytes at the top of each arena, and returns how many
/// bytes that were: touched pages inside free chunks, and the ends of the arenas. Pages that have gone back before and
/// not been touched since do not go back again. 0 when there was nothing to give back. What other threads have cached
/// follows at their next free.
///
/// ```
/// let returned: usize = heapwright::trim(0);
/// ```
pub fn trim(pad: usize) -> usize {
    global::trim(pad)
}

/// As [`trim`]`(0)`, but within a budget: in steps, none of which holds a lock for long, so that a program can give back
/// a little at a time, say whenever it has nothing else to do.
///
/// ```
/// use heapwright::Budget;
///
/// while !heapwright::trim_with(Budget::bytes(4 << 20)).is_done {
///     // Something more urgent.
/// }
/// ```
pub fn trim_with(budget: Budget) -> Trimmed {
    global::trim_within(budget)
}

/// The figures of every arena, to be displayed: an XML document as glibc's `malloc_info` writes it, version 1.
///
/// ```
/// let text = heapwright::Report.to_string();
/// assert!(text.starts_with("<malloc version=\"1\">"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Report;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        report::xml(global::malloc(), f)
    }
}

/// Writes a [`Report`] to the file at `path`, which is created, or emptied first.
///
/// # Errors
///
/// Those of creating and of writing the file.
#[cfg(feature = "std")]
pub fn save_report(path: impl AsRef<std::path::Path>) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    write!(file, "{Report}")?;
    file.flush()
}
