//! Parameters: what can be tuned, under which names, within which limits.
//!
//! One table stands behind every way to set a parameter: `mallopt` numbers, glibc's environment variables and tunables,
//! and `HEAPWRIGHT_` variables. The values are atomics, so that a setting takes effect from any thread at any moment.
//!
//! Facts about names, numbers and limits: the GNU C Library manual, "Malloc Tunable Parameters" and "Memory Allocation
//! Tunables", <https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html>.

use crate::attention::{Attention, Reason};
use crate::sync::atomic::{AtomicUsize, Ordering};

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
    pub(crate) const TCACHE_MAX: usize = crate::class::MAX_REQUEST;
    /// Mapped chunks at one time.
    pub(crate) const MMAP_MAX: usize = 65_536;
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    MmapThreshold,
    TrimThreshold,
    TopPad,
    MmapMax,
    ArenaMax,
    ArenaTest,
    Perturb,
    /// How many cores to reckon with, instead of those that the process may use.
    Cores,
    /// Whether the main arena may use the program break.
    Brk,
    /// How many blocks of a size a thread may cache; 0: none.
    TcacheCount,
    /// The largest request that is cached; 0: none is.
    TcacheMax,
}

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
}

const fn row(param: Param, name: &'static str, mallopt: i32, alias: &'static str, least: usize, most: usize) -> Row {
    Row { param, name, alias: Some(alias), is_tunable: true, mallopt: Some(mallopt), least, most }
}

/// Every parameter.
pub(crate) static TABLE: [Row; 11] = [
    row(Param::TrimThreshold, "TRIM_THRESHOLD", -1, "MALLOC_TRIM_THRESHOLD_", 0, usize::MAX),
    row(Param::TopPad, "TOP_PAD", -2, "MALLOC_TOP_PAD_", 0, usize::MAX),
    row(Param::MmapThreshold, "MMAP_THRESHOLD", -3, "MALLOC_MMAP_THRESHOLD_", 0, usize::MAX),
    row(Param::MmapMax, "MMAP_MAX", -4, "MALLOC_MMAP_MAX_", 0, i32::MAX as usize),
    row(Param::Perturb, "PERTURB", -6, "MALLOC_PERTURB_", 0, 255),
    row(Param::ArenaTest, "ARENA_TEST", -7, "MALLOC_ARENA_TEST", 1, usize::MAX),
    row(Param::ArenaMax, "ARENA_MAX", -8, "MALLOC_ARENA_MAX", 1, usize::MAX),
    Row {
        param: Param::TcacheCount,
        name: "TCACHE_COUNT",
        alias: None,
        is_tunable: true,
        mallopt: None,
        least: 0,
        most: 65_535,
    },
    Row {
        param: Param::TcacheMax,
        name: "TCACHE_MAX",
        alias: None,
        is_tunable: true,
        mallopt: None,
        least: 0,
        most: 4 << 20,
    },
    Row { param: Param::Cores, name: "CORES", alias: None, is_tunable: false, mallopt: None, least: 1, most: 4096 },
    Row { param: Param::Brk, name: "BRK", alias: None, is_tunable: false, mallopt: None, least: 0, most: 1 },
];

/// The effective values.
#[derive(Debug)]
pub(crate) struct Params {
    /// What the fast paths have to look at.
    pub(crate) attention: Attention,
    mmap_threshold: AtomicUsize,
    trim_threshold: AtomicUsize,
    top_pad: AtomicUsize,
    mmap_max: AtomicUsize,
    /// 0: by the number of cores.
    arena_max: AtomicUsize,
    arena_test: AtomicUsize,
    /// The byte that fills freed memory; 0: none.
    perturb: AtomicUsize,
    /// 0: as many as the system says.
    cores: AtomicUsize,
    brk: AtomicUsize,
    tcache_count: AtomicUsize,
    tcache_max: AtomicUsize,
    /// Whether one of the four thresholds was set by hand, which ends the moving rule.
    is_fixed: AtomicUsize,
    /// Whether `top_pad` was set by hand, which ends its growth.
    is_pad_fixed: AtomicUsize,
}

impl Params {
    pub(crate) const fn new() -> Self {
        Self {
            attention: Attention::new(),
            mmap_threshold: AtomicUsize::new(default::MMAP_THRESHOLD),
            trim_threshold: AtomicUsize::new(default::TRIM_THRESHOLD),
            top_pad: AtomicUsize::new(default::TOP_PAD),
            mmap_max: AtomicUsize::new(default::MMAP_MAX),
            arena_max: AtomicUsize::new(0),
            arena_test: AtomicUsize::new(8),
            perturb: AtomicUsize::new(0),
            cores: AtomicUsize::new(0),
            brk: AtomicUsize::new(1),
            tcache_count: AtomicUsize::new(default::TCACHE_COUNT),
            tcache_max: AtomicUsize::new(default::TCACHE_MAX),
            is_fixed: AtomicUsize::new(0),
            is_pad_fixed: AtomicUsize::new(0),
        }
    }

