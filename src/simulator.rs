//! The placement simulator: what programs ask for, replayed through the real allocator, and the pages that it costs.
//!
//! A trace (`traces`) goes through a whole allocator, with its arenas, caches and depot, over the fake system with larger
//! heaps. Every page of every block is written to, as a program would, and the kernel says which pages have memory. At
//! the moments that a trace names, those are put in relation to the bytes that the program has in use:
//!
//! ```text
//!   traces ──events──> Replay (Malloc over FakeOs) ──> touched pages / live bytes, at each moment
//!              once for each variant
//! ```
//!
//! A *variant* is a set of parameters under their names. A question of placement is so answered in a minute, without a
//! program, the machine's noise, or threads: the threads of a trace are one thread, whose every step is the same at each
//! run.
//!
//! ```text
//!   cargo test --release --lib simulator -- --nocapture
//!   HEAPWRIGHT_TEST_VARIANTS="TCACHE_COUNT=16 TOP_PAD=65536, TRIM_THRESHOLD=0" cargo test ...    (two more variants)
//! ```
//!
//! # Safety
//!
//! Blocks are written to within their lengths, by the one thread that there is.
#![allow(unsafe_code)]

mod traces;

use core::ptr::NonNull;
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{eprintln, format};

use crate::attention::Reason;
use crate::class::Class;
use crate::malloc::{Contents, Malloc};
use crate::options::{Param, TABLE};
use crate::os::fake::FakeOs;
use crate::tcache::{CachePtr, InUse};
use traces::Event;

/// Large enough that a heap is not full at once, small enough for a window of 4,096 of them.
type Os = FakeOs<{ 4 << 20 }>;

/// Parameters to replay under.
struct Variant {
    name: String,
    settings: Vec<(Param, usize)>,
}

impl Variant {
    /// `NAME=value` in a row, by the names of the option table; none for the defaults.
    fn new(settings: &str) -> Self {
        let setting = |text: &str| {
            let (name, value) = text.split_once('=')?;
            let row = TABLE.iter().find(|row| row.name == name)?;
            Some((row.param, value.parse().ok().filter(|value| (row.least..=row.most).contains(value))?))
        };
        let known = |text| setting(text).unwrap_or_else(|| panic!("{text}: no NAME=value of an option"));
        let name = if settings.is_empty() { "as it is".to_string() } else { settings.to_string() };
        Self { name, settings: settings.split_whitespace().map(known).collect() }
    }

    /// Those that are looked at always, and those that the environment asks for.
    fn all() -> Vec<Self> {
        let asked = std::env::var("HEAPWRIGHT_TEST_VARIANTS").unwrap_or_default();
        let asked = asked.split(',').map(str::trim).filter(|settings| !settings.is_empty());
        let usual =
            ["", "TCACHE_COUNT=0", "TCACHE_MAX=1032", "ARENA_MAX=1", "CORES=8", "REGIONS=0", "DIRTY_PERCENT=25"];
        usual.into_iter().chain(asked).map(Self::new).collect()
    }
}

struct Block {
    mem: NonNull<u8>,
    bytes: usize,
}

/// An allocator that a trace goes through.
struct Replay {
    malloc: &'static Malloc<Os>,
    threads: Vec<Option<CachePtr>>,
    blocks: Vec<Option<Block>>,
    live: usize,
    looks: Vec<(&'static str, f64)>,
}

impl Replay {
    fn new(variant: &Variant) -> Self {
        // An allocator lives as long as its process: this one is leaked, and its memory given back in the end.
        let malloc: &'static Malloc<Os> = Box::leak(Box::new(Malloc::new(Os::with_heaps())));
        variant.settings.iter().for_each(|&(param, value)| malloc.source.params.set(param, value));
        malloc.arenas.settle();
        Self { malloc, threads: Vec::new(), blocks: Vec::new(), live: 0, looks: Vec::new() }
    }

    /// What became of `trace` under `variant`: touched bytes over live ones, at each of its moments.
    fn of(variant: &Variant, trace: impl FnOnce(&mut dyn FnMut(Event))) -> Vec<(&'static str, f64)> {
        let mut replay = Self::new(variant);
        trace(&mut |event| replay.apply(event));
        replay.end()
    }

    fn cache(&self, thread: usize) -> InUse {
        let thread = self.threads[thread].expect("a thread that has begun");
        // SAFETY: the threads own their caches, and are one thread.
        unsafe { self.malloc.enter(thread) }
    }

