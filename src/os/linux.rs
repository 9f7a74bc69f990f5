//! Linux: the only memory system calls of the crate.
//!
//! All calls but those on the break are made inline, so that `errno` is never touched. Mappings are private and
//! anonymous. A heap's reservation is `PROT_NONE` and `MAP_NORESERVE`: it counts as address space, not as memory.
//!
//! # Safety
//!
//! System calls by number, with the arguments that the manual pages give; the callers' promises are those of [`Os`].
#![allow(unsafe_code)]

mod asleep;
mod break_owner;
mod cores;
pub(crate) mod file;
mod group;
pub(crate) mod pressure;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::Os;
use crate::arch::{ADDRESS_BITS, PAGE_LEN, syscall};
use crate::lineage::Lineage;
use break_owner::BreakOwner;

/// The running kernel.
#[derive(Debug)]
pub(crate) struct Linux {
    page_len: AtomicUsize,
    break_owner: BreakOwner,
    /// What the wiped word is in a process that is in order.
    expected: AtomicU32,
}

/// One page, all zero at first, of which the kernel gives no copy to a child that does not share our memory.
#[repr(C, align(4096))]
struct Page([AtomicU32; PAGE_LEN / size_of::<u32>()]);

static WIPED: Page = Page([const { AtomicU32::new(0) }; PAGE_LEN / size_of::<u32>()]);
const _: () = assert!(align_of::<Page>() == PAGE_LEN && size_of::<Page>() == PAGE_LEN);

impl Linux {
    pub(crate) const fn new() -> Self {
        Self { page_len: AtomicUsize::new(0), break_owner: BreakOwner::new(), expected: AtomicU32::new(0) }
    }
}

/// Places for heaps: the whole of the addresses that a process can have.
const HEAP_PLACES: usize = (1 << ADDRESS_BITS) / Linux::HEAP_LEN;

const READ_WRITE: usize = (libc::PROT_READ | libc::PROT_WRITE) as usize;
const NONE: usize = libc::PROT_NONE as usize;
const ANONYMOUS: usize = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
const RESERVED: usize = ANONYMOUS | libc::MAP_NORESERVE as usize;
const NO_FILE: usize = usize::MAX;

/// The address that a mapping call returned, or `None` for an error number.
fn mapped(result: isize) -> Option<NonNull<u8>> {
    if (-4095..0).contains(&result) {
        return None;
    }
    // A new mapping: its provenance begins here.
    NonNull::new(core::ptr::with_exposed_provenance_mut(result as usize))
}

fn mmap(address: usize, len: usize, protection: usize, flags: usize) -> Option<NonNull<u8>> {
    // SAFETY: without MAP_FIXED a new mapping replaces nothing.
    let result = unsafe { syscall(libc::SYS_mmap, [address, len, protection, flags, NO_FILE, 0]) };
    mapped(result)
}

/// Whether a command of membarrier(2) was carried out. Kernels before 4.14 do not know these.
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: changes no memory.
    unsafe { syscall(libc::SYS_membarrier, [command as usize, 0, 0, 0, 0, 0]) == 0 }
}

// SAFETY: anonymous private mappings are fresh zeroed memory of this process; the break is moved as `break_owner` says.
unsafe impl Os for Linux {
    const HEAP_LEN: usize = 64 << 20;

    type HeapBits = [AtomicU64; HEAP_PLACES / 64];
    #[expect(clippy::declare_interior_mutable_const, reason = "a value to begin with")]
    const NO_HEAPS: Self::HeapBits = [const { AtomicU64::new(0) }; HEAP_PLACES / 64];

    fn page_len(&self) -> usize {
        let known = self.page_len.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        // SAFETY: getauxval reads what the kernel left at process start.
        let len = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
        let len = if len.is_power_of_two() { len } else { 4096 };
        self.page_len.store(len, Ordering::Relaxed);
        len
    }

    fn lowest_heap(&self) -> usize {
        0
    }

    fn random(&self) -> [u64; 2] {
        const NON_BLOCKING: usize = 1;
        let mut bits = [0u64; 2];
        let len = size_of_val(&bits);
        // SAFETY: getrandom(2) writes at most `len` bytes to `bits`.
        let got = unsafe { syscall(libc::SYS_getrandom, [(&raw mut bits) as usize, len, NON_BLOCKING, 0, 0, 0]) };
        if got == len as isize {
            return bits;
        }
        // Refused (a filter, or the pool is not ready): what the kernel left at process start, and where things lie.
        // SAFETY: getauxval reads what the kernel left at process start.
        let seed = unsafe { libc::getauxval(libc::AT_RANDOM) } as usize;
        // SAFETY: AT_RANDOM, when there, is the address of 16 random bytes.
        let seed = unsafe { core::ptr::with_exposed_provenance::<[u64; 2]>(seed).as_ref() };
        let [low, high] = seed.copied().unwrap_or([0; 2]);
        let here = (&raw const bits) as u64;
        [low ^ here.rotate_left(32), high.wrapping_add(self as *const Self as u64)]
    }

    fn usable_cores(&self) -> usize {
        cores::usable()
    }

