//! A compiler in small: parse, optimise, print.
//!
//! Source text becomes tokens, tokens become trees of boxes, a pass consumes each tree and builds a smaller one, and what
//! is left is printed. Nodes live as long as their function, scratch dies at once: the way compilers, interpreters and
//! formatters allocate.
//!
//! ```text
//! program    = function*
//! function   = "fn" name "(" name,* ")" "{" ("let" name "=" sum ";")* sum "}"
//! sum        = product (("+" | "-") product)*
//! product    = atom (("*" | "/") atom)*
//! atom       = number | name | name "(" sum,* ")" | "-" atom | "(" sum ")"
//! ```

mod generate;
mod optimise;
mod parse;
mod print;
mod token;
mod tree;

use crate::checksum::Checksum;
use crate::numbers::Numbers;
use crate::scale::Scale;

const SOURCES: usize = 4;
const ROUNDS: usize = 35;

pub(crate) fn run(scale: Scale) -> u64 {
    let mut numbers = Numbers::new(0xc0de);
    let mut sum = Checksum::default();
    let sources: Vec<String> = (0..SOURCES).map(|_| generate::source(&mut numbers)).collect();
    for _ in 0..scale.of(ROUNDS) {
        for source in &sources {
            let functions = parse::program(token::tokens(source));
            let optimised: Vec<tree::Function> = functions.into_iter().map(optimise::function).collect();
            sum.add_text(&print::program(&optimised));
        }
    }
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(source: &str) -> String {
        let functions = parse::program(token::tokens(source));
        print::program(&functions.into_iter().map(optimise::function).collect::<Vec<_>>())
    }

    #[test]
    fn folds_what_is_known() {
        assert_eq!(compiled("fn f(a) { 2 * 3 + a * 1 }"), "fn f(a) { (6 + a) }\n");
        assert_eq!(compiled("fn f(a) { a * (4 - 4) }"), "fn f(a) { 0 }\n");
        assert_eq!(compiled("fn f(a) { - - g(a, 8 / 2) }"), "fn f(a) { g(a, 4) }\n");
    }

    #[test]
    fn puts_known_names_in_and_drops_unused_ones() {
        assert_eq!(compiled("fn f(a) { let b = 1 + 1; let c = g(a); b + a }"), "fn f(a) { (2 + a) }\n");
        assert_eq!(compiled("fn f(a) { let b = g(a); b + b }"), "fn f(a) { let b = g(a); (b + b) }\n");
    }

    #[test]
    fn a_printed_program_compiles_to_itself() {
        let once = compiled(&generate::source(&mut Numbers::new(1)));
        assert!(compiled(&once) == once, "another text the second time");
    }
}
