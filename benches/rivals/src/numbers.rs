//! Numbers that look random and are the same in every run.
//!
//! Each workload, and each of its threads, owns a sequence from a seed of its own. The sequence is xorshift64\* of
//! Vigna and Marsaglia: three shifts and one multiplication, little beside a call of malloc.

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) const fn new(seed: u64) -> Self {
        // The state is never 0; neighbouring seeds start far apart.
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `limit`, each as likely as another.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// A number from `least` to `most`, each as likely as another.
    pub(crate) fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`.
    pub(crate) fn choose<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// One of `places`, to write to.
    pub(crate) fn choose_mut<'a, T>(&mut self, places: &'a mut [T]) -> &'a mut T {
        let at = self.below(places.len());
        &mut places[at]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A number below `limit`, low ones more often: the first fifth comes four times in five.
    pub(crate) fn skewed(&mut self, limit: usize) -> usize {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (uniform.powi(7) * limit as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_the_limits() {
        let mut numbers = Numbers::new(1);
        for _ in 0..10_000 {
            assert!(numbers.below(7) < 7);
            assert!(numbers.skewed(7) < 7);
            assert!((8..=100).contains(&numbers.between(8, 100)));
        }
    }

    #[test]
    fn skewed_numbers_are_low() {
        let mut numbers = Numbers::new(2);
        let low = (0..10_000).filter(|_| numbers.skewed(1_000) < 200).count();
        assert!((7_700..8_200).contains(&low), "{low} of 10000 in the first fifth");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Numbers::new(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
