//! What the fuzz targets of tests/fuzz reach beside the public interface; there only when built with `--cfg fuzzing`.
//!
//! # Safety
//!
//! Callers of what is unsafe pass blocks of the process's allocator.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use crate::global;
pub use crate::model::script::{Step, replay};

/// The `free` of C: takes a block back whose length the caller does not know.
///
/// # Safety
///
/// As for C's: `mem` is a block of this allocator that was not freed since.
pub unsafe fn free(mem: NonNull<u8>) {
    global::free(mem);
}
