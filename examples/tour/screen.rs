//! How the tour looks: lively on a terminal, plain lines anywhere else.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::process;

/// Standard output, and what may be done with it.
#[derive(Debug)]
pub(crate) struct Screen {
    is_lively: bool,
}

/// What a piece of text is, and so how it is coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ink {
    Title,
    Passed,
    Failed,
    /// A figure that is not in heapwright's favour.
    Behind,
    Faint,
    /// The background of a block in a picture, by its number.
    Block(usize),
    Hole,
    Top,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Title => "1",
            Self::Passed => "32",
            Self::Failed => "1;31",
            Self::Behind => "33",
            Self::Faint => "2",
            Self::Block(number) => ["30;48;5;114", "30;48;5;80", "30;48;5;221", "30;48;5;176"][number % 4],
            Self::Hole => "38;5;252;48;5;242",
            Self::Top => "38;5;246;48;5;236",
        }
    }
}

impl Screen {
    pub(crate) fn of_stdout() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { is_lively: io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb }
    }

    pub(crate) fn is_lively(&self) -> bool {
        self.is_lively
    }

    /// The text in its colour, where there are colours. Pad first: colours count as characters.
    pub(crate) fn paint(&self, ink: Ink, text: &str) -> String {
        if self.is_lively { format!("\x1b[{}m{text}\x1b[0m", ink.code()) } else { text.to_owned() }
    }

    /// A line, at once: a child may write the next one.
    pub(crate) fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    pub(crate) fn title(&self, text: &str) {
        self.line(&self.paint(Ink::Title, text));
    }

    /// The sign before something that has been checked, four columns wide.
    pub(crate) fn sign(&self, passed: bool) -> String {
        match (self.is_lively, passed) {
            (true, true) => self.paint(Ink::Passed, "  ✓ "),
            (true, false) => self.paint(Ink::Failed, "  ✗ "),
            (false, true) => "ok  ".to_owned(),
            (false, false) => "BAD ".to_owned(),
        }
    }

    /// A line that has been checked; returns `passed`.
    pub(crate) fn check(&self, passed: bool, text: &str) -> bool {
        self.line(&format!("{}{text}", self.sign(passed)));
        passed
    }

    /// Shows how far something is, over the line before; nothing where that cannot be.
    pub(crate) fn progress(&self, label: &str, percent: usize) {
        if self.is_lively {
            const CELLS: usize = 30;
            let full = percent.min(100) * CELLS / 100;
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(CELLS - full));
            self.overwrite(&format!("{label}  {}  {percent:3} %", self.paint(Ink::Passed, &bar)));
        }
    }

    /// Takes the progress away again.
    pub(crate) fn end_progress(&self) {
        if self.is_lively {
            self.overwrite("");
        }
    }

    fn overwrite(&self, text: &str) {
        self.write(&format!("\r\x1b[K{text}"));
    }

    fn write(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            eprintln!("tour: standard output: {error}");
            process::exit(1);
        }
    }
}

/// A number of bytes as people say it: `30k`.
pub(crate) fn k(bytes: usize) -> String {
    format!("{}k", (bytes + 512) >> 10)
}

/// A large number with its thousands apart: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
