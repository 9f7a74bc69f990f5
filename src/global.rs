//! The one allocator of the process: how the process and each of its threads begin with it, and how a thread ends.
//!
//! Each thread has a [slot] that says what it may do. While a thread is being made ready, and again after it has been
//! unmade, requests are ordinary: they lock the main arena. A pthread key, made at the first request and so one of the first,
//! tells of the exit: its destructor runs after all thread-locals are gone, passes once so that destructors of other keys
//! still find an arena, then unmakes the thread.
//!
//! # Safety
//!
//! The C library is called only where it may call back.
#![allow(unsafe_code)]

mod forks;
#[cfg(feature = "hardened")]
mod hardened;
mod requests;
mod slot;
mod streams;

use core::ffi::c_void;

use crate::arch;
use crate::background;
use crate::budget::{Budget, Trimmed};
use crate::environment;
use crate::fatal::{Misuse, fatal};
use crate::malloc::Malloc;
use crate::options::{Param, Params};
use crate::os::Os;
use crate::os::linux::Linux;
use crate::settings;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::tcache::{CachePtr, InUse};
use crate::walk::{self, Visited};
use slot::Slot;

#[cfg(all(feature = "hardened", any(test, fuzzing, feature = "preload", feature = "override")))]
pub(crate) use hardened::free;
#[cfg(feature = "hardened")]
pub(crate) use hardened::{allocate, free_sized, reallocate};
pub(crate) use requests::{allocate_fast, allocate_zeroed_fast, free_of_class_fast, reallocate_of_class_fast};
#[cfg(not(feature = "hardened"))]
pub(crate) use requests::{allocate_plain as allocate, free_plain as free, reallocate_plain as reallocate};
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
pub(crate) use requests::{check_size, free_fast, reallocate_fast, usable_len};

static MALLOC: Malloc<Linux> = Malloc::new(Linux::new());

/// The allocator of the process.
#[inline]
pub(crate) fn malloc() -> &'static Malloc<Linux> {
    &MALLOC
}

/// The calling thread's cache, until that is dropped; it comes from the thread's slot.
#[inline]
fn enter(cache: CachePtr) -> InUse {
    // SAFETY: what is in the slot is this thread's, and it uses that in one place at a time.
    unsafe { MALLOC.enter(cache) }
}

/// Makes a thread ready that has not asked for anything yet.
#[cold]
#[inline(never)]
fn begin_thread() -> Option<CachePtr> {
    match Slot::get() {
        Slot::None { .. } => {}
        Slot::Walking => fatal(Misuse::WalkReentered, 0),
        _ => return None,
    }
    Slot::Busy.set();
    begin_process();
    let cache = if IS_ENVIRONMENT_MISSING.load(Ordering::Relaxed) {
        // So early that the C library has not begun: one thread, and every call looks again.
        None
    } else {
        attach()
    };
    cache.map_or(Slot::None { freed: 0 }, Slot::Live).set();
    cache
}

fn attach() -> Option<CachePtr> {
    MALLOC.keep_order();
    let arena = MALLOC.arenas.attach(&MALLOC.source);
    let cache = MALLOC.caches.acquire(&MALLOC.source.os, arena);
    if let Some(cache) = cache {
        MALLOC.limit(&mut enter(cache));
        if watch_exit(cache) {
            return Some(cache);
        }
        // Nobody would tell of this thread's end.
        cache.release();
    }
    MALLOC.arenas.detach(arena);
    None
}

/// The library has been loaded. The handlers of a fork are installed now, not at the first request: those of the program come
/// later then, and so run before ours take the arenas' locks. They may wait for whoever waits for an arena.
#[cfg(heapwright_so)]
pub(crate) fn begin() {
    begin_process();
}

/// Nothing has happened, one thread is making the process ready, or it is ready.
static PROCESS: AtomicU32 = AtomicU32::new(0);
const UNBEGUN: u32 = 0;
const BEGINNING: u32 = 1;
const READY: u32 = 2;

/// Whether the environment is still to be read: the first request may come before the C library has one.
static IS_ENVIRONMENT_MISSING: AtomicBool = AtomicBool::new(false);

#[inline]
fn begin_process() {
    // Acquire pairs with the release below: the secret and the parameters.
    if PROCESS.load(Ordering::Acquire) != READY {
        begin_process_once();
    }
    if IS_ENVIRONMENT_MISSING.load(Ordering::Relaxed) {
        read_environment();
    }
}

/// Reads the environment if there is one, and prints the options if that asks for them.
fn read_environment() {
    let params = &MALLOC.source.params;
    let wanted = environment::read(params);
    IS_ENVIRONMENT_MISSING.store(wanted.is_none(), Ordering::Relaxed);
    if wanted.is_some_and(|wanted| wanted.table) {
        settings::print(params, arch::write_stderr);
    }
}

