//! Whether a thread of this process sleeps in a system call, so that it is in the middle of nothing else.
//!
//! `/proc/self/task/N/syscall` begins with the number of the call that a thread sleeps in, -1 where it sleeps for another reason (a page
//! that is not there, a debugger), and is `running` otherwise; see <https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html>. A
//! signal handler may sleep as well, and may have interrupted anything. While one runs its signal is blocked, so a thread that
//! blocks a signal which the process catches (`SigBlk` and `SigCgt` in `status`) is not said to sleep. What remains is a handler
//! with `SA_NODEFER` that sleeps.

use core::fmt::Write;

use super::file::{for_each_line, read};
use crate::fatal::Line;

/// The calls that make a child or wait for one: it may go on in its parent's memory while that sleeps, and as if it were that thread.
const FOR_CHILDREN: [i64; 6] =
    [libc::SYS_clone, libc::SYS_fork, libc::SYS_vfork, libc::SYS_clone3, libc::SYS_wait4, libc::SYS_waitid];

/// Whether the thread of this number sleeps in a system call and in no handler. `false` where the kernel does not tell.
pub(super) fn is_asleep(thread: u32) -> bool {
    // `status` has some 1,500 bytes, and more where the process has many groups. The stack may be a short one.
    let mut buffer = [0; 256];
    let is_in_call = path_of(thread, "syscall")
        .and_then(|path| read(path.as_bytes(), &mut buffer).map(is_in_call))
        .unwrap_or_default();
    if !is_in_call {
        return false;
    }
    let Some(path) = path_of(thread, "status") else { return false };
    let mut signals = Signals::default();
    for_each_line(path.as_bytes(), &mut buffer, |line| signals.note(line));
    signals.is_in_no_handler()
}

fn path_of(thread: u32, name: &str) -> Option<Line> {
    let mut path = Line::new();
    write!(path, "/proc/self/task/{thread}/{name}\0").ok()?;
    Some(path)
}

fn is_in_call(text: &[u8]) -> bool {
    let number = text.split(|&byte| byte == b' ').next().and_then(|number| core::str::from_utf8(number).ok());
    let number = number.and_then(|number| number.parse::<i64>().ok());
    number.is_some_and(|number| number >= 0 && !FOR_CHILDREN.contains(&number))
}

/// The signals that a thread blocks, and those that its process catches: a bit each.
#[derive(Default)]
struct Signals {
    blocked: Option<u64>,
    caught: Option<u64>,
}

impl Signals {
    /// A line of `status`.
    fn note(&mut self, line: &[u8]) {
        let mask = |text: &[u8]| u64::from_str_radix(core::str::from_utf8(text).ok()?.trim(), 16).ok();
        if let Some(text) = line.strip_prefix(b"SigBlk:") {
            self.blocked = mask(text);
        } else if let Some(text) = line.strip_prefix(b"SigCgt:") {
            self.caught = mask(text);
        }
    }

    fn is_in_no_handler(&self) -> bool {
        self.blocked.zip(self.caught).is_some_and(|(blocked, caught)| blocked & caught == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::Os;

    #[test]
    fn a_thread_sleeps_in_a_call_that_is_about_no_child() {
        assert!(is_in_call(b"202 0x7f12c 0x80 0x0 0x0 0x0 0x7f12c 0x7ffd08 0x7f4b2a\n"));
        assert!(is_in_call(b"0 0x0 0x7ffd 0x1 0x0 0x0 0x0 0x7ffd08 0x7f4b2a\n"));
        assert!(!is_in_call(b"58 0x0 0x7ffd 0x1 0x0 0x0 0x0 0x7ffd08 0x7f4b2a\n"));
        assert!(!is_in_call(b"61 0x0 0x7ffd 0x1 0x0 0x0 0x0 0x7ffd08 0x7f4b2a\n"));
        assert!(!is_in_call(b"-1 0x7ffd08 0x55b2a\n"));
        assert!(!is_in_call(b"running\n"));
        assert!(!is_in_call(b""));
    }

    #[test]
    fn a_thread_that_blocks_a_signal_which_is_caught_may_be_in_its_handler() {
        let status = |blocked: &str, caught: &str| {
            let lines = [("Name", "x"), ("SigPnd", "0000000000000000"), ("SigBlk", blocked), ("SigCgt", caught)];
            let mut signals = Signals::default();
            lines.iter().for_each(|(name, value)| signals.note(std::format!("{name}:\t{value}").as_bytes()));
            signals.is_in_no_handler()
        };
        assert!(status("0000000000000000", "0000000000004002"));
        assert!(status("0000000000010000", "0000000000004002"));
        assert!(!status("0000000000004000", "0000000000004002"));
        assert!(!Signals::default().is_in_no_handler());
    }

    #[test]
    fn a_thread_that_waits_is_asleep_and_one_that_calculates_is_not() {
        use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
        let (may_end, number) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                number.store(crate::os::linux::Linux::new().thread(), Ordering::Relaxed);
                while !may_end.load(Ordering::Relaxed) {
                    core::hint::spin_loop();
                }
                std::thread::park();
            });
            let number = loop {
                match number.load(Ordering::Relaxed) {
                    0 => std::thread::yield_now(),
                    number => break number,
                }
            };
            assert!((0..100).all(|_| !is_asleep(number)));
            may_end.store(true, Ordering::Relaxed);
            while !is_asleep(number) {
                std::thread::yield_now();
            }
            thread.thread().unpark();
        });
        assert!(!is_asleep(u32::MAX));
    }
}
