//! The C library's list of streams, whose lock a fork takes after all handlers.
//!
//! That would be after this allocator's locks, and threads take them the other way round:
//!
//! ```text
//!   fork           has the arenas,           waits for the list
//!   fflush(NULL)   has the list,             waits for a stream
//!   getline        has the stream,           waits for an arena
//! ```
//!
//! The C library's own malloc is locked behind the list (<https://sourceware.org/bugzilla/show_bug.cgi?id=19431>), and so
//! is this one: the lock is recursive, and the fork finds that its thread has it.
//!
//! # Safety
//!
//! Two functions that glibc exports to take and release that lock; they allocate nothing.
#![allow(unsafe_code)]

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    safe fn _IO_list_lock();
    safe fn _IO_list_unlock();
}

/// Before this allocator's locks are taken for a fork.
pub(super) fn lock() {
    #[cfg(target_env = "gnu")]
    _IO_list_lock();
}

/// After a fork, in the parent. In the child the C library has made the lock anew.
pub(super) fn unlock_in_parent() {
    #[cfg(target_env = "gnu")]
    _IO_list_unlock();
}
