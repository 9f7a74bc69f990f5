//! The pass over a function: folds what is known, puts names bound to numbers in, drops names that nothing uses.
//!
//! It consumes the tree and builds another, as passes over boxes do.

use std::collections::{HashMap, HashSet};

use super::tree::{Function, Operator, Tree};

/// Numbers by the names bound to them.
type Known = HashMap<String, i64>;

pub(super) fn function(function: Function) -> Function {
    let mut known = Known::new();
    let mut bindings = Vec::new();
    for (name, tree) in function.bindings {
        match folded(*tree, &known) {
            Tree::Number(number) => {
                known.insert(name, number);
            }
            tree => bindings.push((name, Box::new(tree))),
        }
    }
    let value = Box::new(folded(*function.value, &known));

    let mut used = HashSet::new();
    note_names(&value, &mut used);
    let mut kept: Vec<(String, Box<Tree>)> = Vec::new();
    for (name, tree) in bindings.into_iter().rev() {
        if used.contains(&name) {
            note_names(&tree, &mut used);
            kept.push((name, tree));
        }
    }
    kept.reverse();
    Function { name: function.name, parameters: function.parameters, bindings: kept, value }
}

fn folded(tree: Tree, known: &Known) -> Tree {
    match tree {
        Tree::Number(_) => tree,
        Tree::Name(name) => known.get(&name).map_or(Tree::Name(name), |number| Tree::Number(*number)),
        Tree::Call(name, arguments) => {
            Tree::Call(name, arguments.into_iter().map(|argument| folded(argument, known)).collect())
        }
        Tree::Minus(inner) => match folded(*inner, known) {
            Tree::Number(number) => Tree::Number(number.wrapping_neg()),
            Tree::Minus(inner) => *inner,
            inner => Tree::Minus(Box::new(inner)),
        },
        Tree::Two(operator, left, right) => joined(operator, folded(*left, known), folded(*right, known)),
    }
}

fn joined(operator: Operator, left: Tree, right: Tree) -> Tree {
    use Operator::{Minus, Over, Plus, Times};
    match (operator, left, right) {
        (Plus, Tree::Number(a), Tree::Number(b)) => Tree::Number(a.wrapping_add(b)),
        (Minus, Tree::Number(a), Tree::Number(b)) => Tree::Number(a.wrapping_sub(b)),
        (Times, Tree::Number(a), Tree::Number(b)) => Tree::Number(a.wrapping_mul(b)),
        (Over, Tree::Number(a), Tree::Number(b)) if b != 0 => Tree::Number(a.wrapping_div(b)),
        (Plus, other, Tree::Number(0)) | (Plus, Tree::Number(0), other) | (Minus, other, Tree::Number(0)) => other,
        (Times, other, Tree::Number(1)) | (Times, Tree::Number(1), other) | (Over, other, Tree::Number(1)) => other,
        (Times, _, Tree::Number(0)) | (Times, Tree::Number(0), _) => Tree::Number(0),
        (Minus, left, right) if left == right => Tree::Number(0),
        (Minus, left, Tree::Minus(right)) => joined(Plus, left, *right),
        (operator, left, right) => Tree::Two(operator, Box::new(left), Box::new(right)),
    }
}

fn note_names(tree: &Tree, used: &mut HashSet<String>) {
    match tree {
        Tree::Number(_) => {}
        Tree::Name(name) => {
            used.insert(name.clone());
        }
        Tree::Call(_, arguments) => arguments.iter().for_each(|argument| note_names(argument, used)),
        Tree::Minus(inner) => note_names(inner, used),
        Tree::Two(_, left, right) => {
            note_names(left, used);
            note_names(right, used);
        }
    }
}
