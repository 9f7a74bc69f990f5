//! Words that are made up, for inputs that look like text.

use crate::numbers::Numbers;

const SYLLABLES: [&str; 24] = [
    "ba", "den", "fo", "gur", "hel", "im", "ja", "kor", "lu", "mer", "nos", "or", "pa", "qui", "ren", "sa", "tor",
    "ul", "ver", "wen", "xi", "yo", "zan", "st",
];

/// A word of one to four syllables.
pub(crate) fn word(numbers: &mut Numbers) -> String {
    (0..numbers.between(1, 4)).map(|_| *numbers.choose(&SYLLABLES)).collect()
}

/// So many words with spaces between them.
pub(crate) fn sentence(words: usize, numbers: &mut Numbers) -> String {
    (0..words).map(|_| word(numbers)).collect::<Vec<_>>().join(" ")
}
