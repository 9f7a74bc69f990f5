//! Each script in a process of its own: what the targets `api` and `corrupt` share.
//!
//! A script begins with the first request of a process, on an untouched heap and under a secret that was drawn for it, so
//! that it does the same each time, and it may end as it likes. libFuzzer reads its counters in the parent. So the child
//! leaves its own behind in memory that both have, also from its signal handler, and the parent adds them up:
//!
//! ```text
//!   libFuzzer --script--> parent --fork--> child: runs the script
//!             <-counters--   |  <--counters, address of a fault, what it wrote to stderr, how it ended
//! ```
//!
//! # Safety
//!
//! The parent has no thread that could hold a lock which the child needs, but libFuzzer's own that looks at the memory in
//! use, and that one holds none for long: the C library takes its locks over a fork.

use std::arch::asm;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::FromRawFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::{mem, ptr, slice};

pub mod block;

/// Seconds after which a script is taken to run for ever.
const PATIENCE: u32 = 10;

/// What the kernel says of a fault at an address that is none.
const SI_KERNEL: i32 = 0x80;
const UNKNOWN: usize = usize::MAX;

/// How a script ended.
#[derive(Debug)]
pub enum End {
    /// By itself.
    Finished,
    /// By an abort, after this on stderr.
    Aborted(String),
    /// By a fault at this address; `None` for one that no memory can have, which the kernel does not tell.
    Fault(Option<usize>),
    /// Otherwise: the status as wait(2) tells it, and what was said.
    Other(i32, String),
}

/// The counters of all instrumented code: where they begin, and how many there are.
fn counters() -> (*mut u8, usize) {
    let (start, end): (*mut u8, *mut u8);
    // As declarations the two names would collide with those that the instrumentation makes.
    // SAFETY: addresses that the linker knows.
    unsafe {
        asm!("lea {}, [rip + __start___sancov_cntrs]", out(reg) start, options(pure, nomem, nostack));
        asm!("lea {}, [rip + __stop___sancov_cntrs]", out(reg) end, options(pure, nomem, nostack));
    }
    (start, end.addr() - start.addr())
}

/// The address of the fault, in memory that parent and child have in common; the child's counters lie behind it.
static REPORT: AtomicPtr<AtomicUsize> = AtomicPtr::new(ptr::null_mut());

/// The report, mapped at the first call.
fn report() -> (&'static AtomicUsize, *mut u8) {
    static MAPPED: OnceLock<()> = OnceLock::new();
    MAPPED.get_or_init(|| {
        let len = size_of::<AtomicUsize>() + counters().1;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "no memory for the report");
        REPORT.store(start.cast(), Ordering::Relaxed);
    });
    let start = REPORT.load(Ordering::Relaxed);
    // SAFETY: mapped above, for as long as the process lives.
    unsafe { (&*start, start.add(1).cast()) }
}

/// Leaves the counters behind. Safe in a signal handler.
fn leave_counters() {
    let (_, copy) = report();
    let (start, len) = counters();
    // SAFETY: the counters, which this process alone writes to, and the report, which has room for them.
    unsafe { copy.copy_from_nonoverlapping(start, len) };
}

/// Once only: it returns to what raised the signal, which then ends the process.
extern "C" fn before_the_end(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes what it knows of the signal; of a signal that is no fault the address means nothing.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    report().0.store(if code == SI_KERNEL { UNKNOWN } else { address }, Ordering::Relaxed);
    leave_counters();
}

fn watch_signals() {
    for signal in [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        // SAFETY: all zero is a valid value; the handler only copies memory.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = before_the_end as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
    // SAFETY: sets no handler of ours; a process that takes too long is ended by the signal.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(PATIENCE);
    }
}

/// Runs `script` in a child, and tells how that ended.
pub fn in_child(script: impl FnOnce()) -> End {
    let (fault, copy) = report();
    fault.store(0, Ordering::Relaxed);
    let mut ends = [0; 2];
    // SAFETY: two descriptors, into an array of two.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0, "no pipe");
    // SAFETY: see the top of this file.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child");
    if child == 0 {
        // SAFETY: the pipe takes the place of the standard error stream.
        unsafe { libc::dup2(ends[1], libc::STDERR_FILENO) };
        watch_signals();
        script();
        leave_counters();
        // SAFETY: ends the child without the exit handlers, which are the parent's.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: both ends are this process's own; the writing one is left to the child.
    let mut stderr = unsafe {
        libc::close(ends[1]);
        File::from_raw_fd(ends[0])
    };
    let mut said = Vec::new();
    stderr.read_to_end(&mut said).expect("a pipe can be read");
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child, "the child is there");
    let (start, len) = counters();
    // SAFETY: the child is gone; and nothing of this process's that counts runs meanwhile in another thread.
    let (own, childs) = unsafe { (slice::from_raw_parts_mut(start, len), slice::from_raw_parts(copy, len)) };
    own.iter_mut().zip(childs).for_each(|(own, child)| *own = (*own).max(*child));
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
        return End::Finished;
    }
    match libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)) {
        Some(libc::SIGABRT) => End::Aborted(said),
        Some(libc::SIGSEGV | libc::SIGBUS) => {
            End::Fault(Some(fault.load(Ordering::Relaxed)).filter(|&address| address != UNKNOWN))
        }
        _ => End::Other(status, said),
    }
}
