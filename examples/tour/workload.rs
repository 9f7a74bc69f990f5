//! The work: a text index that takes in documents, answers queries, and forgets the oldest.
//!
//! ```text
//!   writer ──batches──┬─> indexer ──segments──┬─> keeper: queries each segment, keeps the last ones,
//!   (main)            ├─> indexer ──segments──┤           drops the one before those
//!                     └─> indexer ──segments──┘
//! ```
//!
//! It does what real programs do to an allocator: many short strings, hash maps that grow, vectors that grow by
//! doubling, a few long texts; and each document and each index is freed by another thread than the one that allocated
//! it. All choices come from a fixed seed and all hand-over is in a fixed order, so each run finds the same answer.

use std::collections::{HashMap, VecDeque};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use crate::allocator;
use crate::outcome::{Answer, Outcome, Report, cpu_time, resident_kib};

const INDEXERS: usize = 3;
/// Without optimisation the work takes ten times as long, and the figures mean little.
pub(crate) const DOCUMENTS: u32 = if cfg!(debug_assertions) { 3_000 } else { 32_000 };
/// Documents that the writer hands over at a time.
const BATCH: usize = 16;
/// Documents of a segment.
const SEGMENT: usize = 192;
/// Segments that the keeper holds.
const KEPT: usize = 48;
/// Queries that it puts to each new one.
const QUERIES: usize = 64;
const VOCABULARY: usize = 20_000;

struct Document {
    number: u32,
    title: String,
    text: String,
}

/// Some documents and the index of their words.
#[derive(Default)]
struct Segment {
    documents: Vec<Document>,
    /// Where in `documents` a word occurs.
    places: HashMap<String, Vec<u32>>,
}

/// The child's part: works, and reports on standard output.
pub(crate) fn run_and_report() -> ExitCode {
    let begin = Instant::now();
    let cpu_before = cpu_time();
    let answer = work();
    let (wall, cpu) = (begin.elapsed(), cpu_time() - cpu_before);
    let peak_kib = resident_kib("VmHWM").unwrap_or(0);
    let after_kib = resident_kib("VmRSS").unwrap_or(0);
    allocator::trim();
    let trimmed_kib = resident_kib("VmRSS").unwrap_or(0);
    let outcome = Outcome { wall, cpu, peak_kib, after_kib, trimmed_kib, answer };
    println!("{}", Report::Done(outcome).to_line());
    ExitCode::SUCCESS
}

/// Everything that is allocated for it is dropped again when it returns, and all threads have ended.
fn work() -> Answer {
    let vocabulary = vocabulary();
    let words = &vocabulary;
    thread::scope(|scope| {
        let mut to_indexers = Vec::new();
        let mut from_indexers = Vec::new();
        for _ in 0..INDEXERS {
            let (to_indexer, batches) = sync_channel(4);
            let (to_keeper, segments) = sync_channel(2);
            to_indexers.push(to_indexer);
            from_indexers.push(segments);
            scope.spawn(move || index(&batches, &to_keeper));
        }
        let keeper = scope.spawn(move || keep(&from_indexers, words));
        write(&to_indexers, words);
        // The indexers end when nobody can send them anything, and the keeper when they have ended.
        drop(to_indexers);
        keeper.join().expect("the keeper has an answer")
    })
}

/// Writes the documents and hands them out in turn.
fn write(to_indexers: &[SyncSender<Vec<Document>>], words: &[String]) {
    let mut random = Random(1);
    let mut batch = Vec::new();
    let mut turn = to_indexers.iter().cycle();
    for number in 0..DOCUMENTS {
        batch.push(document(&mut random, words, number));
        if batch.len() == BATCH || number == DOCUMENTS - 1 {
            let indexer = turn.next().expect("there are indexers");
            indexer.send(std::mem::take(&mut batch)).expect("indexers listen to the end");
        }
    }
}

fn document(random: &mut Random, words: &[String], number: u32) -> Document {
    // One in 256 is a book, far above the size from which a block gets a mapping of its own.
    let len = if number % 256 == 255 { 30_000 } else { 20 + random.below(140) };
    let mut text = String::new();
    for at in 0..len {
        let word = random.word(words);
        if at % 12 == 0 {
            text += &word[..1].to_uppercase();
            text += &word[1..];
        } else {
            text += word;
        }
        text += if at % 12 == 11 { ". " } else { " " };
    }
    let title = format!("{number}. On {} and {}", random.word(words), random.word(words));
    Document { number, title, text }
}

/// Makes segments of the documents that come in.
fn index(batches: &Receiver<Vec<Document>>, to_keeper: &SyncSender<Segment>) {
    let mut segment = Segment::default();
    for document in batches.iter().flatten() {
        let place = segment.documents.len() as u32;
        for word in document.text.split_whitespace() {
            let word = word.trim_end_matches('.').to_lowercase();
            let places = segment.places.entry(word).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        segment.documents.push(document);
        if segment.documents.len() == SEGMENT {
            to_keeper.send(std::mem::take(&mut segment)).expect("the keeper listens to the end");
        }
    }
    to_keeper.send(segment).expect("the keeper listens to the end");
}

/// Takes segments from each indexer in turn until all have ended.
fn keep(from_indexers: &[Receiver<Segment>], words: &[String]) -> Answer {
    let mut random = Random(2);
    let mut answer = Answer::default();
    let mut kept = VecDeque::new();
    let mut done = 0;
    let mut living: Vec<&Receiver<Segment>> = from_indexers.iter().collect();
    while !living.is_empty() {
        living.retain(|indexer| {
            let Ok(segment) = indexer.recv() else { return false };
            done += segment.documents.len();
            for _ in 0..QUERIES {
                answer.add(&segment.find(random.word(words), random.word(words)));
            }
            kept.push_back(segment);
            if kept.len() > KEPT {
                kept.pop_front();
            }
            true
        });
        println!("{}", Report::Percent(done * 100 / DOCUMENTS as usize).to_line());
    }
    answer
}

impl Segment {
    /// The documents that both words occur in, as a list to be shown.
    fn find(&self, one: &str, other: &str) -> Vec<String> {
        let (Some(one), Some(other)) = (self.places.get(one), self.places.get(other)) else { return Vec::new() };
        let in_both = one.iter().filter(|place| other.binary_search(place).is_ok());
        let documents = in_both.map(|&place| &self.documents[place as usize]);
        documents.map(|found| format!("{} ({}): {:.40}", found.title, found.number, found.text)).collect()
    }
}

fn vocabulary() -> Vec<String> {
    const SYLLABLES: [&str; 16] =
        ["ba", "che", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "stra"];
    let mut random = Random(3);
    (0..VOCABULARY).map(|_| (0..2 + random.below(4)).map(|_| SYLLABLES[random.below(16)]).collect()).collect()
}

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    /// A word: a few are frequent and most are rare, as in any language.
    fn word<'a>(&mut self, words: &'a [String]) -> &'a str {
        let share = self.below(1 << 16) as f64 / f64::from(1 << 16);
        &words[(share.powi(4) * words.len() as f64) as usize]
    }
}
