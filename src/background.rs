//! The background thread, for processes that fall silent.
//!
//! Memory that lies unused goes back at the next request of any thread, so a process that makes no requests at all keeps
//! what it has. Who wants it back even then sets `BACKGROUND_THREAD`: a thread sleeps until there is something to give
//! back, and looks at the clock until there is nothing any more. With `PRESSURE_MS` it also looks once a second whether the
//! machine is short of memory. It is made when it is first needed, by a request that
//! holds no lock, and again in the child of a fork:
//!
//! ```text
//!   NONE --a purge is due, and the option is set--> MADE --asleep until the bell rings, or for a tick--+
//!    ^                                                |                                                 |
//!    +---------- the option is cleared ---------------+<--------------------- looks at the clock -------+
//! ```
//!
//! All signals are blocked in it, its name is `heapwright`, and it allocates nothing.
//!
//! A process whose main thread ends by `pthread_exit` ends with the last of its threads, and that shall not be this one. So from
//! then on it looks every now and then whether it is, and if so it ends as well; the C library calls `exit` then.
//!
//! # Safety
//!
//! Calls of the C library with the arguments that POSIX gives; the thread uses nothing that could be gone before it.
#![allow(unsafe_code)]

mod pressure;

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use crate::arch;
use crate::global;
use crate::options::Param;
use crate::os::linux::file::read;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use pressure::{PERIOD_MS, Pressure};

/// Whether there is a background thread.
static STATE: AtomicU32 = AtomicU32::new(NONE);
const NONE: u32 = 0;
const MADE: u32 = 1;

/// Whether the main thread is about to end, or has ended.
static HAS_MAIN_ENDED: AtomicBool = AtomicBool::new(false);
/// How often the thread looks whether it is the last one then, in milliseconds.
const LOOK_MS: usize = 100;

/// Bytes of its stack: it calls little, and nothing deeply; but what is to be done at the exit of a process may be done on it.
const STACK_LEN: usize = 1 << 20;

/// A purge is due: makes the thread if it is wanted and not there. Called while no lock is held.
pub(crate) fn make_if_wanted() {
    if global::malloc().source.params.wants_thread()
        && STATE.load(Ordering::Relaxed) == NONE
        && STATE.compare_exchange(NONE, MADE, Ordering::Acquire, Ordering::Relaxed).is_ok()
        && !make()
    {
        // Refused: the next look tries again.
        STATE.store(NONE, Ordering::Release);
    }
}

/// A parameter was set: the thread sees whether it is still wanted.
pub(crate) fn note_change() {
    global::malloc().ring();
}

/// The calling thread ends.
pub(crate) fn note_thread_end() {
    if global::malloc().source.params.wants_thread() {
        let of_this = |call| {
            // SAFETY: getpid(2) and gettid(2) have no arguments.
            unsafe { arch::syscall(call, [0; 6]) }
        };
        if of_this(libc::SYS_gettid) == of_this(libc::SYS_getpid) {
            HAS_MAIN_ENDED.store(true, Ordering::Relaxed);
            global::malloc().ring();
        }
    }
}

/// In the child of a fork there is no such thread, and the one that forked is the main thread.
pub(crate) fn forget_in_child() {
    STATE.store(NONE, Ordering::Relaxed);
    HAS_MAIN_ENDED.store(false, Ordering::Relaxed);
}

/// Makes the thread, all signals blocked; `errno` is as it was afterwards.
fn make() -> bool {
    // SAFETY: the address of the calling thread's errno.
    let errno = unsafe { *libc::__errno_location() };
    let made = make_blocked();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    made
}

fn make_blocked() -> bool {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: writes the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: reads the set of the line above, writes the mask that it replaces.
    if unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) } != 0 {
        return false;
    }
    let made = make_thread();
    // SAFETY: the mask that was replaced above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    made
}

