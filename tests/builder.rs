//! A program that fixes parameters where it declares its allocator: what they do, what wins over them, and what a change
//! at run time does to threads that run. Seen by where blocks lie and by what is in them.
//!
//! Some tests run this very program again, with another environment; it then carries out one of the `PARTS` and says on
//! stdout what it saw.

use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::{env, fs, hint, thread};

use heapwright::{Heapwright, Param, SetBy};

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new().mmap_threshold(8 << 20).arena_max(1).top_pad(64 << 10).perturb(0xA5);

const PART: &str = "HEAPWRIGHT_TEST_PART";

/// Whether a block lies on the program break.
fn is_on_the_break<T>(block: &[T]) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").expect("the mappings of this process");
    let line = maps.lines().find(|line| line.ends_with("[heap]")).expect("a break");
    let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
    let hex = |text| usize::from_str_radix(text, 16).expect("an address");
    (hex(start)..hex(end)).contains(&block.as_ptr().addr())
}

fn block(len: usize) -> Vec<u8> {
    hint::black_box(Vec::with_capacity(len))
}

/// What a part says.
#[allow(unsafe_code)]
fn part(name: &str) -> String {
    match name {
        "mapped" => format!("on the break: {}", is_on_the_break(&block(1 << 20))),
        "set" => {
            heapwright::set(Param::MmapThreshold, 16 << 20).expect("within the limits");
            format!("on the break: {}", is_on_the_break(&block(1 << 20)))
        }
        "secure" => {
            // SAFETY: getauxval reads what the kernel left at process start.
            let is_secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
            format!("secure: {is_secure}, on the break: {}", is_on_the_break(&block(1 << 20)))
        }
        _ => panic!("no part {name}"),
    }
}

#[test]
fn a_part() {
    if let Ok(name) = env::var(PART) {
        println!("saw: {}", part(&name));
    }
}

fn run_part(program: &std::path::Path, name: &str, settings: &[(&str, &str)]) -> (String, String) {
    let mut command = Command::new(program);
    command.args(["--exact", "a_part", "--nocapture"]).env(PART, name).envs(settings.iter().copied());
    let Output { status, stdout, stderr } = command.output().expect("this program runs");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
    assert!(status.success(), "{stdout}\n{stderr}");
    let saw = stdout.lines().find_map(|line| line.split_once("saw: ")).map(|(_, saw)| saw.to_owned());
    (saw.unwrap_or_else(|| panic!("{stdout}")), stderr)
}

fn myself() -> std::path::PathBuf {
    env::current_exe().expect("this program")
}

#[test]
fn what_is_built_in_holds_from_the_first_request_on() {
    assert!(is_on_the_break(&block(1 << 20)), "1 MiB is below the threshold");
    let block_of_thread = thread::spawn(|| block(100)).join().expect("no panic");
    assert!(is_on_the_break(&block_of_thread), "there is one arena");
    let zeroed = vec![0u8; 1000];
    assert!(zeroed.iter().all(|&byte| byte == 0));
    let setting = heapwright::options().get(Param::MmapThreshold);
    assert_eq!((setting.value, setting.set_by), (8 << 20, SetBy::Builder));
}

#[test]
#[allow(unsafe_code)]
fn new_memory_is_filled_as_the_builder_says() {
    for len in [40, 3000, 70_000] {
        let block = block(len);
        // SAFETY: every byte of the block was filled by the allocator.
        let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), len) };
        assert!(bytes.iter().all(|&byte| byte == 0x5A), "{len}");
    }
}

#[test]
fn the_environment_wins_over_the_builder_and_a_call_over_both() {
    let setting = [("HEAPWRIGHT_MMAP_THRESHOLD", "65536")];
    assert_eq!(run_part(&myself(), "mapped", &[]).0, "on the break: true");
    assert_eq!(run_part(&myself(), "mapped", &setting).0, "on the break: false");
    assert_eq!(run_part(&myself(), "set", &setting).0, "on the break: true");
}

