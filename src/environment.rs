//! Settings from the environment: glibc's variables and tunables, and `HEAPWRIGHT_` ones.
//!
//! glibc's own are read with glibc's tolerance: what is malformed or out of range is ignored without a word. A
//! `HEAPWRIGHT_` variable is meant for us, so one that is unknown or malformed is reported in one line, by name, and the
//! default is kept. A tunable wins over the `MALLOC_` variable of the same parameter, and `HEAPWRIGHT_` over both.
//!
//! A process with raised privileges (`AT_SECURE`) reads none of them: its environment is somebody else's.
//!
//! # Safety
//!
//! The environment is read through `environ`, once, before the program can have changed it from another thread.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char};
use core::fmt::{Display, Write};

use crate::fatal::Line;
use crate::options::{Params, Row, SetBy, TABLE};
use crate::settings::{Limits, Setting};

const PREFIX: &[u8] = b"HEAPWRIGHT_";
/// Names behind this prefix are the tests' own.
const TEST_PREFIX: &[u8] = b"HEAPWRIGHT_TEST_";
const TUNABLES: &[u8] = b"GLIBC_TUNABLES";
/// 1: the effective options are printed at the start.
const PRINT: &[u8] = b"HEAPWRIGHT_PRINT_OPTIONS";

unsafe extern "C" {
    /// The process's environment; null until the C library has begun.
    static environ: *const *const c_char;
}

/// What the environment asks for besides values of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The effective options, on stderr.
    pub(crate) table: bool,
}

/// Reads the environment into `params`. `None` when there is none yet and it has to be read later.
pub(crate) fn read(params: &Params) -> Option<Wanted> {
    // SAFETY: getauxval reads what the kernel left at process start.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return Some(Wanted { table: false });
    }
    // SAFETY: the C library's variable.
    let list = unsafe { environ };
    if list.is_null() {
        return None;
    }
    Some(apply(params, Variables { next: list }, crate::arch::write_stderr))
}

/// The variables of a null-terminated list.
struct Variables {
    next: *const *const c_char,
}

impl Iterator for Variables {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: within the list, which ends with a null pointer.
        let variable = unsafe { *self.next };
        if variable.is_null() {
            return None;
        }
        // SAFETY: not beyond the null pointer.
        self.next = unsafe { self.next.add(1) };
        // SAFETY: a string that lives as long as the process, or as this walk.
        Some(unsafe { CStr::from_ptr(variable) }.to_bytes())
    }
}

/// Applies the variables, and reports what is wrong with those meant for us.
fn apply<'a>(params: &Params, variables: impl Iterator<Item = &'a [u8]>, report: impl Fn(&[u8])) -> Wanted {
    let mut wanted = Wanted { table: false };
    for (name, value) in variables.filter_map(split) {
        if name == TUNABLES {
            apply_tunables(params, value);
        } else if let Some(row) = TABLE.iter().find(|row| row.alias.is_some_and(|alias| alias.as_bytes() == name)) {
            // Malformed or out of range: ignored, as in glibc.
            let _ = set(params, row, value, SetBy::GlibcVariable);
        } else if name == PRINT {
            match value {
                b"0" | b"1" => wanted.table = value == b"1",
                _ => report_malformed(name, value, (0, 1), &"not printed", &report),
            }
        } else if let Some(option) = name.strip_prefix(PREFIX)
            && !name.starts_with(TEST_PREFIX)
        {
            match TABLE.iter().find(|row| row.name.as_bytes() == option) {
                Some(row) if set(params, row, value, SetBy::Variable).is_some() => {}
                Some(row) => {
                    let kept = Setting::of(params, row.param);
                    report_malformed(name, value, row.param.limits(), &kept, &report);
                }
                None => report_unknown(name, value, &report),
            }
        }
    }
    wanted
}

fn split(variable: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = variable.iter().position(|&byte| byte == b'=')?;
    Some((&variable[..equals], &variable[equals + 1..]))
}

/// `glibc.malloc.mmap_max=10:glibc.malloc.top_pad=0`; a later one wins.
fn apply_tunables(params: &Params, list: &[u8]) {
    for tunable in list.split(|&byte| byte == b':') {
        let Some((name, value)) = split(tunable) else { continue };
        let Some(name) = name.strip_prefix(b"glibc.malloc.") else { continue };
        let row = TABLE.iter().find(|row| {
            row.is_tunable && row.name.len() == name.len() && row.name.as_bytes().eq_ignore_ascii_case(name)
        });
        if let Some(row) = row {
            // Malformed or out of range: ignored, as in glibc.
            let _ = set(params, row, value, SetBy::Tunable);
        }
    }
}

/// Sets the row's parameter, or returns `None` when the text is no number or out of its limits.
fn set(params: &Params, row: &Row, text: &[u8], by: SetBy) -> Option<()> {
    let value = number(text).filter(|&value| row.param.allows(value))?;
    params.set_as(row.param, value, by);
    Some(())
}

