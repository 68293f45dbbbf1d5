//! Constants. The type directs what a literal looks like.

use super::super::elements::Collector;
use super::super::lexer::{Token, unescape};
use super::{MAX_DEPTH, ParseError, Parser};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{BlobReference, Value, ValueData};

impl Parser<'_> {
    pub(super) fn value(&mut self) -> Result<Value, ParseError> {
        let ty = self.ty(MAX_DEPTH)?;
        self.mark('(')?;
        let value = self.literal(ty, MAX_DEPTH)?;
        self.mark(')')?;
        Ok(value)
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
                    values.push(self.element_literal(element, depth)?);
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

    /// A literal inside another. Its value has a type of its own, which costs memory that the text does not show.
    fn element_literal(&mut self, ty: &ValueType, depth: u32) -> Result<Value, ParseError> {
        let left = self.type_parts_left.checked_sub(type_parts(ty));
        self.type_parts_left = left.ok_or_else(|| self.unexpected("a constant of a simpler type"))?;
        self.literal(ty.clone(), depth)
    }

    fn list_literal(&mut self, element: &ValueType, depth: u32) -> Result<Vec<Value>, ParseError> {
        let mut values = Vec::new();
        self.mark('[')?;
        while !self.is_mark(']') {
            if !values.is_empty() {
                self.mark(',')?;
            }
            values.push(self.element_literal(element, depth)?);
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
            let key = self.element_literal(key, depth)?;
            self.mark(',')?;
            let value = self.element_literal(value, depth)?;
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
}

/// How much a copy of a type takes, in units of about the size of a type.
fn type_parts(ty: &ValueType) -> usize {
    match ty {
        ValueType::Tensor(tensor) | ValueType::State(tensor) => 1 + tensor.rank(),
        ValueType::List(element, _) => 1 + type_parts(element),
        ValueType::Tuple(elements) => 1 + elements.iter().map(type_parts).sum::<usize>(),
        ValueType::Dictionary(key, value) => 1 + type_parts(key) + type_parts(value),
    }
}
