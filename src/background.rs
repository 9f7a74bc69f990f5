//! The background thread, for processes that fall silent.
//!
//! Memory that lies unused goes back at the next request of any thread, so a process that makes no requests at all keeps
//! what it has. Who wants it back even then sets `BACKGROUND_THREAD`: a thread sleeps until there is something to give
//! back, and looks at the clock until there is nothing any more. It is made when it is first needed, by a request that
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
//! # Safety
//!
//! Calls of the C library with the arguments that POSIX gives; the thread uses nothing that could be gone before it.
#![allow(unsafe_code)]

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use crate::arch;
use crate::global;
use crate::options::Param;
use crate::sync::atomic::{AtomicU32, Ordering};

/// Whether there is a background thread.
static STATE: AtomicU32 = AtomicU32::new(NONE);
const NONE: u32 = 0;
const MADE: u32 = 1;

/// Bytes of its stack: it calls little, and nothing deeply.
const STACK_LEN: usize = 64 << 10;

/// A purge is due: makes the thread if it is wanted and not there. Called while no lock is held.
pub(crate) fn make_if_wanted() {
    if global::malloc().source.params.get(Param::BackgroundThread) != 0
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

/// In the child of a fork there is no such thread.
pub(crate) fn forget_in_child() {
    STATE.store(NONE, Ordering::Relaxed);
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
    let malloc = global::malloc();
    while malloc.source.params.get(Param::BackgroundThread) != 0 {
        malloc.look_at_clock();
        malloc.wait_until_due();
    }
    STATE.store(NONE, Ordering::Release);
    ptr::null_mut()
}
