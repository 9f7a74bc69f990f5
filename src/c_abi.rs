//! The C interface: `malloc.h`, in its order.
//!
//! Each function looks at its arguments, calls the allocator, and says `errno` on failure. Nothing here depends on
//! anything of the C library's malloc. Contracts: ISO C23 7.24.3, POSIX `posix_memalign`, and the GNU C Library manual,
//! <https://sourceware.org/glibc/manual/latest/html_node/Replacing-malloc.html>.
//!
//! # Safety
//!
//! These are the C functions: a pointer passed in is null or a block of this allocator that was not freed since.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::fmt::{self, Write};
use core::ptr::{self, NonNull};

use crate::class::Class;
use crate::global::{self, allocate, malloc as allocator};
use crate::malloc::Contents;
use crate::options;
use crate::os::Os;
use crate::report;
use crate::size::{ALIGNMENT, round_up};

fn set_errno(error: c_int) {
    // SAFETY: the address of the calling thread's errno.
    unsafe { *libc::__errno_location() = error };
}

fn or_enomem(mem: Option<NonNull<u8>>) -> *mut c_void {
    match mem {
        Some(mem) => mem.as_ptr().cast(),
        None => {
            set_errno(libc::ENOMEM);
            ptr::null_mut()
        }
    }
}

/// `bytes` bytes; `NULL` and `ENOMEM` when there are none.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc(bytes: usize) -> *mut c_void {
    match global::allocate_fast(bytes) {
        Some(mem) => mem.as_ptr().cast(),
        None => malloc_slow(bytes),
    }
}

/// The rest of [`malloc`], out of its way.
#[inline(never)]
extern "C" fn malloc_slow(bytes: usize) -> *mut c_void {
    or_enomem(allocate(bytes, ALIGNMENT, Contents::Any))
}

/// `count * len` bytes that are zero; `NULL` and `ENOMEM` when there are none, or the product overflows.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn calloc(count: usize, len: usize) -> *mut c_void {
    match count.checked_mul(len).and_then(global::allocate_zeroed_fast) {
        Some(mem) => mem.as_ptr().cast(),
        None => calloc_slow(count, len),
    }
}

/// The rest of [`calloc`], out of its way.
#[inline(never)]
extern "C" fn calloc_slow(count: usize, len: usize) -> *mut c_void {
    or_enomem(count.checked_mul(len).and_then(|bytes| allocate(bytes, ALIGNMENT, Contents::Zero)))
}

/// Makes a block `bytes` long. `realloc(p, 0)` frees it and returns `NULL`; on failure `NULL` and `ENOMEM`, and the block
/// stays.
///
/// # Safety
///
/// - `mem` is null or a block of this allocator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn realloc(mem: *mut c_void, bytes: usize) -> *mut c_void {
    let Some(block) = NonNull::new(mem.cast::<u8>()) else { return malloc(bytes) };
    if bytes == 0 {
        global::free(block);
        return ptr::null_mut();
    }
    if Class::of_small_request(bytes).is_some() { realloc_small(block, bytes) } else { realloc_slow(block, bytes) }
}

/// [`realloc`] of what is to be small. On its own: it saves registers, which the others need not.
#[inline(never)]
extern "C" fn realloc_small(block: NonNull<u8>, bytes: usize) -> *mut c_void {
    match global::reallocate_fast(block, bytes) {
        Some(mem) => mem.as_ptr().cast(),
        None => realloc_slow(block, bytes),
    }
}

/// The rest of [`realloc`], out of its way.
#[inline(never)]
extern "C" fn realloc_slow(block: NonNull<u8>, bytes: usize) -> *mut c_void {
    or_enomem(global::reallocate(block, bytes, ALIGNMENT))
}

/// As [`realloc`], for `count * len` bytes; an overflow is `ENOMEM`.
///
/// # Safety
///
/// - `mem` is null or a block of this allocator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn reallocarray(mem: *mut c_void, count: usize, len: usize) -> *mut c_void {
    match count.checked_mul(len) {
        // SAFETY: the caller's promise.
        Some(bytes) => unsafe { realloc(mem, bytes) },
        None => or_enomem(None),
    }
}

/// Frees a block; `errno` stays as it is.
///
/// # Safety
///
/// - `mem` is null or a block of this allocator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn free(mem: *mut c_void) {
    if let Some(block) = NonNull::new(mem.cast())
        && !global::free_fast(block)
    {
        global::free(block);
    }
}

