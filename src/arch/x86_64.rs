//! x86-64: the `syscall` instruction, the `fs` segment and the symbols of the C library that are reached by assembly.
//!
//! System calls are made inline because `libc::syscall` writes `errno`, and `free` must keep it. The thread-local slot
//! is one pointer in initial-exec form in every kind of output: Rust's own `thread_local!` is a call to
//! `__tls_get_addr` in a shared library, and that call may itself allocate (it resizes the thread's table of modules).
//!
//! # Safety
//!
//! Assembly: each block touches only its named registers and the memory the system call is documented to touch.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
#[cfg(not(any(feature = "preload", feature = "override")))]
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::AtomicU8;

/// The width of a pointer in bits.
pub(crate) const POINTER_WIDTH: u32 = usize::BITS;
/// Bits of a user-space address, unless a mapping asks for more by its hint, and ours never do.
pub(crate) const ADDRESS_BITS: u32 = 47;
/// The length of a page in bytes; the architecture has no other for memory of this kind.
pub(crate) const PAGE_LEN: usize = 4096;

/// The length of a cache line in bytes: what a core takes from others when it writes to any of it.
pub(crate) const CACHE_LINE: usize = 64;

/// The length of a huge page that the processor maps by one entry of its second-lowest table.
pub(crate) const HUGE_PAGE_LEN: usize = 2 << 20;

/// Makes a system call with up to six arguments; a result in `-4095..0` is an error number, negated.
///
/// # Safety
///
/// - The call with these arguments must not break memory safety.
#[inline]
pub(crate) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the call; rcx and r11 are the registers that the instruction itself overwrites.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Writes `line` to the standard error stream in one system call. Errors have nowhere to go and are dropped.
pub(crate) fn write_stderr(line: &[u8]) {
    // SAFETY: write(2) reads `line.len()` bytes that `line` owns.
    let _ = unsafe { syscall(libc::SYS_write, [2, line.as_ptr() as usize, line.len(), 0, 0, 0]) };
}

/// Ends the process by `SIGABRT`: a handler of the program's sees it once, and cannot prevent the end.
#[cfg(not(test))]
pub(crate) fn abort() -> ! {
    const SIG_UNBLOCK: usize = 1;
    let mask: u64 = 1 << (libc::SIGABRT - 1);
    let default_action = [0usize; 4];
    for round in 0..2 {
        if round == 1 {
            let action = [libc::SIGABRT as usize, (&raw const default_action) as usize, 0, 8, 0, 0];
            // SAFETY: rt_sigaction(2) reads one kernel sigaction of four words, all zero: the default action.
            let _ = unsafe { syscall(libc::SYS_rt_sigaction, action) };
        }
        let unblock = [SIG_UNBLOCK, (&raw const mask) as usize, 0, 8, 0, 0];
        // SAFETY: rt_sigprocmask(2) reads the eight bytes of `mask`.
        let _ = unsafe { syscall(libc::SYS_rt_sigprocmask, unblock) };
        // SAFETY: getpid(2) and gettid(2) have no arguments and no effects.
        let process = unsafe { syscall(libc::SYS_getpid, [0; 6]) } as usize;
        // SAFETY: as above.
        let thread = unsafe { syscall(libc::SYS_gettid, [0; 6]) } as usize;
        // SAFETY: tgkill(2) sends a signal to this very thread.
        let _ = unsafe { syscall(libc::SYS_tgkill, [process, thread, libc::SIGABRT as usize, 0, 0, 0]) };
    }
    // SAFETY: an undefined instruction ends the process should both signals have been ignored.
    unsafe { asm!("ud2", options(noreturn)) }
}

/// Starts to get the cache line at `address`, to be there when it is read. Any address will do.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    // SAFETY: a hint, which no address makes fault.
    unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast()) }
}

/// Which of eight numbers are `number`: a bit for each.
#[inline]
pub(crate) fn equal(numbers: &[u32; 8], number: u32) -> u8 {
    use core::arch::x86_64::{
        _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi32,
    };
    // SAFETY: SSE2 is part of x86-64, and both halves are read within the array.
    unsafe {
        let number = _mm_set1_epi32(number as i32);
        let half = |from: usize| _mm_cmpeq_epi32(_mm_loadu_si128(numbers.as_ptr().add(from).cast()), number);
        let words = _mm_packs_epi32(half(0), half(4));
        _mm_movemask_epi8(_mm_packs_epi16(words, words)) as u8
    }
}

/// An address that is the calling thread's own as long as it lives: the thread control block's.
#[inline]
pub(crate) fn thread_pointer() -> usize {
    let address: usize;
    // SAFETY: the first word of the thread control block holds its own address (System V ABI, variant II).
    unsafe { asm!("mov {}, qword ptr fs:[0]", out(reg) address, options(pure, readonly, nostack, preserves_flags)) };
    address
}

// One zero-initialised pointer a thread. The name holds the version, so that two versions in one program stay apart.
global_asm!(
    ".pushsection .tbss.heapwright_slot_v0_1,\"awT\",@nobits",
    ".globl heapwright_slot_v0_1",
    ".hidden heapwright_slot_v0_1",
    ".type heapwright_slot_v0_1,@object",
    ".size heapwright_slot_v0_1, 8",
    ".p2align 3",
    "heapwright_slot_v0_1:",
    ".zero 8",
    ".popsection",
);

/// The calling thread's slot: null in a new thread.
#[inline]
pub(crate) fn slot() -> *mut u8 {
    let value: *mut u8;
    // SAFETY: the relocation names the slot above; the load reads this thread's own eight bytes.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + heapwright_slot_v0_1@GOTTPOFF]",
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) value,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    value
}

/// Sets the calling thread's slot.
#[inline]
pub(crate) fn set_slot(value: *mut u8) {
    // SAFETY: as for `slot`; the store writes this thread's own eight bytes.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + heapwright_slot_v0_1@GOTTPOFF]",
            "mov qword ptr fs:[{0}], {1}",
            out(reg) _,
            in(reg) value,
            options(nostack, preserves_flags),
        );
    }
}

// Both are absent from some C libraries: weak, and null there.
global_asm!(".weak __curbrk", ".weak __libc_single_threaded");

#[cfg(not(any(feature = "preload", feature = "override")))]
/// glibc's own record of the break (`__curbrk`, a public symbol), or `None` where the C library has none.
pub(crate) fn libc_break() -> Option<&'static AtomicPtr<u8>> {
    let address: *const AtomicPtr<u8>;
    // SAFETY: the load reads an entry of this object's global offset table.
    unsafe {
        asm!("mov {0}, qword ptr [rip + __curbrk@GOTPCREL]", out(reg) address,
            options(pure, readonly, nostack, preserves_flags));
    }
    // SAFETY: null, or the address of a pointer that lives as long as the C library.
    unsafe { address.as_ref() }
}

/// Whether the C library knows that this process has one thread only; `false` where it cannot tell.
pub(crate) fn is_single_threaded() -> bool {
    let address: *const AtomicU8;
    // SAFETY: the load reads an entry of this object's global offset table.
    unsafe {
        asm!("mov {0}, qword ptr [rip + __libc_single_threaded@GOTPCREL]", out(reg) address,
            options(pure, readonly, nostack, preserves_flags));
    }
    // SAFETY: null, or the address of a byte that lives as long as the C library.
    let flag = unsafe { address.as_ref() };
    flag.is_some_and(|flag| flag.load(core::sync::atomic::Ordering::Relaxed) != 0)
}
