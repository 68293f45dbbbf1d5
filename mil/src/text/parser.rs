//! Parses programs.
//!
//! ```text
//! program   = "program(" version ")" attrs "{" { function } "}"
//! function  = "func" name "<" opset ">" "(" [ type name { "," type name } ] ")" [ attrs ] "{" { operation } "}" "->" "(" names ")" ";"
//! operation = [ type name { "," type name } "=" ] op "(" [ name "=" argument { "," … } ] ")" [ attrs ] ";"
//! argument  = binding | "(" binding { "," binding } ")"        binding = name | value
//! attrs     = "[" name "=" value { "," name "=" value } "]"    value = type "(" literal ")"
//! ```
//!
//! Inside a value the type directs what literals look like. What is allocated follows the text that is there, never a
//! length that it claims.

use std::collections::BTreeMap;

use super::elements::Collector;
use super::lexer::{Lexer, Token, unescape};
use super::{NO_BLOCKS, TextVersion};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::program::{Argument, Binding, Block, Function, NamedValueType, Operation, Program};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{BlobReference, Value, ValueData};

/// Types and literals nest at most this deep; real ones stay below ten.
const MAX_DEPTH: u32 = 64;

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
    let mut parser = Parser { text, lexer: Lexer::new(text), ahead: (0, Token::End) };
    parser.advance();
    parser.program()
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    ahead: (usize, Token<'a>),
}

impl<'a> Parser<'a> {
    fn program(&mut self) -> Result<Parsed, ParseError> {
        self.keyword("program")?;
        self.mark('(')?;
        let version = match self.ahead.1 {
            Token::Word("1.0") => TextVersion::V1_0,
            Token::Word("1.3") => TextVersion::V1_3,
            _ => return Err(self.unexpected("version 1.0 or 1.3")),
        };
        self.advance();
        self.mark(')')?;
        let mut program = Program::default();
        if self.is_mark('[') {
            program.attributes = self.attributes()?;
        }
        self.mark('{')?;
        while !self.is_mark('}') {
            self.keyword("func")?;
            let place = self.ahead;
            let name = self.identifier("the name of a function")?;
            let function = self.function()?;
            if program.functions.insert(name, function).is_some() {
                return Err(self.error_at(place, "a name that no other function has"));
            }
        }
        self.mark('}')?;
        match self.ahead.1 {
            Token::End => Ok(Parsed { version, program }),
            _ => Err(self.unexpected("the end")),
        }
    }

    fn function(&mut self) -> Result<Function, ParseError> {
        self.mark('<')?;
        let opset = match self.ahead.1 {
            Token::Word(word) => Opset::from_text_name(word),
            _ => None,
        };
        let opset = opset.ok_or_else(|| self.unexpected("ios15, ios16, ios17, ios18 or ios26"))?;
        self.advance();
        self.mark('>')?;
        self.mark('(')?;
        let mut inputs = Vec::new();
        while !self.is_mark(')') {
            if !inputs.is_empty() {
                self.mark(',')?;
            }
            inputs.push(self.typed_name()?);
        }
        self.mark(')')?;
        let attributes = if self.is_mark('[') { self.attributes()? } else { BTreeMap::new() };
        self.mark('{')?;
        let mut operations = Vec::new();
        while !self.is_mark('}') {
            operations.push(self.operation()?);
        }
        self.mark('}')?;
        if self.ahead.1 != Token::Arrow {
            return Err(self.unexpected("`->`"));
        }
        self.advance();
        self.mark('(')?;
        let mut outputs = vec![self.identifier("the name of a result")?];
        while !self.is_mark(')') {
            self.mark(',')?;
            outputs.push(self.identifier("the name of a result")?);
        }
        self.mark(')')?;
        self.mark(';')?;
        Ok(Function { inputs, opset, block: Block { inputs: Vec::new(), operations, outputs }, attributes })
    }

    fn operation(&mut self) -> Result<Operation, ParseError> {
        let mut outputs = Vec::new();
        // An operation without results starts with its own name, which a parenthesis follows.
        if self.starts_type() {
            outputs.push(self.typed_name()?);
            while self.is_mark(',') {
                self.advance();
                outputs.push(self.typed_name()?);
            }
            self.mark('=')?;
        }
        let op = self.identifier("the name of an op")?;
        self.mark('(')?;
        let mut inputs = BTreeMap::new();
        while !self.is_mark(')') {
            if !inputs.is_empty() {
                self.mark(',')?;
            }
            let place = self.ahead;
            let parameter = self.identifier("the name of a parameter")?;
            self.mark('=')?;
            let argument = self.argument()?;
            if inputs.insert(parameter, argument).is_some() {
                return Err(self.error_at(place, "a parameter that is not given yet"));
            }
        }
        self.mark(')')?;
        let attributes = if self.is_mark('[') { self.attributes()? } else { BTreeMap::new() };
        if self.is_mark('(') {
            return Err(self.unexpected(&format!("`;`; {NO_BLOCKS}")));
        }
        self.mark(';')?;
        Ok(Operation { op, inputs, outputs, attributes, blocks: Vec::new() })
    }

