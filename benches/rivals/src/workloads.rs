//! The table of workloads.
//!
//! A workload has a name, and a function that does its work and says what it came to. The work is a matter of the scale
//! alone: seeds are fixed, results of racing threads are summed.

use crate::classics::*;
use crate::patterns::order::Order;
use crate::patterns::*;
use crate::programs::*;
use crate::scale::Scale;

/// One workload.
pub(crate) struct Workload {
    /// As the command line knows it.
    pub(crate) name: &'static str,
    /// Does the work; its checksum.
    pub(crate) run: fn(Scale) -> u64,
}

const fn workload(name: &'static str, run: fn(Scale) -> u64) -> Workload {
    Workload { name, run }
}

/// All workloads: patterns, classics, programs.
pub(crate) const ALL: &[Workload] = &[
    workload("one-size-16", |scale| one_size::run(16, scale)),
    workload("one-size-64", |scale| one_size::run(64, scale)),
    workload("one-size-256", |scale| one_size::run(256, scale)),
    workload("one-size-1024", |scale| one_size::run(1_024, scale)),
    workload("mixed-sizes", mixed_sizes::run),
    workload("window-100", |scale| window::run(100, 12_000_000, scale)),
    workload("window-100k", |scale| window::run(100_000, 2_000_000, scale)),
    workload("list-same-order", |scale| lists::run(Order::Same, scale)),
    workload("list-reverse", |scale| lists::run(Order::Reverse, scale)),
    workload("list-random", |scale| lists::run(Order::Random, scale)),
    workload("tree-same-order", |scale| trees::run(Order::Same, scale)),
    workload("tree-reverse", |scale| trees::run(Order::Reverse, scale)),
    workload("tree-random", |scale| trees::run(Order::Random, scale)),
    workload("doubling-vectors", doubling::vectors),
    workload("doubling-strings", doubling::strings),
    workload("realloc-chains", realloc_chains::run),
    workload("zeroed", zeroed::run),
    workload("aligned", aligned::run),
    workload("buffers", buffers::run),
    workload("hand-over", hand_over::run),
    workload("thread-churn", thread_churn::run),
    workload("threads-2", |scale| independent::run(2, scale)),
    workload("threads-16", |scale| independent::run(16, scale)),
    workload("larson", larson::run),
    workload("xmalloc", xmalloc::run),
    workload("mstress", mstress::run),
    workload("threadtest", threadtest::run),
    workload("linux-scalability", linux_scalability::run),
    workload("cache-scratch", cache_scratch::run),
    workload("cache-thrash", cache_thrash::run),
    workload("glibc-simple", glibc_simple::run),
    workload("glibc-thread", glibc_thread::run),
    workload("alloc-test", alloc_test::run),
    workload("rptest", rptest::run),
    workload("malloc-large", malloc_large::run),
    workload("mleak", mleak::run),
    workload("json-round-trip", json_round_trip::run),
    workload("regex-search", regex_search::run),
    workload("key-value", key_value::run),
    workload("request-loop", request_loop::run),
    workload("compiler", compiler::run),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_share_a_name() {
        let names: BTreeSet<&str> = ALL.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn each_comes_to_the_same_twice() {
        let scale: Scale = "0.002".parse().expect("a scale");
        for Workload { name, run } in ALL {
            assert_eq!(run(scale), run(scale), "{name}");
        }
    }
}
