//! Vectors and strings that double as they grow.
//!
//! What `Vec::push` and `String::push_str` do to an allocator: realloc to twice the length, again and again. Several grow
//! in turn, so that one often stands in the way of another; most end short, few end long.

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::scale::Scale;
use crate::sizes::Sizes;

/// Vectors that grow in turn.
const ABREAST: usize = 8;
const VECTOR_ROUNDS: usize = 80_000;
const STRINGS_KEPT: usize = 1_000;
const STRINGS: usize = 800_000;
const WORDS: [&str; 8] = ["a", "heap", "is", "cut", "into", "chunks", "with", "boundary-tags"];

/// Eight vectors at a time, each pushed to its own length: of 16 to 32768 numbers, short ones more often.
pub(crate) fn vectors(scale: Scale) -> u64 {
    let sizes = Sizes::inverse_square(16, 32_768);
    let mut numbers = Numbers::new(0xd0b1);
    let mut sum = Checksum::default();
    for _ in 0..scale.of(VECTOR_ROUNDS) {
        let mut vectors: [Vec<u64>; ABREAST] = Default::default();
        let mut lens = [0; ABREAST];
        lens.fill_with(|| sizes.draw(&mut numbers));
        let longest = lens.iter().copied().max().unwrap_or(0);
        for value in 0..longest {
            for (vector, _) in vectors.iter_mut().zip(lens).filter(|(_, len)| value < *len) {
                vector.push(value as u64);
            }
        }
        vectors.iter().flat_map(|vector| vector.last()).for_each(|last| sum.add(*last));
    }
    sum.value()
}

/// Strings put together from words; the last thousand are kept.
pub(crate) fn strings(scale: Scale) -> u64 {
    let counts = Sizes::inverse_square(4, 2_000);
    let mut numbers = Numbers::new(0x5721);
    let mut sum = Checksum::default();
    let mut kept = vec![String::new(); STRINGS_KEPT];
    for _ in 0..scale.of(STRINGS) {
        let mut text = String::new();
        for _ in 0..counts.draw(&mut numbers) {
            text.push_str(numbers.choose::<&str>(&WORDS));
            text.push(' ');
        }
        sum.add(text.len() as u64);
        *numbers.choose_mut(&mut kept) = text;
    }
    sum.value()
}
