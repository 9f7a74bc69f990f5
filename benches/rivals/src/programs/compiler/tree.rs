//! The trees that source text is parsed to.

/// A function: its parameters, names bound in order, and its value.
pub(super) struct Function {
    pub(super) name: String,
    pub(super) parameters: Vec<String>,
    pub(super) bindings: Vec<(String, Box<Tree>)>,
    pub(super) value: Box<Tree>,
}

/// An expression.
#[derive(Clone, PartialEq)]
pub(super) enum Tree {
    Number(i64),
    Name(String),
    Call(String, Vec<Tree>),
    Minus(Box<Tree>),
    Two(Operator, Box<Tree>, Box<Tree>),
}

/// An operator between two expressions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    Minus,
    Times,
    Over,
}