/// As [`free`], for a block that was asked for with `bytes` (C23). A promise that cannot be true ends the process.
///
/// # Safety
///
/// - `mem` is null or a block of this allocator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn free_sized(mem: *mut c_void, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { free_aligned_sized(mem, ALIGNMENT, bytes) };
}

/// As [`free`], for a block that was asked for with `alignment` and `bytes` (C23). As for [`free_sized`].
///
/// # Safety
///
/// - `mem` is null or a block of this allocator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn free_aligned_sized(mem: *mut c_void, alignment: usize, bytes: usize) {
    if let Some(block) = NonNull::new(mem.cast()) {
        global::check_size(block, bytes, alignment);
    }
    // SAFETY: the caller's promise.
    unsafe { free(mem) };
}

/// As [`free`], for programs of another time.
///
/// # Safety
///
/// - `mem` is null or a block of this allocator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cfree(mem: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { free(mem) };
}

/// `bytes` bytes at a multiple of `alignment`, which is rounded up to a power of two; `EINVAL` when it cannot be.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn memalign(alignment: usize, bytes: usize) -> *mut c_void {
    let Some(power) = alignment.max(ALIGNMENT).checked_next_power_of_two() else {
        set_errno(libc::EINVAL);
        return ptr::null_mut();
    };
    or_enomem(allocate(bytes, power, Contents::Any))
}

/// `bytes` bytes at a multiple of `alignment`, which has to be a power of two (`EINVAL`); the size need not be a multiple.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn aligned_alloc(alignment: usize, bytes: usize) -> *mut c_void {
    if !alignment.is_power_of_two() {
        set_errno(libc::EINVAL);
        return ptr::null_mut();
    }
    or_enomem(allocate(bytes, alignment, Contents::Any))
}

/// Stores `bytes` bytes at a multiple of `alignment` in `*out`. Returns 0, `EINVAL` (not a power of two times the size
/// of a pointer) or `ENOMEM`; `*out` is written on success only, `errno` never.
///
/// # Safety
///
/// - `out` can be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, bytes: usize) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    match allocate(bytes, alignment, Contents::Any) {
        Some(mem) => {
            // SAFETY: the caller's promise.
            unsafe { *out = mem.as_ptr().cast() };
            0
        }
        None => libc::ENOMEM,
    }
}

/// `bytes` bytes at the start of a page.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn valloc(bytes: usize) -> *mut c_void {
    memalign(allocator().source.os.page_len(), bytes)
}

/// Whole pages, at least `bytes` bytes.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pvalloc(bytes: usize) -> *mut c_void {
    let page = allocator().source.os.page_len();
    or_enomem(round_up(bytes, page).and_then(|len| allocate(len, page, Contents::Any)))
}

/// Bytes that may be written to a block; 0 for `NULL`.
///
/// # Safety
///
/// - `mem` is null or a block of this allocator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn malloc_usable_size(mem: *mut c_void) -> usize {
    NonNull::new(mem.cast()).map_or(0, global::usable_len)
}

/// Gives unused memory back, all but `pad` bytes at the top of each arena. 1 if there was any, else 0.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc_trim(pad: usize) -> c_int {
    c_int::from(global::trim(pad) > 0)
}

/// Sets a parameter; always 1, as in glibc since 2.43, also for parameters that have no effect here.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mallopt(parameter: c_int, value: c_int) -> c_int {
    if let Some((param, value)) = options::by_mallopt(parameter, value) {
        global::set(param, value);
    }
    1
}

/// The allocator's figures; see `mallinfo(3)`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mallinfo2() -> libc::mallinfo2 {
    let stats = crate::stats::collect(allocator());
    // What waits in magazines counts as in use, as in glibc; buffers do not, which it keeps nowhere.
    let buffers = allocator().caches.recent_bytes();
    libc::mallinfo2 {
        arena: stats.system,
        // Each arena's top counts as one, as in glibc.
        ordblks: stats.free_chunks + stats.arenas,
        smblks: 0,
        hblks: stats.mapped_chunks,
        hblkhd: stats.mapped_chunk_bytes,
        usmblks: 0,
        fsmblks: 0,
        uordblks: stats.in_use.saturating_sub(buffers),
        fordblks: stats.free + stats.top + buffers,
        keepcost: stats.main_top,
    }
}

