//! Runs the type inference of one op on operands that a test spells out.

use std::collections::BTreeMap;

use super::decl::{InferError, OpContext, OpDecl, Operand, Scope};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::program::{Argument, Binding, Operation};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

/// A tensor type; a negative length is unknown.
pub(crate) fn tensor(dtype: DataType, shape: &[i64]) -> ValueType {
    let shape = shape.iter().map(|size| u64::try_from(*size).map_or(Dimension::Unknown, Dimension::Fixed)).collect();
    ValueType::Tensor(TensorType { dtype, shape })
}

/// An fp16 tensor type; a negative length is unknown.
pub(crate) fn fp16(shape: &[i64]) -> ValueType {
    tensor(DataType::Float16, shape)
}

/// An int32 tensor type; a negative length is unknown.
pub(crate) fn int32(shape: &[i64]) -> ValueType {
    tensor(DataType::Int32, shape)
}

/// Operands of one call of an op.
#[derive(Clone, Default)]
pub(crate) struct Operands {
    types: BTreeMap<String, ValueType>,
    inputs: BTreeMap<String, Argument>,
}

impl Operands {
    /// Gives a parameter a value that only the running program knows.
    pub(crate) fn with(mut self, parameter: &str, ty: ValueType) -> Self {
        self.types.insert(parameter.to_owned(), ty);
        self.inputs.insert(parameter.to_owned(), Argument::name(parameter));
        self
    }

    /// Gives a variadic parameter values that only the running program knows.
    pub(crate) fn with_all(mut self, parameter: &str, types: &[ValueType]) -> Self {
        let mut bindings = Vec::new();
        for (index, ty) in types.iter().enumerate() {
            let name = format!("{parameter}{index}");
            self.types.insert(name.clone(), ty.clone());
            bindings.push(Binding::Name(name));
        }
        self.inputs.insert(parameter.to_owned(), Argument(bindings));
        self
    }

    /// Gives a parameter a constant.
    pub(crate) fn constant(mut self, parameter: &str, value: Value) -> Self {
        self.inputs.insert(parameter.to_owned(), Argument::value(value));
        self
    }

    /// Result types under ios18.
    pub(crate) fn infer(self, decl: &OpDecl) -> Result<Vec<ValueType>, InferError> {
        self.infer_in(decl, Opset::Ios18)
    }

    /// Result types under `opset`.
    pub(crate) fn infer_in(self, decl: &OpDecl, opset: Opset) -> Result<Vec<ValueType>, InferError> {
        let operation = Operation {
            op: decl.name.to_owned(),
            inputs: self.inputs,
            outputs: Vec::new(),
            attributes: BTreeMap::new(),
            blocks: Vec::new(),
        };
        let scope = TypesOnly(self.types);
        let ctx = OpContext::new(&operation, opset, &scope).expect("every name has a type");
        for name in ctx.given() {
            assert!(decl.parameters.iter().any(|parameter| parameter.name == name), "`{name}` is not declared");
        }
        (decl.infer)(&ctx)
    }
}

struct TypesOnly(BTreeMap<String, ValueType>);

impl Scope for TypesOnly {
    fn lookup(&self, name: &str) -> Option<Operand<'_>> {
        Some(Operand { ty: self.0.get(name)?, value: None, constant: false })
    }
}