fn make_thread() -> bool {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: makes the attributes.
    if unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } != 0 {
        return false;
    }
    let attributes_ptr = attributes.as_mut_ptr();
    // SAFETY: made above. Where the stack is refused as too short the default one serves.
    unsafe { libc::pthread_attr_setstacksize(attributes_ptr, STACK_LEN) };
    // SAFETY: made above: nobody waits for the thread's end.
    unsafe { libc::pthread_attr_setdetachstate(attributes_ptr, libc::PTHREAD_CREATE_DETACHED) };
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: attributes as made above; the function lives as long as the process: the library is never unloaded.
    let made = unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes_ptr, run, ptr::null_mut()) == 0 };
    // SAFETY: made above, and used by nobody any more.
    unsafe { libc::pthread_attr_destroy(attributes_ptr) };
    made
}

extern "C" fn run(_: *mut c_void) -> *mut c_void {
    global::serve_without_cache();
    let name = c"heapwright";
    // SAFETY: prctl(2) reads the name up to its zero byte.
    let _ = unsafe { arch::syscall(libc::SYS_prctl, [libc::PR_SET_NAME as usize, name.as_ptr().addr(), 0, 0, 0, 0]) };
    if threads_left_by_main().is_some() {
        // Before anybody wanted to know.
        HAS_MAIN_ENDED.store(true, Ordering::Relaxed);
    }
    let malloc = global::malloc();
    let mut pressure = Pressure::new();
    while malloc.source.params.wants_thread() {
        let now = malloc.look_at_clock();
        let limit = malloc.source.params.get(Param::PressureMs);
        if limit > 0 && pressure.is_felt(limit, now) {
            global::trim(0);
        }
        let has_main_ended = HAS_MAIN_ENDED.load(Ordering::Relaxed);
        if has_main_ended && is_last() {
            let mut none = MaybeUninit::uninit();
            // SAFETY: writes the set.
            unsafe { libc::sigemptyset(none.as_mut_ptr()) };
            // SAFETY: the set of the line above. What runs at the exit of the process may be interrupted.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
            break;
        }
        let most = if limit > 0 { Some(PERIOD_MS as usize) } else { None };
        malloc.wait_until_due(if has_main_ended { Some(LOOK_MS) } else { most });
    }
    STATE.store(NONE, Ordering::Release);
    ptr::null_mut()
}

/// Whether the process has no thread but the calling one and the main thread, which has ended. `false` where /proc cannot be read.
fn is_last() -> bool {
    threads_left_by_main().is_some_and(|left| left <= 1)
}

fn threads_left_by_main() -> Option<usize> {
    let mut buffer = [0; 1024];
    read(b"/proc/self/stat\0", &mut buffer).and_then(threads_left)
}

/// How many threads there are besides a main thread that has ended: what `/proc/self/stat` says. `None` while that runs.
///
/// See <https://docs.kernel.org/filesystems/proc.html#id10>: the state is the third field, the number of threads the twentieth, and the
/// second may hold anything between its parentheses.
fn threads_left(stat: &[u8]) -> Option<usize> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat[name_end + 1..].split(|&byte| byte == b' ').skip(1);
    let has_ended = fields.next()? == b"Z";
    let threads: usize = core::str::from_utf8(fields.nth(16)?).ok()?.parse().ok()?;
    has_ended.then(|| threads.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_once_the_main_one_has_ended() {
        let stat = |state: &str, threads: u32| {
            std::format!(
                "42 (a) S b) {state} 1 42 42 0 -1 4228100 81 0 0 0 0 0 0 0 20 0 {threads} 0 9 0 0 18446744073709551615\n"
            )
        };
        assert_eq!(threads_left(stat("Z", 2).as_bytes()), Some(1));
        assert_eq!(threads_left(stat("Z", 7).as_bytes()), Some(6));
        assert_eq!(threads_left(stat("S", 2).as_bytes()), None);
        assert_eq!(threads_left(b""), None);
        assert_eq!(threads_left(b"42 (a"), None);
    }
}
