//! A threaded request loop, with `crossbeam-channel` and `serde_json`.
//!
//! ```text
//! client --text--> worker --reply--> collector
//!        \-------> worker --------/
//! ```
//!
//! A client writes requests as text. Two workers parse them into owned headers and parameters, look into a session of
//! their own, and answer with a document. A collector reads the replies and drops them. So every request and every reply
//! is freed by another thread than the one that made it, and each worker churns through short-lived blocks in between.

use std::collections::BTreeMap;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Map, Value, json};

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::programs::words::{sentence, word};
use crate::scale::Scale;
use crate::sizes::Sizes;

const REQUESTS: usize = 50_000;
const WORKERS: usize = 2;
/// Requests and replies on the way at a time.
const ON_THE_WAY: usize = 256;

struct Request {
    path: Vec<String>,
    parameters: BTreeMap<String, String>,
    headers: Vec<(String, String)>,
    body: String,
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn request_text(bodies: &Sizes, numbers: &mut Numbers) -> String {
    let mut text = format!("GET /{}/{}?id={}", word(numbers), word(numbers), numbers.below(1_000_000));
    for _ in 0..numbers.below(4) {
        text += &format!("&{}={}", word(numbers), word(numbers));
    }
    text += "\r\n";
    for name in ["host", "accept", "user-agent", "cookie", "trace"] {
        text += &format!("{name}: {}\r\n", sentence(numbers.between(1, 6), numbers));
    }
    text += "\r\n";
    text += &sentence(bodies.draw(numbers), numbers);
    text
}

impl Request {
    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let (path, query) = lines.next()?.strip_prefix("GET /")?.split_once('?')?;
        Some(Self {
            path: path.split('/').map(str::to_owned).collect(),
            parameters: query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_uppercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        })
    }

    fn answer(self) -> Reply {
        let echo: Map<String, Value> =
            self.headers.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
        let words: Vec<&str> = self.body.split(' ').filter(|word| word.len() > 4).collect();
        let body = json!({
            "path": self.path,
            "parameters": self.parameters,
            "echo": echo,
            "words": words,
        })
        .to_string();
        Reply { status: 200, headers: vec![("length", body.len().to_string()), ("type", "json".to_owned())], body }
    }
}

fn refusal() -> Reply {
    Reply { status: 400, headers: Vec::new(), body: String::new() }
}

fn serve(requests: &Receiver<String>, replies: &Sender<Reply>) {
    for text in requests {
        let reply = Request::parse(&text).map_or_else(refusal, Request::answer);
        replies.send(reply).expect("the collector waits for more");
    }
}

fn collect(replies: &Receiver<Reply>) -> u64 {
    let mut sum = Checksum::default();
    for reply in replies {
        sum.add(u64::from(reply.status));
        sum.add(reply.body.len() as u64);
        sum.add(reply.headers.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum());
    }
    sum.value()
}

pub(crate) fn run(scale: Scale) -> u64 {
    let count = scale.of(REQUESTS);
    let (to_workers, requests) = bounded(ON_THE_WAY);
    let (to_collector, replies) = bounded(ON_THE_WAY);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (requests, to_collector) = (requests.clone(), to_collector.clone());
            scope.spawn(move || serve(&requests, &to_collector));
        }
        drop(to_collector);
        let collector = scope.spawn(move || collect(&replies));
        // In words.
        let bodies = Sizes::inverse_square(4, 400);
        let mut numbers = Numbers::new(0x4e95);
        for _ in 0..count {
            to_workers.send(request_text(&bodies, &mut numbers)).expect("the workers wait for more");
        }
        drop(to_workers);
        collector.join().expect("the collector")
    })
}
