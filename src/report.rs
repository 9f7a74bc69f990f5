//! Figures as text: the lines of `malloc_stats`, and the XML of `malloc_info`.
//!
//! Both are written piece by piece to a `fmt::Write` that does not allocate. The XML has the form of version 1 that
//! readers of glibc's output know: a `heap` for each arena, then the totals of all.

use core::fmt::{self, Write};

use crate::arena::ArenaFigures;
use crate::arenas::ArenaCell;
use crate::malloc::Malloc;
use crate::os::Os;
use crate::stats;

/// One paragraph for each arena, then the totals; the largest sum of mappings stands last.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
pub(crate) fn lines<O: Os>(malloc: &Malloc<O>, out: &mut impl Write) -> fmt::Result {
    let mut result = Ok(());
    let mut number = 0;
    malloc.for_each_arena(|_, arena| {
        if result.is_ok() {
            let in_use = arena.in_use() + arena.overhead;
            result = write!(
                out,
                "Arena {number}:\nsystem bytes     = {:>10}\nin use bytes     = {in_use:>10}\n",
                arena.counts.system
            );
        }
        number += 1;
    });
    result?;
    let total = stats::collect(malloc);
    write!(
        out,
        "Total (incl. mmap):\nsystem bytes     = {:>10}\nin use bytes     = {:>10}\n\
         max mmap regions = {:>10}\nmax mmap bytes   = {:>10}\n",
        total.system + total.mapped_chunk_bytes,
        total.in_use + total.mapped_chunk_bytes,
        total.most_mapped_chunks,
        total.most_mapped_chunk_bytes
    )
}

/// The XML document, version 1.
pub(crate) fn xml<O: Os>(malloc: &Malloc<O>, out: &mut impl Write) -> fmt::Result {
    out.write_str("<malloc version=\"1\">\n")?;
    let mut result = Ok(());
    let mut number = 0;
    malloc.for_each_arena(|cell, arena| {
        if result.is_ok() {
            result = heap_xml(out, number, cell, &arena);
        }
        number += 1;
    });
    result?;
    let total = stats::collect(malloc);
    writeln!(out, "<total type=\"rest\" count=\"{}\" size=\"{}\"/>", total.free_chunks, total.free)?;
    writeln!(out, "<total type=\"mmap\" count=\"{}\" size=\"{}\"/>", total.mapped_chunks, total.mapped_chunk_bytes)?;
    writeln!(out, "<system type=\"current\" size=\"{}\"/>", total.system)?;
    writeln!(out, "<system type=\"max\" size=\"{}\"/>", total.most_system)?;
    writeln!(out, "<aspace type=\"total\" size=\"{}\"/>", total.system)?;
    writeln!(out, "<aspace type=\"mprotect\" size=\"{}\"/>", total.system)?;
    out.write_str("</malloc>\n")
}

fn heap_xml(out: &mut impl Write, number: usize, cell: &ArenaCell, arena: &ArenaFigures) -> fmt::Result {
    writeln!(out, "<heap nr=\"{number}\">\n<sizes>")?;
    // Counted under the lock, written after it: a writer may allocate.
    let sizes = cell.lock().sizes();
    for row in sizes.iter().filter(|row| row.count > 0) {
        let (from, to) = (row.from, row.to);
        writeln!(out, "  <size from=\"{from}\" to=\"{to}\" total=\"{}\" count=\"{}\"/>", row.bytes, row.count)?;
    }
    writeln!(out, "</sizes>")?;
    writeln!(out, "<total type=\"rest\" count=\"{}\" size=\"{}\"/>", arena.free_chunks, arena.free_bytes)?;
    writeln!(out, "<system type=\"current\" size=\"{}\"/>", arena.counts.system)?;
    writeln!(out, "<system type=\"max\" size=\"{}\"/>", arena.counts.most_system)?;
    writeln!(out, "<aspace type=\"total\" size=\"{}\"/>", arena.counts.system)?;
    writeln!(out, "<aspace type=\"mprotect\" size=\"{}\"/>", arena.counts.system)?;
    writeln!(out, "<aspace type=\"subheaps\" size=\"{}\"/>", arena.counts.heaps)?;
    out.write_str("</heap>\n")
}
