//! Bars relative to the system's malloc: a group for each subject, a bar for each allocator, a line at 1.
//!
//! ```text
//!   sort   ████████ 0.83        heapwright
//!          █████████▌ 0.97      jemalloc
//!                    │
//!                    1
//! ```

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::colour;
use crate::allocators::SYSTEM;
use crate::summary::{Cell, Grid};

const WIDTH: i32 = 860;
const LABELS: i32 = 170;
const RIGHT: i32 = 60;
const TOP: i32 = 70;
const BAR: i32 = 11;
const GAP: i32 = 9;

/// A group of bars: its label, and the length of each bar, if it has one.
struct Group {
    label: String,
    bars: Vec<Option<f64>>,
}

/// Writes the plot to `path`.
pub(crate) fn write(grid: &Grid, title: &str, path: &Path) -> Result<()> {
    let shown: Vec<usize> = (0..grid.allocators.len()).filter(|i| grid.allocators[*i] != SYSTEM).collect();
    let means = grid.geomeans();
    let mut groups: Vec<Group> = grid
        .rows
        .iter()
        .map(|row| Group {
            label: row.subject.clone(),
            bars: shown.iter().map(|i| row.ratios[*i].spread().map(|s| s.median)).collect(),
        })
        .collect();
    let means = shown.iter().map(|i| means[*i].map(|(mean, _)| mean)).collect();
    groups.insert(0, Group { label: "geometric mean".into(), bars: means });
    let names: Vec<&str> = shown.iter().map(|i| grid.allocators[*i].as_str()).collect();
    let failed = grid.rows.iter().any(|row| row.ratios.iter().any(|cell| matches!(cell, Cell::Failed(_))));
    let note = if failed { " (no bar: failed)" } else { "" };
    draw(&groups, &names, &format!("{title}{note}"), path)
        .map_err(|e| anyhow!("{e}"))
        .with_context(|| format!("draw {}", path.display()))
}

fn draw(groups: &[Group], names: &[&str], title: &str, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let group_height = names.len().max(1) as i32 * BAR + GAP;
    let bottom = TOP + groups.len() as i32 * group_height;
    let size = (WIDTH as u32, (bottom + 30) as u32);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;

    // One bar that is ten times as long as all others must not make them unreadable.
    let longest = groups.iter().flat_map(|g| &g.bars).flatten().copied().fold(1.0, f64::max);
    let end = (longest * 1.05).clamp(1.2, 3.0);
    let at = |ratio: f64| LABELS + (ratio.min(end) / end * f64::from(WIDTH - LABELS - RIGHT)) as i32;
    let font = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
    let anchored = |size: i32, h: HPos| font(size).pos(Pos::new(h, VPos::Center));

    area.draw(&Text::new(title.to_owned(), (10, 16), anchored(15, HPos::Left)))?;
    let mut x = LABELS;
    for name in names {
        area.draw(&Rectangle::new([(x, 38), (x + 11, 49)], colour(name).filled()))?;
        area.draw(&Text::new((*name).to_owned(), (x + 16, 44), anchored(12, HPos::Left)))?;
        x += 30 + 8 * name.len() as i32;
    }
    let step = if end > 2.0 { 0.5 } else { 0.25 };
    for tick in 0..=(end / step) as i32 {
        let ratio = f64::from(tick) * step;
        let line = PathElement::new([(at(ratio), TOP - 4), (at(ratio), bottom)], RGBColor(225, 225, 225));
        area.draw(&line)?;
        area.draw(&Text::new(format!("{ratio}"), (at(ratio), bottom + 12), anchored(11, HPos::Center)))?;
    }
    let bar_top = |i: usize, j: usize| TOP + i as i32 * group_height + j as i32 * BAR;
    for (i, group) in groups.iter().enumerate() {
        let middle = bar_top(i, 0) + (group_height - GAP) / 2;
        area.draw(&Text::new(group.label.clone(), (LABELS - 8, middle), anchored(12, HPos::Right)))?;
        for (j, (bar, name)) in group.bars.iter().zip(names).enumerate() {
            let Some(ratio) = *bar else { continue };
            let y = bar_top(i, j);
            area.draw(&Rectangle::new([(LABELS, y), (at(ratio), y + BAR - 2)], colour(name).filled()))?;
        }
    }
    let one = at(1.0);
    area.draw(&PathElement::new([(one, TOP - 4), (one, bottom)], BLACK))?;
    for (i, group) in groups.iter().enumerate() {
        for (j, ratio) in group.bars.iter().enumerate().filter_map(|(j, bar)| Some((j, (*bar)?))) {
            // Not across the line.
            let end_of_bar = at(ratio) + 4;
            let x = if (one - 22..one).contains(&end_of_bar) { one + 4 } else { end_of_bar };
            area.draw(&Text::new(format!("{ratio:.2}"), (x, bar_top(i, j) + BAR / 2), anchored(9, HPos::Left)))?;
        }
    }
    area.present()?;
    Ok(())
}
