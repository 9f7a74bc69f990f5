//! The builder: parameters that a program fixes where it declares its allocator.
//!
//! The values are plain data in the static. The first request that comes through it hands them to the table of
//! parameters, where they rank above the defaults and below the environment.

use crate::options::{COUNT, Param, Params, SetBy, TABLE};

/// The allocator, to be declared as a program's global one:
///
/// ```
/// #[global_allocator]
/// static GLOBAL: heapwright::Heapwright = heapwright::Heapwright::new();
/// # fn main() {}
/// ```
///
/// Parameters may be fixed in the same place. What the environment sets wins over them, and [`set`](crate::set) over
/// both:
///
/// ```
/// use heapwright::{Heapwright, Param, SetBy};
///
/// #[global_allocator]
/// static GLOBAL: Heapwright = Heapwright::new().mmap_threshold(256 << 10).trim_threshold(1 << 20).arena_max(4);
///
/// fn main() {
///     let threshold = heapwright::options().get(Param::MmapThreshold);
///     assert_eq!((threshold.value, threshold.set_by), (256 << 10, SetBy::Builder));
/// }
/// ```
///
/// A value outside its limits does not compile:
///
/// ```compile_fail
/// static GLOBAL: heapwright::Heapwright = heapwright::Heapwright::new().arena_max(0);
/// # fn main() {}
/// ```
///
/// All values of this type are the same allocator: there is one heap in a process, and the parameters are those of the
/// value that the first request came through. With feature `override`, C code may allocate before any Rust code does; it
/// then runs on the defaults until then. Memory comes at any alignment that a `Layout` can have; a request that cannot be
/// served is answered with a null pointer. A block that grows or shrinks stays where it is when its neighbours let it.
/// Misuse of a block that is noticed (a double free, an overflow into the next head) ends the process with one sentence
/// on stderr.
#[derive(Clone, Copy, Debug)]
pub struct Heapwright {
    values: [usize; COUNT],
    /// Bit `i` set: `values[i]` was chosen.
    chosen: u32,
}

const _: () = assert!(COUNT <= 32, "one bit a parameter");

impl Default for Heapwright {
    fn default() -> Self {
        Self::new()
    }
}

impl Heapwright {
    /// The allocator, with nothing fixed.
    pub const fn new() -> Self {
        Self { values: [0; COUNT], chosen: 0 }
    }

    /// Fixes a parameter.
    ///
    /// # Panics
    ///
    /// If `value` is outside the parameter's limits; in a static that is an error of the compiler's.
    pub const fn with(mut self, param: Param, value: usize) -> Self {
        assert!(param.allows(value), "the value is outside the limits of its parameter; see heapwright::Param");
        self.values[param as usize] = value;
        self.chosen |= 1 << param as usize;
        self
    }

    /// [`Param::MmapThreshold`], in bytes.
    pub const fn mmap_threshold(self, bytes: usize) -> Self {
        self.with(Param::MmapThreshold, bytes)
    }

    /// [`Param::MmapMax`], a number of blocks.
    pub const fn mmap_max(self, blocks: usize) -> Self {
        self.with(Param::MmapMax, blocks)
    }

    /// [`Param::TrimThreshold`], in bytes.
    pub const fn trim_threshold(self, bytes: usize) -> Self {
        self.with(Param::TrimThreshold, bytes)
    }

    /// [`Param::TopPad`], in bytes.
    pub const fn top_pad(self, bytes: usize) -> Self {
        self.with(Param::TopPad, bytes)
    }

    /// [`Param::ArenaMax`], a number of arenas.
    pub const fn arena_max(self, arenas: usize) -> Self {
        self.with(Param::ArenaMax, arenas)
    }

    /// [`Param::TcacheCount`], a number of blocks.
    pub const fn tcache_count(self, blocks: usize) -> Self {
        self.with(Param::TcacheCount, blocks)
    }

    /// [`Param::TcacheMax`], in bytes.
    pub const fn tcache_max(self, bytes: usize) -> Self {
        self.with(Param::TcacheMax, bytes)
    }

    /// [`Param::Perturb`].
    pub const fn perturb(self, byte: u8) -> Self {
        self.with(Param::Perturb, byte as usize)
    }

    /// [`Param::Hugetlb`].
    pub const fn hugetlb(self, mode: usize) -> Self {
        self.with(Param::Hugetlb, mode)
    }

    /// [`Param::Cores`], a number of cores.
    pub const fn cores(self, cores: usize) -> Self {
        self.with(Param::Cores, cores)
    }

    /// [`Param::Brk`]: whether the main arena may use the program break.
    pub const fn brk(self, may_use: bool) -> Self {
        self.with(Param::Brk, may_use as usize)
    }

    /// Whether nothing is fixed. In a static the compiler knows the answer.
    #[inline(always)]
    pub(crate) const fn is_plain(&self) -> bool {
        self.chosen == 0
    }

    /// Hands what was chosen to the parameters.
    pub(crate) fn apply(&self, params: &Params) {
        for (index, row) in TABLE.iter().enumerate() {
            if self.chosen >> index & 1 != 0 {
                params.set_as(row.param, self.values[index], SetBy::Builder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_ranks_above_defaults_and_below_the_environment() {
        const CHOSEN: Heapwright = Heapwright::new().mmap_max(7).brk(false).top_pad(0);
        let params = Params::new();
        params.set_as(Param::TopPad, 4096, SetBy::Variable);
        CHOSEN.apply(&params);
        assert_eq!((params.get(Param::MmapMax), params.get(Param::Brk), params.get(Param::TopPad)), (7, 0, 4096));
        assert_eq!(params.set_by(Param::ArenaMax), SetBy::Default);
        assert!(Heapwright::new().is_plain() && !CHOSEN.is_plain());
    }
}
