//! The report: docs/benchmarks.md and its plots, from the kept CSV files and nothing else.
//!
//! ```text
//!   results/programs.csv   + programs.facts.csv   ──┐
//!   results/workloads.csv  + workloads.facts.csv  ──┼──> docs/benchmarks.md, docs/plots/*.svg
//!   results/scenarios.csv  + .points.csv, .facts.csv ┤
//!   results/extremes.csv, ablation.csv             ──┤
//!   results/counts.csv     + counts.facts.csv     ──┘
//! ```
//!
//! A suite that has no file yet is named as not measured. A row of runs that failed says so.

mod curves;
mod palette;
mod plot;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use comfy_table::{CellAlignment, Table, presets};

use crate::allocators::{HEAPWRIGHT, SYSTEM, rank};
use crate::counts::{Count, Unit};
use crate::extremes::{Extreme, What};
use crate::machine::Fact;
use crate::place::{Place, Suite};
use crate::samples::{Sample, load};
use crate::scenarios::{Figure, Point, SCENARIOS, Scenario};
use crate::summary::{CPU, Cell, FAULTS, Grid, PEAK, Quantity, Spread, WALL, geomean, in_order};

const INTRODUCTION: &str = "\
# Benchmarks

Written by `laboratory report` from the CSV files in benches/laboratory/results; not edited by hand.

Each round runs every allocator once, next to each other in time and in turning order. A figure is the median of an
allocator's runs, over the median of the system's malloc for the same work: below 1.00 is less than the system's. The
range behind it is from the lowest to the highest run. CPU time is user and system time of the process and of the
children it waited for; page faults are minor ones; the geometric mean is over the rows above it. On a machine that is
shared, wall time says little, and only ratios within one table say anything.
";

