//! The workloads on the malloc of the C library: the measure of the others.

use std::alloc::System;
use std::process::ExitCode;

#[global_allocator]
static GLOBAL: System = System;

fn main() -> ExitCode {
    rivals::main()
}
