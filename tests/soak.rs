//! The soak: valid operations that no check may stop, and resident memory that does not drift.
//!
//! `tests/c/soak.c` makes 20 million of them here; `HEAPWRIGHT_TEST_OPERATIONS=1000000000 cargo test --release --test soak --
//! --nocapture` makes as many as it says, and from 80 million on compares resident memory at the end with that at half time.

mod harness;

use harness::{Run, compile};
use std::env;

#[test]
fn no_valid_operation_is_stopped() {
    let operations = env::var("HEAPWRIGHT_TEST_OPERATIONS").unwrap_or_else(|_| "20000000".to_owned());
    let outcome = Run::new(compile("soak.c")).args([operations]).preloaded().limit(3_600).run().expect_success();
    print!("{}", outcome.text());
    assert!(outcome.text().ends_with("done\n"));
}
