//! The program from outside: what it says to bad input, and a whole suite on stand-ins for the rivals' binaries.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn laboratory(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_laboratory"))
        .args(["--results", "results", "--work", "work"])
        .args(args)
        .current_dir(folder)
        .output()
        .expect("the laboratory starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A folder with a binary of the rivals for each name: a script with two workloads.
fn rivals(names: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, checksum) in names {
        let path = folder.path().join(name);
        let script = format!(
            "#!/bin/sh\ncase $1 in --list) echo lists; echo trees;; *) echo checksum {checksum}${{2:-1}};; esac\n"
        );
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable script");
    }
    folder
}

#[test]
fn workloads_are_measured_resumed_and_reported() {
    let folder = rivals(&[("system", "4"), ("heapwright", "4"), ("mimalloc", "4")]);
    let run = |args: &[&str]| laboratory(folder.path(), args);
    let first = run(&["workloads", "--rivals", ".", "--rounds", "2", "--scale", "3"]);
    assert!(first.status.success(), "{}", said(&first));
    assert!(said(&first).contains("there is no snmalloc in "), "{}", said(&first));
    let rows = || fs::read_to_string(folder.path().join("results/workloads.csv")).expect("samples");
    assert_eq!(rows().lines().count(), 1 + 2 * 3 * 2);
    assert!(rows().lines().skip(1).all(|row| row.contains(",ok,43,")), "{}", rows());

    let more = run(&["workloads", "--rivals", ".", "--rounds", "3", "--scale", "3", "--resume"]);
    assert!(said(&more).contains("12 of 18 runs are in the file already"), "{}", said(&more));
    assert_eq!(rows().lines().count(), 1 + 2 * 3 * 3);

    let report = run(&["report", "--docs", "docs"]);
    assert!(report.status.success(), "{}", said(&report));
    let text = fs::read_to_string(folder.path().join("docs/benchmarks.md")).expect("a report");
    assert!(text.contains("| trees"), "{text}");
    assert!(text.contains("Not measured yet: `laboratory programs`"), "{text}");
    let plot = fs::read_to_string(folder.path().join("docs/plots/workloads-cpu.svg")).expect("a plot");
    assert!(plot.starts_with("<svg") && plot.contains("heapwright"), "{plot}");
    // Nobody's folders get into what is published.
    assert!(!text.contains(&*folder.path().to_string_lossy()), "{text}");
}

#[test]
fn another_checksum_is_told_and_reported() {
    let folder = rivals(&[("system", "4"), ("heapwright", "5")]);
    let run = laboratory(folder.path(), &["workloads", "--rivals", ".", "--rounds", "1"]);
    assert!(!run.status.success());
    assert!(said(&run).contains("lists            heapwright   FAILED: another result than system"), "{}", said(&run));
    laboratory(folder.path(), &["report", "--docs", "docs"]);
    let text = fs::read_to_string(folder.path().join("docs/benchmarks.md")).expect("a report");
    assert!(text.contains("- lists under heapwright: another result than system"), "{text}");
}

#[test]
fn a_changed_binary_is_not_mixed_with_the_old_one() {
    let folder = rivals(&[("system", "4")]);
    let args = ["workloads", "--rivals", ".", "--rounds", "1", "--resume"];
    assert!(laboratory(folder.path(), &args).status.success());
    fs::write(folder.path().join("system"), "#!/bin/sh\n[ $1 = --list ] && echo lists || echo checksum 9\n")
        .expect("a script");
    let again = laboratory(folder.path(), &args);
    assert!(!again.status.success());
    assert!(said(&again).contains("another build of system: measure again without --resume"), "{}", said(&again));
}

#[test]
fn bad_input_is_answered() {
    let folder = rivals(&[("system", "4")]);
    let answers: [(&[&str], &str); 9] = [
        (&["workloads", "--rivals", "nowhere"], "error: --rivals nowhere: No such file or directory"),
        (&["workloads", "--rivals", ".", "--only", "tress"], "has a workload \"tress\""),
        (&["workloads", "--rivals", ".", "--allocators", "glib"], "there is no binary \"glib\""),
        (&["workloads", "--rivals", ".", "--rounds", "0"], "0 is not in 1..=1000"),
        (&["programs", "--library", "nothing.so"], "nothing.so: No such file or directory"),
        (&["programs", "--library", "system=/proc/self/exe"], "cannot be a name"),
        (
            &["programs", "--library", "/proc/self/exe", "--allocators", "jmalloc"],
            "there is no malloc \"jmalloc\" here",
        ),
        (&["programs", "--library", "/proc/self/exe", "--only", "emacs"], "there is no program \"emacs\" here"),
        (&["counts", "--check", "--accept"], "cannot be used with"),
    ];
    for (args, answer) in answers {
        let output = laboratory(folder.path(), args);
        assert!(!output.status.success(), "{args:?}");
        assert!(said(&output).contains(answer), "{args:?}: {}", said(&output));
    }
    fs::create_dir(folder.path().join("results")).expect("a folder");
    fs::write(folder.path().join("results/programs.csv"), "what\nis this\n").expect("a file");
    let output = laboratory(folder.path(), &["report", "--docs", "docs"]);
    assert!(said(&output).contains("is not a file of the laboratory"), "{}", said(&output));
}

#[test]
fn one_measurement_at_a_time() {
    let folder = rivals(&[("system", "4")]);
    fs::create_dir(folder.path().join("work")).expect("a folder");
    let lock = fs::File::create(folder.path().join("work/lock")).expect("a lock");
    lock.lock().expect("nobody else has it");
    let output = laboratory(folder.path(), &["workloads", "--rivals", ".", "--rounds", "1"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("another measurement runs in "), "{}", said(&output));
}

/// A shell needs less than the laboratory itself, whose own peak it would show if it were started by `vfork`.
#[test]
fn the_peak_is_not_that_of_the_laboratory() {
    let folder = rivals(&[("system", "4")]);
    let run = laboratory(folder.path(), &["workloads", "--rivals", ".", "--rounds", "1"]);
    assert!(run.status.success(), "{}", said(&run));
    let rows = fs::read_to_string(folder.path().join("results/workloads.csv")).expect("samples");
    let peaks = rows.lines().skip(1).map(|row| row.rsplit(',').next().expect("a last column").parse::<u64>());
    for peak in peaks {
        assert!((500..3000).contains(&peak.clone().expect("a number of KiB")), "{rows}");
    }
}
