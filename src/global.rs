//! The one allocator of the process, and everything that is one a process: threads, the first call; forks have a file of their own.
//!
//! Each thread has a slot, one pointer, that says what it may do:
//!
//! ```text
//!   None   --first request-->  Busy  --ready-->  Live(cache)  --thread exit-->  Dead
//!                               |                                                 |
//!                               +-- a request made meanwhile ---------------------+--> served by the main arena
//! ```
//!
//! A thread that has only freed so far is made ready at its seventeenth free, not at its first: the C library frees stacks in the
//! course of a thread's exit, after all destructors, and what was made for a thread then nobody would unmake.
//!
//! While a thread is being made ready, and again after it has been unmade, requests are ordinary: they lock the main
//! arena. A pthread key, made at the first request and so one of the first, tells of the exit: its destructor runs after
//! all thread-locals are gone, passes once so that destructors of other keys still find an arena, then unmakes the
//! thread.
//!
//! # Safety
//!
//! The slot holds the address of the thread's cache or one of a few small numbers. The C library is called only where it
//! may call back.
#![allow(unsafe_code)]

mod forks;
#[cfg(feature = "hardened")]
mod hardened;
mod streams;

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use crate::arch;
use crate::attention::Reason;
use crate::background;
use crate::budget::{Budget, Trimmed};
use crate::builder::Heapwright;
use crate::class::Class;
use crate::environment;
use crate::fatal::{Misuse, fatal};
use crate::magazine;
use crate::malloc::{Contents, Malloc};
use crate::options::{Param, Params};
use crate::os::Os;
use crate::os::linux::Linux;
use crate::settings;
use crate::size::{ALIGNMENT, ChunkSize};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::tcache::{CachePtr, ThreadCache};
use crate::walk::{self, Visited};

static MALLOC: Malloc<Linux> = Malloc::new(Linux::new());

/// The allocator of the process.
#[inline]
pub(crate) fn malloc() -> &'static Malloc<Linux> {
    &MALLOC
}

/// The state of a thread, as its slot holds it.
#[derive(Clone, Copy)]
enum Slot {
    /// It has not asked for anything yet, but freed so many blocks.
    None { freed: usize },
    /// It is being made ready.
    Busy,
    /// It has ended, all but for what the C library still frees.
    Dead,
    /// It walks the heap, and holds an arena's lock.
    Walking,
    /// It has a cache, and an arena.
    Live(CachePtr),
}

impl Slot {
    const NONE: usize = 0;
    const BUSY: usize = 1;
    const DEAD: usize = 2;
    const WALKING: usize = 3;
    /// One freed block; the numbers behind it are more.
    const FREED: usize = 4;
    const MOST_FREED: usize = Self::FREED + 15;

    #[inline]
    fn get() -> Self {
        let value = arch::slot();
        match value.addr() {
            Self::NONE => Self::None { freed: 0 },
            freed @ Self::FREED..=Self::MOST_FREED => Self::None { freed: freed - Self::FREED + 1 },
            Self::BUSY => Self::Busy,
            Self::DEAD => Self::Dead,
            Self::WALKING => Self::Walking,
            // SAFETY: anything else was stored by `set`: the cache that this thread has acquired.
            _ => Self::Live(unsafe { CachePtr::from_address(value) }),
        }
    }

    /// The calling thread's cache, if it has one: the one look that the fast paths take.
    #[inline(always)]
    fn live() -> Option<CachePtr> {
        let value = arch::slot();
        // SAFETY: as for `get`.
        (value.addr() > Self::MOST_FREED).then(|| unsafe { CachePtr::from_address(value) })
    }

    fn set(self) {
        arch::set_slot(match self {
            Self::None { freed: 0 } => ptr::without_provenance_mut(Self::NONE),
            Self::None { freed } => ptr::without_provenance_mut(Self::FREED + freed - 1),
            Self::Busy => ptr::without_provenance_mut(Self::BUSY),
            Self::Dead => ptr::without_provenance_mut(Self::DEAD),
            Self::Walking => ptr::without_provenance_mut(Self::WALKING),
            Self::Live(cache) => cache.address(),
        });
    }
}

/// The calling thread's cache, or `None` while it has none: then the main arena serves it.
#[inline]
fn cache() -> Option<CachePtr> {
    Slot::live().or_else(begin_thread)
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
        // SAFETY: acquired in the line above.
        MALLOC.limit(unsafe { cache.cache() });
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
        // SAFETY: this thread's cache, which nothing else uses any more.
        let contents = unsafe { cache.cache() };
        MALLOC.put_all_away(contents);
        MALLOC.arenas.detach(contents.arena());
        cache.release();
    }
    background::note_thread_end();
}

