//! Programs: functions, blocks and operations.
//!
//! Values are named, as in both outer forms; a name is defined once per function and before its use. The structure
//! mirrors the protobuf, so that decoding and encoding lose nothing.

use std::collections::BTreeMap;

use crate::opset::Opset;
use crate::types::ValueType;
use crate::value::Value;

/// A whole program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Functions by name.
    pub functions: BTreeMap<String, Function>,
    /// Program attributes; Core ML tolerates `buildInfo` only.
    pub attributes: BTreeMap<String, Value>,
}

/// A function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Parameters in description order; states come last.
    pub inputs: Vec<NamedValueType>,
    /// The operation set that the body uses.
    pub opset: Opset,
    /// The body.
    pub block: Block,
    /// Function attributes, such as `FlexibleShapeInformation` in compiled programs.
    pub attributes: BTreeMap<String, Value>,
}

/// Operations in order, and the names that they return.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Parameters of a nested block; empty for a function's body.
    pub inputs: Vec<NamedValueType>,
    /// Operations in program order.
    pub operations: Vec<Operation>,
    /// Names of the results, in order.
    pub outputs: Vec<String>,
}

/// A name with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedValueType {
    /// The name.
    pub name: String,
    /// The type.
    pub ty: ValueType,
}

impl NamedValueType {
    /// Pairs a name with a type.
    pub fn new(name: impl Into<String>, ty: impl Into<ValueType>) -> Self {
        Self { name: name.into(), ty: ty.into() }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Core ML's name of the op, such as `conv`.
    pub op: String,
    /// Arguments by parameter name.
    pub inputs: BTreeMap<String, Argument>,
    /// Results in order; empty for `write_state`.
    pub outputs: Vec<NamedValueType>,
    /// Attributes: `name` always, `val` of `const`, the parameters of `constexpr_*` ops before ios18.
    pub attributes: BTreeMap<String, Value>,
    /// Nested blocks of control flow.
    pub blocks: Vec<Block>,
}

/// What stands for one parameter of an operation.
///
/// One binding is the rule; `values` of `concat` and `stack` takes several. A single-element tuple cannot be told from
/// a plain argument in either outer form, and is the same here.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument(pub Vec<Binding>);

/// A reference to a value, or a constant in place.
#[derive(Clone, Debug, PartialEq)]
pub enum Binding {
    /// The name of an earlier value or a function parameter.
    Name(String),
    /// A constant.
    Value(Value),
}

impl Argument {
    /// A reference to one value.
    pub fn name(name: impl Into<String>) -> Self {
        Self(vec![Binding::Name(name.into())])
    }

    /// A constant in place.
    pub fn value(value: Value) -> Self {
        Self(vec![Binding::Value(value)])
    }

    /// The only binding, if there is exactly one.
    pub fn single(&self) -> Option<&Binding> {
        match self.0.as_slice() {
            [binding] => Some(binding),
            _ => None,
        }
    }
}

impl Operation {
    /// The `name` attribute, which Core ML shows in its reports.
    pub fn display_name(&self) -> Option<&str> {
        self.attributes.get("name").and_then(Value::as_str)
    }

    /// Every value that the arguments refer to by name.
    pub fn referenced_names(&self) -> impl Iterator<Item = &str> {
        self.inputs.values().flat_map(|argument| &argument.0).filter_map(|binding| match binding {
            Binding::Name(name) => Some(name.as_str()),
            Binding::Value(_) => None,
        })
    }

    /// Every name that the operation refers to, in its nested blocks too, where some may be the blocks' own.
    pub fn names_used(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.referenced_names().collect();
        let mut blocks: Vec<&Block> = self.blocks.iter().collect();
        while let Some(block) = blocks.pop() {
            names.extend(block.outputs.iter().map(String::as_str));
            for operation in &block.operations {
                names.extend(operation.referenced_names());
                blocks.extend(&operation.blocks);
            }
        }
        names
    }

    /// Every constant in place, among the arguments and the attributes, by the name that it has there.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        let bound = self.inputs.iter().flat_map(|(name, argument)| {
            argument.0.iter().filter_map(move |binding| match binding {
                Binding::Value(value) => Some((name.as_str(), value)),
                Binding::Name(_) => None,
            })
        });
        bound.chain(self.attributes.iter().map(|(name, value)| (name.as_str(), value)))
    }
}
