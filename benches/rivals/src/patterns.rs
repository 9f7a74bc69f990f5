//! Patterns of allocation, one at a time.
//!
//! Each isolates one thing that programs ask of an allocator, so that a figure points at its cause. The classics and the
//! whole programs mix them.

pub(crate) mod aligned;
pub(crate) mod buffers;
pub(crate) mod doubling;
pub(crate) mod hand_over;
pub(crate) mod independent;
pub(crate) mod lists;
pub(crate) mod mixed_sizes;
pub(crate) mod one_size;
pub(crate) mod order;
pub(crate) mod realloc_chains;
pub(crate) mod thread_churn;
pub(crate) mod trees;
pub(crate) mod window;
pub(crate) mod zeroed;
