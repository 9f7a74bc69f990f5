//! Parameters: what can be tuned, under which names, within which limits.
//!
//! One table stands behind every way to set a parameter: the builder of the static, `set` and `mallopt`, glibc's
//! environment variables and tunables, and `HEAPWRIGHT_` variables. A parameter is one variant of [`Param`] and one row of
//! the table; nothing else has to know its names. The values are atomics, so that a setting takes effect from any thread
//! at any moment.
//!
//! ```text
//!   default < builder < MALLOC_X_ < GLIBC_TUNABLES < HEAPWRIGHT_X < run time
//! ```
//!
//! Each value knows which of these it came from, and a setting of a lower rank than that is passed over. So the order in
//! which the sources are read does not matter: the environment may turn up after the first `mallopt`.
//!
//! Facts about names, numbers and limits: the GNU C Library manual, "Malloc Tunable Parameters" and "Memory Allocation
//! Tunables", <https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html>.

use core::fmt;

use crate::arch::{HUGE_PAGE_LEN, PAGE_LEN};
use crate::attention::{Attention, Reason};
use crate::generation::Generation;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// Defaults, in bytes unless they count something.
pub(crate) mod default {
    /// Requests from here on get a mapping of their own.
    pub(crate) const MMAP_THRESHOLD: usize = 128 << 10;
    /// The moving threshold moves no further than this.
    pub(crate) const MMAP_THRESHOLD_MAX: usize = 32 << 20;
    /// A free top from here on is cut down.
    pub(crate) const TRIM_THRESHOLD: usize = 128 << 10;
    /// Each growth adds this, and each cut leaves it.
    pub(crate) const TOP_PAD: usize = 128 << 10;
    /// Under steady growth the pad grows with the arena, up to this.
    pub(crate) const TOP_PAD_MAX: usize = 1 << 20;
    /// Cached blocks of a size in a thread, as far as magazines are that long.
    pub(crate) const TCACHE_COUNT: usize = 128;
    /// Requests up to this are cached.
    pub(crate) const TCACHE_MAX: usize = crate::recent::MAX_REQUEST;
    /// Free memory that lay unused for so many milliseconds goes back.
    pub(crate) const DIRTY_DECAY_MS: usize = 300;
    /// Free memory that stays, in percent of what is in use.
    pub(crate) const DIRTY_PERCENT: usize = 2;
    /// Mapped chunks at one time.
    pub(crate) const MMAP_MAX: usize = 65_536;
}

/// A parameter: what can be set by the builder of [`Heapwright`](crate::Heapwright), by [`set`](crate::set), by
/// `mallopt`, and by the environment.
///
/// Each is a number. Its unit, its limits and its default stand with it; a number outside the limits is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Param {
    /// Bytes; any; 131,072. A top that is shorter than this is not cut down; `usize::MAX`: never. Moves with
    /// [`MmapThreshold`](Self::MmapThreshold) until one of the four thresholds is set.
    TrimThreshold,
    /// Bytes; any; 131,072. Each growth of an arena adds so much to what it needs, and each cut leaves so much. Grows
    /// with the arena, up to 1 MiB, until it is set.
    TopPad,
    /// Bytes; any; 131,072. A chunk from this size on gets a mapping of its own. Until one of the four thresholds
    /// (this, [`TrimThreshold`](Self::TrimThreshold), [`TopPad`](Self::TopPad), [`MmapMax`](Self::MmapMax)) is set, it
    /// moves up to the size of each mapped block that is freed, to 32 MiB at most.
    MmapThreshold,
    /// A number; 0 to 2,147,483,647; 65,536. At most so many mapped blocks at a time; 0: only where nothing else is
    /// left.
    MmapMax,
    /// A byte; 0 to 255; 0. Fills freed memory with this byte and new memory, unless it is to be zero, with its
    /// complement; blocks that pass through a cache too. 0: neither.
    Perturb,
    /// Accepted, and without effect: the cores are known before the first thread arena is made. From 1.
    ArenaTest,
    /// A number; from 1; 0 stands for "by the cores". So many arenas at most, the main one included. Lowered, no arena is
    /// made beyond it, and a thread that begins uses none beyond it.
    ArenaMax,
    /// Blocks; 0 to 65,535; 128. A thread caches at most so many blocks of a size, as far as two magazines hold them; 0:
    /// none. A running thread follows at its next free, or when it finds its cache empty.
    TcacheCount,
    /// Bytes; 0 to 4 MiB; 131,072, above which it has no further effect. Requests up to this are cached, those above 8,192 if their
    /// length comes back after it was freed; 0: none.
    TcacheMax,
    /// Huge pages: 0: as the system does by itself, but none (MADV_NOHUGEPAGE) in arenas once pages inside them have been given
    /// back, which it would take again. 1: MADV_HUGEPAGE on what arenas grow by, which is 2 MiB at a time then,
    /// and on mapped blocks of 2 MiB and more. 2: mapped blocks of that length are of 2 MiB pages (MAP_HUGETLB), and of
    /// normal ones where the system has none to give, or the block has to be aligned. More: the same with huge pages of
    /// that many bytes. Any; 0.
    Hugetlb,
    /// A number; 1 to 4,096; 0 stands for "as the system says". Arenas are chosen as if the process could use so many
    /// cores.
    Cores,
    /// 0 or 1; 1. 0: the main arena leaves the program break alone and grows in heaps.
    Brk,
    /// Accepted, and without effect: there are no fast bins.
    Mxfast,
    /// Accepted, and without effect: misuse that is noticed always ends the process.
    CheckAction,
    /// Milliseconds; any; 300. Free memory that lay unused for so long goes back by itself; 0: at the next look, a
    /// millisecond later; `usize::MAX`: never.
    DirtyDecayMs,
    /// Percent of what an arena has in use; 0 to 100; 2. So much free memory stays however long it lies unused, and 128 KiB
    /// in any case.
    DirtyPercent,
    /// 0 or 1; 1. Small chunks have regions of their own, as long as there is room; 0: all chunks lie wherever they fit.
    Regions,
    /// 0 or 1; 0. 1: a background thread gives memory back in a process that makes no requests any more. It is made when
    /// something is first due, and ends when this and [`PressureMs`](Self::PressureMs) are 0 again.
    BackgroundThread,
    /// Milliseconds; 0 to 1,000; 0. When tasks of the machine, or of the process's control group, had to wait for memory for so
    /// much of a second, all that lies unused goes back at once, as by [`trim`](crate::trim). The background thread looks once
    /// a second, whether [`BackgroundThread`](Self::BackgroundThread) is set or not. 0: nobody looks.
    PressureMs,
}