    fn argument(&mut self) -> Result<Argument, ParseError> {
        if !self.is_mark('(') {
            return Ok(Argument(vec![self.binding()?]));
        }
        self.advance();
        let mut bindings = Vec::new();
        while !self.is_mark(')') {
            if !bindings.is_empty() {
                self.mark(',')?;
            }
            bindings.push(self.binding()?);
        }
        self.mark(')')?;
        Ok(Argument(bindings))
    }

    fn binding(&mut self) -> Result<Binding, ParseError> {
        if self.starts_type() {
            return Ok(Binding::Value(self.value()?));
        }
        Ok(Binding::Name(self.identifier("the name of a value, or a value")?))
    }

    fn attributes(&mut self) -> Result<BTreeMap<String, Value>, ParseError> {
        self.mark('[')?;
        let mut attributes = BTreeMap::new();
        while !self.is_mark(']') {
            if !attributes.is_empty() {
                self.mark(',')?;
            }
            let place = self.ahead;
            let name = self.identifier("the name of an attribute")?;
            self.mark('=')?;
            let value = self.value()?;
            if attributes.insert(name, value).is_some() {
                return Err(self.error_at(place, "an attribute that is not given yet"));
            }
        }
        self.mark(']')?;
        Ok(attributes)
    }

    fn typed_name(&mut self) -> Result<NamedValueType, ParseError> {
        let ty = self.ty(MAX_DEPTH)?;
        Ok(NamedValueType { name: self.identifier("a name")?, ty })
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        let ty = self.ty(MAX_DEPTH)?;
        self.mark('(')?;
        let value = self.literal(ty, MAX_DEPTH)?;
        self.mark(')')?;
        Ok(value)
    }

    /// Whether the next tokens are a type: a type's word that is followed by what follows types. A word alone does not
    /// tell, because values and ops may be called `string` in other places of the grammar.
    fn starts_type(&self) -> bool {
        let Token::Word(word) = self.ahead.1 else { return false };
        let (_, after) = self.lexer.clone().next();
        match word {
            "tensor" | "state" | "list" | "tuple" | "dict" => after == Token::Mark('<'),
            _ => DataType::from_text_name(word).is_some() && matches!(after, Token::Word(_) | Token::Mark('(')),
        }
    }

    fn ty(&mut self, depth: u32) -> Result<ValueType, ParseError> {
        let depth = self.deeper(depth)?;
        let Token::Word(word) = self.ahead.1 else { return Err(self.unexpected("a type")) };
        match word {
            "tensor" => Ok(ValueType::Tensor(self.tensor_type()?)),
            "state" => {
                self.advance();
                self.mark('<')?;
                let tensor = self.tensor_type()?;
                self.mark('>')?;
                Ok(ValueType::State(tensor))
            }
            "list" => {
                self.advance();
                self.mark('<')?;
                let element = self.ty(depth)?;
                self.mark(',')?;
                let length = self.dimension()?;
                self.mark('>')?;
                Ok(ValueType::List(Box::new(element), length))
            }
            "tuple" => {
                self.advance();
                self.mark('<')?;
                let mut elements = vec![self.ty(depth)?];
                while self.is_mark(',') {
                    self.advance();
                    elements.push(self.ty(depth)?);
                }
                self.mark('>')?;
                Ok(ValueType::Tuple(elements))
            }
            "dict" => {
                self.advance();
                self.mark('<')?;
                let key = self.ty(depth)?;
                self.mark(',')?;
                let value = self.ty(depth)?;
                self.mark('>')?;
                Ok(ValueType::Dictionary(Box::new(key), Box::new(value)))
            }
            _ => Ok(TensorType::scalar(self.dtype()?).into()),
        }
    }

    fn tensor_type(&mut self) -> Result<TensorType, ParseError> {
        self.keyword("tensor")?;
        self.mark('<')?;
        let dtype = self.dtype()?;
        self.mark(',')?;
        self.mark('[')?;
        let mut shape = Vec::new();
        while !self.is_mark(']') {
            if !shape.is_empty() {
                self.mark(',')?;
            }
            shape.push(self.dimension()?);
        }
        self.mark(']')?;
        self.mark('>')?;
        Ok(TensorType { dtype, shape })
    }

    fn dtype(&mut self) -> Result<DataType, ParseError> {
        let dtype = match self.ahead.1 {
            Token::Word(word) => DataType::from_text_name(word),
            _ => None,
        };
        let expected = || DataType::all().map(DataType::text_name).collect::<Vec<_>>().join(", ");
        let dtype = dtype.ok_or_else(|| self.unexpected(&format!("an element type ({})", expected())))?;
        self.advance();
        Ok(dtype)
    }

    fn dimension(&mut self) -> Result<Dimension, ParseError> {
        let dimension = match self.ahead.1 {
            Token::Word("?") => Some(Dimension::Unknown),
            Token::Word(word) => word.parse().ok().map(Dimension::Fixed),
            _ => None,
        };
        let dimension = dimension.ok_or_else(|| self.unexpected("a length or `?`"))?;
        self.advance();
        Ok(dimension)
    }