/// As [`mallinfo2`], cut to the width of an `int`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mallinfo() -> libc::mallinfo {
    let wide = mallinfo2();
    libc::mallinfo {
        arena: wide.arena as c_int,
        ordblks: wide.ordblks as c_int,
        smblks: wide.smblks as c_int,
        hblks: wide.hblks as c_int,
        hblkhd: wide.hblkhd as c_int,
        usmblks: wide.usmblks as c_int,
        fsmblks: wide.fsmblks as c_int,
        uordblks: wide.uordblks as c_int,
        fordblks: wide.fordblks as c_int,
        keepcost: wide.keepcost as c_int,
    }
}

/// Writes the allocator's figures to stderr.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc_stats() {
    struct Stderr;
    impl Write for Stderr {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            crate::arch::write_stderr(text.as_bytes());
            Ok(())
        }
    }
    // A raw write: not a cancellation point; an error has nowhere to go.
    let _ = report::lines(allocator(), &mut Stderr);
}

/// Writes the allocator's figures to `stream` as XML. 0, or `EINVAL` when `options` is not 0.
///
/// # Safety
///
/// - `stream` is open for writing.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    struct Stream(*mut libc::FILE);
    impl Write for Stream {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            // SAFETY: an open stream, and as many bytes as the text has; the stream's own state tells of errors.
            unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), self.0) };
            Ok(())
        }
    }
    if options != 0 {
        return libc::EINVAL;
    }
    // The writer cannot fail.
    let _ = report::xml(allocator(), &mut Stream(stream));
    0
}

/// The names under which interposers that have taken the first ones call the C library's functions. The library is linked so that
/// its functions call each other (`.cargo/config.toml`): one that the loader looked up would be the interposer's, which called.
mod aliases {
    use super::{c_int, c_void};

    /// As [`malloc`](super::malloc).
    #[unsafe(no_mangle)]
    pub(crate) extern "C" fn __libc_malloc(bytes: usize) -> *mut c_void {
        super::malloc(bytes)
    }

    /// As [`calloc`](super::calloc).
    #[unsafe(no_mangle)]
    pub(crate) extern "C" fn __libc_calloc(count: usize, len: usize) -> *mut c_void {
        super::calloc(count, len)
    }

    /// As [`realloc`](super::realloc).
    ///
    /// # Safety
    ///
    /// - `mem` is null or a block of this allocator.
    #[unsafe(no_mangle)]
    pub(crate) unsafe extern "C" fn __libc_realloc(mem: *mut c_void, bytes: usize) -> *mut c_void {
        // SAFETY: the caller's promise.
        unsafe { super::realloc(mem, bytes) }
    }

    /// As [`free`](super::free).
    ///
    /// # Safety
    ///
    /// - `mem` is null or a block of this allocator.
    #[unsafe(no_mangle)]
    pub(crate) unsafe extern "C" fn __libc_free(mem: *mut c_void) {
        // SAFETY: the caller's promise.
        unsafe { super::free(mem) };
    }

    /// As [`memalign`](super::memalign).
    #[unsafe(no_mangle)]
    pub(crate) extern "C" fn __libc_memalign(alignment: usize, bytes: usize) -> *mut c_void {
        super::memalign(alignment, bytes)
    }

    /// As [`valloc`](super::valloc).
    #[unsafe(no_mangle)]
    pub(crate) extern "C" fn __libc_valloc(bytes: usize) -> *mut c_void {
        super::valloc(bytes)
    }

    /// As [`pvalloc`](super::pvalloc).
    #[unsafe(no_mangle)]
    pub(crate) extern "C" fn __libc_pvalloc(bytes: usize) -> *mut c_void {
        super::pvalloc(bytes)
    }

    /// As [`mallopt`](super::mallopt).
    #[unsafe(no_mangle)]
    pub(crate) extern "C" fn __libc_mallopt(parameter: c_int, value: c_int) -> c_int {
        super::mallopt(parameter, value)
    }

    /// As [`mallinfo`](super::mallinfo).
    #[unsafe(no_mangle)]
    pub(crate) extern "C" fn __libc_mallinfo() -> libc::mallinfo {
        super::mallinfo()
    }
}
