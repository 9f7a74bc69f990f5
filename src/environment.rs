//! Settings from the environment: glibc's variables and tunables, and `HEAPWRIGHT_` ones.
//!
//! glibc's own are read with glibc's tolerance: what is malformed or out of range is ignored without a word. A
//! `HEAPWRIGHT_` variable is meant for us, so one that is unknown or malformed is reported in one line, by name, and the
//! default is kept. Order: `GLIBC_TUNABLES`, then a `MALLOC_` alias if its tunable was not set, then `HEAPWRIGHT_`.
//!
//! A process with raised privileges (`AT_SECURE`) reads none of them: its environment is somebody else's.
//!
//! # Safety
//!
//! The environment is read through `environ`, once, before the program can have changed it from another thread.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char};
use core::fmt::Write;

use crate::fatal::Line;
use crate::options::{Params, Row, TABLE};

const PREFIX: &[u8] = b"HEAPWRIGHT_";
/// Names behind this prefix are the tests' own.
const TEST_PREFIX: &[u8] = b"HEAPWRIGHT_TEST_";
const TUNABLES: &[u8] = b"GLIBC_TUNABLES";

unsafe extern "C" {
    /// The process's environment; null until the C library has begun.
    static environ: *const *const c_char;
}

/// Reads the environment into `params`. `false` when there is none yet and it has to be read later.
pub(crate) fn read(params: &Params) -> bool {
    // SAFETY: getauxval reads what the kernel left at process start.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return true;
    }
    // SAFETY: the C library's variable.
    let list = unsafe { environ };
    if list.is_null() {
        return false;
    }
    apply(params, || Variables { next: list }, crate::arch::write_stderr);
    true
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
fn apply<'a, V: Iterator<Item = &'a [u8]>>(params: &Params, variables: impl Fn() -> V, report: impl Fn(&[u8])) {
    let mut from_tunables = [false; TABLE.len()];
    for (name, value) in variables().filter_map(split) {
        if name == TUNABLES {
            apply_tunables(params, value, &mut from_tunables);
        }
    }
    for (name, value) in variables().filter_map(split) {
        for (row, done) in TABLE.iter().zip(&from_tunables) {
            let is_alias = row.alias.is_some_and(|alias| alias.as_bytes() == name);
            if is_alias && !done {
                // Malformed or out of range: ignored, as in glibc.
                let _ = set(params, row, value);
            }
        }
    }
    for (name, value) in variables().filter_map(split) {
        let Some(option) = name.strip_prefix(PREFIX) else { continue };
        if name.starts_with(TEST_PREFIX) {
            continue;
        }
        match TABLE.iter().find(|row| row.name.as_bytes() == option) {
            Some(row) if set(params, row, value).is_some() => {}
            Some(row) => report_malformed(row, name, value, &report),
            None => report_unknown(name, value, &report),
        }
    }
}

fn split(variable: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = variable.iter().position(|&byte| byte == b'=')?;
    Some((&variable[..equals], &variable[equals + 1..]))
}

/// `glibc.malloc.mmap_max=10:glibc.malloc.top_pad=0`; a later one wins.
fn apply_tunables(params: &Params, list: &[u8], done: &mut [bool]) {
    for tunable in list.split(|&byte| byte == b':') {
        let Some((name, value)) = split(tunable) else { continue };
        let Some(name) = name.strip_prefix(b"glibc.malloc.") else { continue };
        let row = TABLE.iter().position(|row| {
            row.is_tunable && row.name.len() == name.len() && row.name.as_bytes().eq_ignore_ascii_case(name)
        });
        let Some(row) = row else { continue };
        if set(params, &TABLE[row], value).is_some() {
            done[row] = true;
        }
    }
}

/// Sets the row's parameter, or returns `None` when the text is no number or out of its limits.
fn set(params: &Params, row: &Row, text: &[u8]) -> Option<()> {
    let value = number(text).filter(|&value| row.least <= value && value <= row.most)?;
    params.set(row.param, value);
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
fn report_malformed(row: &Row, name: &[u8], value: &[u8], report: &impl Fn(&[u8])) {
    let mut line = Line::new();
    let (name, value) = (printable(name), printable(value));
    let least = row.least;
    // A line never fails.
    let _ = match row.most {
        usize::MAX => writeln!(line, "heapwright: {name}={value}: expected a number from {least}; ignored"),
        most => writeln!(line, "heapwright: {name}={value}: expected a number from {least} to {most}; ignored"),
    };
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
        apply(
            &params,
            || variables.iter().map(|variable| variable.as_bytes()),
            |line| lines.borrow_mut().push(String::from_utf8_lossy(line).into_owned()),
        );
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
            "HEAPWRIGHT_CORES=many",
            "HEAPWRIGHT_MMAP_MAX=3",
            "HEAPWRIGHT_SPEED=11",
            "HEAPWRIGHT_TEST_CASES=1",
        ]);
        assert_eq!((params.get(Param::Cores), params.get(Param::MmapMax)), (0, 3));
        assert_eq!(
            lines,
            [
                "heapwright: HEAPWRIGHT_CORES=many: expected a number from 1 to 4096; ignored\n",
                "heapwright: HEAPWRIGHT_SPEED=11: no such option; ignored\n"
            ]
        );
    }

    #[test]
    fn glibc_s_own_variables_are_read_with_its_tolerance() {
        let (params, lines) = applied(&["MALLOC_ARENA_MAX=0", "MALLOC_PERTURB_=300", "MALLOC_ARENA_TEST=x"]);
        assert_eq!((params.get(Param::ArenaMax), params.get(Param::Perturb), params.get(Param::ArenaTest)), (0, 0, 8));
        assert!(lines.is_empty());
    }
}
