//! Whose the break is.
//!
//! A process has one break, and the C library's malloc believes that it is its own. Two cases:
//!
//! - **We are the process's malloc** (the preload library, feature `override`): nobody else grows the heap, so we move
//!   the break by the C library's `sbrk` and stay in step with it; a foreign `sbrk` between two of ours shows in the
//!   result.
//! - **A plain Rust program**: C code in the process still uses the C library's malloc, which moves the same break
//!   without a lock in common. Measured: 36 of 40 rounds with two threads on each side end corrupted or dead. So we take the
//!   break over: glibc's public record of it, `__curbrk`, is set to the highest address, whereupon its own `sbrk` fails
//!   before it reaches the kernel and its malloc goes to mmap, as it does whenever the break is refused. We then move
//!   the break by system call. This is done once, while the process has one thread; a self-check makes sure that it
//!   worked, and each later move looks again, because a program's own `sbrk(-n)` or `brk(address)` undoes it. Where it
//!   cannot be done (no such symbol, threads already running, somebody did it before us), the break is refused and the
//!   main arena lives in mappings.
//!
//! # Safety
//!
//! The kernel's break is moved only upwards, or down over memory that the caller gives up.
#![allow(unsafe_code)]

use core::ptr::NonNull;

#[cfg(any(feature = "preload", feature = "override"))]
pub(super) use shared::BreakOwner;
#[cfg(not(any(feature = "preload", feature = "override")))]
pub(super) use taken::BreakOwner;

fn some_address(address: *mut u8) -> Option<NonNull<u8>> {
    NonNull::new(address).filter(|address| address.addr().get() != usize::MAX)
}

#[cfg(any(feature = "preload", feature = "override"))]
mod shared {
    use super::{NonNull, some_address};

    /// We are the process's malloc: the break is moved by the C library.
    #[derive(Debug)]
    pub(in super::super) struct BreakOwner;

    impl BreakOwner {
        pub(in super::super) const fn new() -> Self {
            Self
        }

        /// # Safety
        ///
        /// - As for [`Os::move_break`](super::super::Os::move_break).
        pub(in super::super) unsafe fn move_break(&self, delta: isize) -> Option<NonNull<u8>> {
            // SAFETY: `__errno_location` returns the address of the calling thread's errno.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: as above; free must keep it, and a refused break is not yet a failure of malloc.
            let before = unsafe { *errno };
            // SAFETY: the caller's promise.
            let previous = some_address(unsafe { libc::sbrk(delta) }.cast());
            let moved = previous.filter(|previous| {
                let wanted = previous.addr().get().wrapping_add_signed(delta);
                // A filter between us and the kernel may answer with an error number, which the C library takes for an
                // address above the one that it wanted: then its record is put right.
                // SAFETY: sbrk(0) only tells where the C library believes the break to be.
                let has_moved = delta == 0 || unsafe { libc::sbrk(0) }.addr() == wanted;
                if !has_moved {
                    // SAFETY: asks for the break to be where it is.
                    unsafe { libc::brk(previous.as_ptr().cast()) };
                }
                has_moved
            });
            // SAFETY: as above.
            unsafe { *errno = before };
            moved
        }
    }
}

#[cfg(not(any(feature = "preload", feature = "override")))]
mod taken {
    use super::{NonNull, some_address};
    use crate::arch::{is_single_threaded, libc_break, syscall};
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

    const UNDECIDED: u8 = 0;
    const OURS: u8 = 1;
    const REFUSED: u8 = 2;

    /// C code has a malloc of its own: the break is taken over, or left alone.
    #[derive(Debug)]
    pub(in super::super) struct BreakOwner {
        decision: AtomicU8,
    }

    impl BreakOwner {
        pub(in super::super) const fn new() -> Self {
            Self { decision: AtomicU8::new(UNDECIDED) }
        }

        /// # Safety
        ///
        /// - As for [`Os::move_break`](super::super::Os::move_break).
        pub(in super::super) unsafe fn move_break(&self, delta: isize) -> Option<NonNull<u8>> {
            let record = self.record()?;
            if record.load(Ordering::Relaxed) != POISON {
                // Somebody's sbrk(-n) or brk(address) has put a real address back.
                record.store(POISON, Ordering::Relaxed);
            }
            let current = raw_break(0)?;
            if delta == 0 {
                return Some(current);
            }
            let wanted = current.addr().get().checked_add_signed(delta)?;
            let reached = raw_break(wanted)?;
            (reached.addr().get() == wanted).then_some(current)
        }

        /// glibc's record of the break when it is ours to set. Decided at the first call, under the arena's lock.
        fn record(&self) -> Option<&'static AtomicPtr<u8>> {
            match self.decision.load(Ordering::Relaxed) {
                OURS => libc_break(),
                REFUSED => None,
                _ => {
                    let record = take_over();
                    let decision = if record.is_some() { OURS } else { REFUSED };
                    self.decision.store(decision, Ordering::Relaxed);
                    record
                }
            }
        }
    }

    /// A break so high that every growth by the C library overflows: refused without a system call.
    const POISON: *mut u8 = ptr::without_provenance_mut(usize::MAX);

    fn take_over() -> Option<&'static AtomicPtr<u8>> {
        let record = libc_break()?;
        let before = record.load(Ordering::Relaxed);
        if !is_single_threaded() || before == POISON {
            return None;
        }
        record.store(POISON, Ordering::Relaxed);
        // SAFETY: `__errno_location` returns the address of the calling thread's errno.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        let errno_before = unsafe { *errno };
        // SAFETY: the self-check: growth that must be refused changes nothing.
        let refused = some_address(unsafe { libc::sbrk(4096) }.cast()).is_none();
        // SAFETY: as above.
        unsafe { *errno = errno_before };
        if refused && record.load(Ordering::Relaxed) == POISON {
            return Some(record);
        }
        record.store(before, Ordering::Relaxed);
        None
    }

    /// brk(2) as the kernel has it: the break afterwards, whether it moved or not.
    fn raw_break(address: usize) -> Option<NonNull<u8>> {
        // SAFETY: 0 only asks; otherwise the caller of `move_break` has promised what it promises.
        let reached = unsafe { syscall(libc::SYS_brk, [address, 0, 0, 0, 0, 0]) };
        NonNull::new(ptr::with_exposed_provenance_mut(reached as usize))
    }
}
