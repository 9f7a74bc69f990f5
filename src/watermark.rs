//! A low-water mark over a sliding window: how much of something has lain unused all the time.
//!
//! A level goes up and down. What was there at its lowest moment of the last [`TICKS`] ticks was not needed in any of
//! them, whatever came and went above it. So a program that frees much and takes it again within the window keeps it, and
//! one that does not need it any more shows exactly how much it does not need:
//!
//! ```text
//!   level      /\      /\_________
//!             /  \    /
//!            /    \__/                       what lies below the lowest point of the window
//!   unused   ..........^^^^^^^^^^^           is unused; here first little, then all
//! ```
//!
//! Nothing here knows the time: a tick is a number that grows.

/// Full ticks that a level is looked back on.
pub(crate) const TICKS: usize = 4;

/// The lowest levels of the last ticks, while somebody watches.
#[derive(Debug)]
pub(crate) struct Watermark {
    is_watched: bool,
    tick: u64,
    /// The lowest level in this tick.
    lowest: usize,
    /// Those of the ticks before.
    past: [usize; TICKS],
}

impl Watermark {
    pub(crate) const fn new() -> Self {
        Self { is_watched: false, tick: 0, lowest: 0, past: [0; TICKS] }
    }

    /// Whether the level is being watched.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Nobody watches any more.
    pub(crate) fn forget(&mut self) {
        self.is_watched = false;
    }

    /// The level has fallen to `level`, or may have.
    #[inline]
    pub(crate) fn note(&mut self, level: usize) {
        self.lowest = self.lowest.min(level);
    }

    /// How much of `level`, the level at `tick`, was unused in every one of the last full ticks. The first look begins
    /// to watch, and finds nothing unused.
    pub(crate) fn unused(&mut self, tick: u64, level: usize) -> usize {
        if !self.is_watched || tick < self.tick {
            *self = Self { is_watched: true, tick, lowest: level, past: [0; TICKS] };
            return 0;
        }
        self.note(level);
        for _ in 0..(tick - self.tick).min(TICKS as u64 + 1) {
            self.past.rotate_right(1);
            self.past[0] = self.lowest;
            self.lowest = level;
        }
        self.tick = tick;
        self.past.iter().copied().fold(level, usize::min)
    }

    /// So much of what was unused is gone, at every moment that is remembered.
    pub(crate) fn lower(&mut self, by: usize) {
        self.lowest = self.lowest.saturating_sub(by);
        self.past.iter_mut().for_each(|level| *level = level.saturating_sub(by));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_touches_is_unused_after_the_window() {
        let mut mark = Watermark::new();
        let unused: std::vec::Vec<usize> = (10..16).map(|tick| mark.unused(tick, 100)).collect();
        assert_eq!(unused, [0, 0, 0, 0, 100, 100]);
    }

    #[test]
    fn a_sawtooth_within_the_window_uses_everything() {
        let mut mark = Watermark::new();
        for tick in 0..50 {
            assert_eq!(mark.unused(tick, 100), 0);
            if tick % 3 == 0 {
                mark.note(0);
            }
        }
    }

    #[test]
    fn what_is_always_left_is_unused_though_the_rest_comes_and_goes() {
        let mut mark = Watermark::new();
        for tick in 0..10 {
            mark.unused(tick, 100);
            mark.note(30);
        }
        assert_eq!(mark.unused(10, 100), 30);
        mark.lower(30);
        assert_eq!(mark.unused(11, 70), 0);
    }

    #[test]
    fn after_a_long_silence_everything_is_unused() {
        let mut mark = Watermark::new();
        mark.unused(7, 5);
        assert_eq!(mark.unused(7, 100), 0);
        assert_eq!(mark.unused(1_000, 100), 100);
    }

    #[test]
    fn who_stops_watching_begins_anew() {
        let mut mark = Watermark::new();
        mark.unused(1, 100);
        mark.unused(9, 100);
        mark.forget();
        assert_eq!(mark.unused(20, 100), 0);
        assert!(mark.is_watched());
    }
}
