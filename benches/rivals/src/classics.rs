//! The benchmarks that allocators have been compared by for thirty years.
//!
//! Each is written anew from its published description, which its file cites, and so is a relative of the original and
//! not a copy: figures under the same name elsewhere do not compare with these. All do fixed work in place of the
//! originals' fixed time, with four threads in place of what a large machine has.

pub(crate) mod alloc_test;
pub(crate) mod cache_scratch;
pub(crate) mod cache_thrash;
pub(crate) mod glibc_simple;
pub(crate) mod glibc_thread;
pub(crate) mod larson;
pub(crate) mod linux_scalability;
pub(crate) mod malloc_large;
pub(crate) mod mleak;
pub(crate) mod mstress;
pub(crate) mod rptest;
pub(crate) mod threadtest;
pub(crate) mod xmalloc;
