//! What the type inference of an op sees: an operation with its operands resolved.

use std::collections::BTreeMap;

use crate::opset::Opset;
use crate::program::{Argument, Binding, Block, Operation};
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// Why operands cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// A parameter without a default is missing.
    #[error("parameter `{0}` is missing")]
    Missing(String),
    /// A parameter is not what the op takes there.
    #[error("parameter `{parameter}`: expected {expected}, got {found}")]
    Operand {
        /// The parameter.
        parameter: String,
        /// What the op takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Operands that do not fit each other.
    #[error("{0}")]
    Mismatch(String),
}

impl InferError {
    /// An operand that is not what the op takes.
    #[expect(clippy::needless_pass_by_value, reason = "callers give references and temporaries alike")]
    pub fn operand(parameter: &str, expected: impl Into<String>, found: impl ToString) -> Self {
        Self::Operand { parameter: parameter.to_owned(), expected: expected.into(), found: found.to_string() }
    }
}

/// One operand as type inference sees it.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its type.
    pub ty: &'a ValueType,
    /// Its value, where it is a constant.
    pub value: Option<&'a Value>,
    /// Whether it is produced by `const`, a `constexpr_*` op or stands in place.
    pub constant: bool,
}

/// Finds what an operation's bindings refer to.
pub trait Scope {
    /// The value called `name`, if it is defined here.
    fn lookup(&self, name: &str) -> Option<Operand<'_>>;
}

/// An operation with its operands resolved. Attributes other than `name` count as operands, because the `constexpr_*`
/// ops before ios18 keep theirs there.
pub struct OpContext<'a> {
    operation: &'a Operation,
    opset: Opset,
    operands: BTreeMap<&'a str, Vec<Operand<'a>>>,
    blocks: Vec<BlockTypes>,
}

/// Types of the parameters and of the results of a nested block.
pub type BlockTypes = (Vec<ValueType>, Vec<ValueType>);

impl<'a> OpContext<'a> {
    /// Resolves the bindings of `operation`.
    ///
    /// # Errors
    /// The first name that `scope` does not know.
    pub fn new(operation: &'a Operation, opset: Opset, scope: &'a dyn Scope) -> Result<Self, String> {
        let mut operands = BTreeMap::new();
        for (parameter, Argument(bindings)) in &operation.inputs {
            let mut resolved = Vec::with_capacity(bindings.len());
            for binding in bindings {
                resolved.push(match binding {
                    Binding::Name(name) => scope.lookup(name).ok_or_else(|| name.clone())?,
                    Binding::Value(value) => Operand { ty: &value.ty, value: Some(value), constant: true },
                });
            }
            operands.insert(parameter.as_str(), resolved);
        }
        for (attribute, value) in &operation.attributes {
            if attribute != "name" {
                let operand = Operand { ty: &value.ty, value: Some(value), constant: true };
                operands.entry(attribute.as_str()).or_insert_with(|| vec![operand]);
            }
        }
        let blocks = operation.blocks.iter().map(|block| block_types(block, scope)).collect::<Result<_, _>>()?;
        Ok(Self { operation, opset, operands, blocks })
    }

    /// The nested blocks.
    pub fn blocks(&self) -> &[BlockTypes] {
        &self.blocks
    }

