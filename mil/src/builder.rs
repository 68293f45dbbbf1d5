//! Builds a function op by op, with names made unique and types inferred.
//!
//! Each op's file adds its own method here. Constants become `const` ops of their own, as every known writer does; the
//! constant-deduplication pass merges equal ones afterwards.

use std::collections::BTreeMap;

use crate::ops::decl::{InferError, OpContext, OpDecl, Operand, Results, Scope};
use crate::ops::special;
use crate::opset::Opset;
use crate::program::{Argument, Binding, Block, Function, NamedValueType, Operation};
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// A value of the function being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Var {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
}

impl Var {
    /// Its tensor type.
    ///
    /// # Errors
    /// It is a state or an aggregate.
    pub fn tensor(&self) -> Result<&TensorType, BuildError> {
        self.ty
            .as_tensor()
            .ok_or_else(|| BuildError::NotATensor { name: self.name.clone(), found: self.ty.to_string() })
    }
}

/// An op that cannot be built; always a bug of the caller.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The operands do not fit the op.
    #[error("Cannot build `{op}` called `{name}`")]
    Infer {
        /// The op.
        op: &'static str,
        /// The name asked for.
        name: String,
        /// Why.
        #[source]
        source: InferError,
    },
    /// A tensor was needed.
    #[error("`{name}` is {found}, expected a tensor")]
    NotATensor {
        /// The value.
        name: String,
        /// Its type.
        found: String,
    },
    /// The op refers to a value of another function.
    #[error("Cannot build `{op}`: `{name}` is not defined in this function")]
    Undefined {
        /// The op.
        op: &'static str,
        /// The missing value.
        name: String,
    },
    /// A result count that the method did not expect.
    #[error("`{op}` has {found} results, expected {expected}")]
    ResultCount {
        /// The op.
        op: &'static str,
        /// Expected count.
        expected: usize,
        /// Inferred count.
        found: usize,
    },
}

struct Definition {
    ty: ValueType,
    value: Option<Value>,
    constant: bool,
}

/// A function under construction.
pub struct FunctionBuilder {
    opset: Opset,
    inputs: Vec<NamedValueType>,
    operations: Vec<Operation>,
    definitions: BTreeMap<String, Definition>,
}

impl Scope for FunctionBuilder {
    fn lookup(&self, name: &str) -> Option<Operand<'_>> {
        let definition = self.definitions.get(name)?;
        Some(Operand { ty: &definition.ty, value: definition.value.as_ref(), constant: definition.constant })
    }
}

impl FunctionBuilder {
    /// An empty function.
    pub fn new(opset: Opset) -> Self {
        Self { opset, inputs: Vec::new(), operations: Vec::new(), definitions: BTreeMap::new() }
    }

    /// The operation set of the function.
    pub fn opset(&self) -> Opset {
        self.opset
    }

    /// Adds a parameter; states must come after tensors. The name is taken as it is.
    pub fn input(&mut self, name: &str, ty: impl Into<ValueType>) -> Var {
        let ty = ty.into();
        self.inputs.push(NamedValueType::new(name, ty.clone()));
        self.define(name.to_owned(), ty, None, false)
    }

    /// Adds a `const` op.
    pub fn constant(&mut self, name: &str, value: Value) -> Var {
        let name = self.unique_name(name);
        let ty = value.ty.clone();
        let attributes = BTreeMap::from([("name".to_owned(), Value::string(&name)), ("val".to_owned(), value.clone())]);
        self.operations.push(Operation {
            op: special::CONST.to_owned(),
            inputs: BTreeMap::new(),
            outputs: vec![NamedValueType::new(&name, ty.clone())],
            attributes,
            blocks: Vec::new(),
        });
        self.define(name, ty, Some(value), true)
    }

    /// Starts an operation; the methods of the op files finish it.
    pub fn call<'b>(&'b mut self, decl: &'static OpDecl, name: &str) -> Call<'b> {
        let name = self.unique_name(name);
        Call { builder: self, decl, name, inputs: BTreeMap::new(), attributes: BTreeMap::new() }
    }

    /// Finishes the function, returning `outputs` in this order.
    pub fn finish(self, outputs: &[&Var]) -> Function {
        Function {
            inputs: self.inputs,
            opset: self.opset,
            block: Block {
                inputs: Vec::new(),
                operations: self.operations,
                outputs: outputs.iter().map(|output| output.name.clone()).collect(),
            },
            attributes: BTreeMap::new(),
        }
    }

