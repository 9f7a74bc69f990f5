//! Settings: the effective value of each parameter and what set it, as plain data and as text.

use core::fmt::{self, Write};

use crate::fatal::Line;
use crate::options::{COUNT, Param, Params, SetBy, TABLE};

/// The effective value of a parameter, and what set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The parameter.
    pub param: Param,
    /// In the parameter's unit; see [`Param`] for what 0 means.
    pub value: usize,
    /// What set it.
    pub set_by: SetBy,
}

impl Setting {
    pub(crate) fn of(params: &Params, param: Param) -> Self {
        Self { param, value: params.get(param), set_by: params.set_by(param) }
    }

    fn write_value(&self, out: &mut impl Write) -> fmt::Result {
        match (self.value, self.param.row().zero) {
            (0, Some(meaning)) => out.write_str(meaning),
            (usize::MAX, _) => out.write_str("unlimited"),
            (value, _) => write!(out, "{value}"),
        }
    }
}

/// The value and what set it, for example `131072 (default)`.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_value(f)?;
        write!(f, " ({})", self.set_by)
    }
}

/// Every parameter's setting at one moment. Displayed, it is a table, one line a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    settings: [Setting; COUNT],
}

impl Options {
    pub(crate) fn of(params: &Params) -> Self {
        Self { settings: core::array::from_fn(|index| Setting::of(params, TABLE[index].param)) }
    }

    /// The setting of one parameter.
    pub fn get(&self, param: Param) -> Setting {
        self.settings[param as usize]
    }

    /// The settings of all.
    pub fn iter(&self) -> impl Iterator<Item = Setting> {
        self.settings.iter().copied()
    }
}

fn write_row(setting: Setting, out: &mut impl Write) -> fmt::Result {
    let mut value = Line::new();
    setting.write_value(&mut value)?;
    let value = core::str::from_utf8(value.as_bytes()).unwrap_or_default();
    let remark = if setting.param.has_effect() { "" } else { ", without effect" };
    writeln!(out, "{:<17} {value:<20} {}{remark}", setting.param.name(), setting.set_by)
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.iter().try_for_each(|&setting| write_row(setting, f))
    }
}

/// Writes the table, each line behind the allocator's name.
pub(crate) fn print(params: &Params, write: impl Fn(&[u8])) {
    for setting in Options::of(params).iter() {
        let mut line = Line::new();
        // A line never fails.
        let _ = line.write_str("heapwright: ").and_then(|()| write_row(setting, &mut line));
        write(line.as_bytes());
    }
}

/// The limits of a parameter, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits(pub(crate) (usize, usize));

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (least, usize::MAX) => write!(f, "a number from {least}"),
            (least, most) => write!(f, "a number from {least} to {most}"),
        }
    }
}

/// A value that a parameter cannot have; the parameter keeps the one that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetError {
    /// The parameter.
    pub param: Param,
    /// The value that was refused.
    pub value: usize,
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be {}: expected {}", self.param.name(), self.value, Limits(self.param.limits()))
    }
}

impl core::error::Error for SetError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    #[test]
    fn the_table_tells_value_and_source_of_each() {
        let params = Params::new();
        params.set_as(Param::TcacheCount, 0, SetBy::Tunable);
        params.set(Param::TrimThreshold, usize::MAX);
        let text = Options::of(&params).to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), COUNT);
        assert!(lines.contains(&["TCACHE_COUNT", "0", "GLIBC_TUNABLES"].to_vec()), "{text}");
        assert!(lines.contains(&["TRIM_THRESHOLD", "unlimited", "run", "time"].to_vec()), "{text}");
        assert!(lines.contains(&["ARENA_MAX", "by", "the", "cores", "default"].to_vec()), "{text}");
        assert!(lines.contains(&["ARENA_TEST", "8", "default,", "without", "effect"].to_vec()), "{text}");
        let printed = core::cell::RefCell::new(String::new());
        print(&params, |line| printed.borrow_mut().push_str(core::str::from_utf8(line).expect("text")));
        assert_eq!(printed.into_inner().replace("heapwright: ", ""), text);
    }

    #[test]
    fn an_error_names_parameter_value_and_limits() {
        let error = SetError { param: Param::Cores, value: 5000 };
        assert_eq!(error.to_string(), "CORES cannot be 5000: expected a number from 1 to 4096");
    }
}
