//! The order in which a structure is taken down.

/// Relative to the order in which its nodes were allocated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// The node allocated first goes first.
    Same,
    /// The node allocated last goes first.
    Reverse,
    Random,
}
