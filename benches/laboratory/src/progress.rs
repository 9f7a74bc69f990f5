//! What is seen while runs are made: one line that moves on a terminal, a line for each run anywhere else.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) struct Progress {
    /// Hidden when there is no terminal.
    bar: ProgressBar,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn new(steps: usize) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}, about {eta} left");
        bar.set_style(style.expect("a template that indicatif knows"));
        Self { bar, is_terminal }
    }

    /// Something that stays to be read.
    pub(crate) fn note(&self, line: &str) {
        if self.is_terminal {
            self.bar.println(line);
        } else {
            println!("{line}");
        }
    }

    pub(crate) fn begin(&self, step: &str) {
        self.bar.set_message(step.to_owned());
        self.bar.tick();
    }

    /// A step is over; on a terminal only failures stay to be read.
    pub(crate) fn end(&self, line: &str) {
        if !self.is_terminal || line.contains("FAILED") {
            self.note(line);
        }
        self.bar.inc(1);
    }

    /// A step is over that nothing need be said about.
    pub(crate) fn skip(&self) {
        self.bar.inc(1);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
