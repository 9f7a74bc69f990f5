//! Each parameter by what it does: system calls, where blocks lie, bytes in memory. No test here reads a value back.
//!
//! `tests/c/parameters.c` has a small workload for each; it runs on the preload library with and without a setting, and
//! the difference is the effect. The settings come by every kind of variable in turn.

mod harness;

use std::ffi::OsString;
use std::fs;

use harness::{Run, Scratch, compile, library, missing, program, setting};

type Env<'a> = &'a [(&'a str, &'a str)];

/// What the workload says with these settings.
fn said(mode: &str, env: Env) -> String {
    let run = Run::new(compile("parameters.c")).args([mode]).preloaded();
    let outcome = env.iter().fold(run, |run, (key, value)| run.env(key, value)).run();
    assert!(outcome.status.success(), "{}", outcome.report());
    outcome.text().to_owned()
}

/// The system calls of the workload with these settings. `None`: no strace here.
fn calls(mode: &str, env: Env) -> Option<Vec<String>> {
    let strace = program("strace")?;
    if !Run::new(&strace).args(["-qq", "-o", "/dev/null", "true"]).run().status.success() {
        missing("the permission to trace a process with strace");
        return None;
    }
    let scratch = Scratch::new(mode);
    let log = scratch.join("log");
    let mut settings = vec![OsString::from("-E"), setting("LD_PRELOAD", library())];
    for (key, value) in env {
        settings.extend(["-E".into(), setting(key, value)]);
    }
    let outcome = Run::new(strace)
        .args(["-f", "-qq", "-e", "trace=brk,mmap,munmap,mremap,madvise,mprotect,write", "-o"])
        .args([&log])
        .args(settings)
        .args([compile("parameters.c").as_os_str(), mode.as_ref()])
        .run();
    assert!(outcome.status.success(), "{}", outcome.report());
    let log = fs::read_to_string(&log).expect("the log of strace");
    let inside = log.lines().skip_while(|line| !line.contains("\"step begin")).skip(1);
    let inside = inside.take_while(|line| !line.contains("\"step end"));
    // `4242  brk(0x555555580000) = 0x555555580000`
    let calls = inside.map(|line| line.split_once(char::is_whitespace).map_or(line, |(_, call)| call.trim_start()));
    Some(calls.map(str::to_owned).collect())
}

fn count(calls: &[String], call: &str) -> usize {
    calls.iter().filter(|c| c.starts_with(call) && c[call.len()..].starts_with('(')).count()
}

/// Where the break was after each move.
fn breaks(calls: &[String]) -> Vec<usize> {
    let of = |call: &String| usize::from_str_radix(call.strip_prefix("brk(")?.rsplit(" = 0x").next()?.trim(), 16).ok();
    calls.iter().filter_map(of).collect()
}

/// By how much the break moved at each move, in KiB.
fn moves(calls: &[String]) -> Vec<isize> {
    breaks(calls).windows(2).map(|pair| (pair[1] as isize - pair[0] as isize) / 1024).filter(|&by| by != 0).collect()
}

#[test]
fn mmap_threshold_decides_what_gets_a_mapping() {
    let Some(by_default) = calls("big", &[]) else { return };
    assert_eq!(count(&by_default, "mmap"), 3, "{by_default:?}");
    for env in [
        ("HEAPWRIGHT_MMAP_THRESHOLD", "1048576"),
        ("MALLOC_MMAP_THRESHOLD_", "0x100000"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1048576"),
    ] {
        let raised = calls("big", &[env]).expect("strace was here");
        assert_eq!(count(&raised, "mmap"), 0, "{env:?}: {raised:?}");
        assert!(!moves(&raised).is_empty() || count(&raised, "brk") > 0, "{env:?}: {raised:?}");
    }
}

#[test]
fn mmap_max_bounds_the_mappings() {
    for (most, expected) in [("0", 0), ("1", 1), ("2", 2), ("10", 3)] {
        let Some(calls) = calls("big", &[("MALLOC_MMAP_MAX_", most)]) else { return };
        assert_eq!(count(&calls, "mmap"), expected, "{most}: {calls:?}");
    }
}

#[test]
fn trim_threshold_decides_when_the_top_goes_back() {
    let shrinks = |env: Env| calls("top", env).map(|calls| count(&calls, "brk"));
    let Some(by_default) = shrinks(&[]) else { return };
    assert!(by_default > 0);
    assert_eq!(shrinks(&[("HEAPWRIGHT_TRIM_THRESHOLD", "-1")]), Some(0));
    assert_eq!(shrinks(&[("MALLOC_TRIM_THRESHOLD_", "10000000")]), Some(0));
    let eager = shrinks(&[("HEAPWRIGHT_TRIM_THRESHOLD", "65536"), ("HEAPWRIGHT_TOP_PAD", "0")]);
    assert!(eager > Some(by_default), "{eager:?} against {by_default}");
}

#[test]
fn top_pad_is_what_a_growth_adds() {
    // 1,000 and 92,160 bytes in pages, with what stands between.
    for (pad, expected) in [("0", vec![4, 92]), ("131072", vec![132]), ("1048576", vec![1028])] {
        let Some(calls) = calls("grow", &[("HEAPWRIGHT_TOP_PAD", pad)]) else { return };
        let moves = moves(&calls);
        let close = moves.len() == expected.len() && moves.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 4);
        assert!(close, "{pad}: {moves:?} KiB, {expected:?} expected");
    }
}