/// How many parameters there are.
pub(crate) const COUNT: usize = ROWS.len();

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) param: Param,
    /// The name behind `HEAPWRIGHT_`, in upper case, and the tunable behind `glibc.malloc.`, in lower case.
    pub(crate) name: &'static str,
    /// glibc's environment variable.
    pub(crate) alias: Option<&'static str>,
    /// Whether glibc has a tunable of this name.
    pub(crate) is_tunable: bool,
    /// The first argument of `mallopt`.
    #[cfg_attr(
        not(any(test, feature = "preload", feature = "override")),
        expect(dead_code, reason = "read by the C interface only")
    )]
    pub(crate) mallopt: Option<i32>,
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) default: usize,
    /// What the default 0 stands for where the limits exclude it.
    pub(crate) zero: Option<&'static str>,
    pub(crate) has_effect: bool,
}

/// A row of a parameter that only we have; the methods below say what glibc has too.
const fn own(param: Param, name: &'static str, least: usize, most: usize, default: usize) -> Row {
    Row {
        param,
        name,
        alias: None,
        is_tunable: false,
        mallopt: None,
        least,
        most,
        default,
        zero: None,
        has_effect: true,
    }
}

impl Row {
    /// It is a tunable of glibc's too.
    const fn tunable(self) -> Self {
        Self { is_tunable: true, ..self }
    }

    /// It is a tunable, a variable and a number of `mallopt` of glibc's too.
    const fn glibc(self, mallopt: i32, alias: &'static str) -> Self {
        Self { is_tunable: true, mallopt: Some(mallopt), alias: Some(alias), ..self }
    }

    const fn zero_means(self, meaning: &'static str) -> Self {
        Self { zero: Some(meaning), ..self }
    }

    const fn without_effect(self) -> Self {
        Self { has_effect: false, ..self }
    }
}

const ANY: usize = usize::MAX;

