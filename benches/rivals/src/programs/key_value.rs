//! A key-value index, with `indexmap` and the maps of std.
//!
//! What a store in memory does: rows under string keys in a hash map, an ordered index over the keys, sets of keys for
//! each tag; rows are put, replaced by longer or shorter ones, read, scanned by range and removed. The population stays,
//! its members change: blocks of all ages lie beside each other.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::rc::Rc;

use indexmap::IndexSet;

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::programs::words::word;
use crate::scale::Scale;
use crate::sizes::Sizes;

const ROWS: usize = 30_000;
const REQUESTS: usize = 400_000;
const TAGS: usize = 200;

/// Hashes that are the same in every run.
type Hasher = BuildHasherDefault<DefaultHasher>;

struct Row {
    value: Vec<u8>,
    tag: usize,
}

struct Store {
    rows: HashMap<Rc<str>, Row, Hasher>,
    ordered: BTreeMap<Rc<str>, usize>,
    tagged: Vec<IndexSet<Rc<str>, Hasher>>,
}

impl Store {
    fn new() -> Self {
        Self { rows: HashMap::default(), ordered: BTreeMap::new(), tagged: vec![IndexSet::default(); TAGS] }
    }

    fn put(&mut self, key: &str, value: Vec<u8>, tag: usize) {
        let key: Rc<str> = key.into();
        self.ordered.insert(Rc::clone(&key), value.len());
        self.tagged[tag].insert(Rc::clone(&key));
        if let Some(before) = self.rows.insert(Rc::clone(&key), Row { value, tag })
            && before.tag != tag
        {
            self.tagged[before.tag].swap_remove(&key);
        }
    }

    fn remove(&mut self, key: &str) -> usize {
        let Some(row) = self.rows.remove(key) else { return 0 };
        self.ordered.remove(key);
        self.tagged[row.tag].swap_remove(key);
        row.value.len()
    }

    fn scan(&self, from: &str, limit: usize) -> Vec<(Rc<str>, usize)> {
        self.ordered
            .range::<str, _>((std::ops::Bound::Included(from), std::ops::Bound::Unbounded))
            .take(limit)
            .map(|(key, len)| (Rc::clone(key), *len))
            .collect()
    }
}

fn key(numbers: &mut Numbers) -> String {
    format!("{}/{:05}", word(numbers), numbers.below(ROWS))
}

fn value(sizes: &Sizes, numbers: &mut Numbers) -> Vec<u8> {
    let byte = numbers.below(256) as u8;
    vec![byte; sizes.draw(numbers)]
}

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::of_programs();
    let mut numbers = Numbers::new(0x6e71);
    let mut sum = Checksum::default();
    let mut store = Store::new();
    let mut keys: Vec<String> = (0..ROWS).map(|_| key(&mut numbers)).collect();
    for key in &keys {
        store.put(key, value(&sizes, &mut numbers), numbers.below(TAGS));
    }
    for _ in 0..scale.of(REQUESTS) {
        let at = numbers.below(ROWS);
        match numbers.below(10) {
            0..=2 => store.put(&keys[at], value(&sizes, &mut numbers), numbers.below(TAGS)),
            3..=4 => {
                sum.add(store.remove(&keys[at]) as u64);
                keys[at] = key(&mut numbers);
                store.put(&keys[at], value(&sizes, &mut numbers), numbers.below(TAGS));
            }
            5..=7 => {
                let copy = store.rows.get(keys[at].as_str()).map(|row| row.value.clone()).unwrap_or_default();
                sum.add(copy.iter().step_by(16).map(|byte| u64::from(*byte)).sum());
            }
            8 => sum.add(store.scan(&keys[at], 10).iter().map(|(key, len)| (key.len() + len) as u64).sum()),
            _ => {
                let tag = &store.tagged[numbers.below(TAGS)];
                let names: Vec<String> = tag.iter().take(5).map(|key| key.to_uppercase()).collect();
                sum.add(names.join(",").len() as u64);
            }
        }
    }
    sum.value()
}
