//! A search through logs, with `regex`.
//!
//! What a log tool does: compile a few expressions, run them over every line, collect what they capture into owned
//! records, count by key, and rewrite some lines. Compiling builds large automata; searching allocates for captures.

use std::collections::BTreeMap;

use regex::Regex;

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::programs::words::{sentence, word};
use crate::scale::Scale;

const LINES: usize = 4_000;
const ROUNDS: usize = 24;

fn line(numbers: &mut Numbers) -> String {
    let [a, b] = [numbers.below(256), numbers.below(256)];
    let level = *numbers.choose(&["debug", "info", "warn", "error"]);
    let user = word(numbers);
    let text = sentence(numbers.between(3, 12), numbers);
    let millis = numbers.below(5_000);
    format!("10.0.{a}.{b} [{level}] user={user} \"GET /{}/{}?q={text}\" took {millis} ms", word(numbers), word(numbers))
}

struct Record {
    address: String,
    level: String,
    path: String,
    millis: u64,
}

fn record(expression: &Regex, line: &str) -> Option<Record> {
    let found = expression.captures(line)?;
    Some(Record {
        address: found["address"].to_owned(),
        level: found["level"].to_uppercase(),
        path: found["path"].to_owned(),
        millis: found["millis"].parse().ok()?,
    })
}

fn compiled(expression: &str) -> Regex {
    Regex::new(expression).expect("an expression compiles")
}

pub(crate) fn run(scale: Scale) -> u64 {
    let mut numbers = Numbers::new(0x4e6e);
    let mut sum = Checksum::default();
    let lines: Vec<String> = (0..LINES).map(|_| line(&mut numbers)).collect();
    for _ in 0..scale.of(ROUNDS) {
        let fields = compiled(
            r#"^(?<address>[\d.]+) \[(?<level>\w+)\] user=\w+ "GET (?<path>/[^?]*)\?[^"]*" took (?<millis>\d+) ms$"#,
        );
        let users = compiled(r"user=(?:\w*zan|ba\w*|\w+(?:kor|lu|mer)\w+)");
        let numerals = compiled(r"\b\d{3,}\b");
        let rare = compiled(r"(?i)(?:hel|ver|wen)st\w{2,6} (?:\w+ ){1,3}quior");

        let mut by_path: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for line in &lines {
            if let Some(record) = record(&fields, line) {
                by_path.entry(record.path.clone()).or_default().push(record);
            }
            if let Some(user) = users.find(line) {
                sum.add(user.len() as u64);
                sum.add(numerals.replace_all(line, "<$0>").len() as u64);
            }
            sum.add(rare.find_iter(line).count() as u64);
        }
        for (path, records) in by_path {
            let slow = records.iter().filter(|record| record.millis > 4_000 || record.level == "ERROR").count();
            sum.add((path.len() * slow) as u64 + records.iter().map(|record| record.address.len() as u64).sum::<u64>());
        }
    }
    sum.value()
}
