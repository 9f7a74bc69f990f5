//! The end of a process whose heap can no longer be trusted: one sentence on stderr, then abort.
//!
//! Nothing here allocates, locks, or calls into libc: the sentence is built on the stack, leaves by one `write(2)`, and
//! the process ends by a `SIGABRT` raised with raw system calls, so that this works inside a signal handler, on a small
//! stack and while any lock of the process is held. Each kind of misuse has a sentence of its own; tests assert them.

use core::fmt::{self, Write};

/// What was found wrong, named after what the caller did or what was overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// The pointer is not aligned as every block is.
    MisalignedPointer,
    /// The word before the block is not a head of ours: a foreign or interior pointer, or an overwritten head.
    InvalidPointer,
    /// The head says that the block lies in a heap, but no heap of ours is there.
    ForeignHeap,
    /// The block is free already.
    DoubleFree,
    /// The head behind the block was overwritten.
    NextHeadOverwritten,
    /// A free chunk's head was overwritten.
    FreeHeadOverwritten,
    /// The size at the end of a free chunk differs from the one in its head.
    FooterMismatch,
    /// A free list does not lead back to the chunk that it leads to.
    ListCorrupted,
    /// The size tree does not lead back to the chunk that it leads to.
    TreeCorrupted,
    /// The head of the top chunk differs from the arena's own record.
    TopOverwritten,
    /// The head of a mapped block does not describe a mapping.
    InvalidMapping,
    /// Somebody moved the break down over memory of ours.
    BreakMovedDown,
    /// The link of a cached block does not lead to a block.
    CachedLinkOverwritten,
    /// A block in a magazine does not carry the mark of a cached one.
    CachedMarkOverwritten,
    /// No memory is mapped where the pointer leads.
    NoMemory,
    /// The header of a heap is not the one that was written.
    HeaderOverwritten,
    /// What lies behind the bytes that were asked for is not what was written there.
    #[cfg(feature = "hardened")]
    GuardOverwritten,
    /// A freed block does not hold what it was filled with.
    #[cfg(feature = "hardened")]
    WrittenAfterFree,
    /// A block is freed with a size or an alignment that is not its own.
    #[cfg_attr(any(test, not(any(feature = "preload", feature = "override"))), allow(dead_code))]
    WrongSize,
    /// The visitor of a heap walk asked for memory or gave some back, under the lock that it would need.
    WalkReentered,
}

impl Misuse {
    /// The sentence, without the prefix and the address.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::MisalignedPointer => "the pointer is not aligned like a block of this heap",
            Self::InvalidPointer => "the pointer is not a block of this heap, or the word before it was overwritten",
            Self::ForeignHeap => "the block claims to lie in a thread arena's heap, but there is none at its address",
            Self::DoubleFree => "double free: the block is free already",
            Self::NextHeadOverwritten => "the head of the chunk behind the block was overwritten: the block overflowed",
            Self::FreeHeadOverwritten => "the head of a free chunk was overwritten",
            Self::FooterMismatch => {
                "the size at the end of a free chunk differs from its head: written after free, or an underflow"
            }
            Self::ListCorrupted => "the links of a free chunk were overwritten: written after free",
            Self::TreeCorrupted => "the tree links of a large free chunk were overwritten: written after free",
            Self::TopOverwritten => "the head of the top chunk was overwritten: the last block overflowed",
            Self::InvalidMapping => "the head of a mapped block was overwritten",
            Self::CachedLinkOverwritten => "the link of a cached block was overwritten: written after free",
            Self::CachedMarkOverwritten => "the mark of a cached block was overwritten: written after free",
            Self::NoMemory => "the pointer leads to memory that cannot be read",
            Self::HeaderOverwritten => "the header of a heap was overwritten",
            Self::WrongSize => "the block is not as long, or not as aligned, as the size that it is freed with",
            Self::WalkReentered => "the visitor of a heap walk allocated or freed memory, which it must not",
            #[cfg(feature = "hardened")]
            Self::GuardOverwritten => "the bytes behind what was asked for were overwritten: the block overflowed",
            #[cfg(feature = "hardened")]
            Self::WrittenAfterFree => "a freed block was written to",
            Self::BreakMovedDown => "somebody moved the program break down over memory of this heap",
        }
    }
}

/// Reports `misuse` of the memory at `address` and ends the process. Never returns, never allocates.
#[cold]
#[inline(never)]
pub(crate) fn fatal(misuse: Misuse, address: usize) -> ! {
    let mut line = Line::new();
    // A line that is cut short is still a line: the writer cannot fail.
    let _ = writeln!(line, "heapwright: {} ({address:#x})", misuse.sentence());
    end(line.as_bytes())
}

#[cfg(test)]
fn end(line: &[u8]) -> ! {
    panic!("{}", core::str::from_utf8(line).unwrap_or("a sentence that is not UTF-8"))
}

#[cfg(not(test))]
fn end(line: &[u8]) -> ! {
    crate::arch::write_stderr(line);
    crate::arch::abort()
}

/// Ends the process with `$misuse` at `$address` unless `$holds`. With `--cfg heapwright_unchecked`, which is there to measure
/// what the checks cost and for nothing else, no check is made, no head is sealed, and no mark looked at.
macro_rules! check {
    ($holds:expr, $misuse:ident, $address:expr) => {
        if !cfg!(heapwright_unchecked) && !$holds {
            $crate::fatal::fatal($crate::fatal::Misuse::$misuse, $address);
        }
    };
}
pub(crate) use check;

/// A line of text on the stack; what does not fit is cut off.
pub(crate) struct Line {
    bytes: [u8; Self::LEN],
    len: usize,
}

impl Line {
    const LEN: usize = 256;

    pub(crate) const fn new() -> Self {
        Self { bytes: [0; Self::LEN], len: 0 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.len < Self::LEN {
                self.bytes[self.len] = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_not_lost() {
        let mut line = Line::new();
        for _ in 0..100 {
            write!(line, "twelve bytes").expect("a line never fails");
        }
        assert_eq!(line.as_bytes().len(), Line::LEN);
        assert!(line.as_bytes().starts_with(b"twelve bytestwelve"));
    }

    #[test]
    #[should_panic(expected = "heapwright: double free: the block is free already (0x10)")]
    fn the_sentence_names_the_misuse_and_the_address() {
        fatal(Misuse::DoubleFree, 16);
    }
}
