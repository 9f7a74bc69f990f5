//! Tokens to trees, by recursive descent. Source is generated, so a mistake in it is a mistake here, and panics.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::token::Token;
use super::tree::{Function, Operator, Tree};

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
}

pub(super) fn program(tokens: Vec<Token>) -> Vec<Function> {
    let mut parser = Parser { tokens: tokens.into_iter().peekable() };
    let mut functions = Vec::new();
    while parser.takes_name("fn") {
        functions.push(parser.function());
    }
    assert_eq!(parser.tokens.next(), None, "nothing but functions");
    functions
}

impl Parser {
    fn takes(&mut self, mark: char) -> bool {
        self.tokens.next_if_eq(&Token::Mark(mark)).is_some()
    }

    fn takes_name(&mut self, name: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Name(text) if text == name)).is_some()
    }

    fn expect(&mut self, mark: char) {
        assert!(self.takes(mark), "{mark:?} wanted, {:?} found", self.tokens.peek());
    }

    fn name(&mut self) -> String {
        match self.tokens.next() {
            Some(Token::Name(name)) => name,
            other => panic!("a name wanted, {other:?} found"),
        }
    }

    /// Items with commas between them, after the opening parenthesis and up to the closing one.
    fn listed<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        while !self.takes(')') {
            items.push(item(self));
            self.takes(',');
        }
        items
    }

    fn function(&mut self) -> Function {
        let name = self.name();
        self.expect('(');
        let parameters = self.listed(Self::name);
        self.expect('{');
        let mut bindings = Vec::new();
        while self.takes_name("let") {
            let bound = self.name();
            self.expect('=');
            bindings.push((bound, Box::new(self.sum())));
            self.expect(';');
        }
        let value = Box::new(self.sum());
        self.expect('}');
        Function { name, parameters, bindings, value }
    }

    fn sum(&mut self) -> Tree {
        let mut left = self.product();
        while let Some(operator) = self.operator([('+', Operator::Plus), ('-', Operator::Minus)]) {
            left = Tree::Two(operator, Box::new(left), Box::new(self.product()));
        }
        left
    }

    fn product(&mut self) -> Tree {
        let mut left = self.atom();
        while let Some(operator) = self.operator([('*', Operator::Times), ('/', Operator::Over)]) {
            left = Tree::Two(operator, Box::new(left), Box::new(self.atom()));
        }
        left
    }

    fn operator(&mut self, choices: [(char, Operator); 2]) -> Option<Operator> {
        choices.into_iter().find(|(mark, _)| self.takes(*mark)).map(|(_, operator)| operator)
    }

    fn atom(&mut self) -> Tree {
        match self.tokens.next() {
            Some(Token::Number(number)) => Tree::Number(number),
            Some(Token::Name(name)) if self.takes('(') => Tree::Call(name, self.listed(Self::sum)),
            Some(Token::Name(name)) => Tree::Name(name),
            Some(Token::Mark('-')) => Tree::Minus(Box::new(self.atom())),
            Some(Token::Mark('(')) => {
                let inner = self.sum();
                self.expect(')');
                inner
            }
            other => panic!("an expression wanted, {other:?} found"),
        }
    }
}
