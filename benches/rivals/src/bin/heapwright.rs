//! The workloads on heapwright.

use std::process::ExitCode;

use heapwright::Heapwright;

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

fn main() -> ExitCode {
    rivals::main()
}