    /// The operation.
    pub fn operation(&self) -> &'a Operation {
        self.operation
    }

    /// The operation set of the function.
    pub fn opset(&self) -> Opset {
        self.opset
    }

    /// All operands given for `parameter`.
    pub fn operands(&self, parameter: &str) -> &[Operand<'a>] {
        self.operands.get(parameter).map_or(&[], Vec::as_slice)
    }

    /// Names of all parameters that are given, sorted.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.operands.keys().copied()
    }

    /// The operand of `parameter`, if given.
    pub fn optional(&self, parameter: &str) -> Option<Operand<'a>> {
        self.operands(parameter).first().copied()
    }

    /// The operand of `parameter`.
    pub fn required(&self, parameter: &str) -> Result<Operand<'a>, InferError> {
        self.optional(parameter).ok_or_else(|| InferError::Missing(parameter.to_owned()))
    }

    /// The tensor given for `parameter`.
    pub fn tensor(&self, parameter: &str) -> Result<&'a TensorType, InferError> {
        let operand = self.required(parameter)?;
        operand.ty.as_tensor().ok_or_else(|| InferError::operand(parameter, "a tensor", operand.ty))
    }

    /// The tensors given for a variadic parameter.
    pub fn tensors(&self, parameter: &str) -> Result<Vec<&'a TensorType>, InferError> {
        if self.operands(parameter).is_empty() {
            return Err(InferError::Missing(parameter.to_owned()));
        }
        let as_tensor = |operand: &Operand<'a>| {
            operand.ty.as_tensor().ok_or_else(|| InferError::operand(parameter, "tensors", operand.ty))
        };
        self.operands(parameter).iter().map(as_tensor).collect()
    }

    /// The value of `parameter` read by `read`, or `None` where it is absent or not known before run time.
    ///
    /// # Errors
    /// A constant that `read` cannot take, described as `expected`.
    pub fn value<T>(
        &self,
        parameter: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, InferError> {
        let Some(value) = self.optional(parameter).and_then(|operand| operand.value) else { return Ok(None) };
        if value.as_blob().is_some() {
            return Ok(None);
        }
        read(value).map(Some).ok_or_else(|| InferError::operand(parameter, expected, &value.ty))
    }

    /// The constant integer of `parameter`, or `default` where it is absent.
    pub fn int_or(&self, parameter: &str, default: i64) -> Result<i64, InferError> {
        Ok(self.value(parameter, "a constant integer", Value::as_int)?.unwrap_or(default))
    }

    /// The constant boolean of `parameter`, or `default` where it is absent.
    pub fn bool_or(&self, parameter: &str, default: bool) -> Result<bool, InferError> {
        Ok(self.value(parameter, "a constant boolean", Value::as_bool)?.unwrap_or(default))
    }

    /// The constant integers of `parameter`; `None` where it is absent or not known.
    pub fn ints(&self, parameter: &str) -> Result<Option<Vec<i64>>, InferError> {
        self.value(parameter, "constant integers", Value::as_ints)
    }

    /// The constant booleans of `parameter`; `None` where it is absent or not known.
    pub fn bools(&self, parameter: &str) -> Result<Option<&'a [bool]>, InferError> {
        self.value(parameter, "constant booleans", Value::as_bools)
    }

    /// The constant string of `parameter`, or `default` where it is absent.
    pub fn string_or(&self, parameter: &str, default: &'a str) -> Result<&'a str, InferError> {
        Ok(self.value(parameter, "a constant string", Value::as_str)?.unwrap_or(default))
    }
}

/// The types of a block, whose results may be its parameters, values of its operations, or values around it.
fn block_types(block: &Block, scope: &dyn Scope) -> Result<BlockTypes, String> {
    let results = block.operations.iter().flat_map(|operation| &operation.outputs);
    let own: BTreeMap<&str, &ValueType> =
        block.inputs.iter().chain(results).map(|value| (value.name.as_str(), &value.ty)).collect();
    let of = |name: &String| {
        let outside = || scope.lookup(name).map(|operand| operand.ty);
        own.get(name.as_str()).copied().or_else(outside).cloned().ok_or_else(|| name.clone())
    };
    let results = block.outputs.iter().map(of).collect::<Result<_, _>>()?;
    Ok((block.inputs.iter().map(|input| input.ty.clone()).collect(), results))
}

/// `axis` of a tensor of `rank` axes as an index; negative values count from the end.
pub fn normalize_axis(parameter: &str, axis: i64, rank: usize) -> Result<usize, InferError> {
    let signed_rank = i64::try_from(rank).unwrap_or(i64::MAX);
    let index = if axis < 0 { axis + signed_rank } else { axis };
    usize::try_from(index)
        .ok()
        .filter(|index| *index < rank)
        .ok_or_else(|| InferError::operand(parameter, format!("an axis of a tensor of rank {rank}"), axis))
}
