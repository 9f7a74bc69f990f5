//! Real programs on the preload library, and the shape of the library itself.
//!
//! A malloc is right when nobody notices it. So each program here runs twice, without the library and with it, and must give the
//! same bytes: on stdout, on stderr, in the files it writes, and as its exit status. That proves nothing if the program never
//! reached our malloc, so the second run happens under `LD_DEBUG=bindings`, and every object in every process of it that binds
//! malloc, free or one of their relatives must bind the library's.
//!
//! The programs are chosen for how they allocate: interpreters with threads (python, node), one that forks while it allocates
//! (perl, git), compilers (gcc, g++: many medium blocks, never freed), a database, a sort in threads, a server, and one C program
//! that forks children out of busy threads. Their inputs lie in `tests/programs`.
//!
//! The library's shape is tested by `readelf` and `nm`, which come with every C compiler: it must need the C library alone, keep its
//! thread-local storage tiny and static, stay loaded for ever, and export the malloc family and nothing else.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{ENTRY_POINTS, Outcome, Run, Scratch, compile, library, program, source_folder};

/// Runs `make(folder)` without the library and with it, in two fresh folders, and compares everything seen: the outcome, and the
/// contents of `files` in the folder.
fn runs_unchanged(name: &str, files: &[&str], make: impl Fn(&Path) -> Run) -> Outcome {
    let (plain, loaded) = (Scratch::new(name), Scratch::new(name));
    let expected = make(plain.path()).folder(plain.path()).run().expect_success();
    let outcome = make(loaded.path()).folder(loaded.path()).bindings().run();
    outcome.assert_same(&expected);
    for file in files {
        let read = |folder: &Scratch| fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{name}: {file}: {e}"));
        let (expected, found) = (read(&plain), read(&loaded));
        assert!(!expected.is_empty(), "{name}: {file} is empty");
        assert!(expected == found, "{name}: {file} differs ({} bytes, {} bytes)", expected.len(), found.len());
    }
    outcome
}

fn input(name: &str) -> PathBuf {
    source_folder().join("programs").join(name)
}

/// The interpreter itself: a `python3` in PATH may be a script that chooses one.
fn python() -> Option<PathBuf> {
    let found = Run::new(program("python3")?).args(["-c", "import sys; print(sys.executable)"]).run().expect_success();
    Some(found.text().trim().into())
}

#[test]
fn python_with_threads_runs_unchanged() {
    let Some(python) = python() else { return };
    let outcome = runs_unchanged("python", &[], |_| {
        Run::new(&python).args([input("work.py")]).env("PYTHONMALLOC", "malloc").env("PYTHONDONTWRITEBYTECODE", "1")
    });
    assert!(outcome.text().lines().count() > 30, "{}", outcome.report());
}

#[test]
fn a_threaded_server_runs_unchanged() {
    let Some(python) = python() else { return };
    let outcome = runs_unchanged("server", &[], |_| {
        Run::new(&python).args([input("server.py")]).env("PYTHONMALLOC", "malloc").env("PYTHONDONTWRITEBYTECODE", "1")
    });
    assert!(outcome.text().ends_with("requests 400\n"), "{}", outcome.report());
}

#[test]
fn perl_runs_unchanged() {
    let Some(perl) = program("perl") else { return };
    runs_unchanged("perl", &[], |_| Run::new(&perl).args([input("work.pl")]));
}

#[test]
fn node_with_workers_runs_unchanged() {
    let Some(node) = program("node") else { return };
    let outcome = runs_unchanged("node", &[], |_| Run::new(&node).args([input("work.js")]).limit(120));
    assert_eq!(outcome.text().lines().count(), 6, "{}", outcome.report());
}

#[test]
fn git_runs_unchanged() {
    if program("git").is_none() {
        return;
    }
    runs_unchanged("git", &["numbers", ".git/packed-refs"], |folder| {
        let mut run =
            Run::new("sh").args([input("git.sh")]).limit(120).env("HOME", folder).env("GIT_CONFIG_GLOBAL", "/dev/null");
        run = run.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CEILING_DIRECTORIES", folder.parent().expect("a parent"));
        for who in ["AUTHOR", "COMMITTER"] {
            run = run.env(&format!("GIT_{who}_NAME"), "A Name").env(&format!("GIT_{who}_EMAIL"), "name@example.org");
        }
        run
    });
}

