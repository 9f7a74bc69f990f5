//! Short files of the system, read into the stack.
//!
//! # Safety
//!
//! System calls on the caller's buffer.
#![allow(unsafe_code)]

use crate::arch::syscall;

/// What the file at `path` (which ends with a zero byte) holds, as far as it fits.
pub(crate) fn read<'a>(path: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    debug_assert_eq!(path.last(), Some(&0));
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let at = libc::AT_FDCWD as usize;
    // SAFETY: openat(2) reads the path up to its zero byte.
    let file = unsafe { syscall(libc::SYS_openat, [at, path.as_ptr() as usize, flags, 0, 0, 0]) };
    if file < 0 {
        return None;
    }
    // SAFETY: read(2) writes at most `buffer.len()` bytes to the buffer.
    let len = unsafe { syscall(libc::SYS_read, [file as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) };
    // SAFETY: the descriptor was opened above and is nobody else's.
    let _ = unsafe { syscall(libc::SYS_close, [file as usize, 0, 0, 0, 0, 0]) };
    buffer.get(..usize::try_from(len).ok()?)
}
