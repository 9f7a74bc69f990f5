//! Scripts as bytes: what a fuzzer changes at random, and keeps where it leads somewhere new.
//!
//! A script is a row of steps of four bytes. Whatever the bytes are they mean something, and a step means the same
//! wherever it stands, so that steps can be taken out, repeated and put elsewhere:
//!
//! ```text
//!   | kind | which | amount, low byte | amount, high byte |
//! ```
//!
//! The first byte of a script of the model says what it runs on; the steps follow behind it.

use super::{Caching, Model, Operation};
use crate::os::fake::FakeOs;

/// One step; what it means is up to who carries it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub kind: u8,
    /// The block, or the thread, that it is done with.
    pub which: u8,
    /// How much of it.
    pub amount: u16,
}

impl Step {
    /// The steps of a script. A rest that is no whole step is left out.
    pub fn all(script: &[u8]) -> impl Iterator<Item = Self> {
        let (steps, _) = script.as_chunks();
        steps.iter().map(|&[kind, which, low, high]| Self { kind, which, amount: u16::from_le_bytes([low, high]) })
    }

    /// The amount as a length in bytes: half of them below 1 KiB, a few up to 256 KiB.
    pub fn bytes(self) -> usize {
        let low = usize::from(self.amount & 0xFFF);
        match self.amount >> 12 {
            0..=7 => low & 0x3FF,
            8..=11 => low,
            12 | 13 => low << 3,
            14 => low << 5,
            _ => low << 6,
        }
    }
}

impl Operation {
    fn of(step: Step) -> Self {
        let (which, amount) = (usize::from(step.which), usize::from(step.amount));
        let (arena, bytes) = (which % 3, step.bytes());
        // As often as `operations` in the tests draws them, more or less.
        match step.kind % 32 {
            0..=6 => Self::Allocate { bytes, arena, zero: which & 4 != 0 },
            7 | 8 => Self::AllocateAligned { bytes, log_alignment: 5 + (step.which / 3 % 11) as u32, arena },
            9..=15 => Self::Free { block: which },
            16..=18 => Self::Resize { block: which, bytes, arena },
            19 => Self::Trim { pad: bytes },
            20 => Self::TrimWithin { pages: amount % 50 },
            21 => Self::LimitCaches { blocks: amount % 200 },
            22 => Self::Attach,
            23 => Self::Detach { thread: which },
            24 => Self::Fork,
            25 => Self::ForeignMoveBreak { bytes: amount % 20_000 },
            26 | 27 => Self::Pass { milliseconds: amount as u64 % 1_000 },
            28 | 29 => Self::RefuseNth { n: 1 + which % 8 },
            30 => Self::RefuseGrowth,
            _ => Self::RefuseNothing,
        }
    }
}

/// Carries a script out on a model, with everything checked after each step; what is broken panics.
pub fn replay(script: &[u8]) {
    let Some((&first, steps)) = script.split_first() else { return };
    let caching = [Caching::On, Caching::Shrunken, Caching::Off][usize::from(first % 3)];
    let cores = [1, 2, 8, 64][usize::from(first / 3 % 4)];
    let mut model = Model::over(FakeOs::new().with_cores(cores), caching);
    Step::all(steps).for_each(|step| model.apply(&Operation::of(step)));
    model.assert_returns_everything();
}