/// The calling thread is served by the main arena from now on: it is the background thread.
pub(crate) fn serve_without_cache() {
    Slot::Dead.set();
}

/// Whether a request may go the fast path: there is nothing to look at, or only the clock, and not yet.
#[inline(always)]
fn may_pass(cache: &mut ThreadCache) -> bool {
    let attention = &MALLOC.source.params.attention;
    if attention.is_quiet() {
        return true;
    }
    // Not a call: that would need a frame, and the fast paths have none.
    unlikely();
    attention.is_only_due() && cache.is_patient()
}

/// Tells the compiler that what leads here is to stand out of the way.
#[cold]
#[inline]
fn unlikely() {}

/// A request is not on the fast path: if memory lies unused, the clock is looked at.
#[inline]
fn tick() {
    if MALLOC.source.params.attention.has(Reason::PurgeDue) {
        look_at_clock_in_time();
    }
}

/// Not at every request of a busy thread, whatever way they come: each reallocation would be one.
#[cold]
#[inline(never)]
fn look_at_clock_in_time() {
    let is_patient = match Slot::get() {
        // SAFETY: this thread's cache; the reference ends with the call.
        Slot::Live(cache) => unsafe { cache.cache() }.is_patient(),
        _ => false,
    };
    if !is_patient {
        look_at_clock();
    }
}

#[cold]
fn look_at_clock() {
    let now = MALLOC.look_at_clock();
    background::make_if_wanted();
    if let Some(cache) = Slot::live() {
        // SAFETY: this thread's cache; the reference ends with the block.
        let cache = unsafe { cache.cache() };
        cache.note_time(now);
        MALLOC.age_recent(cache, now);
    }
}

/// The fast path of a request: a cached block of a small class, or `None` when it takes more than that.
#[inline(always)]
pub(crate) fn allocate_fast(bytes: usize) -> Option<NonNull<u8>> {
    if IS_HARDENED {
        return None;
    }
    let class = Class::of_small_request(bytes)?;
    let cache = Slot::live()?;
    // SAFETY: this thread's cache; the reference ends with the call.
    let cache = unsafe { cache.cache() };
    if may_pass(cache) { cache.pop(class) } else { None }
}

/// As [`allocate_fast`], and all that the user may write to is zero.
#[inline(always)]
pub(crate) fn allocate_zeroed_fast(bytes: usize) -> Option<NonNull<u8>> {
    let usable = Class::of_small_request(bytes)?.chunk().usable();
    let mem = allocate_fast(bytes)?;
    // SAFETY: the block of this class, which is nobody else's.
    unsafe { mem.write_bytes(0, usable) };
    Some(mem)
}

/// `bytes` of memory for the calling thread, at a multiple of `alignment`, a power of two.
#[inline(never)]
pub(crate) fn allocate_plain(bytes: usize, alignment: usize, contents: Contents) -> Option<NonNull<u8>> {
    tick();
    if alignment <= ALIGNMENT
        && let Some(class) = Class::of_request(bytes)
        && let Some(cache) = Slot::live()
    {
        // SAFETY: this thread's cache; the reference ends with the call.
        let mem = MALLOC.allocate_cached(unsafe { cache.cache() }, class, contents);
        if mem.is_some() {
            return mem;
        }
    }
    allocate_otherwise(bytes, alignment, contents)
}

/// A request that the cache does not serve, or could not.
#[inline(never)]
fn allocate_otherwise(bytes: usize, alignment: usize, contents: Contents) -> Option<NonNull<u8>> {
    let allocate = || {
        let (cache, is_first) = match Slot::live() {
            Some(cache) => (Some(cache), false),
            None => (begin_thread(), true),
        };
        match cache {
            // By the batch as well: two threads of an arena shall not write to one cache line. (Where a place is drawn by lot they
            // may, and threads that come and go would keep more.)
            Some(_) if is_first && !IS_HARDENED => allocate_plain(bytes, alignment, contents),
            // SAFETY: this thread's cache; the reference ends with the call.
            Some(cache) => MALLOC.allocate_uncached(unsafe { cache.cache() }, bytes, alignment, contents),
            None => MALLOC.allocate_aligned(MALLOC.arenas.main(), bytes, alignment, contents),
        }
    };
    let mem = allocate();
    if mem.is_some() || ChunkSize::for_request(bytes).is_none() {
        return mem;
    }
    // No memory is left but what waits to be used again.
    empty_caches();
    allocate()
}

/// Everything cached that can be got hold of goes to the arenas.
#[cold]
fn empty_caches() {
    if let Some(cache) = Slot::live() {
        // SAFETY: this thread's cache; the reference ends with the call.
        MALLOC.flush_all(unsafe { cache.cache() });
    }
    MALLOC.empty_idle();
}

