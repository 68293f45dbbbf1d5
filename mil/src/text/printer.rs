//! Prints programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::elements::Elements;
use super::{BLOCK_INDENT, OPERATION_INDENT, TextVersion};
use crate::program::{Argument, Binding, Block, Function, Operation, Program};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{BlobReference, Value, ValueData};

/// Axes that a constant in place may have.
const MAX_AXES: usize = 64;
/// Brackets that a constant without elements may have.
const MAX_EMPTY: usize = 1024;

/// A program without a text form.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// A constant whose data does not fit its type.
    #[error("Cannot print a constant of type {ty}: its data is of another kind or length")]
    Value {
        /// The type.
        ty: String,
    },
}

/// The text of a program.
///
/// # Errors
/// Constants whose data does not fit their type.
pub fn print(program: &Program, version: TextVersion) -> Result<String, PrintError> {
    let mut printer = Printer { text: String::new(), version };
    let _ = writeln!(printer.text, "program({})", version.number());
    printer.attributes(&program.attributes)?;
    printer.text.push_str("\n{\n");
    for (name, function) in &program.functions {
        printer.function(name, function)?;
    }
    printer.text.push('}');
    Ok(printer.text)
}

struct Printer {
    text: String,
    version: TextVersion,
}

impl Printer {
    fn function(&mut self, name: &str, function: &Function) -> Result<(), PrintError> {
        let _ = write!(self.text, "    func {name}<{}>(", function.opset);
        let mut inputs: Vec<_> = function.inputs.iter().collect();
        inputs.sort_by(|a, b| a.name.cmp(&b.name));
        self.list(&inputs, |printer, input| {
            printer.ty(&input.ty);
            let _ = write!(printer.text, " {}", input.name);
            Ok(())
        })?;
        self.text.push(')');
        if !function.attributes.is_empty() {
            self.text.push(' ');
            self.attributes(&function.attributes)?;
        }
        self.text.push_str(" {\n");
        for operation in &function.block.operations {
            self.operation(operation, OPERATION_INDENT)?;
        }
        let _ = writeln!(self.text, "        }} -> ({});", function.block.outputs.join(", "));
        Ok(())
    }

    fn operation(&mut self, operation: &Operation, indent: usize) -> Result<(), PrintError> {
        let _ = write!(self.text, "{:indent$}", "");
        self.list(&operation.outputs, |printer, output| {
            printer.ty(&output.ty);
            let _ = write!(printer.text, " {}", output.name);
            Ok(())
        })?;
        if !operation.outputs.is_empty() {
            self.text.push_str(" = ");
        }
        let _ = write!(self.text, "{}(", operation.op);
        let inputs: Vec<_> = operation.inputs.iter().collect();
        self.list(&inputs, |printer, (parameter, argument)| {
            let _ = write!(printer.text, "{parameter} = ");
            printer.argument(argument)
        })?;
        self.text.push(')');
        if !operation.attributes.is_empty() {
            self.attributes(&operation.attributes)?;
        }
        for block in &operation.blocks {
            self.block(block, indent + BLOCK_INDENT)?;
        }
        self.text.push_str(";\n");
        Ok(())
    }

    fn block(&mut self, block: &Block, indent: usize) -> Result<(), PrintError> {
        let _ = write!(self.text, "\n{:indent$}(", "");
        self.list(&block.inputs, |printer, input| {
            printer.ty(&input.ty);
            let _ = write!(printer.text, " {}", input.name);
            Ok(())
        })?;
        self.text.push_str(") {\n");
        for operation in &block.operations {
            self.operation(operation, indent + BLOCK_INDENT)?;
        }
        let _ = write!(self.text, "{:indent$}}} -> ({})", "", block.outputs.join(", "));
        Ok(())
    }

    fn argument(&mut self, argument: &Argument) -> Result<(), PrintError> {
        if let Some(binding) = argument.single() {
            return self.binding(binding);
        }
        self.text.push('(');
        self.list(&argument.0, Self::binding)?;
        self.text.push(')');
        Ok(())
    }

    fn binding(&mut self, binding: &Binding) -> Result<(), PrintError> {
        match binding {
            Binding::Name(name) => {
                self.text.push_str(name);
                Ok(())
            }
            Binding::Value(value) => self.value(value),
        }
    }

