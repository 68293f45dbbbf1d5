//! Programs as rules see them: with types, definitions and uses at hand.
//!
//! Nothing here expects a program to be valid.

use std::collections::BTreeMap;

use super::rule::Conditions;
use crate::ops::special;
use crate::package::ModelDescription;
use crate::program::{Argument, Binding, Function, Operation, Program};
use crate::types::{TensorType, ValueType};
use crate::value::{BlobReference, Value};

/// A program with what is known about the package around it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The program.
    pub program: &'a Program,
    /// The model's description.
    pub description: Option<&'a ModelDescription>,
    /// Bytes of the weight file.
    pub weight_file_bytes: Option<u64>,
    /// Access to the weight file.
    pub constants: Option<&'a dyn Constants>,
}

/// Looks into a weight file.
pub trait Constants {
    /// The smallest and largest element of a floating-point blob; `None` where it cannot be read.
    fn range(&self, blob: &BlobReference, ty: &TensorType) -> Option<(f64, f64)>;

    /// Why there is no blob of this type at this place; `None` where there is one, or where that is not known.
    fn problem(&self, blob: &BlobReference, ty: &TensorType) -> Option<String>;
}

/// The program as a whole.
pub struct ProgramView<'a> {
    /// What is linted.
    pub subject: Subject<'a>,
    /// For what.
    pub conditions: &'a Conditions,
    /// The functions.
    pub functions: &'a [FunctionView<'a>],
}

/// One function.
pub struct FunctionView<'a> {
    /// Its name.
    pub name: &'a str,
    /// The function.
    pub function: &'a Function,
    /// What is linted.
    pub subject: Subject<'a>,
    /// For what.
    pub conditions: &'a Conditions,
    definitions: BTreeMap<&'a str, Definition<'a>>,
    uses: BTreeMap<&'a str, Vec<usize>>,
}

/// One operation of a function.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The function.
    pub view: &'a FunctionView<'a>,
    /// The index of the operation.
    pub index: usize,
    /// The operation.
    pub operation: &'a Operation,
}

#[derive(Clone, Copy)]
struct Definition<'a> {
    ty: &'a ValueType,
    /// `None` for a parameter of the function.
    operation: Option<usize>,
}

impl<'a> FunctionView<'a> {
    pub(super) fn new(name: &'a str, function: &'a Function, subject: Subject<'a>, conditions: &'a Conditions) -> Self {
        let mut definitions = BTreeMap::new();
        let mut uses: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for input in &function.inputs {
            definitions.entry(input.name.as_str()).or_insert(Definition { ty: &input.ty, operation: None });
        }
        for (index, operation) in function.block.operations.iter().enumerate() {
            for name in operation.referenced_names() {
                let users = uses.entry(name).or_default();
                if users.last() != Some(&index) {
                    users.push(index);
                }
            }
            for output in &operation.outputs {
                let definition = Definition { ty: &output.ty, operation: Some(index) };
                definitions.entry(output.name.as_str()).or_insert(definition);
            }
        }
        Self { name, function, subject, conditions, definitions, uses }
    }

    /// The operations.
    pub fn operations(&self) -> &'a [Operation] {
        &self.function.block.operations
    }

    /// The operations that compute, with their indices: all but constants.
    pub fn computing(&self) -> impl Iterator<Item = (usize, &'a Operation)> {
        self.operations().iter().enumerate().filter(|(_, operation)| !special::yields_constant(&operation.op))
    }

    /// The states, with the indices of their parameters.
    pub fn states(&self) -> impl Iterator<Item = (usize, &'a str, &'a TensorType)> {
        self.function.inputs.iter().enumerate().filter_map(|(index, input)| match &input.ty {
            ValueType::State(tensor) => Some((index, input.name.as_str(), tensor)),
            _ => None,
        })
    }

    /// The tensor type of a value.
    pub fn tensor(&self, name: &str) -> Option<&'a TensorType> {
        self.definitions.get(name)?.ty.as_tensor()
    }

    /// The operation that computes a value, with its index.
    pub fn producer(&self, name: &str) -> Option<(usize, &'a Operation)> {
        let index = self.definitions.get(name)?.operation?;
        Some((index, self.operations().get(index)?))
    }

    /// Indices of the operations that take a value, in order.
    pub fn users(&self, name: &str) -> &[usize] {
        self.uses.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a value is a constant.
    pub fn is_constant(&self, name: &str) -> bool {
        self.producer(name).is_some_and(|(_, operation)| special::yields_constant(&operation.op))
    }

    /// The value of a `const`.
    pub fn constant(&self, name: &str) -> Option<&'a Value> {
        let (_, operation) = self.producer(name)?;
        if operation.op == special::CONST { operation.attributes.get("val") } else { None }
    }

    /// The smallest and largest element of a floating-point constant, in the program or in the weight file.
    pub fn range(&self, value: &Value) -> Option<(f64, f64)> {
        if let Some(blob) = value.as_blob() {
            return self.subject.constants?.range(blob, value.tensor_type()?);
        }
        let elements = value.as_floats()?;
        let first = *elements.first()?;
        Some(elements.iter().fold((first, first), |(low, high), element| (low.min(*element), high.max(*element))))
    }
}

impl<'a> Site<'a> {
    /// Whether the operation is of this name.
    pub fn is(&self, op: &str) -> bool {
        self.operation.op == op
    }

    /// The name that stands for a parameter.
    pub fn name(&self, parameter: &str) -> Option<&'a str> {
        name(self.operation.inputs.get(parameter)?)
    }

    /// The tensor type of what stands for a parameter, whether it is an input or an attribute.
    pub fn tensor(&self, parameter: &str) -> Option<&'a TensorType> {
        tensor(self.view, self.operation, parameter)
    }

    /// The constant that stands for a parameter.
    pub fn constant(&self, parameter: &str) -> Option<&'a Value> {
        constant(self.view, self.operation, parameter)
    }

    /// The type of the first result.
    pub fn result(&self) -> Option<&'a TensorType> {
        self.operation.outputs.first()?.ty.as_tensor()
    }
}

/// The only name of an argument.
pub(super) fn name(argument: &Argument) -> Option<&str> {
    match argument.single()? {
        Binding::Name(name) => Some(name),
        Binding::Value(_) => None,
    }
}

/// The tensor type of what stands for a parameter of `operation`, whether it is an input or an attribute.
pub(super) fn tensor<'a>(view: &FunctionView<'a>, operation: &'a Operation, parameter: &str) -> Option<&'a TensorType> {
    match operation.inputs.get(parameter) {
        Some(argument) => match argument.single()? {
            Binding::Name(name) => view.tensor(name),
            Binding::Value(value) => value.tensor_type(),
        },
        None => operation.attributes.get(parameter)?.tensor_type(),
    }
}

/// The constant that stands for a parameter of `operation`, whether it is an input or an attribute.
pub(super) fn constant<'a>(view: &FunctionView<'a>, operation: &'a Operation, parameter: &str) -> Option<&'a Value> {
    match operation.inputs.get(parameter) {
        Some(argument) => match argument.single()? {
            Binding::Name(name) => view.constant(name),
            Binding::Value(value) => Some(value),
        },
        None => operation.attributes.get(parameter),
    }
}
