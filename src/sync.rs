//! The lock of the allocator: a futex word with inline system calls, and a bit for fork.
//!
//! Library locks do not fit under an allocator: some allocate when they park, others write `errno`, none can be handed
//! across a fork. This one does neither, and it knows one more state:
//!
//! ```text
//!   0           free
//!   1           held
//!   2           held, and somebody may sleep on the word
//!   FORK + n    held for a fork by OWNER, which has entered again n times; everybody else sleeps,
//!               and says so by the bit SLEEPERS
//!   ABANDONED   never to be taken again: it was held when this process was copied, and its holder is not here
//! ```
//!
//! Between the moment our fork handler has taken every lock and the fork itself, handlers of other libraries still run,
//! in the same thread, and they may allocate. The owner of the fork therefore enters a lock that it holds already, by
//! the contended path only; the fast paths know nothing of forks. The child is the owner's copy: it stores 0.
//!
//! A copy that no handler was told of ([lineage](crate::lineage)) finds locks that nobody will release. Whoever is about to
//! sleep looks whether this is one, and comes back without the lock if so. Every lock that is held when such a copy is put
//! in order is *abandoned*: what it guards may be in the middle of a change. Where its holder lives after all, in a thread of
//! the copy, that one goes on and releases it, and it stays abandoned.
//!
//! Under `cfg(loom)` the words are loom's, and the kernel's queue is a list of bells: a wake-up that gets lost is
//! a deadlock that the models find.
//!
//! # Safety
//!
//! `unsafe` here is the futex system call on a word that is borrowed, and the promise of mutual exclusion that the
//! loom models at the end of this file check.
#![allow(unsafe_code)]

#[cfg(not(loom))]
pub(crate) use core::sync::atomic;
#[cfg(loom)]
pub(crate) use loom::sync::atomic;

use crate::lineage::Lineage;
use atomic::{AtomicU32, AtomicUsize, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;
const FORK: u32 = 1 << 31;
const SLEEPERS: u32 = 1 << 30;
const ABANDONED: u32 = 1 << 29;
/// How often a thread looks again before it sleeps.
const SPINS: u32 = if cfg!(loom) { 1 } else { 100 };

/// Which thread holds all locks for a fork: its [thread pointer](crate::arch::thread_pointer), or 0.
#[derive(Debug)]
pub(crate) struct ForkOwner(AtomicUsize);

#[cfg(not(loom))]
static FORK_OWNER: ForkOwner = ForkOwner::new();

impl ForkOwner {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[cfg(loom)]
    fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Records that thread `me` is about to fork, and holds every lock. Relaxed: only `me` asks whether it is `me`.
    fn set(&self, me: usize) {
        self.0.store(me, Ordering::Relaxed);
    }

    fn is(&self, me: usize) -> bool {
        self.0.load(Ordering::Relaxed) == me
    }
}

/// How a wait for a lock has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(loom, allow(dead_code))]
pub(crate) enum Wait {
    Taken,
    /// Nobody will ever have it.
    Abandoned,
    /// This process is a copy that is not in order: who holds the lock may not be here.
    LeftBehind,
}

/// The lock word and its operations; `RawFutex` gives it the interface of `lock_api`.
#[derive(Debug)]
pub(crate) struct FutexWord {
    word: AtomicU32,
    #[cfg(loom)]
    sleepers: loom::sync::Mutex<Vec<std::rc::Rc<loom::sync::Notify>>>,
}

impl FutexWord {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self { word: AtomicU32::new(FREE) }
    }

    #[cfg(loom)]
    fn new() -> Self {
        Self { word: AtomicU32::new(FREE), sleepers: Default::default() }
    }

    /// Acquire pairs with the release in `unlock` and in `release_after_fork`.
    #[inline]
    fn try_lock_free(&self) -> bool {
        self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn try_enter_again(&self, owner: &ForkOwner, me: usize) -> bool {
        let is_mine = self.word.load(Ordering::Relaxed) & FORK != 0 && owner.is(me);
        if is_mine {
            self.word.fetch_add(1, Ordering::Relaxed);
        }
        is_mine
    }

    #[cfg(loom)]
    fn lock(&self, owner: &ForkOwner, me: usize) {
        if !self.try_lock_free() {
            let wait = self.lock_contended(owner, me, None);
            assert_eq!(wait, Wait::Taken);
        }
    }

    #[cold]
    fn lock_contended(&self, owner: &ForkOwner, me: usize, lineage: Option<Lineage<'_>>) -> Wait {
        for _ in 0..SPINS {
            let seen = self.word.load(Ordering::Relaxed);
            if seen == FREE && self.try_lock_free() {
                return Wait::Taken;
            }
            if seen & (FORK | ABANDONED) != 0 || seen == CONTENDED {
                break;
            }
            core::hint::spin_loop();
        }
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            if seen & ABANDONED != 0 {
                return Wait::Abandoned;
            }
            if seen == FREE {
                // Contended from the start: who slept here cannot know whether others still do.
                if self.word.compare_exchange(FREE, CONTENDED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return Wait::Taken;
                }
                continue;
            }
            if seen & FORK != 0 && self.try_enter_again(owner, me) {
                return Wait::Taken;
            }
            // In the child of a fork the handlers of its owner are on their way.
            if lineage.is_some_and(Lineage::is_left_behind) && !owner.is(me) {
                return Wait::LeftBehind;
            }
            let asleep = if seen & FORK != 0 { seen | SLEEPERS } else { CONTENDED };
            if seen == asleep || self.word.compare_exchange(seen, asleep, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                self.sleep(asleep);
            }
        }
    }

    /// Release pairs with the acquire in the lock paths.
    #[inline]
    fn unlock(&self) {
        let before = self.word.fetch_sub(1, Ordering::Release);
        if before != HELD {
            self.unlock_contended(before);
        }
    }

    #[cold]
    fn unlock_contended(&self, before: u32) {
        if before & (FORK | ABANDONED) == 0 {
            self.word.swap(FREE, Ordering::Release);
            self.wake(1);
        }
    }

    /// Turns a lock that the caller holds into one held for a fork.
    fn mark_for_fork(&self) {
        // An exchange, like every write to the word, so that the models know the order of all of them.
        if self.word.swap(FORK, Ordering::Relaxed) == CONTENDED {
            self.word.fetch_or(SLEEPERS, Ordering::Relaxed);
        }
    }

    /// Ends the fork state: in the parent it wakes who slept meanwhile, in the child there is nobody to wake.
    fn release_after_fork(&self) {
        if self.is_abandoned() {
            return;
        }
        if self.word.swap(FREE, Ordering::Release) & SLEEPERS != 0 {
            self.wake(u32::MAX >> 1);
        }
    }
}

