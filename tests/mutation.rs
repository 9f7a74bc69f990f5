//! Mutation: a check that is taken away must be missed by a test.
//!
//! ```sh
//! cargo test --test mutation -- --ignored --nocapture                            # every check: a quarter of an hour
//! HEAPWRIGHT_TEST_MUTANTS=6 cargo test --test mutation -- --ignored              # six of them, others each day
//! HEAPWRIGHT_TEST_MUTANTS_OF=bins/ring.rs cargo test --test mutation -- --ignored # those of one module
//! ```
//!
//! The tree is copied, one check in `src/` is made to hold always, the preload library is built from that, and the misuse matrix
//! runs under it. If every case still ends as the table says, the mutant has survived: then the check is not tested there, and has
//! to stand in `ELSEWHERE` with what tests it, or why nothing can.

mod harness;

use harness::matrix;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Checks that the matrix does not reach: the file, the function, a part of the condition, and who looks after it instead.
const ELSEWHERE: &[(&str, &str, &str, &str)] = &[
    (
        "arena/runs.rs",
        "free_before",
        "size.get() == prev_size",
        "a later look at the same footer says the same sentence",
    ),
    ("arena/walk.rs", "walk_run", "size.get()", "a walk of the program's own: the tests of the walk"),
    ("bins.rs", "take_exact_small", "found == size", "two chunks' links overwritten: a test of the bins"),
    ("bins.rs", "take_dirty", "!free.dirty().is_empty()", "the same as below: another seed, and a test of the bins"),
    (
        "bins.rs",
        "take_fit",
        "free.size() >= size",
        "the fuzz target `corrupt` found it: its seed, and a test of the bins",
    ),
    (
        "bins/tree.rs",
        "size",
        "self.node.hangs_on(self.above)",
        "`check_link` looks at the same word of one that is taken; a test of the bins has one that is passed by",
    ),
    (
        "bins/tree.rs",
        "check_link",
        "leads_here",
        "`size` looks at the same word of one that a walk comes to; a test of the bins takes one without a walk",
    ),
    (
        "bins/tree.rs",
        "remove",
        "child.hangs_on(chunk)",
        "only the children of the chunk that leaves; tests/c/misuse.c cannot know them",
    ),
    (
        "bins/tree.rs",
        "below",
        "depth <= u64::BITS",
        "ends a walk that would not end: a tree so deep cannot be made by one write",
    ),
    (
        "chunk/free.rs",
        "place",
        "address.is_multiple_of(ALIGNMENT)",
        "another address than that of the node above is told by that first; no head may be read at this one",
    ),
    (
        "magazine.rs",
        "pop",
        "self.count() > 0",
        "two magazines in one list: the fuzz target `corrupt` found it, and its seed stays",
    ),
    (
        "magazine.rs",
        "push",
        "self.first != Some(mem)",
        "blocks that come by the batch; where a program puts one, the same check of the loaded magazine is met",
    ),
    (
        "malloc/cached.rs",
        "free_long",
        "claimed.chunk.next(claimed.size).head().is_some()",
        "the arena says the same sentence when the block leaves the cache",
    ),
    (
        "malloc.rs",
        "check_size",
        "!magazine::is_cached(mem)",
        "the free that follows looks again, and says the same sentence",
    ),
    ("malloc.rs", "checked_usable", "!magazine::is_cached(mem)", "compiled with the feature `hardened` only"),
    ("malloc.rs", "check_neighbour", "is_whole", "compiled with the feature `hardened` only"),
];

/// Conditions that are no `check!` and decide all the same: the file, what stands there, what is put in its place.
const BY_HAND: &[(&str, &str, &str)] = &[
    (
        "chunk.rs",
        "self.0 & SEAL_MASK == seal(chunk.address(), lasting)",
        "true || self.0 & SEAL_MASK == seal(chunk.address(), lasting)",
    ),
    ("magazine/words.rs", "is_mark(mem, load(mem, 1))", "false && is_mark(mem, load(mem, 1))"),
];

/// One check, and the source without it.
struct Mutant {
    file: PathBuf,
    line: usize,
    function: String,
    condition: String,
    source: String,
}

/// The name of the function that the end of `text` lies in.
fn function_at(text: &str) -> String {
    let name = text.rsplit("fn ").next().unwrap_or_default();
    name.chars().take_while(|&letter| letter.is_alphanumeric() || letter == '_').collect()
}

/// The end of the first argument of a macro call, from just behind its parenthesis.
fn end_of_argument(text: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => return at,
            _ => {}
        }
    }
    panic!("a call without an end: {text}")
}

