//! Binary trees, built and dropped.
//!
//! A node is allocated before its children, the left subtree before the right one:
//!
//! ```text
//!            1
//!        /       \
//!       2         5      same order   1 2 3 4 5 6 7    each node before its children
//!      / \       / \     reverse      7 6 5 4 3 2 1    each node after its children
//!     3   4     6   7    random       the tree is taken apart first
//! ```
//!
//! Compilers and browsers live with such trees; the order in which they drop them is that of a destructor, of a pass
//! that consumes its input, or of reference counts.
#![expect(
    clippy::boxed_local,
    clippy::vec_box,
    reason = "each node is a block of its own, and its box is what is freed"
)]

use std::mem;

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::patterns::order::Order;
use crate::scale::Scale;

const DEPTH: usize = 16;
const ROUNDS: usize = 60;

struct Node {
    value: u64,
    children: [Option<Box<Node>>; 2],
    /// What else a node carries, in a block of its own or not at all.
    rest: Box<[u64]>,
}

impl Node {
    fn mark(&self) -> u64 {
        self.value ^ self.rest.len() as u64
    }
}

fn build(depth: usize, numbers: &mut Numbers) -> Option<Box<Node>> {
    if depth == 0 {
        return None;
    }
    let value = numbers.next();
    let rest: Box<[u64]> = match value >> 62 {
        0 => [value; 2].into(),
        1 => [value; 9].into(),
        _ => [].into(),
    };
    let mut node = Box::new(Node { value, children: [None, None], rest });
    node.children = [build(depth - 1, numbers), build(depth - 1, numbers)];
    Some(node)
}

fn drop_node_first(mut node: Box<Node>, sum: &mut Checksum) {
    let children = mem::take(&mut node.children);
    sum.add(node.mark());
    drop(node);
    for child in children.into_iter().flatten() {
        drop_node_first(child, sum);
    }
}

fn drop_node_last(mut node: Box<Node>, sum: &mut Checksum) {
    for child in mem::take(&mut node.children).into_iter().flatten().rev() {
        drop_node_last(child, sum);
    }
    sum.add(node.mark());
}

fn take_apart(mut node: Box<Node>, nodes: &mut Vec<Box<Node>>) {
    for child in mem::take(&mut node.children).into_iter().flatten() {
        take_apart(child, nodes);
    }
    nodes.push(node);
}

pub(crate) fn run(order: Order, scale: Scale) -> u64 {
    let mut numbers = Numbers::new(0x7e35);
    let mut sum = Checksum::default();
    let mut nodes = Vec::new();
    for _ in 0..scale.of(ROUNDS) {
        let Some(tree) = build(DEPTH, &mut numbers) else { continue };
        match order {
            Order::Same => drop_node_first(tree, &mut sum),
            Order::Reverse => drop_node_last(tree, &mut sum),
            Order::Random => {
                take_apart(tree, &mut nodes);
                numbers.shuffle(&mut nodes);
                nodes.drain(..).for_each(|node| sum.add(node.mark()));
            }
        }
    }
    sum.value()
}
