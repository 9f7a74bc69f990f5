//! Linked lists, built and dropped.
//!
//! Each node is a block of its own, with a label in another. A list is dropped from its head on; where the head is
//! decides in which order the blocks go back:
//!
//! ```text
//! allocated            1  2  3  4
//! same order    head   1->2->3->4    a queue: pushed at the end
//! reverse       head   4->3->2->1    a stack: pushed at the head
//! random        head   3->1->4->2    a list sorted by something else than age
//! ```

use crate::block::Block;
use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::patterns::order::Order;
use crate::scale::Scale;

const NODES: usize = 50_000;
const ROUNDS: usize = 100;

struct Node {
    label: Block,
    next: Link,
}

type Link = Option<Box<Node>>;

fn node(numbers: &mut Numbers) -> Box<Node> {
    Box::new(Node { label: Block::new(numbers.between(8, 40), numbers.next()), next: None })
}

fn build(order: Order, numbers: &mut Numbers) -> Link {
    match order {
        Order::Same => {
            let mut head = None;
            let mut end = &mut head;
            for _ in 0..NODES {
                end = &mut end.insert(node(numbers)).next;
            }
            head
        }
        Order::Reverse => (0..NODES).fold(None, |head, _| push(head, node(numbers))),
        Order::Random => {
            let mut nodes: Vec<Box<Node>> = (0..NODES).map(|_| node(numbers)).collect();
            numbers.shuffle(&mut nodes);
            nodes.into_iter().fold(None, push)
        }
    }
}

fn push(head: Link, mut node: Box<Node>) -> Link {
    node.next = head;
    Some(node)
}

pub(crate) fn run(order: Order, scale: Scale) -> u64 {
    let mut numbers = Numbers::new(0x1157);
    let mut sum = Checksum::default();
    for _ in 0..scale.of(ROUNDS) {
        let mut list = build(order, &mut numbers);
        while let Some(node) = list {
            sum.add(node.label.free());
            list = node.next;
        }
    }
    sum.value()
}
