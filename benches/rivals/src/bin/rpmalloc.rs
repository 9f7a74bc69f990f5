//! The workloads on rpmalloc.

use std::process::ExitCode;

use rpmalloc::RpMalloc;

#[global_allocator]
static GLOBAL: RpMalloc = RpMalloc;

fn main() -> ExitCode {
    rivals::main()
}
