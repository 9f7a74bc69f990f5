//! /proc/self/maps: the mappings of this process, line by line.

use std::fs;
use std::io;
use std::ops::Range;

/// One mapping.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) range: Range<usize>,
    pub(crate) permissions: String,
    pub(crate) name: String,
    /// The line as the kernel wrote it, less the spaces that put the name in a column.
    pub(crate) line: String,
}

impl Mapping {
    /// `7f6c84000000-7f6c84021000 rw-p 00000000 00:00 0        [heap]`
    fn of_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = words.first()?.split_once('-')?;
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        Some(Self {
            range: address(start)?..address(end)?,
            permissions: (*words.get(1)?).to_owned(),
            name: words.get(5..).unwrap_or_default().join(" "),
            line: words.join(" "),
        })
    }

    pub(crate) fn kib(&self) -> usize {
        self.range.len() >> 10
    }
}

/// The mappings of this process, from low to high addresses.
pub(crate) fn read() -> io::Result<Vec<Mapping>> {
    Ok(fs::read_to_string("/proc/self/maps")?.lines().filter_map(Mapping::of_line).collect())
}
