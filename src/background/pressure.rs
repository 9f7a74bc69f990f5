//! Memory pressure: whether tasks wait for memory so long that what lies unused here should go at once.
//!
//! The background thread reads once a second how long tasks of the machine, and of the process's control group, have waited for
//! memory. The kernel would also wake it by a trigger (<https://docs.kernel.org/accounting/psi.html>), but the unprivileged have to
//! wait for two seconds then, and together with the bell that wakes the thread.

use crate::os::linux::pressure::stalled;

/// How often it is read, in milliseconds.
pub(super) const PERIOD_MS: u64 = 1000;

/// What was read last.
#[derive(Debug)]
pub(super) struct Pressure {
    /// In milliseconds.
    time: u64,
    /// In microseconds, of the machine and of the group.
    stalled: [Option<u64>; 2],
}

impl Pressure {
    pub(super) const fn new() -> Self {
        Self { time: 0, stalled: [None; 2] }
    }

    /// Whether some task of either has waited for at least `limit` milliseconds of each second since the last reading. The time
    /// is `now`, in milliseconds.
    pub(super) fn is_felt(&mut self, limit: usize, now: u64) -> bool {
        let passed = now.saturating_sub(self.time);
        passed >= PERIOD_MS && self.rises_by(limit, passed, stalled(), now)
    }

    fn rises_by(&mut self, limit: usize, passed: u64, stalled: [Option<u64>; 2], now: u64) -> bool {
        let before = core::mem::replace(&mut self.stalled, stalled);
        self.time = now;
        before.into_iter().zip(stalled).any(|(before, stalled)| {
            let rise = before.zip(stalled).map_or(0, |(before, stalled)| stalled.saturating_sub(before));
            // Microseconds in a millisecond are milliseconds in a second.
            rise / passed >= limit as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_felt_where_tasks_waited_for_long_enough_since_the_last_reading() {
        let mut pressure = Pressure::new();
        let mut felt = |now, machine, own| pressure.rises_by(50, 2000, [machine, own], now);
        assert!(!felt(2000, Some(7_000_000), Some(0)), "what was before is not known");
        assert!(!felt(4000, Some(7_099_000), Some(0)), "49 ms of each second");
        assert!(felt(6000, Some(7_199_000), Some(0)), "50 ms of each second");
        assert!(felt(8000, Some(7_199_000), Some(150_000)), "those of the group");
        assert!(!felt(10_000, None, None), "not told");
        assert!(!felt(12_000, Some(9_000_000), None), "told again");
    }

    #[test]
    fn it_is_read_once_a_second() {
        let mut pressure = Pressure::new();
        pressure.is_felt(1, 5000);
        assert_eq!(pressure.time, 5000);
        pressure.is_felt(1, 5999);
        assert_eq!(pressure.time, 5000);
        pressure.is_felt(1, 6000);
        assert_eq!(pressure.time, 6000);
    }
}
