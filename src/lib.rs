//! A memory allocator with ptmalloc's structure, in Rust.
//!
//! heapwright keeps one coalescing heap for all sizes: a main arena on the program break, a few thread arenas in 64 MiB
//! aligned heaps, boundary-tag chunks in bins, and mappings of their own for big requests. It is used in one of three
//! ways, all from this code:
//!
//! - as the global allocator of a Rust program:
//!
//!   ```
//!   use heapwright::Heapwright;
//!
//!   #[global_allocator]
//!   static GLOBAL: Heapwright = Heapwright::new();
//!
//!   let words: Vec<String> = (0..1000).map(|n| format!("word {n}")).collect();
//!   println!("{} words, {} bytes in use", words.len(), heapwright::stats().in_use);
//!   ```
//!
//! - as the malloc of any program, preloaded: `cargo preload`, then
//!   `LD_PRELOAD=target/release/libheapwright.so program`;
//! - as the malloc of a Rust executable and all C code in it: feature `override`.
//!
//! # Features
//!
//! | feature | default | effect |
//! |---|---|---|
//! | `std` | yes | `save_report`: the figures of every arena in a file |
//! | `override` | no | exports `malloc`, `free` and the rest of `malloc.h` from a Rust executable |
//! | `allocator-api2` | no | `Global`, the heap as an allocator of single collections |
//! | `preload` | no | the same for the library that `cargo preload` builds |
//!
//! Without `std` the crate is `no_std`. It runs on Linux on x86-64.
//!
//! # How it is built
//!
//! Each module uses those above its own row, or on it; docs/design.md follows one request and one block through them.
//!
//! ```text
//! 0  size  class  fatal  secret  attention  generation  options  lineage  sync  tally  span  arch  pages
//!    watermark  budget
//! 1  os (the memory source)         os::linux, os::fake
//! 2  chunk (boundary tags)
//! 3  bins  brk  heap  mapped  source  huge  magazine (blocks in caches)
//! 4  arena (split, coalesce)        arena::top, arena::runs, arena::check
//! 5  publish  claim  arenas (choose, fork)  depot (magazines of all threads)  recent (buffers of one)
//! 6  tcache (magazines of one)      malloc, malloc::cached (the allocator over any memory source), malloc::order (copies)
//! 7  settings  environment  stats  walk  report  builder     guarded (feature `hardened`)
//! 8  global (the one static, threads, GlobalAlloc)     background (the optional thread)
//! 9  figures (what Rust may ask)     c_abi (malloc.h)  allocator_api
//! -  model (the tests' naive heap, with its scripts)  simulator (placement)  fuzzing (what tests/fuzz may reach)
//! ```
#![cfg_attr(not(any(test, feature = "std", loom)), no_std)]
// The unit tests use more of the fake system and of the model than the fuzz targets do.
#![cfg_attr(fuzzing, allow(dead_code))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("heapwright runs on Linux on x86-64; another architecture needs its own file in src/arch");

#[cfg(any(test, fuzzing))]
extern crate std;

mod claim;
#[cfg_attr(loom, allow(dead_code))]
mod fatal;
#[cfg(not(loom))]
mod figures;
mod generation;
#[cfg(all(not(loom), feature = "hardened"))]
mod guarded;
mod handshake;
#[cfg_attr(loom, allow(dead_code))]
mod lineage;
mod publish;
mod sync;

#[cfg(all(feature = "allocator-api2", not(loom)))]
mod allocator_api;
#[cfg_attr(loom, allow(dead_code))]
mod arch;
#[cfg(not(loom))]
mod arena;
#[cfg(not(loom))]
mod arenas;
#[cfg(not(loom))]
mod attention;
#[cfg(not(loom))]
mod background;
#[cfg(not(loom))]
mod bins;
#[cfg(not(loom))]
mod brk;
#[cfg(not(loom))]
mod budget;
#[cfg(not(loom))]
mod builder;
#[cfg(all(any(feature = "preload", feature = "override"), not(any(test, loom))))]
mod c_abi;
#[cfg(not(loom))]
mod chunk;
#[cfg_attr(loom, allow(dead_code))]
mod class;
#[cfg_attr(loom, allow(dead_code))]
mod depot;
#[cfg(not(loom))]
mod environment;
#[cfg(not(loom))]
mod global;
#[cfg(not(loom))]
mod global_alloc;
#[cfg(not(loom))]
mod heap;
#[cfg(not(loom))]
mod huge;
#[cfg_attr(loom, allow(dead_code, unused_imports))]
mod magazine;
#[cfg(not(loom))]
mod malloc;
#[cfg(not(loom))]
mod mapped;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod pages;
#[cfg(not(loom))]
mod recent;
#[cfg(not(loom))]
mod report;
#[cfg_attr(loom, allow(dead_code))]
mod secret;
#[cfg(not(loom))]
mod settings;
#[cfg_attr(loom, allow(dead_code))]
mod size;
#[cfg(not(loom))]
mod source;
#[cfg(not(loom))]
mod span;
#[cfg(not(loom))]
mod stats;
#[cfg_attr(loom, allow(dead_code))]
mod tally;
#[cfg(not(loom))]
mod tcache;
#[cfg(not(loom))]
mod walk;
#[cfg(not(loom))]
mod watermark;

#[cfg(all(any(test, fuzzing), not(loom)))]
pub mod fuzzing;
#[cfg(all(any(test, fuzzing), not(loom)))]
mod model;
#[cfg(all(test, not(loom)))]
mod simulator;

#[cfg(all(feature = "allocator-api2", not(loom)))]
pub use allocator_api::Global;
#[cfg(not(loom))]
pub use arena::ChunkState;
#[cfg(not(loom))]
pub use budget::{Budget, Trimmed};
#[cfg(not(loom))]
pub use builder::Heapwright;
#[cfg(all(feature = "std", not(loom)))]
pub use figures::save_report;
#[cfg(not(loom))]
pub use figures::{Report, arenas, options, set, stats, trim, trim_with, walk};
#[cfg(not(loom))]
pub use options::{Param, SetBy};
#[cfg(not(loom))]
pub use settings::{Options, SetError, Setting};
#[cfg(not(loom))]
pub use stats::{ArenaStats, Stats};
#[cfg(not(loom))]
pub use walk::{Chunk, Heap, Run, Visited};

// The examples of these pages compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
#[cfg(doctest)]
#[doc = include_str!("../docs/tuning.md")]
mod tuning {}

#[cfg(heapwright_so)]
mod so {
    //! What a `no_std` shared library needs of its own: nothing in it panics, and if it does the process ends.
    #![allow(unsafe_code)]

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        use core::fmt::Write;
        let mut line = crate::fatal::Line::new();
        // A line never fails.
        let _ = writeln!(line, "heapwright: {}", info.message());
        crate::arch::write_stderr(line.as_bytes());
        crate::arch::abort()
    }

    extern "C" fn loaded() {
        crate::global::begin();
    }

    /// The loader calls it, before the program's own constructors where the library is preloaded.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOADED: extern "C" fn() = loaded;

    // The precompiled core names it although nothing unwinds here. Hidden: a program's own Rust code must not find it.
    core::arch::global_asm!(".globl rust_eh_personality", ".hidden rust_eh_personality", "rust_eh_personality: ud2");
}
