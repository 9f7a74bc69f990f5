//! Blocks of nothing: what a request of 0 bytes gets in a hardened build.
//!
//! Such a block has an address of its own and no byte that can be used. So it lies in a reservation without access, where any
//! read or write through it is a fault. One bit says whether an address is given out:
//!
//! ```text
//!   reservation, no access    | 16 | 16 | 16 | ...            65,536 addresses
//!   map                       | 1  | 0  | 1  | ...
//! ```

use core::ptr::NonNull;

use crate::fatal::check;
use crate::os::Os;
use crate::size::ALIGNMENT;
use crate::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

const ADDRESSES: usize = 1 << 16;
const LEN: usize = ADDRESSES * ALIGNMENT;

/// The addresses, and which of them are given out.
#[derive(Debug)]
pub(crate) struct Nothing {
    start: AtomicPtr<u8>,
    map: [AtomicU64; ADDRESSES / 64],
    /// Where the next search begins.
    next: AtomicUsize,
}

impl Nothing {
    pub(crate) const fn new() -> Self {
        Self {
            start: AtomicPtr::new(core::ptr::null_mut()),
            map: [const { AtomicU64::new(0) }; ADDRESSES / 64],
            next: AtomicUsize::new(0),
        }
    }

    /// An address that nobody has. `None` when all are given out, or cannot be reserved.
    pub(crate) fn take<O: Os>(&self, os: &O) -> Option<NonNull<u8>> {
        let start = self.start(os)?;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for step in 0..self.map.len() {
            let word = (first / 64 + step) % self.map.len();
            let mut seen = self.map[word].load(Ordering::Relaxed);
            while seen != u64::MAX {
                let bit = seen.trailing_ones();
                match self.map[word].compare_exchange(seen, seen | 1 << bit, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => {
                        let offset = (word * 64 + bit as usize) * ALIGNMENT;
                        return NonNull::new(start.as_ptr().map_addr(|address| address + offset));
                    }
                    Err(other) => seen = other,
                }
            }
        }
        None
    }

    fn start<O: Os>(&self, os: &O) -> Option<NonNull<u8>> {
        if let Some(start) = NonNull::new(self.start.load(Ordering::Acquire)) {
            return Some(start);
        }
        let start = os.reserve(0, LEN)?;
        match self.start.compare_exchange(core::ptr::null_mut(), start.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(start),
            // Another thread was faster; a reservation of nothing is not worth a call to give it back.
            Err(other) => NonNull::new(other),
        }
    }

    /// Whether `mem` lies among the addresses.
    pub(crate) fn contains(&self, mem: NonNull<u8>) -> bool {
        let start = self.start.load(Ordering::Acquire).addr();
        start != 0 && mem.addr().get().wrapping_sub(start) < LEN
    }

    fn bit(&self, mem: NonNull<u8>) -> (&AtomicU64, u64) {
        let address = mem.addr().get();
        check!(address.is_multiple_of(ALIGNMENT), MisalignedPointer, address);
        let index = (address - self.start.load(Ordering::Acquire).addr()) / ALIGNMENT;
        (&self.map[index / 64], 1 << (index % 64))
    }

    /// Ends the process unless `mem` is given out.
    pub(crate) fn check(&self, mem: NonNull<u8>) {
        let (word, bit) = self.bit(mem);
        check!(word.load(Ordering::Relaxed) & bit != 0, DoubleFree, mem.addr().get());
    }

    /// Takes an address back.
    pub(crate) fn put(&self, mem: NonNull<u8>) {
        let (word, bit) = self.bit(mem);
        check!(word.fetch_and(!bit, Ordering::Relaxed) & bit != 0, DoubleFree, mem.addr().get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::FakeOs;

    #[test]
    fn addresses_are_unique_and_come_back() {
        let os = FakeOs::new();
        let nothing = std::boxed::Box::new(Nothing::new());
        let first = nothing.take(&os).expect("there are addresses");
        let second = nothing.take(&os).expect("there are addresses");
        assert!(first != second && nothing.contains(first) && nothing.contains(second));
        nothing.put(first);
        nothing.check(second);
        nothing.put(second);
    }

    #[test]
    #[should_panic(expected = "double free")]
    fn a_second_free_is_found() {
        let os = FakeOs::new();
        let nothing = std::boxed::Box::new(Nothing::new());
        let mem = nothing.take(&os).expect("there are addresses");
        nothing.put(mem);
        nothing.put(mem);
    }
}