/// Takes a block back. A thread that only frees gets a cache as well, after some: its blocks go back by the magazine.
#[inline(never)]
pub(crate) fn free_plain(mem: NonNull<u8>) {
    tick();
    match Slot::live().or_else(cache_for_free) {
        // SAFETY: this thread's cache; the reference ends with the call.
        Some(cache) => MALLOC.free_cached(unsafe { cache.cache() }, mem),
        None => MALLOC.free(mem),
    }
}

/// The cache of a thread that has none yet and frees. `None` while it has freed no more than an ending thread does.
#[cold]
#[inline(never)]
fn cache_for_free() -> Option<CachePtr> {
    match Slot::get() {
        Slot::None { freed } if Slot::FREED + freed <= Slot::MOST_FREED => {
            // At first: the process's beginning may allocate, and give this thread a cache.
            Slot::None { freed: freed + 1 }.set();
            begin_process();
            None
        }
        _ => begin_thread(),
    }
}

/// The fast path of a free: a small block is put into the cache. `false`, and nothing is done, when it takes more.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
#[inline(always)]
pub(crate) fn free_fast(mem: NonNull<u8>) -> bool {
    if IS_HARDENED {
        return false;
    }
    let Some(cache) = Slot::live() else { return false };
    let Some(class) = MALLOC.small_class_of(mem) else { return false };
    // SAFETY: this thread's cache; the reference ends with the call.
    let cache = unsafe { cache.cache() };
    may_pass(cache) && cache.push(class, mem)
}

/// The fast path of a free when the request is known, and so the class: the block's head is not looked at.
#[inline(always)]
fn free_of_layout_fast(mem: NonNull<u8>, layout: Layout) -> bool {
    if layout.align() > ALIGNMENT || IS_HARDENED {
        return false;
    }
    let Some(class) = Class::of_small_request(layout.size()) else { return false };
    let Some(cache) = Slot::live() else { return false };
    // SAFETY: this thread's cache; the reference ends with the call.
    let cache = unsafe { cache.cache() };
    may_pass(cache) && cache.push(class, mem)
}

/// The fast path of a reallocation when the request is known; see [`reallocate_small`].
#[inline]
fn reallocate_of_layout_fast(mem: NonNull<u8>, layout: Layout, bytes: usize) -> Option<NonNull<u8>> {
    if layout.align() > ALIGNMENT {
        return None;
    }
    let (old, new) = (Class::of_small_request(layout.size())?, Class::of_small_request(bytes)?);
    reallocate_small(mem, old, new, layout.size().min(bytes))
}

/// The fast path of a reallocation; see [`reallocate_small`].
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
#[inline(always)]
pub(crate) fn reallocate_fast(mem: NonNull<u8>, bytes: usize) -> Option<NonNull<u8>> {
    let new = Class::of_small_request(bytes)?;
    let old = MALLOC.small_class_of(mem)?;
    reallocate_small(mem, old, new, old.chunk().usable().min(bytes))
}

/// From one small class to another within the cache, with `len` bytes of what the block holds. `None`, and nothing is done, when
/// it takes more.
#[inline(always)]
fn reallocate_small(mem: NonNull<u8>, old: Class, new: Class, len: usize) -> Option<NonNull<u8>> {
    if IS_HARDENED {
        return None;
    }
    let cache = Slot::live()?;
    // SAFETY: this thread's cache; the reference ends with the call.
    let cache = unsafe { cache.cache() };
    if !may_pass(cache) || magazine::is_cached(mem) {
        return None;
    }
    if old == new {
        return Some(mem);
    }
    let moved = cache.pop(new)?;
    // SAFETY: two blocks in use, of at least so many bytes each.
    unsafe { moved.copy_from_nonoverlapping(mem, len) };
    if !cache.push(old, mem) {
        free_plain(mem);
    }
    Some(moved)
}

/// Makes a block of the calling process longer or shorter; see [`Malloc::reallocate`].
#[inline]
pub(crate) fn reallocate_plain(mem: NonNull<u8>, bytes: usize, alignment: usize) -> Option<NonNull<u8>> {
    tick();
    match cache() {
        // SAFETY: this thread's cache; the reference ends with the call.
        Some(cache) => MALLOC.reallocate_cached(unsafe { cache.cache() }, mem, bytes, alignment),
        None => MALLOC.reallocate(MALLOC.arenas.main(), mem, bytes, alignment),
    }
}

/// A reallocation that takes more than the fast path. Not inline: a program that has this crate's allocator would get a copy
/// of nearly all of it, for what is generic over the system is compiled where it is called from.
#[inline(never)]
fn reallocate_slow(mem: NonNull<u8>, bytes: usize, alignment: usize) -> Option<NonNull<u8>> {
    reallocate(mem, bytes, alignment)
}