const ROWS: [Row; 19] = [
    own(Param::TrimThreshold, "TRIM_THRESHOLD", 0, ANY, default::TRIM_THRESHOLD).glibc(-1, "MALLOC_TRIM_THRESHOLD_"),
    own(Param::TopPad, "TOP_PAD", 0, ANY, default::TOP_PAD).glibc(-2, "MALLOC_TOP_PAD_"),
    own(Param::MmapThreshold, "MMAP_THRESHOLD", 0, ANY, default::MMAP_THRESHOLD).glibc(-3, "MALLOC_MMAP_THRESHOLD_"),
    own(Param::MmapMax, "MMAP_MAX", 0, i32::MAX as usize, default::MMAP_MAX).glibc(-4, "MALLOC_MMAP_MAX_"),
    own(Param::Perturb, "PERTURB", 0, 255, 0).glibc(-6, "MALLOC_PERTURB_"),
    own(Param::ArenaTest, "ARENA_TEST", 1, ANY, 8).glibc(-7, "MALLOC_ARENA_TEST").without_effect(),
    own(Param::ArenaMax, "ARENA_MAX", 1, ANY, 0).glibc(-8, "MALLOC_ARENA_MAX").zero_means("by the cores"),
    own(Param::TcacheCount, "TCACHE_COUNT", 0, 65_535, default::TCACHE_COUNT).tunable(),
    own(Param::TcacheMax, "TCACHE_MAX", 0, 4 << 20, default::TCACHE_MAX).tunable(),
    own(Param::Hugetlb, "HUGETLB", 0, ANY, 0).tunable(),
    own(Param::Cores, "CORES", 1, 4096, 0).zero_means("as the system says"),
    own(Param::Brk, "BRK", 0, 1, 1),
    Row { mallopt: Some(1), ..own(Param::Mxfast, "MXFAST", 0, ANY, 0).tunable().without_effect() },
    own(Param::CheckAction, "CHECK", 0, 3, 0).glibc(-5, "MALLOC_CHECK_").without_effect(),
    own(Param::DirtyDecayMs, "DIRTY_DECAY_MS", 0, ANY, default::DIRTY_DECAY_MS),
    own(Param::DirtyPercent, "DIRTY_PERCENT", 0, 100, default::DIRTY_PERCENT),
    own(Param::Regions, "REGIONS", 0, 1, 1),
    own(Param::BackgroundThread, "BACKGROUND_THREAD", 0, 1, 0),
    own(Param::PressureMs, "PRESSURE_MS", 0, 1000, 0),
];

/// Every parameter, in the order of [`Param`].
pub(crate) static TABLE: [Row; COUNT] = ROWS;

const _: () = {
    let mut index = 0;
    while index < COUNT {
        assert!(ROWS[index].param as usize == index, "a row stands where its parameter's number says");
        index += 1;
    }
};

impl Param {
    /// Every parameter.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.param)
    }

    pub(crate) const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name, as behind `HEAPWRIGHT_` in the environment, for example `MMAP_THRESHOLD`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The smallest and the largest value that it can be set to.
    pub const fn limits(self) -> (usize, usize) {
        (self.row().least, self.row().most)
    }

    /// Its value when nobody has set it.
    pub const fn default(self) -> usize {
        self.row().default
    }

    /// Whether it does anything. Those that do not are accepted for the sake of programs that set them for glibc.
    pub const fn has_effect(self) -> bool {
        self.row().has_effect
    }

    pub(crate) const fn allows(self, value: usize) -> bool {
        let (least, most) = self.limits();
        least <= value && value <= most
    }
}

/// What set a parameter to its value. A setting by something that stands lower in this list is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum SetBy {
    /// Nobody.
    Default,
    /// The moving rule of the thresholds: mapped blocks of this size have come and gone.
    Moved,
    /// The builder of the program's [`Heapwright`](crate::Heapwright).
    Builder,
    /// glibc's environment variable, for example `MALLOC_ARENA_MAX`.
    GlibcVariable,
    /// An entry of the environment variable `GLIBC_TUNABLES`.
    Tunable,
    /// An environment variable that begins with `HEAPWRIGHT_`.
    Variable,
    /// [`set`](crate::set) or `mallopt`.
    RunTime,
}

impl SetBy {
    const ALL: [Self; 7] =
        [Self::Default, Self::Moved, Self::Builder, Self::GlibcVariable, Self::Tunable, Self::Variable, Self::RunTime];
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::Moved => "moved by the dynamic rule",
            Self::Builder => "builder",
            Self::GlibcVariable => "environment variable MALLOC_",
            Self::Tunable => "GLIBC_TUNABLES",
            Self::Variable => "environment variable HEAPWRIGHT_",
            Self::RunTime => "run time",
        })
    }
}

/// The effective values.
#[derive(Debug)]
pub(crate) struct Params {
    /// What the fast paths have to look at.
    pub(crate) attention: Attention,
    /// Moves with each change of the limits that thread caches keep a copy of.
    pub(crate) cache_limits: Generation,
    /// What each value differs from its default in: all zero at first, so that the allocator's static takes no place in the file.
    changes: [AtomicUsize; COUNT],
    set_by: [AtomicU8; COUNT],
    /// Whether one of the four thresholds was set by hand, which ends the moving rule.
    is_fixed: AtomicBool,
    /// Whether `top_pad` was set by hand, which ends its growth.
    is_pad_fixed: AtomicBool,
}