/// A program with raised privileges takes nothing from the environment of whoever started it, and says nothing.
#[test]
#[allow(unsafe_code)]
fn a_process_with_raised_privileges_reads_no_variable() {
    // SAFETY: geteuid has no arguments and no effects.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("note: only root can make a program of another user's, so this tests nothing");
        return;
    }
    let folder = env::temp_dir().join(format!("heapwright-secure-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("program");
    // Copied by another process: had this one the copy open for writing, a child of another test could have inherited that,
    // and the kernel runs no program that is open for writing.
    let copied = Command::new("cp").arg(myself()).arg(&program).status().expect("cp runs");
    assert!(copied.success());
    const NOBODY: u32 = 65_534;
    std::os::unix::fs::chown(&program, Some(NOBODY), None).expect("root may");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("root may");
    let settings = [
        ("HEAPWRIGHT_MMAP_THRESHOLD", "65536"),
        ("MALLOC_MMAP_THRESHOLD_", "65536"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536"),
        ("HEAPWRIGHT_NONSENSE", "1"),
        ("HEAPWRIGHT_PRINT_OPTIONS", "1"),
    ];
    let (saw, stderr) = run_part(&program, "secure", &settings);
    fs::remove_dir_all(&folder).expect("it was made above");
    assert_eq!(saw, "secure: true, on the break: true");
    assert!(!stderr.contains("heapwright:"), "{stderr}");
    // The same settings do their work in a program without.
    let (saw, stderr) = run_part(&myself(), "secure", &settings);
    assert_eq!(saw, "secure: false, on the break: false");
    assert!(stderr.contains("heapwright: HEAPWRIGHT_NONSENSE=1: no such option; ignored\n"), "{stderr}");
    assert!(stderr.contains("heapwright: MMAP_THRESHOLD    65536                environment variable HEAPWRIGHT_\n"));
}

/// Two blocks of 500 bytes beside each other, and others that were requested with them: not every block lies beside the one
/// before.
fn neighbours() -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
    let mut blocks: Vec<_> = (0..32).map(|_| block(500)).collect();
    blocks.sort_by_key(|block| block.as_ptr());
    let at = (1..blocks.len())
        .find(|&at| blocks[at].as_ptr().addr() - blocks[at - 1].as_ptr().addr() < 600)
        .expect("a batch has two that are neighbours");
    let second = blocks.swap_remove(at);
    (blocks.swap_remove(at - 1), second, blocks)
}

/// Whether two neighbours become one chunk when both are dropped, perhaps with others around them: not while they are
/// cached. A longer block then lies across a border between two shorter ones, if it belongs to the part of the arena that
/// they lie in: one of 1900 bytes does not always.
fn neighbours_join(first: Vec<u8>, second: Vec<u8>) -> bool {
    let borders = [first.as_ptr().addr(), second.as_ptr().addr()];
    drop((first, second));
    let both = block(950);
    let start = both.as_ptr().addr();
    // It stays where it is, so that the next one needs another place.
    std::mem::forget(both);
    borders.iter().any(|border| (start + 1..start + 950).contains(border))
}

#[test]
fn a_running_thread_follows_the_limits_of_its_cache() {
    let (go, wait) = channel::<()>();
    let (tell, hear) = channel();
    let running = thread::spawn(move || {
        // Its cache knows these sizes, and has none of them left.
        let warm: Vec<_> = (0..40).map(|_| block(500)).collect();
        let (a, b, _others) = neighbours();
        tell.send(neighbours_join(a, b)).expect("somebody hears");
        let (a, b, _others) = neighbours();
        wait.recv().expect("somebody tells");
        let joined = neighbours_join(a, b);
        tell.send(joined).expect("somebody hears");
        drop(warm);
    });
    assert!(!hear.recv().expect("it tells"), "cached blocks do not join");
    heapwright::set(Param::TcacheCount, 0).expect("within the limits");
    go.send(()).expect("it waits");
    assert!(hear.recv().expect("it tells"), "nothing is cached any more");
    running.join().expect("no panic");
    heapwright::set(Param::TcacheCount, 128).expect("within the limits");
}
