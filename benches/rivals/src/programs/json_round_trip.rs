//! A JSON round trip, with `serde_json`.
//!
//! What a service does with each document: parse it to a tree of values, look at it, change a little, print it, read it
//! into its own types, and print those. The trees are many small blocks of all sizes, freed together.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::programs::words::{sentence, word};
use crate::scale::Scale;

const DOCUMENTS: usize = 20;
const ROUNDS: usize = 30;

#[derive(Serialize, Deserialize)]
struct Document {
    id: u64,
    title: String,
    orders: Vec<Order>,
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: Customer,
    lines: Vec<Line>,
    tags: Vec<String>,
    note: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Customer {
    name: String,
    mail: String,
    position: [i32; 2],
}

#[derive(Serialize, Deserialize)]
struct Line {
    article: String,
    count: u32,
    cents: u64,
    paid: bool,
}

fn order(numbers: &mut Numbers) -> Order {
    Order {
        id: numbers.next() >> 16,
        customer: Customer {
            name: sentence(2, numbers),
            mail: format!("{}@{}.example", word(numbers), word(numbers)),
            position: [numbers.below(180) as i32 - 90, numbers.below(360) as i32 - 180],
        },
        lines: (0..numbers.between(1, 8))
            .map(|_| Line {
                article: sentence(numbers.between(1, 3), numbers),
                count: numbers.between(1, 20) as u32,
                cents: numbers.below(100_000) as u64,
                paid: numbers.once_in(2),
            })
            .collect(),
        tags: (0..numbers.below(5)).map(|_| word(numbers)).collect(),
        note: numbers.once_in(3).then(|| sentence(numbers.between(3, 30), numbers)),
    }
}

fn document(id: u64, numbers: &mut Numbers) -> String {
    let orders = (0..numbers.between(20, 200)).map(|_| order(numbers)).collect();
    serde_json::to_string(&Document { id, title: sentence(5, numbers), orders }).expect("a document prints")
}

/// Marks what is worth much, and drops the notes of the rest.
fn edit(tree: &mut Value) {
    for order in tree["orders"].as_array_mut().into_iter().flatten() {
        let cents: u64 =
            order["lines"].as_array().into_iter().flatten().filter_map(|line| line["cents"].as_u64()).sum();
        if cents > 200_000 {
            order["tags"].as_array_mut().expect("every order has tags").push(json!("valued"));
            order["lines"][0]["article"] = json!(format!("a gift of {} cents", cents / 100));
        } else {
            order["note"] = Value::Null;
        }
    }
}

pub(crate) fn run(scale: Scale) -> u64 {
    let mut numbers = Numbers::new(0x150e);
    let mut sum = Checksum::default();
    let documents: Vec<String> = (0..DOCUMENTS).map(|id| document(id as u64, &mut numbers)).collect();
    for _ in 0..scale.of(ROUNDS) {
        for text in &documents {
            let mut tree: Value = serde_json::from_str(text).expect("a document parses");
            edit(&mut tree);
            let edited = tree.to_string();
            let mut typed: Document = serde_json::from_str(&edited).expect("an edited document has the same form");
            typed.orders.sort_by(|a, b| a.customer.name.cmp(&b.customer.name));
            let printed = serde_json::to_string_pretty(&typed).expect("a document prints");
            sum.add(edited.len() as u64);
            sum.add(printed.len() as u64);
            sum.add(typed.orders[0].id);
        }
    }
    sum.value()
}