impl Params {
    pub(crate) const fn new() -> Self {
        Self {
            attention: Attention::new(),
            cache_limits: Generation::new(),
            changes: [const { AtomicUsize::new(0) }; COUNT],
            set_by: [const { AtomicU8::new(SetBy::Default as u8) }; COUNT],
            is_fixed: AtomicBool::new(false),
            is_pad_fixed: AtomicBool::new(false),
        }
    }

    // Relaxed throughout: each parameter stands for itself, and a setting takes effect a moment later as well as now.

    /// The value of `param`; see the table for what 0 means.
    #[inline]
    pub(crate) fn get(&self, param: Param) -> usize {
        self.changes[param as usize].load(Ordering::Relaxed) ^ ROWS[param as usize].default
    }

    /// Whether there is to be a background thread.
    pub(crate) fn wants_thread(&self) -> bool {
        self.get(Param::BackgroundThread) != 0 || self.get(Param::PressureMs) != 0
    }

    fn store(&self, param: Param, value: usize, by: SetBy) {
        self.changes[param as usize].store(value ^ ROWS[param as usize].default, Ordering::Relaxed);
        self.set_by[param as usize].store(by as u8, Ordering::Relaxed);
    }

    /// What set `param` last.
    pub(crate) fn set_by(&self, param: Param) -> SetBy {
        SetBy::ALL[usize::from(self.set_by[param as usize].load(Ordering::Relaxed))]
    }

    /// Sets a parameter at run time; its limits have been looked at.
    pub(crate) fn set(&self, param: Param, value: usize) {
        self.set_as(param, value, SetBy::RunTime);
    }

    /// Sets a parameter unless something of a higher rank has; its limits have been looked at.
    pub(crate) fn set_as(&self, param: Param, value: usize, by: SetBy) {
        if by < self.set_by(param) {
            return;
        }
        self.store(param, value, by);
        match param {
            Param::MmapThreshold | Param::TrimThreshold | Param::MmapMax => {
                self.is_fixed.store(true, Ordering::Relaxed)
            }
            Param::TopPad => {
                self.is_fixed.store(true, Ordering::Relaxed);
                self.is_pad_fixed.store(true, Ordering::Relaxed);
            }
            Param::Perturb => self.attention.set(Reason::Perturb, value != 0),
            Param::TcacheCount | Param::TcacheMax => self.cache_limits.advance(),
            _ => {}
        }
    }

    /// ptmalloc's moving rule: a mapped chunk of `size` bytes was freed, so blocks of its size come and go; from now on
    /// they are served by the arenas, and the tops may be twice as long before they are cut.
    pub(crate) fn note_freed_mapping(&self, size: usize) {
        if self.is_fixed.load(Ordering::Relaxed) || size > default::MMAP_THRESHOLD_MAX {
            return;
        }
        if size > self.get(Param::MmapThreshold) {
            for (param, value) in [(Param::MmapThreshold, size), (Param::TrimThreshold, 2 * size)] {
                self.store(param, value, SetBy::Moved);
            }
        }
    }

    /// By how much more than needed an arena grows that has `system` bytes: the pad, or an eighth of the arena up to
    /// 1 MiB when nobody has set the pad.
    pub(crate) fn growth_pad(&self, system: usize) -> usize {
        let pad = self.get(Param::TopPad);
        // A huge page needs as much in one piece.
        let pad = if self.get(Param::Hugetlb) == 1 { pad.max(HUGE_PAGE_LEN) } else { pad };
        if self.is_pad_fixed.load(Ordering::Relaxed) {
            return pad;
        }
        pad.max((system / 8).min(default::TOP_PAD_MAX))
    }

    /// From which length on the top of an arena that has `system` bytes is cut down to the pad, if it has grown for `need` bytes.
    ///
    /// Never so soon that the next growth follows at once: by default at least a growth step goes back at a time, and what it
    /// grew for, up to 256 KiB; with a trim threshold set by hand at least that, up to 128 KiB.
    pub(crate) fn trim_trigger(&self, system: usize, need: usize) -> usize {
        let threshold = self.get(Param::TrimThreshold);
        let pad = self.growth_pad(system);
        let step = if self.is_fixed.load(Ordering::Relaxed) {
            threshold.min(default::TOP_PAD)
        } else {
            // The growth ends with a page.
            pad.max(need.min(2 * default::TOP_PAD) + PAGE_LEN)
        };
        threshold.max(pad.saturating_add(step))
    }
}

