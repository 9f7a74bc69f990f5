//! From samples to figures: medians, their spread, ratios to the system's malloc, geometric means.
//!
//! A figure of an allocator is the median of its runs. Its spread is the lowest and the highest of them: five runs say
//! no more about a spread. Both are given as ratios to the median of the system's runs of the same subject.

use statrs::statistics::{Data, OrderStatistics as _, Statistics as _};

use crate::allocators::{HEAPWRIGHT, SYSTEM, rank};
use crate::measure::Outcome;
use crate::samples::Sample;

/// One of the figures of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) of: fn(&Sample) -> f64,
}

pub(crate) const CPU: Quantity = Quantity { name: "CPU time", unit: "s", of: Sample::cpu };
pub(crate) const WALL: Quantity = Quantity { name: "Wall time", unit: "s", of: |s| s.wall_s };
pub(crate) const FAULTS: Quantity = Quantity { name: "Page faults", unit: "", of: |s| s.minor_faults as f64 };
pub(crate) const PEAK: Quantity = Quantity { name: "Peak RSS", unit: "MiB", of: |s| s.peak_rss_kib as f64 / 1024.0 };

/// The median of some figures, and the lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        Some(Self { median: Data::new(values.to_vec()).median(), low: values.min(), high: values.max() })
    }

    pub(crate) fn over(self, base: f64) -> Self {
        Self { median: self.median / base, low: self.low / base, high: self.high / base }
    }
}

/// What is known of a subject under an allocator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Measured(Spread),
    /// At least one run ended badly; the words say how.
    Failed(String),
    Absent,
}

impl Cell {
    pub(crate) fn spread(&self) -> Option<Spread> {
        match self {
            Self::Measured(spread) => Some(*spread),
            _ => None,
        }
    }
}

/// One quantity of all subjects under all allocators.
pub(crate) struct Grid {
    pub(crate) allocators: Vec<String>,
    /// A row for each subject: its name, the system's own figure, and a ratio for each of the allocators.
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) subject: String,
    pub(crate) system: Spread,
    pub(crate) ratios: Vec<Cell>,
}

impl Grid {
    /// The names come in the order of [`rank`]. A subject without a good run of the system has no row.
    pub(crate) fn new(samples: &[Sample], quantity: Quantity) -> Self {
        Self::over(SYSTEM, samples, quantity)
    }

    /// The same, relative to another allocator than the system's.
    pub(crate) fn over(base: &str, samples: &[Sample], quantity: Quantity) -> Self {
        let mut allocators = in_order(samples.iter().map(|s| s.allocator.as_str()));
        allocators.sort_by_key(|name| rank(name));
        let rows = in_order(samples.iter().map(|s| s.subject.as_str()))
            .into_iter()
            .filter_map(|subject| {
                let cell = |allocator: &str| {
                    let runs = || samples.iter().filter(|s| s.subject == subject && s.allocator == allocator);
                    if let Some(Outcome::Bad(how)) = runs().map(|s| &s.outcome).find(|o| **o != Outcome::Good) {
                        return Cell::Failed(how.clone());
                    }
                    let values: Vec<f64> = runs().map(quantity.of).collect();
                    Spread::of(&values).map_or(Cell::Absent, Cell::Measured)
                };
                let system = cell(base).spread()?;
                let ratio = |name: &String| match cell(name) {
                    Cell::Measured(spread) => Cell::Measured(spread.over(system.median)),
                    other => other,
                };
                let ratios = allocators.iter().map(ratio).collect();
                Some(Row { subject, system, ratios })
            })
            .collect();
        Self { allocators, rows }
    }

    /// The geometric mean of each allocator's ratios, and how many there are.
    pub(crate) fn geomeans(&self) -> Vec<Option<(f64, usize)>> {
        (0..self.allocators.len())
            .map(|i| geomean(self.rows.iter().filter_map(|row| row.ratios[i].spread()).map(|s| s.median)))
            .collect()
    }

    /// heapwright over the best of the rivals in each row: the system and other builds of heapwright are none.
    pub(crate) fn to_best_rival(&self) -> Vec<Option<f64>> {
        let own = self.allocators.iter().position(|name| name == HEAPWRIGHT);
        let is_rival = |name: &str| name != SYSTEM && !name.starts_with(HEAPWRIGHT);
        self.rows
            .iter()
            .map(|row| {
                let medians = self.allocators.iter().zip(&row.ratios);
                let rivals = medians.filter(|(name, _)| is_rival(name)).filter_map(|(_, cell)| cell.spread());
                let best = rivals.map(|s| s.median).min_by(f64::total_cmp)?;
                Some(row.ratios[own?].spread()?.median / best)
            })
            .collect()
    }
}

/// The geometric mean of positive figures, and their number.
pub(crate) fn geomean(values: impl Iterator<Item = f64>) -> Option<(f64, usize)> {
    let values: Vec<f64> = values.filter(|v| *v > 0.0).collect();
    let count = values.len();
    (count > 0).then(|| (values.geometric_mean(), count))
}

/// Each name once.
pub(crate) fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if once.iter().all(|known| known != name) {
            once.push(name.to_owned());
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rows: &[(&str, &str, &[f64])]) -> Vec<Sample> {
        let of = |(subject, allocator, times): &(&str, &str, &[f64])| {
            let (subject, allocator) = (*subject, *allocator);
            let sample = |(round, time): (usize, &f64)| {
                let mut sample = Sample::named(subject, allocator, "-", round as u32);
                sample.user_s = *time;
                sample
            };
            times.iter().enumerate().map(sample).collect::<Vec<_>>()
        };
        rows.iter().flat_map(of).collect()
    }

    #[test]
    fn ratios_are_of_medians() {
        let samples = samples(&[
            ("sort", "jemalloc", &[1.0, 1.0]),
            ("sort", "system", &[2.0, 1.0, 4.0]),
            ("sort", "heapwright", &[1.0, 3.0, 2.0, 1.0]),
            ("gcc", "system", &[1.0]),
            ("gcc", "heapwright", &[3.0]),
        ]);
        let grid = Grid::new(&samples, CPU);
        assert_eq!(grid.allocators, ["system", "heapwright", "jemalloc"]);
        let sort = &grid.rows[0];
        assert_eq!(sort.system, Spread { median: 2.0, low: 1.0, high: 4.0 });
        assert_eq!(sort.ratios[1], Cell::Measured(Spread { median: 0.75, low: 0.5, high: 1.5 }));
        assert_eq!(grid.rows[1].ratios[2], Cell::Absent);
        let means = grid.geomeans();
        assert_eq!(means[2], Some((0.5, 1)));
        let (mean, count) = means[1].expect("two ratios");
        assert!((mean - 1.5).abs() < 1e-12 && count == 2);
        assert_eq!(grid.to_best_rival(), [Some(1.5), None]);
    }

    #[test]
    fn one_bad_run_spoils_the_cell() {
        let mut samples = samples(&[("sort", "system", &[1.0]), ("sort", "heapwright", &[1.0, 1.0])]);
        samples[2].outcome = Outcome::Bad("ended by signal 11".into());
        let grid = Grid::new(&samples, CPU);
        assert_eq!(grid.rows[0].ratios[1], Cell::Failed("ended by signal 11".into()));
        assert_eq!(grid.geomeans()[1], None);
    }
}
