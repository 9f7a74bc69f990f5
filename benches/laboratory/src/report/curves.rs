//! Curves over time: resident memory of one program under each allocator, and what it has in use, dashed.
//!
//! ```text
//!   MiB ^   ______
//!       |  /      \\________ system
//!       | /   - - -|
//!       |/- -      |_ _ _ _ _ live
//!       +--------------------> s
//! ```

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::colour;
use crate::allocators::{HEAPWRIGHT, SYSTEM, rank};
use crate::scenarios::{LIVE, Point};
use crate::summary::in_order;

const WIDTH: i32 = 860;
const HEIGHT: i32 = 420;
const LEFT: i32 = 66;
const RIGHT: i32 = 24;
const TOP: i32 = 76;
const BOTTOM: i32 = 48;
/// How long the dashes of a line are, and the gaps between them.
const DASH: i32 = 6;

/// Writes the plot of one scenario's points to `path`.
pub(super) fn write(points: &[&Point], title: &str, path: &Path) -> Result<()> {
    draw(points, title, path).map_err(|e| anyhow!("{e}")).with_context(|| format!("draw {}", path.display()))
}

/// A step between the marks of an axis of this length, so that there are five to ten of them: 1, 2 or 5 times a power of
/// ten.
fn step(length: f64) -> f64 {
    let rough = length / 8.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    factor * power
}

fn draw(points: &[&Point], title: &str, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (WIDTH as u32, HEIGHT as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = |of: fn(&Point) -> f64| points.iter().map(|p| of(p)).fold(1.0, f64::max);
    let (seconds, mib) = (most(|p| p.seconds) * 1.01, most(|p| p.mib) * 1.04);
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let x = |at: f64| LEFT + (at / seconds * f64::from(width)).round() as i32;
    let y = |at: f64| TOP + height - (at / mib * f64::from(height)).round() as i32;
    let text = |words: String, at: (i32, i32), size: i32, h: HPos, v: VPos| {
        Text::new(words, at, ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(h, v)))
    };

    area.draw(&text(title.to_owned(), (10, 16), 15, HPos::Left, VPos::Center))?;
    let faint = RGBColor(228, 228, 228);
    let marks = |length: f64| {
        let step = step(length);
        (0..=(length / step) as i32).map(move |i| f64::from(i) * step)
    };
    for at in marks(mib) {
        area.draw(&PathElement::new([(LEFT, y(at)), (WIDTH - RIGHT, y(at))], faint))?;
        area.draw(&text(format!("{at}"), (LEFT - 7, y(at)), 12, HPos::Right, VPos::Center))?;
    }
    for at in marks(seconds) {
        area.draw(&PathElement::new([(x(at), TOP), (x(at), TOP + height)], faint))?;
        area.draw(&text(format!("{at}"), (x(at), TOP + height + 12), 12, HPos::Center, VPos::Center))?;
    }
    area.draw(&PathElement::new([(LEFT, TOP), (LEFT, y(0.0)), (WIDTH - RIGHT, y(0.0))], BLACK))?;
    area.draw(&text("resident memory, MiB".into(), (10, TOP - 12), 12, HPos::Left, VPos::Center))?;
    let below = (LEFT + width / 2, HEIGHT - 14);
    area.draw(&text("seconds since the start".into(), below, 12, HPos::Center, VPos::Center))?;

    let mut names = in_order(points.iter().map(|p| p.curve.as_str()).filter(|name| *name != LIVE));
    names.sort_by_key(|name| rank(name));
    let of = |name: &str| -> Vec<(i32, i32)> {
        points.iter().filter(|p| p.curve == name).map(|p| (x(p.seconds), y(p.mib))).collect()
    };
    // heapwright's own is drawn last and lies on top.
    for name in names.iter().filter(|n| *n != HEAPWRIGHT).chain(names.iter().filter(|n| *n == HEAPWRIGHT)) {
        let width = if name == HEAPWRIGHT { 3 } else { 2 };
        area.draw(&PathElement::new(of(name), colour(name).stroke_width(width)))?;
    }
    for dash in dashes(&of(LIVE)) {
        area.draw(&PathElement::new(dash, BLACK.stroke_width(1)))?;
    }

    let mut left = 10;
    let line = 40;
    for name in &names {
        area.draw(&PathElement::new([(left, line), (left + 18, line)], colour(name).stroke_width(4)))?;
        let shown = if name == SYSTEM { "glibc".to_owned() } else { name.clone() };
        let length = shown.len() as i32;
        area.draw(&text(shown, (left + 23, line), 12, HPos::Left, VPos::Center))?;
        left += 42 + 7 * length;
    }
    if !of(LIVE).is_empty() {
        for dash in dashes(&[(left, line), (left + 20, line)]) {
            area.draw(&PathElement::new(dash, BLACK.stroke_width(1)))?;
        }
        area.draw(&text("in use by the program".into(), (left + 24, line), 12, HPos::Left, VPos::Center))?;
    }
    area.present()?;
    Ok(())
}

/// The line through `corners` in dashes.
fn dashes(corners: &[(i32, i32)]) -> Vec<Vec<(i32, i32)>> {
    let mut dashes = Vec::new();
    for ends in corners.windows(2) {
        let [(x0, y0), (x1, y1)] = ends else { continue };
        let length = f64::from((x1 - x0).pow(2) + (y1 - y0).pow(2)).sqrt();
        let count = (length / f64::from(2 * DASH)).ceil().max(1.0) as i32;
        let at = |part: f64| {
            let along = |from: i32, to: i32| from + (f64::from(to - from) * part).round() as i32;
            (along(*x0, *x1), along(*y0, *y1))
        };
        dashes.extend((0..count).map(|i| {
            let from = f64::from(i) / f64::from(count);
            vec![at(from), at(from + 0.5 / f64::from(count))]
        }));
    }
    dashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers() {
        assert_eq!((step(1600.0), step(24.0), step(7.3), step(100.0)), (200.0, 5.0, 1.0, 20.0));
    }

    #[test]
    fn a_long_line_has_many_dashes() {
        assert_eq!(dashes(&[(0, 0), (120, 0)]).len(), 10);
        assert_eq!(dashes(&[(0, 0), (0, 0)]), [[(0, 0), (0, 0)]]);
        assert!(dashes(&[]).is_empty());
    }
}