    fn literal(&mut self, ty: ValueType, depth: u32) -> Result<Value, ParseError> {
        let depth = self.deeper(depth)?;
        if self.ahead.1 == Token::Word("BLOBFILE") {
            let reference = self.blob()?;
            return Ok(Value { ty, data: ValueData::Blob(reference) });
        }
        let data = match &ty {
            ValueType::Tensor(tensor) => self.tensor_literal(tensor)?,
            ValueType::State(_) => return Err(self.unexpected("a constant; a state is none")),
            ValueType::Tuple(types) => {
                let mut values = Vec::new();
                self.mark('(')?;
                for (position, element) in types.iter().enumerate() {
                    if position > 0 {
                        self.mark(',')?;
                    }
                    values.push(self.literal(element.clone(), depth)?);
                }
                self.mark(')')?;
                ValueData::Tuple(values)
            }
            ValueType::List(element, length) => {
                let place = self.ahead;
                let values = self.list_literal(element, depth)?;
                if length.fixed().is_some_and(|length| length != values.len() as u64) {
                    return Err(self.error_at(place, &format!("{length} elements")));
                }
                ValueData::List(values)
            }
            ValueType::Dictionary(key, value) => ValueData::Dictionary(self.dictionary_literal(key, value, depth)?),
        };
        Ok(Value { ty, data })
    }

    fn list_literal(&mut self, element: &ValueType, depth: u32) -> Result<Vec<Value>, ParseError> {
        let mut values = Vec::new();
        self.mark('[')?;
        while !self.is_mark(']') {
            if !values.is_empty() {
                self.mark(',')?;
            }
            values.push(self.literal(element.clone(), depth)?);
        }
        self.mark(']')?;
        Ok(values)
    }

    fn dictionary_literal(
        &mut self,
        key: &ValueType,
        value: &ValueType,
        depth: u32,
    ) -> Result<Vec<(Value, Value)>, ParseError> {
        let mut entries = Vec::new();
        self.mark('{')?;
        while !self.is_mark('}') {
            if !entries.is_empty() {
                self.mark(',')?;
            }
            self.mark('{')?;
            let key = self.literal(key.clone(), depth)?;
            self.mark(',')?;
            let value = self.literal(value.clone(), depth)?;
            self.mark('}')?;
            entries.push((key, value));
        }
        self.mark('}')?;
        Ok(entries)
    }

    fn tensor_literal(&mut self, ty: &TensorType) -> Result<ValueData, ParseError> {
        let place = self.ahead;
        let collector = Collector::new(ty.dtype);
        let mut collector =
            collector.ok_or_else(|| self.unexpected(&format!("a blob; {} has no literals", ty.dtype)))?;
        self.nested(&ty.shape, &mut collector)?;
        if let Some(count) = ty.element_count()
            && count != collector.count()
        {
            return Err(self.error_at(place, &format!("{count} elements for {ty}")));
        }
        Ok(ValueData::Tensor(collector.finish()))
    }

    /// Brackets as the shape has them, with elements inside.
    fn nested(&mut self, shape: &[Dimension], collector: &mut Collector) -> Result<(), ParseError> {
        let Some((length, inner)) = shape.split_first() else { return self.element(collector) };
        let place = self.ahead;
        let mut found = 0_u64;
        self.mark('[')?;
        while !self.is_mark(']') {
            if found > 0 {
                self.mark(',')?;
            }
            self.nested(inner, collector)?;
            found += 1;
        }
        self.mark(']')?;
        if length.fixed().is_some_and(|length| length != found) {
            return Err(self.error_at(place, &format!("{length} elements in these brackets")));
        }
        Ok(())
    }

    fn element(&mut self, collector: &mut Collector) -> Result<(), ParseError> {
        let taken = match self.ahead.1 {
            Token::Word(word) => collector.literal(word),
            Token::String(body) => collector.string(unescape(body)),
            _ => false,
        };
        if !taken {
            return Err(self.unexpected("an element of the tensor's type, in its range"));
        }
        self.advance();
        Ok(())
    }

    fn blob(&mut self) -> Result<BlobReference, ParseError> {
        self.keyword("BLOBFILE")?;
        self.mark('(')?;
        self.keyword("path")?;
        self.mark('=')?;
        let place = self.ahead;
        let path = self.value()?;
        let file_name = path.as_str().map(str::to_owned).ok_or_else(|| self.error_at(place, "a string"))?;
        self.mark(',')?;
        self.keyword("offset")?;
        self.mark('=')?;
        let place = self.ahead;
        let offset = self.value()?;
        let offset = offset.as_int().and_then(|offset| u64::try_from(offset).ok());
        let offset = offset.ok_or_else(|| self.error_at(place, "an offset of type uint64"))?;
        self.mark(')')?;
        Ok(BlobReference { file_name, offset })
    }

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
