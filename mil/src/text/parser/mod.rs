//! Parses programs.
//!
//! ```text
//! program   = "program(" version ")" attrs "{" { function } "}"
//! function  = "func" name "<" opset ">" "(" [ type name { "," type name } ] ")" [ attrs ] "{" { operation } "}" "->" "(" names ")" ";"
//! operation = [ type name { "," type name } "=" ] op "(" [ name "=" argument { "," … } ] ")" [ attrs ] { block } ";"
//! block     = "(" [ type name { "," type name } ] ")" "{" { operation } "}" "->" "(" [ names ] ")"
//! argument  = binding | "(" binding { "," binding } ")"        binding = name | value
//! attrs     = "[" name "=" value { "," name "=" value } "]"    value = type "(" literal ")"
//! ```
//!
//! Inside a value the type directs what literals look like. What is allocated follows the text that is there, never a
//! length that it claims.

mod program;
mod types;
mod values;

use super::TextVersion;
use super::lexer::{Lexer, Token};
use crate::program::Program;

/// Types and literals nest at most this deep; real ones stay below ten.
const MAX_DEPTH: u32 = 64;
/// Axes that a tensor may have; real ones have seven at most.
const MAX_AXES: usize = 64;
/// How many parts the types of literals inside literals may have in all, per byte of text and beside it. Real literals
/// are longer than their types have parts.
const TYPE_PARTS_PER_BYTE: usize = 4;
const SPARE_TYPE_PARTS: usize = 1024;

/// A program with the version that its text names.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The version.
    pub version: TextVersion,
    /// The program.
    pub program: Program,
}

/// Text that is no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: expected {expected}, found {found}\n{excerpt}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What could stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// The line, with a mark below the place.
    pub excerpt: String,
}

/// Parses a program.
///
/// # Errors
/// The first place where the text is no program.
pub fn parse(text: &str) -> Result<Parsed, ParseError> {
    let type_parts_left = text.len().saturating_mul(TYPE_PARTS_PER_BYTE).saturating_add(SPARE_TYPE_PARTS);
    let mut parser = Parser { text, lexer: Lexer::new(text), ahead: (0, Token::End), type_parts_left };
    parser.advance();
    parser.program()
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    ahead: (usize, Token<'a>),
    /// Parts that the types of literals inside literals may still have.
    type_parts_left: usize,
}

impl<'a> Parser<'a> {
    fn identifier(&mut self, what: &str) -> Result<String, ParseError> {
        let Token::Word(word) = self.ahead.1 else { return Err(self.unexpected(what)) };
        let valid = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '@'));
        if !valid {
            return Err(self.unexpected(what));
        }
        self.advance();
        Ok(word.to_owned())
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), ParseError> {
        if self.ahead.1 != Token::Word(keyword) {
            return Err(self.unexpected(&format!("`{keyword}`")));
        }
        self.advance();
        Ok(())
    }

    fn mark(&mut self, mark: char) -> Result<(), ParseError> {
        if !self.is_mark(mark) {
            return Err(self.unexpected(&format!("`{mark}`")));
        }
        self.advance();
        Ok(())
    }

    fn is_mark(&self, mark: char) -> bool {
        self.ahead.1 == Token::Mark(mark)
    }

    fn advance(&mut self) {
        self.ahead = self.lexer.next();
    }

    fn deeper(&self, depth: u32) -> Result<u32, ParseError> {
        depth.checked_sub(1).ok_or_else(|| self.unexpected(&format!("at most {MAX_DEPTH} levels of nesting")))
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        self.error_at(self.ahead, expected)
    }

    fn error_at(&self, (position, token): (usize, Token<'a>), expected: &str) -> ParseError {
        const EXCERPT: usize = 100;
        let before = self.text.get(..position).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let text = self.text.get(line_start..).unwrap_or_default();
        let text = text.lines().next().unwrap_or_default();
        // Lines of constants can be megabytes long; the part around the place is what helps.
        let skipped = column.saturating_sub(EXCERPT / 2);
        let part: String = text.chars().skip(skipped).take(EXCERPT).collect();
        let mark = " ".repeat(column - 1 - skipped.min(column - 1));
        ParseError {
            line,
            column,
            expected: expected.to_owned(),
            found: token.describe(),
            excerpt: format!("  {part}\n  {mark}^"),
        }
    }
}
