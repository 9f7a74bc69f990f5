//! Direct calls of the allocator against the system's malloc, the same workload for both in one group.
//!
//! `cargo bench` writes a report with plots to target/criterion/report/index.html. The figures of a shared machine are
//! worth something as ratios within one run only.
//!
//! # Safety
//!
//! Blocks are used within their layouts and given back to the allocator that they came from.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_main};
use heapwright::Heapwright;

/// An allocator and its name.
struct Named<'a> {
    name: &'static str,
    allocator: &'a (dyn GlobalAlloc + Sync),
}

const ALLOCATORS: [Named<'static>; 2] =
    [Named { name: "system", allocator: &System }, Named { name: "heapwright", allocator: &Heapwright::new() }];

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a possible layout")
}

/// A sequence of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % limit
    }

    /// Sizes as programs ask for them: two thirds up to 64 bytes, a few of some KiB.
    fn size(&mut self) -> usize {
        match self.below(32) {
            0..=20 => 8 + self.below(57),
            21..=29 => 65 + self.below(448),
            _ => 513 + self.below(8_000),
        }
    }
}

/// One block of one size, allocated and freed at once.
fn one_size(c: &mut Criterion) {
    let mut group = c.benchmark_group("one size");
    for size in [16, 64, 512, 4_096, 65_536] {
        for Named { name, allocator } in ALLOCATORS {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    // SAFETY: the size is not 0; the block goes back where it came from.
                    unsafe {
                        let mem = black_box(allocator.alloc(layout(size)));
                        allocator.dealloc(mem, layout(size));
                    }
                });
            });
        }
    }
    group.finish();
}

/// A window of blocks of mixed sizes, in which random ones are replaced.
fn random_replacement(c: &mut Criterion) {
    const STEPS: usize = 1_000;
    let mut group = c.benchmark_group("random replacement");
    group.throughput(Throughput::Elements(STEPS as u64));
    for window in [100, 10_000] {
        for Named { name, allocator } in ALLOCATORS {
            group.bench_function(BenchmarkId::new(name, window), |b| {
                let mut numbers = Numbers(0x9E37_79B9);
                let allocate = |numbers: &mut Numbers| {
                    let size = numbers.size();
                    // SAFETY: the size is not 0.
                    (unsafe { allocator.alloc(layout(size)) }, size)
                };
                let mut blocks: Vec<(*mut u8, usize)> = (0..window).map(|_| allocate(&mut numbers)).collect();
                b.iter(|| {
                    for _ in 0..STEPS {
                        let at = numbers.below(window);
                        let (mem, size) = blocks[at];
                        // SAFETY: the block goes back where it came from.
                        unsafe { allocator.dealloc(mem, layout(size)) };
                        blocks[at] = allocate(&mut numbers);
                    }
                });
                for (mem, size) in blocks {
                    // SAFETY: as above.
                    unsafe { allocator.dealloc(mem, layout(size)) };
                }
            });
        }
    }
    group.finish();
}

/// A buffer that doubles by realloc, as a growing vector does.
fn doubling(c: &mut Criterion) {
    let mut group = c.benchmark_group("doubling by realloc to 1 MiB");
    for Named { name, allocator } in ALLOCATORS {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut size = 16;
                // SAFETY: the block and its layout, throughout.
                unsafe {
                    let mut mem = allocator.alloc(layout(size));
                    while size < 1 << 20 {
                        mem = black_box(allocator.realloc(mem, layout(size), size * 2));
                        size *= 2;
                    }
                    allocator.dealloc(mem, layout(size));
                }
            });
        });
    }
    group.finish();
}

/// Zeroed buffers.
fn zeroed(c: &mut Criterion) {
    let mut group = c.benchmark_group("zeroed");
    for size in [64, 4_096, 1 << 20] {
        for Named { name, allocator } in ALLOCATORS {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    // SAFETY: the size is not 0; the block goes back where it came from.
                    unsafe {
                        let mem = black_box(allocator.alloc_zeroed(layout(size)));
                        allocator.dealloc(mem, layout(size));
                    }
                });
            });
        }
    }
    group.finish();
}

mod all {
    criterion::criterion_group!(benches, super::one_size, super::random_replacement, super::doubling, super::zeroed);
}

criterion_main!(all::benches);
