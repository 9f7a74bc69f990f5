//! Figures as text: the lines of `malloc_stats`, and the XML of `malloc_info`.
//!
//! Both are written piece by piece to a `fmt::Write` that does not allocate. The XML has the form of version 1 that
//! readers of glibc's output know: a `heap` for each arena, then the totals of all. Each arena is read under its lock, at
//! one moment, and written after that, because a writer may allocate; the totals are the sums of what was written.

use core::fmt::{self, Write};

use crate::arena::ArenaFigures;
use crate::bins::Sizes;
use crate::malloc::Malloc;
use crate::os::Os;

/// One paragraph for each arena, then the totals; the largest sum of mappings stands last.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
pub(crate) fn lines<O: Os>(malloc: &Malloc<O>, out: &mut impl Write) -> fmt::Result {
    let mapped = malloc.mapped_stats();
    let (mut system, mut in_use) = (mapped.bytes, mapped.bytes);
    for (number, cell) in malloc.arenas.iter().enumerate() {
        let Some(arena) = malloc.lock(cell) else { continue };
        let figures = arena.figures();
        drop(arena);
        let used = figures.in_use() + figures.overhead;
        system += figures.counts.system;
        in_use += used;
        writeln!(out, "Arena {number}:")?;
        writeln!(out, "system bytes     = {:>10}\nin use bytes     = {used:>10}", figures.counts.system)?;
    }
    writeln!(out, "Total (incl. mmap):\nsystem bytes     = {system:>10}\nin use bytes     = {in_use:>10}")?;
    writeln!(out, "max mmap regions = {:>10}\nmax mmap bytes   = {:>10}", mapped.most_count, mapped.most_bytes)
}

/// What is summed up over the arenas.
#[derive(Default)]
struct Totals {
    free_chunks: usize,
    free_bytes: usize,
    system: usize,
    most_system: usize,
}

impl Totals {
    fn add(&mut self, figures: &ArenaFigures) {
        self.free_chunks += figures.free_chunks;
        self.free_bytes += figures.free_bytes;
        self.system += figures.counts.system;
        self.most_system += figures.counts.most_system;
    }

    fn xml(&self, out: &mut impl Write) -> fmt::Result {
        writeln!(out, "<total type=\"rest\" count=\"{}\" size=\"{}\"/>", self.free_chunks, self.free_bytes)
    }

    fn system_xml(&self, out: &mut impl Write) -> fmt::Result {
        writeln!(out, "<system type=\"current\" size=\"{}\"/>", self.system)?;
        writeln!(out, "<system type=\"max\" size=\"{}\"/>", self.most_system)?;
        writeln!(out, "<aspace type=\"total\" size=\"{}\"/>", self.system)?;
        writeln!(out, "<aspace type=\"mprotect\" size=\"{}\"/>", self.system)
    }
}

/// The XML document, version 1.
pub(crate) fn xml<O: Os>(malloc: &Malloc<O>, out: &mut impl Write) -> fmt::Result {
    out.write_str("<malloc version=\"1\">\n")?;
    let mut totals = Totals::default();
    for (number, cell) in malloc.arenas.iter().enumerate() {
        let Some(arena) = malloc.lock(cell) else { continue };
        let (figures, sizes) = (arena.figures(), arena.sizes());
        drop(arena);
        totals.add(&figures);
        heap_xml(out, number, &figures, &sizes)?;
    }
    totals.xml(out)?;
    let mapped = malloc.mapped_stats();
    writeln!(out, "<total type=\"mmap\" count=\"{}\" size=\"{}\"/>", mapped.count, mapped.bytes)?;
    totals.system_xml(out)?;
    out.write_str("</malloc>\n")
}

fn heap_xml(out: &mut impl Write, number: usize, figures: &ArenaFigures, sizes: &Sizes) -> fmt::Result {
    writeln!(out, "<heap nr=\"{number}\">\n<sizes>")?;
    for row in sizes.iter().filter(|row| row.count > 0) {
        let (from, to) = (row.from, row.to);
        writeln!(out, "  <size from=\"{from}\" to=\"{to}\" total=\"{}\" count=\"{}\"/>", row.bytes, row.count)?;
    }
    writeln!(out, "</sizes>")?;
    let mut own = Totals::default();
    own.add(figures);
    own.xml(out)?;
    own.system_xml(out)?;
    if figures.counts.heaps > 0 {
        writeln!(out, "<aspace type=\"subheaps\" size=\"{}\"/>", figures.counts.heaps)?;
    }
    out.write_str("</heap>\n")
}