/// Compiles `source`, keeping each stage: assembler text, object and program must be the same to the byte. Then runs what was
/// compiled, with the library and without.
fn compiles_unchanged(compiler: &str, source: &str, flags: &[&str]) {
    let Some(compiler) = program(compiler) else {
        return;
    };
    // A name in the folder, so that no path of this machine gets into the output.
    let bring = |folder: &Path| fs::copy(input(source), folder.join(source)).expect("copy a source");
    let stem = source.split('.').next().expect("a name");
    let stages = [format!("{stem}.s"), format!("{stem}.o"), stem.to_owned()];
    let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
    let compile = |folder: &Path| {
        bring(folder);
        Run::new(&compiler).args(["-save-temps=obj", "-o", stem, source]).args(flags).limit(120)
    };
    runs_unchanged(source, &stages, compile);

    let made = Scratch::new(source);
    compile(made.path()).folder(made.path()).run().expect_success();
    runs_unchanged(source, &[], |_| Run::new(made.join(stem)));
}

#[test]
fn gcc_compiles_unchanged() {
    compiles_unchanged("gcc", "shapes.c", &["-O2", "-lm"]);
}

#[test]
fn gxx_compiles_unchanged() {
    compiles_unchanged("g++", "shapes.cc", &["-O1", "-std=c++17", "-pthread"]);
}

#[test]
fn sqlite3_runs_unchanged() {
    let Some(sqlite3) = program("sqlite3") else {
        return;
    };
    let outcome = runs_unchanged("sqlite3", &["items.db"], |_| {
        Run::new(&sqlite3).args(["-batch", "items.db"]).stdin(&input("work.sql"))
    });
    assert!(outcome.text().ends_with("ok\n"), "{}", outcome.report());
}

#[test]
fn sort_in_threads_runs_unchanged() {
    let Some(sort) = program("sort") else { return };
    let unsorted = Scratch::new("unsorted");
    let mut seed = 88_172_645_463_325_252_u64;
    let mut lines = Vec::with_capacity(300_000);
    for _ in 0..300_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        lines.push(format!("{:0width$x}", seed >> (seed % 40), width = 1 + (seed % 30) as usize));
    }
    fs::write(unsorted.join("lines"), lines.join("\n") + "\n").expect("write the lines");
    // A small buffer: runs are sorted in threads, written out and merged.
    runs_unchanged("sort", &["sorted"], |_| {
        Run::new(&sort).args(["--parallel=4", "-S", "3M", "-T", ".", "-o", "sorted"]).args([unsorted.join("lines")])
    });
    lines.sort_unstable();
    let whole = Scratch::new("sort");
    let outcome =
        Run::new(&sort).args(["--parallel=4"]).args([unsorted.join("lines")]).folder(whole.path()).preloaded();
    assert!(outcome.run().expect_success().text() == lines.join("\n") + "\n", "sort gave another order");
}

#[test]
fn a_program_that_forks_out_of_busy_threads_runs_unchanged() {
    let forking = compile("forking.c");
    let outcome = runs_unchanged("forking", &[], |_| Run::new(&forking));
    assert_eq!(outcome.text().lines().count(), 44, "{}", outcome.report());
}

/// Programs that count or trace have a malloc of their own, which passes on to `__libc_malloc`. That went on to whatever `malloc`
/// the loader finds first: theirs, and so on until the stack was full.
#[test]
fn a_program_that_puts_itself_before_malloc_sees_each_call_once() {
    let wrapper = compile("wrapper.c");
    let expected = Run::new(&wrapper).run().expect_success();
    Run::new(&wrapper).preloaded().run().assert_same(&expected);
}

/// What a tool says about the library.
fn told(tool: &str, flags: &[&str]) -> String {
    let outcome = Command::new(tool).args(flags).arg(library()).env("LC_ALL", "C").output();
    let outcome = outcome.unwrap_or_else(|e| panic!("{tool}, which comes with a C compiler: {e}"));
    assert!(outcome.status.success(), "{tool}: {}", String::from_utf8_lossy(&outcome.stderr));
    String::from_utf8(outcome.stdout).expect("the tool writes UTF-8")
}