/// Locks in a copy that is being put in order.
#[cfg_attr(loom, allow(dead_code))]
impl FutexWord {
    /// Gives the lock up for good if anybody holds it, here or in the process that this is a copy of. Who held it for a fork
    /// and was not inside has changed nothing: then it is free.
    fn abandon_if_held(&self) -> bool {
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            if seen == FREE || seen & ABANDONED != 0 {
                return seen != FREE;
            }
            let entered = seen & !(FORK | SLEEPERS);
            let then = if entered == 0 { FREE } else { ABANDONED | entered };
            if self.word.compare_exchange(seen, then, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return then != FREE;
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        self.word.load(Ordering::Relaxed) & ABANDONED != 0
    }
}

/// The kernel's part: sleeping on the word, and waking who sleeps on it.
#[cfg(not(loom))]
impl FutexWord {
    /// Sleeps until woken if the word is still `seen`. A spurious return is fine: every caller looks again.
    fn sleep(&self, seen: u32) {
        let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
        let args = [self.word.as_ptr() as usize, operation, seen as usize, 0, 0, 0];
        // SAFETY: futex(2) reads the borrowed word.
        let _ = unsafe { crate::arch::syscall(libc::SYS_futex, args) };
    }

    fn wake(&self, threads: u32) {
        let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
        let args = [self.word.as_ptr() as usize, operation, threads as usize, 0, 0, 0];
        // SAFETY: futex(2) uses the word's address only as a key.
        let _ = unsafe { crate::arch::syscall(libc::SYS_futex, args) };
    }
}

/// Sleeps while `word` is `seen`, until somebody [wakes](wake) it, for so many milliseconds at most; or less.
#[cfg(not(loom))]
pub(crate) fn sleep_on(word: &AtomicU32, seen: u32, milliseconds: Option<usize>) {
    let time = milliseconds.map(|ms| [(ms / 1000) as u64, (ms % 1000) as u64 * 1_000_000]);
    let time = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: futex(2) reads the borrowed word, and a timespec of two words if there is one.
    let _ = unsafe {
        crate::arch::syscall(libc::SYS_futex, [word.as_ptr() as usize, operation, seen as usize, time, 0, 0])
    };
}

/// Wakes whoever sleeps on `word`.
#[cfg(not(loom))]
pub(crate) fn wake(word: &AtomicU32) {
    let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: futex(2) uses the word's address only as a key.
    let _ = unsafe { crate::arch::syscall(libc::SYS_futex, [word.as_ptr() as usize, operation, 1, 0, 0, 0]) };
}

#[cfg(loom)]
impl FutexWord {
    fn sleep(&self, seen: u32) {
        let mut sleepers = self.sleepers.lock().expect("not poisoned");
        // The kernel reads the word as it is now, whatever this thread may have seen.
        if self.word.fetch_add(0, Ordering::AcqRel) == seen {
            let bell = std::rc::Rc::new(loom::sync::Notify::new());
            sleepers.push(bell.clone());
            drop(sleepers);
            bell.wait();
            // Woken for nothing: not asleep any more.
            self.sleepers.lock().expect("not poisoned").retain(|other| !std::rc::Rc::ptr_eq(other, &bell));
        }
    }