/// A hardened build compares the layout with what was asked for.
#[cfg(feature = "hardened")]
fn free_of_layout(mem: NonNull<u8>, layout: Layout) {
    hardened::free_sized(mem, layout.size(), layout.align());
}

#[cfg(not(feature = "hardened"))]
#[inline]
fn free_of_layout(mem: NonNull<u8>, _: Layout) {
    free(mem);
}

/// Whether every request takes the guarded way, and none a fast path.
const IS_HARDENED: bool = cfg!(feature = "hardened");

#[cfg(not(feature = "hardened"))]
pub(crate) use self::{allocate_plain as allocate, free_plain as free, reallocate_plain as reallocate};
#[cfg(all(feature = "hardened", any(test, fuzzing, feature = "preload", feature = "override")))]
pub(crate) use hardened::free;
#[cfg(feature = "hardened")]
pub(crate) use hardened::{allocate, reallocate};

/// Bytes that may be written to a block.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
pub(crate) fn usable_len(mem: NonNull<u8>) -> usize {
    #[cfg(feature = "hardened")]
    return hardened::usable_len(mem);
    #[cfg(not(feature = "hardened"))]
    MALLOC.usable_len(mem)
}

/// Ends the process unless a block can be the one that was asked for with `bytes` and `alignment`.
#[cfg(all(not(test), any(feature = "preload", feature = "override")))]
pub(crate) fn check_size(mem: NonNull<u8>, bytes: usize, alignment: usize) {
    #[cfg(feature = "hardened")]
    hardened::check_size(mem, bytes, alignment);
    #[cfg(not(feature = "hardened"))]
    MALLOC.check_size(mem, bytes, alignment);
}

/// Whether the parameters of the program's static have been handed over.
static IS_BUILT: AtomicBool = AtomicBool::new(false);

impl Heapwright {
    /// The first request that is not served by a cache, and so the first of all, brings what the builder has fixed.
    #[inline]
    fn build(&self) {
        if !self.is_plain() && !IS_BUILT.load(Ordering::Relaxed) {
            self.build_once();
        }
    }

    /// A request that takes more than the fast path. Not inline: the fast path has no register to save.
    #[inline(never)]
    fn allocate_slow(&self, layout: Layout, contents: Contents) -> *mut u8 {
        self.build();
        or_null(allocate(layout.size(), layout.align(), contents))
    }

    #[cold]
    #[inline(never)]
    fn build_once(&self) {
        if !IS_BUILT.swap(true, Ordering::Relaxed) {
            self.apply(&MALLOC.source.params);
            MALLOC.caches.ring();
        }
    }
}

fn or_null(mem: Option<NonNull<u8>>) -> *mut u8 {
    mem.map_or(ptr::null_mut(), NonNull::as_ptr)
}

// SAFETY: blocks are disjoint, as long and as aligned as their layout asks for, and stay until they are given back;
// nothing here unwinds.
unsafe impl GlobalAlloc for Heapwright {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT
            && let Some(mem) = allocate_fast(layout.size())
        {
            return mem.as_ptr();
        }
        self.allocate_slow(layout, Contents::Any)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT
            && let Some(mem) = allocate_zeroed_fast(layout.size())
        {
            return mem.as_ptr();
        }
        self.allocate_slow(layout, Contents::Zero)
    }

    #[inline]
    unsafe fn dealloc(&self, mem: *mut u8, layout: Layout) {
        if let Some(mem) = NonNull::new(mem)
            && !free_of_layout_fast(mem, layout)
        {
            free_of_layout(mem, layout);
        }
    }

    #[inline]
    unsafe fn realloc(&self, mem: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let reallocated = NonNull::new(mem).and_then(|mem| {
            reallocate_of_layout_fast(mem, layout, new_size).or_else(|| reallocate_slow(mem, new_size, layout.align()))
        });
        or_null(reallocated)
    }
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
        // SAFETY: this thread's cache; the reference ends with the call.
        Slot::Live(cache) => MALLOC.trim_within(Some(unsafe { cache.cache() }), budget),
        _ => MALLOC.trim_within(None, budget),
    }
}

/// Gives back what nobody uses; see [`Malloc::trim`].
pub(crate) fn trim(pad: usize) -> usize {
    #[cfg(feature = "hardened")]
    hardened::empty_quarantine();
    match Slot::get() {
        // SAFETY: this thread's cache; the reference ends with the call.
        Slot::Live(cache) => MALLOC.trim(Some(unsafe { cache.cache() }), pad),
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