    fn attributes(&mut self, attributes: &BTreeMap<String, Value>) -> Result<(), PrintError> {
        self.text.push('[');
        let attributes: Vec<_> = attributes.iter().collect();
        self.list(&attributes, |printer, (name, value)| {
            let _ = write!(printer.text, "{name} = ");
            printer.value(value)
        })?;
        self.text.push(']');
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<(), PrintError> {
        self.ty(&value.ty);
        self.text.push('(');
        self.literal(value)?;
        self.text.push(')');
        Ok(())
    }

    /// A value without its type, which the type around it says.
    fn literal(&mut self, value: &Value) -> Result<(), PrintError> {
        match (&value.data, &value.ty) {
            (ValueData::Tensor(data), ValueType::Tensor(ty)) => {
                let elements = Elements::new(ty.dtype, data);
                let count = elements.len();
                let shape = literal_shape(ty, count);
                let Some(shape) = shape else { return Err(PrintError::Value { ty: value.ty.to_string() }) };
                let mut next = 0;
                self.nested(&elements, &shape, &mut next);
                Ok(())
            }
            (ValueData::Blob(reference), _) => {
                self.blob(reference);
                Ok(())
            }
            (ValueData::Tuple(values), ValueType::Tuple(_)) => self.enclosed('(', values, ')'),
            (ValueData::List(values), ValueType::List(..)) => self.enclosed('[', values, ']'),
            (ValueData::Dictionary(entries), ValueType::Dictionary(..)) => {
                self.text.push('{');
                self.list(entries, |printer, (key, value)| {
                    printer.text.push('{');
                    printer.literal(key)?;
                    printer.text.push_str(", ");
                    printer.literal(value)?;
                    printer.text.push('}');
                    Ok(())
                })?;
                self.text.push('}');
                Ok(())
            }
            _ => Err(PrintError::Value { ty: value.ty.to_string() }),
        }
    }

    fn enclosed(&mut self, open: char, values: &[Value], close: char) -> Result<(), PrintError> {
        self.text.push(open);
        self.list(values, Self::literal)?;
        self.text.push(close);
        Ok(())
    }

    /// Brackets follow the shape.
    fn nested(&mut self, elements: &Elements<'_>, shape: &[usize], next: &mut usize) {
        let Some((length, inner)) = shape.split_first() else {
            elements.write(*next, &mut self.text);
            *next += 1;
            return;
        };
        self.text.push('[');
        for index in 0..*length {
            if index > 0 {
                self.text.push_str(", ");
            }
            self.nested(elements, inner, next);
        }
        self.text.push(']');
    }

    fn blob(&mut self, reference: &BlobReference) {
        let (string, uint64) = match self.version {
            TextVersion::V1_3 => ("string", "uint64"),
            TextVersion::V1_0 => ("tensor<string, []>", "tensor<uint64, []>"),
        };
        let _ = write!(self.text, "BLOBFILE(path = {string}(");
        super::elements::write_string(&reference.file_name, &mut self.text);
        let _ = write!(self.text, "), offset = {uint64}({}))", reference.offset);
    }

    fn ty(&mut self, ty: &ValueType) {
        match ty {
            ValueType::Tensor(tensor) => self.tensor_type(tensor),
            ValueType::State(tensor) => {
                self.text.push_str("state<");
                self.tensor_type(tensor);
                self.text.push('>');
            }
            ValueType::List(element, length) => {
                self.text.push_str("list<");
                self.ty(element);
                let _ = write!(self.text, ", {length}>");
            }
            ValueType::Tuple(elements) => {
                self.text.push_str("tuple<");
                for (position, element) in elements.iter().enumerate() {
                    if position > 0 {
                        self.text.push_str(", ");
                    }
                    self.ty(element);
                }
                self.text.push('>');
            }
            ValueType::Dictionary(key, value) => {
                self.text.push_str("dict<");
                self.ty(key);
                self.text.push_str(", ");
                self.ty(value);
                self.text.push('>');
            }
        }
    }

    fn tensor_type(&mut self, ty: &TensorType) {
        if ty.shape.is_empty() && self.version == TextVersion::V1_0 {
            let _ = write!(self.text, "tensor<{}, []>", ty.dtype);
        } else {
            let _ = write!(self.text, "{ty}");
        }
    }

    fn list<T>(
        &mut self,
        items: &[T],
        mut print: impl FnMut(&mut Self, &T) -> Result<(), PrintError>,
    ) -> Result<(), PrintError> {
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.text.push_str(", ");
            }
            print(self, item)?;
        }
        Ok(())
    }
}

/// The lengths to print brackets for, where they hold `count` elements. An unknown axis, which only a vector may have, is
/// as long as there are elements. Brackets that hold nothing, and those of one element on many axes, cost more than they
/// say and are bounded.
fn literal_shape(ty: &TensorType, count: Option<usize>) -> Option<Vec<usize>> {
    let count = count?;
    if ty.shape == [Dimension::Unknown] {
        return Some(vec![count]);
    }
    let shape: Vec<usize> = ty
        .shape
        .iter()
        .map(|axis| axis.fixed().and_then(|length| usize::try_from(length).ok()))
        .collect::<Option<_>>()?;
    let product = shape.iter().try_fold(1_usize, |product, length| product.checked_mul(*length))?;
    let outer = shape.iter().take_while(|length| **length > 0);
    let empty = if product == 0 { outer.fold(1_usize, |product, length| product.saturating_mul(*length)) } else { 0 };
    if shape.len() > MAX_AXES || empty > MAX_EMPTY {
        return None;
    }
    // Packed elements of less than a byte may leave the last byte partly unused.
    let packed = (1..8).contains(&ty.dtype.bits()) && product <= count && count - product < 8;
    (product == count || packed).then_some(shape)
}