#[test]
fn the_library_needs_the_c_library_alone() {
    let dynamic = told("readelf", &["-d", "-W"]);
    let needed: Vec<&str> = dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .map(|line| line.split(['[', ']']).nth(1).expect("a name in brackets"))
        .collect();
    assert!(needed.contains(&"libc.so.6"), "{dynamic}");
    let extra = needed.iter().find(|name| !name.starts_with("libc.so.") && !name.starts_with("ld-linux"));
    assert_eq!(extra, None, "{dynamic}");
}

#[test]
fn the_library_stays_loaded() {
    let dynamic = told("readelf", &["-d", "-W"]);
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)")).unwrap_or_default();
    assert!(flags.contains("NODELETE"), "{dynamic}");
}

#[test]
fn the_library_uses_little_thread_local_storage_and_never_asks_for_it() {
    let segments = told("readelf", &["-l", "-W"]);
    // TLS  0x000d10 0x0000000000002d10 0x0000000000002d10 0x000000 0x000008 R 0x8
    if let Some(tls) = segments.lines().find(|line| line.trim_start().starts_with("TLS ")) {
        let size = tls.split_whitespace().nth(5).expect("the size in memory");
        let size = u64::from_str_radix(size.trim_start_matches("0x"), 16).expect("a number");
        assert!(size <= 64, "{tls}");
        let dynamic = told("readelf", &["-d", "-W"]);
        let flags = dynamic.lines().find(|line| line.contains("(FLAGS)")).unwrap_or_default();
        assert!(flags.contains("STATIC_TLS"), "the thread-local storage is not initial-exec:\n{dynamic}");
    }
    // A call of __tls_get_addr may allocate, and come back to malloc from the middle of malloc.
    let undefined = told("nm", &["-D", "--undefined-only"]);
    assert!(!undefined.contains("__tls_get_addr"), "{undefined}");
}

#[test]
fn the_library_never_comes_to_itself_by_way_of_the_loader() {
    let relocations = told("readelf", &["-r", "-W"]);
    // 00028590  00000001f00000006 R_X86_64_GLOB_DAT  0000000000022f60 calloc + 0
    let named = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
    for name in relocations.lines().filter_map(named) {
        assert!(!family().any(|ours| ours == name), "{name} is looked up, and may be another library's\n{relocations}");
    }
}

/// What it exports: what programs bind, and the rest of the header.
fn family() -> impl Iterator<Item = &'static str> {
    let more = [
        "free_sized",
        "free_aligned_sized",
        "mallopt",
        "mallinfo",
        "mallinfo2",
        "malloc_stats",
        "malloc_info",
        "__libc_malloc",
        "__libc_calloc",
        "__libc_realloc",
        "__libc_free",
        "__libc_memalign",
        "__libc_valloc",
        "__libc_pvalloc",
        "__libc_mallopt",
        "__libc_mallinfo",
    ];
    ENTRY_POINTS.into_iter().chain(more)
}

#[test]
fn the_library_exports_the_malloc_family_and_nothing_else() {
    let expected: Vec<&str> = family().collect();
    // glibc has no such name, but other replacements do, and it can harm nobody.
    let allowed = ["__libc_cfree"];
    let symbols = told("nm", &["-D", "--defined-only"]);
    let exported: Vec<&str> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(|name| name.split('@').next().unwrap_or(name))
        .collect();
    for &name in &expected {
        assert!(exported.contains(&name), "{name} is not exported:\n{symbols}");
    }
    for name in &exported {
        assert!(
            expected.contains(name) || allowed.contains(name),
            "{name} is exported, and would replace others' {name}"
        );
    }
}

#[test]
fn the_library_defines_functions_where_c_expects_functions() {
    // `T`: in the text section, and neither weak nor an indirect function.
    for line in told("nm", &["-D", "--defined-only"]).lines() {
        assert_eq!(line.split_whitespace().nth(1), Some("T"), "{line}");
    }
}
