//! Types.

use super::super::lexer::Token;
use super::{MAX_AXES, ParseError, Parser};
use crate::dtype::DataType;
use crate::types::{Dimension, TensorType, ValueType};

impl Parser<'_> {
    /// Whether the next tokens are a type: a type's word that is followed by what follows types. A word alone does not
    /// tell, because values and ops may be called `string` in other places of the grammar.
    pub(super) fn starts_type(&self) -> bool {
        let Token::Word(word) = self.ahead.1 else { return false };
        let (_, after) = self.lexer.clone().next();
        match word {
            "tensor" | "state" | "list" | "tuple" | "dict" => after == Token::Mark('<'),
            _ => DataType::from_text_name(word).is_some() && matches!(after, Token::Word(_) | Token::Mark('(')),
        }
    }

    pub(super) fn ty(&mut self, depth: u32) -> Result<ValueType, ParseError> {
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

    pub(super) fn tensor_type(&mut self) -> Result<TensorType, ParseError> {
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
            if shape.len() == MAX_AXES {
                return Err(self.unexpected(&format!("at most {MAX_AXES} axes")));
            }
            shape.push(self.dimension()?);
        }
        self.mark(']')?;
        self.mark('>')?;
        Ok(TensorType { dtype, shape })
    }

    pub(super) fn dtype(&mut self) -> Result<DataType, ParseError> {
        let dtype = match self.ahead.1 {
            Token::Word(word) => DataType::from_text_name(word),
            _ => None,
        };
        let expected = || DataType::all().map(DataType::text_name).collect::<Vec<_>>().join(", ");
        let dtype = dtype.ok_or_else(|| self.unexpected(&format!("an element type ({})", expected())))?;
        self.advance();
        Ok(dtype)
    }

    pub(super) fn dimension(&mut self) -> Result<Dimension, ParseError> {
        let dimension = match self.ahead.1 {
            Token::Word("?") => Some(Dimension::Unknown),
            Token::Word(word) => word.parse().ok().map(Dimension::Fixed),
            _ => None,
        };
        let dimension = dimension.ok_or_else(|| self.unexpected("a length or `?`"))?;
        self.advance();
        Ok(dimension)
    }
}
