//! The C contract of malloc, row by row.
//!
//! `tests/c/contract.c` is a table of named checks: what C, POSIX and glibc's manual promise of every entry point, parameter and
//! report, in errno and return value, down to what must stay untouched. It is C because the contract is: no Rust type stands
//! between a check and the symbol that a program calls.
//!
//! A table of promises can itself be wrong. So it first runs on the C library's own malloc, where every row must hold except those
//! that are newer than glibc 2.36, which it skips by name. Then all rows must hold on the library, and none may be skipped.

mod harness;

use std::collections::BTreeSet;

use harness::{Outcome, Run, Scratch, compile};

/// The rows that a run reports with `word` before their name.
fn rows<'a>(outcome: &'a Outcome, word: &str) -> BTreeSet<&'a str> {
    outcome.text().lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).collect()
}

fn all_rows(outcome: &Outcome) -> BTreeSet<&str> {
    outcome.text().lines().collect()
}

#[test]
fn the_table_holds_for_the_c_library() {
    let contract = compile("contract.c");
    let listed = Run::new(&contract).args(["--list"]).run().expect_success();
    let outcome = Run::new(&contract).args(["--glibc"]).run();
    assert_eq!(rows(&outcome, "FAIL"), BTreeSet::new(), "{}", outcome.report());
    let seen: BTreeSet<&str> = &rows(&outcome, "ok") | &rows(&outcome, "skip");
    assert_eq!(seen, all_rows(&listed), "{}", outcome.report());
    outcome.expect_success();
}

#[test]
fn every_row_holds_for_the_library() {
    let contract = compile("contract.c");
    let listed = Run::new(&contract).args(["--list"]).run().expect_success();
    let outcome = Run::new(&contract).bindings().run();
    assert_eq!(rows(&outcome, "FAIL"), BTreeSet::new(), "{}", outcome.report());
    assert_eq!(rows(&outcome, "ok"), all_rows(&listed), "{}", outcome.report());
    outcome.expect_success();
}

#[test]
fn every_row_holds_without_a_thread_cache() {
    let contract = compile("contract.c");
    let listed = Run::new(&contract).args(["--list"]).run().expect_success();
    let outcome = Run::new(&contract).preloaded().env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0").run();
    assert_eq!(rows(&outcome, "FAIL"), BTreeSet::new(), "{}", outcome.report());
    assert_eq!(rows(&outcome, "ok"), all_rows(&listed), "{}", outcome.report());
    outcome.expect_success();
}

/// Everything that malloc.h has, and what can be seen of it, in one program that says the same whichever malloc it has.
#[test]
fn a_program_that_uses_the_whole_of_malloc_h_says_the_same() {
    let whole = compile("whole.c");
    let expected = Run::new(&whole).run().expect_success();
    for caching in ["1", "0"] {
        let run = Run::new(&whole).bindings().env("HEAPWRIGHT_TCACHE_COUNT", if caching == "1" { "128" } else { "0" });
        run.run().assert_same(&expected);
    }
}

/// An attribute's number.
fn number(node: &roxmltree::Node, name: &str) -> usize {
    let text = node.attribute(name).unwrap_or_else(|| panic!("{node:?} has no {name}"));
    text.parse().unwrap_or_else(|_| panic!("{name}={text}"))
}

/// The size of the child element `tag` with this type.
fn size_of_type(node: &roxmltree::Node, tag: &str, kind: &str) -> usize {
    let of_kind = |child: &roxmltree::Node| child.has_tag_name(tag) && child.attribute("type") == Some(kind);
    let child = node.children().find(of_kind).unwrap_or_else(|| panic!("no {tag} of type {kind} in {node:?}"));
    number(&child, "size")
}

/// Each document is read by a parser that is not ours, and its sums are right, although threads allocate meanwhile.
#[test]
fn malloc_info_is_xml_at_any_moment_and_its_parts_add_up() {
    let folder = Scratch::new("reports");
    let outcome = Run::new(compile("reports.c")).folder(folder.path()).bindings().run();
    assert!(outcome.status.success(), "{}", outcome.report());
    assert_eq!(outcome.stderr_text().matches("max mmap bytes").count(), 100);
    let (mut most_heaps, mut most_mapped) = (0, 0);
    for index in 0..100 {
        let text = std::fs::read_to_string(folder.join(&format!("{index}.xml"))).expect("a document");
        let document = roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{index}: {error}\n{text}"));
        let root = document.root_element();
        assert!(root.has_tag_name("malloc") && root.attribute("version") == Some("1"), "{text}");
        let heaps: Vec<_> = root.children().filter(|child| child.has_tag_name("heap")).collect();
        for (nr, heap) in heaps.iter().enumerate() {
            assert_eq!(number(heap, "nr"), nr);
            let sizes = heap.children().find(|child| child.has_tag_name("sizes")).expect("sizes");
            let bytes: usize =
                sizes.children().filter(roxmltree::Node::is_element).map(|row| number(&row, "total")).sum();
            for row in sizes.children().filter(|row| row.has_tag_name("size")) {
                let (from, to) = (number(&row, "from"), number(&row, "to"));
                let (count, total) = (number(&row, "count"), number(&row, "total"));
                assert!(from <= to && count > 0 && count * from <= total && total <= count * to, "{row:?}");
            }
            assert_eq!(bytes, size_of_type(heap, "total", "rest"), "{index}: heap {nr}\n{text}");
            assert!(bytes <= size_of_type(heap, "system", "current"));
            assert!(size_of_type(heap, "system", "current") <= size_of_type(heap, "system", "max"));
            assert!(nr == 0 || size_of_type(heap, "aspace", "subheaps") > 0);
        }
        let sum = |tag, kind| heaps.iter().map(|heap| size_of_type(heap, tag, kind)).sum::<usize>();
        for (tag, kind) in [("total", "rest"), ("system", "current"), ("system", "max"), ("aspace", "total")] {
            assert_eq!(sum(tag, kind), size_of_type(&root, tag, kind), "{index}: {tag} {kind}\n{text}");
        }
        most_heaps = most_heaps.max(heaps.len());
        most_mapped = most_mapped.max(size_of_type(&root, "total", "mmap"));
    }
    assert!(most_heaps > 1 && most_mapped > 0, "{most_heaps} arenas, {most_mapped} bytes mapped");
}
