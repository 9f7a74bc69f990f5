//! Distributions of sizes.
//!
//! A distribution is held as a table of its quantiles: entry `i` of `n` is the size that a share of `(i + 1/2) / n` of all
//! requests stays below. To draw a size is to read a random entry, which costs less than malloc; logarithms and branches
//! on the way would cost more.

use crate::numbers::Numbers;

const QUANTILES: usize = 1_024;

/// A distribution of sizes, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Sizes([u32; QUANTILES]);

impl Sizes {
    /// From the inverse of a distribution function.
    fn new(quantile: impl Fn(f64) -> f64, least: u32, most: u32) -> Self {
        let mut table = [0; QUANTILES];
        for (i, size) in table.iter_mut().enumerate() {
            let share = (i as f64 + 0.5) / QUANTILES as f64;
            *size = (quantile(share) as u32).clamp(least, most);
        }
        Self(table)
    }

    /// As programs ask: two thirds up to 64 bytes, one in sixteen above 512, up to 8 KiB.
    pub(crate) fn of_programs() -> Self {
        let within = |share: f64, from: f64, to: f64, least: f64, most: f64| {
            least + (share - from) / (to - from) * (most - least)
        };
        let quantile = |share: f64| match share {
            ..0.66 => within(share, 0.0, 0.66, 8.0, 65.0),
            ..0.9375 => within(share, 0.66, 0.9375, 65.0, 513.0),
            _ => within(share, 0.9375, 1.0, 513.0, 8_193.0),
        };
        Self::new(quantile, 8, 8_192)
    }

    /// Each doubling from `least` to `most` is as likely as another.
    pub(crate) fn exponential(least: u32, most: u32) -> Self {
        let (low, high) = (f64::from(least).ln(), (f64::from(most) + 1.0).ln());
        Self::new(|share| (low + share * (high - low)).exp(), least, most)
    }

    /// A probability that falls with the square of the size.
    pub(crate) fn inverse_square(least: u32, most: u32) -> Self {
        let (low, high) = (1.0 / (f64::from(most) + 1.0), 1.0 / f64::from(least));
        Self::new(|share| 1.0 / (high - share * (high - low)), least, most)
    }

    /// Pareto's law: one fifth of the blocks has four fifths of the bytes, but for those above `most`, which are cut.
    pub(crate) fn pareto(least: u32, most: u32) -> Self {
        Self::new(|share| f64::from(least) * (1.0 - share).powf(-1.0 / 1.161), least, most)
    }

    #[inline]
    pub(crate) fn draw(&self, numbers: &mut Numbers) -> usize {
        *numbers.choose(&self.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_the_limits() {
        for sizes in [Sizes::exponential(8, 100), Sizes::inverse_square(8, 100), Sizes::pareto(8, 100)] {
            assert!(sizes.0.is_sorted());
            assert!(sizes.0.iter().all(|size| (8..=100).contains(size)), "{sizes:?}");
        }
        let sizes = Sizes::of_programs();
        assert!(sizes.0.is_sorted());
        assert_eq!(sizes.0[0], 8);
        assert!(sizes.0[QUANTILES - 1] > 8_000);
    }

    #[test]
    fn small_sizes_prevail_in_an_inverse_square() {
        let below_twice_the_least = Sizes::inverse_square(8, 8_000).0.iter().filter(|size| **size < 16).count();
        assert!(below_twice_the_least.abs_diff(QUANTILES / 2) < 5, "{below_twice_the_least}");
    }
}
