//! Source text cut into tokens.

/// A token; names own their text.
#[derive(Debug, PartialEq)]
pub(super) enum Token {
    Number(i64),
    Name(String),
    Mark(char),
}

pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len()).max(1);
        let (text, after) = rest.split_at(len);
        tokens.push(match first {
            '0'..='9' => Token::Number(text.parse().expect("a number fits")),
            'a'..='z' => Token::Name(text.to_owned()),
            mark => Token::Mark(mark),
        });
        rest = after.trim_start();
    }
    tokens
}
