//! What depends on the architecture, one file each: raw system calls, the thread-local slot, the C library's own record
//! of the break. Another architecture is one more file with the same functions.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;
