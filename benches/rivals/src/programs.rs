//! Whole programs in small.
//!
//! What Rust programs do all day, on the crates that they do it with, with inputs made up by rule. Here malloc is a part
//! of the time and not all of it, as in life: a gain seen here is a gain of a program.

pub(crate) mod compiler;
pub(crate) mod json_round_trip;
pub(crate) mod key_value;
pub(crate) mod regex_search;
pub(crate) mod request_loop;
pub(crate) mod words;