    fn wake(&self, threads: u32) {
        let mut sleepers = self.sleepers.lock().expect("not poisoned");
        let woken = sleepers.len().min(threads as usize);
        sleepers.drain(..woken).for_each(|bell| bell.notify());
    }
}

#[cfg(not(loom))]
pub(crate) use lock::{Guard, Mutex, begin_fork, end_fork, owns_fork};

#[cfg(not(loom))]
mod lock {
    //! The word as a `lock_api` mutex, and the two ends of a fork.

    use super::{FORK_OWNER, FutexWord, Ordering, Wait};
    use crate::arch::thread_pointer;
    use crate::lineage::Lineage;

    /// A mutual exclusion lock around `T`; it neither allocates nor touches `errno`.
    pub(crate) type Mutex<T> = lock_api::Mutex<RawFutex, T>;
    /// Proof that a [`Mutex`] is held.
    pub(crate) type Guard<'a, T> = lock_api::MutexGuard<'a, RawFutex, T>;

    /// The lock word as `lock_api` wants it.
    #[derive(Debug)]
    pub(crate) struct RawFutex(pub(super) FutexWord);

    // SAFETY: at most one thread leaves `lock` or a successful `try_lock` before it calls `unlock`: the word goes from
    // FREE to HELD or CONTENDED by one compare-exchange. The owner of a fork may enter again, in the same thread.
    unsafe impl lock_api::RawMutex for RawFutex {
        const INIT: Self = Self(FutexWord::new());
        type GuardMarker = lock_api::GuardNoSend;

        #[inline]
        fn lock(&self) {
            if !self.0.try_lock_free() {
                self.0.lock_contended(&FORK_OWNER, thread_pointer(), None);
            }
        }

        #[inline]
        fn try_lock(&self) -> bool {
            self.0.try_lock_free() || self.0.try_enter_again(&FORK_OWNER, thread_pointer())
        }

        #[inline]
        unsafe fn unlock(&self) {
            self.0.unlock();
        }
    }

    impl RawFutex {
        /// As `lock`, unless the lock is abandoned, or this process is left behind.
        pub(crate) fn wait(&self, lineage: Option<Lineage<'_>>) -> Wait {
            if self.0.try_lock_free() {
                return Wait::Taken;
            }
            self.0.lock_contended(&FORK_OWNER, thread_pointer(), lineage)
        }

        /// Takes the lock for a fork that the calling thread is about to make. One that is abandoned stays so.
        pub(crate) fn lock_for_fork(&self) {
            if self.wait(None) == Wait::Taken {
                self.0.mark_for_fork();
            }
        }

        /// In a copy that is put in order: gives the lock up if anybody holds it, and says whether nobody will have it again.
        pub(crate) fn abandon_if_held(&self) -> bool {
            self.0.abandon_if_held()
        }

        /// Whether nobody will ever have the lock again.
        pub(crate) fn is_abandoned(&self) -> bool {
            self.0.is_abandoned()
        }

        /// In a copy that is put in order: whether the lock is held. Its holder is not here: whoever takes this lock puts the
        /// copy in order before.
        pub(crate) fn is_left_held(&self) -> bool {
            self.0.word.load(Ordering::Relaxed) != super::FREE
        }

        /// Makes a lock free whose holder is not here.
        pub(crate) fn free_left_held(&self) {
            self.0.word.swap(super::FREE, Ordering::Release);
        }