/// In how many areas of 64 MiB the blocks of six threads lie at most in ten runs. A thread that finds its arena held is
/// served by another, so a run may show fewer than there are arenas, and never more.
fn areas(env: Env) -> usize {
    let run = || said("threads", env).split(' ').next().and_then(|count| count.parse().ok()).expect("a number first");
    (0..10).map(|_| run()).max().expect("ten runs")
}

#[test]
fn arena_max_and_cores_decide_how_many_arenas_there_are() {
    assert_eq!(said("threads", &[("MALLOC_ARENA_MAX", "1")]), "0 areas, 6 on the break\n");
    assert_eq!(areas(&[("HEAPWRIGHT_ARENA_MAX", "2"), ("HEAPWRIGHT_CORES", "8")]), 1);
    // One for every eight cores, but at least two.
    assert_eq!(areas(&[("HEAPWRIGHT_CORES", "8")]), 2);
    assert_eq!(areas(&[("HEAPWRIGHT_CORES", "32")]), 4);
    assert_eq!(areas(&[("HEAPWRIGHT_CORES", "64")]), 6);
}

#[test]
fn brk_0_leaves_the_break_alone() {
    let Some(calls) = calls("grow", &[("HEAPWRIGHT_BRK", "0")]) else { return };
    assert_eq!(count(&calls, "brk"), 0, "{calls:?}");
    assert!(count(&calls, "mprotect") > 0, "{calls:?}");
}

#[test]
fn tcache_max_and_tcache_count_0_decide_what_is_cached() {
    assert_eq!(said("cache", &[]), "40: cached, 1000: cached, 5000: cached\n");
    assert_eq!(said("cache", &[("HEAPWRIGHT_TCACHE_MAX", "1032")]), "40: cached, 1000: cached, 5000: joined\n");
    let by_tunable = [("GLIBC_TUNABLES", "glibc.malloc.tcache_max=100")];
    assert_eq!(said("cache", &by_tunable), "40: cached, 1000: joined, 5000: joined\n");
    for off in ["TCACHE_MAX", "TCACHE_COUNT"] {
        let name = format!("HEAPWRIGHT_{off}");
        assert_eq!(said("cache", &[(&name, "0")]), "40: joined, 1000: joined, 5000: joined\n", "{off}");
    }
}

