//! Source text made up by rule: the input of the compiler.

use crate::numbers::Numbers;
use crate::programs::words::word;

const FUNCTIONS: usize = 60;
const DEEPEST: usize = 7;

pub(super) fn source(numbers: &mut Numbers) -> String {
    (0..FUNCTIONS).map(|number| function(number, numbers)).collect()
}

fn function(number: usize, numbers: &mut Numbers) -> String {
    let parameters: Vec<String> = (0..numbers.between(1, 4)).map(|n| format!("{}{n}", word(numbers))).collect();
    let mut text = format!("fn {}{number}({}) {{\n", word(numbers), parameters.join(", "));
    let mut names = parameters;
    for n in 0..numbers.between(2, 10) {
        let name = format!("{}{}", word(numbers), n + 10);
        text += &format!("    let {name} = {};\n", expression(DEEPEST, &names, numbers));
        names.push(name);
    }
    text + &format!("    {}\n}}\n", expression(DEEPEST, &names, numbers))
}

fn expression(deepest: usize, names: &[String], numbers: &mut Numbers) -> String {
    let choice = if deepest == 0 { numbers.below(4) } else { numbers.below(16) };
    let mut inner = || expression(deepest.saturating_sub(1), names, numbers);
    match choice {
        0..=1 => numbers.below(5).to_string(),
        2..=3 => numbers.choose(names).clone(),
        4 => format!("-{}", inner()),
        5 => format!("{}({}, {})", names[0], inner(), inner()),
        6..=9 => format!("{} + {}", inner(), inner()),
        10 => format!("({} - {})", inner(), inner()),
        11 => format!("({}) / ({})", inner(), inner()),
        _ => format!("({}) * ({})", inner(), inner()),
    }
}