    fn apply(&mut self, event: Event) {
        let malloc = self.malloc;
        match event {
            Event::Begin { thread } => {
                let arena = malloc.arenas.attach(&malloc.source);
                let cache = malloc.caches.acquire(&malloc.source.os, arena).expect("memory for a cache");
                self.threads.resize(self.threads.len().max(thread + 1), None);
                self.threads[thread] = Some(cache);
                malloc.limit(&mut self.cache(thread));
            }
            Event::End { thread } => {
                let cache = &mut self.cache(thread);
                malloc.put_all_away(cache);
                malloc.arenas.detach(cache.arena());
                self.threads[thread].take().expect("a thread that has begun").release();
            }
            Event::Allocate { thread, block, bytes } => {
                let cache = &mut self.cache(thread);
                let mem = match Class::of_request(bytes) {
                    Some(class) => malloc.allocate_cached(cache, class, Contents::Any),
                    None => malloc.allocate_uncached(cache, bytes, 16, Contents::Any),
                };
                let mem = mem.expect("memory");
                for at in (0..bytes).step_by(4096).chain([bytes - 1]) {
                    // SAFETY: within the block.
                    unsafe { mem.add(at).write(1) };
                }
                self.live += bytes;
                self.blocks.resize_with(self.blocks.len().max(block + 1), || None);
                self.blocks[block] = Some(Block { mem, bytes });
            }
            Event::Free { thread, block } => {
                let block = self.blocks[block].take().expect("a block in use");
                self.live -= block.bytes;
                malloc.free_cached(&mut self.cache(thread), block.mem);
            }
            Event::Pass { milliseconds } => {
                malloc.source.os.pass(milliseconds);
                // As the next request that is not on the fast path would.
                if malloc.source.params.attention.has(Reason::PurgeDue) {
                    malloc.look_at_clock();
                }
            }
            Event::Look(moment) => {
                let touched = malloc.source.os.touched_len();
                self.looks.push((moment, touched as f64 / self.live as f64));
            }
        }
    }

    /// Frees everything, and gives the memory of the fake system back.
    fn end(mut self) -> Vec<(&'static str, f64)> {
        let threads: Vec<usize> = (0..self.threads.len()).filter(|&at| self.threads[at].is_some()).collect();
        if threads.is_empty() {
            self.apply(Event::Begin { thread: 0 });
        }
        let first = threads.first().copied().unwrap_or(0);
        for block in 0..self.blocks.len() {
            if self.blocks[block].is_some() {
                self.apply(Event::Free { thread: first, block });
            }
        }
        threads.into_iter().filter(|&thread| thread != first).for_each(|thread| self.apply(Event::End { thread }));
        self.malloc.trim(Some(&mut self.cache(first)), 0);
        self.looks
    }
}

/// A name, and the trace.
type Trace = (&'static str, Box<dyn Fn(&mut dyn FnMut(Event))>);

/// The three traces, at `mib` of live bytes.
fn traces(mib: usize) -> [Trace; 3] {
    let live = mib << 20;
    [
        ("chunks", Box::new(move |sink| traces::chunks(live, sink))),
        ("metadata", Box::new(move |sink| traces::metadata(live / 350, 20, sink))),
        ("values", Box::new(move |sink| traces::values(live, sink))),
    ]
}

/// Prints a table for each trace: a row for each variant.
#[test]
#[cfg_attr(debug_assertions, ignore = "a table to be read, minutes long in a debug build")]
fn placement_of_three_programs() {
    for (name, trace) in traces(48) {
        for (i, variant) in Variant::all().iter().enumerate() {
            let looks = Replay::of(variant, &*trace);
            if i == 0 {
                let moments: String = looks.iter().map(|(moment, _)| format!("{moment:>12}")).collect();
                eprintln!("\n{name:<24}{moments}    touched pages / live bytes");
            }
            let ratios: String = looks.iter().map(|(_, ratio)| format!("{ratio:>12.2}")).collect();
            eprintln!("{:<24}{ratios}", variant.name);
        }
    }
}

fn at(looks: &[(&'static str, f64)], moment: &str) -> f64 {
    looks.iter().find(|(name, _)| *name == moment).expect("a moment of the trace").1
}

/// Bounds a fifth above what was measured when this was written. So small a program feels its caches: a depot of 1 MiB is
/// a quarter of what is live.
#[test]
fn small_programs_are_placed_within_bounds() {
    for (settings, metadata_most, values_most) in [("", 2.8, 3.0), ("TCACHE_COUNT=0", 1.5, 2.3)] {
        let variant = Variant::new(settings);
        let [chunks, metadata, values] = traces(4).map(|(_, trace)| Replay::of(&variant, &*trace));
        let creep = at(&metadata, "end") / at(&metadata, "half");
        let bounds = [(at(&chunks, "peak"), 1.4), (at(&metadata, "end"), metadata_most), (creep, 1.1)];
        let values = values.into_iter().take_while(|(moment, _)| *moment != "dropped");
        for (i, (ratio, bound)) in bounds.into_iter().chain(values.map(|(_, ratio)| (ratio, values_most))).enumerate() {
            assert!(ratio >= 0.8 && ratio <= bound, "{i}: {ratio} with {:?}", variant.name);
        }
    }
}

#[test]
fn a_trace_is_the_same_each_time() {
    for (name, trace) in traces(1) {
        let sum = || {
            let mut sum = (0_usize, 0_usize);
            trace(&mut |event| match event {
                Event::Allocate { block, bytes, .. } => sum = (sum.0 + 1, sum.1.wrapping_mul(31) ^ bytes ^ block),
                Event::Free { block, .. } => sum.1 = sum.1.wrapping_mul(37) ^ block,
                _ => {}
            });
            sum
        };
        assert_eq!(sum(), sum(), "{name}");
    }
}