#[test]
fn tcache_count_bounds_the_blocks_of_a_size() {
    let taken_over = |count: &str| -> usize {
        let said = said("count", &[("HEAPWRIGHT_TCACHE_COUNT", count)]);
        said.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    assert_eq!(taken_over("0"), 0, "none is cached, all are their arena's");
    assert!((390..=400).contains(&taken_over("2")), "{}", taken_over("2"));
    // A thread keeps one full magazine of 64 at least; how much there is in the other one, the last batch decides.
    assert!((100..=400 - 64).contains(&taken_over("128")), "{}", taken_over("128"));
}

#[test]
fn perturb_fills_what_comes_and_what_goes_but_not_what_is_to_be_zero() {
    for cache in [("HEAPWRIGHT_TCACHE_COUNT", "128"), ("HEAPWRIGHT_TCACHE_COUNT", "0")] {
        for name in ["MALLOC_PERTURB_", "HEAPWRIGHT_PERTURB"] {
            let said = said("bytes", &[(name, "0xa5"), cache]);
            let expected = [100, 5_000, 60_000].map(|n| format!("{n}: new 5a, freed a5, again 5a, zeroed 00\n"));
            assert_eq!(said, expected.concat(), "{cache:?}");
        }
    }
    assert!(said("bytes", &[]).starts_with("100: new 00, freed 11, again 11, zeroed 00\n"));
}

#[test]
fn hugetlb_1_asks_for_transparent_huge_pages_everywhere() {
    let Some(without) = calls("huge", &[]) else { return };
    assert!(without.iter().all(|call| !call.contains("HUGE")), "{without:?}");
    let env = [("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")];
    let calls = calls("huge", &env).expect("strace was here");
    // A block, the break, and a heap: each call of growth with its advice.
    let advised = |kind: &dyn Fn(usize) -> bool| {
        let of = |call: &String| usize::from_str_radix(call.strip_prefix("madvise(0x")?.split(',').next()?, 16).ok();
        calls.iter().filter(|call| call.contains("MADV_HUGEPAGE")).filter_map(of).filter(|&start| kind(start)).count()
    };
    let breaks = breaks(&calls);
    let is_break = |start: usize| breaks.iter().any(|end| start < *end && end - start < 64 << 20);
    assert!(advised(&is_break) > 0 && advised(&|start| !is_break(start)) > 1, "{calls:?}");
    let state = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if state.contains("[madvise]") || state.contains("[always]") {
        let said = said("huge", &env);
        let kib: usize = said.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        assert!(kib >= 8 << 10, "{said}");
    }
}

#[test]
fn hugetlb_2_takes_huge_pages_or_does_without() {
    let Some(calls) = calls("huge", &[("HEAPWRIGHT_HUGETLB", "2")]) else { return };
    let asked = calls.iter().filter(|call| call.starts_with("mmap(") && call.contains("MAP_HUGETLB")).count();
    assert!(asked > 0, "{calls:?}");
    // Whether the system had any or not, the workload has made sure of its contents. A length that is no page's is not asked for.
    let odd = self::calls("huge", &[("HEAPWRIGHT_HUGETLB", "3000000")]).expect("strace was here");
    assert!(odd.iter().all(|call| !call.contains("HUGETLB")), "{odd:?}");
}

/// Addresses differ from run to run.
fn without_addresses(calls: &[String]) -> Vec<String> {
    let words = |call: &String| -> Vec<String> {
        let is_address = |word: &&str| word.len() > 10 && word.starts_with("0x");
        call.split(['(', ',', ' ', ')']).filter(|word| !is_address(word)).map(str::to_owned).collect()
    };
    calls.iter().map(|call| words(call).join(" ")).collect()
}

#[test]
fn what_is_said_to_have_no_effect_has_none() {
    let Some(plain) = calls("mixed", &[]) else { return };
    for env in [
        ("MALLOC_ARENA_TEST", "1"),
        ("HEAPWRIGHT_ARENA_TEST", "1"),
        ("HEAPWRIGHT_MXFAST", "0"),
        ("GLIBC_TUNABLES", "glibc.malloc.mxfast=0:glibc.malloc.check=3"),
        ("MALLOC_CHECK_", "3"),
        ("HEAPWRIGHT_CHECK", "1"),
    ] {
        let set = calls("mixed", &[env]).expect("strace was here");
        assert_eq!(without_addresses(&set), without_addresses(&plain), "{env:?}");
    }
}

#[test]
fn what_is_wrong_with_a_setting_is_one_line_and_changes_nothing() {
    let run = |env: Env| {
        let run = Run::new(compile("parameters.c")).args(["bytes"]).preloaded();
        env.iter().fold(run, |run, (key, value)| run.env(key, value)).run()
    };
    let plain = run(&[]);
    let outcome = run(&[("HEAPWRIGHT_PERTURB", "256"), ("HEAPWRIGHT_TCACHE_CUONT", "0"), ("MALLOC_PERTURB_", "many")]);
    assert_eq!(outcome.stdout, plain.stdout);
    let mut lines: Vec<&str> = outcome.stderr_text().lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "heapwright: HEAPWRIGHT_PERTURB=256: expected a number from 0 to 255; ignored, kept: 0 (default)",
            "heapwright: HEAPWRIGHT_TCACHE_CUONT=0: no such option; ignored",
        ]
    );
}

#[test]
fn the_table_is_printed_where_it_is_asked_for() {
    let run = Run::new(compile("parameters.c")).args(["grow"]).preloaded().env("MALLOC_TOP_PAD_", "4096");
    let outcome = run.env("HEAPWRIGHT_PRINT_OPTIONS", "1").run();
    let line = |name: &str| {
        let line = outcome.stderr_text().lines().find(|line| line.starts_with(&format!("heapwright: {name} ")));
        line.map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(line("TOP_PAD").as_deref(), Some("4096 environment variable MALLOC_"), "{}", outcome.report());
    assert_eq!(line("MMAP_THRESHOLD").as_deref(), Some("131072 default"), "{}", outcome.report());
    assert_eq!(line("ARENA_MAX").as_deref(), Some("by the cores default"), "{}", outcome.report());
    assert_eq!(line("MXFAST").as_deref(), Some("0 default, without effect"), "{}", outcome.report());
}
