//! Blocks with guards: what the feature `hardened` puts around every request.
//!
//! Nothing here is compiled without the feature. With it no request goes the fast paths: each passes through this file
//! on its way to the allocator, and each block on its way back.
//!
//! ```text
//!   request of n bytes     | n bytes the user asked for | pad ... | canary |  next head
//!                                                       all known bytes, looked at when the block is freed
//!   request of 0 bytes     an address without access, see guarded::nothing
//!   free                   heads, size, alignment, canary looked at; filled; into the quarantine
//!   out of the quarantine  the fill is looked at, and the block is freed in earnest
//! ```
//!
//! The canary is the length of the pad, masked with the block's address and the process's secret, so the block knows how
//! long it was asked to be. That is what `malloc_usable_size` says then, and what a sized free is held against.
//!
//! # Safety
//!
//! Guards lie within the chunk of a block that this file has made longer for them, and a block in the quarantine is
//! nobody else's.
#![allow(unsafe_code)]

pub(crate) mod nothing;
pub(crate) mod quarantine;

use core::ptr::NonNull;

use crate::fatal::{Misuse, check, fatal};
use crate::malloc::Malloc;
use crate::os::Os;
use crate::secret;

/// Bytes that a block is longer than asked for.
pub(crate) const GUARD: usize = size_of::<u64>();
/// What the bytes between the request's end and the canary hold.
const PAD: u8 = 0xC3;

fn canary_of(mem: NonNull<u8>) -> u64 {
    mem.addr().get() as u64 ^ (secret::mask() as u64).rotate_left(17)
}

/// Writes the guards of a block of `whole` usable bytes of which `bytes` were asked for.
pub(crate) fn set(mem: NonNull<u8>, bytes: usize, whole: usize) {
    let pad = whole - GUARD - bytes;
    // SAFETY: the pad lies between the request's end and the canary, within the block.
    unsafe { mem.add(bytes).write_bytes(PAD, pad) };
    // SAFETY: the last word of the block.
    let place = unsafe { mem.add(whole - GUARD) };
    // SAFETY: as above; usable lengths are multiples of eight, and so is a block's address.
    unsafe { place.cast::<u64>().write(canary_of(mem) ^ pad as u64) };
}

/// How many bytes a block of `whole` usable bytes was asked for; guards that are not whole end the process.
pub(crate) fn checked_len(mem: NonNull<u8>, whole: usize) -> usize {
    // SAFETY: the last word of a block.
    let place = unsafe { mem.add(whole - GUARD) };
    // SAFETY: as above, aligned as in `set`.
    let pad = (unsafe { place.cast::<u64>().read() } ^ canary_of(mem)) as usize;
    check!(pad <= whole - GUARD, GuardOverwritten, mem.addr().get());
    let bytes = whole - GUARD - pad;
    for at in bytes..bytes + pad {
        // SAFETY: within the block.
        check!(unsafe { mem.add(at).read() } == PAD, GuardOverwritten, mem.addr().get());
    }
    bytes
}

impl<O: Os> Malloc<O> {
    /// How many bytes a block was asked for, after a look at everything that it carries.
    pub(crate) fn guarded_len(&self, mem: NonNull<u8>) -> usize {
        checked_len(mem, self.checked_usable(mem))
    }

    /// Ends the process unless a block was asked for with exactly `bytes` and `alignment`.
    pub(crate) fn check_guarded_size(&self, mem: NonNull<u8>, bytes: usize, alignment: usize) {
        let is_aligned = alignment.is_power_of_two() && mem.addr().get().is_multiple_of(alignment);
        if !is_aligned || self.guarded_len(mem) != bytes {
            fatal(Misuse::WrongSize, mem.addr().get());
        }
    }
}
