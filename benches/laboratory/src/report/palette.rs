//! A colour for each malloc, the same in every picture. Most colour-blind eyes tell them apart: they are those that Okabe
//! and Ito chose for that.

use plotters::style::RGBColor;

use crate::allocators::{HEAPWRIGHT, SYSTEM};

/// The colour of an allocator; grey for a name that has none of its own.
pub(super) fn colour(allocator: &str) -> RGBColor {
    match allocator {
        HEAPWRIGHT => RGBColor(213, 94, 0),
        SYSTEM => RGBColor(90, 90, 90),
        "jemalloc" => RGBColor(0, 114, 178),
        "jemalloc-1s" => RGBColor(86, 180, 233),
        "tcmalloc" => RGBColor(230, 159, 0),
        "mimalloc" => RGBColor(0, 158, 115),
        "snmalloc" => RGBColor(204, 121, 167),
        "rpmalloc" => RGBColor(150, 130, 40),
        _ => RGBColor(160, 160, 160),
    }
}
