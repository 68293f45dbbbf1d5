//! Functions and their operations.

use std::collections::BTreeMap;

use super::super::TextVersion;
use super::super::lexer::Token;
use super::{MAX_DEPTH, ParseError, Parsed, Parser};
use crate::opset::Opset;
use crate::program::{Argument, Binding, Block, Function, NamedValueType, Operation, Program};
use crate::value::Value;

impl Parser<'_> {
    pub(super) fn program(&mut self) -> Result<Parsed, ParseError> {
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
        let inputs = self.typed_names()?;
        let attributes = if self.is_mark('[') { self.attributes()? } else { BTreeMap::new() };
        let (operations, outputs) = self.body(MAX_DEPTH, true)?;
        self.mark(';')?;
        Ok(Function { inputs, opset, block: Block { inputs: Vec::new(), operations, outputs }, attributes })
    }

    fn operation(&mut self, depth: u32) -> Result<Operation, ParseError> {
        let depth = self.deeper(depth)?;
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
        let mut blocks = Vec::new();
        while self.is_mark('(') {
            blocks.push(self.block(depth)?);
        }
        self.mark(';')?;
        Ok(Operation { op, inputs, outputs, attributes, blocks })
    }

    fn block(&mut self, depth: u32) -> Result<Block, ParseError> {
        let inputs = self.typed_names()?;
        let (operations, outputs) = self.body(depth, false)?;
        Ok(Block { inputs, operations, outputs })
    }

    /// Operations, and the names that they result in: at least one where they are `required`.
    fn body(&mut self, depth: u32, required: bool) -> Result<(Vec<Operation>, Vec<String>), ParseError> {
        self.mark('{')?;
        let mut operations = Vec::new();
        while !self.is_mark('}') {
            operations.push(self.operation(depth)?);
        }
        self.mark('}')?;
        if self.ahead.1 != Token::Arrow {
            return Err(self.unexpected("`->`"));
        }
        self.advance();
        self.mark('(')?;
        let mut outputs = Vec::new();
        while (required && outputs.is_empty()) || !self.is_mark(')') {
            if !outputs.is_empty() {
                self.mark(',')?;
            }
            outputs.push(self.identifier("the name of a result")?);
        }
        self.mark(')')?;
        Ok((operations, outputs))
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

    /// Parameters in parentheses.
    fn typed_names(&mut self) -> Result<Vec<NamedValueType>, ParseError> {
        self.mark('(')?;
        let mut names = Vec::new();
        while !self.is_mark(')') {
            if !names.is_empty() {
                self.mark(',')?;
            }
            names.push(self.typed_name()?);
        }
        self.mark(')')?;
        Ok(names)
    }

    fn typed_name(&mut self) -> Result<NamedValueType, ParseError> {
        let ty = self.ty(MAX_DEPTH)?;
        Ok(NamedValueType { name: self.identifier("a name")?, ty })
    }
}
