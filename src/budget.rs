//! How much a trim may do.

use core::time::Duration;

use crate::arch::PAGE_LEN;

/// How much [`trim_with`](crate::trim_with) may do: so many bytes, so long, or both, whichever comes first.
///
/// ```
/// use core::time::Duration;
/// use heapwright::Budget;
///
/// let budget = Budget::bytes(16 << 20).for_at_most(Duration::from_millis(2));
/// let trimmed = heapwright::trim_with(budget);
/// assert!(trimmed.bytes <= 16 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pages: usize,
    milliseconds: Option<u64>,
}

impl Budget {
    /// Whatever there is to do.
    pub const UNLIMITED: Self = Self { pages: usize::MAX, milliseconds: None };

    /// At most `bytes` bytes, in whole pages of 4,096.
    pub const fn bytes(bytes: usize) -> Self {
        Self { pages: bytes / PAGE_LEN, ..Self::UNLIMITED }
    }

    /// For at most so long. The clock that is looked at ticks every few milliseconds, as the kernel was built (4 ms with
    /// 250 Hz): it may be so much earlier or later, and one step, which takes some tens of microseconds.
    pub const fn time(most: Duration) -> Self {
        Self::UNLIMITED.for_at_most(most)
    }

    /// The same, but for at most so long; see [`time`](Self::time).
    pub const fn for_at_most(self, most: Duration) -> Self {
        let milliseconds = most.as_millis();
        let milliseconds = if milliseconds > u64::MAX as u128 { u64::MAX } else { milliseconds as u64 };
        Self { milliseconds: Some(milliseconds), ..self }
    }

    pub(crate) fn pages(self) -> usize {
        self.pages
    }

    pub(crate) fn milliseconds(self) -> Option<u64> {
        self.milliseconds
    }
}

/// What a trim within a budget has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Bytes of memory that went back.
    pub bytes: usize,
    /// Whether nothing was left that could go back.
    pub is_done: bool,
}