/// Writes the report into `docs`.
pub(crate) fn write(place: &Place, docs: &Path) -> Result<()> {
    let plots = docs.join("plots");
    fs::create_dir_all(&plots).with_context(|| format!("create {}", plots.display()))?;
    let mut text = INTRODUCTION.to_owned();

    let about = "\
Unmodified programs, the allocator preloaded. Before the runs, the loader's own notes showed that each program
reaches the preloaded malloc. A run whose output is not that of the program's first run counts as failed.";
    samples_section(&mut text, place, &plots, Suite::Programs, "Programs under preload", about)?;
    let about = "\
One binary for each allocator, from the same sources (benches/rivals); nothing is preloaded. A run whose checksum is
not that of the workload's first run counts as failed.";
    samples_section(&mut text, place, &plots, Suite::Workloads, "Workloads", about)?;
    scenarios_section(&mut text, place, &plots)?;
    extremes_section(&mut text, place)?;
    ablation_section(&mut text, place)?;
    counts_section(&mut text, place)?;

    let path = docs.join("benchmarks.md");
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn samples_section(
    text: &mut String,
    place: &Place,
    plots: &Path,
    suite: Suite,
    title: &str,
    about: &str,
) -> Result<()> {
    let samples: Vec<Sample> = load(&suite.figures(place))?;
    let facts: Vec<Fact> = load(&suite.facts(place))?;
    writeln!(text, "\n## {title}\n")?;
    if samples.is_empty() {
        writeln!(text, "Not measured yet: `laboratory {}`.", suite.name())?;
        return Ok(());
    }
    let rounds = samples.iter().map(|s| s.round + 1).max().unwrap_or(0);
    ensure!(
        samples.iter().any(|s| s.allocator == SYSTEM),
        "{} has no runs of the system's malloc, to which all is relative",
        suite.figures(place).display()
    );
    writeln!(text, "{about}\n")?;
    failures(text, &samples)?;
    let few = if rounds < 5 { ", fewer than the usual five: a first impression" } else { "" };
    writeln!(text, "Rounds: {rounds}{few}.\n\n{}\n", facts_table(&facts))?;
    for (quantity, file) in [(CPU, Some("cpu")), (PEAK, Some("rss")), (WALL, None), (FAULTS, None)] {
        let grid = Grid::new(&samples, quantity);
        writeln!(text, "### {}\n", heading(quantity))?;
        if let Some(file) = file {
            let file = format!("{}-{file}.svg", suite.name());
            plot::write(&grid, &format!("{} over that of the system's malloc", quantity.name), &plots.join(&file))?;
            writeln!(text, "![{}: {title}](plots/{file})\n", quantity.name)?;
        }
        writeln!(text, "{}\n", grid_table(&grid, quantity))?;
    }
    // One empty line ends a section.
    text.truncate(text.trim_end().len());
    text.push('\n');
    Ok(())
}

fn heading(quantity: Quantity) -> String {
    match quantity.unit {
        "" => quantity.name.to_owned(),
        unit => format!("{}, {unit}", quantity.name),
    }
}

/// What ended badly, in words: nobody should have to find it in a table.
fn failures(text: &mut String, samples: &[Sample]) -> Result<()> {
    let mut lines: Vec<String> = Vec::new();
    for sample in samples.iter().filter(|s| s.outcome != crate::measure::Outcome::Good) {
        let line = format!("- {} under {}: {}", sample.subject, sample.allocator, sample.outcome);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if !lines.is_empty() {
        writeln!(text, "**Runs that ended badly:**\n\n{}\n", lines.join("\n"))?;
    }
    Ok(())
}

fn table(header: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn facts_table(facts: &[Fact]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["measured", "on, with"]);
    table.add_rows(facts.iter().map(|fact| [&fact.about, &fact.what]));
    table
}

fn grid_table(grid: &Grid, quantity: Quantity) -> Table {
    let names = grid.allocators.iter().filter(|name| *name != SYSTEM).cloned();
    let header = ["".to_owned(), SYSTEM.to_owned()].into_iter().chain(names);
    let to_best = grid.to_best_rival();
    let has_rivals = to_best.iter().any(Option::is_some);
    let header = header.chain(has_rivals.then(|| format!("{HEAPWRIGHT} / best rival")));
    let mut table = table(&header.collect::<Vec<_>>());
    // Only the ratios of others are shown: the system's own are 1, and its figure says more.
    let shown: Vec<usize> = (0..grid.allocators.len()).filter(|i| grid.allocators[*i] != SYSTEM).collect();
    let best = |ratio: Option<f64>| has_rivals.then(|| ratio.map_or(String::new(), |r| format!("{r:.2}")));
    for (row, to_best) in grid.rows.iter().zip(&to_best) {
        let system = format!("{} ({})", amount(row.system.median, quantity), range(row.system.over(row.system.median)));
        let cells = shown.iter().map(|i| ratio(&row.ratios[*i]));
        let cells = [row.subject.clone(), system].into_iter().chain(cells).chain(best(*to_best));
        table.add_row(cells);
    }
    let of_all = |mean: &Option<(f64, usize)>| match mean {
        Some((mean, count)) if *count == grid.rows.len() => format!("{mean:.3}"),
        Some((mean, count)) => format!("{mean:.3} (of {count})"),
        None => String::new(),
    };
    let means = grid.geomeans();
    let cells = shown.iter().map(|i| of_all(&means[*i]));
    let to_best = has_rivals.then(|| of_all(&geomean(to_best.iter().flatten().copied())));
    table.add_row(["geometric mean".to_owned(), String::new()].into_iter().chain(cells).chain(to_best));
    table
}

fn amount(value: f64, quantity: Quantity) -> String {
    match quantity.unit {
        "s" => format!("{value:.3}"),
        "MiB" => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn range(spread: crate::summary::Spread) -> String {
    format!("{:.2}-{:.2}", spread.low, spread.high)
}

fn ratio(cell: &Cell) -> String {
    match cell {
        Cell::Measured(spread) => format!("{:.2} ({})", spread.median, range(*spread)),
        Cell::Failed(_) => "failed".into(),
        Cell::Absent => String::new(),
    }
}

fn scenarios_section(text: &mut String, place: &Place, plots: &Path) -> Result<()> {
    let figures: Vec<Figure> = load(&Suite::Scenarios.figures(place))?;
    let points: Vec<Point> = load(&Suite::Scenarios.points(place))?;
    let facts: Vec<Fact> = load(&Suite::Scenarios.facts(place))?;
    writeln!(text, "\n## Memory over time\n")?;
    if figures.is_empty() {
        writeln!(text, "Not measured yet: `laboratory scenarios`.")?;
        return Ok(());
    }
    let rounds = figures.iter().map(|f| f.round + 1).max().unwrap_or(0);
    writeln!(
        text,
        "Programs in C that grow, free most of what they have and go on; the allocator preloaded, interleaved runs, none of\n\
         them calls `malloc_trim`. The curves are of the first round. Figures are medians, with the range of all runs.\n\n\
         Rounds: {rounds}.\n\n{}",
        facts_table(&facts)
    )?;
    for scenario in &SCENARIOS {
        let points: Vec<&Point> = points.iter().filter(|p| p.scenario == scenario.name).collect();
        if points.is_empty() {
            continue;
        }
        let file = format!("memory-{}.svg", scenario.name);
        curves::write(&points, scenario.title, &plots.join(&file))?;
        writeln!(text, "\n### {}\n\n{}.\n", scenario.name, capitalised(scenario.what))?;
        writeln!(text, "![Memory over time: {}](plots/{file})\n", scenario.name)?;
        writeln!(text, "{}", figures_table(scenario, &figures))?;
    }
    Ok(())
}

fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn figures_table(scenario: &Scenario, figures: &[Figure]) -> Table {
    let own = || figures.iter().filter(|f| f.scenario == scenario.name);
    let mut allocators = in_order(own().map(|f| f.allocator.as_str()));
    allocators.sort_by_key(|name| rank(name));
    let mut table = table(&["".to_owned()].into_iter().chain(allocators.iter().cloned()).collect::<Vec<_>>());
    for (key, what) in scenario.figures {
        let cell = |allocator: &String| {
            let values = own().filter(|f| f.allocator == *allocator && f.key == *key).map(|f| f.value);
            let values: Vec<f64> = values.collect();
            Spread::of(&values).map_or(String::new(), |s| {
                let digits = if s.high < 1000.0 { 2 } else { 0 };
                let range = format!(" ({:.digits$}-{:.digits$})", s.low, s.high);
                format!("{:.digits$}{}", s.median, if values.len() > 1 { &range } else { "" })
            })
        };
        table.add_row([(*what).to_owned()].into_iter().chain(allocators.iter().map(cell)));
    }
    table
}

fn extremes_section(text: &mut String, place: &Place) -> Result<()> {
    let extremes: Vec<Extreme> = load(&Suite::Extremes.figures(place))?;
    let facts: Vec<Fact> = load(&Suite::Extremes.facts(place))?;
    let workloads: Vec<Sample> = load(&Suite::Workloads.figures(place))?;
    writeln!(text, "\n## Threads, small processes, starts\n")?;
    if extremes.is_empty() {
        writeln!(text, "Not measured yet: `laboratory extremes`.")?;
        return Ok(());
    }
    writeln!(
        text,
        "Scaling is twice the time of one thread over that of two that do the same each, in slices of about ten\n\
         milliseconds, next to threads that only calculate: 2 at best, and what the machine gives at the moment is in the\n\
         control. A start is that of a C program that allocates one byte; a small process allocates 1 MiB in all. Medians,\n\
         with the range of all runs.\n\n{}",
        facts_table(&facts)
    )?;
    use What::{Control, Scaling, ScalingToControl, SmallPeak, StartCpu, StartWall};
    let scaling = [
        (Scaling, "two threads that allocate", 3),
        (Control, "control: two that calculate", 3),
        (ScalingToControl, "the one over the other", 3),
    ];
    let mut linked = extremes_table(&extremes, &scaling);
    let cpu = |subject: &str, allocator: &str| {
        let runs = workloads.iter().filter(|s| s.subject == subject && s.allocator == allocator);
        Spread::of(&runs.map(Sample::cpu).collect::<Vec<_>>()).map(|s| s.median)
    };
    let names = extremes_names(&extremes, &scaling);
    let over = names.iter().map(|name| Some(cpu("threads-16", name)? / cpu("threads-2", name)?));
    let over: Vec<String> = over.map(|ratio| ratio.map_or(String::new(), |r| format!("{r:.3}"))).collect();
    linked.add_row(["CPU of 16 threads over that of 2, the same work".to_owned()].into_iter().chain(over));
    writeln!(text, "\n### Scaling, linked\n\n{linked}")?;
    let processes = [
        (StartCpu, "start, CPU, µs", 0),
        (StartWall, "start, wall, µs", 0),
        (SmallPeak, "1 MiB in all, peak RSS, KiB", 0),
    ];
    writeln!(text, "\n### Processes, preloaded\n\n{}", extremes_table(&extremes, &processes))?;
    Ok(())
}

fn extremes_names(extremes: &[Extreme], rows: &[(What, &str, usize)]) -> Vec<String> {
    let wanted = extremes.iter().filter(|e| rows.iter().any(|(what, ..)| e.what == *what));
    let mut names = in_order(wanted.map(|e| e.allocator.as_str()));
    names.sort_by_key(|name| rank(name));
    names
}

fn extremes_table(extremes: &[Extreme], rows: &[(What, &str, usize)]) -> Table {
    let names = extremes_names(extremes, rows);
    let mut table = table(&["".to_owned()].into_iter().chain(names.iter().cloned()).collect::<Vec<_>>());
    for (what, words, digits) in rows {
        let cell = |name: &String| {
            let found = extremes.iter().find(|e| e.what == *what && e.allocator == *name);
            found.map_or(String::new(), |e| {
                let Extreme { median, low, high, .. } = e;
                format!("{median:.digits$} ({low:.digits$}-{high:.digits$})", digits = *digits)
            })
        };
        table.add_row([(*words).to_owned()].into_iter().chain(names.iter().map(cell)));
    }
    table
}

fn ablation_section(text: &mut String, place: &Place) -> Result<()> {
    let samples: Vec<Sample> = load(&Suite::Ablation.figures(place))?;
    let facts: Vec<Fact> = load(&Suite::Ablation.facts(place))?;
    writeln!(text, "\n## Ablation\n")?;
    if samples.is_empty() {
        writeln!(text, "Not measured yet: `laboratory ablation`.")?;
        return Ok(());
    }
    let rounds = samples.iter().map(|s| s.round + 1).max().unwrap_or(0);
    let subjects = in_order(samples.iter().map(|s| s.subject.as_str()));
    writeln!(
        text,
        "heapwright with one part changed by an option of its environment, over heapwright as it is: above 1.00 the change\n\
         costs. Geometric means over {} subjects ({}), and the subjects in which the change makes the largest differences.\n\
         Rounds: {rounds}, interleaved, medians.\n",
        subjects.len(),
        subjects.join(", ")
    )?;
    failures(text, &samples)?;
    writeln!(text, "{}\n", facts_table(&facts))?;
    let header = ["part", "CPU", "page faults", "peak RSS", "CPU most in", "peak RSS most in"];
    let mut table = table(&header.map(str::to_owned));
    for at in [4, 5] {
        if let Some(words) = table.column_mut(at) {
            words.set_cell_alignment(CellAlignment::Left);
        }
    }
    let grids = [CPU, FAULTS, PEAK].map(|quantity| Grid::over(HEAPWRIGHT, &samples, quantity));
    for (at, name) in grids[0].allocators.iter().enumerate().filter(|(_, name)| *name != HEAPWRIGHT) {
        let mean = |grid: &Grid| grid.geomeans()[at].map_or(String::new(), |(mean, _)| format!("{mean:.3}"));
        let most = |grid: &Grid| {
            let ratios = grid.rows.iter().filter_map(|row| Some((row.ratios[at].spread()?.median, &row.subject)));
            let mut ratios: Vec<_> = ratios.filter(|(ratio, _)| (ratio - 1.0).abs() > 0.05).collect();
            ratios.sort_by(|a, b| b.0.ln().abs().total_cmp(&a.0.ln().abs()));
            ratios.iter().take(3).map(|(ratio, name)| format!("{name} {ratio:.2}")).collect::<Vec<_>>().join(", ")
        };
        let part = name.trim_start_matches(HEAPWRIGHT).trim_start_matches(": ").to_owned();
        let [cpu, faults, peak] = &grids;
        table.add_row([part, mean(cpu), mean(faults), mean(peak), most(cpu), most(peak)]);
    }
    writeln!(text, "{table}")?;
    Ok(())
}

fn counts_section(text: &mut String, place: &Place) -> Result<()> {
    let counts: Vec<Count> = load(&Suite::Counts.figures(place))?;
    let facts: Vec<Fact> = load(&Suite::Counts.facts(place))?;
    writeln!(text, "\n## Counted figures\n")?;
    if counts.is_empty() {
        writeln!(text, "Not measured yet: `laboratory counts`.")?;
        return Ok(());
    }
    writeln!(
        text,
        "Instructions under callgrind for one operation: the difference of 20,000 and 10,000 of them. Each figure holds\n\
         the same few instructions of the driver around the call. Continuous integration compares heapwright's\n\
         with benches/laboratory/baseline.csv (`laboratory counts --check`).\n\n{}",
        facts_table(&facts)
    )?;
    for (title, unit, of) in [
        ("Instructions of malloc.h, preloaded", Unit::Instructions, "malloc.h"),
        ("Instructions of GlobalAlloc, called directly", Unit::Instructions, "GlobalAlloc"),
        ("Page faults of whole processes", Unit::MinorFaults, "process"),
    ] {
        let counts: Vec<&Count> = counts.iter().filter(|c| c.unit == unit && c.of == of).collect();
        writeln!(text, "\n### {title}\n\n{}", counts_table(&counts))?;
    }
    Ok(())
}

fn counts_table(counts: &[&Count]) -> Table {
    let mut allocators = in_order(counts.iter().map(|c| c.allocator.as_str()));
    allocators.sort_by_key(|name| rank(name));
    let header = ["".to_owned()].into_iter().chain(allocators.iter().cloned()).chain(["what it is".to_owned()]);
    let mut table = table(&header.collect::<Vec<_>>());
    if let Some(last) = table.column_mut(allocators.len() + 1) {
        last.set_cell_alignment(CellAlignment::Left);
    }
    for name in in_order(counts.iter().map(|c| c.name.as_str())) {
        let of = |allocator: &String| {
            let found = counts.iter().find(|c| c.name == name && c.allocator == *allocator);
            found.map_or(String::new(), |c| match c.unit {
                Unit::Instructions => format!("{:.1}", c.value),
                Unit::MinorFaults => format!("{:.0}", c.value),
            })
        };
        let what = counts.iter().find(|c| c.name == name).map_or(String::new(), |c| c.what.clone());
        table.add_row([name.clone()].into_iter().chain(allocators.iter().map(of)).chain([what]));
    }
    table
}