fn mutants_of(root: &Path, file: &Path, found: &mut Vec<Mutant>) {
    let source = fs::read_to_string(root.join(file)).expect("a source file");
    // The hardened build has a matrix of its own; a macro is no check.
    let is_other = file.starts_with("guarded") || file.ends_with("guarded.rs") || file.ends_with("fatal.rs");
    if !is_other {
        for (at, call) in source.match_indices("check!(") {
            let begin = at + call.len();
            let condition = source[begin..begin + end_of_argument(&source[begin..])].trim().to_owned();
            let mut mutated = source.clone();
            mutated.insert_str(begin, "true || ");
            let (line, function) = (source[..at].lines().count(), function_at(&source[..at]));
            found.push(Mutant { file: file.to_owned(), line, function, condition, source: mutated });
        }
    }
    for (name, old, new) in BY_HAND {
        if file == Path::new(name) {
            let at = source.find(old).unwrap_or_else(|| panic!("{name} has no {old:?} any more"));
            let (line, function) = (source[..at].lines().count(), function_at(&source[..at]));
            found.push(Mutant {
                file: file.to_owned(),
                line,
                function,
                condition: (*old).to_owned(),
                source: source.replacen(old, new, 1),
            });
        }
    }
}

fn each_file(folder: &Path, visit: &mut impl FnMut(&Path)) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { each_file(&path, visit) } else { visit(&path) }
    }
}

/// A copy of the tree to mutate, and where its builds go.
fn copy_tree() -> PathBuf {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutation"));
    let _ = fs::remove_dir_all(to.join("src"));
    each_file(&from.join("src"), &mut |file| {
        let copy = to.join(file.strip_prefix(from).expect("a file of the tree"));
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder of the copy");
        fs::copy(file, copy).expect("a copied file");
    });
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(from.join(file), to.join(file)).expect("a copied file");
    }
    // The manifest names tests and benchmarks that the copy does not need.
    let manifest = fs::read_to_string(to.join("Cargo.toml")).expect("a manifest");
    let mut kept = String::new();
    let mut keeps = true;
    for line in manifest.lines() {
        if line.starts_with('[') {
            keeps = !["[[test]]", "[[bench]]", "[[example]]"].contains(&line);
        }
        if keeps {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    fs::write(to.join("Cargo.toml"), kept).expect("a manifest");
    to
}

fn build(tree: &Path) -> PathBuf {
    let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "rustc",
            "--release",
            "--lib",
            "--crate-type",
            "cdylib",
            "--no-default-features",
            "--features",
            "preload",
        ])
        .args(["--", "--cfg", "heapwright_so", "-C", "link-arg=-Wl,-z,nodelete,-Bsymbolic-functions"])
        .current_dir(tree)
        .env_remove("LD_PRELOAD")
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_DIR", tree.join("target"))
        // Not the fastest library, but the fastest built.
        .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")])
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    tree.join("target/release/libheapwright.so")
}

/// Some of `all`: those of one module and what lies below it, or different ones each day, so that all are met in time.
fn sample(all: Vec<Mutant>) -> Vec<Mutant> {
    if let Ok(file) = env::var("HEAPWRIGHT_TEST_MUTANTS_OF") {
        let module = Path::new(&file).with_extension("");
        return all.into_iter().filter(|mutant| mutant.file.with_extension("").starts_with(&module)).collect();
    }
    let Some(count) = env::var("HEAPWRIGHT_TEST_MUTANTS").ok().and_then(|count| count.parse::<usize>().ok()) else {
        return all;
    };
    let day = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400) as usize;
    let step = all.len().div_ceil(count.max(1));
    all.into_iter().skip(day % step).step_by(step).collect()
}

#[test]
#[ignore = "builds the library once a check"]
fn every_check_is_missed_when_it_is_gone() {
    let tree = copy_tree();
    let source = tree.join("src");
    let mut all = Vec::new();
    each_file(&source, &mut |file| mutants_of(&source, file.strip_prefix(&source).expect("a file of src"), &mut all));
    let cases = matrix::cases(false);
    let found = all.len();
    let chosen = sample(all);
    println!("{found} checks, {} of them taken away in turn", chosen.len());
    let mut survivors = Vec::new();
    for mutant in &chosen {
        let path = source.join(&mutant.file);
        let whole = fs::read_to_string(&path).expect("a source file");
        fs::write(&path, &mutant.source).expect("a mutated file");
        let outcomes = matrix::outcomes(&cases, &build(&tree));
        fs::write(&path, whole).expect("the file as it was");
        let red: Vec<&str> = cases
            .iter()
            .zip(&outcomes)
            .filter(|(case, got)| !case.is_as_expected(got))
            .map(|(case, _)| &*case.name)
            .collect();
        let name = format!("{}:{} {}: {}", mutant.file.display(), mutant.line, mutant.function, mutant.condition);
        println!("{:4} red  {name}  {}", red.len(), red.first().unwrap_or(&""));
        let is_known = ELSEWHERE.iter().any(|(file, function, part, _)| {
            mutant.file == Path::new(file) && mutant.function == *function && mutant.condition.contains(part)
        });
        if red.is_empty() && !is_known {
            survivors.push(name);
        }
    }
    assert!(survivors.is_empty(), "nobody misses\n{}", survivors.join("\n"));
}