    fn is_readable(&self, address: usize) -> bool {
        // An operation that rt_sigprocmask(2) does not know is refused after the mask has been read: EFAULT tells that it
        // could not be. No other call looks at a word so cheaply, and none of those that programs are denied does.
        const NO_OPERATION: usize = usize::MAX;
        // SAFETY: the kernel reads eight bytes, or says that it cannot; nothing is changed.
        let result = unsafe { syscall(libc::SYS_rt_sigprocmask, [NO_OPERATION, address, 0, 8, 0, 0]) };
        result != -(libc::EFAULT as isize)
    }

    fn now(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime(2) writes one timespec; this clock is read in user space and always there.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
        time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
    }

    fn watch_copies(&self) {
        let advice = libc::MADV_WIPEONFORK as usize;
        let page = (&raw const WIPED).addr();
        // SAFETY: madvise(2) with this advice changes nothing in this process. Kernels before 4.14 do not know it.
        if unsafe { syscall(libc::SYS_madvise, [page, PAGE_LEN, advice, 0, 0, 0]) } == 0 {
            self.lineage().begin();
        }
    }

    #[inline(always)]
    fn lineage(&self) -> Lineage<'_> {
        Lineage { word: &WIPED.0[0], expected: &self.expected }
    }

    fn make_barrier(&self) -> bool {
        membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    fn prepare_barriers(&self) {
        membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    }

    fn thread(&self) -> u32 {
        // SAFETY: gettid(2) has no arguments.
        unsafe { syscall(libc::SYS_gettid, [0; 6]) as u32 }
    }

    fn is_asleep(&self, thread: u32) -> bool {
        asleep::is_asleep(thread)
    }

    fn pause(&self) {
        // SAFETY: sched_yield(2) has no arguments.
        let _ = unsafe { syscall(libc::SYS_sched_yield, [0; 6]) };
    }

    unsafe fn move_break(&self, delta: isize) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.break_owner.move_break(delta) }
    }

    fn reserve(&self, hint: usize, len: usize) -> Option<NonNull<u8>> {
        mmap(hint, len, NONE, RESERVED)
    }

    fn reserve_at(&self, address: usize, len: usize) -> Option<NonNull<u8>> {
        let start = mmap(address, len, NONE, RESERVED | libc::MAP_FIXED_NOREPLACE as usize)?;
        if start.addr().get() == address {
            return Some(start);
        }
        // Kernels before 4.17 take the flag for a hint.
        // SAFETY: the mapping was made above, and nobody knows of it.
        unsafe { self.release(start, len) };
        None
    }

    unsafe fn commit(&self, start: NonNull<u8>, len: usize) -> bool {
        // SAFETY: mprotect(2) on a range that the caller owns.
        unsafe { syscall(libc::SYS_mprotect, [start.addr().get(), len, READ_WRITE, 0, 0, 0]) == 0 }
    }

    unsafe fn decommit(&self, start: NonNull<u8>, len: usize) -> bool {
        // One call that frees the pages, makes them inaccessible, and takes them off the commit charge.
        let flags = RESERVED | libc::MAP_FIXED as usize;
        // SAFETY: mmap(2) replaces a range that the caller owns and does not use any more.
        let result = unsafe { syscall(libc::SYS_mmap, [start.addr().get(), len, NONE, flags, NO_FILE, 0]) };
        mapped(result).is_some()
    }

    unsafe fn purge(&self, start: NonNull<u8>, len: usize) -> bool {
        let advice = libc::MADV_DONTNEED as usize;
        // SAFETY: madvise(2) drops the contents of a range that the caller does not use any more.
        unsafe { syscall(libc::SYS_madvise, [start.addr().get(), len, advice, 0, 0, 0]) == 0 }
    }

    fn map(&self, len: usize) -> Option<NonNull<u8>> {
        mmap(0, len, READ_WRITE, ANONYMOUS)
    }

    fn map_huge(&self, len: usize, page: usize) -> Option<NonNull<u8>> {
        let size = (page.ilog2() as usize) << libc::MAP_HUGE_SHIFT;
        mmap(0, len, READ_WRITE, ANONYMOUS | libc::MAP_HUGETLB as usize | size)
    }

    unsafe fn advise_huge(&self, start: NonNull<u8>, len: usize) -> bool {
        let advice = libc::MADV_HUGEPAGE as usize;
        // SAFETY: madvise(2) with this advice changes no contents.
        unsafe { syscall(libc::SYS_madvise, [start.addr().get(), len, advice, 0, 0, 0]) == 0 }
    }

    unsafe fn advise_small(&self, start: NonNull<u8>, len: usize) -> bool {
        let advice = libc::MADV_NOHUGEPAGE as usize;
        // SAFETY: as above.
        unsafe { syscall(libc::SYS_madvise, [start.addr().get(), len, advice, 0, 0, 0]) == 0 }
    }

    unsafe fn remap(&self, start: NonNull<u8>, len: usize, new_len: usize, may_move: bool) -> Option<NonNull<u8>> {
        let flags = if may_move { libc::MREMAP_MAYMOVE as usize } else { 0 };
        // SAFETY: mremap(2) on a range that the caller owns.
        let result = unsafe { syscall(libc::SYS_mremap, [start.addr().get(), len, new_len, flags, 0, 0]) };
        mapped(result)
    }

    unsafe fn release(&self, start: NonNull<u8>, len: usize) -> bool {
        // SAFETY: munmap(2) on a range that the caller owns and does not use any more.
        unsafe { syscall(libc::SYS_munmap, [start.addr().get(), len, 0, 0, 0, 0]) == 0 }
    }
}
