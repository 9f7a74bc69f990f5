//! heapwright and its rivals under the same workloads.
//!
//! Each binary of this package is one allocator under the same program: it runs one workload that the command line names.
//! What differs between two binaries is their `#[global_allocator]`, so a difference in CPU time or memory is the
//! allocator's.
//!
//! ```text
//! cli        what every binary's main does
//! workloads  the table: names and functions
//! scaling    two threads against one
//! patterns   one thing at a time      classics  re-creations of the known benchmarks      programs  whole ones in small
//! scale  numbers  sizes  block  supply  checksum  crew   what they are made of
//! ```

mod block;
mod checksum;
mod classics;
mod cli;
mod crew;
mod numbers;
mod patterns;
mod programs;
mod scale;
mod scaling;
mod sizes;
mod supply;
mod workloads;

pub use cli::main;