#[cold]
fn begin_process_once() {
    if PROCESS.compare_exchange(UNBEGUN, BEGINNING, Ordering::Acquire, Ordering::Acquire).is_ok() {
        // Nothing here allocates: nobody waits for itself.
        #[cfg(not(test))]
        crate::secret::set(MALLOC.source.os.random());
        read_environment();
        MALLOC.arenas.settle();
        MALLOC.source.os.watch_copies();
        MALLOC.source.os.prepare_barriers();
        PROCESS.store(READY, Ordering::Release);
        // These may allocate, and are served by the main arena.
        // SAFETY: handlers that live as long as the process; a refusal is a process whose memory ran out at birth.
        unsafe { libc::pthread_atfork(Some(forks::before), Some(forks::after_in_parent), Some(forks::after_in_child)) };
        return;
    }
    while PROCESS.load(Ordering::Acquire) != READY {
        // SAFETY: sched_yield(2) has no arguments.
        let _ = unsafe { arch::syscall(libc::SYS_sched_yield, [0; 6]) };
    }
}

/// The pthread key that tells of a thread's end, plus one; 0 before it is made.
static EXIT_KEY: AtomicU32 = AtomicU32::new(0);
const NO_KEY: u32 = u32::MAX;
/// Marks the key's value once the destructor has passed.
const HAS_PASSED: usize = 1;

/// Sees to it that [`thread_ends`] is called when the calling thread ends. `false` when the C library refuses.
fn watch_exit(cache: CachePtr) -> bool {
    match exit_key() {
        // SAFETY: the key was made by `exit_key`. Its number is small, or the call allocates, which a Busy thread may.
        Some(key) => unsafe { libc::pthread_setspecific(key, cache.address().cast()) == 0 },
        None => false,
    }
}

fn exit_key() -> Option<libc::pthread_key_t> {
    let known = EXIT_KEY.load(Ordering::Acquire);
    if known != 0 {
        return (known != NO_KEY).then(|| known - 1);
    }
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: writes the key; it does not allocate.
    let made = unsafe { libc::pthread_key_create(&raw mut key, Some(thread_ends)) == 0 };
    let value = if made { key + 1 } else { NO_KEY };
    match EXIT_KEY.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made.then_some(key),
        Err(other) => {
            if made {
                // SAFETY: made above and used by nobody.
                unsafe { libc::pthread_key_delete(key) };
            }
            (other != NO_KEY).then(|| other - 1)
        }
    }
}

/// The key's destructor. The first time it only asks to be called again, after those of the other keys.
unsafe extern "C" fn thread_ends(value: *mut c_void) {
    if value.addr() & HAS_PASSED == 0
        && let Some(key) = exit_key()
    {
        let passed = value.map_addr(|address| address | HAS_PASSED);
        // SAFETY: the key's own thread; the place for the value is there already.
        if unsafe { libc::pthread_setspecific(key, passed) } == 0 {
            return;
        }
    }
    if let Some(cache) = Slot::live() {
        Slot::Dead.set();
        MALLOC.put_all_away(&mut enter(cache));
        MALLOC.arenas.detach(cache.arena());
        cache.release();
    }
    background::note_thread_end();
}

/// The calling thread is served by the main arena from now on: it is the background thread.
pub(crate) fn serve_without_cache() {
    Slot::Dead.set();
}

/// Walks the heap; see [`walk`](crate::walk()). What the visitor asks of the allocator meanwhile is noticed by the slot.
pub(crate) fn walk(mut visit: impl FnMut(Visited)) {
    /// Puts the slot back, also when the visitor does not return.
    struct Restore(Slot);
    impl Drop for Restore {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let _restore = Restore(Slot::get());
    Slot::Walking.set();
    walk::walk(&MALLOC, &mut visit);
}

/// The parameters, after the environment has been read.
pub(crate) fn params() -> &'static Params {
    begin_process();
    &MALLOC.source.params
}

/// Sets a parameter at run time; its limits have been looked at.
pub(crate) fn set(param: Param, value: usize) {
    begin_process();
    MALLOC.set(param, value);
    background::note_change();
}

/// Gives back what nobody uses within a budget; see [`Malloc::trim_within`].
pub(crate) fn trim_within(budget: Budget) -> Trimmed {
    match Slot::get() {
        Slot::Live(cache) => MALLOC.trim_within(Some(&mut enter(cache)), budget),
        _ => MALLOC.trim_within(None, budget),
    }
}

/// Gives back what nobody uses; see [`Malloc::trim`].
pub(crate) fn trim(pad: usize) -> usize {
    #[cfg(feature = "hardened")]
    hardened::empty_quarantine();
    match Slot::get() {
        Slot::Live(cache) => MALLOC.trim(Some(&mut enter(cache)), pad),
        _ => MALLOC.trim(None, pad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 28 KiB of the library's file were its first value, for a few thresholds, a length, and a niche that was not null.
    #[test]
    fn the_allocator_takes_no_place_in_the_file() {
        unsafe extern "C" {
            safe static __bss_start: u8;
            safe static _end: u8;
        }
        let zero = (&raw const __bss_start).addr()..(&raw const _end).addr();
        assert!(zero.contains(&(&raw const MALLOC).addr()));
    }
}