    fn define(&mut self, name: String, ty: ValueType, value: Option<Value>, constant: bool) -> Var {
        self.definitions.insert(name.clone(), Definition { ty: ty.clone(), value, constant });
        Var { name, ty }
    }

    /// `name` as an identifier that is still free.
    fn unique_name(&self, name: &str) -> String {
        let mut identifier: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        if !identifier.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            identifier.insert(0, '_');
        }
        if !self.definitions.contains_key(&identifier) {
            return identifier;
        }
        let mut suffix = 1_usize;
        loop {
            let candidate = format!("{identifier}_{suffix}");
            if !self.definitions.contains_key(&candidate) {
                return candidate;
            }
            suffix += 1;
        }
    }
}

/// An operation under construction.
pub struct Call<'b> {
    builder: &'b mut FunctionBuilder,
    decl: &'static OpDecl,
    name: String,
    inputs: BTreeMap<String, Argument>,
    attributes: BTreeMap<String, Value>,
}

impl Call<'_> {
    /// Gives a parameter a value of the function.
    #[must_use]
    pub fn operand(mut self, parameter: &str, value: &Var) -> Self {
        self.inputs.insert(parameter.to_owned(), Argument::name(&value.name));
        self
    }

    /// Gives a variadic parameter its values.
    #[must_use]
    pub fn operands(mut self, parameter: &str, values: &[&Var]) -> Self {
        let bindings = values.iter().map(|value| Binding::Name(value.name.clone())).collect();
        self.inputs.insert(parameter.to_owned(), Argument(bindings));
        self
    }

    /// Gives a parameter a constant through a `const` op of its own.
    #[must_use]
    pub fn constant(self, parameter: &str, value: Value) -> Self {
        let constant = self.builder.constant(&format!("{}_{parameter}_0", self.name), value);
        self.operand(parameter, &constant)
    }

    /// Gives a parameter a constant in place, as the `constexpr_*` ops of ios18 take theirs.
    #[must_use]
    pub fn inline(mut self, parameter: &str, value: Value) -> Self {
        self.inputs.insert(parameter.to_owned(), Argument::value(value));
        self
    }

    /// Gives a parameter a constant as an attribute, as the `constexpr_*` ops before ios18 take theirs.
    #[must_use]
    pub fn attribute(mut self, parameter: &str, value: Value) -> Self {
        self.attributes.insert(parameter.to_owned(), value);
        self
    }

    /// Adds the operation, which must have one result.
    pub fn single(self) -> Result<Var, BuildError> {
        let op = self.decl.name;
        let mut results = self.finish()?;
        match (results.len(), results.pop()) {
            (1, Some(result)) => Ok(result),
            (found, _) => Err(BuildError::ResultCount { op, expected: 1, found }),
        }
    }

    /// Adds the operation and gives its results. One result takes the name of the call; several get `_0`, `_1`, … after it.
    pub fn finish(self) -> Result<Vec<Var>, BuildError> {
        let Self { builder, decl, name, inputs, mut attributes } = self;
        attributes.insert("name".to_owned(), Value::string(&name));
        let mut operation =
            Operation { op: decl.name.to_owned(), inputs, outputs: Vec::new(), attributes, blocks: Vec::new() };
        let ctx = OpContext::new(&operation, builder.opset, builder)
            .map_err(|missing| BuildError::Undefined { op: decl.name, name: missing })?;
        let types =
            (decl.infer)(&ctx).map_err(|source| BuildError::Infer { op: decl.name, name: name.clone(), source })?;
        if let Results::Exactly(expected) = decl.results
            && expected != types.len()
        {
            return Err(BuildError::ResultCount { op: decl.name, expected, found: types.len() });
        }
        let single = types.len() == 1;
        let constant = special::yields_constant(decl.name);
        let mut results = Vec::with_capacity(types.len());
        for (index, ty) in types.into_iter().enumerate() {
            let result = if single { name.clone() } else { builder.unique_name(&format!("{name}_{index}")) };
            operation.outputs.push(NamedValueType::new(&result, ty.clone()));
            results.push(builder.define(result, ty, None, constant));
        }
        builder.operations.push(operation);
        Ok(results)
    }
}