/// The parameter that `mallopt(number, value)` sets, and its value, or `None` where glibc ignores the call.
#[cfg(any(test, feature = "preload", feature = "override"))]
pub(crate) fn by_mallopt(number: i32, value: i32) -> Option<(Param, usize)> {
    let row = TABLE.iter().find(|row| row.mallopt == Some(number))?;
    // As in C: an int that becomes a size_t, so -1 is "never".
    let wide = value as isize as usize;
    match row.param {
        Param::ArenaMax | Param::ArenaTest if value <= 0 => None,
        Param::Perturb => Some((row.param, wide & 0xFF)),
        param => Some((param, wide)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_follows_freed_mappings_until_somebody_sets_one() {
        let params = Params::new();
        params.note_freed_mapping(1 << 20);
        assert_eq!((params.get(Param::MmapThreshold), params.get(Param::TrimThreshold)), (1 << 20, 2 << 20));
        assert_eq!(params.set_by(Param::TrimThreshold), SetBy::Moved);
        params.note_freed_mapping(512 << 10);
        assert_eq!(params.get(Param::MmapThreshold), 1 << 20, "it only grows");
        params.note_freed_mapping(default::MMAP_THRESHOLD_MAX + 1);
        assert_eq!(params.get(Param::MmapThreshold), 1 << 20, "and not beyond 32 MiB");
        params.set(Param::MmapMax, 10);
        params.note_freed_mapping(2 << 20);
        assert_eq!(params.get(Param::MmapThreshold), 1 << 20, "and not after a setting by hand");
    }

    #[test]
    fn a_setting_of_a_lower_rank_comes_too_late_whenever_it_comes() {
        let params = Params::new();
        params.set_as(Param::TopPad, 1, SetBy::Variable);
        params.set_as(Param::TopPad, 2, SetBy::Builder);
        params.set_as(Param::TopPad, 3, SetBy::Tunable);
        assert_eq!((params.get(Param::TopPad), params.set_by(Param::TopPad)), (1, SetBy::Variable));
        params.set(Param::TopPad, 4);
        params.set(Param::TopPad, 5);
        assert_eq!((params.get(Param::TopPad), params.set_by(Param::TopPad)), (5, SetBy::RunTime));
    }

    #[test]
    fn growth_follows_the_arena_until_the_pad_is_set() {
        let params = Params::new();
        assert_eq!(params.growth_pad(0), 128 << 10);
        assert_eq!(params.growth_pad(4 << 20), 512 << 10);
        assert_eq!(params.growth_pad(1 << 30), 1 << 20);
        params.set(Param::TopPad, 4096);
        assert_eq!(params.growth_pad(1 << 30), 4096);
    }

    #[test]
    fn a_trim_gives_back_more_than_the_next_growth_takes() {
        let params = Params::new();
        for system in [0, 1 << 20, 64 << 20] {
            for need in [32, 40_000, 131_088, 200_000] {
                let trigger = params.trim_trigger(system, need);
                let grown = params.growth_pad(system) + need.next_multiple_of(4096);
                assert!(trigger >= params.growth_pad(system) + (128 << 10) && trigger > grown, "{system} {need}");
            }
        }
        params.set(Param::TopPad, 0);
        params.set(Param::TrimThreshold, 64 << 10);
        assert_eq!(params.trim_trigger(0, 0), 64 << 10);
        params.set(Param::TrimThreshold, usize::MAX);
        assert_eq!(params.trim_trigger(0, 0), usize::MAX, "never");
    }

    #[test]
    fn mallopt_numbers_are_glibc_s() {
        assert_eq!(by_mallopt(-1, -1), Some((Param::TrimThreshold, usize::MAX)));
        assert_eq!(by_mallopt(-8, 0), None);
        assert_eq!(by_mallopt(-6, 0x1A5), Some((Param::Perturb, 0xA5)));
        assert_eq!(by_mallopt(1, 64), Some((Param::Mxfast, 64)));
        assert_eq!(by_mallopt(-5, 3), Some((Param::CheckAction, 3)));
        assert_eq!(by_mallopt(12345, 0), None);
    }

    #[test]
    fn names_are_unique_and_defaults_within_the_limits() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..index].iter().all(|other| other.name != row.name));
            assert!(row.mallopt.is_none() || TABLE[..index].iter().all(|other| other.mallopt != row.mallopt));
            assert!(row.least <= row.most);
            assert!(row.param.allows(row.default) || row.zero.is_some(), "{}", row.name);
        }
    }
}