    // Relaxed throughout: each parameter stands for itself, and a setting takes effect a moment later as well as now.

    fn word(&self, param: Param) -> &AtomicUsize {
        match param {
            Param::MmapThreshold => &self.mmap_threshold,
            Param::TrimThreshold => &self.trim_threshold,
            Param::TopPad => &self.top_pad,
            Param::MmapMax => &self.mmap_max,
            Param::ArenaMax => &self.arena_max,
            Param::ArenaTest => &self.arena_test,
            Param::Perturb => &self.perturb,
            Param::Cores => &self.cores,
            Param::Brk => &self.brk,
            Param::TcacheCount => &self.tcache_count,
            Param::TcacheMax => &self.tcache_max,
        }
    }

    /// The value of `param`; see the fields for what 0 means.
    #[inline]
    pub(crate) fn get(&self, param: Param) -> usize {
        self.word(param).load(Ordering::Relaxed)
    }

    /// Sets a parameter; its limits have been looked at.
    pub(crate) fn set(&self, param: Param, value: usize) {
        self.word(param).store(value, Ordering::Relaxed);
        match param {
            Param::MmapThreshold | Param::TrimThreshold | Param::MmapMax => self.is_fixed.store(1, Ordering::Relaxed),
            Param::TopPad => {
                self.is_fixed.store(1, Ordering::Relaxed);
                self.is_pad_fixed.store(1, Ordering::Relaxed);
            }
            Param::Perturb => self.attention.set(Reason::Perturb, value != 0),
            _ => {}
        }
    }

    /// ptmalloc's moving rule: a mapped chunk of `size` bytes was freed, so blocks of its size come and go; from now on
    /// they are served by the arenas, and the tops may be twice as long before they are cut.
    pub(crate) fn note_freed_mapping(&self, size: usize) {
        if self.is_fixed.load(Ordering::Relaxed) != 0 || size > default::MMAP_THRESHOLD_MAX {
            return;
        }
        if size > self.get(Param::MmapThreshold) {
            self.mmap_threshold.store(size, Ordering::Relaxed);
            self.trim_threshold.store(2 * size, Ordering::Relaxed);
        }
    }

    /// By how much more than needed an arena grows that has `system` bytes: the pad, or an eighth of the arena up to
    /// 1 MiB when nobody has set the pad.
    pub(crate) fn growth_pad(&self, system: usize) -> usize {
        let pad = self.get(Param::TopPad);
        if self.is_pad_fixed.load(Ordering::Relaxed) != 0 {
            return pad;
        }
        pad.max((system / 8).min(default::TOP_PAD_MAX))
    }

    /// From which length on the top of an arena that has `system` bytes is cut down to the pad.
    ///
    /// Never so soon that the next growth follows at once: by default at least a growth step goes back at a time, and
    /// with a trim threshold set by hand at least that, up to 128 KiB.
    pub(crate) fn trim_trigger(&self, system: usize) -> usize {
        let threshold = self.get(Param::TrimThreshold);
        let pad = self.growth_pad(system);
        let is_fixed = self.is_fixed.load(Ordering::Relaxed) != 0;
        let step = if is_fixed { threshold.min(default::TOP_PAD) } else { pad };
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
        params.note_freed_mapping(512 << 10);
        assert_eq!(params.get(Param::MmapThreshold), 1 << 20, "it only grows");
        params.note_freed_mapping(default::MMAP_THRESHOLD_MAX + 1);
        assert_eq!(params.get(Param::MmapThreshold), 1 << 20, "and not beyond 32 MiB");
        params.set(Param::MmapMax, 10);
        params.note_freed_mapping(2 << 20);
        assert_eq!(params.get(Param::MmapThreshold), 1 << 20, "and not after a setting by hand");
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
            assert!(params.trim_trigger(system) >= params.growth_pad(system) + (128 << 10));
        }
        params.set(Param::TopPad, 0);
        params.set(Param::TrimThreshold, 64 << 10);
        assert_eq!(params.trim_trigger(0), 64 << 10);
        params.set(Param::TrimThreshold, usize::MAX);
        assert_eq!(params.trim_trigger(0), usize::MAX, "never");
    }

    #[test]
    fn mallopt_numbers_are_glibc_s() {
        assert_eq!(by_mallopt(-1, -1), Some((Param::TrimThreshold, usize::MAX)));
        assert_eq!(by_mallopt(-8, 0), None);
        assert_eq!(by_mallopt(-6, 0x1A5), Some((Param::Perturb, 0xA5)));
        assert_eq!(by_mallopt(1, 64), None);
        assert_eq!(by_mallopt(12345, 0), None);
    }

    #[test]
    fn names_are_unique() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..index].iter().all(|other| other.name != row.name && other.param != row.param));
            assert!(row.least <= row.most);
        }
    }
}
