//! What a Rust program may ask of the allocator besides memory: its figures, a report of them, and a trim.

use core::fmt;

use crate::global;
use crate::report;
use crate::stats::{self, Stats};

/// The allocator's figures at this moment. Takes each arena's lock for a moment, and allocates nothing.
///
/// ```
/// let stats = heapwright::stats();
/// assert_eq!(stats.in_use + stats.free + stats.top, stats.system);
/// ```
pub fn stats() -> Stats {
    stats::collect(global::malloc())
}

/// Gives memory that nobody uses back to the system, all but `pad` bytes at the top of each arena, and returns how many
/// bytes that were. Pages inside free chunks count each time, whether they had been given back before or not. 0 when
/// there was nothing to give back.
///
/// ```
/// let returned: usize = heapwright::trim(0);
/// ```
pub fn trim(pad: usize) -> usize {
    global::trim(pad)
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
