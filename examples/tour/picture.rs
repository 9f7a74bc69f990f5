//! A stretch of memory drawn to scale, from addresses: blocks in use, the free holes between them, and the top.
//!
//! ```text
//!   |#####30k#####|###20k##|......................top 110k......................|      into a pipe
//! ```
//!
//! On a terminal a block is a coloured field with its size in it.

use crate::screen::{Ink, Screen};

/// One field of a picture.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) label: String,
    pub(crate) ink: Ink,
}

/// How much memory a column stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    columns: usize,
    bytes: usize,
}

impl Scale {
    /// `bytes` of memory fill so many `columns`.
    pub(crate) fn new(columns: usize, bytes: usize) -> Self {
        Self { columns, bytes: bytes.max(1) }
    }

    fn columns_of(self, bytes: usize) -> usize {
        (bytes * self.columns + self.bytes / 2) / self.bytes
    }
}

/// Draws fields that lie one behind the other.
pub(crate) fn draw(screen: &Screen, scale: Scale, fields: &[Field]) -> String {
    let Some(first) = fields.first() else { return String::new() };
    let column = |address: usize| scale.columns_of(address - first.start);
    let mut picture = String::new();
    for field in fields {
        let width = column(field.end) - column(field.start);
        if screen.is_lively() {
            picture += &screen.paint(field.ink, &centred(&field.label, width, ' '));
        } else if width > 0 {
            picture.push('|');
            picture += &centred(&field.label, width - 1, field.ink.filling());
        }
    }
    if !screen.is_lively() {
        picture.push('|');
    }
    picture
}

impl Ink {
    fn filling(self) -> char {
        match self {
            Self::Top => '.',
            Self::Hole => ' ',
            _ => '#',
        }
    }
}

/// The label in the middle of `width` characters; its first word, or nothing, where it has no room.
fn centred(label: &str, width: usize, filling: char) -> String {
    let word = label.split(' ').next().unwrap_or_default();
    let label = [label, word, ""].into_iter().find(|text| text.len() <= width).unwrap_or_default();
    let rest = width - label.len();
    let fill = |count: usize| filling.to_string().repeat(count);
    format!("{}{label}{}", fill(rest / 2), fill(rest - rest / 2))
}