        /// Gives up a lock taken by [`lock_for_fork`](Self::lock_for_fork), in the parent or in the child.
        pub(crate) fn release_after_fork(&self) {
            self.0.release_after_fork();
        }
    }

    /// From here on the calling thread may enter locks that it holds for the fork.
    pub(crate) fn begin_fork() {
        FORK_OWNER.set(thread_pointer());
    }

    /// Whether the calling thread holds all locks for a fork.
    pub(crate) fn owns_fork() -> bool {
        FORK_OWNER.is(thread_pointer())
    }

    /// Ends what [`begin_fork`] began, before the locks are released.
    pub(crate) fn end_fork() {
        FORK_OWNER.set(0);
    }
}

#[cfg(loom)]
pub(crate) use lock::Mutex;
#[cfg(all(test, loom))]
pub(crate) use lock::{begin_fork, end_fork};

#[cfg(loom)]
mod lock {
    //! The same for the models: the word, and around the contents a cell that reports two who are there at once.

    use super::{ForkOwner, FutexWord};
    use core::ops::{Deref, DerefMut};
    use loom::cell::{MutPtr, UnsafeCell};

    loom::lazy_static! {
        static ref FORK_OWNER: ForkOwner = ForkOwner::new();
    }

    loom::thread_local! {
        static ME: Box<u8> = Box::new(0);
    }

    /// The address of something that every thread has one of.
    fn thread_pointer() -> usize {
        ME.with(|me| core::ptr::from_ref(&**me).addr())
    }

    /// A mutual exclusion lock around `T`.
    #[derive(Debug)]
    pub(crate) struct Mutex<T> {
        word: FutexWord,
        contents: UnsafeCell<T>,
    }

    // SAFETY: the contents are reached under the lock only; the cell reports anything else.
    unsafe impl<T: Send> Sync for Mutex<T> {}

    /// Proof that a [`Mutex`] is held.
    #[derive(Debug)]
    pub(crate) struct Guard<'a, T> {
        word: &'a FutexWord,
        /// `None` only while the guard is dropped: the cell has to know that nobody is there before the lock is free.
        contents: Option<MutPtr<T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(contents: T) -> Self {
            Self { word: FutexWord::new(), contents: UnsafeCell::new(contents) }
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            self.word.lock(&FORK_OWNER, thread_pointer());
            Guard { word: &self.word, contents: Some(self.contents.get_mut()) }
        }

        /// The lock without its contents.
        pub(crate) unsafe fn raw(&self) -> &Self {
            self
        }

        pub(crate) fn lock_for_fork(&self) {
            self.word.lock(&FORK_OWNER, thread_pointer());
            self.word.mark_for_fork();
        }

        pub(crate) fn release_after_fork(&self) {
            self.word.release_after_fork();
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            // SAFETY: the lock is held.
            unsafe { self.contents.as_ref().expect("not dropped").deref() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the lock is held.
            unsafe { self.contents.as_ref().expect("not dropped").deref() }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        fn drop(&mut self) {
            self.contents = None;
            self.word.unlock();
        }
    }

    /// From here on the calling thread may enter locks that it holds for the fork.
    #[cfg(test)]
    pub(crate) fn begin_fork() {
        FORK_OWNER.set(thread_pointer());
    }

    /// Ends what [`begin_fork`] began, before the locks are released.
    #[cfg(test)]
    pub(crate) fn end_fork() {
        FORK_OWNER.set(0);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::lock::RawFutex;
    use super::*;
    use lock_api::RawMutex;

    #[test]
    fn counts_exactly_under_contention() {
        let total = Mutex::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20_000).for_each(|_| *total.lock() += 1));
            }
        });
        assert_eq!(*total.lock(), 160_000);
    }

    #[test]
    fn a_held_lock_refuses_try_lock() {
        let lock = Mutex::new(());
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn an_abandoned_lock_is_nobodys_also_when_its_holder_releases_it() {
        let (word, expected) = (AtomicU32::new(0), AtomicU32::new(1));
        let left_behind = Some(Lineage { word: &word, expected: &expected });
        let lock = RawFutex::INIT;
        assert!(!lock.abandon_if_held() && !lock.is_abandoned(), "free");
        lock.lock();
        assert_eq!(lock.wait(left_behind), Wait::LeftBehind);
        assert!(lock.abandon_if_held() && lock.abandon_if_held());
        let is_abandoned = || {
            lock.lock_for_fork();
            lock.release_after_fork();
            !lock.try_lock() && lock.is_abandoned() && lock.wait(left_behind) == Wait::Abandoned
        };
        assert!(is_abandoned());
        // SAFETY: locked above.
        unsafe { lock.unlock() };
        assert!(is_abandoned());
    }

    #[test]
    fn a_lock_held_for_a_fork_is_free_in_a_copy_unless_its_owner_was_inside() {
        let lock = RawFutex::INIT;
        lock.lock_for_fork();
        assert!(!lock.abandon_if_held());
        assert!(lock.try_lock());
        lock.0.mark_for_fork();
        lock.0.word.fetch_add(1, Ordering::Relaxed);
        assert!(lock.abandon_if_held() && lock.is_abandoned() && !lock.try_lock());
    }

    #[test]
    fn the_owner_of_a_fork_enters_again_and_others_wait() {
        let lock = RawFutex::INIT;
        lock.lock_for_fork();
        begin_fork();
        lock.lock();
        assert!(lock.try_lock());
        std::thread::scope(|scope| {
            assert!(!scope.spawn(|| lock.try_lock()).join().expect("no panic"));
            let other = scope.spawn(|| {
                lock.lock();
                // SAFETY: locked in the line above.
                unsafe { lock.unlock() };
            });
            // SAFETY: entered twice above.
            unsafe { lock.unlock() };
            // SAFETY: as above.
            unsafe { lock.unlock() };
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!other.is_finished());
            end_fork();
            lock.release_after_fork();
            other.join().expect("no panic");
        });
        assert!(lock.try_lock());
    }
}