/// A number as C writes it: decimal, hexadecimal behind 0x, octal behind 0; `-1` is the largest there is.
fn number(text: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(text).ok()?.trim();
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        usize::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        usize::from_str_radix(&digits[1..], 8)
    } else {
        digits.parse()
    };
    let value = value.ok()?;
    Some(if is_negative { value.wrapping_neg() } else { value })
}

#[cold]
fn report_malformed(name: &[u8], value: &[u8], limits: (usize, usize), kept: &dyn Display, report: &impl Fn(&[u8])) {
    let mut line = Line::new();
    let (name, value) = (printable(name), printable(value));
    let limits = Limits(limits);
    // A line never fails.
    let _ = writeln!(line, "heapwright: {name}={value}: expected {limits}; ignored, kept: {kept}");
    report(line.as_bytes());
}

#[cold]
fn report_unknown(name: &[u8], value: &[u8], report: &impl Fn(&[u8])) {
    let mut line = Line::new();
    // A line never fails.
    let _ = writeln!(line, "heapwright: {}={}: no such option; ignored", printable(name), printable(value));
    report(line.as_bytes());
}

/// As much of a name or a value as a line has room for.
fn printable(text: &[u8]) -> &str {
    let text = &text[..text.len().min(64)];
    match core::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Param;
    use std::cell::RefCell;
    use std::string::String;
    use std::vec::Vec;

    fn applied(variables: &[&str]) -> (Params, Vec<String>) {
        let params = Params::new();
        let lines = RefCell::new(Vec::new());
        apply(&params, variables.iter().map(|variable| variable.as_bytes()), |line| {
            lines.borrow_mut().push(String::from_utf8_lossy(line).into_owned())
        });
        (params, lines.into_inner())
    }

    #[test]
    fn numbers_are_written_as_in_c() {
        assert_eq!(number(b"4096"), Some(4096));
        assert_eq!(number(b"0x1000"), Some(4096));
        assert_eq!(number(b"010"), Some(8));
        assert_eq!(number(b"-1"), Some(usize::MAX));
        assert_eq!(number(b"0"), Some(0));
        for text in [&b""[..], b"12k", b"--1", b"-+1", b"0x", b"08"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_tunable_wins_over_its_alias_and_a_later_one_over_an_earlier() {
        let (params, lines) = applied(&[
            "MALLOC_MMAP_MAX_=5",
            "GLIBC_TUNABLES=glibc.malloc.mmap_max=7:glibc.rtld.x=1:glibc.malloc.mmap_max=8:glibc.malloc.top_pad=junk",
            "MALLOC_TOP_PAD_=4096",
        ]);
        assert_eq!((params.get(Param::MmapMax), params.get(Param::TopPad)), (8, 4096));
        assert!(lines.is_empty());
    }

    #[test]
    fn what_is_meant_for_us_and_wrong_is_reported_by_name() {
        let (params, lines) = applied(&[
            "MALLOC_TOP_PAD_=5",
            "HEAPWRIGHT_CORES=many",
            "HEAPWRIGHT_TOP_PAD=12k",
            "HEAPWRIGHT_MMAP_MAX=3",
            "HEAPWRIGHT_SPEED=11",
            "HEAPWRIGHT_TEST_CASES=1",
            "HEAPWRIGHT_PRINT_OPTIONS=yes",
        ]);
        assert_eq!((params.get(Param::Cores), params.get(Param::MmapMax)), (0, 3));
        assert_eq!(
            lines,
            [
                "heapwright: HEAPWRIGHT_CORES=many: expected a number from 1 to 4096; ignored, kept: as the system says \
                 (default)\n",
                "heapwright: HEAPWRIGHT_TOP_PAD=12k: expected a number from 0; ignored, kept: 5 (environment variable \
                 MALLOC_)\n",
                "heapwright: HEAPWRIGHT_SPEED=11: no such option; ignored\n",
                "heapwright: HEAPWRIGHT_PRINT_OPTIONS=yes: expected a number from 0 to 1; ignored, kept: not printed\n"
            ]
        );
    }

    #[test]
    fn ours_win_over_glibc_s_wherever_they_stand() {
        let (params, lines) = applied(&["HEAPWRIGHT_MMAP_MAX=1", "GLIBC_TUNABLES=glibc.malloc.mmap_max=2"]);
        assert_eq!((params.get(Param::MmapMax), params.set_by(Param::MmapMax)), (1, SetBy::Variable));
        assert!(lines.is_empty());
    }

    #[test]
    fn glibc_s_own_variables_are_read_with_its_tolerance() {
        let (params, lines) = applied(&["MALLOC_ARENA_MAX=0", "MALLOC_PERTURB_=300", "MALLOC_ARENA_TEST=x"]);
        assert_eq!((params.get(Param::ArenaMax), params.get(Param::Perturb), params.get(Param::ArenaTest)), (0, 0, 8));
        assert!(lines.is_empty());
    }
}
