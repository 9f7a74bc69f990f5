//! Proof that a program reaches the malloc that was preloaded.
//!
//! A program that brings its own malloc, or that is linked statically, runs as well as any other with a library
//! preloaded, and its figures say nothing. So each program runs once under `LD_DEBUG=bindings` first: the loader then
//! writes down which object serves each symbol of each other object, one file per process. Every object that binds one
//! of the entry points below must bind the preloaded one.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::measure::Call;

const ENTRY_POINTS: [&str; 4] = ["malloc", "calloc", "realloc", "free"];
const NOTES: &str = "bindings";

/// `call` with the loader's notes.
pub(crate) fn noted(call: Call, folder: &Path) -> Call {
    call.env("LD_DEBUG", "bindings").env("LD_DEBUG_OUTPUT", folder.join(NOTES))
}

/// What speaks against the notes in `folder` of a program that ran under `library`; `None` if nothing does.
pub(crate) fn objection(folder: &Path, library: &Path) -> Result<Option<String>> {
    let library = library.to_string_lossy();
    let mut served = 0;
    for entry in fs::read_dir(folder).context("read the loader's notes")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(NOTES) {
            let notes = fs::read(entry.path()).context("read the loader's notes")?;
            match objection_in(&String::from_utf8_lossy(&notes), &library) {
                Ok(count) => served += count,
                Err(objection) => return Ok(Some(objection)),
            }
        }
    }
    Ok((served == 0).then(|| "no process of it binds malloc or free".into()))
}

/// The number of bindings to `library`, or one that should have been.
fn objection_in(notes: &str, library: &str) -> Result<usize, String> {
    let bindings: Vec<Binding<'_>> = notes.lines().filter_map(Binding::read).collect();
    let (to_it, to_others): (Vec<_>, Vec<_>) = bindings.iter().partition(|b| b.server == library);
    for other in to_others {
        // A program linked to a fixed address hands out the address of its own jump to a function as that of the
        // function, and others then bind the jump: as good as the function when the program itself binds the right one.
        let is_jump = to_it.iter().any(|b| b.client == other.server);
        if other.client != library && !is_jump {
            return Err(format!("{} binds {} of {}", other.client, other.symbol, other.server));
        }
    }
    Ok(to_it.len())
}

/// One note of the loader.
struct Binding<'a> {
    client: &'a str,
    server: &'a str,
    symbol: &'a str,
}

impl<'a> Binding<'a> {
    /// `4242: binding file /usr/bin/sort [0] to /lib/libc.so.6 [0]: normal symbol `free' [GLIBC_2.2.5]`
    fn read(line: &'a str) -> Option<Self> {
        let (objects, symbol) = line.split_once(": normal symbol `")?;
        let symbol = symbol.split('\'').next()?;
        let (client, server) = objects.split_once("binding file ")?.1.split_once(" to ")?;
        let without_namespace = |object: &'a str| object.rsplit_once(" [").map_or(object, |(path, _)| path);
        let (client, server) = (without_namespace(client), without_namespace(server));
        ENTRY_POINTS.contains(&symbol).then_some(Self { client, server, symbol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(client: &str, server: &str, symbol: &str) -> String {
        format!("  4242:\tbinding file {client} [0] to {server} [0]: normal symbol `{symbol}' [GLIBC_2.2.5]\n")
    }

    #[test]
    fn all_objects_must_bind_the_library() {
        let mut notes = note("sort", "/x.so", "malloc") + &note("/lib/libc.so.6", "/x.so", "free");
        notes += &note("sort", "/lib/libc.so.6", "qsort");
        assert_eq!(objection_in(&notes, "/x.so"), Ok(2));
        notes += &note("/lib/libz.so", "/lib/libjemalloc.so.2", "free");
        let objection = objection_in(&notes, "/x.so").expect_err("a foreign malloc");
        assert_eq!(objection, "/lib/libz.so binds free of /lib/libjemalloc.so.2");
    }

    #[test]
    fn a_jump_to_the_library_is_as_good() {
        let notes = note("python3", "/x.so", "free") + &note("/lib/libz.so", "python3", "free");
        assert_eq!(objection_in(&notes, "/x.so"), Ok(1));
        let notes = note("/lib/libz.so", "python3", "free");
        assert!(objection_in(&notes, "/x.so").is_err());
    }
}