#[cfg(all(test, loom))]
pub(crate) mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Guarded {
        word: FutexWord,
        owner: ForkOwner,
        value: UnsafeCell<u32>,
    }

    impl Guarded {
        fn new() -> Arc<Self> {
            Arc::new(Self { word: FutexWord::new(), owner: ForkOwner::new(), value: UnsafeCell::new(0) })
        }

        fn add_one(&self, me: usize) {
            self.word.lock(&self.owner, me);
            // SAFETY: the lock is held; loom's cell reports any access that is not exclusive.
            self.value.with_mut(|value| unsafe { *value += 1 });
            self.word.unlock();
        }

        fn value(&self) -> u32 {
            // SAFETY: every other thread has been joined.
            self.value.with(|value| unsafe { *value })
        }
    }

    /// At most 3 preemptions, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
    pub(crate) fn model(body: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound.get_or_insert(3);
        builder.max_branches = 100_000;
        builder.check(body);
    }

    #[test]
    fn two_threads_exclude_each_other() {
        model(|| {
            let guarded = Guarded::new();
            let other = guarded.clone();
            let thread = loom::thread::spawn(move || {
                other.add_one(2);
                other.add_one(2);
            });
            guarded.add_one(1);
            thread.join().expect("no panic");
            assert_eq!(guarded.value(), 3);
        });
    }

    #[test]
    fn a_fork_shuts_others_out_and_lets_its_owner_in() {
        model(|| {
            let guarded = Guarded::new();
            let other = guarded.clone();
            let thread = loom::thread::spawn(move || other.add_one(2));
            guarded.word.lock(&guarded.owner, 1);
            guarded.word.mark_for_fork();
            guarded.owner.set(1);
            // A handler of another library allocates, twice, while the fork is being prepared.
            guarded.add_one(1);
            guarded.add_one(1);
            guarded.owner.set(0);
            guarded.word.release_after_fork();
            thread.join().expect("no panic");
            assert_eq!(guarded.value(), 3);
        });
    }

    /// A copy is put in order while a thread of its own may be inside: each lock is either taken in turn or nobody's.
    #[test]
    fn a_held_lock_is_abandoned_and_its_holder_goes_on() {
        model(|| {
            let guarded = Guarded::new();
            let other = guarded.clone();
            let thread = loom::thread::spawn(move || {
                if other.word.try_lock_free() {
                    // SAFETY: the lock is held.
                    other.value.with_mut(|value| unsafe { *value += 1 });
                    other.word.unlock();
                }
            });
            let is_abandoned = guarded.word.abandon_if_held();
            if !is_abandoned {
                guarded.add_one(1);
            }
            thread.join().expect("no panic");
            assert_eq!(guarded.word.is_abandoned(), is_abandoned);
            assert_eq!(guarded.word.try_lock_free(), !is_abandoned);
            assert!(guarded.value() >= 1);
        });
    }
}
