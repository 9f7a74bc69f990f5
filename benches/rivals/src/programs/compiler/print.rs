//! Trees to text again, with every pair of parentheses written.

use super::tree::{Function, Operator, Tree};

pub(super) fn program(functions: &[Function]) -> String {
    functions.iter().map(|function| printed(function) + "\n").collect()
}

fn printed(function: &Function) -> String {
    let bindings: String =
        function.bindings.iter().map(|(name, tree)| format!("let {name} = {}; ", expression(tree))).collect();
    let parameters = function.parameters.join(", ");
    format!("fn {}({parameters}) {{ {bindings}{} }}", function.name, expression(&function.value))
}

fn expression(tree: &Tree) -> String {
    match tree {
        Tree::Number(number) if *number < 0 => format!("-{}", number.unsigned_abs()),
        Tree::Number(number) => number.to_string(),
        Tree::Name(name) => name.clone(),
        Tree::Call(name, arguments) => {
            let arguments: Vec<String> = arguments.iter().map(expression).collect();
            format!("{name}({})", arguments.join(", "))
        }
        Tree::Minus(inner) => format!("-{}", expression(inner)),
        Tree::Two(operator, left, right) => {
            let sign = match operator {
                Operator::Plus => '+',
                Operator::Minus => '-',
                Operator::Times => '*',
                Operator::Over => '/',
            };
            format!("({} {sign} {})", expression(left), expression(right))
        }
    }
}
