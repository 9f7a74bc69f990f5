//! How much of a workload is done.
//!
//! A workload is fixed work: so many steps, never so many seconds, so that CPU time is the measure and every allocator
//! comes to the same checksum. Scale 1 is a fraction of a second. The scale multiplies the steps and leaves alone what
//! lives at a time, so that a longer run is the same program, longer.

use std::str::FromStr;

/// A factor on the steps of a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale(f64);

impl Scale {
    /// The scale that the step counts in the workloads are written for.
    pub(crate) const ONE: Self = Self(1.0);
    const LARGEST: f64 = 10_000.0;

    /// `steps` at this scale, one at least.
    pub(crate) fn of(self, steps: usize) -> usize {
        ((steps as f64 * self.0) as usize).max(1)
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(factor) if factor > 0.0 && factor <= Self::LARGEST => Ok(Self(factor)),
            _ => Err(format!("scale {text:?}: not a number above 0, up to {}", Self::LARGEST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_above_zero_only() {
        assert_eq!("1".parse(), Ok(Scale::ONE));
        assert_eq!("0.25".parse(), Ok(Scale(0.25)));
        for text in ["", "0", "-1", "nan", "inf", "10001", "1x"] {
            assert!(text.parse::<Scale>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn leaves_one_step_at_least() {
        assert_eq!(Scale(0.001).of(10), 1);
        assert_eq!(Scale(2.5).of(10), 25);
    }
}
